"""The ``neurig`` command.

Each command imports what it needs when it runs, so that ``neurig --help`` is there at once.
"""

import json
import math
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from neurig import ModelError

_LONG = 60 * 48000  # frames, from which on a rendering shows how far it is


class _Commands(click.Group):
    """Turns the failures that a user can cause into one line and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ModelError as problem:
            raise click.ClickException(str(problem)) from None
        except BrokenPipeError:  # `neurig … | head`: click ends without a word
            raise
        except OSError as problem:
            named = f"{problem.filename}: {problem.strerror}" if problem.filename and problem.strerror else str(problem)
            raise click.ClickException(named) from None


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        import neurig

        click.echo(f"neurig {neurig.__version__}")
        ctx.exit()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def main() -> None:
    """Instruments out of neural amps and gesture predictors."""


class _Knob(click.ParamType):
    """NAME_OR_INDEX=VALUE"""

    name = "name=value"

    def convert(self, text: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str | int, float]:
        name, equals, value = str(text).rpartition("=")
        if not equals or not name:
            self.fail(f"{text!r} is not NAME_OR_INDEX=VALUE", param, ctx)
        try:
            number = float(value)
        except ValueError:
            self.fail(f"{value!r} in {text!r} is not a number", param, ctx)
        return int(name) if name.isascii() and name.isdigit() else name, number


@main.command()
@click.argument("model")
@click.argument("source", metavar="IN")
@click.argument("target", metavar="OUT")
@click.option("--param", "params", multiple=True, type=_Knob(), metavar="NAME_OR_INDEX=VALUE",
              help="One of the model's own knobs, 0 to 1; 0.5 where not given. May be repeated.")
@click.option("--slim", type=click.FloatRange(0, 1), help="Size of a model that comes in several: 0 smallest, 1 full.")
def render(model: str, source: str, target: str, params: tuple[tuple[str | int, float], ...],
           slim: float | None) -> None:
    """Run the sound file IN through the amp MODEL and write OUT.

    The format follows from OUT's name: .wav and .aiff (32-bit float), .flac (24 bit). OUT is as long as IN and in time
    with it, at the same rate; each channel goes through the model by itself.
    """
    from neurig.model import load
    from neurig.render import RenderError
    from neurig.render import render as render_file

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C, which leaves no half-written file
    loaded = load(model)
    try:
        with ExitStack() as stack:
            progress = _progress(f"{Path(model).name} → {Path(target).name}", stack) if sys.stderr.isatty() else None
            done = render_file(loaded, source, target, dict(params), slim, progress)
    except RenderError as problem:
        raise click.ClickException(str(problem)) from None
    level = f"peak {20 * math.log10(done.peak):.1f} dB" if done.peak else "silent"
    channels = {1: "mono", 2: "stereo"}.get(done.channels, f"{done.channels} channels")
    click.echo(f"{target}: {done.frames / done.rate:.2f} s, {done.rate} Hz, {channels}, {level}")
    if done.clipped:
        click.echo(f"{target}: samples beyond full scale were clipped; a .wav file keeps them", err=True)


def _progress(label: str, stack: ExitStack) -> Callable[[int, int], None]:
    """A bar on stderr that appears once there is much to do, and ends with ``stack``."""
    shown: list[tuple[Any, Any]] = []

    def report(done: int, total: int) -> None:
        if total < _LONG:
            return
        if not shown:
            from rich.console import Console
            from rich.progress import Progress

            bar = stack.enter_context(Progress(console=Console(stderr=True), transient=True))
            shown.append((bar, bar.add_task(label, total=total)))
        bar, task = shown[0]
        bar.update(task, completed=done)

    return report


@main.command()
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="All of it, for programs.")
def info(model: str, as_json: bool) -> None:
    """Tell what MODEL is: an amp or a predictor, its sizes, its knobs, and what its maker noted."""
    from neurig.model import load

    loaded = load(model)
    about = {"path": model} | loaded.info
    if as_json:
        click.echo(json.dumps(about, indent=2, ensure_ascii=False))
        return
    rows = list(_facts(about))
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        click.echo(f"{name:<{width}}  {value}")


def _facts(about: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and value of what ``info`` shows, in words and units that are read without knowing the format."""
    for name in ("path", "kind", "family", "architecture"):
        yield name, about[name]
    if rate := about.get("sample_rate"):
        yield "sample rate", f"{rate:g} Hz"
    if "receptive_field" in about:
        frames = about["receptive_field"]
        length = f" ({1000 * frames / rate:.1f} ms)" if frames and rate else ""
        yield "receptive field", f"{frames} samples{length}" if frames else "without end"
    for name in ("dimension", "units", "layers", "mixtures", "weights", "sizes"):
        if name in about:
            yield name, f"{about[name]:,}"
    if "macs" in about:
        yield "cost", f"{about['macs']:,} multiply-adds per {'sample' if about['kind'] == 'amp' else 'frame'}"
    if "self_check" in about:
        yield "self-check", f"ESR {about['self_check']:.1e} against the output that the file carries"
    if "warning" in about:
        yield "warning", about["warning"]
    for param in about.get("params", ()):
        yield f"knob {param['name']}", f"{param['low']:g} to {param['high']:g}, {param['default']:g} at first"
    metadata = about.get("metadata")
    for name, value in metadata.items() if isinstance(metadata, dict) else ():
        if name == "date" and isinstance(value, dict) and {"year", "month", "day"} <= value.keys():
            value = "{year}-{month}-{day}".format_map(value)
        if isinstance(value, (str, int, float)) and value != "":
            yield name.replace("_", " "), " ".join(str(value).split())


@main.command()
@click.argument("source", metavar="IN")
@click.argument("target", metavar="[OUT]", required=False)
def convert(source: str, target: str | None) -> None:
    """Convert an IMPSY predictor IN (.keras, .h5) to OUT (.mdrnn).

    Without OUT the new file is beside IN and named like it. TensorFlow is not needed.
    """
    from neurig.convert import mdrnn
    from neurig.files import write_atomic
    from neurig.model import parse

    written = Path(target) if target else Path(source).with_suffix(".mdrnn")
    if written.suffix.lower() != ".mdrnn":
        raise click.UsageError(f"{written}: the name of a converted predictor ends in .mdrnn")
    text = mdrnn(source)
    about = parse(text, Path(source)).info  # what is written can be loaded
    write_atomic(written, text)
    click.echo(f"{written}: dimension {about['dimension']}, {about['units']} units, {about['layers']} layers, "
               f"{about['mixtures']} mixtures")


@main.command()
@click.argument("model")
@click.argument("frames", metavar="FRAMES.csv")
@click.option("--sample", is_flag=True, help="Also draw a frame from each mixture.")
@click.option("--seed", type=click.INT, default=0, show_default=True, help="Of the draws.")
@click.option("--pi-temp", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True,
              help="Flattens (large) or sharpens (small) the choice of the component.")
@click.option("--sigma-temp", type=click.FloatRange(0), default=0.01, show_default=True,
              help="Scales the component's variance.")
def step(model: str, frames: str, sample: bool, seed: int, pi_temp: float, sigma_temp: float) -> None:
    """Feed a predictor with frames and print what it expects next.

    Each line of FRAMES.csv ("-" for standard input) is a frame: dt in seconds and values from 0 to 1, separated by
    commas; a first line of names is passed over. The network remembers from line to line.
    MODEL is .mdrnn, .keras or .h5.

    For each frame one line of JSON comes out: "mus" and "sigmas" (a list for each component, in the network's scale,
    ten times a frame's) and "pis" (the components' probabilities at temperature 1). With --sample also "sample", a draw
    in the scale of frames, not clipped.
    """
    import numpy as np

    from neurig.predictor import Predictor

    try:
        predictor = Predictor(model, seed)
    except ValueError as problem:
        raise click.ClickException(str(problem)) from None
    with click.open_file(frames, encoding="utf-8-sig", errors="replace") as lines:
        for number, cells in _rows_of_csv(lines):
            try:
                predictor.condition([_number(cell) for cell in cells])
            except ValueError as problem:
                raise click.ClickException(f"{frames}: line {number}: {problem}") from None
            mus, sigmas, logits = predictor.mixture()
            pis = np.exp(logits - logits.max(), dtype=np.float64)
            answer = {"mus": _plain(mus), "sigmas": _plain(sigmas), "pis": (pis / pis.sum()).tolist()}
            if sample:
                answer["sample"] = _plain(predictor.sample(pi_temp, sigma_temp))
            click.echo(json.dumps(answer))


def _rows_of_csv(lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and cells; without empty lines, and without a first line of names."""
    header_possible = True
    for number, line in enumerate(lines, start=1):
        cells = [cell.strip() for cell in line.split(",")]
        if cells == [""]:
            continue
        if not (header_possible and not any(_is_number(cell) for cell in cells)):
            yield number, cells
        header_possible = False


def _number(cell: str) -> float:
    if not _is_number(cell):
        raise ValueError(f"{cell[:40]!r} is not a number")
    return float(cell)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _plain(array: Any) -> list:
    """A float32 array as lists of numbers that print as short as float32 allows."""
    return [_plain(row) for row in array] if array.ndim > 1 else [float(str(value)) for value in array]


@main.command(short_help="Measure how fast and how exact amps run, beside other engines.")
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option("--block", "blocks", multiple=True, type=click.IntRange(1, 8192), default=(64,), show_default=True,
              help="Samples at a time. May be repeated.")
@click.option("--channels", type=click.IntRange(1, 256), default=1, show_default=True,
              help="Streams of the model that run side by side.")
@click.option("--peer", "peers", multiple=True, metavar="LIB.so",
              help="Another engine: a library with peer_load, peer_process and peer_free. May be repeated.")
@click.option("--input", "source", metavar="FILE", help="What is played, its first two seconds.  [default: a guitar]")
@click.option("--references", is_flag=True,
              help="Compare with NAME.npy beside each model, an exact render of the input, not with our own render.")
@click.option("--slim", type=click.FloatRange(0, 1), help="Size of models that come in several: 0 smallest, 1 full.")
@click.option("--rounds", type=click.IntRange(1), default=7, show_default=True, help="The median counts.")
@click.option("--json", "as_json", is_flag=True, help="A list of rows, for programs.")
@click.option("--plot", "picture", metavar="FILE.svg", help="Draw a picture, too.")
def bench(models: tuple[str, ...], blocks: tuple[int, ...], channels: int, peers: tuple[str, ...], source: str | None,
          references: bool, slim: float | None, rounds: int, as_json: bool, picture: str | None) -> None:
    """Measure how fast and how exact amp MODELs (the bundled ones where none is named) run on one core.

    Every engine plays the same signal in turn, in several rounds. For each there is the CPU time per sample (median and
    quartiles of the rounds), how many times faster than real time that is, the share of the multiply-adds that the core
    could do at most, the slowest block over the median block, and the error-to-signal ratio (ESR): 0 is exact, below
    1e-8 cannot be heard.
    """
    from neurig.bench import BenchError, Peer, machine, measure, models_at, plot, signal, table

    if picture and not picture.lower().endswith(".svg"):
        raise click.UsageError(f"{picture}: the picture's name ends in .svg")
    with ExitStack() as stack:
        progress = _share_done(stack) if sys.stderr.isatty() else None
        try:
            rows = list(measure(models_at(models), signal(source), blocks, channels, [Peer(path) for path in peers],
                                rounds, references, slim, progress))
        except BenchError as problem:
            raise click.ClickException(str(problem)) from None
    if as_json:
        click.echo("[" + ",\n ".join(json.dumps(row.as_dict(), ensure_ascii=False) for row in rows) + "]")
    else:
        count = f"{channels} channel{'s' * (channels > 1)}"
        click.echo(f"{machine()}\n{count}, medians of {rounds} rounds, ns of CPU time\n")
        click.echo(table(rows))
        for row in rows:
            if row.refused:
                click.echo(f"{row.engine} refused {Path(row.model).name}: {row.refused}", err=True)
    if picture:
        plot(rows, picture)


def _share_done(stack: ExitStack) -> Callable[[str, float], None]:
    """A bar on stderr that draws only when it is told something, so that it does not disturb a measurement."""
    from rich.console import Console
    from rich.progress import Progress

    bar = stack.enter_context(Progress(console=Console(stderr=True), transient=True, auto_refresh=False))
    task = bar.add_task("", total=1)

    def report(label: str, share: float) -> None:
        bar.update(task, description=label, completed=share, refresh=True)

    return report


def _rig_options(command: Callable[..., None]) -> Callable[..., None]:
    """What ``serve`` and ``demo`` have in common. An option that is not given leaves it to the rig, and its config."""
    for option in reversed((
        click.option("--backend", type=click.Choice(["auto", "jack", "portaudio", "clock"]),
                     help="Where the sound goes; clock: nowhere, but in time.  [default: auto]"),
        click.option("--host", help="Address for OSC.  [default: 127.0.0.1]"),
        click.option("--port", type=click.IntRange(0, 65535), help="UDP port for OSC.  [default: 9001]"),
        click.option("--rate", type=click.IntRange(8000, 384000), help="Sample rate in Hz."),
        click.option("--block", type=click.IntRange(16, 8192), help="Frames per block."),
    )):
        command = option(command)
    return command


@main.command(short_help="Run a rig that patches build and steer over OSC.")
@click.argument("config", required=False, type=click.Path(path_type=Path), metavar="[CONFIG]")
@_rig_options
def serve(config: Path | None, **options: Any) -> None:
    """Run a rig that patches build and steer over OSC, empty or as CONFIG (.toml) says."""
    if config and not config.is_file():
        raise click.ClickException(f"{config}: {'this is a folder' if config.is_dir() else 'there is no such file'}")
    import neurig.rig

    sys.exit(neurig.rig.serve(config, **_given(options)))


@main.command(short_help="Play the demo rig: a guitar, a neural amp, a predictor.")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="End after so long; else at Ctrl-C.")
@click.option("--record", type=click.Path(path_type=Path), metavar="FILE", help="Record what is played.")
@_rig_options
def demo(seconds: float | None, record: Path | None, **options: Any) -> None:
    """Play the demo rig: a guitar through a neural amp whose knobs a predictor moves."""
    import neurig.rig

    sys.exit(neurig.rig.demo(seconds, record, **_given(options)))


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


if __name__ == "__main__":
    main()

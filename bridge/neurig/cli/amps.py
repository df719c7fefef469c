"""``neurig render`` and ``neurig bench``: amps without an instrument around them."""

import json
import math
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

_LONG = 60 * 48000  # frames, from which on a rendering shows how far it is


class Knob(click.ParamType):
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


@click.command()
@click.argument("model")
@click.argument("source", metavar="IN")
@click.argument("target", metavar="OUT")
@click.option("--param", "params", multiple=True, type=Knob(), metavar="NAME_OR_INDEX=VALUE",
              help="One of the model's own knobs, 0 to 1; 0.5 where not given. May be repeated.")
@click.option("--slim", type=click.FloatRange(0, 1), help="Size of a model that comes in several: 0 smallest, 1 full.")
@click.option("--level", type=click.Choice(("raw", "normalised", "calibrated")), default="raw", show_default=True,
              help="As the model was trained; every model about equally loud; or as loud as the device was.")
@click.option("--dbu", type=click.FloatRange(-60, 60), default=12, show_default=True,
              help="For calibrated: the level at your interface that is digital full scale, dBu.")
@click.option("--exact", is_flag=True, help="LSTM and GRU in double precision, some twenty times as slow.")
def render(model: str, source: str, target: str, params: tuple[tuple[str | int, float], ...],
           slim: float | None, level: str, dbu: float, exact: bool) -> None:
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
            progress = progress_bar(f"{Path(model).name} → {Path(target).name}", stack) if sys.stderr.isatty() else None
            done = render_file(loaded, source, target, dict(params), slim, progress, level=level, dbu=dbu,
                               exact=exact)
    except RenderError as problem:
        raise click.ClickException(str(problem)) from None
    if warning := loaded.info.get("warning"):
        click.echo(f"{model}: {warning}", err=True)
    loud = f"peak {20 * math.log10(done.peak):.1f} dB" if done.peak else "silent"
    channels = {1: "mono", 2: "stereo"}.get(done.channels, f"{done.channels} channels")
    click.echo(f"{target}: {done.frames / done.rate:.2f} s, {done.rate} Hz, {channels}, {loud}")
    if done.level != level:
        lacks = "levels in dBu" if level == "calibrated" else "loudness"
        click.echo(f"{model}: its file states no {lacks}: level {done.level}", err=True)
    if done.clipped:
        click.echo(f"{target}: samples beyond full scale were clipped; a .wav file keeps them", err=True)


def progress_bar(label: str, stack: ExitStack) -> Callable[[int, int], None]:
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


@click.command(short_help="Measure how fast and how exact amps run, beside other engines.")
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option("--block", "blocks", multiple=True, type=click.IntRange(1, 8192), default=(64,), show_default=True,
              help="Samples at a time. May be repeated.")
@click.option("--channels", type=click.IntRange(1, 64), default=1, show_default=True,
              help="Channels of the model that run side by side: ours together, a peer's one after the other.")
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
    from neurig.bench import BenchError, machine, measure, models_at, peers_at, plot, signal, table

    if picture and not picture.lower().endswith(".svg"):
        raise click.UsageError(f"{picture}: the picture's name ends in .svg")
    with ExitStack() as stack:
        progress = _share_done(stack) if sys.stderr.isatty() else None
        try:
            rows = list(measure(models_at(models), signal(source), blocks, channels, peers_at(peers), rounds,
                                references, slim, progress))
        except BenchError as problem:
            raise click.ClickException(str(problem)) from None
    if as_json:
        click.echo("[" + ",\n ".join(json.dumps(row.as_dict(), ensure_ascii=False) for row in rows) + "]")
    else:
        count = f"{channels} channel{'s' * (channels > 1)}"
        how = f"medians of {rounds} rounds" if rounds > 1 else "one round"
        click.echo(f"{machine()}\n{count}, {how}, ns of CPU time\n")
        click.echo(table(rows))
        refusals = (f"{row.engine} refused {Path(row.model).name}: {row.refused}" for row in rows if row.refused)
        for refusal in dict.fromkeys(refusals):  # once for all block sizes
            click.echo(refusal, err=True)
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

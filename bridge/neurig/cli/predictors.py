"""``neurig run`` and ``neurig init``: predictors as instruments; ``neurig step``: without an instrument around them."""

import json
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

_MODES = ("callresponse", "polyphony", "battle", "useronly", "filter")  # neurig.session knows them, but takes its time


@click.command(short_help="Play with predictors, over OSC, MIDI, serial and WebSocket.")
@click.option("-c", "--config", type=click.Path(path_type=Path), help="The config file.  [default: config.toml]")
@click.option("-l", "--logdir", type=click.Path(path_type=Path), default=Path("logs"), show_default=True,
              help="Folder for logs.")
@click.option("-d", "--dimension", type=click.IntRange(2, 64), help="Of a frame, where no model says it.")
@click.option("--mode", type=click.Choice(_MODES), help="Who plays when.")
@click.option("--threshold", type=click.FloatRange(0), help="callresponse: seconds of rest before the network plays.")
@click.option("--input-thru/--no-input-thru", default=None, help="Let the player's own MIDI be heard, too.")
@click.option("--sigma-temp", "sigmatemp", type=click.FloatRange(0), help="How freely its values vary.")
@click.option("--pi-temp", "pitemp", type=click.FloatRange(0, min_open=True),
              help="Low: it plays what is likeliest; high: also what is not.")
@click.option("--timescale", type=click.FloatRange(0), help="Stretches its time; 2 is half as fast.")
@click.option("-v", "--verbose/--quiet", default=None, help="Show every frame.")
@click.option("--log-input/--no-log-input", default=None, help="Log what the player does.")
@click.option("--log-predictions/--no-log-predictions", default=None, help="Log what the network plays.")
@click.argument("model", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def run(config: Path | None, logdir: Path, **overrides: Any) -> None:
    """Play with predictors, over OSC, MIDI, serial lines and WebSockets.

    What plays, and how it is reached, is in the config file (IMPSY's are understood, too); options go before what it
    says, for this once. With MODEL and no config file, a predictor is reached as IMPSY's is: it takes /interface x1 x2
    and so on at UDP port 6000, and sends /impsy x1 x2 … to port 6001. Ctrl-C ends it.
    """
    if config is None:
        config = Path("config.toml")
        if not config.exists():
            if not overrides["model"]:
                raise click.ClickException("there is no config.toml here: `neurig init` makes one, -c names another "
                                           "one, and `neurig run MODEL` needs none")
            config = None
    from neurig.interaction.config import ConfigError, read
    from neurig.interaction.run import run as play

    try:
        settings = read(config, overrides)
    except ConfigError as problem:
        raise click.ClickException(str(problem)) from None
    sys.exit(play(settings, logdir))


@click.command(short_help="Make a folder to play in.")
@click.argument("directory", required=False, type=click.Path(file_okay=False, path_type=Path), default=Path(),
                metavar="[DIR]")
@click.option("-f", "--force", is_flag=True, help="Write config.toml anew, if there is one.")
def init(directory: Path, force: bool) -> None:
    """Make a folder to play in: a config.toml that runs as it is, a model, and folders for logs and datasets.

    What is there stays there; with --force, config.toml is written anew.
    """
    from neurig.files import atomic, share, write_atomic

    for name in ("logs", "datasets", "models"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    model = directory / "models" / "wander.mdrnn"
    if not model.exists():
        with atomic(model) as temporary:
            shutil.copyfile(share("models", model.name), temporary)
    config = directory / "config.toml"
    if config.exists() and not force:
        click.echo(f"{config} is there already and stays as it is (--force writes it anew)")
    else:
        write_atomic(config, share("examples", "predictor/config.toml").read_text(encoding="utf-8"))
        click.echo(f"{config} is written")
    where = "" if directory == Path() else f"cd {shlex.quote(str(directory))}; "
    click.echo(f"Play: {where}neurig run   then send /interface x1 x2 x3 to UDP port 6000")


@click.command()
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
    MODEL is .mdrnn, .keras, .h5, .tflite or .onnx.

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

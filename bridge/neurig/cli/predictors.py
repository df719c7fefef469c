"""``neurig step``: predictors without an instrument around them."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import click


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

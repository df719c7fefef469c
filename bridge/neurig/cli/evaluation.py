"""``neurig predict``, ``neurig eval`` and ``neurig compare``: what models make of a recording, how near that is, and
what it costs."""

import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from neurig.cli.amps import Knob, progress_bar, render

if TYPE_CHECKING:
    from neurig.evaluation import Evaluation

predict = click.Command("predict", render.context_settings, render.callback, render.params, render.help,
                        short_help="The same as render: IN through MODEL, the whole file.")


@click.command("eval", short_help="Compare a model with the recording of its device.")
@click.argument("model")
@click.argument("source", metavar="IN")
@click.argument("recorded", metavar="OUT")
@click.option("--json", "as_json", is_flag=True, help="The figures for programs.")
@click.option("-o", "--report", metavar="REPORT.html", help="Write a report: .html with pictures and sound, or .pdf.")
@click.option("--param", "params", multiple=True, type=Knob(), metavar="NAME_OR_INDEX=VALUE",
              help="One of the model's own knobs, 0 to 1; 0.5 where not given. May be repeated.")
@click.option("--slim", type=click.FloatRange(0, 1), help="Size of a model that comes in several: 0 smallest, 1 full.")
@click.option("--channel", type=click.Choice(["left", "right"]), help="Which one, of stereo files.")
@click.option("--exact", is_flag=True, help="LSTM and GRU in double precision, some twenty times as slow.")
def evaluate(model: str, source: str, recorded: str, as_json: bool, report: str | None,
             params: tuple[tuple[str | int, float], ...], slim: float | None, channel: Literal["left", "right"] | None,
             exact: bool) -> None:
    """Run IN through MODEL and compare with OUT, what the device made of IN.

    The figures, all 0 where both are the same: the error-to-signal ratio (ESR) plain and with pre-emphasis, the mean
    absolute error, and the multi-resolution STFT loss. IN and OUT begin together (`neurig capture check -o` makes them
    so); the comparison is at OUT's rate.
    """
    from neurig.evaluation import EvaluationError, RenderError
    from neurig.evaluation import evaluate as compare
    from neurig.evaluation import report as reports
    from neurig.model import load

    try:
        if report:
            reports.require(report)
        with ExitStack() as stack:
            progress = progress_bar(f"{Path(source).name} → {Path(model).name}", stack) if sys.stderr.isatty() else None
            done = compare(load(model), source, recorded, dict(params), slim, channel, progress, exact=exact)
        if as_json:
            click.echo(json.dumps(done.metrics | {"delay": done.delay, "seconds": done.seconds, "rate": done.rate}))
        else:
            click.echo(_text(done))
        for notice in done.notices:
            click.echo(notice, err=True)
        if report:
            reports.write(done, report)
            click.echo(f"{report}: written", err=as_json)
    except (EvaluationError, RenderError) as problem:
        raise click.ClickException(str(problem)) from None


def _text(done: "Evaluation") -> str:
    from neurig.evaluation.report import in_words

    lines = [f"{done.name} against {done.recorded}: {done.seconds:.2f} s, {done.rate} Hz"]
    for title, value, ratio, text in in_words(done):
        lines.append(f"{title:21}{value:12}{ratio:22}{text}")
    return "\n".join(lines)


@click.command(short_help="Choose among models: how near they are, and what that costs.")
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.argument("source", metavar="IN")
@click.argument("recorded", metavar="OUT")
@click.option("--json", "as_json", is_flag=True, help="A list of rows, for programs.")
@click.option("--plot", "picture", metavar="FILE.svg", help="Draw error over cost: .svg, .png or .pdf.")
@click.option("--channel", type=click.Choice(["left", "right"]), help="Which one, of stereo files.")
@click.option("--block", type=click.IntRange(1, 8192), default=64, show_default=True,
              help="Samples at a time, where cost is measured.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="The median counts.")
def compare(models: tuple[str, ...], source: str, recorded: str, as_json: bool, picture: str | None,
            channel: Literal["left", "right"] | None, block: int, rounds: int) -> None:
    """Compare what each MODEL makes of IN with OUT, what the device made of it, and measure what it costs.

    The cheapest is first; one is best at its cost where no other is both cheaper and nearer. MODEL may also be a
    profile, a folder that `neurig train amp` made; a model that comes in several sizes has a row for each. Cost is
    measured on one core of the machine that this runs on: run it on a Raspberry Pi to choose for it.
    """
    from neurig.bench import machine
    from neurig.evaluation import EvaluationError, RenderError, cost

    try:
        if picture:
            cost.require(picture)
        with ExitStack() as stack:
            progress = _naming(stack) if sys.stderr.isatty() else lambda name: None
            found = cost.compare(models, source, recorded, channel, block, rounds, progress)
        if as_json:
            click.echo(cost.to_json(found))
        else:
            click.echo(f"{machine()}\n{source} → {recorded}, blocks of {block}, ns of CPU time\n\n{cost.table(found)}")
        for notice in dict.fromkeys(notice for one in found for notice in one.notices):
            click.echo(notice, err=True)
        if picture:
            cost.plot(found, picture)
            click.echo(f"{picture}: written", err=as_json)
    except (EvaluationError, RenderError) as problem:
        raise click.ClickException(str(problem)) from None


def _naming(stack: ExitStack) -> Callable[[str], None]:
    """Shows what is looked at, without a thread that would disturb a measurement."""
    from rich.console import Console
    from rich.live import Live

    live = stack.enter_context(Live(console=Console(stderr=True), transient=True, auto_refresh=False))
    return lambda name: live.update(f"listening to {name} …", refresh=True)

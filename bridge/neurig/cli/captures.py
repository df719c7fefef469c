"""``neurig train amp --captures DIR``: an amp for each pair of recordings in a folder."""

import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from neurig.training.captures import Event, Outcome

_OWN = ("--captures", "--retries", "--arch", "-o", "--output", "--ray")  # the last one's value may be left out
_NOT_HERE = ("--pair", "--name", "--resume", "--restart", "--validate", "--test")


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that ``neurig train amp`` has for this."""
    for option in reversed((
        click.option("--captures", metavar="DIR",
                     help="Train an amp for each pair of recordings in a folder, and for each of several --arch A,B."),
        click.option("--ray", metavar="[ADDRESS]", is_flag=False, flag_value="local",
                     help="With --captures, side by side: on a Ray cluster, or without ADDRESS on this machine."),
        click.option("--retries", type=click.IntRange(0, 100), default=2, show_default=True,
                     help="With --captures, how often one is tried again that was killed or crashed."),
    )):
        command = option(command)
    return command


def train(folder: str, profiles: str | None, architectures: str, ray: str | None, retries: int, threads: int | None,
          device: str, arguments: Sequence[str]) -> None:
    """Trains them all, and shows what became of each.

    :param arguments: of the command, of which those that are not for this go on to each training
    """
    from neurig.training import TrainingError
    from neurig.training.amp import network
    from neurig.training.captures import LEDGER, plan, run

    passed = _passed(arguments)
    if ray is not None and threads is None:
        passed += ["--threads", "1"]
    place = Path(profiles or "profiles")
    names = [name.strip() for name in architectures.split(",")]
    for name in names:
        network(name)  # is there such a one?
    trials = plan(folder, names, passed)
    captures = len({trial.capture.name for trial in trials})
    click.echo(f"{folder}: {captures} capture{'s' * (captures > 1)}, {len(trials)} "
               f"amp{'s' * (len(trials) > 1)} to train")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        outcomes = run(trials, place, ray, retries, threads or 1, 1 if device.startswith("cuda") else 0, _show)
    except KeyboardInterrupt:
        raise click.ClickException(f"stopped; the same command goes on ({place / LEDGER})") from None
    click.echo(f"\n{_table(outcomes)}")
    failed = [name for name, outcome in outcomes.items() if outcome.state != "done"]
    if failed:
        raise TrainingError(f"{len(failed)} of {len(outcomes)} amps could not be trained: {', '.join(failed)}")


def _passed(arguments: Sequence[str]) -> list[str]:
    """Of the command's arguments, those for each training."""
    passed, rest = [], list(arguments)
    while rest:
        word = rest.pop(0)
        name, equals, _ = word.partition("=") if word.startswith("--") else (word[:2], word[2:], "")
        if name in _NOT_HERE or not word.startswith("-"):
            raise click.UsageError(f"{word}: not together with --captures")
        values = []
        while rest and not equals and not rest[0].startswith("-") and not (name in _OWN and values):
            values.append(rest.pop(0))
        if name not in _OWN:
            passed += [word, *values]
    return passed


def _show(event: "Event") -> None:
    name, outcome = event.trial.name, event.outcome
    if event.what == "begins":
        click.echo(f"\n{name}: {event.trial.capture.input} → {event.trial.capture.output}")
    elif event.what == "again":
        click.echo(f"{name}: lost ({event.why}); once more", err=True)
    elif event.what == "known":
        click.echo(f"{name}: done before")
    elif outcome:
        click.echo(f"{name}: {outcome.state}" + (f" ({outcome.why})" if outcome.why else ""))


def _table(outcomes: "dict[str, Outcome]") -> str:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    made = Table(box=box.MARKDOWN)
    made.add_column("profile", no_wrap=True)
    made.add_column("test ESR", no_wrap=True, justify="right")
    made.add_column("seconds", no_wrap=True, justify="right")
    made.add_column("attempts", no_wrap=True, justify="right")
    made.add_column("")
    for name, outcome in outcomes.items():
        made.add_row(name, "" if outcome.esr is None else f"{outcome.esr:.3g}", f"{outcome.seconds:.0f}",
                     str(outcome.attempts), outcome.state + (f": {outcome.why}" if outcome.why else ""))
    console = Console(width=250, markup=False, emoji=False, highlight=False)
    with console.capture() as captured:
        console.print(made)
    return captured.get().strip()

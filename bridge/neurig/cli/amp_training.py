"""``neurig train amp``: from a recording of a device to a model that plays."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from neurig.cli import captures as many
from neurig.cli.training import minutes_and_seconds, stop_on_signals

if TYPE_CHECKING:
    from neurig.training.amp import Progress, Training
    from neurig.training.amp_data import Pair
    from neurig.training.amp_profile import Gear

_GEAR_TYPES = ["amp", "pedal", "pedal_amp", "amp_cab", "amp_pedal_cab", "preamp", "studio"]
_TONES = ["clean", "overdrive", "crunch", "hi_gain", "fuzz"]


class _WithPairs(click.Command):
    """Lets ``--pair`` take two files and any number of knobs, which click's options cannot."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta["arguments"] = list(args)
        folded: list[str] = []
        rest = list(args)
        while rest:
            word = rest.pop(0)
            folded.append(word)
            if word == "--pair":
                taken = [rest.pop(0) for _ in range(min(2, len(rest)))]
                while rest and "=" in rest[0] and not rest[0].startswith("-"):
                    taken.append(rest.pop(0))
                folded.append("\0".join(taken))
        return super().parse_args(ctx, folded)


class _PairType(click.ParamType):
    name = "pair"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from neurig.training.amp_data import Pair

        words = value.split("\0")
        if len(words) < 2 or any(word.startswith("-") for word in words[:2]):
            self.fail("a pair is two files and its knobs: --pair IN OUT gain=0.3", param, ctx)
        knobs = {}
        for word in words[2:]:
            name, _, number = word.partition("=")
            try:
                knobs[name] = float(number)
            except ValueError:
                self.fail(f"{word}: a knob is given as name=0.3", param, ctx)
            if not name or len(knobs) < words[2:].index(word) + 1:
                self.fail(f"{word}: {'a knob has a name' if not name else 'this knob is given twice'}", param, ctx)
        return Pair(Path(words[0]), Path(words[1]), knobs)


class _Weight(click.ParamType):
    name = "NAME=WEIGHT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        name, _, weight = value.partition("=")
        try:
            return name, float(weight) if weight else 1.0
        except ValueError:
            self.fail(f"{value}: a weight is given as mse=1", param, ctx)


@click.command(cls=_WithPairs, short_help="An amp, from what went into a device and what came out.")
@click.argument("source", metavar="[IN OUT]", required=False)
@click.argument("recorded", metavar="", required=False)
@click.option("-o", "--output", "folder", metavar="DIR", help="The profile.  [default: profiles/NAME_OF_OUT]")
@click.option("--pair", "pairs", multiple=True, type=_PairType(), metavar="IN OUT [KNOB=0.3 …]",
              help="A pair of recordings and where the device's knobs were. May be repeated: the model gets the knobs.")
@click.option("--arch", "architecture", default="standard", show_default=True, metavar="NAME",
              help="standard, lite, feather or nano (NAM A1); a2-full, a2-lite; wavenet1, wavenet2, wavenet3; lstm-16, "
                   "lstm-3x18, gru-16 and such of any size.")
@click.option("--preset", type=click.Choice(["fast", "normal", "best"]), default="normal", show_default=True,
              help="How long: about a minute, ten, or an hour with a small amp on one core.")
@click.option("--epochs", type=click.IntRange(1), help="Passes over what is learned, instead of the preset's.")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="Time to be done in, instead.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True,
              help="Of all that is drawn by chance: without --minutes, the same gives the same model.")
@click.option("--resume/--restart", default=None,
              help="Go on with a training that was interrupted, or begin it anew.  [default: go on where it fits]")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, mps: where to compute.")
@click.option("--threads", type=click.IntRange(1), help="Cores to use.  [default: all]")
@click.option("--channel", type=click.Choice(["left", "right"]), help="Which one, of stereo files.")
@click.option("--validate", type=(str, str), metavar="IN OUT",
              help="A pair to choose the best weights by, instead of the fourth fifth of each pair.")
@click.option("--test", type=(str, str), metavar="IN OUT",
              help="A pair to report on, instead of the last fifth of each pair.")
@click.option("--loss", "losses", multiple=True, type=_Weight(), metavar="NAME=WEIGHT",
              help="esr (with pre-emphasis), segment_esr (soft notes count like loud ones), dc, mse or mrstft; may be "
                   "repeated.  [default: as published for --arch]")
@click.option("--optimizer", type=click.Choice(["soap", "adam"]), help="[default: what suits --arch]")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Of learning, at its peak.  [default: likewise]")
@click.option("--batch", type=click.IntRange(1), help="Segments between two steps.  [default: likewise]")
@click.option("--segment", type=click.IntRange(16), help="Samples of a segment.  [default: likewise]")
@click.option("--earlystopping/--no-earlystopping", "early_stopping", default=True,
              help="End when the error on the validation no longer falls.  [default: yes]")
@click.option("-P", "--patience", type=click.IntRange(1), default=50, show_default=True,
              help="Validations that early stopping waits for a better one.")
@click.option("--name", help="The model's name.  [default: that of OUT]")
@click.option("--modeled-by", help="Your name.")
@click.option("--gear-type", type=click.Choice(_GEAR_TYPES))
@click.option("--gear-make", help="Who made the device.")
@click.option("--gear-model", help="What it is called.")
@click.option("--tone-type", type=click.Choice(_TONES))
@click.option("--input-level-dbu", type=click.FloatRange(-60, 60),
              help="Analog level at the device's input that was digital full scale, dBu.")
@click.option("--output-level-dbu", type=click.FloatRange(-60, 60), help="The same at its output.")
@many.options
@click.pass_context
def amp(ctx: click.Context, source: str | None, recorded: str | None, folder: str | None, pairs: tuple["Pair", ...],
        resume: bool | None, validate: tuple[str, str] | None, test: tuple[str, str] | None,
        channel: Literal["left", "right"] | None, device: str, threads: int | None, captures: str | None,
        ray: str | None, retries: int, **chosen: Any) -> None:
    """Train an amp on IN, what went into a device, and OUT, what came out of it.

    The two are judged and put in time first, as `neurig capture check` does. The result is a folder, the profile: the
    model for every host, a report with sound, figures, and a learning curve that is drawn while it learns. Ctrl-C ends
    the training early, and the best so far is kept; the same command goes on.
    """
    from neurig.training import TrainingError, require

    try:
        require()
        if captures:
            if source is not None:
                raise click.UsageError(f"{source}: not together with --captures")
            many.train(captures, folder, chosen["architecture"], ray, retries, threads, device, ctx.meta["arguments"])
            return
        from neurig.training.amp_data import Pair
        from neurig.training.amp_profile import Gear

        if source is not None:
            if recorded is None:
                raise click.UsageError("IN and OUT are both needed: what went into the device, and what came out of it")
            pairs = (Pair(Path(source), Path(recorded)), *pairs)
        if not pairs:
            raise click.UsageError("give IN and OUT, or pairs of them with --pair")
        name = chosen.pop("name") or pairs[0].output.stem
        gear = Gear(name=name, **{field: chosen.pop(field) for field in (
            "modeled_by", "gear_type", "gear_make", "gear_model", "tone_type", "input_level_dbu", "output_level_dbu")})
        others = [[Pair(Path(place[0]), Path(place[1]))] if place else [] for place in (validate, test)]
        profile = Path(folder) if folder else Path("profiles") / name
        _train(list(pairs), *others, profile, gear, resume, channel, device, threads, chosen)
    except TrainingError as problem:
        raise click.ClickException(str(problem)) from None


def _train(pairs: list["Pair"], validation: list["Pair"], test: list["Pair"], folder: Path, gear: "Gear",
           resume: bool | None, channel: Literal["left", "right"] | None, device: str, threads: int | None,
           chosen: dict[str, Any]) -> None:
    from neurig.training import TrainingError, amp_data, amp_presets, amp_profile
    from neurig.training.amp import Training, network

    network(chosen["architecture"])  # is there such a one? The recordings take their time
    if folder.exists() and not folder.is_dir():
        raise TrainingError(f"{folder}: this is a file, and a profile is a folder. Give another one with -o")
    device = amp_presets.device(device, threads)
    data = amp_data.load(pairs, validation, test, channel, lambda line: click.echo(line, err=True))
    settings = amp_presets.settings(data, **chosen)
    training = Training(data, settings, folder / amp_profile.CHECKPOINT, device)
    click.echo(f"{settings.architecture}, {sum(weight.numel() for weight in training.network.parameters()):,} weights; "
               f"{data.seconds:.0f} s at {data.rate} Hz to learn from; {_length(training)}")
    begins_anew = "as you wish" if resume is False else training.resume()
    if not begins_anew:
        click.echo(f"Going on after step {training.progress.step}" + (training.finished and f": {training.finished}"))
    elif resume:
        raise TrainingError(f"there is no training to go on with: {begins_anew}")
    elif resume is None and any((folder / name).exists() for name in amp_profile.FILES):
        click.echo(f"Beginning anew: {begins_anew}. The earlier one is now in {_set_aside(folder)}")
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(".*.tmp"):  # by a training that was killed while it wrote
        left.unlink()
    with stop_on_signals() as stop:
        with _shown(training, folder) as report:
            training.run(report, stop)
        figures = amp_profile.write(training, test or pairs, folder, gear)
    why = training.finished or "stopped; the same command goes on"
    click.echo(f"{folder}: ESR {figures['test']['esr']:.3g} on the test, {figures['validation']['esr']:.3g} on the "
               f"validation after step {figures['best_step']} of {figures['steps']} ({why})")
    click.echo(f"Listen and look: {folder / amp_profile.REPORT}")


def _set_aside(folder: Path) -> Path:
    """Moves a profile into a folder within its own, so that a new one can have its place."""
    from neurig.training.amp_profile import FILES

    places = (folder / f"earlier-{number}" for number in count(1))
    place = next(place for place in places if not place.exists())
    place.mkdir()
    for name in FILES:
        if (folder / name).exists():
            (folder / name).rename(place / name)
    return place


def _length(training: "Training") -> str:
    settings = training.settings
    if settings.minutes is not None:
        return f"{settings.minutes:g} minutes"
    return f"{settings.steps:,} steps, {settings.steps / training.epoch:.0f} epochs"


@contextmanager
def _shown(training: "Training", folder: Path) -> Iterator[Callable[["Progress"], None]]:
    """Gives a function that shows how far a training is: a live line in a terminal, else a line for each validation;
    and keeps the learning curve on the disk."""
    from neurig.training.amp_profile import write_log

    reported, drawn, drawing = len(training.progress.history), time.monotonic(), 0.0

    def state(progress: "Progress") -> str:
        if not progress.history:
            return f"loss {progress.loss:.3g}"
        return f"ESR {progress.history[-1].esr:.3g}, best {progress.best_esr:.3g}"

    def log(progress: "Progress") -> bool:
        """:returns: whether there was a validation since the last call"""
        nonlocal reported, drawn, drawing
        if len(progress.history) == reported:
            return False
        reported = len(progress.history)
        began = time.monotonic()
        if began - drawn > max(2.0, 50 * drawing):
            write_log(training, folder)
            drawn = time.monotonic()
            drawing = drawn - began
        return True

    def line(progress: "Progress") -> None:
        if log(progress):
            click.echo(f"step {progress.step}, {100 * training.done:.0f} %: {state(progress)}; "
                       f"{minutes_and_seconds(training.left)} left")

    if not sys.stderr.isatty():
        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.percentage:3.0f} %"), BarColumn(), TimeElapsedColumn(),
               TextColumn("{task.fields[left]} left · step {task.fields[step]:,} · {task.fields[state]}"))
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1.0, completed=training.done, left="?", step=training.progress.step,
                            state=state(training.progress))
        shown = 0.0

        def live(progress: "Progress") -> None:
            nonlocal shown
            log(progress)
            if time.monotonic() - shown > 0.1:
                shown = time.monotonic()
                left = training.left
                bar.update(task, completed=training.done, step=progress.step, state=state(progress),
                           left=minutes_and_seconds(left) if left == left else "?")

        yield live

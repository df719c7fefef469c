"""``neurig dataset``, ``neurig train`` and ``neurig test-mdrnn``: from logs to a predictor of one's own."""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from neurig.dataset import Dataset
    from neurig.training.mdrnn import Progress, Settings, Training

_SIZES = click.Choice(["xxs", "xs", "s", "m", "l", "xl"])
_DIMENSION = click.IntRange(2, 64)
_DRAWN = 1000  # rows of what was played, in the picture of a performance


@click.command()
@click.option("-D", "--dimension", type=_DIMENSION,
              help="Of the logs: the time step and the values.  [default: that of all logs, if it is one]")
@click.option("-S", "--source", metavar="FOLDER", default="logs", show_default=True, help="Where the logs are.")
@click.option("-O", "--destination", metavar="FOLDER", default="datasets", show_default=True,
              help="Where the dataset goes.")
@click.option("-F", "--filename", metavar="NAME.npz", help="Its name.  [default: training-dataset-{dimension}d.npz]")
@click.option("--split", type=click.FloatRange(0, min_open=True), metavar="SECONDS",
              help="A longer pause ends a performance, so that it is not learned.")
def dataset(dimension: int | None, source: str, destination: str, filename: str | None, split: float | None) -> None:
    """Make a dataset of the logs of what you played, and tell what is in it."""
    from neurig.dataset import DatasetError, collate, save, summary

    if filename and (not filename.endswith(".npz") or Path(filename).name != filename):
        raise click.UsageError(f"{filename}: the dataset's name ends in .npz; its folder is given with --destination")
    try:
        made = collate(source, dimension, split)
    except DatasetError as problem:
        raise click.ClickException(str(problem)) from None
    path = Path(destination) / (filename or f"training-dataset-{made.dataset.dimension}d.npz")
    path.parent.mkdir(parents=True, exist_ok=True)
    save(made.dataset, path)
    for notice in made.notices:
        click.echo(notice, err=True)
    click.echo(f"{path}: {made.logs} log{'s' * (made.logs > 1)}, {summary(made.dataset)}")


@click.group()
def train() -> None:
    """Train a model of your own. It needs PyTorch: pip install 'neurig[train]'."""


@train.command(short_help="A predictor, from a dataset.")
@click.argument("dataset", metavar="[DATASET]", required=False)
@click.option("-D", "--dimension", type=_DIMENSION, help="Of the dataset, where --source is a folder of several.")
@click.option("-S", "--source", metavar="FILE_OR_FOLDER", default="datasets", show_default=True,
              help="The dataset, where DATASET is not given.")
@click.option("-M", "--modelsize", "size", type=_SIZES, default="s", show_default=True,
              help="Units of each LSTM layer: 16, 32, 64, 128, 256 or 512.")
@click.option("--earlystopping/--no-earlystopping", "early_stopping", default=True,
              help="End when the validation loss no longer falls.  [default: yes]")
@click.option("-P", "--patience", type=click.IntRange(1), default=10, show_default=True,
              help="Epochs that early stopping waits for a better one.")
@click.option("-N", "--numepochs", "epochs", type=click.IntRange(1), default=100, show_default=True,
              help="Passes over the data, at most.")
@click.option("-B", "--batchsize", "batch", type=click.IntRange(1), default=64, show_default=True,
              help="Windows between two steps of the optimizer.")
@click.option("-O", "--destination", metavar="FOLDER", default="models", show_default=True,
              help="Where the model goes.")
@click.option("--name", help="The model's name.  [default: musicMDRNN-dim…-layers…-units…-mixtures…-scale…]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True,
              help="Of all that is drawn by chance: the same gives the same model.")
@click.option("--rate", type=click.FloatRange(0, min_open=True),
              help="Of learning.  [default: 0.003, less above 64 units]")
@click.option("--threads", type=click.IntRange(1), help="Cores to use.  [default: 1 up to 128 units, else all]")
@click.option("--onnx", is_flag=True, help="Also write the model as ONNX.")
@click.option("--resume/--restart", default=True,
              help="Go on with a training that was interrupted, or begin it anew.  [default: go on]")
def mdrnn(dataset: str | None, dimension: int | None, source: str, destination: str, name: str | None, resume: bool,
          threads: int | None, onnx: bool, **chosen: Any) -> None:
    """Train a predictor on DATASET, a file that `neurig dataset` made.

    Ctrl-C ends the training early; the best so far is kept, as NAME.mdrnn. The folder NAME.training has pictures of how
    it learned and of what it plays, the losses as history.csv, and what is needed to go on: after Ctrl-C, a crash or
    with a larger --numepochs, give the same command again.
    """
    from neurig.dataset import DatasetError
    from neurig.training import TrainingError, require

    try:
        require()
        data, path = _find_dataset(dataset or source, dimension)
        _train(data, path, Path(destination), name, resume, threads, onnx, chosen)
    except (DatasetError, TrainingError) as problem:
        raise click.ClickException(str(problem)) from None


def _find_dataset(place: str, dimension: int | None) -> tuple["Dataset", Path]:
    """Reads the dataset of a path, or the one in a folder.

    :raises DatasetError: where it is not clear which, or it is of another dimension
    """
    from neurig.dataset import DatasetError, load

    path = Path(place)
    if path.is_dir():
        found = sorted(path.glob("*.npz")) if dimension is None else [path / f"training-dataset-{dimension}d.npz"]
        if len(found) != 1:
            listed = f"there are {', '.join(file.name for file in found)}" if found else "there is no dataset (.npz)"
            raise DatasetError(f"{place}: {listed}. Name the one to learn from, or make it with `neurig dataset`")
        path = found[0]
    data = load(path)
    if dimension not in (None, data.dimension):
        raise DatasetError(f"{path}: its dimension is {data.dimension}, not {dimension}. Leave --dimension out, or "
                           "name another dataset")
    return data, path


def _train(data: "Dataset", source: Path, destination: Path, name: str | None, resume: bool, threads: int | None,
           onnx: bool, chosen: dict[str, Any]) -> None:
    import torch

    from neurig.training.mdrnn import Settings, Training
    from neurig.training.sizes import SIZES, model_name

    settings = Settings(**chosen)
    size = SIZES[settings.size]
    if threads or size.units <= 128:
        torch.set_num_threads(threads or 1)  # in small networks threads only wait for each other
    model = destination / f"{name or model_name(data.dimension, size)}.mdrnn"
    folder = model.with_suffix(".training")
    training = Training(data, settings, folder / "checkpoint.pt")
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(".*.tmp"):  # by a training that was killed while it wrote
        left.unlink()
    click.echo(f"{source}: {len(training.windows):,} windows of dimension {data.dimension}, of which "
               f"{len(training.windows) - training.windows.learned:,} for validation")
    begins_anew = training.resume() if resume else "as you wish"
    if not begins_anew:
        finished = training.finished and f": {training.finished}"
        click.echo(f"Going on after epoch {len(training.progress.history)}{finished}")
    elif training.checkpoint.exists():
        click.echo(f"Beginning anew: {begins_anew}")
    with stop_on_signals() as stop:
        with _shown(settings, training) as report:
            training.run(report, stop)
        _keep(training, data, source, model, folder, onnx)


def _keep(training: "Training", data: "Dataset", source: Path, model: Path, folder: Path, onnx: bool) -> None:
    """Writes the best network, and what tells how it came to be."""
    from neurig.convert import write
    from neurig.training import pictures

    progress, settings = training.progress, training.settings
    epochs = len(progress.history)
    loss = progress.best_loss if epochs else training.validate(training.best)
    metadata = {"name": model.stem, "made_by": "neurig", "validation_loss": round(loss, 4), "epoch": progress.best,
                "seed": settings.seed, "size": settings.size}
    network = training.best.weights(source, metadata)
    written = [model, model.with_suffix(".onnx")] if onnx else [model]
    for path in written:
        write(network, path)
    why = training.finished or "stopped; the same command goes on"
    click.echo(f"{' and '.join(map(str, written))}: validation loss {loss:.4f}"
               + (f" in epoch {progress.best} of {epochs} ({why})" if epochs else f" within the first epoch ({why})"))
    if epochs:
        _write_history(progress, folder / "history.csv")
        pictures.learning_curve(progress.history, progress.best, folder / "learning.png")
        played = max(data.trainable(), key=len)[-_DRAWN:]
        predicted = pictures.continued(network, played, 4 * _DRAWN, settings.seed)
        pictures.performance(played, predicted, folder / "performance.png")
        click.echo(f"{folder}: learning.png, performance.png, history.csv")


def _write_history(progress: "Progress", path: Path) -> None:
    from neurig.files import write_atomic

    lines = [f"{number},{epoch.loss:.6f},{epoch.validation:.6f},{epoch.seconds:.3f}"
             for number, epoch in enumerate(progress.history, start=1)]
    write_atomic(path, "\n".join(["epoch,loss,validation_loss,seconds", *lines, ""]))


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
    """Gives a function that tells whether the user wants an end: Ctrl-C or SIGTERM. A second one ends at once."""
    wanted = False

    def note(number: int, _: object) -> None:
        nonlocal wanted
        wanted = True
        signal.signal(number, signal.default_int_handler)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: wanted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _shown(settings: "Settings", training: "Training") -> Iterator[Callable[["Progress"], None]]:
    """Gives a function that shows how far a training is: a live line in a terminal, else a line for each epoch."""
    reported = len(training.progress.history)

    def losses(progress: "Progress") -> str:
        if not progress.history:
            return "no losses yet"
        last = progress.history[-1]
        return (f"loss {last.loss:.3f}, validation {last.validation:.3f}, "
                f"best {progress.best_loss:.3f} in epoch {progress.best}")

    def line(progress: "Progress") -> None:
        nonlocal reported
        if len(progress.history) > reported:
            reported = len(progress.history)
            left = minutes_and_seconds(progress.history[-1].seconds * (settings.epochs - reported))
            click.echo(f"epoch {reported}/{settings.epochs}: {losses(progress)}; at most {left} left")

    if not sys.stderr.isatty():
        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    done = training.progress
    columns = (TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"), BarColumn(), TimeElapsedColumn(),
               TextColumn("at most"), TimeRemainingColumn(), TextColumn("left · {task.fields[losses]}"))
    with Bar(*columns, console=Console(stderr=True), transient=True, speed_estimate_period=120) as bar:
        task = bar.add_task("", total=settings.epochs * training.batches, epochs=settings.epochs,
                            completed=len(done.history) * training.batches + done.batch,
                            epoch=len(done.history) + 1, losses=losses(done))

        def live(progress: "Progress") -> None:
            epochs = len(progress.history)
            bar.update(task, completed=epochs * training.batches + progress.batch, losses=losses(progress),
                       epoch=min(epochs + 1, settings.epochs))

        yield live


def minutes_and_seconds(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


@click.command("test-mdrnn", short_help="Make or load a predictor, run it, and tell how long that takes.")
@click.argument("model", metavar="[MODEL]", required=False)
@click.option("-D", "--dimension", type=_DIMENSION, default=4, show_default=True, help="Of the one made.")
@click.option("-M", "--modelsize", "size", type=_SIZES, default="s", show_default=True, help="Of the one made.")
@click.option("--steps", type=click.IntRange(1, 1_000_000), default=1000, show_default=True, help="To be predicted.")
def test_mdrnn(model: str | None, dimension: int, size: str, steps: int) -> None:
    """Load the predictor MODEL, or make one with random weights; run it, and tell how long that takes."""
    began = time.perf_counter()
    import numpy as np

    from neurig import Predictor
    from neurig.model import load, parse

    imported = time.perf_counter()
    if model is None:
        from neurig.training.sizes import SIZES, untrained

        network = untrained(dimension, SIZES[size], seed=0)
        loaded = parse(network.text(), Path("untrained.mdrnn"))
    else:
        loaded = load(model)
    ready = time.perf_counter()
    predictor = Predictor(loaded)
    took = []
    for _ in range(steps):
        before = time.perf_counter()
        frame = predictor.predict()
        took.append(time.perf_counter() - before)
        if not (np.isfinite(frame).all() and frame[0] > 0 and (frame[1:] >= 0).all() and (frame[1:] <= 1).all()):
            raise click.ClickException(f"{model or 'the new network'}: it predicted {frame}, which cannot be played")
    about = loaded.info
    median, late = (1e6 * quantile for quantile in np.quantile(took, (0.5, 0.99)))
    click.echo(f"dimension {about['dimension']}, {about['layers']} layers of {about['units']} units, "
               f"{about['mixtures']} mixtures\n"
               f"import     {1e3 * (imported - began):8.1f} ms\n"
               f"{'load' if model else 'build'}      {1e3 * (ready - imported):8.1f} ms\n"
               f"prediction {median:8.1f} µs, 99 % within {late:.1f} µs")

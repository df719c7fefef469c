"""Datasets: what players did, collated from their logs, for a predictor to learn.

A log is a text file named ``YYYY-MM-DDTHH-MM-SS-{dimension}d-mdrnn.log``. Each line is an event: the time (ISO 8601),
who made it (``interface`` for the player; others are not learned from), and the values x1 … x(dimension - 1). A dataset is
a ``.npz`` file; its array ``perfs`` has a performance for each log, with rows ``[dt, x1 … x(dimension - 1)]`` of
float32.
"""

import io
import os
import pickle
import re
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from neurig.files import atomic

WINDOW = 51  # rows that a predictor sees at once in training: 50 of them are given, and for each the next one is asked
SHORTEST = WINDOW + 1  # rows of a performance that is learned from
DIMENSIONS = range(2, 65)
_LOG = re.compile(r"-(\d+)d-mdrnn\.log$")
_MAX_BYTES = 1 << 31

Rows = NDArray[np.float32]


class DatasetError(ValueError):
    """A log or a dataset that cannot be used: the reason, and what to do about it."""


@dataclass(frozen=True)
class Log:
    """What one log file holds.

    :ivar rows: shape (events - 1, dimension), float64: ``[dt, x…]``, the time since the event before being in seconds
    :ivar malformed: lines that are no event: too few values, or something that is no number or no time
    :ivar longer: events with more values than the dimension says, of which the first were taken
    """

    rows: NDArray[np.float64]
    malformed: int = 0
    longer: int = 0


def read_log(lines: Iterable[str], dimension: int) -> Log:
    """The player's events in a log.

    :param lines: of the file
    :param dimension: values in a row, the time step among them
    """
    times: list[datetime] = []
    values: list[list[float]] = []
    malformed = longer = 0
    for line in lines:
        cells = [cell.strip() for cell in line.strip("\0 \r\n\t").split(",")]
        if cells == [""]:
            continue
        try:
            time, source = datetime.fromisoformat(cells[0]), cells[1]
            if source != "interface":  # but a predictor, or a player who has not yet touched everything
                continue
            row = [float(cell) for cell in cells[2:]]
            if len(row) < dimension - 1 or not np.isfinite(row).all():
                raise ValueError
            if times and (time.tzinfo is None) != (times[0].tzinfo is None):
                raise ValueError  # one has a time zone, the other not: nobody knows what is between them
        except (ValueError, IndexError):
            malformed += 1
            continue
        longer += len(row) > dimension - 1
        times.append(time)
        values.append(row[: dimension - 1])
    rows = [[(time - before).total_seconds(), *row]
            for before, time, row in zip(times, times[1:], values[1:], strict=False)]
    return Log(np.array(rows, np.float64).reshape(-1, dimension), malformed, longer)


@dataclass(frozen=True)
class Dataset:
    """Performances of one dimension.

    :ivar performances: each of shape (rows, dimension), float32
    """

    performances: list[Rows]

    @property
    def dimension(self) -> int:
        return self.performances[0].shape[1]

    @property
    def rows(self) -> int:
        return sum(map(len, self.performances))

    @property
    def seconds(self) -> float:
        return float(sum(rows[:, 0].sum(dtype=np.float64) for rows in self.performances))

    def gaps(self, longer_than: float) -> list[float]:
        """The time steps longer than some seconds, longest first."""
        steps = np.concatenate([rows[:, 0] for rows in self.performances])
        return sorted(steps[steps > longer_than].tolist(), reverse=True)

    def trainable(self) -> list[Rows]:
        """The performances that are long enough to learn from.

        :raises DatasetError: where there is none, or a number in them is not finite
        """
        long_enough = [rows for rows in self.performances if len(rows) >= SHORTEST]
        if not long_enough:
            longest = max(map(len, self.performances))
            raise DatasetError(f"there is nothing to learn from: the longest of {_count(self.performances, 'performance')}"
                               f" has {longest} rows, and {SHORTEST} are needed. Record longer ones without a restart")
        for number, rows in enumerate(long_enough, start=1):
            if not np.isfinite(rows).all():
                raise DatasetError(f"performance {number} has numbers that are not finite. Collate it again from its "
                                   "log: such rows are left out then")
        return long_enough


@dataclass(frozen=True)
class Collation:
    """A dataset, and what was met on the way to it.

    :ivar notices: sentences about what was left out, or may be wrong
    """

    dataset: Dataset
    logs: int
    notices: tuple[str, ...]


def collate(folder: str | os.PathLike[str], dimension: int | None = None, split: float | None = None) -> Collation:
    """Makes a dataset of the logs in a folder, in the order of their names.

    :param dimension: which logs; where it is not given, all have to be of the same
    :param split: seconds: a longer pause ends a performance, and the next event begins another
    :raises DatasetError: where there is nothing that a predictor could learn from
    :raises OSError: where a file cannot be read
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DatasetError(f"{folder}: there is no such folder. Name the one that has the logs with --source")
    logs = {path: int(found[1]) for path in sorted(folder.iterdir()) if (found := _LOG.search(path.name))}
    dimension = _only_dimension(folder, set(logs.values()), dimension)
    notices: list[str] = []
    performances: list[Rows] = []
    chosen = [path for path, of in logs.items() if of == dimension]
    for path in chosen:
        with path.open(encoding="utf-8", errors="replace") as lines:
            log = read_log(lines, dimension)
        parts, backwards = _split(log.rows, split)
        performances += [part.astype(np.float32) for part in parts if len(part)]
        for count, what in ((log.malformed, "left out, being no whole event"),
                            (log.longer, f"with more than {dimension - 1} values, of which the first were taken"),
                            (backwards, "where the clock was set back: a new performance begins there")):
            if count:
                notices.append(f"{path.name}: {count} line{'s' * (count > 1)} {what}")
        if not len(log.rows):
            notices.append(f"{path.name}: no two events of a player in it")
    if not performances:
        raise DatasetError(f"{folder}: the {_count(chosen, 'log')} of dimension {dimension} hold no events of a player."
                           " Play with log_input = true in the configuration, and collate again")
    dataset = Dataset(performances)
    try:
        dataset.trainable()
    except DatasetError as problem:
        raise DatasetError(f"{folder}: {problem}") from None
    return Collation(dataset, len(chosen), (*notices, *_remarks(dataset)))


def _only_dimension(folder: Path, found: set[int], wanted: int | None) -> int:
    """:raises DatasetError: where the logs do not have what is wanted, or leave open what is"""
    there = " and ".join(map(str, sorted(found)))
    if wanted is not None and wanted not in found:
        others = f"those there are of dimension {there}" if found else "there are no logs at all"
        raise DatasetError(f"{folder}: no log's name ends in -{wanted}d-mdrnn.log; {others}. Name the right "
                           "--dimension, or the right folder with --source")
    if not found:
        raise DatasetError(f"{folder}: no log's name ends in -…d-mdrnn.log. Name the folder of logs with --source")
    if wanted is None and len(found) > 1:
        raise DatasetError(f"{folder}: there are logs of dimension {there}. Choose one with --dimension")
    dimension = wanted if wanted is not None else found.pop()
    if dimension not in DIMENSIONS:
        raise DatasetError(f"{folder}: a dimension is {DIMENSIONS[0]} to {DIMENSIONS[-1]} (the time step and the values),"
                           f" not {dimension}")
    return dimension


def _split(rows: NDArray[np.float64], pause: float | None) -> tuple[list[NDArray[np.float64]], int]:
    """The rows without those whose time step cannot be learned, cut there; and how often the clock went backwards.

    After a cut the row with the impossible step is left out, like the first event of a log.
    """
    backwards = rows[:, 0] < 0
    cuts = np.flatnonzero(backwards if pause is None else backwards | (rows[:, 0] > pause))
    parts = np.split(rows, cuts)
    return [parts[0], *(part[1:] for part in parts[1:])], int(backwards.sum())


def _remarks(dataset: Dataset) -> list[str]:
    """What a player may want to know before training."""
    remarks = []
    everything = np.concatenate(dataset.performances)
    low, high = everything.min(0), everything.max(0)
    for index in range(1, dataset.dimension):
        if low[index] == high[index]:
            remarks.append(f"x{index} is always {low[index]:g}: a predictor learns nothing about it")
        elif low[index] < 0 or high[index] > 1:
            remarks.append(f"x{index} goes from {low[index]:g} to {high[index]:g}: only 0 to 1 is played")
    short = sum(len(rows) < SHORTEST for rows in dataset.performances)
    if short:
        remarks.append(f"{short} performance{'s' * (short > 1)} of fewer than {SHORTEST} rows: not used in training")
    return remarks


def save(dataset: Dataset, path: str | os.PathLike[str]) -> None:
    """Writes a dataset; the file appears when it is complete.

    :raises OSError: where the folder is missing, full or read-only; an old file is still there then
    """
    performances = np.empty(len(dataset.performances), object)
    performances[:] = dataset.performances
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, perfs=performances)


def load(path: str | os.PathLike[str]) -> Dataset:
    """Reads a dataset, our own or IMPSY's.

    Such a file holds Python objects, and unpickling them as they come would run whatever a stranger put there. So
    only arrays of numbers are admitted, and they are rebuilt here from their bytes.

    :raises DatasetError: where it holds anything else, or no performances; the message is ``path: reason``
    :raises OSError: where it cannot be read
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if "perfs.npy" not in archive.namelist():
                raise DatasetError("this archive has no array perfs, so it is not a dataset. "
                                   "`neurig dataset` makes one of logs")
            if archive.getinfo("perfs.npy").file_size > _MAX_BYTES:
                raise DatasetError(f"it is larger than {_MAX_BYTES} bytes. Divide the logs over several datasets")
            content = archive.read("perfs.npy")
        return Dataset(_performances(_read_array(content)))
    except DatasetError as problem:
        raise DatasetError(f"{path}: {problem}") from None
    except OSError:
        raise
    except Exception as problem:  # what a damaged archive, header or pickle may raise has no end
        reason = str(problem).partition("\n")[0] or type(problem).__name__
        raise DatasetError(f"{path}: this is no dataset, or a broken one ({reason}). `neurig dataset` makes one of "
                           "logs") from None


def _performances(perfs: Any) -> list[Rows]:
    """:raises DatasetError: where these are no performances"""
    if isinstance(perfs, np.ndarray):
        perfs = [perfs] if perfs.ndim == 2 else list(perfs) if perfs.ndim else []
    performances = [np.ascontiguousarray(rows, np.float32) for rows in perfs if len(rows)]
    if not performances:
        raise DatasetError("it holds no performances. Record logs, and collate them with `neurig dataset`")
    shapes = {rows.shape[1:] for rows in performances}
    if len(shapes) > 1 or any(len(shape) != 1 or shape[0] not in DIMENSIONS for shape in shapes):
        found = ", ".join(sorted(map(str, {rows.shape for rows in performances})))
        raise DatasetError("its performances should be rows of one dimension, the time step and from 1 to "
                           f"{DIMENSIONS[-1] - 1} values, but have the shapes {found}")
    return performances


# ---- Arrays of arrays, read without trust ---------------------------------------------------------------------------


def _read_array(content: bytes) -> Any:
    """The array of a ``.npy`` file; for one of objects nested lists, in which each array of numbers is an array."""
    file = io.BytesIO(content)
    read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(npy.read_magic(file))
    if read_header is None:
        raise ValueError("its format is a newer one")
    dtype = read_header(file)[2]
    if not dtype.hasobject:
        file.seek(0)
        return npy.read_array(file, allow_pickle=False)
    return _Unpickler(file).load().array()


class _Dtype:
    """What a pickle says of a kind of number."""

    def __init__(self, name: str, align: bool = False, copy: bool = False) -> None:
        if not re.fullmatch(r"[<>=|]?([fiu][1248]|b1|O8?)", name):
            raise pickle.UnpicklingError(f"arrays of {name!r} are not numbers")
        self.name = name.lstrip("<>=|")
        self.order = "<"

    def __setstate__(self, state: Sequence[Any]) -> None:
        self.order = ">" if state[1] == ">" else "<"


class _Array:
    """What a pickle says of an array."""

    def __init__(self, *_: Any) -> None:
        self.content: tuple[Any, ...] = ()

    def __setstate__(self, state: Sequence[Any]) -> None:
        _, shape, dtype, columns_first, data = state
        if not isinstance(dtype, _Dtype):
            raise pickle.UnpicklingError("an array without a type")
        self.content = shape, dtype, columns_first, data

    def array(self) -> Any:
        """The array itself; a list where it is one of objects."""
        if not self.content:
            raise pickle.UnpicklingError("an array without content")
        shape, dtype, columns_first, data = self.content
        order = "F" if columns_first else "C"
        if not dtype.name.startswith("O"):
            return np.frombuffer(data, np.dtype(dtype.order + dtype.name)).reshape(shape, order=order)
        items = [item.array() if isinstance(item, _Array) else item for item in data]
        if not any(isinstance(item, (np.ndarray, list)) for item in items):
            return np.array(items, np.float32).reshape(shape, order=order)
        if len(shape) != 1:
            raise pickle.UnpicklingError("arrays nested in a way that performances are not")
        return items


def _from_buffer(buffer: Any, dtype: _Dtype, shape: Sequence[int], order: str) -> _Array:
    array = _Array()
    array.__setstate__((1, shape, dtype, order == "F", bytes(buffer)))
    return array


def _encode(text: str, encoding: str) -> bytes:
    """How Python 2's pickles carry bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"text in {encoding}")
    return text.encode("latin1")


class _Unpickler(pickle.Unpickler):
    """Admits what NumPy's arrays are made of, and puts our own readers in its place."""

    _admitted = {
        ("multiarray", "_reconstruct"): lambda *_: _Array(),
        ("numeric", "_frombuffer"): _from_buffer,
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Dtype,
        ("_codecs", "encode"): _encode,
    }

    def find_class(self, module: str, name: str) -> Any:
        home = re.sub(r"^numpy\._?core\.", "", module)
        if (home, name) not in self._admitted:
            raise pickle.UnpicklingError(f"it holds more than numbers: {module}.{name}")
        return self._admitted[home, name]

    def persistent_load(self, _: Any) -> Any:
        raise pickle.UnpicklingError("it refers to other files")


def summary(dataset: Dataset, pause: float = 5.0) -> str:
    """A few lines about a dataset, for people.

    :param pause: seconds from which on a time step counts as a gap
    """
    gaps = dataset.gaps(pause)
    lines = [f"{_count(dataset.performances, 'performance')}, {dataset.rows:,} rows, {_duration(dataset.seconds)}",
             f"{len(gaps)} pause{'s' * (len(gaps) != 1)} of more than {pause:g} s"
             + (f", the longest {_duration(gaps[0])}" if gaps else "")]
    everything = np.concatenate(dataset.performances)
    names = ["dt", *(f"x{index}" for index in range(1, dataset.dimension))]
    width = max(map(len, names))
    lines.append(f"{'':<{width}}  {'lowest':>8} {'5 %':>8} {'median':>8} {'95 %':>8} {'highest':>8}")
    for name, column in zip(names, everything.T, strict=True):
        low, *middle, high = np.quantile(column, [0, 0.05, 0.5, 0.95, 1])
        lines.append(f"{name:<{width}}  " + " ".join(f"{value:8.3f}" for value in (low, *middle, high)))
    return "\n".join(lines)


def _count(things: Sequence[Any], name: str) -> str:
    return f"{len(things)} {name}{'s' * (len(things) != 1)}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours or minutes:
        return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
    return f"{seconds:.1f} s"

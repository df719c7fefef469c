"""What an amp learns from: pairs of recordings, judged and put in time, split in time order, cut into batches."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurig.capture.check import CaptureError, Channel, Report, check
from neurig.training import TrainingError

Samples = NDArray[np.float32]

VALIDATION, TEST = 0.2, 0.2  # shares of a pair, at its end; the rest is learned
SETTLING = 8192  # samples at the beginning of a part that are heard, but not judged
LEVEL = 10 ** (-18 / 20)  # rms that targets are brought to, as in NAM's trainer


@dataclass(frozen=True)
class Pair:
    """The names of two recordings, and where the device's knobs were.

    :ivar input: what went into the device
    :ivar output: what came out of it
    :ivar knobs: their positions by name, 0 to 1
    """

    input: Path
    output: Path
    knobs: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        knobs = (f"{name}={value:g}" for name, value in self.knobs.items())
        return " ".join([str(self.input), str(self.output), *knobs])


@dataclass(frozen=True)
class Part:
    """A stretch of a pair. What is before its ``start`` may be heard, but is neither learned nor judged.

    :ivar source: what went in, shape (n,), full scale at 1
    :ivar target: what came out, shape (n,)
    :ivar knobs: shape (knobs,)
    :ivar start: where in ``source`` it begins
    """

    source: Samples
    target: Samples
    knobs: Samples
    start: int = 0

    def __len__(self) -> int:
        return len(self.source) - self.start

    @property
    def judged(self) -> slice:
        """Where the samples are that figures are about: behind a beginning in which a recurrent network settles."""
        return slice(self.start + min(SETTLING, len(self) // 4), len(self.source))

    def inputs(self, samples: slice) -> Tensor:
        """The network's inputs, shape (1 + knobs, samples): the signal, and the knobs, which do not move."""
        signal = torch.from_numpy(self.source[samples])[None]
        return torch.cat([signal, torch.from_numpy(self.knobs)[:, None].expand(-1, signal.shape[1])])


@dataclass(frozen=True)
class Data:
    """The recordings of a training.

    :ivar rate: Hz
    :ivar knobs: names of the device's knobs
    :ivar learned: what is learned
    :ivar validation: what the best weights are chosen by
    :ivar test: what is reported
    :ivar reports: what the check of each pair found
    """

    rate: int
    knobs: tuple[str, ...]
    learned: list[Part]
    validation: list[Part]
    test: list[Part]
    reports: list[Report] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """How much is learned."""
        return sum(map(len, self.learned)) / self.rate

    def scale(self) -> float:
        """What targets are multiplied by for the network, so that they are at -18 dBFS rms."""
        energy = sum(float(np.sum(np.square(part.target[part.start :], dtype=np.float64))) for part in self.learned)
        return LEVEL / (energy / sum(map(len, self.learned))) ** 0.5

    def identity(self) -> str:
        """A hash of all samples and knobs: of the same recordings it is the same."""
        content = hashlib.sha256(f"{self.rate} {self.knobs}".encode())
        for part in self.learned + self.validation:
            for array in (part.source, part.target, part.knobs):
                content.update(f"{part.start} {array.shape}".encode())
                content.update(array)
        return content.hexdigest()


def load(pairs: Sequence[Pair], validation: Sequence[Pair] = (), test: Sequence[Pair] = (),
         channel: Channel | None = None, notice: Callable[[str], None] = lambda _: None) -> Data:
    """Reads, judges and aligns recordings, and splits them.

    Of each pair the first 60 % are learned, the next 20 % are for validation, the last 20 % for the test. Where pairs
    of their own are given for one of these, all that is left is learned.

    :param channel: which one, of stereo files
    :param notice: gets a line for each thing about the recordings that their owner should know
    :raises TrainingError: where one cannot be trained on, with the reason and the remedy; or where the pairs' rates or
        knobs do not fit together
    """
    if not pairs:
        raise TrainingError("there is no pair of recordings to learn from")
    knobs = tuple(pairs[0].knobs)
    groups = [[_checked(pair, knobs, channel, notice) for pair in group] for group in (pairs, validation, test)]
    reports = [report for group in groups for _, report in group]
    rate = reports[0].rate
    for report in reports:
        if report.rate != rate:
            raise TrainingError(f"{report.input} has {report.rate} Hz, {reports[0].input} {rate} Hz: a model has one "
                                "rate. Convert one of them")
    parts: list[list[Part]] = [[], *([part for part, _ in group] for group in groups[1:])]
    for whole, _ in groups[0]:
        length = len(whole)
        test_at = length if test else round(length * (1 - TEST))
        validation_at = test_at if validation else test_at - round(length * VALIDATION)
        for place, (start, end) in zip(parts, ((0, validation_at), (validation_at, test_at), (test_at, length)),
                                       strict=True):
            if end > start:
                place.append(Part(whole.source[:end], whole.target[:end], whole.knobs, start))
    for name, place in zip(("learn from", "validate with", "test with"), parts, strict=True):
        if not any(np.any(part.target[part.judged]) for part in place):
            raise TrainingError(f"what there is to {name} is silent. Record more, or another order of what is played")
    return Data(rate, knobs, *parts, reports)


def _checked(pair: Pair, knobs: tuple[str, ...], channel: Channel | None,
             notice: Callable[[str], None]) -> tuple[Part, Report]:
    """:raises TrainingError: where it cannot be trained on, or its knobs are not those of the first pair"""
    if set(pair.knobs) != set(knobs):
        raise TrainingError(f"{pair}: its knobs are {_listed(pair.knobs)}, those of the first pair {_listed(knobs)}: "
                            "give the same for each")
    for name, value in pair.knobs.items():
        if not 0 <= value <= 1:
            raise TrainingError(f"{pair}: the knob {name} is at {value:g}, but a knob goes from 0 to 1")
    try:
        report = check(pair.input, pair.output, channel)
    except CaptureError as problem:
        raise TrainingError(str(problem)) from None
    errors = [f"{problem.what} {problem.remedy}".strip() for problem in report.problems if problem.severity == "error"]
    if errors:
        raise TrainingError(" ".join(errors))
    for problem in report.problems:
        notice(str(problem))
    if report.removed:
        notice(f"note: {pair.output} was late by {report.latency:.2f} samples, of which {report.removed} were removed.")
    values = np.array([pair.knobs[name] for name in knobs], np.float32)
    return Part(np.ascontiguousarray(report.aligned_input, np.float32),
                np.ascontiguousarray(report.aligned_output, np.float32), values), report


def _listed(names: Sequence[str] | dict[str, float]) -> str:
    return ", ".join(names) or "none"


class Windows:
    """Segments of what is learned, drawn at random: the same for the same seed and step, whatever came before."""

    def __init__(self, parts: Sequence[Part], scale: float, device: str = "cpu") -> None:
        """:param scale: what targets are multiplied by"""
        self.scale = scale
        self._source = torch.from_numpy(np.concatenate([part.source[part.start :] for part in parts])).to(device)
        self._target = torch.from_numpy(np.concatenate([part.target[part.start :] for part in parts])).to(device)
        self._target *= scale
        self._knobs = torch.from_numpy(np.stack([part.knobs for part in parts])).to(device)
        self._ends = np.cumsum([len(part) for part in parts])
        self._lengths = np.array([len(part) for part in parts])

    def __len__(self) -> int:
        """Samples."""
        return int(self._ends[-1])

    def shortest(self) -> int:
        """Samples of the shortest part."""
        return int(self._lengths.min())

    def draw(self, batch: int, length: int, *seeds: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where ``batch`` stretches of ``length`` samples begin, and which part each is in. Every place is as likely as
        any other."""
        random = np.random.default_rng(seeds)
        places = self._lengths - length + 1
        drawn = random.integers(0, places.sum(), batch)
        edges = np.cumsum(places)
        part = np.searchsorted(edges, drawn, side="right")
        return drawn - (edges - places)[part] + (self._ends - self._lengths)[part], part

    def take(self, starts: NDArray[np.int64], part: NDArray[np.int64], length: int,
             first: int) -> tuple[Tensor, Tensor]:
        """:param length: samples of input in each stretch
        :param first: of them, from which on there is a target
        :returns: inputs, shape (batch, 1 + knobs, length), and targets, shape (batch, length - first)
        """
        device = self._source.device
        at = torch.from_numpy(starts).to(device)
        knobs = self._knobs[torch.from_numpy(part).to(device)]
        signal = self._source.unfold(0, length, 1)[at][:, None]
        inputs = torch.cat([signal, knobs[:, :, None].expand(-1, -1, length)], 1) if knobs.shape[1] else signal
        return inputs, self._target[first:].unfold(0, length - first, 1)[at]

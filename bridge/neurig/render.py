"""Rendering: an audio file through an amp into another audio file, block by block."""

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from neurig import ModelError
from neurig._core import ffi, lib
from neurig.files import atomic
from neurig.model import Model

KNOB = 0.5  # where a model's knobs are unless they are set
LEVELS = ("raw", "normalised", "calibrated")  # as in neurig.h
DBU = (-60, 60)

_FORMATS = {  # by the output's extension: container and sample format
    ".wav": ("WAV", "FLOAT"),
    ".flac": ("FLAC", "PCM_24"),
    ".aiff": ("AIFF", "FLOAT"),
    ".aif": ("AIFF", "FLOAT"),
}
_MAX_BYTES = 2**32 - 4096  # of samples, where sizes have 32 bits
_BLOCK = 16384  # frames
_MAX_TOGETHER = 64  # channels of an instance


class RenderError(ValueError):
    """A rendering that is not possible. The message is one line, and names the file that it is about."""


@dataclass(frozen=True)
class Rendering:
    """What was rendered.

    :ivar frames: in the output, as many as in the input
    :ivar channels: each as if it went through the model alone
    :ivar rate: Hz, the input's
    :ivar latency: of the model at that rate in samples; the output has been moved forward by it
    :ivar peak: the greatest absolute sample, full scale at 1
    :ivar clipped: were samples beyond full scale cut, because the output's format cannot hold them?
    :ivar level: the one in effect: what a file does not state cannot be had
    """

    frames: int
    channels: int
    rate: int
    latency: int
    peak: float
    clipped: bool
    level: str


def render(
    model: Model,
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    params: Mapping[str | int, float] | None = None,
    slim: float | None = None,
    progress: Callable[[int, int], None] | None = None,
    *,
    level: str = "raw",
    dbu: float = 12,
    exact: bool = False,
) -> Rendering:
    """Runs an audio file through a model, each channel as if it were alone. Through a stereo impulse response, unless
    its knob ``side`` is given, mono becomes stereo, and of a stereo file each channel goes through its own side.

    The output is as long as the input and aligned with it. Its format follows from its extension: ``.wav`` and
    ``.aiff`` 32-bit float, ``.flac`` 24 bit. Until it is complete, a file already at ``target`` stays as it is.

    :param source: WAV, FLAC, AIFF or whatever else libsndfile reads, at any rate
    :param params: the model's own knobs by name or index, 0..1; those not named are at 0.5
    :param slim: size of a model that comes in several, 0 (smallest) to 1 (full, where it is not given)
    :param progress: called now and then with the frames done and those in the file
    :param level: ``"raw"``: as the model was trained; ``"normalised"``: its output to -18 dB by the loudness that its
        file states; ``"calibrated"``: its input at the level that the modelled device had, its output likewise. Without
        what that needs in the file, calibrated falls back to normalised, and that to raw.
    :param dbu: for calibrated: the analog level at your interface that is digital full scale, -60 to 60 dBu
    :param exact: LSTMs and GRUs in double precision, see :class:`neurig.model.Instance`
    :raises RenderError: where the model is no amp, a knob is unknown, or a file cannot be read or written
    :raises OSError: where the output's folder is missing, full or read-only
    """
    source, target = Path(source), Path(target)
    _refuse(model, slim)
    try:
        container, subtype = _FORMATS[target.suffix.lower()]
    except KeyError:
        raise RenderError(f"{target}: the name has to end in {', '.join(_FORMATS)}, which says the format") from None
    if level not in LEVELS:
        raise RenderError(f"the level {level!r} is not known: it is one of {', '.join(LEVELS)}")
    if not DBU[0] <= dbu <= DBU[1]:
        raise RenderError(f"{dbu} dBu is out of range ({DBU[0]} to {DBU[1]})")
    if source.exists() and target.exists() and os.path.samefile(source, target):
        raise RenderError(f"{target}: input and output are the same file")
    with _reading(source) as reader:
        is_stereo = model.info["family"] == "IR" and model.params and not params and reader.channels <= 2
        sources = [0, reader.channels - 1] if is_stereo else list(range(reader.channels))  # of the output's channels
        if reader.frames * len(sources) * 4 > _MAX_BYTES and container != "FLAC":
            if container == "AIFF":
                raise RenderError(f"{target}: an AIFF file ends at 4 GiB, which is too little for this: use .wav")
            container = "RF64"  # what WAV is called beyond 4 GiB
        # Channels that share a core go through the model together, which takes less time than one by one.
        count = max(os.cpu_count() or 1, -(-len(sources) // _MAX_TOGETHER))
        groups = np.array_split(np.arange(len(sources)), len(sources) if is_stereo else min(count, len(sources)))
        knobs = [_knobs(model, {"side": number} if is_stereo else params or {}) for number in range(len(groups))]
        try:
            amps = [_Amp(model, reader.samplerate, len(group), exact, setting, slim, level, dbu)
                    for group, setting in zip(groups, knobs, strict=True)]
        except ModelError as problem:
            reason = str(problem).removeprefix(f"{model.path}: ")  # which is about the rate of the file
            raise RenderError(f"{source}: {reason}") from None
        latency = amps[0].latency
        frames, peak = 0, 0.0
        with (
            atomic(target) as temporary,
            _writing(target, temporary, reader.samplerate, len(sources), container, subtype) as write,
            ThreadPoolExecutor() as threads,
        ):
            skip = latency
            for block in _blocks(source, reader, latency):
                channels = threads.map(lambda amp, group: amp.process(block.T[sources][group]), amps, groups)
                output = np.concatenate(list(channels)).T[skip:]
                skip = max(0, skip - len(block))
                if len(output):
                    peak = max(peak, float(np.abs(output).max()))
                    write(output)
                    frames += len(output)
                if progress:
                    progress(frames, reader.frames)
            if frames == 0:
                raise RenderError(f"{source}: it has no samples")
    return Rendering(frames, len(sources), reader.samplerate, latency, peak, container == "FLAC" and peak > 1,
                     amps[0].level)


def read(path: str | os.PathLike[str]) -> tuple[NDArray[np.float32], int]:
    """All of a sound file.

    :param path: WAV, FLAC, AIFF or whatever else libsndfile reads
    :returns: the samples, shape (n, channels), full scale at 1, and the rate in Hz
    :raises RenderError: where it cannot be read, or has no samples
    """
    path = Path(path)
    with _reading(path) as reader:
        blocks = list(_blocks(path, reader, 0))
        if not blocks:
            raise RenderError(f"{path}: it has no samples")
        return np.concatenate(blocks), reader.samplerate


def render_samples(
    model: Model,
    samples: NDArray[np.float32],
    rate: int,
    params: Mapping[str | int, float] | None = None,
    slim: float | None = None,
    progress: Callable[[int, int], None] | None = None,
    *,
    exact: bool = False,
) -> NDArray[np.float32]:
    """Runs one channel through a model, at the level ``raw``: what :func:`render` does, from memory into memory.

    :param samples: shape (n,), full scale at 1
    :param rate: theirs, in Hz
    :returns: shape (n,), aligned with the input; for the other parameters see :func:`render`
    :raises RenderError: where the model is no amp, or a knob is unknown
    """
    _refuse(model, slim)
    amp = _Amp(model, rate, 1, exact, _knobs(model, params or {}), slim, "raw", 12)
    padded = np.concatenate([samples, np.zeros(amp.latency, np.float32)])
    played = []
    for start in range(0, len(padded), _BLOCK):
        played.append(amp.process(padded[np.newaxis, start : start + _BLOCK])[0])
        if progress:
            progress(min(start + _BLOCK, len(samples)), len(samples))
    return np.concatenate(played)[amp.latency :]


def _refuse(model: Model, slim: float | None) -> None:
    """:raises RenderError: where a model makes no sound, or has not the size that is asked for"""
    if not model.is_amp:
        raise RenderError(f"{model.path or 'the model'}: this is a predictor, which makes gestures and not sound: "
                          "try `neurig step`")
    if slim is not None and model.sizes == 1:
        raise RenderError(f"{model.path or 'the model'}: it comes in one size; --slim is for models that come in "
                          "several")
    if slim is not None and not 0 <= slim <= 1:
        raise RenderError(f"slim is {slim}, but a size goes from 0 to 1")


class _Amp:
    """Some channels of the file through the model, at a level.

    :ivar latency: samples
    :ivar level: the one in effect
    """

    def __init__(self, model: Model, rate: int, channels: int, exact: bool, knobs: Mapping[int, float],
                 slim: float | None, level: str, dbu: float) -> None:
        instance = model.instance(rate, quality=2, channels=channels, exact=exact)
        for index, value in knobs.items():
            instance.set(index, value)
        if slim is not None:
            instance.slim = slim
        self.latency = instance.latency
        self._amp = ffi.gc(lib.neurig_amp_new_channels(rate, channels), lib.neurig_amp_free)
        lib.neurig_amp_set(self._amp, lib.NEURIG_AMP_LEVEL, LEVELS.index(level))
        lib.neurig_amp_set(self._amp, lib.NEURIG_AMP_DBU, dbu)
        lib.neurig_amp_swap(self._amp, instance.given_away())
        self.level = LEVELS[lib.neurig_amp_level(self._amp)]

    def process(self, channels: NDArray[np.float32]) -> NDArray[np.float32]:
        block = np.array(channels, np.float32, order="C")
        samples = ffi.from_buffer("float[]", block, require_writable=True)
        lib.neurig_amp_process(self._amp, samples, samples, block.shape[1])
        return block


@contextmanager
def _reading(path: Path) -> Iterator[soundfile.SoundFile]:
    if not path.exists():
        raise RenderError(f"{path}: there is no such file")
    if not path.is_file():
        raise RenderError(f"{path}: this is {'a folder' if path.is_dir() else 'a pipe or a device'}")
    if path.stat().st_size == 0:
        raise RenderError(f"{path}: the file is empty")
    try:
        reader = soundfile.SoundFile(os.fsencode(path))  # as bytes: a name need not be text
    except soundfile.LibsndfileError as problem:
        raise RenderError(f"{path}: {_reason(problem)}") from None
    with reader:
        yield reader


def _blocks(path: Path, reader: soundfile.SoundFile, latency: int) -> Iterator[NDArray[np.float32]]:
    """The file's samples, shape (n, channels), and after them as many zeros as the latency."""
    silence = np.zeros((latency, reader.channels), np.float32)
    while True:
        try:
            block = reader.read(_BLOCK, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as problem:
            raise RenderError(f"{path}: it cannot be read to its end: {_reason(problem)}") from None
        if len(block) == 0:
            break
        yield block
    if latency:
        yield silence


@contextmanager
def _writing(
    target: Path, temporary: Path, rate: int, channels: int, container: str, subtype: str
) -> Iterator[Callable[[NDArray[np.float32]], None]]:
    """Gives a function that writes a block; libsndfile's errors then name the file that the user knows."""
    try:
        with soundfile.SoundFile(
            os.fsencode(temporary), "w", rate, channels, subtype, format=container
        ) as writer:
            yield writer.write
    except soundfile.LibsndfileError as problem:
        reason = _reason(problem)
        if reason == "System error":  # libsndfile does not say which; the file could be opened, so it is this
            reason = "the disk is full, or a file may not be that large here"
        raise RenderError(f"{target}: it cannot be written: {reason}") from None


def _knobs(model: Model, params: Mapping[str | int, float]) -> dict[int, float]:
    values = dict.fromkeys(range(len(model.params)), KNOB)
    try:
        for name, value in params.items():
            index = model.param_index(name)
            if not 0 <= value <= 1:
                raise ValueError(f"{model.params[index]} is {value}, but a knob goes from 0 to 1")
            values[index] = value
    except ValueError as problem:
        raise RenderError(f"{model.path or 'the model'}: {problem}") from None
    return values


def _reason(problem: soundfile.LibsndfileError) -> str:
    return problem.error_string.strip().rstrip(".")

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

from neurig.files import atomic
from neurig.model import Model

KNOB = 0.5  # where a model's knobs are unless they are set

_FORMATS = {  # by the output's extension: container and sample format
    ".wav": ("WAV", "FLOAT"),
    ".flac": ("FLAC", "PCM_24"),
    ".aiff": ("AIFF", "FLOAT"),
    ".aif": ("AIFF", "FLOAT"),
}
_MAX_BYTES = 2**32 - 4096  # of samples, where sizes have 32 bits
_BLOCK = 16384  # frames


class RenderError(ValueError):
    """A rendering that is not possible. The message is one line, and names the file that it is about."""


@dataclass(frozen=True)
class Rendering:
    """What was rendered.

    :ivar frames: in the output, as many as in the input
    :ivar channels: each through an instance of its own
    :ivar rate: Hz, the input's
    :ivar latency: of the model at that rate in samples; the output has been moved forward by it
    :ivar peak: the greatest absolute sample, full scale at 1
    :ivar clipped: were samples beyond full scale cut, because the output's format cannot hold them?
    """

    frames: int
    channels: int
    rate: int
    latency: int
    peak: float
    clipped: bool


def render(
    model: Model,
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    params: Mapping[str | int, float] | None = None,
    slim: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Rendering:
    """Runs an audio file through a model, each channel through an instance of its own. Through a stereo impulse response,
    unless its knob ``side`` is given, mono becomes stereo, and of a stereo file each channel goes through its own side.

    The output is as long as the input and aligned with it. Its format follows from its extension: ``.wav`` and
    ``.aiff`` 32-bit float, ``.flac`` 24 bit. Until it is complete, a file already at ``target`` stays as it is.

    :param source: WAV, FLAC, AIFF or whatever else libsndfile reads, at any rate
    :param params: the model's own knobs by name or index, 0..1; those not named are at 0.5
    :param slim: size of a model that comes in several, 0 (smallest) to 1 (full, where it is not given)
    :param progress: called now and then with the frames done and those in the file
    :raises RenderError: where the model is no amp, a knob is unknown, or a file cannot be read or written
    :raises OSError: where the output's folder is missing, full or read-only
    """
    source, target = Path(source), Path(target)
    if not model.is_amp:
        raise RenderError(f"{model.path or 'the model'}: this is a predictor, which makes gestures and not sound: "
                          "try `neurig step`")
    try:
        container, subtype = _FORMATS[target.suffix.lower()]
    except KeyError:
        raise RenderError(f"{target}: the name has to end in {', '.join(_FORMATS)}, which says the format") from None
    if slim is not None and model.sizes == 1:
        raise RenderError(f"{model.path or 'the model'}: it comes in one size; --slim is for models that come in several")
    if source.exists() and target.exists() and os.path.samefile(source, target):
        raise RenderError(f"{target}: input and output are the same file")
    with _reading(source) as reader:
        is_stereo = model.info["family"] == "IR" and model.params and not params and reader.channels <= 2
        sources = [0, reader.channels - 1] if is_stereo else list(range(reader.channels))  # of the output's channels
        if reader.frames * len(sources) * 4 > _MAX_BYTES and container != "FLAC":
            if container == "AIFF":
                raise RenderError(f"{target}: an AIFF file ends at 4 GiB, which is too little for this: use .wav")
            container = "RF64"  # what WAV is called beyond 4 GiB
        instances = [model.instance(reader.samplerate, quality=2) for _ in sources]
        _set(instances, model, params or {})
        if is_stereo:
            for side, instance in enumerate(instances):
                instance.set("side", side)
        if slim is not None:
            for instance in instances:
                instance.slim = slim
        latency = instances[0].latency
        frames, peak = 0, 0.0
        with (
            atomic(target) as temporary,
            _writing(target, temporary, reader.samplerate, len(sources), container, subtype) as write,
            ThreadPoolExecutor() as threads,
        ):
            skip = latency
            for block in _blocks(source, reader, latency):
                channels = threads.map(lambda instance, channel: instance.process(channel), instances, block.T[sources])
                output = np.stack(list(channels), axis=1)[skip:]
                skip = max(0, skip - len(block))
                if len(output):
                    peak = max(peak, float(np.abs(output).max()))
                    write(output)
                    frames += len(output)
                if progress:
                    progress(frames, reader.frames)
            if frames == 0:
                raise RenderError(f"{source}: it has no samples")
    return Rendering(frames, len(instances), reader.samplerate, latency, peak, container == "FLAC" and peak > 1)


@contextmanager
def _reading(path: Path) -> Iterator[soundfile.SoundFile]:
    if not path.exists():
        raise RenderError(f"{path}: there is no such file")
    if path.is_dir():
        raise RenderError(f"{path}: this is a folder")
    if path.stat().st_size == 0:
        raise RenderError(f"{path}: the file is empty")
    try:
        reader = soundfile.SoundFile(path)
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
            temporary, "w", rate, channels, subtype, format=container
        ) as writer:
            yield writer.write
    except soundfile.LibsndfileError as problem:
        reason = _reason(problem)
        if reason == "System error":  # libsndfile does not say which; the file could be opened, so it is this
            reason = "the disk is full, or a file may not be that large here"
        raise RenderError(f"{target}: it cannot be written: {reason}") from None


def _set(instances: list, model: Model, params: Mapping[str | int, float]) -> None:
    values = dict.fromkeys(range(len(model.params)), KNOB)
    try:
        values |= {model.param_index(name): value for name, value in params.items()}
        for instance in instances:
            for index, value in values.items():
                instance.set(index, value)
    except ValueError as problem:
        raise RenderError(f"{model.path or 'the model'}: {problem}") from None


def _reason(problem: soundfile.LibsndfileError) -> str:
    return problem.error_string.strip().rstrip(".")

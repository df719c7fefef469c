"""Models, and the streams that run through them."""

import json
import os
import threading
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neurig import ModelError, convert
from neurig._core import ffi, lib

_ERROR_SIZE = 512
# Between two calls of the core Python gets to see Ctrl-C: with the slowest models, a few times a second.
_FRAMES_PER_CALL = 65536


class Model:
    """A model file, read once and never changed: any number of instances or predictors may share it, on any thread.

    :ivar path: where it came from; ``None`` where it did not come from a file
    """

    def __init__(self, handle: Any, path: Path | None = None) -> None:
        """Made by :func:`load` and :func:`impulse_response`.

        :param handle: an owned ``neurig_model *``
        """
        self._handle = ffi.gc(handle, lib.neurig_model_release)
        self.path = path

    @cached_property
    def info(self) -> dict[str, Any]:
        """What the file says of itself: ``kind``, ``family``, ``architecture``, ``sample_rate`` (Hz), ``weights``
        (their number), ``macs`` (multiply-adds for each sample or frame), ``metadata``; an amp has ``receptive_field``
        (samples, ``None`` where without end) and ``params``, a predictor ``dimension``, ``units``, ``layers`` and
        ``mixtures``; where there are such, ``sizes``, ``self_check`` (ESR against the answer that the file carries) and
        ``warning``."""
        return json.loads(_string(lib.neurig_model_info(self._handle)))

    @property
    def is_amp(self) -> bool:
        """Does it turn a signal into a signal?"""
        return bool(lib.neurig_model_is_amp(self._handle))

    @property
    def is_predictor(self) -> bool:
        """Does it predict frames of gestures?"""
        return bool(lib.neurig_model_is_predictor(self._handle))

    @property
    def rate(self) -> float:
        """The sample rate that the model was made for, in Hz: 48000 where an amp's file does not say; 0 for predictors,
        which have none."""
        return lib.neurig_model_rate(self._handle)

    @cached_property
    def params(self) -> tuple[str, ...]:
        """The names of the model's own knobs, 0..1 each; most models have none."""
        count = lib.neurig_model_params(self._handle)
        return tuple(_string(lib.neurig_model_param_name(self._handle, index)) for index in range(count))

    @property
    def sizes(self) -> int:
        """In how many sizes it comes, from a cheap one to the best; 1 for most models. See :attr:`Instance.slim`."""
        return lib.neurig_model_sizes(self._handle)

    def param_index(self, name_or_index: str | int) -> int:
        """The index of one of the model's own knobs.

        :param name_or_index: its name, in any case of letters, or its index, counted from 0
        :raises ValueError: where there is none such; the message lists those there are
        """
        names = [param.lower() for param in self.params]
        if isinstance(name_or_index, str):
            if name_or_index.lower() in names:
                return names.index(name_or_index.lower())
        elif 0 <= name_or_index < len(names):
            return name_or_index
        known = f"it has {', '.join(self.params)}" if self.params else "this model has none"
        raise ValueError(f"no knob {name_or_index!r}: {known}")

    def instance(self, rate: float = 48000, quality: int = 1, block: int | None = None, channels: int = 1,
                 exact: bool = False) -> "Instance":
        """One or several channels through this model: see :class:`Instance`.

        :param rate: of the signal, in Hz
        :param quality: of the conversion where ``rate`` is not the model's: 0 (shortest latency), 1 (usual), 2 (best)
        :param block: the number of samples that will usually be processed at once; the core takes any, so this
            changes nothing and is there for hosts that know it
        :raises ModelError: where the model is not an amp, or the rate is out of range
        """
        return Instance(self, rate, quality, channels, exact)

    def __repr__(self) -> str:
        source = "" if self.path is None else f" {str(self.path)!r}"
        return f"<neurig.Model{source} {self.info['architecture']}>"


class Instance:
    """One or several channels through one model, at the host's sample rate. It is born as if it had heard silence for
    ever.

    The channels share knobs and size, and come out as an instance for each would give them; LSTMs and GRUs take less
    time together. The interpreter is free while ``process`` computes, so that instances on several threads run at once;
    calls of one instance wait for each other.

    :ivar model: the shared :class:`Model`
    :ivar rate: Hz
    :ivar channels: their number
    """

    def __init__(self, model: Model, rate: float = 48000, quality: int = 1, channels: int = 1,
                 exact: bool = False) -> None:
        """:param rate: of the signal, in Hz
        :param quality: of the conversion where ``rate`` is not the model's: 0 (shortest latency), 1 (usual), 2 (best)
        :param channels: 1 to 64
        :param exact: LSTMs and GRUs in double precision: an error-to-signal ratio below 1e-11 instead of 1e-9, in some
            twenty times the time. All other models are as exact anyway.
        :raises ModelError: where the model is not an amp, or the rate is out of range
        """
        error = ffi.new("char[]", _ERROR_SIZE)
        handle = lib.neurig_instance_new_channels(model._handle, rate, quality, channels, exact, error, _ERROR_SIZE)
        if handle == ffi.NULL:
            raise _error(model.path, error)
        self._handle = ffi.gc(handle, lib.neurig_instance_free)
        self.channels = channels
        self._lock = threading.Lock()
        self.model = model
        self.rate = rate

    def process(self, samples: ArrayLike) -> NDArray[np.float32]:
        """Runs the next samples of the stream through the model.

        :param samples: shape (n,), or with several channels (channels, n), any n; converted to float32 where they are
            not, full scale at ±1
        :returns: as many samples, float32, later than the input by :attr:`latency`
        :raises TypeError: where they are not real numbers, or are integer samples (int16 and the like) not yet scaled
        :raises ValueError: where they are more or fewer channels
        """
        source = _signal(samples, self.channels)
        output = np.empty_like(source)
        with self._lock:
            for start in range(0, source.shape[-1], _FRAMES_PER_CALL):
                chunk = source[..., start : start + _FRAMES_PER_CALL].copy()
                block = ffi.from_buffer("float[]", chunk, require_writable=True)
                lib.neurig_instance_process(self._handle, block, block, chunk.shape[-1])
                output[..., start : start + _FRAMES_PER_CALL] = chunk
        return output

    def given_away(self) -> Any:
        """Its ``neurig_instance *``, for a ``neurig_amp`` that owns it from then on. It must not be used any more."""
        ffi.gc(self._handle, None)
        return self._handle

    def reset(self) -> None:
        """Back to where it was born: as after silence. The knobs stay."""
        with self._lock:
            lib.neurig_instance_reset(self._handle)

    @property
    def latency(self) -> int:
        """Samples, at :attr:`rate`, by which the output lags behind the input; 0 at the model's own rate."""
        return lib.neurig_instance_latency(self._handle)

    @property
    def slim(self) -> float:
        """Which size of a model that comes in several (``model.sizes``) runs: 0 the slimmest … 1 the largest, where it
        begins. May be set while playing: another size listens in for as long as it remembers, at most 0.2 s, then takes
        over with a crossfade of 20 ms. Without effect on models of one size."""
        return lib.neurig_instance_slim(self._handle)

    @slim.setter
    def slim(self, size: float) -> None:
        if not 0 <= size <= 1:
            raise ValueError(f"slim is {size}, but a size goes from 0 to 1")
        with self._lock:
            lib.neurig_instance_set_slim(self._handle, size)

    def set(self, name_or_index: str | int, value: float) -> None:
        """Turns one of the model's own knobs.

        :param name_or_index: one of ``model.params``, or its index
        :param value: 0..1
        :raises ValueError: where there is no such knob, or the value is out of range
        """
        index = self.model.param_index(name_or_index)
        if not 0 <= value <= 1:
            raise ValueError(f"{self.model.params[index]} is {value}, but a knob goes from 0 to 1")
        with self._lock:
            lib.neurig_instance_set_param(self._handle, index, value)

    def get(self, name_or_index: str | int) -> float:
        """Where one of the model's own knobs is, 0..1.

        :raises ValueError: where there is no such knob
        """
        return lib.neurig_instance_param(self._handle, self.model.param_index(name_or_index))


def load(path: str | os.PathLike[str]) -> Model:
    """Reads a model file of any kind: amps as their trainers write them, impulse responses (WAV, FLAC, AIFF),
    ``.mdrnn`` predictors, predictors as ``.keras``, ``.h5`` and ``.tflite``, which are converted in memory, and what
    :mod:`neurig.onnx` plays.

    Of an impulse response's end is cut off what holds less than 1e-10 of its energy, and it is normalised: pink noise
    from 50 Hz to 10 kHz comes out as loud as it went in. A stereo file has one knob, ``side``: 0 the left response, 1
    the right one, 0.5 the mean of both.

    :raises ModelError: where the file is missing or is not a model that can be run; the message is ``path: reason``
    """
    path = Path(path)
    foreign = convert.format_of(path)
    if foreign == "onnx":
        from neurig import onnx

        return onnx.load(path)
    if foreign:
        return parse(convert.read(path).text(), path)
    _prefer_own_sound_library()
    error = ffi.new("char[]", _ERROR_SIZE)
    handle = lib.neurig_model_load(os.fsencode(path), error, _ERROR_SIZE)
    if handle == ffi.NULL:
        raise _error(path, error)
    return Model(handle, path)


def parse(text: str | bytes, path: Path | None = None) -> Model:
    """Reads a model from the text of its file.

    :param path: what to call it in messages
    :raises ModelError: where it is not a model that can be run
    """
    content = text.encode() if isinstance(text, str) else text
    error = ffi.new("char[]", _ERROR_SIZE)
    handle = lib.neurig_model_parse(content, len(content), error, _ERROR_SIZE)
    if handle == ffi.NULL:
        raise _error(path, error)
    return Model(handle, path)


def impulse_response(samples: ArrayLike, rate: float) -> Model:
    """Makes a model of a cabinet's (or anything's) impulse response, whose samples are used as they are.

    Sound files are loaded with :func:`load`, which cuts off the silence at their end and normalises them.

    :param samples: shape (n,), full scale at ±1
    :param rate: at which they were taken, in Hz
    :raises ModelError: where the core refuses the samples
    """
    source = _signal(samples)
    error = ffi.new("char[]", _ERROR_SIZE)
    handle = lib.neurig_model_from_ir(ffi.from_buffer("float[]", source), len(source), rate, error, _ERROR_SIZE)
    if handle == ffi.NULL:
        raise _error(None, error)
    return Model(handle)


@cache
def _prefer_own_sound_library() -> None:
    """The library that comes with the package soundfile, where one does, reads sound files in the core, too."""
    package = find_spec("_soundfile_data")
    for folder in package.submodule_search_locations or () if package else ():
        for path in sorted(Path(folder).glob("libsndfile*.so*")):
            lib.neurig_prefer_sound_library(os.fsencode(path))


def _signal(samples: Any, channels: int = 1) -> NDArray[np.float32]:
    """Channels as contiguous float32, or an error that says what is wrong with them."""
    array = np.asarray(samples)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"samples are real numbers, not {array.dtype}")
    if array.dtype.kind in "iu" and isinstance(samples, np.ndarray):
        raise TypeError(f"samples are {array.dtype}: scale them to -1..1 and give them as float32")
    if channels == 1 and array.ndim != 1:
        raise ValueError(f"one channel, shape (n,), is processed at a time, not shape {array.shape}: "
                         "make an instance of so many channels")
    if channels > 1 and (array.ndim != 2 or len(array) != channels):
        wanted = f"{channels} channels, shape ({channels}, n), are processed at a time"
        raise ValueError(f"{wanted}, not shape {array.shape}")
    return np.ascontiguousarray(array, dtype=np.float32)


def _string(text: Any) -> str:
    return ffi.string(text).decode(errors="replace")


def _error(path: Path | None, error: Any) -> ModelError:
    reason = _string(error)
    return ModelError(reason if path is None else f"{path}: {reason}")

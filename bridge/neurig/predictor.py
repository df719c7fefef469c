"""Predictors: networks that learned a player's gestures and go on where the player stops."""

import math
import os
import threading
from collections.abc import Callable
from typing import final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neurig import ModelError
from neurig._core import ffi, lib
from neurig.model import Model, load


@final
class Predictor:
    """One performance of an MDRNN.

    A *frame* has :attr:`dimension` numbers, ``[dt, x1 … x(dimension - 1)]``: ``dt`` in seconds since the frame before,
    each ``x`` in 0..1. :meth:`condition` gives the network a frame of the player's; :meth:`predict` asks for the next
    one, and asked again goes on from its own answer. The same seed and the same calls give the same performance.

    :ivar model: the shared :class:`~neurig.Model`
    :ivar dimension: of a frame
    :ivar mixtures: components of the distribution that the network gives
    """

    def __init__(self, model: Model | str | os.PathLike[str], seed: int = 0) -> None:
        """:param model: a predictor, or the path of one
        :param seed: of the random generator, 0..2⁶⁴ - 1
        :raises ModelError: where the file cannot be read, or is not a predictor
        """
        self.model = model if isinstance(model, Model) else load(model)
        error = ffi.new("char[]", 512)
        handle = lib.neurig_predictor_new(self.model._handle, _seed(seed), error, 512)
        if handle == ffi.NULL:
            reason = ffi.string(error).decode(errors="replace")
            raise ModelError(reason if self.model.path is None else f"{self.model.path}: {reason}")
        self._handle = ffi.gc(handle, lib.neurig_predictor_free)
        self._network = ffi.new("neurig_network *", lib.neurig_predictor_network(handle))  # for a session
        self._lock = threading.Lock()
        self.dimension: int = lib.neurig_predictor_dimension(self._handle)
        self.mixtures: int = lib.neurig_predictor_mixtures(self._handle)

    def condition(self, frame: ArrayLike) -> None:
        """One step of the network with a frame of the player's.

        :param frame: shape (dimension,)
        :raises ValueError: where it has another shape, or a number that is not finite; the network has not moved then
        """
        frame = np.array(frame, dtype=np.float32, order="C")
        if frame.shape != (self.dimension,):
            count = f"{frame.size} numbers" if frame.ndim == 1 else f"shape {frame.shape}"
            raise ValueError(f"a frame of this predictor has {self.dimension} numbers (dt and "
                             f"{self.dimension - 1} values), not {count}")
        if not np.isfinite(frame).all():
            raise ValueError("a frame's numbers are finite")
        with self._lock:
            lib.neurig_predictor_condition(self._handle, ffi.from_buffer("float[]", frame))

    def predict(self, pi_temp: float = 1.0, sigma_temp: float = 0.01) -> NDArray[np.float32]:
        """The next frame, ready to be played: dt at least 0.001 s, each x in 0..1.

        After :meth:`condition` it is drawn from the mixture that the step gave; otherwise the network first takes its
        own last prediction as input.

        :param pi_temp: above 0; flattens (large) or sharpens (small) the choice of the mixture's component
        :param sigma_temp: 0 or more; scales the component's variance
        :raises ValueError: where a temperature is out of range
        """
        return self._draw(lib.neurig_predictor_predict, pi_temp, sigma_temp)

    def sample(self, pi_temp: float = 1.0, sigma_temp: float = 0.01) -> NDArray[np.float32]:
        """One draw from the latest mixture, as it comes: not clipped, and not fed back. Parameters as in
        :meth:`predict`."""
        return self._draw(lib.neurig_predictor_sample, pi_temp, sigma_temp)

    def mixture(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """The distribution that the latest step gave, in the network's own scale: ten times a frame's.

        :returns: mus and sigmas, shape (mixtures, dimension), and the logits of the components, shape (mixtures,)
        """
        mus = np.empty((self.mixtures, self.dimension), np.float32)
        sigmas = np.empty_like(mus)
        pi_logits = np.empty(self.mixtures, np.float32)
        buffers = [ffi.from_buffer("float[]", array, require_writable=True) for array in (mus, sigmas, pi_logits)]
        with self._lock:
            lib.neurig_predictor_mixture(self._handle, *buffers)
        return mus, sigmas, pi_logits

    def reset(self) -> None:
        """Forgets what was played; the random generator goes on."""
        with self._lock:
            lib.neurig_predictor_reset(self._handle)

    def seed(self, seed: int) -> None:
        """Restarts the random generator.

        :param seed: 0..2⁶⁴ - 1
        """
        with self._lock:
            lib.neurig_predictor_seed(self._handle, _seed(seed))

    def _draw(self, draw: Callable[..., None], pi_temp: float, sigma_temp: float) -> NDArray[np.float32]:
        if not (math.isfinite(pi_temp) and pi_temp > 0):
            raise ValueError(f"pi_temp is {pi_temp}, but has to be above 0")
        if not (math.isfinite(sigma_temp) and sigma_temp >= 0):
            raise ValueError(f"sigma_temp is {sigma_temp}, but has to be 0 or more")
        frame = np.empty(self.dimension, np.float32)
        with self._lock:
            draw(self._handle, pi_temp, sigma_temp, ffi.from_buffer("float[]", frame, require_writable=True))
        return frame


def _seed(seed: int) -> int:
    if not 0 <= seed < 2**64:
        raise ValueError(f"a seed is a whole number from 0 to 2^64 - 1, not {seed}")
    return seed

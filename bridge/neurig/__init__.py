"""Neural amps and gesture predictors for patches, and the Python side of the instruments built with them.

>>> import neurig
>>> model = neurig.load("crunch.nam")
>>> amp = model.instance(rate=48000)
>>> output = amp.process(samples)

Importing the package costs next to nothing: everything below is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neurig.model import Instance, Model, impulse_response, load
    from neurig.predictor import Predictor
    from neurig.session import Session

    __version__: str

__all__ = ["Instance", "Model", "ModelError", "Predictor", "Session", "__version__", "impulse_response", "load"]

_HOMES = {
    "Instance": "neurig.model",
    "Model": "neurig.model",
    "impulse_response": "neurig.model",
    "load": "neurig.model",
    "Predictor": "neurig.predictor",
    "Session": "neurig.session",
}


class ModelError(ValueError):
    """A model file that cannot be used. The message is one line: ``path: reason``."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from neurig._core import ffi, lib

        return ffi.string(lib.neurig_version()).decode()
    if name not in _HOMES:
        raise AttributeError(f"module 'neurig' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

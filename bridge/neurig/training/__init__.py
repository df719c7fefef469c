"""Training: from what was played to a network that plays.

It needs PyTorch and matplotlib, which playing does not: ``pip install neurig[train]``.

========================= ==============================================================================
:mod:`~neurig.training.sizes`     how large an MDRNN is, and what it is before it has learned anything
:mod:`~neurig.training.mdrnn`     the training of a predictor
:mod:`~neurig.training.pictures`  how it learned, and what it plays, drawn
========================= ==============================================================================
"""

from importlib import import_module


class TrainingError(ValueError):
    """A training that cannot begin or go on: the reason, and what to do about it."""


def require() -> None:
    """:raises TrainingError: where what training needs is not installed"""
    try:
        for name in ("torch", "matplotlib"):
            import_module(name)
    except ImportError as problem:
        raise TrainingError(f"training needs PyTorch and matplotlib ({problem}): pip install 'neurig[train]'") from None

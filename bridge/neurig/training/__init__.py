"""Training: from what was played to a network that plays.

It needs PyTorch and matplotlib, which playing does not: ``pip install neurig[train]``.

==================================== ====================================================================
:mod:`~neurig.training.sizes`        how large an MDRNN is, and what it is before it has learned anything
:mod:`~neurig.training.mdrnn`        the training of a predictor
:mod:`~neurig.training.pictures`     how it learned, and what it plays, drawn
:mod:`~neurig.training.amp`          the training of an amp
:mod:`~neurig.training.amp_data`     the recordings that it learns from
:mod:`~neurig.training.amp_presets`  how each kind of network learns best
:mod:`~neurig.training.amp_profile`  the folder that it makes
:mod:`~neurig.training.amp_pictures` how it learned, drawn
:mod:`~neurig.training.captures`     an amp for each of many recordings
:mod:`~neurig.training.losses`       what the training of an amp makes small
:mod:`~neurig.training.networks`     what amps are trained as
:mod:`~neurig.training.kernel`       the same, compiled
:mod:`~neurig.training.soap`         an optimizer
:mod:`~neurig.training.checkpoint`   what keeps a training over an interruption
==================================== ====================================================================
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

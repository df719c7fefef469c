"""Checkpoints of AmpEmulatorModel and PedalNetRT, gated WaveNets trained with PyTorch Lightning, as the ``.json`` files
that play everywhere.

PyTorch reads them, and only their weights: such a file is a pickle, which could run a program, so anything in it that
is not a number, a text or a list is refused.
"""

import argparse
import json
import pickle
import re
import warnings
from pathlib import Path
from typing import Any

from neurig import ModelError
from neurig.files import write_atomic
from neurig.model import parse

_DEPTH = 9  # dilations 1, 2 … 256 in a row: AmpEmulatorModel's, whose checkpoints do not say
# What the two call the same layers.
_NAMES = {"hidden_stack": "hidden", "residual_stack": "residuals", "linear_mixer": "linear_mix"}


def write(source: Path, target: Path) -> str:
    """Writes the amp of a checkpoint as a ``.json`` file.

    :returns: a phrase about it
    :raises ModelError: where PyTorch is missing, or the file is no such checkpoint; the message is ``path: reason``
    :raises OSError: where the file cannot be written; one already there stays as it was
    """
    try:
        text = json.dumps(_model(_content(source)))
    except ValueError as problem:
        raise ModelError(f"{source}: {problem}") from None
    about = parse(text, source).info  # what is written can be played
    write_atomic(target, text + "\n")
    return str(about["architecture"])


def _content(source: Path) -> dict[str, Any]:
    try:
        import torch
    except ImportError:
        raise ValueError("reading a checkpoint takes PyTorch, which is not installed: pip install torch") from None
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):  # PedalNetRT's settings
            warnings.simplefilter("ignore")  # of pickles as other programs write them
            content = torch.load(source, map_location="cpu", weights_only=True)
    except OSError as problem:
        raise ValueError(problem.strerror or str(problem)) from None
    except pickle.UnpicklingError as problem:
        named = re.search(r"GLOBAL ([\w.]+)", str(problem))
        what = f" ({named[1]})" if named else ""
        raise ValueError(f"it holds more than weights and settings{what}, which is not run") from None
    except Exception:  # torch's reader of archives has no errors of its own
        raise ValueError("this is no checkpoint of PyTorch, or it is damaged") from None
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        raise ValueError("it has no state_dict: this is no checkpoint of PyTorch Lightning")
    return content


def _model(content: dict[str, Any]) -> dict[str, Any]:
    """The content of the ``.json`` file."""
    state = {}
    for name, tensor in content["state_dict"].items():
        layer, _, rest = name.removeprefix("wavenet.").partition(".")
        state[f"{_NAMES.get(layer, layer)}.{rest}"] = tensor
    count = sum(bool(re.fullmatch(r"hidden\.\d+\.weight", name)) for name in state)
    settings = content.get("hyper_parameters") or {}
    settings = settings if isinstance(settings, dict) else vars(settings)
    depth = settings.get("dilation_depth", _DEPTH)
    if not count:
        raise ValueError("its weights are not those of a gated WaveNet of AmpEmulatorModel or PedalNetRT")
    if not isinstance(depth, int) or depth < 1 or count % depth:
        raise ValueError(f"it has {count} layers, which is no multiple of {depth} dilations")

    def variable(layer: int, name: str, source: str) -> dict[str, Any]:
        if source not in state:
            raise ValueError(f"it has no {source}")
        tensor = state[source]
        if tensor.ndim == 3:
            tensor = tensor.permute(2, 1, 0)  # PyTorch has [out][in][tap], the file [tap][in][out]
        return {"layer_idx": layer, "name": name, "data": [float(str(x)) for x in tensor.float().numpy().ravel()]}

    variables = [variable(-1, "W", "input_layer.weight"), variable(-1, "b", "input_layer.bias")]
    for layer in range(count):
        variables += [variable(layer, f"{letter}_{part}", f"{source}.{layer}.{kind}")
                      for part, source in (("conv", "hidden"), ("out", "residuals"))
                      for letter, kind in (("W", "weight"), ("b", "bias"))]
    variables += [variable(count, "W", "linear_mix.weight"), variable(count, "b", "linear_mix.bias")]
    first = state["hidden.0.weight"]
    return {"activation": "gated", "output_channels": 1, "input_channels": 1, "residual_channels": first.shape[1],
            "filter_width": first.shape[2], "dilations": [2**power for power in range(depth)] * (count // depth),
            "variables": variables}

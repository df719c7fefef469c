"""The networks that amps are trained as, in PyTorch: NAM's WaveNets, the gated WaveNets of Wright et al. 2020, and
recurrent ones.

    network("feather")                NAM's first architecture: standard, lite, feather, nano; gated=True: with gates
    network("a2-full")                NAM's second architecture: a2-full, a2-lite
    network("wavenet2")               AmpEmulatorModel's WaveNet1, 2 and 3
    network("lstm-3x18", knobs=2)     LSTM or GRU of any size: kind, layers (if several), units

Each keeps all that it learns in one flat parameter, ``weights``, in the order of the file that it is exported to. It
runs wherever PyTorch does; :func:`neurig.training.kernel.fused` runs the same parameter in the compiled kernel.
"""

from __future__ import annotations

import math
import re
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Json = dict[str, Any]

_DEEP = [2**n for n in range(10)]
_SPLIT = _DEEP[:7], _DEEP[7:] + _DEEP  # dilations of the two layer arrays of the smaller ones
_A1 = {"standard": (16, 8, (_DEEP, _DEEP)), "lite": (12, 6, _SPLIT), "feather": (8, 4, _SPLIT), "nano": (4, 2, _SPLIT)}
_A2 = {"a2-full": 8, "a2-lite": 3}
_A2_STACK = [1, 3, 7, 17, 41, 101, 239]
_A2_DILATIONS = [*_A2_STACK, *_A2_STACK, 1, 13, *_A2_STACK]
_A2_KERNELS = [6] * 14 + [15] * 2 + [6] * 7
_GATED = {"wavenet1": (8, 10, 1), "wavenet2": (4, 9, 2), "wavenet3": (8, 9, 2)}  # channels, dilations, how often
_RECURRENT = re.compile(r"(lstm|gru)-(?:(\d+)x)?(\d+)")
_LARGEST = 256  # channels and units that the core plays

ACTIVATIONS = {
    "Tanh": torch.tanh,
    "ReLU": torch.relu,
    "LeakyReLU": lambda x: functional.leaky_relu(x, 0.01),
    "Sigmoid": torch.sigmoid,
    "Softsign": functional.softsign,
    "Hardtanh": functional.hardtanh,
}


def network(architecture: str, knobs: int = 0, **options: Any) -> Network:
    """A network that has learned nothing yet; its weights are drawn from PyTorch's random generator.

    :param architecture: one of :func:`architectures`
    :param knobs: inputs besides the signal
    :param options: ``gated=True`` for NAM's first architecture with gates, ``activation="ReLU"`` … for another of
        :data:`ACTIVATIONS` than Tanh (A1) or LeakyReLU (A2)
    :raises ValueError: where there is no such network
    """
    if knobs < 0 or knobs > 16:
        raise ValueError(f"{knobs} knobs: a network has 0 to 16 of them")
    recurrent = _RECURRENT.fullmatch(architecture)
    allowed = {"gated", "activation"} if architecture in _A1 else {"activation"} if architecture in _A2 else set()
    if unknown := set(options) - allowed:
        raise ValueError(f"{architecture} has no option {', '.join(sorted(unknown))}")
    if options.get("activation", "Tanh") not in ACTIVATIONS:
        raise ValueError(f"activation {options['activation']!r} is not known: {', '.join(ACTIVATIONS)}")
    if recurrent:
        kind, layers, units = recurrent[1], int(recurrent[2] or 1), int(recurrent[3])
        if not (1 <= units <= _LARGEST and 1 <= layers <= 16):
            raise ValueError(f"{architecture}: 1 to {_LARGEST} units and 1 to 16 layers")
        return (Lstm if kind == "lstm" else Gru)(units, layers, 1 + knobs)
    if architecture in _A1 or architecture in _A2:
        return NamWaveNet(nam_config(architecture, knobs, **options))
    if architecture in _GATED and knobs:  # the file of such networks has no place for knobs; NAM's has
        return NamWaveNet(_gated_with_knobs(architecture, knobs))
    if architecture in _GATED:
        channels, depth, stacks = _GATED[architecture]
        return GatedWaveNet(channels, [2**n for n in range(depth)] * stacks)
    raise ValueError(f"there is no architecture {architecture!r}: {', '.join(architectures())}")


def architectures() -> list[str]:
    """Names for :func:`network`; of recurrent ones an example each, with N layers of U units."""
    return [*_A1, *_A2, *_GATED, "lstm-U", "gru-U", "lstm-NxU", "gru-NxU"]


def nam_config(architecture: str, knobs: int = 0, *, gated: bool = False, activation: str | None = None) -> Json:
    """``config`` of a NAM file."""
    inputs = {"in_channels": 1 + knobs} if knobs else {}
    if architecture in _A2:
        array = {"input_size": 1 + knobs, "condition_size": 1 + knobs, "channels": _A2[architecture],
                 "kernel_sizes": _A2_KERNELS, "dilations": _A2_DILATIONS,
                 "activation": [_activation(activation or "LeakyReLU")] * len(_A2_DILATIONS),
                 "head": {"out_channels": 1, "kernel_size": 16, "bias": True}}  # fmt: skip
        return {"layers": [array], "head": None, "head_scale": 0.01} | inputs
    first, second, dilations = _A1[architecture]
    same = {"condition_size": 1 + knobs, "kernel_size": 3, "activation": activation or "Tanh", "gated": gated}
    arrays = [{"input_size": 1 + knobs, "channels": first, "head_size": second, "dilations": dilations[0],
               "head_bias": False} | same,
              {"input_size": first, "channels": second, "head_size": 1, "dilations": dilations[1],
               "head_bias": True} | same]  # fmt: skip
    return {"layers": arrays, "head": None, "head_scale": 0.02} | inputs


def _activation(name: str) -> Json:
    return {"type": name} | ({"negative_slope": 0.01} if name == "LeakyReLU" else {})


def _gated_with_knobs(architecture: str, knobs: int) -> Json:
    channels, depth, stacks = _GATED[architecture]
    array = {"input_size": 1 + knobs, "condition_size": 1 + knobs, "channels": channels, "kernel_size": 3,
             "dilations": [2**n for n in range(depth)] * stacks, "activation": "Tanh", "gated": True,
             "head1x1": {"active": True, "out_channels": 1, "groups": 1},
             "head": {"out_channels": 1, "kernel_size": 1, "bias": True}}  # fmt: skip
    return {"layers": [array], "head": None, "head_scale": 1.0, "in_channels": 1 + knobs}


class Network(nn.Module):
    """What all of them have.

    :ivar weights: all that is learned, flat
    :ivar shapes: name and shape of each tensor in ``weights``, in their order, as they lie in the file
    :ivar receptive_field: samples that an output depends on; 1 for recurrent networks, which have a state instead
    """

    weights: nn.Parameter

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.inputs = inputs
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.receptive_field = 1
        self._drawn: list[Tensor] = []

    def _tensor(self, name: str, *shape: int, bound: float) -> None:
        """Appends a tensor, uniform in ± bound."""
        self.shapes[name] = shape
        self._drawn.append((torch.rand(math.prod(shape)) * 2 - 1) * bound)

    def _finish(self) -> None:
        self.weights = nn.Parameter(torch.cat(self._drawn))
        del self._drawn

    def tensors(self) -> dict[str, Tensor]:
        """Views of ``weights``, by name."""
        sizes = [math.prod(shape) for shape in self.shapes.values()]
        parts = self.weights.split(sizes)
        return {name: part.view(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}

    def check(self, x: Tensor) -> None:
        """:raises ValueError: where it is no input for this network"""
        if x.ndim != 3 or x.shape[1] != self.inputs:
            raise ValueError(f"the input has shape {tuple(x.shape)}, must be (batch, {self.inputs}, samples)")
        if x.shape[2] < self.receptive_field:
            raise ValueError(f"{x.shape[2]} samples are fewer than the {self.receptive_field} of the receptive field")

    def description(self) -> Json:
        """The network as its file tells it, without the weights; what the compiled kernel is made from."""
        raise TypeError(f"{type(self).__name__} is no network by itself")

    def export(self, metadata: Json) -> Json:
        """The file, ready for :mod:`json`.

        :param metadata: kept in the file; of this, ``sample_rate`` (Hz, 48000 if there is none) is where players look
        """
        more = dict(metadata)
        rate = more.pop("sample_rate", 48000)
        return self._file(more, rate)

    def _file(self, metadata: Json, rate: float) -> Json:
        raise TypeError(f"{type(self).__name__} is no network by itself")


def _numbers(tensor: Tensor) -> list[Any]:
    return tensor.detach().cpu().float().tolist()


class NamWaveNet(Network):
    """NAM's WaveNet in the forms that are trained: layer arrays of dilated convolutions, gated or not, whose
    activations are summed to a head."""

    def __init__(self, config: Json) -> None:
        """:param config: of a NAM file"""
        super().__init__(config.get("in_channels", 1))
        self.config = config
        heads = 0  # what the heads look back
        for a, array in enumerate(config["layers"]):
            channels, condition = array["channels"], array["condition_size"]
            rows = channels * (2 if array.get("gated") else 1)
            dilations, kernels = array["dilations"], kernel_sizes(array)
            self._tensor(f"{a}.rechannel", channels, array["input_size"], bound=array["input_size"] ** -0.5)
            for n, kernel in enumerate(kernels):
                bound = (channels * kernel) ** -0.5
                self._tensor(f"{a}.{n}.conv", rows, channels, kernel, bound=bound)
                self._tensor(f"{a}.{n}.conv_bias", rows, bound=bound)
                self._tensor(f"{a}.{n}.mixin", rows, condition, bound=condition**-0.5)
                self._tensor(f"{a}.{n}.out", channels, channels, bound=channels**-0.5)
                self._tensor(f"{a}.{n}.out_bias", channels, bound=channels**-0.5)
                if to_head := head_1x1(array):
                    self._tensor(f"{a}.{n}.skip", to_head, channels, bound=channels**-0.5)
                    self._tensor(f"{a}.{n}.skip_bias", to_head, bound=channels**-0.5)
            outs, kernel, bias = head(array)
            ins = head_1x1(array) or channels
            self._tensor(f"{a}.head", outs, ins, kernel, bound=(ins * kernel) ** -0.5)
            if bias:
                self._tensor(f"{a}.head_bias", outs, bound=(ins * kernel) ** -0.5)
            self.receptive_field += sum((k - 1) * d for k, d in zip(kernels, dilations, strict=True)) + kernel - 1
            heads += kernel - 1
        self._heads = heads
        self._finish()

    def forward(self, x: Tensor, state: None = None) -> Tensor:
        """:param x: shape (batch, inputs, samples)
        :returns: shape (batch, samples - receptive_field + 1)
        """
        self.check(x)
        w = self.tensors()
        wanted = x.shape[2] - self.receptive_field + 1 + self._heads  # of the sums that go to the heads
        hidden, sums = x, None
        for a, array in enumerate(self.config["layers"]):
            activation, channels = array["activation"], array["channels"]
            function = ACTIVATIONS[activation if isinstance(activation, str) else activation[0]["type"]]
            hidden = functional.conv1d(hidden, w[f"{a}.rechannel"][:, :, None])
            for n, dilation in enumerate(array["dilations"]):
                z = functional.conv1d(hidden, w[f"{a}.{n}.conv"], w[f"{a}.{n}.conv_bias"], dilation=dilation)
                z = z + functional.conv1d(x[:, :, -z.shape[2] :], w[f"{a}.{n}.mixin"][:, :, None])
                active = function(z[:, :channels])
                if array.get("gated"):
                    active = active * torch.sigmoid(z[:, channels:])
                out = functional.conv1d(active, w[f"{a}.{n}.out"][:, :, None], w[f"{a}.{n}.out_bias"])
                hidden = hidden[:, :, -out.shape[2] :] + out
                skip = active[:, :, -wanted:]
                if f"{a}.{n}.skip" in w:
                    skip = functional.conv1d(skip, w[f"{a}.{n}.skip"][:, :, None], w[f"{a}.{n}.skip_bias"])
                sums = skip if sums is None else sums + skip
            sums = functional.conv1d(sums, w[f"{a}.head"], w.get(f"{a}.head_bias"))
            wanted = sums.shape[2]
        return self.config["head_scale"] * sums[:, 0]

    def description(self) -> Json:
        return {"architecture": "WaveNet", "config": self.config}

    def _file(self, metadata: Json, rate: float) -> Json:
        version = "0.7.0" if any("head" in array for array in self.config["layers"]) else "0.5.4"
        weights = _numbers(self.weights) + [self.config["head_scale"]]
        return {"version": version, "metadata": metadata, **self.description(), "weights": weights, "sample_rate": rate}


def kernel_sizes(array: Json) -> list[int]:
    """Of a layer array's layers."""
    return array["kernel_sizes"] if "kernel_sizes" in array else [array["kernel_size"]] * len(array["dilations"])


def head(array: Json) -> tuple[int, int, bool]:
    """Outputs, kernel size and bias of what a layer array's sums go through."""
    if "head" in array:
        return array["head"]["out_channels"], array["head"]["kernel_size"], array["head"]["bias"]
    return array["head_size"], 1, array["head_bias"]


def head_1x1(array: Json) -> int:
    """Outputs of what a layer's activations go through on their way to the sum; 0 where they go there as they are."""
    part = array.get("head1x1")
    return part["out_channels"] if part and part["active"] else 0


class GatedWaveNet(Network):
    """The gated WaveNet of Damskägg et al. 2019 and Wright et al. 2020, as WaveNetVA, PedalNetRT and AmpEmulatorModel
    have it: of kernel size 3, the output a sum over the activations of all layers."""

    _KERNEL = 3

    def __init__(self, channels: int, dilations: list[int]) -> None:
        super().__init__(1)
        self.channels, self.dilations, c, k = channels, dilations, channels, self._KERNEL
        self._tensor("input", 1, c, bound=1)
        self._tensor("input_bias", c, bound=1)
        for n in range(len(dilations)):
            self._tensor(f"{n}.conv", k, c, 2 * c, bound=(c * k) ** -0.5)  # taps from oldest to newest
            self._tensor(f"{n}.conv_bias", 2 * c, bound=(c * k) ** -0.5)
            self._tensor(f"{n}.out", c, c, bound=c**-0.5)
            self._tensor(f"{n}.out_bias", c, bound=c**-0.5)
        self._tensor("mix", len(dilations), c, bound=(c * len(dilations)) ** -0.5)
        self._tensor("mix_bias", 1, bound=(c * len(dilations)) ** -0.5)
        self.receptive_field += (k - 1) * sum(dilations)
        self._finish()

    def forward(self, x: Tensor, state: None = None) -> Tensor:
        """:param x: shape (batch, 1, samples)
        :returns: shape (batch, samples - receptive_field + 1)
        """
        self.check(x)
        w = self.tensors()
        wanted = x.shape[2] - self.receptive_field + 1
        hidden = functional.conv1d(x, w["input"].T[:, :, None], w["input_bias"])
        skips = []
        for n, dilation in enumerate(self.dilations):
            z = functional.conv1d(hidden, w[f"{n}.conv"].permute(2, 1, 0), w[f"{n}.conv_bias"], dilation=dilation)
            active = torch.tanh(z[:, : self.channels]) * torch.sigmoid(z[:, self.channels :])
            skips.append(active[:, :, -wanted:])
            out = functional.conv1d(active, w[f"{n}.out"].T[:, :, None], w[f"{n}.out_bias"])
            hidden = hidden[:, :, -out.shape[2] :] + out
        return functional.conv1d(torch.cat(skips, 1), w["mix"].view(1, -1, 1), w["mix_bias"])[:, 0]

    def description(self) -> Json:
        return {"activation": "gated", "output_channels": 1, "input_channels": 1, "residual_channels": self.channels,
                "filter_width": self._KERNEL, "dilations": self.dilations}  # fmt: skip

    def _file(self, metadata: Json, rate: float) -> Json:
        w = self.tensors()
        places = [(-1, "W", "input"), (-1, "b", "input_bias")]
        for n in range(len(self.dilations)):
            places += [(n, "W_conv", f"{n}.conv"), (n, "b_conv", f"{n}.conv_bias"),
                       (n, "W_out", f"{n}.out"), (n, "b_out", f"{n}.out_bias")]  # fmt: skip
        places += [(len(self.dilations), "W", "mix"), (len(self.dilations), "b", "mix_bias")]
        # Players of this format read numbers that are written as text.
        variables = [{"layer_idx": layer, "data": [str(x) for x in _numbers(w[tensor].flatten())], "name": name}
                     for layer, name, tensor in places]  # fmt: skip
        return {**self.description(), "variables": variables, "metadata": metadata, "sample_rate": rate}


class Recurrent(Network):
    """Recurrent layers under one linear output.

    Their state is one tensor of shape (batch, layers, 2, units): h and c of each layer; of GRUs, which have no c,
    (batch, layers, 1, units).
    """

    gates: int
    memories: int

    def __init__(self, units: int, layers: int, inputs: int) -> None:
        super().__init__(inputs)
        self.units, self.layers = units, layers

    def state(self, batch: int) -> Tensor:
        """That of the beginning: all zeros."""
        return self.weights.new_zeros(batch, self.layers, self.memories, self.units)

    def forward(self, x: Tensor, state: Tensor | None = None) -> Tensor:
        """:param x: shape (batch, inputs, samples)
        :returns: shape (batch, samples)
        """
        return self.step(x, state)[0]

    def step(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """The same, and the state after it; for truncated back-propagation through time it is to be detached."""
        self.check(x)
        return self._run(x.transpose(1, 2), self.state(len(x)) if state is None else state)

    def _run(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        raise TypeError(f"{type(self).__name__} is no network by itself")


class Lstm(Recurrent):
    """NAM's LSTM. The initial states that its file has room for are zeros."""

    gates, memories = 4, 2

    def __init__(self, units: int, layers: int, inputs: int) -> None:
        super().__init__(units, layers, inputs)
        for n in range(layers):
            ins = units if n else inputs
            self._tensor(f"{n}.kernel", 4 * units, ins + units, bound=units**-0.5)  # gates i f g o
            self._tensor(f"{n}.bias", 4 * units, bound=units**-0.5)
            self._drawn[-1][units : 2 * units] += 1  # it begins by remembering (Jozefowicz et al. 2015)
        self._tensor("head", units, bound=units**-0.5)
        self._tensor("head_bias", 1, bound=units**-0.5)
        self._finish()

    def _run(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        w, parts = self.tensors(), []
        for n in range(self.layers):
            kernel, bias = w[f"{n}.kernel"], w[f"{n}.bias"]
            ins = kernel.shape[1] - self.units
            parts += [kernel[:, :ins].contiguous(), kernel[:, ins:].contiguous(), bias, torch.zeros_like(bias)]
        h, c = (state[:, :, n].transpose(0, 1).contiguous() for n in range(2))
        hidden, h, c = torch.lstm(x, (h, c), parts, True, self.layers, 0.0, False, False, True)
        return hidden @ w["head"] + w["head_bias"], torch.stack((h, c), 2).transpose(0, 1)

    def description(self) -> Json:
        config = {"input_size": self.inputs, "hidden_size": self.units, "num_layers": self.layers}
        return {"architecture": "LSTM", "config": config}

    def _file(self, metadata: Json, rate: float) -> Json:
        w, weights = self.tensors(), []
        for n in range(self.layers):
            weights += _numbers(w[f"{n}.kernel"].flatten()) + _numbers(w[f"{n}.bias"]) + [0.0] * (2 * self.units)
        weights += _numbers(w["head"]) + _numbers(w["head_bias"])
        return {"version": "0.5.4", "metadata": metadata, **self.description(), "weights": weights, "sample_rate": rate}


class Gru(Recurrent):
    """A GRU with the reset gate after the multiplication, as Keras writes it and RTNeural reads it."""

    gates, memories = 3, 1

    def __init__(self, units: int, layers: int, inputs: int) -> None:
        super().__init__(units, layers, inputs)
        for n in range(layers):
            ins = units if n else inputs
            self._tensor(f"{n}.kernel", ins, 3 * units, bound=units**-0.5)  # gates z r n
            self._tensor(f"{n}.recurrent", units, 3 * units, bound=units**-0.5)
            self._tensor(f"{n}.bias", 2, 3 * units, bound=units**-0.5)
        self._tensor("head", units, 1, bound=units**-0.5)
        self._tensor("head_bias", 1, bound=units**-0.5)
        self._finish()

    def _run(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        w, parts = self.tensors(), []

        def torchs(rows: Tensor) -> Tensor:
            """PyTorch has the gates as r z n."""
            z, r, n = rows.split(self.units)
            return torch.cat((r, z, n))

        for n in range(self.layers):
            bias = w[f"{n}.bias"]
            parts += [torchs(w[f"{n}.kernel"].T), torchs(w[f"{n}.recurrent"].T), torchs(bias[0]), torchs(bias[1])]
        h = state[:, :, 0].transpose(0, 1).contiguous()
        hidden, h = torch.gru(x, h, parts, True, self.layers, 0.0, False, False, True)
        return (hidden @ w["head"])[..., 0] + w["head_bias"], h.transpose(0, 1)[:, :, None]

    def description(self) -> Json:
        config = {"input_size": self.inputs, "hidden_size": self.units, "num_layers": self.layers}
        return {"architecture": "GRU", "config": config}

    def _file(self, metadata: Json, rate: float) -> Json:
        w = self.tensors()
        layers = [{"type": "gru", "activation": "tanh", "shape": [None, None, self.units],
                   "weights": [_numbers(w[f"{n}.{part}"]) for part in ("kernel", "recurrent", "bias")]}
                  for n in range(self.layers)]  # fmt: skip
        dense = {"type": "dense", "activation": "", "shape": [None, None, 1],
                 "weights": [_numbers(w["head"]), _numbers(w["head_bias"])]}  # fmt: skip
        return {"in_shape": [None, None, self.inputs], "layers": [*layers, dense], "metadata": metadata,
                "sample_rate": rate}  # fmt: skip

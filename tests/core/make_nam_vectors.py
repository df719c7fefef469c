"""Makes nam_vectors/: small random models of every NAM architecture, exported by the trainer itself, and what the
trainer's own PyTorch modules make of one signal in float64.

    python tests/core/make_nam_vectors.py

It needs the trainer (``pip install neural-amp-modeler``, 0.13), which nothing else here does. The same versions of it
and of PyTorch give the same files again.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nam.models import ConvNet, Linear, WaveNet
from nam.models.recurrent import LSTM
from nam.models.wavenet import PackedWaveNet

FOLDER = Path(__file__).with_name("nam_vectors")
RATE = 48000
FRAMES = 768
Config = dict[str, Any]


def signal() -> np.ndarray:
    """Shape (FRAMES,), float32: a loud beat of two tones, then noise that fades into silence."""
    t = np.arange(FRAMES // 2) / RATE
    tones = 0.9 * np.sin(2 * np.pi * 440 * t) * np.sin(2 * np.pi * 137 * t)
    noise = np.random.default_rng(1).normal(0, 0.3, FRAMES // 2) * np.linspace(1, 0, FRAMES // 2)
    return np.concatenate([tones, noise]).astype(np.float32)


# ---- The trainer's configurations, for short ----------------------------------------------------------------------


def array(inputs: int, channels: int, head: int | tuple[int, int, bool], dilations: list[int], *, condition: int = 1,
          kernel: int | list[int] = 2, activation: Any = "Tanh", films: Config | None = None, **more: Any) -> Config:
    """A layer array.

    :param head: its channels; or channels, kernel size, bias
    """
    outs, size, bias = head if isinstance(head, tuple) else (head, 1, False)
    return {"input_size": inputs, "condition_size": condition, "channels": channels, "kernel_size": kernel,
            "dilations": dilations, "activation": activation, "film_params": films or {},
            "head": {"out_channels": outs, "kernel_size": size, "bias": bias}, **more}


def wavenet(*arrays: Config, **more: Any) -> WaveNet:
    return WaveNet.init_from_config({"layers_configs": list(arrays), "head_scale": 0.25, "sample_rate": RATE, **more})


def gated(primary: str, secondary: str = "Sigmoid") -> Config:
    return {"name": "PairMultiply", "primary": primary, "secondary": secondary}


def blended(primary: str, secondary: str = "Sigmoid") -> Config:
    return {"name": "PairBlend", "primary": primary, "secondary": secondary}


FILMS = ("conv_pre_film", "conv_post_film", "input_mixin_pre_film", "input_mixin_post_film", "activation_pre_film",
         "activation_post_film", "layer1x1_post_film", "head1x1_post_film")  # fmt: skip


def films(*names: str, shift: bool = True, groups: int = 1) -> Config:
    return {"films": {name: {"active": True, "shift": shift, "groups": groups} for name in names}}


def head1x1(outs: int, groups: int = 1) -> Config:
    return {"head_1x1_config": {"active": True, "out_channels": outs, "groups": groups}}


def layer1x1(active: bool = True, groups: int = 1) -> Config:
    return {"layer_1x1_config": {"active": active, "groups": groups}}


def condition(outs: int) -> Config:
    """A WaveNet of its own that makes the condition."""
    layers = [array(1, 4, 2, [1, 3], kernel=3), array(4, 2, (outs, 2, True), [2], activation="ReLU")]
    return {"condition_dsp": {"name": "WaveNet", "config": {"layers_configs": layers, "head_scale": 1.0}}}


def post_head(kernels: list[int], channels: int, activation: Any) -> Config:
    return {"head": {"channels": channels, "out_channels": 1, "kernel_sizes": kernels, "activation": activation}}


# ---- The models ---------------------------------------------------------------------------------------------------

ACTIVATIONS: list[Any] = [
    "Tanh", "ReLU", "Sigmoid", "SiLU", "Hardswish", "Softsign", "Softsigmoid", "Identity", "LeakyReLU", "Hardtanh",
    "LeakyHardtanh", "PReLU",
    {"name": "PReLU", "num_parameters": 4},
    {"name": "LeakyReLU", "negative_slope": 0.25},
    {"name": "Hardtanh", "min_val": -0.25, "max_val": 0.5},
    {"name": "LeakyHardtanh", "min_val": -0.5, "max_val": 0.25, "min_slope": 0.125, "max_slope": 0.375},
]  # fmt: skip


def a1() -> WaveNet:
    return wavenet(array(1, 8, 4, [1, 2, 4, 8], kernel=3), array(8, 4, (1, 1, True), [16, 32, 1], kernel=3))


def a2() -> WaveNet:
    leaky = {"name": "LeakyReLU", "negative_slope": 0.01}
    return wavenet(array(1, 8, (1, 16, True), [1, 3, 7, 2], kernel=[6, 6, 15, 6], activation=leaky))


def kernel_sizes() -> WaveNet:
    return wavenet(array(1, 5, 3, [1, 7, 2], kernel=[1, 5, 2]), array(5, 3, (1, 1, True), [3, 1], kernel=[2, 9]))


def activations() -> WaveNet:
    return wavenet(array(1, 4, (1, 1, True), [1] * len(ACTIVATIONS), activation=ACTIVATIONS))


def gating() -> WaveNet:
    mixed = [gated("Tanh"), "ReLU", gated("SiLU", "Hardswish"), gated("Tanh", "Hardtanh")]
    return wavenet(array(1, 4, 3, [1, 2, 3, 4], activation=mixed), array(4, 3, 1, [5], activation=gated("SiLU")))


def blending() -> WaveNet:
    mixed = [blended("Tanh"), gated("ReLU"), blended("LeakyReLU", "Tanh"), blended("Hardtanh", "LeakyReLU")]
    return wavenet(array(1, 4, 3, [1, 2, 3, 4], activation=mixed),
                   array(4, 3, 1, [5], activation=blended("PReLU", "PReLU")))


def bottleneck() -> WaveNet:
    return wavenet(array(1, 6, 5, [1, 2, 4], bottleneck=2),
                   array(6, 3, 1, [1, 3], bottleneck=5, activation=gated("Tanh")))


def groups() -> WaveNet:
    return wavenet(array(1, 8, 6, [1, 2, 4], kernel=3, bottleneck=6, condition=4, groups_input=2, groups_input_mixin=2,
                         **layer1x1(groups=2), **head1x1(6, groups=3)),
                   array(8, 4, 1, [8], activation=gated("Tanh"), condition=4, groups_input=4, groups_input_mixin=4,
                         **head1x1(6, groups=2)), **condition(4))


def head_1x1() -> WaveNet:
    return wavenet(array(1, 4, 5, [1, 2], activation=["Tanh", gated("Tanh")], **head1x1(3)),
                   array(4, 2, (1, 1, True), [3], **head1x1(5)))


def no_layer1x1() -> WaveNet:
    return wavenet(array(1, 4, 3, [1, 2, 4], **layer1x1(False)),
                   array(4, 3, 1, [8, 1], activation=gated("Tanh"), **layer1x1(False)))


def head_kernel() -> WaveNet:
    return wavenet(array(1, 4, (3, 5, True), [1, 2]), array(4, 3, (1, 16, False), [4, 1]))


def films_all() -> WaveNet:
    return wavenet(array(1, 4, 3, [1, 2], bottleneck=3, **films(*FILMS), **head1x1(3)),
                   array(4, 3, 1, [4, 1], activation=gated("Tanh"), **films(*FILMS), **head1x1(3)))


def films_without_shift() -> WaveNet:
    return wavenet(array(1, 4, 3, [1, 2], **films(*FILMS, shift=False), **head1x1(3)),
                   array(4, 3, 1, [4, 1], activation=blended("Tanh"), **films(*FILMS, shift=False), **head1x1(3)))


def films_in_groups() -> WaveNet:
    return wavenet(array(1, 4, 3, [1, 2], condition=2, activation=["Tanh", gated("Tanh")], **films(*FILMS, groups=2),
                         **head1x1(4, groups=2)),
                   array(4, 2, 1, [4], condition=2, **films(*FILMS[::2], shift=False, groups=2), **head1x1(3)),
                   **condition(2))


def films_here_and_there() -> WaveNet:
    return wavenet(array(1, 4, 3, [1, 2], **films("conv_pre_film", "activation_post_film")),
                   array(4, 3, 2, [4, 1], **films("conv_post_film", "layer1x1_post_film")),
                   array(3, 2, 2, [2], **films("input_mixin_pre_film", "activation_pre_film")),
                   array(2, 2, 2, [3, 1], **films("input_mixin_post_film"), **layer1x1(False)),
                   array(2, 3, 1, [1, 2], **films("head1x1_post_film"), **head1x1(2)))


def conditioned() -> WaveNet:
    return wavenet(array(1, 4, 3, [1, 2], condition=3), array(4, 3, 1, [4], condition=3), **condition(3))


def with_post_head() -> WaveNet:
    return wavenet(array(1, 4, (3, 2, True), [1, 2]), **post_head([3, 1, 2], 4, "ReLU"))


def everything() -> WaveNet:
    mixed = ["Softsign", gated("Tanh", "Hardtanh"), blended("LeakyReLU")]
    first = array(1, 6, (4, 3, True), [1, 2, 5], kernel=[3, 1, 4], bottleneck=4, condition=2, activation=mixed,
                  groups_input=2, groups_input_mixin=2, **films(*FILMS), **layer1x1(groups=2), **head1x1(6, groups=2))
    second = array(6, 4, (2, 2, False), [3, 1], condition=2, activation=blended("Tanh"),
                   **films("head1x1_post_film", "conv_pre_film", shift=False), **head1x1(4))
    head = post_head([2, 3], 3, {"name": "LeakyReLU", "negative_slope": 0.125})
    return wavenet(first, second, **condition(2), **head)


def two_inputs() -> WaveNet:
    return wavenet(array(2, 4, 3, [1, 2], condition=2), array(4, 3, 2, [3], condition=2, activation=gated("Tanh")))


def slimmable() -> WaveNet:
    slicing = {"method": "slice_channels_uniform", "kwargs": {"allowed_channels": [2, 3, 6]}}
    mixed = ["Tanh", gated("Tanh"), blended("ReLU")]
    return wavenet(array(1, 6, (1, 1, True), [1, 2, 4], activation=mixed, slimmable=slicing))


def container() -> PackedWaveNet:
    mixed = ["Tanh", "ReLU", "LeakyReLU"]
    sizes = [array(1, channels, (1, 1, True), [1, 2, 4], activation=mixed) for channels in (2, 3, 8)]
    return PackedWaveNet.init_from_config({
        "submodels": [{"config": {"layers_configs": [size], "head_scale": 0.25}} for size in sizes],
        "export": {"container_max_values": [0.25, 0.5, 1.0]}, "sample_rate": RATE})  # fmt: skip


MODELS: dict[str, Callable[[], Any]] = {
    "wavenet-a1": a1,
    "wavenet-a2": a2,
    "wavenet-kernel-sizes": kernel_sizes,
    "wavenet-activations": activations,
    "wavenet-gated": gating,
    "wavenet-blended": blending,
    "wavenet-bottleneck": bottleneck,
    "wavenet-groups": groups,
    "wavenet-head1x1": head_1x1,
    "wavenet-no-layer1x1": no_layer1x1,
    "wavenet-head-kernel": head_kernel,
    "wavenet-films": films_all,
    "wavenet-films-without-shift": films_without_shift,
    "wavenet-films-in-groups": films_in_groups,
    "wavenet-films-here-and-there": films_here_and_there,
    "wavenet-condition": conditioned,
    "wavenet-post-head": with_post_head,
    "wavenet-everything": everything,
    "wavenet-two-inputs": two_inputs,
    "wavenet-slimmable": slimmable,
    "container": container,
    "convnet": lambda: ConvNet(channels=4, dilations=[1, 2, 4, 8], sample_rate=RATE),
    "convnet-batch-norm": lambda: ConvNet(6, dilations=[1, 2, 5], batchnorm=True, activation="ReLU", sample_rate=RATE),
    "lstm": lambda: LSTM(9, sample_rate=RATE),
    "lstm-3-layers": lambda: LSTM(5, num_layers=3, sample_rate=RATE),
    "linear": lambda: Linear(7, sample_rate=RATE),
    "linear-with-bias": lambda: Linear(150, bias=True, sample_rate=RATE),
}

# Models that come in sizes are rendered at these: their ends, and both sides of every step.
SIZES = {"wavenet-slimmable": [0, 0.33, 0.34, 0.66, 0.67, 1], "container": [0, 0.24, 0.25, 0.49, 0.5, 1]}
# What goes into the second input, if there is one: where a knob stands that nobody has turned.
KNOB = 0.5


# ---- What becomes of them -----------------------------------------------------------------------------------------


def randomise(model: torch.nn.Module, seed: int) -> None:
    """Weights that leave nothing out: none is zero, no normalisation an identity, and no layer is driven dead or mad.
    Three digits each, which makes small files."""
    rng = np.random.default_rng(seed)

    def draw(tensor: torch.Tensor, scale: float, around: float = 0.0) -> None:
        values = rng.normal(around, scale, tuple(tensor.shape)).round(3).astype(np.float32)
        tensor.data = torch.from_numpy(np.where(values == 0, np.float32(0.001), values))

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Conv1d):
            film = "_film." in name
            draw(module.weight, 0.3 if film else 1 / np.sqrt(module.weight[0].numel()))
            if module.bias is not None:
                draw(module.bias, 0.25, 0.5 if film else 0)
        elif isinstance(module, torch.nn.BatchNorm1d):
            draw(module.running_mean, 0.2)
            variance = rng.uniform(0.1, 2, len(module.running_var)).round(3)
            module.running_var = torch.from_numpy(variance.astype(np.float32))
            draw(module.weight, 0.3, 1)
            draw(module.bias, 0.2)
            module.eps = 0.0078125
        elif isinstance(module, (torch.nn.LSTM, torch.nn.Linear)):
            for tensor in module.parameters():
                draw(tensor, 1 / np.sqrt(tensor.shape[-1]) if tensor.ndim == 2 else 0.2)
        elif isinstance(module, torch.nn.PReLU):
            draw(module.weight, 0.2, 0.2)


def exported(model: Any) -> Config:
    """The file that the trainer writes."""
    # What it would measure takes seconds, means nothing here, and wants one input.
    model._metadata_loudness = lambda **_: -18.0
    model._metadata_gain = lambda: 0.5
    with tempfile.TemporaryDirectory() as folder:
        model.export(Path(folder))
        return json.loads(Path(folder, "model.nam").read_text())


def amended(file: Config, model: Any) -> Config:
    """What the players of NAM's files expect and the trainer does not write."""
    if isinstance(model, Linear):  # players take the first tap as the newest sample's, the trainer as the oldest's
        taps = model.receptive_field
        file["weights"][:taps] = file["weights"][:taps][::-1]
    if isinstance(model, WaveNet) and file["config"]["layers"][0]["input_size"] > 1:
        file["config"]["in_channels"] = file["config"]["layers"][0]["input_size"]
    return file


def shortened(value: Any) -> Any:
    """The same without dates, each float32 in as few digits as it needs."""
    if isinstance(value, dict):
        return {key: shortened(part) for key, part in value.items() if key != "date"}
    if isinstance(value, list):
        return [shortened(part) for part in value]
    return float(str(np.float32(value))) if isinstance(value, float) else value


def renders(name: str, model: Any, x: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Names and outputs, shape of ``x``, after silence for longer than the model remembers."""
    model = model.double().eval()
    silence = RATE if isinstance(model, LSTM) else model.receptive_field - 1
    padded = torch.cat([torch.zeros(silence, dtype=torch.float64), torch.from_numpy(x.astype(np.float64))])[None]
    with torch.no_grad():
        for size in SIZES.get(name, [None]):
            if isinstance(model, PackedWaveNet):  # all sizes at once, one to a channel
                limits = model._container_max_values()
                y = model(padded, pad_start=False)[0, sum(size >= limit for limit in limits[:-1])]
            elif isinstance(model, WaveNet):
                if size is not None:
                    model._net.set_slimming(size)
                inputs = model._net._layer_arrays[0]._rechannel.in_channels
                knobs = torch.full((1, inputs - 1, padded.shape[1]), KNOB, dtype=torch.float64)
                y = model._net(torch.cat([padded[None], knobs], 1))[0, 0]
            else:
                y = model(padded, pad_start=False)[0]
            yield name if size is None else f"{name}@{size:g}", y[-len(x) :].numpy()


def main() -> None:
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.iterdir():
        old.unlink()
    x = signal()
    arrays = {"input": x}
    for seed, (name, make) in enumerate(MODELS.items()):
        torch.manual_seed(seed)
        model = make()
        randomise(model, seed)
        file = amended(exported(model), model)
        for key, y in renders(name, model, x):
            assert np.all(np.isfinite(y)) and 0.003 < np.std(y) < 10, f"{key} says nothing: deviation {np.std(y):g}"
            arrays[key] = y.astype(np.float32)
        (FOLDER / f"{name}.nam").write_text(json.dumps(shortened(file), separators=(",", ":")) + "\n")
    np.savez_compressed(FOLDER / "renders.npz", **arrays)


if __name__ == "__main__":
    main()

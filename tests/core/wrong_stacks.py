"""Every way in which the files of RTNeural, GuitarML, WaveNetVA and their like can be wrong: the text, and words that the
complaint must have."""

import copy
import json
from typing import Any

from core import stacks
from core.stacks import Stack

CHANGES = list[tuple[tuple[Any, ...], Any]]
GONE = object()


def changed(file: dict[str, Any], *changes: tuple[tuple[Any, ...], Any]) -> str:
    """The file with other values at these places; GONE takes a place away."""
    file = copy.deepcopy(file)
    for path, value in changes:
        part = file
        for key in path[:-1]:
            part = part[key]
        if value is GONE:
            del part[path[-1]]
        else:
            part[path[-1]] = value
    return json.dumps(file)


RTNEURAL = Stack().dense(4, "tanh").conv(6, 3, 2, groups=2).batch_norm().prelu().lstm(5).gru(4).dense(1).file()
GUITARML = stacks.guitarml("LSTM", 4, 2, 2)
BARE = stacks.guitarml("GRU", 4)["state_dict"]
WAVENET = stacks.gated_wavenet(3, [1, 2])
HUGE = 10**12


def rtneural(*path: Any, value: Any) -> str:
    return changed(RTNEURAL, (path, value))


def guitarml(*path: Any, value: Any) -> str:
    return changed(GUITARML, (path, value))


def wavenet(*path: Any, value: Any) -> str:
    return changed(WAVENET, (path, value))


def many(layers: int) -> str:
    return json.dumps(
        RTNEURAL | {"layers": [{"type": "activation", "activation": "tanh", "shape": [1], "weights": []}] * layers}
    )


def blown_up() -> str:
    """Few weights, which two-dimensional convolutions spread over a great matrix for each of many taps."""
    stack = Stack().dense(1024, bias=False)
    layer = {"type": "conv2d", "kernel_size_time": 100, "kernel_size_feature": 1, "dilation": 1, "strides": 1,
             "num_filters_in": 1, "num_features_in": 1024, "num_filters_out": 1, "padding": "same",
             "shape": [None, 1, 1024, 1], "weights": [[[[[0.5]]]] * 100, [0]]}  # fmt: skip
    return json.dumps(stack.file() | {"layers": [*stack.layers, layer]})


WRONG = {
    "no model at all": ('{"some": "JSON"}', 'no "architecture"'),
    "RTNeural: layers is a number": (rtneural("layers", value=3), "layers must be a list"),
    "RTNeural: no layers": (rtneural("layers", value=[]), "layers must be a list"),
    "RTNeural: too many layers": (many(2000), "1 to 1024 layers"),
    "RTNeural: a layer is a number": (rtneural("layers", 1, value=3), "layers[1] is not a JSON object"),
    "RTNeural: no type": (rtneural("layers", 1, "type", value=GONE), 'layers[1] has no "type"'),
    "RTNeural: unknown type": (rtneural("layers", 1, "type", value="attention"), 'layers[1].type "attention"'),
    "RTNeural: in_shape is a number": (rtneural("in_shape", value=1), "in_shape must be a list"),
    "RTNeural: in_shape ends with null": (
        rtneural("in_shape", value=[1, None]),
        "in_shape must end with a whole number",
    ),
    "RTNeural: no input": (rtneural("in_shape", value=[0]), "in_shape ends with 0"),
    "RTNeural: 65 inputs": (rtneural("in_shape", value=[65]), "in_shape ends with 65 inputs, at most 64"),
    "RTNeural: no shape": (rtneural("layers", 0, "shape", value=GONE), 'layers[0] has no "shape"'),
    "RTNeural: shape of five": (
        rtneural("layers", 0, "shape", value=[1] * 5),
        "layers[0].shape must be a list of 1 to 4",
    ),
    "RTNeural: shape huge": (rtneural("layers", 0, "shape", value=[HUGE]), "layers[0].shape ends with 1000000000000"),
    "RTNeural: shape huge in two axes": (rtneural("layers", 0, "shape", value=[1, 1, 1000, 1000]), "1000000 channels"),
    "RTNeural: shape is text": (
        rtneural("layers", 0, "shape", value=["4"]),
        "layers[0].shape must end with a whole number",
    ),
    "RTNeural: weights are a number": (rtneural("layers", 0, "weights", value=1), "layers[0].weights must be a list"),
    "RTNeural: no weights": (rtneural("layers", 0, "weights", value=GONE), "part 0 is missing"),
    "RTNeural: a row too many": (
        rtneural("layers", 0, "weights", 0, value=[[0] * 4] * 2),
        "layers[0].weights[0] must have 1 lists, it has 2",
    ),
    "RTNeural: a column too few": (
        rtneural("layers", 0, "weights", 0, 0, value=[0] * 3),
        "layers[0].weights[0][0] must have 4 numbers, it has 3",
    ),
    "RTNeural: bias too long": (
        rtneural("layers", 0, "weights", 1, value=[0] * 5),
        "layers[0].weights[1] must have 4 numbers, it has 5",
    ),
    "RTNeural: a weight is null": (
        rtneural("layers", 0, "weights", 0, 0, 2, value=None),
        "layers[0].weights[0][0][2] is null",
    ),
    "RTNeural: a weight is text": (
        rtneural("layers", 0, "weights", 0, 0, 2, value="x"),
        "layers[0].weights[0][0][2] is not a number",
    ),
    "RTNeural: a weight is empty text": (rtneural("layers", 0, "weights", 0, 0, 2, value=""), "is not a number"),
    "RTNeural: a weight is a list": (rtneural("layers", 0, "weights", 0, 0, 2, value=[1]), "is not a number"),
    "RTNeural: a weight is too large": (rtneural("layers", 0, "weights", 0, 0, 2, value=1e39), "is not finite"),
    "RTNeural: a weight is NaN": (rtneural("layers", 0, "weights", 0, 0, 2, value=float("nan")), "NaN"),
    "RTNeural: weights that overflow": (
        changed(
            Stack().dense(1).dense(1).file(),
            (("layers", 0, "weights"), [[[1]], [3e38]]),
            (("layers", 1, "weights"), [[[2]], [0]]),
        ),
        "no finite output",
    ),
    "RTNeural: activation unknown": (
        rtneural("layers", 0, "activation", value="wobble"),
        'layers[0].activation "wobble" is not known',
    ),
    "RTNeural: activation is a number": (
        rtneural("layers", 0, "activation", value=1),
        "layers[0].activation must be a string",
    ),
    "RTNeural: no kernel size": (rtneural("layers", 1, "kernel_size", value=GONE), 'layers[1] has no "kernel_size"'),
    "RTNeural: kernel of 0": (rtneural("layers", 1, "kernel_size", value=[0]), "layers[1].kernel_size is 0"),
    "RTNeural: kernel huge": (
        rtneural("layers", 1, "kernel_size", value=[HUGE]),
        "layers[1].kernel_size is 1000000000000",
    ),
    "RTNeural: another kernel": (
        rtneural("layers", 1, "kernel_size", value=[5]),
        "layers[1].weights[0] must have 5 lists, it has 3",
    ),
    "RTNeural: dilation of 0": (rtneural("layers", 1, "dilation", value=0), "layers[1].dilation is 0"),
    "RTNeural: dilation huge": (rtneural("layers", 1, "dilation", value=[HUGE]), "layers[1].dilation"),
    "RTNeural: memory huge": (rtneural("layers", 1, "dilation", value=1 << 20), "needs more than 64 MiB"),
    "RTNeural: groups that do not divide": (rtneural("layers", 1, "groups", value=3), "layers[1].groups is 3"),
    "RTNeural: groups of 0": (rtneural("layers", 1, "groups", value=0), "layers[1].groups is 0"),
    "RTNeural: batch norm of three": (
        rtneural("layers", 2, "weights", value=[[1] * 6] * 3),
        "layers[2].weights has 3 parts",
    ),
    "RTNeural: no epsilon": (rtneural("layers", 2, "epsilon", value=GONE), 'layers[2] has no "epsilon"'),
    "RTNeural: a variance below 0": (
        rtneural("layers", 2, "weights", 3, 4, value=-1),
        "layers[2].weights[3][4] is a variance",
    ),
    "RTNeural: PReLU too short": (
        rtneural("layers", 3, "weights", 0, 0, value=[1, 2]),
        "layers[3].weights[0] must have 6 numbers, it has 2",
    ),
    "RTNeural: PReLU without": (
        rtneural("layers", 3, "weights", value=[]),
        "layers[3].weights[0] must have 6 numbers, it has 0",
    ),
    "RTNeural: LSTM of other inputs": (
        rtneural("layers", 4, "weights", 0, value=[[0] * 20] * 5),
        "layers[4].weights[0] must have 6 lists, it has 5",
    ),
    "RTNeural: LSTM of other units": (
        rtneural("layers", 4, "shape", value=[1, 4]),
        "layers[4].weights[0][0] must have 16 numbers, it has 20",
    ),
    "RTNeural: LSTM without h": (
        rtneural("layers", 4, "weights", value=RTNEURAL["layers"][4]["weights"][:1]),
        "part 1 is missing",
    ),
    "RTNeural: GRU of the other kind": (rtneural("layers", 5, "weights", 2, value=[0] * 12), "reset_after=False"),
    "RTNeural: sample rate absurd": (rtneural("samplerate", value=3), "samplerate is 3"),
    "RTNeural: in_skip of 2": (rtneural("in_skip", value=2), "in_skip is 2"),
    "RTNeural: in_gain is text": (rtneural("in_gain", value="loud"), "in_gain must be a number"),
    "RTNeural: out_gain absurd": (rtneural("out_gain", value=400), "out_gain is 400"),
    "RTNeural: a few weights for a great matrix": (blown_up(), "million weights"),
    "GuitarML: state_dict is a list": (guitarml("state_dict", value=[]), "state_dict is not a JSON object"),
    "GuitarML: model_data is a number": (guitarml("model_data", value=1), "model_data is not a JSON object"),
    "GuitarML: another model": (guitarml("model_data", "model", value="GatedConvNet"), '"GatedConvNet"'),
    "GuitarML: another unit": (guitarml("model_data", "unit_type", value="RNN"), '"RNN"; LSTM and GRU'),
    "GuitarML: no unit": (guitarml("model_data", "unit_type", value=GONE), 'model_data has no "unit_type"'),
    "GuitarML: a GRU's weights": (
        guitarml("model_data", "unit_type", value="GRU"),
        "is 16 × 2, by model_data it is 12 × 2",
    ),
    "GuitarML: no units": (guitarml("model_data", "hidden_size", value=0), "model_data.hidden_size is 0"),
    "GuitarML: units huge": (guitarml("model_data", "hidden_size", value=HUGE), "model_data.hidden_size"),
    "GuitarML: other units": (guitarml("model_data", "hidden_size", value=5), "is 16 × 2, by model_data it is 20 × 2"),
    "GuitarML: other inputs": (guitarml("model_data", "input_size", value=1), "is 16 × 2, by model_data it is 16 × 1"),
    "GuitarML: inputs huge": (guitarml("model_data", "input_size", value=1000), "model_data.input_size is 1000"),
    "GuitarML: fewer layers": (
        guitarml("model_data", "num_layers", value=1),
        "num_layers is 1, but there is rec.weight_ih_l1",
    ),
    "GuitarML: more layers": (guitarml("model_data", "num_layers", value=3), 'no "rec.weight_ih_l2"'),
    "GuitarML: skip of 2": (guitarml("model_data", "skip", value=2), "model_data.skip is 2"),
    "GuitarML: no head": (guitarml("state_dict", "lin.weight", value=GONE), 'state_dict has no "lin.weight"'),
    "GuitarML: a row too short": (
        guitarml("state_dict", "rec.weight_hh_l0", 3, value=[0, 0]),
        "rec.weight_hh_l0[3] must have 4 numbers, it has 2",
    ),
    "GuitarML: a bias too short": (
        guitarml("state_dict", "rec.bias_hh_l1", value=[0]),
        "rec.bias_hh_l1 must have 16 numbers, it has 1",
    ),
    "GuitarML: a weight is null": (guitarml("state_dict", "lin.weight", 0, 1, value=None), "lin.weight[0][1] is null"),
    "GuitarML: weights are text": (
        guitarml("state_dict", "rec.weight_hh_l0", value="x"),
        "rec.weight_hh_l0 must be lists",
    ),
    "state_dict: empty": ('{"state_dict": {}}', "state_dict holds no weights"),
    "state_dict: neither three nor four gates": (
        changed(BARE, (("rec.weight_hh_l0",), [[0] * 4] * 8)),
        "rec.weight_hh_l0 has 8 rows of 4",
    ),
    "state_dict: no square": (
        changed(BARE, (("rec.weight_hh_l0",), [[0] * 4] * 13)),
        "rec.weight_hh_l0 has 13 rows of 4",
    ),
    "state_dict: backwards": (changed(BARE, (("rec.weight_hh_l0_reverse",), [[0]])), "rec.weight_hh_l0_reverse"),
    "state_dict: another module": (changed(BARE, (("norm.running_mean",), [0])), '"norm.running_mean" belongs to no'),
    "state_dict: two Linears": (
        json.dumps(BARE | {"out.weight": [[1]]}),
        'between "out.weight" and the module before it',
    ),
    "state_dict: 65 inputs": (json.dumps({"weight": [[0] * 65]}), "takes 65 inputs, at most 64"),
    "state_dict: too many channels": (json.dumps({"weight": [[0]] * 1025}), "weight has 1025 channels"),
    "state_dict: an empty list": (json.dumps({"weight": []}), "weight must be lists of numbers"),
    "WaveNetVA: no channels": (wavenet("residual_channels", value=0), "residual_channels is 0"),
    "WaveNetVA: channels huge": (wavenet("residual_channels", value=HUGE), "residual_channels is 1000000000000"),
    "WaveNetVA: other channels": (
        wavenet("residual_channels", value=4),
        "variables[0].data must have 4 numbers, it has 3",
    ),
    "WaveNetVA: two inputs": (wavenet("input_channels", value=2), "input_channels is 2"),
    "WaveNetVA: two outputs": (wavenet("output_channels", value=2), "output_channels is 2"),
    "WaveNetVA: filter huge": (wavenet("filter_width", value=HUGE), "filter_width is 1000000000000"),
    "WaveNetVA: another filter": (
        wavenet("filter_width", value=4),
        "variables[2].data must have 72 numbers, it has 54",
    ),
    "WaveNetVA: activation unknown": (wavenet("activation", value="wobble"), '"wobble"'),
    "WaveNetVA: ungated": (wavenet("activation", value="tanh"), "variables[2].data must have 27 numbers, it has 54"),
    "WaveNetVA: no dilations": (wavenet("dilations", value=[]), "dilations must be a list"),
    "WaveNetVA: too many dilations": (wavenet("dilations", value=[1] * 5000), "dilations has 5000 entries"),
    "WaveNetVA: dilation huge": (wavenet("dilations", value=[1, HUGE]), "dilations"),
    "WaveNetVA: memory huge": (wavenet("dilations", value=[1 << 20, 1 << 20]), "needs more than 64 MiB"),
    "WaveNetVA: one layer more": (wavenet("dilations", value=[1, 2, 4]), 'variables have no "W" of layer_idx 3'),
    "WaveNetVA: variables are a number": (wavenet("variables", value=1), "variables must be a list"),
    "WaveNetVA: a variable is a number": (wavenet("variables", 3, value=1), "variables[3] is not a JSON object"),
    "WaveNetVA: a variable of no layer": (wavenet("variables", 3, "layer_idx", value=7), "variables[3].layer_idx is 7"),
    "WaveNetVA: a variable missing": (wavenet("variables", 3, value=GONE), 'no "b_conv" of layer_idx 0'),
    "WaveNetVA: a variable twice": (
        wavenet("variables", 3, value=WAVENET["variables"][2]),
        "variables[3] is layer 0's W_conv for the second time",
    ),
    "WaveNetVA: no data": (wavenet("variables", 3, "data", value=GONE), 'variables[3] has no "data"'),
    "WaveNetVA: data is text": (wavenet("variables", 3, "data", value="0"), "variables[3].data must be a list"),
    "WaveNetVA: a weight is no number": (
        wavenet("variables", 3, "data", 1, value="1,5"),
        "variables[3].data[1] is not a number",
    ),
    "WaveNetVA: a weight is infinite": (
        wavenet("variables", 3, "data", 1, value="inf"),
        "variables[3].data[1] is not finite",
    ),
}

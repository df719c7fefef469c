"""A profile: the folder that the training of an amp makes.

================== =====================================================================================
``model.nam``      the amp, to be played in every host (``model.json`` for the WaveNets of Wright et al.)
``report.html``    how near it comes to its device on what it was not trained with
``metrics.json``   the same in figures
``config.json``    what it was trained with
``learning.png``   the learning curve, drawn while it learns
``history.csv``    the same as a table
``checkpoint.pt``  what is needed to go on
================== =====================================================================================
"""

import copy
import datetime
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import torch

from neurig import __version__
from neurig.evaluation import compare, metrics, report
from neurig.files import share, write_atomic
from neurig.model import Model, parse
from neurig.training import TrainingError
from neurig.training.amp import Training
from neurig.training.amp_data import Pair, Part, Samples
from neurig.training.networks import NamWaveNet, Network

CHECKPOINT, REPORT, METRICS, CONFIG = "checkpoint.pt", "report.html", "metrics.json", "config.json"
CURVE, HISTORY = "learning.png", "history.csv"
MODELS = "model.nam", "model.json"
FILES = *MODELS, CHECKPOINT, REPORT, METRICS, CONFIG, CURVE, HISTORY
"""All that may be in a profile."""

AGREEMENT = 1e-10
"""The largest error-to-signal ratio between PyTorch's answer and the core's."""

_LAST = "mix", "mix_bias", "head", "head_bias"  # the tensors that make the output
_CHECKED = 0.5  # seconds, that PyTorch and the core are compared over
_SETTLING = 1.0  # seconds before what is judged, which a recurrent network hears too


@dataclass(frozen=True)
class Gear:
    """What a model file says about the device: NAM's metadata.

    :ivar gear_type: ``"amp"``, ``"pedal"``, ``"pedal_amp"``, ``"amp_cab"``, ``"amp_pedal_cab"``, ``"preamp"`` or
        ``"studio"``
    :ivar tone_type: ``"clean"``, ``"overdrive"``, ``"crunch"``, ``"hi_gain"``, ``"fuzz"``
    :ivar input_level_dbu: analog level at the device's input that is digital full scale
    :ivar output_level_dbu: the same at its output
    """

    name: str | None = None
    modeled_by: str | None = None
    gear_type: str | None = None
    gear_make: str | None = None
    gear_model: str | None = None
    tone_type: str | None = None
    input_level_dbu: float | None = None
    output_level_dbu: float | None = None


def write(training: Training, pairs: Sequence[Pair], folder: Path, gear: Gear = Gear()) -> dict[str, Any]:
    """Writes all of a profile but the checkpoint, with the best weights that the training has come to.

    :param pairs: what the training learned from
    :param folder: there already
    :returns: what is in ``metrics.json``
    :raises TrainingError: where the model file does not play what the network does
    :raises OSError: where a file cannot be written
    """
    network, draft, agreement = export(training, folder)
    evaluations = [_evaluate(draft, part, pair) for part, pair in zip(training.data.test, pairs, strict=False)]
    worst = max(evaluations, key=lambda evaluation: evaluation.metrics["esr"])
    progress, settings = training.progress, training.settings
    figures = {
        "validation": {"esr": progress.best_esr},
        "test": _together(evaluations),
        "pairs": [{"input": str(done.source), "output": str(done.recorded), **done.metrics} for done in evaluations],
        "agreement_with_pytorch": agreement,
        "weights": sum(weight.numel() for weight in network.parameters()),
        "steps": progress.step,
        "best_step": progress.history[progress.best].step,
        "seconds": round(progress.seconds, 2),
    }
    metadata = {"sample_rate": training.data.rate} | _metadata(training, draft, gear, figures)
    write_atomic(draft.path, json.dumps(network.export(metadata)))
    write_atomic(folder / METRICS, json.dumps(figures, indent=2) + "\n")
    write_atomic(folder / CONFIG, json.dumps({
        "neurig": __version__, "torch": torch.__version__, "settings": asdict(settings), "rate": training.data.rate,
        "knobs": training.data.knobs, "pairs": [{"input": str(pair.input), "output": str(pair.output),
                                                 "knobs": pair.knobs} for pair in pairs],
        "recordings": [recording.as_dict() for recording in training.data.reports],
        "device": training.device, "threads": torch.get_num_threads()}, indent=2) + "\n")
    write_log(training, folder)
    report.write(worst, folder / REPORT)
    return figures


def export(training: Training, folder: Path) -> tuple[Network, Model, float]:
    """The best network as the core plays it. Nothing is written.

    :returns: the network, as loud as the device; the same in the core, with the path that it is to have; and the
        error-to-signal ratio between both
    :raises TrainingError: where the core does not play what PyTorch does
    """
    network = _as_loud_as_the_device(training)
    document = network.export({"sample_rate": training.data.rate})
    model = parse(json.dumps(document), folder / MODELS["architecture" not in document])
    return network, model, _agreement(network, model, training.data.test[0])


@torch.no_grad()
def _as_loud_as_the_device(training: Training) -> Network:
    """The best network, on the CPU, undone what its targets were multiplied by."""
    network = copy.deepcopy(training.network).cpu()
    network.load_state_dict(training.best)
    if isinstance(network, NamWaveNet):
        network.config["head_scale"] /= training.scale
    else:
        for name, tensor in network.tensors().items():
            if name in _LAST:
                tensor /= training.scale
    return network


def write_log(training: Training, folder: Path) -> None:
    """Writes the learning curve as a picture and as a table."""
    from neurig.training.amp_pictures import learning_curve

    history, best = training.progress.history, training.progress.best
    if not history:
        return
    lines = [f"{entry.step},{entry.seconds:.3f},{entry.rate:.6g},{entry.loss:.6g},{entry.esr:.6g}" for entry in history]
    write_atomic(folder / HISTORY, "\n".join(["step,seconds,rate,loss,validation_esr", *lines, ""]))
    learning_curve(history, best, folder / CURVE)


def _play(model: Model, part: Part, rate: int, start: int, end: int) -> Samples:
    """What the core makes of a part between two samples of it; a second before is heard, too."""
    instance = model.instance(rate)
    for index, value in enumerate(part.knobs):
        instance.set(index, float(value))
    heard = max(0, start - max(round(_SETTLING * rate), model.info["receptive_field"] or 0))
    return instance.process(part.source[heard:end])[start - heard :]


def _evaluate(model: Model, part: Part, pair: Pair) -> Any:
    rate = round(model.rate)
    target = part.target[part.judged].astype(np.float64)
    prediction = _play(model, part, rate, part.judged.start, part.judged.stop).astype(np.float64)
    return compare(model, pair.input, pair.output, rate, target, prediction)


def _together(evaluations: Sequence[Any]) -> dict[str, float]:
    target = np.concatenate([done.target for done in evaluations])
    prediction = np.concatenate([done.prediction for done in evaluations])
    return {name: metric(target, prediction) for name, metric in metrics.ALL.items()}


@torch.no_grad()
def _agreement(network: Network, model: Model, part: Part) -> float:
    """The error-to-signal ratio between what PyTorch computes in double precision and what the core does, where the
    device is loudest: of silence there is none.

    :raises TrainingError: where they do not agree
    """
    rate = round(model.rate)
    length = min(round(_CHECKED * rate), part.judged.stop - part.judged.start)
    starts = range(part.judged.start, part.judged.stop - length + 1, length)
    start = max(starts, key=lambda start: float(np.sum(np.square(part.target[start : start + length]))))
    signal = slice(start, start + length)
    inputs = part.inputs(signal)[None].double()
    silence = inputs[:, :, :1].repeat(1, 1, max(rate // 2, network.receptive_field - 1))
    silence[:, 0] = 0
    answer = copy.deepcopy(network).double()(torch.cat([silence, inputs], 2))[0].numpy()[-inputs.shape[2] :]
    instance = model.instance(rate)
    for index, value in enumerate(part.knobs):
        instance.set(index, float(value))
    instance.process(silence[0, 0].numpy())
    error = metrics.esr(answer, instance.process(part.source[signal]))
    if not error <= AGREEMENT:
        raise TrainingError("the exported model does not play what was trained: an error-to-signal ratio of "
                            f"{error:.2g} between PyTorch and the core. The checkpoint keeps the training; please "
                            "report this")
    return error


def _metadata(training: Training, model: Model, gear: Gear, figures: dict[str, Any]) -> dict[str, Any]:
    """What NAM's players read, and where the model came from."""
    rate = training.data.rate
    played = _phrase(rate)
    loudness, gain = _loudness(model, played, training.data.test[0].knobs)
    stated = {name: value for name, value in asdict(gear).items() if value is not None}
    return {
        "date": {name: getattr(datetime.datetime.now(), name) for name in
                 ("year", "month", "day", "hour", "minute", "second")},
        "loudness": loudness, "gain": gain, **stated,
        **({"knobs": list(training.data.knobs)} if training.data.knobs else {}),
        "training": {"made_by": f"neurig {__version__}", "architecture": training.settings.architecture,
                     "validation_esr": figures["validation"]["esr"], "test_esr": figures["test"]["esr"],
                     "steps": figures["steps"], "seed": training.settings.seed,
                     "latency": [recording.latency for recording in training.data.reports]},
    }


def _phrase(rate: int) -> Samples:
    samples, own = soundfile.read(share("models", "phrase.wav"), dtype="float32")
    return samples if own == rate else soxr.resample(samples, own, rate)


def _loudness(model: Model, phrase: Samples, knobs: Samples) -> tuple[float, float]:
    """How loud the bundled phrase is behind the model, dBFS rms; and how much it distorts: 0 for one that is as loud as
    it is driven, 1 for one that is always equally loud."""
    instance = model.instance(model.rate)
    for index, value in enumerate(knobs):
        instance.set(index, float(value))
    powers = []
    for level in np.linspace(0.1, 1, 10, dtype=np.float32):
        instance.reset()
        powers.append(float(np.mean(np.square(instance.process(level * phrase), dtype=np.float64))))
    amplitudes = np.sqrt(np.array(powers) + 1e-12)
    loudness = 20 * float(np.log10(amplitudes[-1]))
    gain = (float(amplitudes.mean() / amplitudes[-1]) - 0.55) / 0.45  # 0.55: the mean of the levels
    return round(loudness, 2), round(min(max(gain, 0.0), 1.0), 3)

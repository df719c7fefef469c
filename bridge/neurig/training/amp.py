"""Training of an amp: a network learns to make of a signal what a device made of it.

Segments are drawn at random from what is learned, in small batches; the rate of learning rises for a moment and then
falls along a cosine to the end of the training, which is a number of steps or of minutes. Recurrent networks learn by
truncated back-propagation through time: streams that go on from step to step, and begin elsewhere now and then. The
weights with the lowest error on the validation are kept.
"""

import copy
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neurig.training import TrainingError, kernel, networks
from neurig.training.amp_data import SETTLING, Data, Part, Windows
from neurig.training.checkpoint import Resumable
from neurig.training.losses import Loss
from neurig.training.networks import Network
from neurig.training.soap import Soap

_STEEPEST = 1.0  # norm to which a gradient is clipped
_LAST_RATE = 1e-3  # of the peak rate, at the end
_LANES = 16  # stretches of a part that are judged at a time
_BLOCK = 4096  # samples of each
_MEMORY = 0.98  # what the mean loss keeps of itself at each step
_LARGEST = 1 << 21  # samples that a step may take in: of more, not even large machines can remember all layers
_RETRIES = 3  # with half the rate, where the loss was no number any more
_FORMAT = 1  # of the checkpoint
_OPEN = {"steps", "minutes", "patience", "early_stopping"}  # settings that may change when a training is resumed


@dataclass(frozen=True)
class Settings:
    """:ivar architecture: a name that :func:`neurig.training.networks.network` knows
    :ivar loss: weights by the names of :data:`neurig.training.losses.ALL`
    :ivar steps: of the optimizer in the whole training
    :ivar minutes: that the training lasts, instead of ``steps``
    :ivar batch: segments between two steps
    :ivar segment: samples of a segment, that the error is taken of
    :ivar optimizer: ``"soap"`` or ``"adam"``
    :ivar rate: of learning, at its highest
    :ivar warm: share of the training in which the rate rises
    :ivar settle: of recurrent networks: samples that a stream is heard before it is learned from
    :ivar stay: of recurrent networks: segments that are learned in a row before the stream begins elsewhere
    :ivar patience: validations without a lower error, after which early stopping ends the training
    """

    architecture: str
    loss: dict[str, float]
    steps: int | None = None
    minutes: float | None = None
    batch: int = 16
    segment: int = 2048
    optimizer: str = "soap"
    rate: float = 0.01
    warm: float = 0.05
    settle: int = 1024
    stay: int = 16
    seed: int = 0
    early_stopping: bool = True
    patience: int = 50

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise TrainingError("a training lasts a number of steps or of minutes: give one of them")


@dataclass
class Validation:
    """What one look at the validation gave.

    :ivar step: after which it was
    :ivar seconds: of training until then
    :ivar loss: mean of the latest steps
    :ivar esr: error-to-signal ratio on the validation
    """

    step: int
    seconds: float
    rate: float
    loss: float
    esr: float


@dataclass
class Progress:
    """Where a training is. What is in here, the weights and the optimizer are all that a resumed one needs.

    :ivar loss: mean of the latest steps
    :ivar best: index in ``history`` of the validation whose weights are kept; -1 before the first
    :ivar slower: how often the rate was halved, because the loss was no number any more
    """

    step: int = 0
    seconds: float = 0.0
    loss: float = math.nan
    rate: float = 0.0
    history: list[Validation] = field(default_factory=list)
    best: int = -1
    slower: int = 0

    @property
    def best_esr(self) -> float:
        return self.history[self.best].esr if self.best >= 0 else math.inf


def network(architecture: str, knobs: int = 0) -> Network:
    """A network that has learned nothing yet.

    :raises TrainingError: where there is none of that name
    """
    try:
        return networks.network(architecture, knobs)
    except ValueError as problem:
        raise TrainingError(f"--arch: {problem}") from None


class Training(Resumable):
    """One training, from its beginning or from where a checkpoint left it.

    With ``steps``, and given the same recordings, settings, machine and number of threads, the result is the same to
    the last bit, however often the training was interrupted. With ``minutes`` it depends on how far the machine came.

    :ivar network: the network that learns
    :ivar best: its weights with the lowest error, as a state dict
    :ivar scale: what targets were multiplied by; the network's answer has to be divided by it
    """

    def __init__(self, data: Data, settings: Settings, checkpoint: Path | None = None, device: str = "cpu",
                 clock: Callable[[], float] = time.monotonic) -> None:
        """:param checkpoint: a file that keeps the training over an interruption
        :param device: of PyTorch
        :param clock: tells the seconds of ``minutes``
        :raises TrainingError: where the architecture is unknown, the recordings are too short for it, or a step would
            take more memory than there is
        """
        identity = {name: value for name, value in asdict(settings).items() if name not in _OPEN}
        super().__init__(checkpoint, {"format": _FORMAT, "recordings": data.identity(), **identity}, device, share=0.02)
        self.data, self.settings = data, settings
        self.loss = Loss(settings.loss)
        torch.manual_seed(settings.seed)
        self.network = network(settings.architecture, len(data.knobs)).to(device)
        self.compute: Any = kernel.fused(self.network) if device == "cpu" else self.network
        self.recurrent = hasattr(self.network, "step")
        self.context = settings.settle if self.recurrent else self.network.receptive_field - 1
        self.scale = data.scale()
        self.windows = Windows(data.learned, self.scale, device)
        self.stretch = settings.segment * (settings.stay if self.recurrent else 1)
        if self.windows.shortest() < 2 * (self.context + self.stretch):
            needed, seconds = (self.context + self.stretch) / data.rate, self.windows.shortest() / data.rate
            raise TrainingError(f"{seconds:.1f} s are too short for {settings.architecture}, which learns segments of "
                                f"{needed:.1f} s. Record longer; three minutes are good")
        if settings.batch * (self.context + settings.segment) > _LARGEST:
            most = _LARGEST // (self.context + settings.segment)
            raise TrainingError(f"{settings.batch} segments of {settings.segment} samples are more than fit into memory "
                                f"at a time: at most a --batch of {most}" if most else
                                f"a --segment of {settings.segment} samples does not fit into memory")
        self.progress = Progress()
        self.optimizer = self._optimizer()
        self.best = copy.deepcopy(self.network.state_dict())
        self._streams: Any = None  # states of a recurrent network
        self._clock = clock
        self._diverged = ""
        self._validated, self._validating = 0.0, 0.0

    def _optimizer(self) -> torch.optim.Optimizer:
        if self.settings.optimizer == "soap":
            return Soap(self.network.weights, self.network.shapes.values(), self.settings.rate)
        return torch.optim.Adam([self.network.weights], self.settings.rate, betas=(0.9, 0.99))

    @property
    def epoch(self) -> int:
        """Steps in which as many samples are learned from as there are."""
        return max(1, round(len(self.windows) / (self.settings.batch * self.settings.segment)))

    @property
    def done(self) -> float:
        """The share of the training that is done, 0 to 1."""
        if self.settings.minutes is None:
            return min(1.0, self.progress.step / self.settings.steps)
        return min(1.0, self.progress.seconds / (60 * self.settings.minutes))

    @property
    def left(self) -> float:
        """Seconds that the rest will take, as far as can be told."""
        if self.settings.minutes is None:
            return self.progress.seconds * (1 - self.done) / self.done if self.done else math.nan
        return max(0.0, 60 * self.settings.minutes - self.progress.seconds)

    @property
    def finished(self) -> str:
        """Why there is nothing left to do; empty where there is."""
        if self._diverged:
            return self._diverged
        if self.done >= 1 and self._is_validated:
            return f"all {self.progress.step} steps done"
        waited = len(self.progress.history) - 1 - self.progress.best
        if self.settings.early_stopping and waited >= self.settings.patience:
            return f"no better in {waited} validations"
        return ""

    @property
    def _is_validated(self) -> bool:
        return bool(self.progress.history) and self.progress.history[-1].step == self.progress.step

    def run(self, report: Callable[[Progress], None] = lambda _: None,
            stop: Callable[[], bool] = lambda: False) -> None:
        """Trains until :attr:`finished`, or until it is told to stop. :attr:`best` has the weights to keep then.

        :param report: called after every step and every validation
        :param stop: asked after every step
        :raises TrainingError: where the loss is no number from the beginning
        :raises OSError: where the checkpoint cannot be written
        """
        with self.compute.alone() if isinstance(self.compute, kernel.Fused) else nullcontext():
            self._run(report, stop)
        self.save()

    def _run(self, report: Callable[[Progress], None], stop: Callable[[], bool]) -> None:
        latest = self._validated = self._clock()
        while not self.finished and not stop():
            if self.done < 1:
                self._step()
            if self._validation_is_due():
                began = self._clock()
                self._validate()
                self._validated = self._clock()
                self._validating = self._validated - began
            now = self._clock()
            self.progress.seconds += now - latest
            latest = now
            self.save_now_and_then()
            report(self.progress)
        if not self.progress.history:  # stopped early: what there is, is the best
            self._validate()

    def _rate(self) -> float:
        done, warm = self.done, self.settings.warm
        if done < warm:
            shape = max(done / warm, _LAST_RATE)
        else:
            shape = _LAST_RATE + (1 - _LAST_RATE) * 0.5 * (1 + math.cos(math.pi * (done - warm) / (1 - warm)))
        return self.settings.rate * shape * 0.5**self.progress.slower

    def _step(self) -> None:
        progress = self.progress
        prediction, target = self._answer_streams() if self.recurrent else self._answer_segments()
        loss = self.loss(prediction, target)
        self.optimizer.zero_grad()
        loss.backward()
        steepness = nn.utils.clip_grad_norm_(self.network.parameters(), _STEEPEST)
        value = loss.item()
        if not math.isfinite(value) or not math.isfinite(steepness.item()):
            self._diverge()
            return
        progress.rate = self._rate()
        for group in self.optimizer.param_groups:
            group["lr"] = progress.rate
        self.optimizer.step()
        progress.step += 1
        keep = min(_MEMORY, progress.step / (progress.step + 1)) if math.isfinite(progress.loss) else 0.0
        progress.loss = value if not keep else keep * progress.loss + (1 - keep) * value

    def _answer_segments(self) -> tuple[Tensor, Tensor]:
        settings = self.settings
        length = self.context + settings.segment
        starts, part = self.windows.draw(settings.batch, length, settings.seed, self.progress.step)
        inputs, target = self.windows.take(starts, part, length, self.context)
        return self.compute(inputs), target

    def _answer_streams(self) -> tuple[Tensor, Tensor]:
        settings = self.settings
        round_, place = divmod(self.progress.step, settings.stay)
        starts, part = self.windows.draw(settings.batch, self.context + self.stretch, settings.seed, round_)
        if place == 0 or self._streams is None:
            inputs, _ = self.windows.take(starts, part, settings.settle + place * settings.segment, 0)
            with torch.no_grad():
                _, self._streams = self.compute.step(inputs, None)
        first = settings.settle + place * settings.segment
        inputs, target = self.windows.take(starts + first, part, settings.segment, 0)
        prediction, streams = self.compute.step(inputs, _detached(self._streams))
        self._streams = _detached(streams)
        return prediction, target

    def _diverge(self) -> None:
        """Goes back to the best weights and on with half the rate, as often as that may help.

        :raises TrainingError: where there are none
        """
        progress = self.progress
        if progress.slower < _RETRIES:
            progress.slower += 1
            progress.step += 1  # another batch
            self.network.load_state_dict(self.best)
            self.optimizer, self._streams = self._optimizer(), None
            return
        self._diverged = f"the loss was no number any more after {progress.step} steps"
        if not progress.history:
            raise TrainingError(f"{self._diverged}. Lower the --rate")

    # ---- Judging ----------------------------------------------------------------------------------------------------

    def _validation_is_due(self) -> bool:
        """After every epoch; with minutes, so that a twentieth of the time goes into it."""
        if self.done >= 1:
            return not self._is_validated
        if self.settings.minutes is None:
            return self.progress.step % self.epoch == 0
        return self._clock() - self._validated > max(20 * self._validating, min(5.0, 0.3 * self.settings.minutes))

    def _validate(self) -> None:
        progress = self.progress
        error = self.esr(self.data.validation)
        if not math.isfinite(error):
            self._diverge()
            return
        progress.history.append(Validation(progress.step, progress.seconds, progress.rate, progress.loss, error))
        if error < progress.best_esr:
            progress.best = len(progress.history) - 1
            self.best = copy.deepcopy(self.network.state_dict())

    def esr(self, parts: list[Part]) -> float:
        """The error-to-signal ratio of the network as it is, over all parts together."""
        error = energy = 0.0
        for part in parts:
            predicted, target = self.answer(part), part.target[part.judged].astype(np.float64)
            error += float(np.sum((predicted - target) ** 2))
            energy += float(np.sum(target**2))
        return error / energy

    @torch.no_grad()
    def answer(self, part: Part) -> np.ndarray:
        """What the network makes of the part where it is judged, as loud as the device. It has heard some of what is
        before that."""
        context = max(self.context, SETTLING) if self.recurrent else self.context
        first, end = part.judged.start, part.judged.stop
        each = -(-(end - first) // _LANES)
        source = part.inputs(slice(0, end))
        before = max(0, context - first)
        signal = torch.nn.functional.pad(source[:1], (before, each * _LANES - (end - first)))
        knobs = source[1:, :1]
        lanes = torch.stack([signal[:, first - context + before + lane * each :][:, : context + each]
                             for lane in range(_LANES)])
        lanes = torch.cat([lanes, knobs[None].expand(_LANES, -1, lanes.shape[2])], 1).to(self.device)
        made = []
        if self.recurrent:
            _, state = self.compute.step(lanes[:, :, :context].contiguous(), None)
            for start in range(context, lanes.shape[2], _BLOCK):
                answer, state = self.compute.step(lanes[:, :, start : start + _BLOCK].contiguous(), state)
                made.append(answer)
        else:
            for start in range(0, each, _BLOCK):
                made.append(self.compute(lanes[:, :, start : start + _BLOCK + context].contiguous()))
        return (torch.cat(made, 1).cpu().double().numpy() / self.scale).reshape(-1)[: end - first]

    # ---- The checkpoint ---------------------------------------------------------------------------------------------

    def _state(self) -> dict[str, Any]:
        return {"progress": asdict(self.progress), "streams": self._streams, "network": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(), "best": self.best}

    def _restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.best, self._streams = state["best"], state["streams"]
        history = [Validation(**validation) for validation in state["progress"]["history"]]
        self.progress = Progress(**state["progress"] | {"history": history})


def _detached(state: Any) -> Any:
    """A recurrent network's state, which may be tensors in tuples, cut off from how it came about."""
    return state.detach() if isinstance(state, Tensor) else tuple(_detached(part) for part in state)

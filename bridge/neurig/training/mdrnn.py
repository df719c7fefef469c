"""Training of a predictor: an MDRNN learns to say, after each row of a performance, what the next one may be.

Windows and loss are IMPSY's, so that figures compare: each window has 51 consecutive rows, in the network's scale;
after each of the first 50 the network gives a mixture, and the loss is the mean negative log likelihood of the rows that
followed. The last tenth of all windows is for validation. Learning takes larger steps than IMPSY's (of the same kind:
Adam, on shuffled batches), and is no less steady: gradients are clipped, and what is judged and kept is a running
average of the weights, in which the noise of the steps cancels.
"""

import copy
import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import elu

from neurig.convert.mdrnn import HEADS, SCALE, Mdrnn
from neurig.dataset import WINDOW, Dataset
from neurig.training import TrainingError
from neurig.training.checkpoint import Resumable
from neurig.training.sizes import SIZES, untrained

VALIDATION = 0.1  # share of the windows
_AVERAGED = 0.998  # what the average keeps of itself at each step
_BETAS = 0.9, 0.99  # Adam's: the second is less than usual, since steep slopes come and go
_STEEPEST = 1.0  # norm to which a gradient is clipped
_AT_ONCE = 512  # windows, in validation
_FORMAT = 1  # of the checkpoint
_OPEN = {"epochs", "patience", "early_stopping"}  # settings that may change when a training is resumed


@dataclass(frozen=True)
class Settings:
    """:ivar size: a name of :data:`~neurig.training.sizes.SIZES`
    :ivar epochs: at most, each of which sees every window once
    :ivar patience: epochs without a better validation loss, after which early stopping ends the training
    :ivar batch: windows between two steps of the optimizer
    :ivar rate: of learning; ``None`` for one that suits the size
    """

    size: str = "s"
    epochs: int = 100
    early_stopping: bool = True
    patience: int = 10
    batch: int = 64
    seed: int = 0
    rate: float | None = None


class Network(nn.Module):
    """LSTM layers under a mixture of normal distributions with diagonal covariance."""

    def __init__(self, weights: Mdrnn) -> None:
        super().__init__()
        self.dimension, self.mixtures = weights.dimension, weights.mixtures
        self.lstm = nn.LSTM(weights.dimension, weights.units, len(weights.layers), batch_first=True)
        self.head = nn.Linear(weights.units, weights.mixtures * (2 * weights.dimension + 1))  # mus, sigmas, pi
        with torch.no_grad():
            for layer, (kernel, recurrent, bias) in enumerate(weights.layers):
                ours = self._layer(layer)
                for tensor, array in zip(ours, (kernel.T, recurrent.T, bias, np.zeros_like(bias)), strict=True):
                    tensor.copy_(torch.from_numpy(np.ascontiguousarray(array)))
                ours[3].requires_grad_(False)  # PyTorch has a second bias, which would only be learned twice
            kernels, biases = zip(*(weights.heads[name] for name in HEADS), strict=True)
            self.head.weight.copy_(torch.from_numpy(np.concatenate(kernels, axis=1).T.copy()))
            self.head.bias.copy_(torch.from_numpy(np.concatenate(biases)))

    def _layer(self, layer: int) -> list[Tensor]:
        return [getattr(self.lstm, f"{name}_l{layer}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]

    def forward(self, frames: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, ...]:
        """:param frames: shape (windows, rows, dimension), in the network's scale
        :returns: mus and sigmas, shape (windows, rows, mixtures, dimension), the logits of the components, shape
            (windows, rows, mixtures), and the LSTM's state
        """
        hidden, state = self.lstm(frames, state)
        size = self.mixtures * self.dimension
        mus, sigmas, pi = self.head(hidden).split((size, size, self.mixtures), dim=-1)
        shape = (self.mixtures, self.dimension)
        return mus.unflatten(-1, shape), (elu(sigmas) + (1 + 1e-7)).unflatten(-1, shape), pi, state

    def loss(self, windows: Tensor) -> Tensor:
        """Mean negative log likelihood of each row of the windows but the first, given those before it."""
        mus, sigmas, pi, _ = self(windows[:, :-1])
        z = (windows[:, 1:, None] - mus) / sigmas
        component = -(0.5 * z.square() + sigmas.log()).sum(-1) - 0.5 * self.dimension * math.log(2 * math.pi)
        return (pi.logsumexp(-1) - (pi + component).logsumexp(-1)).mean()

    def weights(self, source: Path, metadata: dict[str, object]) -> Mdrnn:
        """The network as the rest of neurig knows it."""
        layers = []
        for layer in range(self.lstm.num_layers):
            kernel, recurrent, bias, second = self._layer(layer)
            layers.append([_array(kernel.T), _array(recurrent.T), _array(bias + second)])
        size = self.mixtures * self.dimension
        parts = zip(self.head.weight.split((size, size, self.mixtures)),
                    self.head.bias.split((size, size, self.mixtures)), strict=True)
        heads = {name: [_array(kernel.T), _array(bias)] for name, (kernel, bias) in zip(HEADS, parts, strict=True)}
        return Mdrnn(layers, heads, source, metadata=metadata)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().numpy().copy(order="C")


class Windows:
    """All windows of some performances. The rows are in memory once; a window is where it begins."""

    def __init__(self, performances: list[np.ndarray]) -> None:
        """:param performances: each with more rows than a window"""
        self.rows = SCALE * torch.from_numpy(np.concatenate(performances).astype(np.float32))
        ends = np.cumsum([len(rows) for rows in performances])
        starts = [np.arange(end - len(rows), end - WINDOW + 1) for rows, end in zip(performances, ends, strict=True)]
        self._starts = torch.from_numpy(np.concatenate(starts))
        self._offsets = torch.arange(WINDOW)
        self.learned = math.floor(len(self._starts) * (1 - VALIDATION))  # as Keras counts

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, which: Tensor) -> Tensor:
        """:returns: shape (windows, :data:`~neurig.dataset.WINDOW`, dimension)"""
        return self.rows[self._starts[which, None] + self._offsets]


@dataclass
class Epoch:
    """What one pass over the windows gave. ``loss`` is the mean while it went on, ``validation`` the loss after it."""

    loss: float
    validation: float
    seconds: float


@dataclass
class Progress:
    """Where a training is. What is in here and the networks are all that a resumed one needs.

    :ivar batch: how many batches of the running epoch are done
    :ivar loss: the sum of their losses, times their sizes
    :ivar best: the epoch whose weights are kept, counted from 1
    """

    history: list[Epoch] = field(default_factory=list)
    batch: int = 0
    loss: float = 0.0
    seconds: float = 0.0
    best: int = 0

    @property
    def best_loss(self) -> float:
        return self.history[self.best - 1].validation if self.best else math.inf


class Training(Resumable):
    """One training, from its beginning or from where a checkpoint left it.

    Given the same data, settings, machine and number of threads, the result is the same to the last bit, however often
    the training was interrupted.
    """

    def __init__(self, dataset: Dataset, settings: Settings, checkpoint: Path | None = None) -> None:
        """:param checkpoint: a file that keeps the training over an interruption
        :raises DatasetError: where the data cannot be learned
        """
        performances = dataset.trainable()
        super().__init__(checkpoint, _identity(performances, settings))
        self.settings = settings
        self.windows = Windows(performances)
        size = SIZES[settings.size]
        self.network = Network(untrained(dataset.dimension, size, settings.seed))
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.best = copy.deepcopy(self.average)
        self.rate = settings.rate or 0.003 * min(1.0, math.sqrt(64 / size.units))
        learned = [weight for weight in self.network.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.Adam(learned, lr=self.rate, betas=_BETAS, fused=True)
        self.progress = Progress()
        self._diverged = ""
        self._order: Tensor | None = None  # of the windows in the running epoch

    @property
    def batches(self) -> int:
        """In an epoch."""
        return math.ceil(self.windows.learned / self.settings.batch)

    @property
    def finished(self) -> str:
        """Why there is nothing left to do; empty where there is."""
        done = len(self.progress.history)
        if self._diverged:
            return self._diverged
        if done >= self.settings.epochs:
            return f"all {done} epochs done"
        if self.settings.early_stopping and done - self.progress.best >= self.settings.patience:
            return f"no better for {done - self.progress.best} epochs"
        return ""

    def run(self, report: Callable[[Progress], None] = lambda _: None,
            stop: Callable[[], bool] = lambda: False) -> None:
        """Trains until :attr:`finished`, or until it is told to stop. :attr:`best` is the network to keep then.

        :param report: called after every batch and every epoch
        :param stop: asked after every batch
        :raises TrainingError: where the loss is no number in the first epoch already
        :raises OSError: where the checkpoint cannot be written
        """
        while not self.finished and not stop():
            self._batch()
            if self.progress.batch == self.batches and not self._diverged:
                self._end_of_epoch()
            self.save_now_and_then()
            report(self.progress)
        if not self.progress.history:  # stopped in the first epoch: what there is, is the best
            self.best.load_state_dict(self.average.state_dict())
        self.save()

    def _batch(self) -> None:
        began = time.monotonic()
        progress, size = self.progress, self.settings.batch
        if progress.batch == 0 or self._order is None:
            random = np.random.default_rng([self.settings.seed, len(progress.history)])
            self._order = torch.from_numpy(random.permutation(self.windows.learned))
        which = self._order[progress.batch * size : (progress.batch + 1) * size]
        loss = self.network.loss(self.windows[which])
        if not math.isfinite(loss.item()):
            self._diverge()
            return
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), _STEEPEST)
        self.optimizer.step()
        steps = len(progress.history) * self.batches + progress.batch
        keep = min(_AVERAGED, (1 + steps) / (10 + steps))  # it soon forgets the random beginning
        for average, weight in zip(self.average.parameters(), self.network.parameters(), strict=True):
            average.lerp_(weight.detach(), 1 - keep)
        progress.batch += 1
        progress.loss += loss.item() * len(which)
        progress.seconds += time.monotonic() - began

    def _end_of_epoch(self) -> None:
        began = time.monotonic()
        progress = self.progress
        validation = self.validate(self.average)
        seconds = progress.seconds + time.monotonic() - began
        if not math.isfinite(validation):
            self._diverge()
            return
        better = validation < progress.best_loss
        progress.history.append(Epoch(progress.loss / self.windows.learned, validation, seconds))
        if better:
            progress.best = len(progress.history)
            self.best.load_state_dict(self.average.state_dict())
        progress.batch, progress.loss, progress.seconds = 0, 0.0, 0.0

    def _diverge(self) -> None:
        """Ends a training whose loss is no number any more; the best so far is good nevertheless.

        :raises TrainingError: where there is none
        """
        self._diverged = f"the loss was no number any more in epoch {len(self.progress.history) + 1}"
        if not self.progress.best:
            raise TrainingError(f"{self._diverged}. Look for outliers in the data (`neurig dataset` shows its ranges), "
                                "or lower the --rate")

    @torch.no_grad()
    def validate(self, network: Network) -> float:
        """The loss on the windows that are not learned from."""
        rest = torch.arange(self.windows.learned, len(self.windows))
        return sum(network.loss(self.windows[which]).item() * len(which) for which in rest.split(_AT_ONCE)) / len(rest)

    # ---- The checkpoint ---------------------------------------------------------------------------------------------

    def _state(self) -> dict[str, Any]:
        networks = {name: getattr(self, name).state_dict() for name in ("network", "average", "best")}
        return {"progress": asdict(self.progress), "optimizer": self.optimizer.state_dict(), **networks}

    def _restore(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        for name in ("network", "average", "best"):
            getattr(self, name).load_state_dict(state[name])
        history = [Epoch(**epoch) for epoch in state["progress"]["history"]]
        self.progress = Progress(**state["progress"] | {"history": history})


def _identity(performances: list[np.ndarray], settings: Settings) -> dict[str, Any]:
    """What makes a training what it is: only one that is equal in all of it can go on from a checkpoint."""
    data = hashlib.sha256()
    for rows in performances:
        data.update(str(rows.shape).encode())
        data.update(rows.tobytes())
    chosen = {name: value for name, value in asdict(settings).items() if name not in _OPEN}
    return {"format": _FORMAT, "dataset": data.hexdigest(), **chosen}

"""Trains models/wander.mdrnn: a predictor that moves three knobs as a hand would. Takes about ten minutes.

    python models/make/wander.py [--steps N] [--threads N]
"""
import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import elu, log_softmax

DIMENSION, UNITS, LAYERS, MIXTURES, SCALE = 4, 64, 2, 5, 10
WINDOW, BATCH = 50, 64
# Which knobs a gesture moves, and how often. Few kinds, so that each can become a component of the mixture.
KINDS, HOW_OFTEN = np.array([[1, 1, 0], [0, 1, 1], [0, 0, 1]]), [0.45, 0.25, 0.3]


def performance(frames: int, rng: np.random.Generator) -> np.ndarray:
    """Gestures on three knobs, rows of [dt, x1, x2, x3].

    A gesture sets off briskly and lands softly near the other end of each knob that it moves; then the hand rests.
    Now and then it jumps. No knob is left in the middle, where nobody could tell which way it goes next: a player
    who foresees the average of both ways would stay there.
    """
    rows: list[np.ndarray] = []
    x = rng.uniform(0, 1, 3)
    while len(rows) < frames:
        end = 0.03 + 0.27 * rng.beta(1.2, 2, 3)
        goal = np.where(rng.choice(KINDS, p=HOW_OFTEN), np.where(x < 0.5, 1 - end, end), x)
        pace, rest = rng.uniform(0.05, 0.13), rng.choice([0.15, 0.3, 0.6], p=[0.5, 0.3, 0.2])
        steps = 1 if rng.random() < 0.07 else int(rng.integers(12, 26))
        for i in range(1, steps + 1):
            s = math.sin(math.pi / 2 * i / steps)
            dt = (rest if i == 1 else pace) * math.exp(rng.normal(0, 0.08))
            rows.append(np.array([dt, *(x + (goal - x) * s)]))
        x = goal
    played = np.array(rows[:frames])
    played[:, 1:] = (played[:, 1:] + rng.normal(0, 0.003, (frames, 3))).clip(0, 1)      # a hand is never quite steady
    return played.astype(np.float32)


class MDRNN(nn.Module):
    """LSTM layers under a mixture of normal distributions with diagonal covariance."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(DIMENSION, UNITS, LAYERS, batch_first=True)
        self.mus = nn.Linear(UNITS, MIXTURES * DIMENSION)
        self.sigmas = nn.Linear(UNITS, MIXTURES * DIMENSION)
        self.pi = nn.Linear(UNITS, MIXTURES)

    def forward(self, x: torch.Tensor, state=None):
        h, state = self.lstm(x, state)
        shape = (*h.shape[:2], MIXTURES, DIMENSION)
        return self.mus(h).view(shape), elu(self.sigmas(h)).view(shape) + 1 + 1e-7, self.pi(h), state

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        """Mean negative log likelihood of every frame given those before it."""
        mus, sigmas, pi, _ = self(x[:, :-1])
        z = (x[:, 1:, None] - mus) / sigmas
        log_normal = (-0.5 * z.square() - sigmas.log() - 0.5 * math.log(2 * math.pi)).sum(-1)
        return -torch.logsumexp(log_softmax(pi, -1) + log_normal, -1).mean()

    def weights(self) -> list[float]:
        """In the order and the layout of the file: Keras's."""
        flat = []
        for layer in range(LAYERS):
            kernel, recurrent, bias, bias2 = (getattr(self.lstm, f"{name}_l{layer}")
                                              for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
            flat += [kernel.T, recurrent.T, bias + bias2]
        for dense in (self.mus, self.sigmas, self.pi):
            flat += [dense.weight.T, dense.bias]
        return [float(f"{w:.9g}") for w in torch.cat([w.detach().flatten() for w in flat]).tolist()]


def windows(played: np.ndarray, at: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
    """Batches of WINDOW + 1 frames in the network's scale. Some begin as a session does, with an empty frame."""
    batch = SCALE * played[at[:, None] + np.arange(WINDOW + 1)]
    batch[rng.random(len(at)) < 0.1, 0] = 0
    return torch.from_numpy(batch)


def train(steps: int) -> tuple[MDRNN, float]:
    torch.manual_seed(1)
    rng = np.random.default_rng(1)
    played, unseen = performance(200_000, rng), performance(20_000, rng)
    validation = windows(unseen, np.arange(0, len(unseen) - WINDOW, 20), rng)
    model = MDRNN()
    peak = 0.004
    optimizer = torch.optim.Adam(model.parameters(), lr=peak)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, total_steps=steps, pct_start=0.05)
    best, kept = math.inf, model.state_dict()
    for step in range(1, steps + 1):
        loss = model.loss(windows(played, rng.integers(0, len(played) - WINDOW, BATCH), rng))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 500 == 0 or step == steps:
            with torch.no_grad():
                now = model.loss(validation).item()
            print(f"step {step}: validation loss {now:.4f}", flush=True)
            if now < best:
                best, kept = now, {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(kept)
    return model, best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10000)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model, loss = train(options.steps)
    document = {
        "architecture": "MDRNN",
        "version": "1.0",
        "config": {"dimension": DIMENSION, "units": UNITS, "layers": LAYERS, "mixtures": MIXTURES, "scale": SCALE},
        "metadata": {"name": "Wander", "made_by": "neurig", "validation_loss": round(loss, 4)},
        "weights": model.weights(),
    }
    path = Path(__file__).parents[1] / "wander.mdrnn"
    path.write_text(json.dumps(document))
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()

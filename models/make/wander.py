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
SWEEP = (26, 20, 36)            # frames in which each knob goes from end to end, about
LEAVE = (0.10, 0.06, 0.08)      # chance, per frame, that a knob at rest sets off
STOP, JUMP = 0.012, 0.005       # chance, per frame, that a moving knob stops on its way; that the second knob jumps


def performance(frames: int, rng: np.random.Generator) -> np.ndarray:
    """Gestures on three knobs, rows of [dt, x1, x2, x3].

    Each knob sweeps across, fastest in the middle, rests at the end, and comes back. Chance is in a few clear choices
    (which knob sets off next), each of which can become a component of the mixture, and what follows from them can be
    seen in the last few frames: so a player at a low sigma temperature, who takes the mean of a component, stays on
    paths that were played.
    """
    x = rng.uniform(0.03, 0.97, 3)
    start, goal, speed, moving = x.copy(), x.copy(), np.zeros(3), np.zeros(3, bool)
    rows = np.empty((frames, 4))
    for row in rows:
        for k in range(3):
            if not moving[k] and rng.random() < LEAVE[k]:
                upwards = rng.random() < 1 / (1 + math.exp((x[k] - 0.5) / 0.06))
                end = 0.02 + 0.13 * rng.beta(1, 2)
                start[k], goal[k], moving[k] = x[k], 1 - end if upwards else end, True
                speed[k] = math.exp(rng.normal(0, 0.15)) / SWEEP[k]
            if moving[k]:
                way = goal[k] - start[k]
                done = (x[k] - start[k]) / way if way else 1.0
                x[k] += math.copysign(speed[k] * (0.6 + 0.6 * math.sin(math.pi * done)), way)
                if abs(x[k] - start[k]) >= abs(way):
                    x[k], moving[k] = goal[k], False
                elif rng.random() < STOP:
                    moving[k] = False
        if rng.random() < JUMP:
            x[1], moving[1] = 1 - x[1], False
        row[:] = (0.11 if moving.any() else 0.25) * math.exp(rng.normal(0, 0.15)), *x
    rows[:, 1:] = (rows[:, 1:] + rng.normal(0, 0.003, (frames, 3))).clip(0, 1)      # a hand is never quite steady
    return rows.astype(np.float32)


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
    peak = 0.003
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

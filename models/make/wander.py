"""Trains models/wander.mdrnn: a predictor that moves three knobs as a hand would. Takes four minutes.

    python models/make/wander.py [--epochs N]
"""
import argparse
import math
from pathlib import Path

import numpy as np
import torch

from neurig.convert import write
from neurig.dataset import SHORTEST, Dataset
from neurig.training.mdrnn import Progress, Settings, Training

PATH = Path(__file__).parents[1] / "wander.mdrnn"
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


def sessions(count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Performances as short as can be, which begin as a session does: with an empty frame."""
    played = performance(count * SHORTEST, rng).reshape(count, SHORTEST, 4)
    played[:, 0] = 0
    return list(played)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=6)
    epochs = parser.parse_args().epochs
    torch.set_num_threads(1)
    rng = np.random.default_rng(1)
    dataset = Dataset([*sessions(8000, rng), performance(200_000, rng)])
    training = Training(dataset, Settings(size="s", epochs=epochs, seed=1))

    def report(progress: Progress) -> None:
        if progress.batch == 0:
            print(f"epoch {len(progress.history)}: validation loss {progress.history[-1].validation:.4f}", flush=True)

    training.run(report)
    loss = training.progress.best_loss
    metadata = {"name": "Wander", "made_by": "neurig", "validation_loss": round(loss, 4)}
    write(training.best.weights(Path("wander"), metadata), PATH)
    print(f"{PATH}: {PATH.stat().st_size} bytes")


if __name__ == "__main__":
    main()

"""Trains models/crunch.nam: a WaveNet that learns the simulated amplifier of amp.py, with the trainer of `neurig train
amp`. Takes about ten minutes.

    python models/make/crunch.py [--steps N] [--threads N] [--profile FOLDER]
"""
import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from scipy.io import wavfile
from scipy.signal import chirp, lfilter

from amp import RATE, amplifier
from neurig.capture.strings import TUNING, Pluck, pickup, string
from neurig.model import parse
from neurig.training import amp_presets, amp_profile
from neurig.training.amp import Progress, Training
from neurig.training.amp_data import SETTLING, Data, Pair, Part
from neurig.training.amp_profile import Gear

MODELS = Path(__file__).parents[1]
LEVELS = (-24, -12, 0, 12)              # dB, that the phrase is judged at
LOSS = [("segment_esr", 1.0)]  # soft notes count as much as loud ones


def playing(seconds: int, rng: np.random.Generator) -> np.ndarray:
    """Notes and chords at random on all strings, from soft to hard, open and muted, at many levels. Peak 0.5."""
    n, beat = seconds * RATE, 0.2
    beats = int(seconds / beat)
    kinds = rng.choice(["ring", "note", "chord", "mute"], beats, p=[0.5, 0.25, 0.15, 0.1])
    solo, shift = rng.integers(0, 6, beats), rng.integers(0, 12, beats)
    total = np.zeros(n)
    for number, fundamental in enumerate(TUNING):
        pitch, muted, stopped, plucks = np.full(n, fundamental), np.zeros(n), np.zeros(n), []
        for i in range(beats):
            hit = kinds[i] in ("chord", "mute") and rng.random() < 0.6 or kinds[i] == "note" and solo[i] == number
            if kinds[i] == "ring" or i == beats - 1:
                continue
            start = int(i * beat * RATE)
            stopped[start:], muted[start:] = not hit, kinds[i] == "mute"
            if hit:
                pitch[start:] = fundamental * 2 ** (shift[i] / 12)
                level = 10 ** rng.uniform(-0.8, 0.2)
                plucks.append(Pluck(i * beat + rng.uniform(0, 0.02), level, rng.uniform(0.08, 0.3), muted[start] > 0))
        total += string(number, pitch, plucks, muted, stopped)
    total = pickup(total)
    return 0.5 * total / np.abs(total).max()


def signal(rng: np.random.Generator) -> np.ndarray:
    """What the amp is asked: plucked strings, sweeps and noise, at -40 to +20 dB about a usual playing level."""
    parts = []
    for take in np.split(np.concatenate([playing(30, rng) for _ in range(4)]), 60):
        parts.append(take * 10 ** (rng.uniform(-30, 20) / 20))
    t = np.arange(RATE) / RATE
    for level in (-30, -18, -6, 6):
        parts.append(10 ** (level / 20) * chirp(t, 20, 1, 9000, "logarithmic"))
        noise = lfilter([0.3], [1, -0.7], rng.standard_normal(RATE))
        parts.append(0.3 * 10 ** (level / 20) * noise * np.repeat(rng.uniform(0, 1, 20) ** 2, RATE // 20))
    parts.append(np.zeros(RATE))
    return np.concatenate(parts)


def teach(x: np.ndarray, streams: int = 128) -> np.ndarray:
    """The amplifier's output for `x`, cut into streams that begin a little earlier each, to settle."""
    settle, n = RATE // 10, -(-len(x) // streams)
    padded = np.concatenate([np.zeros(settle), x, np.zeros(n * streams - len(x))])
    cut = np.stack([padded[i * n:i * n + settle + n] for i in range(streams)])
    return amplifier(cut)[:, settle:].ravel()[:len(x)]


def part(x: np.ndarray) -> Part:
    """What the amplifier makes of `x`, after a moment of silence in which nothing is judged."""
    x = np.concatenate([np.zeros(SETTLING), x])
    return Part(x.astype(np.float32), teach(x).astype(np.float32), np.zeros(0, np.float32))


def phrase() -> np.ndarray:
    return wavfile.read(MODELS / "phrase.wav")[1] / 32768


def train(steps: int) -> Training:
    rng = np.random.default_rng(1)
    data = Data(RATE, (), learned=[part(signal(rng))], validation=[part(signal(rng)[: 40 * RATE])],
                test=[part(phrase() * 10 ** (db / 20)) for db in LEVELS])
    chosen = amp_presets.settings(data, "feather", losses=LOSS, steps=steps, early_stopping=False, seed=1)
    training = Training(data, chosen)
    shown = 0

    def show(progress: Progress) -> None:
        nonlocal shown
        if len(progress.history) > shown:
            shown = len(progress.history)
            print(f"step {progress.step}: ESR {progress.history[-1].esr:.5f}", flush=True)

    training.run(show)
    return training


def silenced(document: dict) -> dict:
    """The same amp, of which silence makes silence, to the last digit: its last bias takes away what it makes of it."""
    scale = document["config"]["head_scale"]
    for _ in range(3):                                  # as exactly as the core computes
        made = parse(json.dumps(document)).instance(RATE).process(np.zeros(RATE, np.float32))
        document["weights"][-2] -= float(made[-1]) / scale
    return document


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--profile", type=Path, help="keep the whole profile there")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    training = train(options.steps)

    gear = Gear(name="Crunch", modeled_by="neurig", gear_type="amp", gear_make="neurig",
                gear_model="two triode stages and a push-pull output, simulated", tone_type="crunch")
    pairs = [Pair(Path("phrase.wav"), Path(f"phrase at {db:+} dB through the simulation")) for db in LEVELS]
    with tempfile.TemporaryDirectory() as folder:
        profile = options.profile or Path(folder)
        profile.mkdir(parents=True, exist_ok=True)
        figures = amp_profile.write(training, pairs, profile, gear)
        document = silenced(json.loads((profile / "model.nam").read_text()))
    for db, done in zip(LEVELS, figures["pairs"], strict=True):
        print(f"phrase at {db:+} dB: ESR {done['esr']:.6f}")
    del document["metadata"]["date"]                    # a rerun gives the same file
    path = MODELS / "crunch.nam"
    path.write_text(json.dumps(document))
    print(f"{path}: {path.stat().st_size} bytes, loudness {document['metadata']['loudness']} dBFS rms")


if __name__ == "__main__":
    main()

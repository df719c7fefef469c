"""Trains models/crunch.nam: a WaveNet that learns the simulated amplifier of amp.py. Takes about ten minutes.

    python models/make/crunch.py [--steps N] [--threads N]
"""
import argparse
import json
from pathlib import Path

import numpy as np
import torch
from scipy.io import wavfile
from scipy.signal import chirp, lfilter
from torch import nn
from torch.nn.functional import conv1d

from amp import RATE, amplifier
from neurig.capture.strings import TUNING, Pluck, pickup, string

MODELS = Path(__file__).parents[1]
# The "feather" size of NAM's first WaveNet.
ARRAYS = [
    dict(input_size=1, condition_size=1, head_size=4, channels=8, kernel_size=3, dilations=[1, 2, 4, 8, 16, 32, 64],
         activation="Tanh", gated=False, head_bias=False),
    dict(input_size=8, condition_size=1, head_size=1, channels=4, kernel_size=3,
         dilations=[128, 256, 512, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512],
         activation="Tanh", gated=False, head_bias=True),
]
HEAD_SCALE = 0.02
RECEPTIVE_FIELD = 1 + sum((a["kernel_size"] - 1) * sum(a["dilations"]) for a in ARRAYS)
BATCH, WINDOW = 8, 4096


class LayerArray(nn.Module):
    def __init__(self, config: dict):
        super().__init__()
        channels, kernel = config["channels"], config["kernel_size"]
        self.dilations = config["dilations"]
        self.rechannel = nn.Conv1d(config["input_size"], channels, 1, bias=False)
        self.conv = nn.ModuleList(nn.Conv1d(channels, channels, kernel, dilation=d) for d in self.dilations)
        self.mixin = nn.ModuleList(nn.Conv1d(config["condition_size"], channels, 1, bias=False) for _ in self.dilations)
        self.out = nn.ModuleList(nn.Conv1d(channels, channels, 1) for _ in self.dilations)
        self.head = nn.Conv1d(channels, config["head_size"], 1, bias=config["head_bias"])

    def forward(self, x, condition, head, n):
        """`x`: [batch][channels][time], made shorter by every layer; `head`: its last `n` samples only."""
        x = self.rechannel(x)
        for conv, mixin, out in zip(self.conv, self.mixin, self.out):
            z = conv(x)
            z = torch.tanh(z + mixin(condition[..., -z.shape[-1]:]))
            head = z[..., -n:] if head is None else head + z[..., -n:]
            x = x[..., -z.shape[-1]:] + out(z)
        return x, self.head(head)

    def weights(self):
        """In the order of the file."""
        yield self.rechannel.weight
        for conv, mixin, out in zip(self.conv, self.mixin, self.out):
            yield from (conv.weight, conv.bias, mixin.weight, out.weight, out.bias)
        yield from self.head.parameters()


class WaveNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.arrays = nn.ModuleList(LayerArray(a) for a in ARRAYS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch][samples] to [batch][samples - RECEPTIVE_FIELD + 1]."""
        condition, n, head = x[:, None], x.shape[1] - RECEPTIVE_FIELD + 1, None
        x = condition
        for array in self.arrays:
            x, head = array(x, condition, head, n)
        return HEAD_SCALE * head[:, 0]

    def weights(self) -> list[float]:
        flat = torch.cat([w.detach().flatten() for array in self.arrays for w in array.weights()])
        return [*(float(f"{w:.9g}") for w in flat.tolist()), HEAD_SCALE]


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


def run(model: WaveNet, x: np.ndarray) -> np.ndarray:
    """The model's output for all of `x`, after silence."""
    padded = torch.cat([torch.zeros(RECEPTIVE_FIELD - 1), torch.from_numpy(x.astype(np.float32))])
    with torch.no_grad():
        pieces = [model(padded[None, i:i + 65536 + RECEPTIVE_FIELD - 1])[0] for i in range(0, len(x), 65536)]
    return torch.cat(pieces).numpy()


def esr(y: np.ndarray, target: np.ndarray) -> float:
    return float(((y - target) ** 2).sum() / (target ** 2).sum())


def rms_db(x: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(x))))


def train(steps: int) -> WaveNet:
    torch.manual_seed(1)
    rng = np.random.default_rng(1)
    x = signal(rng)
    y = teach(x)
    x, y = (torch.from_numpy(v.astype(np.float32)) for v in (x, y))
    span = RECEPTIVE_FIELD + WINDOW - 1
    x_windows, y_windows = x.unfold(0, span, 1), y[RECEPTIVE_FIELD - 1:].unfold(0, WINDOW, 1)     # views, no copies

    model = WaveNet()
    peak = 0.01
    optimizer = torch.optim.Adam(model.parameters(), lr=peak, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, total_steps=steps, pct_start=0.05)
    emphasis = torch.tensor([[[-0.85, 1.0]]])
    shown = 0.0
    for step in range(steps):
        at = torch.from_numpy(rng.integers(0, len(x_windows), BATCH))
        target = y_windows[at]
        error = model(x_windows[at]) - target
        loss = 0.0
        for e, t in ((error, target), (conv1d(error[:, None], emphasis)[:, 0], conv1d(target[:, None], emphasis)[:, 0])):
            # every window counts alike, however softly it was played, down to about -50 dBFS
            loss = loss + (e.square().mean(1) / (t.square().mean(1) + 1e-5)).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        shown += loss.item() / 100
        if step % 100 == 99:
            print(f"step {step + 1}: loss {shown:.5f}", flush=True)
            shown = 0.0
    with torch.no_grad():                               # silence in, silence out, to the last digit
        model.arrays[-1].head.bias -= model(torch.zeros(1, RECEPTIVE_FIELD))[0] / HEAD_SCALE
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = train(options.steps)

    phrase = wavfile.read(MODELS / "phrase.wav")[1] / 32768
    figures = {}
    for db in (-24, -12, 0, 12):
        target = teach(phrase * 10 ** (db / 20))
        figures[db] = esr(run(model, phrase * 10 ** (db / 20)), target)
        print(f"phrase at {db:+} dB: ESR {figures[db]:.5f}, output {rms_db(target):.1f} dBFS rms")
    levels = np.linspace(0, 1, 11)
    loudness = np.array([rms_db(run(model, g * phrase) + 1e-9) for g in levels])
    amplitude = 10 ** (loudness / 20)
    document = {
        "version": "0.5.4",
        "metadata": {
            "name": "Crunch", "modeled_by": "neurig", "gear_type": "amp", "gear_make": "neurig",
            "gear_model": "two triode stages and a push-pull output, simulated", "tone_type": "crunch",
            "loudness": round(loudness[-1], 2),
            # 0: as loud as it is driven; 1: equally loud however softly it is driven
            "gain": round(2 * amplitude[1:].mean() / amplitude[-1] - 1, 3),
            "training": {"steps": options.steps, "validation_esr": figures[0]},
        },
        "architecture": "WaveNet",
        "config": {"layers": ARRAYS, "head": None, "head_scale": HEAD_SCALE},
        "weights": model.weights(),
        "sample_rate": RATE,
    }
    path = MODELS / "crunch.nam"
    path.write_text(json.dumps(document))
    print(f"{path}: {path.stat().st_size} bytes, silence gives {np.abs(run(model, np.zeros(RATE))).max():.1e}")


if __name__ == "__main__":
    main()

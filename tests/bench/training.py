"""neurig's amp trainer and its peers, measured side by side: the error on a test after so many CPU seconds.

    .venv/bin/python tests/bench/training.py [--pair IN OUT] [--only NAME …] [--threads N] [--json FILE]
        [--nam VENV] [--amp-emulator-model FOLDER]

VENV is a virtual environment with neural-amp-modeler 0.13, FOLDER a clone of AmpEmulatorModel; what is not given is not
measured. The pair is that of the reference data, which NEURIG_TEST_DATA names. Of it the first 60 % are learned, the
next 20 % choose the weights, the last 20 % are reported: plain ESR without the first 8192 samples, in float64.

Each training is a process of its own, with one thread where --threads does not say otherwise. Its clock is its own CPU
time. neurig's runs from the first step to the last with all its validations; a peer's counts its steps alone, by its
own classes and published settings, and it is judged when its time is over. A table in Markdown is printed. The machine
should have nothing else to do; its load is noted.
"""

import argparse
import copy
import importlib.util
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SETTLING = 8192  # samples
Figures = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """:ivar wanted: the largest error on the test"""

    architecture: str
    seconds: float
    peer: str
    wanted: float


ROWS = {
    "feather": Row("feather", 60, "nam", 2e-4),
    "standard": Row("standard", 120, "nam", 1e-4),
    "a2": Row("a2-full", 360, "nam", 5e-4),
    "wavenet2": Row("wavenet2", 360, "amp-emulator-model", 1e-3),
    "lstm-16": Row("lstm-16", 90, "nam", 1e-2),
    "lstm-3x18": Row("lstm-3x18", 90, "nam", 1e-2),
}


def splits(n: int) -> tuple[int, int]:
    """Where validation and test begin."""
    return round(0.8 * n) - round(0.2 * n), n - round(0.2 * n)


def memory() -> float:
    """The most that this process ever had, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# ---- neurig ---------------------------------------------------------------------------------------------------------


def ours(row: Row, pair: list[str], seconds: float, chosen: dict[str, Any]) -> Figures:
    """Trains, and measures what the core makes of the exported model."""
    import torch

    from neurig.training import amp_data, amp_presets, amp_profile
    from neurig.training.amp import Training
    from neurig.training.amp_data import Pair

    data = amp_data.load([Pair(Path(pair[0]), Path(pair[1]))])
    settings = amp_presets.settings(data, row.architecture, minutes=seconds / 60, **chosen)
    training = Training(data, settings, clock=time.process_time)
    wall, cpu = time.monotonic(), time.process_time()
    training.run()
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    peak = memory()
    _, model, agreement = amp_profile.export(training, Path())
    part = data.test[0]
    target = part.target[part.judged].astype(np.float64)
    error = model.instance(data.rate).process(part.source)[part.judged] - target
    return {"validation": training.progress.best_esr, "test": float(np.sum(error**2) / np.sum(target**2)),
            "steps": training.progress.step, "cpu": cpu, "wall": wall, "memory": peak, "agreement": agreement,
            "weights": sum(weight.numel() for weight in training.network.parameters()),
            "threads": torch.get_num_threads(),
            "curve": [(round(entry.seconds, 1), entry.esr) for entry in training.progress.history]}


# ---- The peers ------------------------------------------------------------------------------------------------------

A1_SPLIT = [[1, 2, 4, 8, 16, 32, 64], [128, 256, 512, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512]]
A1 = {"standard": (16, 8, [[2**n for n in range(10)]] * 2), "feather": (8, 4, A1_SPLIT)}


def nam_config(architecture: str) -> dict[str, Any]:
    """NAM's own configuration, as in its repository and its package."""
    if architecture == "a2-full":
        from nam.train.core import _get_packed_model_config

        return _get_packed_model_config()
    if architecture in A1:
        first, second, dilations = A1[architecture]
        common = {"condition_size": 1, "kernel_size": 3, "activation": "Tanh"}
        layers = [
            {"input_size": 1, "channels": first, "dilations": dilations[0],
             "head": {"out_channels": second, "kernel_size": 1, "bias": False}} | common,
            {"input_size": first, "channels": second, "dilations": dilations[1],
             "head": {"out_channels": 1, "kernel_size": 1, "bias": True}} | common]
        return {"net": {"name": "WaveNet", "config": {"layers_configs": layers, "head_scale": 0.02}},
                "optimizer": {"lr": 0.004}, "lr_scheduler": {"class": "ExponentialLR", "kwargs": {"gamma": 0.993}}}
    layers, units = {"lstm-16": (1, 16), "lstm-3x18": (3, 18)}[architecture]
    return {"net": {"name": "LSTM", "config": {"num_layers": layers, "hidden_size": units, "train_burn_in": 8192,
                                               "train_truncate": None}},
            "loss": {"val_loss": "esr", "mask_first": 8192, "pre_emph_mrstft_weight": 0.002,
                     "pre_emph_mrstft_coef": 0.85},
            "optimizer": {"lr": 0.008}, "lr_scheduler": {"class": "ExponentialLR", "kwargs": {"gamma": 0.995}}}


def peer(row: Row, pair: list[str], seconds: float, folder: str) -> Figures:
    """Runs a peer's own classes until the time is over."""
    import soundfile

    x, y = (soundfile.read(path, dtype="float32")[0] for path in pair)
    run = nam(row, x, y) if row.peer == "nam" else amp_emulator_model(x, y, folder)
    step = next(run)
    steps, used = 0, 0.0
    while used < seconds:
        began = time.process_time()
        step()
        used += time.process_time() - began
        steps += 1
    peak = memory()
    judge = next(run)
    validation, test = splits(len(x))
    return {"validation": judge(validation, test), "test": judge(test, len(x)), "steps": steps, "cpu": used,
            "memory": peak}


def nam(row: Row, x: np.ndarray, y: np.ndarray) -> Iterator[Callable[..., Any]]:
    """Gives a function that makes a step, then one that judges: neural-amp-modeler."""
    import torch
    from nam.train.lightning_module import LightningModule, PackedLightningModule

    torch.manual_seed(0)
    config = nam_config(row.architecture)
    packed = config["net"]["name"] == "PackedWaveNet"
    module = (PackedLightningModule if packed else LightningModule).init_from_config(copy.deepcopy(config))
    module.net.sample_rate = 48000.0
    recurrent = config["net"]["name"] == "LSTM"
    size, learned = 32768 if recurrent else 8192, splits(len(x))[0]
    y = y * (10 ** (-18 / 20) / np.sqrt(np.mean(np.square(y[:learned], dtype=np.float64)))).astype(np.float32)
    source, target = torch.from_numpy(x), torch.from_numpy(y)
    context = module.net.receptive_field - 1
    starts = np.arange(context, learned - size, size)
    configured = module.configure_optimizers()
    optimizer, scheduler = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    random, order = np.random.default_rng(0), np.zeros(0, np.int64)

    def step() -> None:
        nonlocal order
        if len(order) < 16:  # the last batch of an epoch is dropped, as by its loader
            if len(order):
                scheduler.step()
            order = random.permutation(starts)
        batch, order = order[:16], order[16:]
        module.train()
        optimizer.zero_grad()
        inputs = torch.stack([source[at - context : at + size] for at in batch])
        module.training_step((inputs, torch.stack([target[at : at + size] for at in batch])), 0).backward()
        optimizer.step()
        if packed:
            module.net.apply_mask()

    def judge(first: int, end: int) -> float:
        module.eval()
        made = []
        with torch.no_grad():
            if recurrent:
                made.append(module.net(source[None, first:end], pad_start=False)[0, SETTLING:])
            else:
                for at in range(first + SETTLING, end, 65536):
                    answer = module.net(source[None, at - context : min(at + 65536, end)], pad_start=False)
                    made.append(answer[0, -1] if packed else answer[0])  # the last of the packed ones is the full one
        return esr(torch.cat(made).numpy(), y[first + SETTLING : end])

    yield step
    yield judge


def amp_emulator_model(x: np.ndarray, y: np.ndarray, folder: str) -> Iterator[Callable[..., Any]]:
    """Gives a function that makes a step, then one that judges: AmpEmulatorModel, with its own data module."""
    import torch
    from scipy.io import wavfile
    from torch.utils.data import DataLoader, TensorDataset

    def module(name: str) -> Any:
        spec = importlib.util.spec_from_file_location(name, Path(folder) / "model" / f"{name}.py")
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
        return loaded

    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as place:
        for name, samples in (("input", x), ("output", y)):
            wavfile.write(f"{place}/{name}.wav", 48000, samples)
        data = module("data").AmpEmulatorDataModule(
            input_file=f"{place}/input.wav", output_file=f"{place}/output.wav", in_rate=48000)
        data.setup()
    model = module("model").AmpEmulatorModel()
    optimizer = model.configure_optimizers()
    model.log = lambda *_, **__: None  # what it tells its logger
    sets = [torch.from_numpy(data.data[name]) for name in ("x_train", "y_train")]
    loader = DataLoader(TensorDataset(*sets), batch_size=64, shuffle=True)
    batches = iter(loader)

    def step() -> None:
        nonlocal batches
        batch = next(batches, None)
        if batch is None:
            batches = iter(loader)
            batch = next(batches)
        optimizer.zero_grad()
        model.training_step(batch).backward()
        optimizer.step()

    def judge(first: int, end: int) -> float:
        source = torch.from_numpy(((x / np.abs(x).max() - data.data["mean"]) / data.data["std"]).astype(np.float32))
        context = model.wavenet.receptive_field() - 1
        with torch.no_grad():
            made = [model(source[None, None, at - context : min(at + 65536, end)])[0, 0, context:]
                    for at in range(first + SETTLING, end, 65536)]
        return esr(torch.cat(made).numpy(), y[first + SETTLING : end] / np.abs(y).max())

    yield step
    yield judge


def esr(predicted: np.ndarray, target: np.ndarray) -> float:
    error = predicted.astype(np.float64) - target
    return float(np.sum(error**2) / np.sum(target.astype(np.float64) ** 2))


# ---- All of it ------------------------------------------------------------------------------------------------------


def measure(python: str, threads: int, *arguments: str) -> Figures:
    """One training in a process of its own."""
    alone = os.environ | {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "MKL", "OPENBLAS")}
    done = subprocess.run([python, __file__, *arguments], env=alone, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", nargs=2, metavar=("IN", "OUT"))
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, help="CPU seconds, instead of the table's")
    parser.add_argument("--nam", metavar="VENV")
    parser.add_argument("--amp-emulator-model", metavar="FOLDER")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--ours", choices=ROWS, help=argparse.SUPPRESS)
    parser.add_argument("--peer", choices=ROWS, help=argparse.SUPPRESS)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings of neurig's trainer")
    options = parser.parse_args()
    if options.pair is None:
        folder = Path(os.environ["NEURIG_TEST_DATA"]) / "capture"
        options.pair = [str(folder / "input.flac"), str(folder / "output.flac")]
    if name := options.ours or options.peer:
        import torch

        torch.set_num_threads(options.threads)
        row = ROWS[name]
        seconds = options.seconds or row.seconds
        if options.ours:
            chosen = {key: _value(value) for key, _, value in (word.partition("=") for word in options.set)}
            print(json.dumps(ours(row, options.pair, seconds, chosen)))
        else:
            print(json.dumps(peer(row, options.pair, seconds, options.amp_emulator_model or "")))
        return
    every: dict[str, dict[str, Figures]] = {}
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {options.threads} thread(s)\n")
    print("| test | CPU s | neurig: validation / test | steps | MiB | wanted | peer: validation / test | steps | MiB |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for name in options.only:
        row = ROWS[name]
        common = ["--threads", str(options.threads), "--pair", *options.pair,
                  "--seconds", str(options.seconds or row.seconds)]
        every[name] = {"neurig": measure(sys.executable, options.threads, "--ours", name, *common,
                                         "--set", *options.set)}
        given = options.nam if row.peer == "nam" else options.nam and options.amp_emulator_model
        if given:
            every[name][row.peer] = measure(f"{options.nam}/bin/python", options.threads, "--peer", name, *common,
                                            "--amp-emulator-model", options.amp_emulator_model or "")
        cells = [f"{done['validation']:.2g} / {done['test']:.2g} | {done['steps']} | {done['memory']:.0f}"
                 for done in every[name].values()] + ([] if given else ["– | – | –"])
        print(f"| {name} | {options.seconds or row.seconds:g} | {cells[0]} | {row.wanted:.0e} | {cells[1]} |",
              flush=True)
        if options.json:
            Path(options.json).write_text(json.dumps(every, indent=1))


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


if __name__ == "__main__":
    main()

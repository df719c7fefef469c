"""Checkpoints of gated WaveNets become files that sound as the network does in PyTorch."""

import argparse
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from python.helpers import Command, esr

import neurig
from neurig import convert

CHANNELS, TAPS = 4, 3
AMP_EMULATOR = {"hidden": "hidden_stack", "residuals": "residual_stack", "linear_mix": "linear_mixer"}
Rename = dict[str, str]


class GatedWaveNet(torch.nn.Module):
    """Wright et al. 2020, as the two programs train it."""

    def __init__(self, depth: int, repeats: int) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.dilations = [2**power for power in range(depth)] * repeats
        self.input_layer = torch.nn.Conv1d(1, CHANNELS, 1)
        self.hidden = torch.nn.ModuleList(
            torch.nn.Conv1d(CHANNELS, 2 * CHANNELS, TAPS, dilation=dilation) for dilation in self.dilations)
        self.residuals = torch.nn.ModuleList(torch.nn.Conv1d(CHANNELS, CHANNELS, 1) for _ in self.dilations)
        self.linear_mix = torch.nn.Conv1d(CHANNELS * len(self.dilations), 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, skips = self.input_layer(x), []
        for dilation, hidden, residual in zip(self.dilations, self.hidden, self.residuals, strict=True):
            z = hidden(torch.nn.functional.pad(x, ((TAPS - 1) * dilation, 0)))
            skips.append(torch.tanh(z[:, :CHANNELS]) * torch.sigmoid(z[:, CHANNELS:]))
            x = x + residual(skips[-1])
        return self.linear_mix(torch.cat(skips, dim=1))

    def checkpoint(self, rename: Rename = {}, **settings: object) -> dict[str, object]:
        """What Lightning saves, with the state of its optimizer."""
        state = {}
        for name, tensor in self.state_dict().items():
            layer, _, rest = name.partition(".")
            state[f"wavenet.{rename.get(layer, layer)}.{rest}"] = tensor
        return {"epoch": 3, "global_step": 12, "pytorch-lightning_version": "2.2.1", "state_dict": state,
                "loops": {"fit_loop": {"state_dict": {}}}, "callbacks": {"ModelCheckpoint": {"best_model_score": None}},
                "optimizer_states": [{"state": {0: {"step": torch.tensor(12.0)}}}], "lr_schedulers": []} | settings


@pytest.mark.parametrize(
    ("depth", "repeats", "rename", "settings"),
    [
        (9, 2, AMP_EMULATOR, {}),
        (10, 1, {}, {"hyper_parameters": {"dilation_depth": 10, "num_repeat": 1}}),
        (3, 2, {}, {"hyper_parameters": argparse.Namespace(dilation_depth=3, num_repeat=2)}),
    ],
    ids=["AmpEmulatorModel", "PedalNetRT", "PedalNetRT, older"],
)
def test_it_sounds_as_in_pytorch(
    tmp_path: Path, depth: int, repeats: int, rename: Rename, settings: dict[str, object]
) -> None:
    network = GatedWaveNet(depth, repeats)
    torch.save(network.checkpoint(rename, **settings), tmp_path / "amp.ckpt")
    done = convert.convert(tmp_path / "amp.ckpt", tmp_path / "amp.json")
    assert done.summary == f"WaveNet 4, {depth * repeats} layers, gated"
    x = np.random.default_rng(0).normal(0, 0.3, 20000).astype(np.float32)
    with torch.no_grad():
        wanted = network.double()(torch.from_numpy(x.astype(float))[None, None])[0, 0].numpy()
    found = neurig.load(tmp_path / "amp.json").instance().process(x)
    assert esr(wanted[8000:], found[8000:]) < 1e-11


class Program:
    """A pickle that would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.path}",)


def test_programs_in_a_checkpoint_are_not_run(tmp_path: Path) -> None:
    evil = GatedWaveNet(9, 2).checkpoint(AMP_EMULATOR, callbacks=Program(tmp_path / "written"))
    torch.save(evil, tmp_path / "evil.ckpt")
    (tmp_path / "plain.ckpt").write_bytes(pickle.dumps(evil["callbacks"]))
    for name in ("evil", "plain"):
        with pytest.raises(neurig.ModelError, match="holds more than weights and settings.*, which is not run"):
            convert.convert(tmp_path / f"{name}.ckpt", tmp_path / "amp.json")
    assert {path.name for path in tmp_path.iterdir()} == {"evil.ckpt", "plain.ckpt"}


def _save(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def save(path: Path) -> None:
        content = GatedWaveNet(3, 1).checkpoint(hyper_parameters={"dilation_depth": 3})
        change(content)
        torch.save(content, path)

    return save


@pytest.mark.parametrize(
    ("save", "reason"),
    [
        (lambda path: path.write_bytes(b""), "no checkpoint of PyTorch|damaged"),
        (lambda path: path.write_bytes(b"PK\x03\x04 and no more"), "damaged"),
        (lambda path: torch.save([1, 2], path), "it has no state_dict"),
        (_save(lambda content: content["state_dict"].clear()), "not those of a gated WaveNet"),
        (_save(lambda content: content["state_dict"].pop("wavenet.hidden.1.bias")), "it has no hidden.1.bias"),
        (_save(lambda content: content.pop("hyper_parameters")), "3 layers, which is no multiple of 9"),
        (_save(lambda content: content["state_dict"]["wavenet.hidden.0.bias"].fill_(torch.nan)), "finite"),
    ],
)
def test_other_checkpoints_are_refused_with_the_reason(tmp_path: Path, save: Callable, reason: str) -> None:
    path = tmp_path / "other.ckpt"
    save(path)
    with pytest.raises(neurig.ModelError, match=reason) as caught:
        convert.convert(path, tmp_path / "amp.json")
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    assert not (tmp_path / "amp.json").exists()


def test_what_to_do_is_told(tmp_path: Path, command: Command) -> None:
    torch.save(GatedWaveNet(9, 2).checkpoint(AMP_EMULATOR), tmp_path / "amp.ckpt")
    assert command("convert", "amp.ckpt", "amp.json").stdout == "amp.json: WaveNet 4, 18 layers, gated\n"
    assert "is written as .json" in command("convert", "amp.ckpt", "amp.nam", code=1).stderr
    (tmp_path / "amp.json").unlink()
    assert "`neurig convert` makes a .json file of it" in command("info", "amp.ckpt", code=1).stderr
    without = "import sys; sys.modules['torch'] = None; from neurig.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", without, "convert", "amp.ckpt", "amp.json"], cwd=tmp_path,
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "takes PyTorch, which is not installed: pip install torch" in done.stderr

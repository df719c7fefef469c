"""The ``neurig`` command as a whole: it starts at once, and says what it has to say in few words."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from python.helpers import Command

import neurig
from neurig.files import share

COMMANDS = ("bench", "convert", "dataset", "demo", "info", "install", "package", "render", "serve", "step", "test-mdrnn", "train")
HEAVY = {"numpy", "rich", "torch", "matplotlib", "pyo", "h5py", "soundfile", "onnxruntime", "pythonosc", "neurig._core",
         "neurig.rig"}


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in COMMANDS)])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = """if True:
        import sys
        from neurig.cli import main
        try:
            main(sys.argv[1:])
        finally:
            print(*sys.modules, file=sys.stderr)"""
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stderr.split())
    assert "Usage:" in done.stdout
    if arguments == ["--help"]:
        assert all(f"\n  {name} " in done.stdout for name in COMMANDS)


def test_version(command: Command) -> None:
    assert command("--version").stdout == f"neurig {neurig.__version__}\n"


def test_wrong_usage_has_its_own_code(command: Command) -> None:
    for arguments in (["sing"], ["render"], ["render", "--loud"], ["info"], ["serve", "--backend", "tape"],
                      ["demo", "--seconds", "-1"], ["step", "m", "f", "--pi-temp", "0"]):
        assert "Usage:" in command(*arguments, code=2).stderr


def test_info_for_people(command: Command) -> None:
    amp = command("info", share("models", "crunch.nam")).stdout
    for words in ("amp", "WaveNet", "48000 Hz", "receptive field", " ms)", "weights", "none at 48000 Hz"):
        assert words in amp
    predictor = command("info", share("models", "wander.mdrnn")).stdout
    for words in ("predictor", "MDRNN", "dimension", "mixtures"):
        assert words in predictor


def test_info_for_programs(command: Command) -> None:
    for name in ("crunch.nam", "wander.mdrnn"):
        path = share("models", name)
        about, model = json.loads(command("info", path, "--json").stdout), neurig.load(path)
        lags = {str(rate): model.instance(rate).latency for rate in (44100, 48000, 96000)} if model.is_amp else {}
        assert about == {"path": str(path)} | model.info | ({"latency": lags} if lags else {})


def test_info_shows_nothing_that_steers_a_terminal(command: Command, gain_model: Path) -> None:
    names = {"name": "red\x1b[31m\nalert\x07", "ke\x1by": "x", "gain": 0.123456789}
    gain_model.write_text(json.dumps(json.loads(gain_model.read_text()) | {"metadata": names}))
    shown = command("info", gain_model).stdout
    assert all(letter.isprintable() for letter in shown.replace("\n", ""))
    assert "red [31m alert" in shown and "ke y" in shown and "0.123457\n" in shown


def test_info_of_an_impulse_response(command: Command) -> None:
    shown = command("info", share("models", "open-back.wav")).stdout
    assert "latency" in shown and "none\n" in shown  # at whatever rate


def test_info_of_a_pipe_does_not_wait_for_its_end(command: Command, tmp_path: Path) -> None:
    for name in ("pipe.nam", "pipe.onnx", "pipe.h5"):
        os.mkfifo(tmp_path / name)
        for arguments in (("info", name), ("convert", name, "out.mdrnn")):
            assert command(*arguments, code=1).stderr == f"Error: {name}: it is a pipe or a device, not a file\n"


def test_info_of_what_is_no_model(command: Command, tmp_path: Path) -> None:
    (tmp_path / "bad.nam").write_text("{}")
    for name in ("bad.nam", "none.nam", "none.keras"):
        assert command("info", name, code=1).stderr.startswith(f"Error: {name}: ")


def test_a_reader_that_goes_away_is_no_error(mdrnn_file: Path) -> None:
    step = subprocess.Popen([sys.executable, "-m", "neurig.cli", "step", str(mdrnn_file), "-"], text=True,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    step.stdin.write("0.1,0.2,0.3\n")
    step.stdin.flush()
    assert json.loads(step.stdout.readline())["pis"]  # answered at once, while the input is open
    step.stdout.close()
    try:
        step.stdin.write("0.1,0.2,0.3\n" * 100)
        step.stdin.close()
    except BrokenPipeError:
        pass
    assert step.stderr.read() == ""
    step.stderr.close()
    assert step.wait(20) != 0


@pytest.mark.parametrize("arguments", [["serve", "none.toml"], ["serve", "folder"]])
def test_serve_refuses_a_config_that_is_none(command: Command, tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "folder").mkdir()
    assert arguments[1] in command(*arguments, code=1).stderr

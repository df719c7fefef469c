"""The two commands of the README, and the wheel."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).resolve().parents[1]


def call(*command: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300, **options)


@pytest.fixture
def bare_path(tmp_path: Path) -> str:
    """A PATH with the few programs that any system has: no compiler, no Pd, no package manager."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in "bash cat cut date dirname env find flock id mkdir printf python3.11 readlink rm sed sha256sum sort " \
                "tail uname xargs".split():
        program = shutil.which(name) if name != "python3.11" else sys.executable
        (folder / name).symlink_to(program)
    return str(folder)


def test_run_passes_on_to_the_command(tmp_path: Path) -> None:
    phrase = ROOT / "models" / "phrase.wav"
    done = call(ROOT / "run", "render", ROOT / "models" / "crunch.nam", phrase, "played.wav", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "played.wav").stat().st_size >= phrase.stat().st_size


def test_run_hands_back_the_exit_code_and_keeps_stdout_clean(tmp_path: Path) -> None:
    done = call(ROOT / "run", "info", "missing.nam", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "missing.nam" in done.stderr


def test_nothing_is_left_to_set_up_and_that_is_found_out_quickly() -> None:
    before = os.times()
    done = call(ROOT / "externals" / "set-up.sh")
    after = os.times()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    used = after.children_user - before.children_user + after.children_system - before.children_system
    assert used < 1, f"{used:g} s of processor time"


def test_set_up_says_what_is_missing_where_it_cannot_install(bare_path: str) -> None:
    done = call(ROOT / "externals" / "set-up.sh", env={"PATH": bare_path, "HOME": "/nonexistent"})
    assert done.returncode == 1
    for needed in ("g++ (compiling)", "puredata-core (Pure Data)", "jackd2 (the JACK sound server)"):
        assert needed in done.stderr
    assert "no apt-get" in done.stderr and "What to do:" in done.stderr
    assert "command not found" not in done.stderr


def test_the_wheel_plays_where_there_is_no_compiler(tmp_path: Path, bare_path: str) -> None:
    built = call(sys.executable, "-m", "pip", "wheel", ROOT, "--no-deps", "--no-build-isolation", "-w", tmp_path)
    assert built.returncode == 0, built.stdout + built.stderr
    [wheel] = tmp_path.glob("neurig-*.whl")
    there = tmp_path / "installed"
    installed = call(sys.executable, "-m", "pip", "install", wheel, "--no-deps", "--target", there)
    assert installed.returncode == 0, installed.stdout + installed.stderr

    program = (
        "import neurig, neurig.files as files\n"
        "from neurig.cli import main\n"
        "print(neurig.__file__)\n"
        "for kind, name in (('pd', 'neuralamp~.pd_linux'), ('pd', 'mdrnn.pd_linux'), ('pd', 'neurig.rig.pd'),\n"
        "                   ('sc', 'plugins/NeuralAmp.so'), ('sc', 'plugins/NeuralAmp_supernova.so'),\n"
        "                   ('sc', 'neurig.quark'), ('models', 'wander.mdrnn'), ('examples', '')):\n"
        "    print(files.share(kind, name))\n"
        "main(['render', str(files.share('models', 'crunch.nam')), str(files.share('models', 'phrase.wav')), 'o.wav'])\n"
    )
    played = call(sys.executable, "-c", program, cwd=tmp_path, env={"PATH": bare_path, "PYTHONPATH": str(there)})
    assert played.returncode == 0, played.stdout + played.stderr
    assert str(ROOT) not in played.stdout
    for host, name in (("pd", "neuralamp~.pd_linux"), ("sc", "plugins/NeuralAmp.so")):
        done = call(sys.executable, "-m", "neurig.cli", "install", host, "--to", tmp_path / host,
                    cwd=tmp_path, env={"PATH": bare_path, "PYTHONPATH": str(there)})
        assert done.returncode == 0, done.stderr
        for needed in (name, "models/crunch.nam", "LICENSE"):
            assert (tmp_path / host / "neurig" / needed).is_file()
    here = call(sys.executable, "-m", "neurig.cli", "render", ROOT / "models" / "crunch.nam",
                ROOT / "models" / "phrase.wav", tmp_path / "here.wav", env=os.environ | {"PATH": bare_path})
    assert here.returncode == 0, here.stderr
    there_played, here_played = (soundfile.read(tmp_path / name)[0] for name in ("o.wav", "here.wav"))
    assert np.ptp(here_played) > 0.1 and np.array_equal(there_played, here_played)

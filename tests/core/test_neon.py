"""The core on 64-bit ARM, cross-compiled and run by QEMU. Neither is part of neurig's set-up; on Debian:

    dpkg --add-architecture arm64 && apt-get update
    apt-get install g++-aarch64-linux-gnu qemu-user libspeexdsp-dev:arm64 libfftw3-dev:arm64
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import neurig
from core import models, programs
from core.test_models import esr
from core.test_nam_vectors import FOLDER, INPUT, RENDERS, bound

COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"
LIBRARIES = ("libspeexdsp.a", "libfftw3f.a")


def missing() -> list[str]:
    """What of the above is not installed."""
    absent = [name for name in (COMPILER, EMULATOR) if not shutil.which(name)]
    if COMPILER not in absent:
        for name in LIBRARIES:
            found = subprocess.run([COMPILER, f"-print-file-name={name}"], check=True, capture_output=True, text=True)
            absent += [f"{name} for arm64"] if found.stdout.strip() == name else []
    return absent


def build(name: str) -> Path:
    """A program of this folder for 64-bit ARM; with no shared libraries, which QEMU would have to find."""
    if absent := missing():
        pytest.skip(f"not installed: {', '.join(absent)}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXX", COMPILER)
        return programs.build(name, "neon", ["-static"])


@pytest.fixture(scope="module")
def program() -> Path:
    return build("render")


def emulated(program: Path, folder: Path, model: Path, x: np.ndarray, slim: str = "1",
             *options: str) -> tuple[np.ndarray, str]:  # fmt: skip
    """What the program makes of a signal, and what QEMU has said."""
    x.astype(np.float32).tofile(folder / "in")
    command = [EMULATOR, *options, program, model, folder / "in", folder / "out", "48000", "64", slim]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return np.fromfile(folder / "out", np.float32), done.stderr


@pytest.mark.parametrize("name", RENDERS)
def test_vector(name: str, program: Path, tmp_path: Path) -> None:
    file, _, slim = name.partition("@")
    wanted = RENDERS[name].astype(float)
    got, _ = emulated(program, tmp_path, FOLDER / f"{file}.nam", INPUT, slim or "1")
    assert np.sum((got - wanted) ** 2) <= bound(name) * np.sum((wanted - wanted.mean()) ** 2)


def test_reference_renders(program: Path, tmp_path: Path, data: Path) -> None:
    """Of every family, for as long as patience lasts: a fifth of a second, after half a second."""
    import soundfile

    x, _ = soundfile.read(data / "audio" / "guitar-48k.wav", dtype="float32")
    start, end = 24000, 33600
    failed = {}
    for render in sorted((data / "amps").glob("*.npy")):
        file, slim = render.with_suffix(""), "1"
        if file.suffix == ".slim0":
            file, slim = file.with_suffix(""), "0"
        recurrent = neurig.load(file).info["receptive_field"] is None
        got, _ = emulated(program, tmp_path, file, x[:end], slim)
        error = esr(got[start:], np.load(render)[start:end].astype(float))
        if not error <= (1e-8 if recurrent else 1e-10):
            failed[render.name] = error
    assert not failed


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plugin that counts instructions."""
    plugin = tmp_path_factory.mktemp("plugin") / "instructions.so"
    source = Path(__file__).with_name("instructions.cpp")
    flags = "-std=c++17 -O1 -fPIC -shared".split()
    subprocess.run([*programs.build_step().compiler(), *flags, source, "-o", plugin], check=True)
    return plugin


DILATIONS = [2**n for n in range(10)]
SHAPES = {  # of NAM's first architecture, and how many instructions for a sample they take at most
    "standard": (16, 8, [DILATIONS, DILATIONS], 7200),
    "feather": (8, 4, [DILATIONS[:7], DILATIONS[7:] + DILATIONS], 2200),
}


@pytest.mark.parametrize("name", SHAPES)
def test_instructions_per_sample(name: str, program: Path, counter: Path, tmp_path: Path) -> None:
    """NEON has nothing that measures time under QEMU; a kernel that has lost its way takes more instructions."""
    wide, narrow, (first, second), most = SHAPES[name]
    arrays = [models.layer_array(1, wide, narrow, first), models.layer_array(wide, narrow, 1, second, head_bias=True)]
    weights = models.wavenet_weights(arrays, np.random.default_rng(0))
    model = tmp_path / "model.nam"
    model.write_text(models.model_file("WaveNet", {"layers": arrays}, weights))
    counts = []
    for frames in (640, 1920):
        _, said = emulated(program, tmp_path, model, np.zeros(frames), "1", "-plugin", str(counter))
        counts.append(int(said.rpartition("instructions: ")[2]))
    per_sample = (counts[1] - counts[0]) / (1920 - 640)
    print(f"A1 {name}: {per_sample:.0f} instructions per sample")
    assert 0.8 * most < per_sample <= most

"""The core under sanitizers: damaged files, the amp stage driven by chance, threads. fuzz.py searches longer."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core import programs, seeds
from core.fuzz import READERS

VECTORS = Path(__file__).with_name("nam_vectors")
ASAN = {"ASAN_OPTIONS": "max_allocation_size_mb=256:hard_rss_limit_mb=3000:detect_leaks=1"}


def program(name: str, kind: str, flags: list[str]) -> Path:
    """Built where the compiler's runtime is there."""
    if missing := programs.missing_runtime(flags):
        pytest.skip(f"no sanitizer runtime for this compiler: {missing}")
    return programs.build(name, kind, flags)


def run(command: list[object], folder: Path, timeout: float = 300) -> str:
    done = subprocess.run(list(map(str, command)), cwd=folder, env=os.environ | ASAN, capture_output=True, text=True,
                          errors="replace", timeout=timeout)  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:] + done.stdout[-1000:]
    return done.stdout


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One of each family."""
    folder = tmp_path_factory.mktemp("seeds")
    for name, text in seeds.seeds().items():
        (folder / name).write_text(text)
    for name, content in seeds.sounds().items():
        (folder / name).write_bytes(content)
    return sorted(folder.iterdir())


def test_the_search_begins_with_every_family(files: list[Path]) -> None:
    assert {path.name for path in files} == {name for names in READERS.values() for name in names}


def test_damaged_files(files: list[Path], tmp_path: Path) -> None:
    reader = program("fuzz", "sanitized", programs.SANITIZED)
    said = run([reader, 8, 1, *files], tmp_path)
    runs, slowest = int(said.split()[0]), float(said.split()[-2])
    assert runs > 200 and slowest < 8, said  # with the sanitizers, and on a busy machine


def test_good_files(tmp_path: Path) -> None:
    reader = program("fuzz", "sanitized", programs.SANITIZED)
    vectors = sorted(VECTORS.glob("*.nam"))
    assert len(vectors) > 20
    slow = tmp_path / "of 1000 Hz"
    slow.write_text(json.dumps(seeds.filled("Linear", {"receptive_field": 1, "bias": False}, sample_rate=1000)))
    assert run([reader, 0, 0, slow, *vectors], tmp_path).startswith(f"{len(vectors) + 1} runs")


def test_files_of_the_field(data: Path, tmp_path: Path) -> None:
    reader = program("fuzz", "sanitized", programs.SANITIZED)
    known = [path for path in sorted((data / "amps").iterdir()) if path.suffix in (".nam", ".json", ".aidax")]
    assert run([reader, 0, 0, *known], tmp_path).startswith(f"{len(known)} runs")


def test_amp_driven_by_chance(files: list[Path], tmp_path: Path) -> None:
    random_amp = program("random_amp", "sanitized", programs.SANITIZED)
    amps = [path for path in files if path.name != "mdrnn"]
    assert int(run([random_amp, 4, 1, *amps], tmp_path).split()[0]) > 20


def test_session_driven_by_chance(tmp_path: Path) -> None:
    random_session = program("random_session", "sanitized", programs.SANITIZED)
    assert int(run([random_session, 3, 1], tmp_path).split()[0]) > 100


@pytest.mark.parametrize(("kind", "flags"), [("races", programs.RACES), ("sanitized", programs.SANITIZED)])
def test_threads(kind: str, flags: list[str], files: list[Path], tmp_path: Path) -> None:
    threads = program("threads", kind, flags)
    # Without address-space randomisation, which some kernels do more of than the runtime can take.
    assert run(["setarch", "--addr-no-randomize", threads, *files], tmp_path) == "done\n"


CHURN = """
import sys, numpy as np, neurig
from core.seeds import seeds
from neurig.model import parse
files, x = list(seeds().values()), np.zeros(65, np.float32)
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4
def one(i):
    model = parse(files[i % len(files)])
    if model.is_predictor:
        neurig.Predictor(model).predict()
        return
    instance = model.instance(48000 if i % 10 else 44100)
    instance.process(x)
for i in range(1000): one(i)
before = resident()
for i in range(1000, 10000): one(i)
print(resident() - before)
"""


def test_ten_thousand_models_leave_nothing() -> None:
    """Loaded, run and freed: the memory in use after the first thousand stays."""
    tests = str(Path(__file__).parent.parent)
    done = subprocess.run([sys.executable, "-c", CHURN], capture_output=True, text=True, timeout=120,
                          env=os.environ | {"PYTHONPATH": tests})  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 4096, done.stdout  # KiB

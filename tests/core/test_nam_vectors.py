"""Every NAM architecture against the trainer's own PyTorch modules: nam_vectors/, made by make_nam_vectors.py."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from neurig.model import Instance, load

FOLDER = Path(__file__).with_name("nam_vectors")
RENDERS = dict(np.load(FOLDER / "renders.npz"))
INPUT = RENDERS.pop("input")


def instance_of(name: str) -> Instance:
    """An instance for a render's name: a file's, and ``@size`` where the model comes in sizes."""
    file, _, size = name.partition("@")
    instance = load(FOLDER / f"{file}.nam").instance()
    if size:
        instance.slim = float(size)
    return instance


def error(name: str) -> float:
    """Error to signal ratio, the signal without its constant part."""
    wanted = RENDERS[name].astype(float)
    return float(np.sum((instance_of(name).process(INPUT) - wanted) ** 2) / np.sum((wanted - wanted.mean()) ** 2))


def bound(name: str) -> float:
    return 1e-8 if name.startswith("lstm") else 1e-10


def test_every_file_has_its_render() -> None:
    assert {name.partition("@")[0] for name in RENDERS} == {path.stem for path in FOLDER.glob("*.nam")}


@pytest.mark.parametrize("name", RENDERS)
def test_vector(name: str) -> None:
    assert error(name) <= bound(name)


@pytest.mark.parametrize("simd", ["baseline", "avx2"])
def test_vectors_with_other_instruction_sets(simd: str) -> None:
    script = (
        "from core.test_nam_vectors import RENDERS, bound, error\n"
        "print(*(f'{name}: {error(name):.1e}' for name in RENDERS if not error(name) <= bound(name)))\n"
    )
    environment = os.environ | {"NEURIG_SIMD": simd, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True,
                          timeout=120)  # fmt: skip
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("name", RENDERS)
def test_block_sizes_give_the_same_samples(name: str) -> None:
    wanted = instance_of(name).process(INPUT)
    for block in (1, 7, 64):
        instance = instance_of(name)
        got = [instance.process(INPUT[i : i + block]) for i in range(0, len(INPUT), block)]
        assert np.array_equal(np.concatenate(got), wanted), f"block {block}"


def test_a_model_with_two_inputs_has_a_knob() -> None:
    model = load(FOLDER / "wavenet-two-inputs.nam")
    assert len(model.params) == 1
    instance = model.instance()
    instance.set(0, 0.9)
    assert np.std(instance.process(INPUT) - RENDERS["wavenet-two-inputs"]) > 1e-3

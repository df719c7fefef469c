"""What the tests of datasets and training share: the command, and performances that can be learned in a second."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from python.conftest import command  # noqa: F401 - a fixture

from neurig import dataset


def wave(rows: int, dimension: int, seed: int = 1) -> NDArray[np.float32]:
    """A performance that can be foreseen: slow sines at an even pace, with a little noise."""
    random = np.random.default_rng(seed)
    time = np.arange(rows)[:, None]
    values = 0.5 + 0.4 * np.sin(time / 5 + np.arange(dimension - 1)) + random.normal(0, 0.01, (rows, dimension - 1))
    steps = random.uniform(0.09, 0.11, (rows, 1))
    return np.concatenate([steps, values], axis=1).astype(np.float32)


@pytest.fixture
def waves() -> dataset.Dataset:
    """Two performances of three dimensions, which make 300 windows."""
    return dataset.Dataset([wave(180, 3, seed=1), wave(220, 3, seed=2)])


@pytest.fixture
def waves_file(waves: dataset.Dataset, tmp_path: Path) -> Path:
    path = tmp_path / "waves.npz"
    dataset.save(waves, path)
    return path

"""What the tests of Pure Data share: small amps made here, and the versions of Pd that they run in."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pd.live import Live
from pd.later import Missing, later_pd


@pytest.fixture
def amp_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a Linear amp and gives its path: the output is the input times a gain."""

    def write(name: str = "half.nam", gain: float = 0.5, **metadata: object) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        config = {"receptive_field": 1, "bias": False}
        path.write_text(json.dumps({"version": "0.5.4", "architecture": "Linear", "config": config, "weights": [gain],
                                    "sample_rate": 48000, "metadata": metadata}))
        return path

    return write


@pytest.fixture
def adder_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes an amp with knobs, from 0 to 1 and 0.5 at first, and gives its path: it adds them all to the signal."""

    def write(name: str = "adder.json", knobs: int = 2) -> Path:
        path = tmp_path / name
        dense = {"type": "dense", "shape": [1], "weights": [[[1]] * (1 + knobs), [0]]}
        path.write_text(json.dumps({"in_shape": [1 + knobs], "layers": [dense]}))
        return path

    return write


@pytest.fixture(scope="session", params=["the installed one", "0.55", "0.55, double precision"])
def pd(request: pytest.FixtureRequest) -> str:
    """The command of each Pd that can be had here."""
    if request.param == "the installed one":
        return "pd"
    try:
        return str(later_pd(64 if "double" in request.param else 32))
    except Missing as missing:
        pytest.skip(f"Pd {request.param} cannot be fetched here: {missing}")


@pytest.fixture
def live(free_port: Callable[[], int]) -> Iterator[Live]:
    pd = Live(free_port())
    yield pd
    pd.close()

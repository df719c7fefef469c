"""What the tests of Pure Data share: small amps made here."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest


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

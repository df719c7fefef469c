"""What the tests of the Python side share: the ``neurig`` command as a user runs it, and small models made here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from python.helpers import Command, Mdrnn


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Runs ``neurig`` with arguments, in a folder of the test's own."""

    def run(*arguments: object, code: int = 0, stdin: str = "", **options: object) -> subprocess.CompletedProcess[str]:
        """:param code: the exit code that is expected; where it is not 0, the last line of stderr has to be one message
        that begins with ``Error: ``"""
        done = subprocess.run(
            [sys.executable, "-m", "neurig.cli", *map(str, arguments)],
            input=stdin, capture_output=True, text=True, cwd=tmp_path, timeout=120, **options,
        )
        assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        if code == 1:
            assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1, done.stderr
        return done

    return run


@pytest.fixture
def gain_model(tmp_path: Path) -> Path:
    """A Linear amp of one weight, made for 48 kHz: the output is the input times 0.5."""
    path = tmp_path / "gain.nam"
    config = {"receptive_field": 1, "bias": False}
    path.write_text(json.dumps(
        {"version": "0.5.4", "architecture": "Linear", "config": config, "weights": [0.5], "sample_rate": 48000}
    ))
    return path


@pytest.fixture
def mdrnn() -> Mdrnn:
    return Mdrnn()


@pytest.fixture
def mdrnn_file(mdrnn: Mdrnn, tmp_path: Path) -> Path:
    return mdrnn.write(tmp_path / "random.mdrnn")

"""What the tests of the evaluation share: the commands, and an amp whose answers are known."""

import io
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest
from python.conftest import command, gain_model, mdrnn, mdrnn_file  # noqa: F401 - fixtures

from neurig.cli import main


@dataclass(frozen=True)
class Said:
    stdout: str
    stderr: str


@pytest.fixture
def compare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    """``neurig eval`` with arguments, in a folder of the test's own. It runs in this process, which takes less time."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, code: int = 0) -> Said:
        """:param code: the exit code that is expected; where it is 1, stderr has to be one line"""
        with redirect_stdout(io.StringIO()) as stdout, redirect_stderr(io.StringIO()) as stderr:
            with pytest.raises(SystemExit) as ended:
                main(["eval", *map(str, arguments)])
        said = Said(stdout.getvalue(), stderr.getvalue())
        assert ended.value.code == code, said
        if code == 1:
            assert said.stderr.startswith("Error: ") and said.stderr.count("\n") == 1, said
        return said

    return run

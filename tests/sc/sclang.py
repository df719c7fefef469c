"""A real sclang in tests, and the user who starts it."""

import contextlib
import os
import signal
import subprocess
from pathlib import Path


def new_user(home: Path, environment: dict[str, str] | os._Environ[str] = os.environ) -> dict[str, str]:
    """The environment of a user who has an empty home folder, and no screen."""
    (home / "run").mkdir(mode=0o700)
    env = {key: value for key, value in environment.items() if not key.startswith(("XDG_", "SC_", "DISPLAY"))}
    return env | {
        "HOME": str(home),
        "TMPDIR": str(home),
        "XDG_RUNTIME_DIR": str(home / "run"),
        "QT_QPA_PLATFORM": "offscreen",
        "QTWEBENGINE_DISABLE_SANDBOX": "1",
        "QTWEBENGINE_CHROMIUM_FLAGS": "--no-sandbox --disable-gpu",
    }


def run_sclang(document: Path, env: dict[str, str], seconds: float = 120) -> str:
    """Runs a document in sclang; gives what it posts.

    :raises AssertionError: where it does not end well, or not in time
    """
    process = subprocess.Popen(
        ["sclang", "-D", str(document)], env=env, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
    )  # fmt: skip
    try:
        posted, _ = process.communicate(timeout=seconds)
    finally:
        with contextlib.suppress(ProcessLookupError):  # the group is gone with its last process
            os.killpg(process.pid, signal.SIGKILL)  # sclang, and the server that it has booted
        process.wait()
    assert process.returncode == 0, posted
    return posted

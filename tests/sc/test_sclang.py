"""The Quark in a real sclang: its unit tests, its help, the examples, and a rig that it builds, steers and tears down.

sclang takes its time to start, so one run (see checks.scd) makes all checks of one server.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sc.sclang import new_user, run_sclang

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def rig_port(tmp_path_factory: pytest.TempPathFactory, jack_server) -> Iterator[int]:
    """The port of a rig server that plays the demo into JACK."""
    folder = tmp_path_factory.mktemp("rig")
    command = [sys.executable, "-m", "neurig.cli", "serve", str(ROOT / "examples" / "demo.toml"),
               "--backend", "jack", "--port", "0"]  # fmt: skip
    env = jack_server.env | {"PYTHONPATH": str(ROOT / "bridge"), "XDG_DATA_HOME": str(folder), "PYTHONUNBUFFERED": "1"}
    with (folder / "log").open("wb") as output:
        server = subprocess.Popen(command, env=env, stdout=output, stderr=output)
    try:
        end = time.monotonic() + 20
        while not (said := re.search(r"OSC on 127\.0\.0\.1:(\d+)", (folder / "log").read_text())):
            assert server.poll() is None and time.monotonic() < end, (folder / "log").read_text()
            time.sleep(0.05)
        yield int(said[1])
    finally:
        server.terminate()
        assert server.wait(10) == 0


@pytest.fixture
def sclang_env(tmp_path: Path, jack_server) -> dict[str, str]:
    """A new user, who has installed the Quark by a link into the folder for extensions, and has no screen."""
    extensions = tmp_path / ".local" / "share" / "SuperCollider" / "Extensions"
    extensions.mkdir(parents=True)
    (extensions / "neurig").symlink_to(ROOT / "sc")
    return new_user(tmp_path, jack_server.env)


def errors(posted: str) -> list[str]:
    """Those in what was posted, but not of files that nobody has."""
    return re.findall(r"^(?!ERROR: .* can't be read).*(?:ERROR|FAILURE).*", posted, re.M)


def examples(folder: Path) -> Path:
    """A folder with the examples, and the README's."""
    shutil.copytree(ROOT / "examples" / "sc", folder)
    blocks = re.findall(r"^   ```supercollider\n(.*?)^   ```$", (ROOT / "README.md").read_text(), re.M | re.S)
    assert len(blocks) == 4
    (folder / "readme.scd").write_text("\n".join(re.sub("^   ", "", block, flags=re.M) for block in blocks))
    return folder


@pytest.mark.parametrize(("program", "checks"), [
    ("scsynth", "tests help examplesOfHelp examples chance rig"), ("supernova", "tests examples chance"),
])  # fmt: skip
def test_quark(
    program: str, checks: str, sclang_env: dict[str, str], rig_port: int, free_port: Callable[[], int], tmp_path: Path
) -> None:
    command = tmp_path / "bin" / "neurig"  # for rigs that are booted: they have no sound card here
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m neurig.cli "$@" --backend clock\n')
    command.chmod(0o755)
    env = sclang_env | {
        "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "bridge"),
        "NEURIG_BOOT_PORT": str(free_port()),
        "NEURIG_CHECKS": checks,
        "NEURIG_PROGRAM": program,
        "NEURIG_PORT": str(free_port()),
        "NEURIG_RIG_PORT": str(rig_port),
        "NEURIG_EXAMPLES": str(examples(tmp_path / "examples")),
    }
    posted = run_sclang(ROOT / "tests" / "sc" / "checks.scd", env, seconds=420)
    assert "\nend\n" in posted, posted
    failed = re.findall(r"^failed .*", posted, re.M)
    assert not failed, "\n".join(failed)
    passed = set(re.findall(r"^passed ([^:]*)", posted, re.M))
    sections = dict(zip(checks.split(), re.split(r"^begin \w+$", posted, flags=re.M)[1:], strict=True))

    classes = [file.stem for file in (ROOT / "sc" / "Classes").glob("*.sc")]
    tested = {file.stem.removeprefix("Test") for file in (ROOT / "sc" / "Tests").glob("Test*.sc")}
    assert set(classes) - tested == {"NeurigModel"}, "what it is the base of is tested"
    for file in (ROOT / "sc" / "Tests").glob("Test*.sc"):
        tests = re.findall(r"^\t(test_\w+)", file.read_text(), re.M)
        assert tests and {f"{file.stem}.{test}" for test in tests} <= passed
    if "help" in sections:
        pages = [f"Classes/{name}" for name in classes]
        assert {f"help of {page}" for page in [*pages, "Guides/neurig"]} <= passed
        assert "WARNING" not in sections["help"] and "ERROR" not in sections["help"], sections["help"]
        assert not errors(sections["examplesOfHelp"]), "\n".join(errors(sections["examplesOfHelp"]))
    assert {"amp.scd plays", "rig.scd is answered", "every request by chance is answered"} <= passed
    assert not errors(sections["examples"]), sections["examples"]
    if "rig" in sections:
        assert {"a rig built here is heard", "torn down again, it is silent", "the rig made no error"} <= passed


def test_quark_has_the_version_of_the_rest() -> None:
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.M)
    assert version and f'version: "{version[1]}"' in (ROOT / "sc" / "neurig.quark").read_text()

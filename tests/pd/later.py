"""Pd of a later Debian, of single and of double precision, unpacked beside the one that is installed.

    python tests/pd/later.py          fetches it, and prints where its programs are
"""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "build" / "later-pd"
SUITE = "trixie"  # Debian 13, with Pd 0.55
PROGRAMS = {32: "usr/lib/puredata/bin/pd", 64: "usr/lib/puredata/bin/pd64"}  # by the bits of a number
KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"


class Missing(Exception):
    """It cannot be had here; why not."""


def later_pd(bits: int) -> Path:
    """The program, which is fetched where it is not there yet: some 12 MB, by apt, from this machine's own mirror.

    :param bits: of a number: 32 or 64
    :raises Missing: where that does not work
    """
    program = FOLDER / PROGRAMS[bits]
    FOLDER.mkdir(parents=True, exist_ok=True)
    with open(FOLDER / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            _fetch()
    return program


def _run(*command: str | Path) -> str:
    try:
        done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=180)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(str(error)) from error
    if done.returncode:
        raise Missing(f"{command[0]}: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout


def _fetch() -> None:
    """With lists, sources and a cache of its own: what the machine's apt knows stays as it is."""
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    codename = release.get("VERSION_CODENAME", "").strip('"')
    targets = _run("apt-get", "indextargets", "--format", "$(RELEASE) $(COMPONENT) $(REPO_URI)", "Created-By: Packages")
    mirrors = [line.split()[2] for line in targets.splitlines() if line.split()[:2] == [codename, "main"]]
    if not mirrors:
        raise Missing("apt has no mirror of Debian's main component")
    processor = _run("dpkg", "--print-architecture").strip()
    for part in ("lists/partial", "archives/partial", "no-sources", "root"):
        (FOLDER / part).mkdir(parents=True, exist_ok=True)
    (FOLDER / "sources.list").write_text(f"deb [arch={processor} signed-by={KEYS}] {mirrors[0]} {SUITE} main\n")
    settings = {"Dir::State": FOLDER, "Dir::State::lists": FOLDER / "lists", "Dir::Cache": FOLDER,
                "Dir::Etc::sourcelist": FOLDER / "sources.list", "Dir::Etc::sourceparts": FOLDER / "no-sources",
                "Dir::State::status": "/var/lib/dpkg/status", "APT::Sandbox::User": "root",
                "Acquire::Languages": "none", "Acquire::Retries": 2, "Acquire::http::Timeout": 20}  # fmt: skip
    apt = ["apt-get", "-q", *(word for name, value in settings.items() for word in ("-o", f"{name}={value}"))]
    _run(*apt, "update")
    _run(*apt, "download", "puredata-core", "puredata64-core")
    for package in FOLDER.glob("*.deb"):
        _run("dpkg-deb", "-x", package, FOLDER / "root")
    for program in PROGRAMS.values():
        _run(FOLDER / "root" / program, "-version")  # whether this machine has the libraries that it needs
    os.rename(FOLDER / "root" / "usr", FOLDER / "usr")


if __name__ == "__main__":
    try:
        print(*map(later_pd, PROGRAMS), sep="\n")
    except Missing as missing:
        sys.exit(f"no later Pd here: {missing}")

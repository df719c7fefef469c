"""Puts neurig's objects where Pure Data and SuperCollider look for them, and packs them for deken, Pd's packager.

What is installed is one folder, ``neurig``, with the objects, their help, the models and the examples. It holds a list
of its files, so that an older one is known for what it is, and nothing is removed that somebody put there.
"""

import ctypes
import hashlib
import os
import platform
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from neurig import __version__
from neurig.files import atomic, share, write_atomic

_NAME = "neurig"
_LIST = ".neurig-installed"  # a line for each file: SHA-256, two spaces, path; `sha256sum -c` reads it
# For each host: a folder of ours, which files in it, and where in the installed folder they go.
_PARTS = {
    "pd": (("pd", "*", "."), ("models", "*", "models"), ("examples/pd", "*.pd", "examples")),
    "sc": (("sc", "**/*", "."), ("models", "*", "models"), ("examples/sc", "*.scd", "examples")),
}
_COMPILED = {"pd": ("*.pd_linux", "puredata-dev"), "sc": ("plugins/*.so", "supercollider-dev")}
# Patches name files relative to themselves; models and examples are elsewhere once they are installed.
_MOVED = {
    "pd": {b"../models/": b"models/", b"../examples/pd": b"examples"},
    "examples/pd": {b"../../models/": b"../models/", b"-path ../../pd": b"-path .."},
}


def default_folder(host: str) -> Path:
    """The folder that a host searches for what its user has installed.

    :param host: ``"pd"`` or ``"sc"``
    """
    if host == "pd":
        return Path.home() / ".local" / "lib" / "pd" / "extra"
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "SuperCollider" / "Extensions"


def install(host: str, parent: Path, *, link: bool = False) -> Path:
    """Puts the folder ``neurig`` into another, in place of an older one. Whatever fails, the older one stays.

    :param host: ``"pd"`` or ``"sc"``
    :param parent: the other folder; it is made where it is missing
    :param link: install a link to what this Python package uses, rather than copies
    :returns: the path of what was installed
    :raises OSError: where files are missing or cannot be written, or what is there is not ours to replace
    """
    target = parent / _NAME
    _check(target)
    with _beside(target) as fresh:
        if link:
            _require_compiled(host)
            fresh.symlink_to(share(host), target_is_directory=True)
        else:
            for name, content in _contents(host).items():
                path = fresh / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        if os.path.lexists(target):
            _exchange(fresh, target)
        else:
            fresh.rename(target)
    return target


def remove(parent: Path) -> Path | None:
    """Removes the folder ``neurig`` that was installed in another.

    :returns: its path; None where there was none
    :raises OSError: where it cannot be removed, or is not ours to remove
    """
    target = parent / _NAME
    if not os.path.lexists(target):
        return None
    _check(target)
    with _beside(target) as gone:
        target.rename(gone)
    return target


def package(parent: Path, *, sources: bool = False) -> list[Path]:
    """Writes the Pure Data library as a package that deken installs, for machines like this one.

    :param parent: the folder for it
    :param sources: write the package of sources, too, that deken wants with the other; possible in a clone only
    :returns: the package, its checksum (``.sha256``) and the list of its objects (``.txt``); likewise of the sources
    :raises OSError: where files are missing or cannot be written
    """
    contents = _contents("pd")
    packages = {_architecture(): contents} | ({"Sources": _sources()} if sources else {})
    objects = "".join(f"{name}\t{text}\n" for name, text in _descriptions(contents))
    written = []
    for kind, files in packages.items():
        archive = parent / f"{_NAME}[v{__version__}]({kind}).dek"
        with atomic(archive) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as made:
            for name, content in files.items():
                entry = zipfile.ZipInfo(f"{_NAME}/{name}")  # dated 1980, so that the same files make the same package
                entry.external_attr = (0o100755 if content.startswith(b"#!") else 0o100644) << 16
                made.writestr(entry, content, zipfile.ZIP_DEFLATED)
        checksum, listing = (archive.with_name(archive.name + ending) for ending in (".sha256", ".txt"))
        write_atomic(checksum, hashlib.sha256(archive.read_bytes()).hexdigest())
        write_atomic(listing, objects)
        written += [archive, checksum, listing]
    return written


# ---- What there is --------------------------------------------------------------------------------------------------


def _contents(host: str) -> dict[str, bytes]:
    """Path and content of every file in the folder that is installed; last comes their list."""
    _require_compiled(host)
    contents = {"LICENSE": share("LICENSE").read_bytes()}
    for source, pattern, where in _PARTS[host]:
        folder = share(source)
        for path in sorted(folder.glob(pattern)):
            if not path.is_file() or path.name.startswith(".") or path.suffix == ".new":
                continue
            content = path.read_bytes()
            for old, new in _MOVED.get(source, {}).items() if path.suffix == ".pd" else ():
                content = content.replace(old, new)
            contents[(where / path.relative_to(folder)).as_posix()] = content
    if host == "sc":
        contents["command"] = f"{_command()}\n".encode()  # for Rig.boot
    lines = (f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in contents.items())
    return contents | {_LIST: "".join(lines).encode()}


def _command() -> Path:
    """The ``neurig`` command that this Python package belongs to: a clone's ``run``, or that of its environment."""
    run = share("LICENSE").parent / "run"
    return run if run.is_file() else Path(sys.executable).with_name("neurig")


def _sources() -> dict[str, bytes]:
    """Path and content of every file that git keeps."""
    root = share("LICENSE").parent
    if not (root / ".git").exists():
        raise FileNotFoundError(f"{root}: the sources are not here, but in a clone of neurig's repository")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True)
    if listed.returncode:
        raise OSError(f"{root}: git: {listed.stderr.decode(errors='replace').strip()}")
    names = [os.fsdecode(name) for name in listed.stdout.split(b"\0") if name]
    return {name: (root / name).read_bytes() for name in names if (root / name).is_file()}


def _require_compiled(host: str) -> None:
    pattern, headers = _COMPILED[host]
    if not any(share(host).glob(pattern)):
        raise FileNotFoundError(f"{share(host)}: no compiled objects here: neurig was built without {headers}")


def _architecture() -> str:
    """This machine as deken names it: system, processor, and the bits of Pd's numbers, once for each that there is."""
    names = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "armv7", "i686": "i386"}
    processor = names.get(platform.machine(), platform.machine())
    bits = [32, 64] if any(share("pd").glob(f"*-{processor}-64.so")) else [32]
    return ")(".join(f"{platform.system()}-{processor}-{number}" for number in bits)


def _descriptions(contents: Mapping[str, bytes]) -> Iterator[tuple[str, str]]:
    """The objects, and what their help patches say that they are."""
    for name, content in sorted(contents.items()):
        if name.endswith("-help.pd") and "/" not in name:
            said = re.search(r"#X text \d+ \d+ DESCRIPTION (.*?)(?:, f \d+)?;", content.decode(), re.S)
            if not said:
                raise ValueError(f"{name} has no DESCRIPTION")
            yield name.removesuffix("-help.pd"), re.sub(r" ?\\([,;])", r"\1", " ".join(said[1].split()))


# ---- Where it goes --------------------------------------------------------------------------------------------------


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A path on the same disk, where nothing is; whatever is there at the end is removed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as folder:
        yield Path(folder) / "ignore"  # sclang passes over folders of this name when it compiles its library


def _exchange(one: Path, other: Path) -> None:
    """Lets two paths change places."""
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    if rename and rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0:
        return
    between = one.with_name("between")  # this system, or this disk, cannot do it at once
    other.rename(between)
    try:
        one.rename(other)
    except OSError:
        between.rename(other)
        raise
    between.rename(one)


def _check(target: Path) -> None:
    """Whether what is at a path may be replaced.

    :raises FileExistsError: where somebody else has put it, or a part of it, there
    """
    if not os.path.lexists(target):
        return
    if target.is_symlink():
        if not any((target / name).exists() for name in ("neurig-meta.pd", "neurig.quark")):
            raise FileExistsError(f"{target}: this link leads to something that is not neurig's; remove it first")
        return
    if not (target / _LIST).is_file():
        raise FileExistsError(f"{target}: this was not installed by neurig; move it elsewhere first")
    foreign = sorted(_foreign(target))
    if foreign:
        names = ", ".join(foreign[:3]) + (f" and {len(foreign) - 3} more" if len(foreign) > 3 else "")
        raise FileExistsError(f"{target}: some files in it are yours, or changed: {names}. Move them elsewhere first")


def _foreign(target: Path) -> Iterator[str]:
    """Files in an installed folder that are not as they were installed."""
    lines = (target / _LIST).read_text(encoding="utf-8", errors="replace").splitlines()
    listed = {name: checksum for checksum, _, name in (line.partition("  ") for line in lines)}
    for folder, folders, files in os.walk(target):
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        for path in (Path(folder) / name for name in [*files, *links]):
            name = path.relative_to(target).as_posix()
            if name == _LIST:
                continue
            if path.is_symlink() or hashlib.sha256(path.read_bytes()).hexdigest() != listed.get(name):
                yield name

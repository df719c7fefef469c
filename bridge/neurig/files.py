"""Files: where bundled things are, and how a file is written so that no failure leaves half of one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_REPOSITORY = _PACKAGE.parents[1]


def share(kind: str, name: str = "") -> Path:
    """The path of something that comes with neurig: the repository's own when run from there, else the wheel's.

    :param kind: ``"models"``, ``"examples"``, ``"pd"``, ``"sc"`` or ``"LICENSE"``
    :param name: a file or folder in there; empty for the folder itself
    :raises FileNotFoundError: where it is missing
    """
    from_repository = (_REPOSITORY / "externals" / "core" / "neurig.h").is_file()
    folder = _REPOSITORY / kind if from_repository else _PACKAGE / "share" / kind
    path = folder / name
    if not path.exists():
        raise FileNotFoundError(f"{path}: this should have come with neurig, but it is not there")
    return path


@contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives the path of a temporary file beside ``path``, and puts it in ``path``'s place when the block ends well.

    Whatever goes wrong in the block, ``path`` stays as it was and the temporary file is removed. A link at ``path``
    stays a link; the file that it leads to is replaced.

    :raises OSError: where the folder is missing or full, or may not be written
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(f"{path}: is a folder")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {target.parent}")
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        temporary.touch()
    except OSError as problem:
        raise OSError(problem.errno, problem.strerror, str(path)) from None
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, target)
        _sync(target.parent)
    except OSError as problem:
        named = {problem.filename, problem.filename2} - {None}
        if problem.errno and (not named or str(temporary) in map(str, named)):  # what nobody has asked for
            raise OSError(problem.errno, problem.strerror, str(path)) from None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_atomic(path: str | os.PathLike[str], text: str) -> None:
    """Writes ``text`` (UTF-8) to ``path``: at any moment the file is the old one or the new one, whole.

    :raises OSError: where the folder is missing or full, or may not be written; the old file is still there then
    """
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def unused(path: str) -> str:
    """The path, with a number where there is such a file already: no recording is ever written over another."""
    stem, suffix = os.path.splitext(path)
    number = 2
    while os.path.exists(path):
        path, number = f"{stem}-{number}{suffix}", number + 1
    return path


def _sync(path: Path) -> None:
    """Waits until a file, or a folder's list of files, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

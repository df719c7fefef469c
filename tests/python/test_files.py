"""Files are found, and written whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from neurig.files import atomic, share, write_atomic


def test_share_finds_what_comes_with_neurig() -> None:
    assert share("models", "wander.mdrnn").is_file()
    assert share("pd").is_dir()


def test_share_says_what_is_missing() -> None:
    with pytest.raises(FileNotFoundError, match="no-such.nam"):
        share("models", "no-such.nam")


def test_a_text_is_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "preset.toml"
    write_atomic(path, "gain = 1\n")
    write_atomic(path, "name = 'Übung'\n")
    assert path.read_text(encoding="utf-8") == "name = 'Übung'\n"
    assert os.listdir(tmp_path) == ["preset.toml"]


def test_a_failure_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "take.wav"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic(path) as temporary:
        temporary.write_text("half of the n")
        1 / 0
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["take.wav"]


def test_a_failure_names_the_file_that_was_wanted(tmp_path: Path) -> None:
    path = tmp_path / "take.wav"
    for name in (None, str(tmp_path / ".take.wav.tmp")):
        with pytest.raises(OSError, match="No space left.*take.wav'$") as failure, atomic(path) as temporary:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name and str(temporary))
        assert failure.value.filename == str(path)
    with pytest.raises(FileNotFoundError, match="other.wav"), atomic(path):
        (tmp_path / "other.wav").read_bytes()


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real.txt", tmp_path / "link.txt"
    real.write_text("old")
    link.symlink_to(real)
    write_atomic(link, "new")
    assert link.is_symlink() and real.read_text() == "new"


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a", "")
    (tmp_path / "b").write_text("")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


@pytest.mark.parametrize("name", ["missing/x.txt", "."])
def test_a_place_where_no_file_can_be_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(OSError, match="folder"):
        write_atomic(tmp_path / name, "")
    assert os.listdir(tmp_path) == []

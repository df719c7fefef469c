"""Datasets out of logs, and those that others made: nothing wrong gets in, and nothing in them runs."""

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from python.helpers import Command
from training.conftest import wave

from neurig.dataset import Dataset, DatasetError, collate, load, read_log, save, summary
from neurig.interaction.complaints import Complaints
from neurig.interaction.log import EventLog

START = datetime(2026, 5, 1, 20, 0, 0)


def write_log(folder: Path, rows: int = 60, dimension: int = 3, name: str = "2026-05-01T20-00-00",
              more: str = "") -> Path:
    """A log of one event every 0.25 s, whose values rise from 0 to 1, with an event of the network after each."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{dimension}d-mdrnn.log"
    lines = []
    for row in range(rows):
        time = (START + timedelta(seconds=row / 4)).isoformat()
        values = ",".join(f"{row / (rows - 1) / (index + 1)}" for index in range(dimension - 1))
        lines += [f"{time},interface,{values}", f"{time},rnn,{values}"]
    path.write_text("\n".join(lines) + "\n" + more)
    return path


def test_conformance(data: Path) -> None:
    cases = json.loads((data / "impsy/conformance/dataset.json").read_text())["cases"]
    malformed = {"log_to_dataset": 0, "malformed_rows_skipped": 3}
    assert {case["name"] for case in cases} == set(malformed)
    for case in cases:
        log = read_log(case["log_lines"], case["dimension"])
        assert log.rows.tolist() == case["expected"]
        assert log.malformed == malformed[case["name"]]


def test_what_impsy_made_and_reads(data: Path, tmp_path: Path) -> None:
    source = data / "impsy/training-dataset-4d-12ksmall.npz"
    with np.load(source, allow_pickle=True) as trusted:
        expected = list(trusted["perfs"])
    found = load(source)
    assert (found.dimension, found.rows) == (4, 12074)
    save(found, tmp_path / "copy.npz")
    with np.load(tmp_path / "copy.npz", allow_pickle=True) as trusted:
        copied = trusted["perfs"]
    assert copied.dtype == object and copied.shape == (len(expected),)
    for one, other, third in zip(expected, found.performances, copied, strict=True):
        assert other.dtype == third.dtype == np.float32
        assert np.array_equal(one, other) and np.array_equal(one, third)


def test_rows_and_values_of_logs(tmp_path: Path) -> None:
    for name in ("2026-05-02T10-00-00", "2026-05-01T10-00-00"):
        write_log(tmp_path, rows=60 if "-02T" in name else 80, name=name)
    write_log(tmp_path, dimension=5)
    (tmp_path / "notes.txt").write_text("not a log")
    made = collate(tmp_path, 3)
    assert made.logs == 2 and not made.notices
    assert [len(rows) for rows in made.dataset.performances] == [79, 59]  # in the order of time
    rows = made.dataset.performances[1]
    assert rows.dtype == np.float32
    assert np.allclose(rows[:, 0], 0.25) and np.allclose(rows[:, 1], np.arange(1, 60) / 59)
    assert np.allclose(rows[:, 2], rows[:, 1] / 2)
    assert made.dataset.seconds == pytest.approx(0.25 * (79 + 59))


def test_what_neurig_logs(tmp_path: Path) -> None:
    log = EventLog(tmp_path, 3, now=100, complain=Complaints("log"), name="hand")
    log.write("partial", [0.5, None], 100.25)
    for event in range(60):
        log.write("interface", [event / 59, 0.5], 101 + event / 8)
        log.write("rnn", [0.25, 0.75], 101 + event / 8 + 0.01)
        log.write("other", [0.25, 0.75], 101 + event / 8 + 0.02)
    log.close()
    made = collate(tmp_path)
    assert not [notice for notice in made.notices if "x2 is always 0.5" not in notice]
    rows = made.dataset.performances[0]
    assert np.allclose(rows[:, 0], 0.125) and np.allclose(rows[:, 1], np.arange(1, 60) / 59)


def test_broken_lines_are_counted_and_left_out(tmp_path: Path) -> None:
    end = (START + timedelta(seconds=16)).isoformat()
    bad = ["", f"{end},interface,0.5", f"{end},interface,nan,0.5", f"{end},interface,0.5,inf", f"{end},interface,a,b",
           "yesterday,interface,0.5,0.5", f"{end}+02:00,interface,0.5,0.5", f"{end}", "interface", "\xff\xfe,\0",
           end[:9]]
    write_log(tmp_path, more="\n".join([*bad, f"{end},interface,0.5,0.25,0.75", "\0" * 512]))
    made = collate(tmp_path)
    rows = made.dataset.performances[0]
    assert len(rows) == 60 and np.allclose(rows[-1], [1.25, 0.5, 0.25])
    assert f"{len(bad) - 1} lines left out" in made.notices[0]
    assert "1 line with more than 2 values" in made.notices[1]


def test_pauses_and_clocks(tmp_path: Path) -> None:
    later, earlier = START + timedelta(minutes=2), START - timedelta(hours=1)
    more = [(later + timedelta(seconds=row)).isoformat() + f",interface,0.5,{row / 100}\n" for row in range(60)]
    more += [(earlier + timedelta(seconds=row)).isoformat() + f",interface,0.5,{row / 100}\n" for row in range(60)]
    write_log(tmp_path, more="".join(more))
    made = collate(tmp_path)
    assert [len(rows) for rows in made.dataset.performances] == [59 + 60, 59]
    assert "1 line where the clock was set back" in made.notices[0]
    assert made.dataset.gaps(5) == pytest.approx([105.25])
    assert "1 pause of more than 5 s, the longest 1 min 45 s" in summary(made.dataset)
    split = collate(tmp_path, split=10).dataset
    assert [len(rows) for rows in split.performances] == [59, 59, 59]
    assert not split.gaps(5)
    assert all((rows[:, 0] > 0).all() for rows in split.performances)


def test_remarks(tmp_path: Path) -> None:
    lines = [(START + timedelta(seconds=row)).isoformat() + f",interface,0.5,{row / 10}\n" for row in range(60)]
    (tmp_path / "a-3d-mdrnn.log").write_text("".join(lines))
    write_log(tmp_path, rows=20, name="b")
    (tmp_path / "c-3d-mdrnn.log").write_text("")
    notices = " | ".join(collate(tmp_path).notices)
    for words in ("x2 goes from 0.0263158 to 5.9: only 0 to 1 is played", "1 performance of fewer than 52 rows",
                  "c-3d-mdrnn.log: no two events"):
        assert words in notices
    (tmp_path / "b-3d-mdrnn.log").unlink()
    assert "x1 is always 0.5" in " | ".join(collate(tmp_path).notices)


@pytest.mark.parametrize(("logs", "options", "reason"), [
    (None, {}, "there is no such folder. Name the one that has the logs"),
    ([], {}, "no log's name ends in -…d-mdrnn.log. Name the folder"),
    ([], {"dimension": 4}, "there are no logs at all"),
    ([{"dimension": 3}], {"dimension": 4}, "those there are of dimension 3. Name the right --dimension"),
    ([{"dimension": 3}, {"dimension": 4}], {}, "logs of dimension 3 and 4. Choose one"),
    ([{"dimension": 65}], {}, "a dimension is 2 to 64"),
    ([{"rows": 52}], {}, "the longest of 1 performance has 51 rows, and 52 are needed. Record longer ones"),
    ([{"rows": 0}], {}, "hold no events of a player. Play with log_input = true"),
])
def test_refusals(tmp_path: Path, logs: list[dict[str, Any]] | None, options: dict[str, int], reason: str) -> None:
    folder = tmp_path / "logs"
    if logs is not None:
        folder.mkdir()
        for log in logs:
            write_log(folder, **log)
    with pytest.raises(DatasetError, match=reason.replace("(", r"\(")) as refused:
        collate(folder, **options)
    assert str(refused.value).startswith(str(folder)) and "\n" not in str(refused.value)


def test_command(command: Command, tmp_path: Path) -> None:
    write_log(tmp_path / "logs", more="torn li")
    done = command("dataset", "-D", 3)
    for words in ("datasets/training-dataset-3d.npz: 1 log, 1 performance, 59 rows, 14.8 s", "0 pauses", "dt ", "x2 ",
                  "highest"):
        assert words in done.stdout.replace(os.sep, "/")
    assert "1 line left out" in done.stderr
    assert load(tmp_path / "datasets/training-dataset-3d.npz").rows == 59
    command("dataset", "-S", "logs", "-O", "elsewhere/deep", "-F", "mine.npz", "--split", 1)
    assert load(tmp_path / "elsewhere/deep/mine.npz").rows == 59
    assert "those there are of dimension 3" in command("dataset", "-D", 2, code=1).stderr
    command("dataset", "-F", "mine.txt", code=2)
    command("dataset", "-D", 1, code=2)


# ---- Files of others ------------------------------------------------------------------------------------------------


def archive(path: Path, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("perfs.npy", content)
    return path


def npy(objects: Any, shape: tuple[int, ...] = (1,), protocol: int = 4) -> bytes:
    """An array of objects as a file holds it; its pickle is that of ``objects``."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"shape": shape, "fortran_order": False, "descr": "|O"})
    pickle.dump(objects, file, protocol=protocol)
    return file.getvalue()


def nested(performances: list[Any]) -> np.ndarray:
    array = np.empty(len(performances), object)
    array[:] = performances
    return array


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("make", [
    nested,
    lambda rows: nested([np.asfortranarray(one) for one in rows]),
    lambda rows: nested([one.astype(">f8") for one in rows]),
    lambda rows: nested([one.astype(object) for one in rows]),
], ids=["as written today", "columns first", "another byte order", "objects in objects"])
def test_old_datasets(tmp_path: Path, make: Callable[[list[np.ndarray]], Any], protocol: int) -> None:
    rows = [wave(60, 3, seed=1), wave(70, 3, seed=2)]
    found = load(archive(tmp_path / "old.npz", npy(make(rows), (2,), protocol)))
    assert all(map(np.array_equal, found.performances, rows))


@pytest.mark.parametrize("count", [1, 2])
def test_performances_of_the_same_length(tmp_path: Path, count: int) -> None:
    """NumPy makes one array of objects of them, which is how IMPSY writes the dataset of a single log."""
    rows = [wave(60, 3, seed=seed) for seed in range(count)]
    for perfs in (np.array(rows, dtype=object), np.array(rows)):
        np.savez_compressed(tmp_path / "even.npz", perfs=perfs)
        assert all(map(np.array_equal, load(tmp_path / "even.npz").performances, rows))


class Touch:
    """Unpickled as it comes, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("hide", [lambda evil: evil, lambda evil: nested([evil]), lambda evil: {"perfs": evil},
                                  lambda evil: [wave(60, 3), evil]])
def test_nothing_in_a_dataset_runs(tmp_path: Path, hide: Callable[[Any], Any]) -> None:
    marker = tmp_path / "was here"
    file = archive(tmp_path / "evil.npz", npy(hide(Touch(marker))))
    with pytest.raises(DatasetError, match="it holds more than numbers"):
        load(file)
    assert not marker.exists()
    with np.load(file, allow_pickle=True) as trusting:  # it does run where it is let
        trusting["perfs"]
    assert marker.exists()


@pytest.mark.parametrize(("content", "reason"), [
    (npy(nested([])), "no performances"),
    (npy(nested([np.array(["a", "b"])])), "are not numbers"),
    (npy(nested([wave(60, 3), wave(60, 4)])), "shapes"),
    (npy(nested([np.zeros(60, np.float32)])), "shapes"),
    (npy(nested([np.zeros((60, 1), np.float32)])), "shapes"),
    (npy("perfs"), "no dataset, or a broken one"),
    (npy(nested([None])), "no dataset, or a broken one"),
    (npy(nested([wave(60, 3)]))[:-40], "no dataset, or a broken one"),
    (b"\x93NUMPY\x09\x00", "a newer one"),
    (b"", "no dataset, or a broken one"),
])
def test_what_is_no_dataset(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(DatasetError, match=reason) as refused:
        load(archive(tmp_path / "bad.npz", content))
    assert str(refused.value).startswith(str(tmp_path / "bad.npz")) and "\n" not in str(refused.value)


def test_what_is_no_archive(tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    for content in (b"", b"PK\x03\x04 and no more", b"dt,x1\n0.1,0.5\n"):
        path.write_bytes(content)
        with pytest.raises(DatasetError, match="no dataset, or a broken one"):
            load(path)
    np.savez(path, other=np.zeros(3))
    with pytest.raises(DatasetError, match="no array perfs"):
        load(path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.npz")


def test_damaged_files(tmp_path: Path) -> None:
    """Whatever bytes change: a dataset comes out, or a reason."""
    content = npy(nested([wave(60, 3, seed=1), wave(52, 3, seed=2)]), (2,), 2)
    random = np.random.default_rng(3)
    refused = 0
    for _ in range(400):
        damaged = bytearray(content)
        for place in random.integers(0, 420, random.integers(1, 4)):  # where the pickle says what is what
            damaged[place] = random.integers(256)
        try:
            assert isinstance(load(archive(tmp_path / "damaged.npz", bytes(damaged))), Dataset)
        except DatasetError:
            refused += 1
    assert refused > 200

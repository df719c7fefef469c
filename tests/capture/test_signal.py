"""The test signal: what its description says is in it."""

import resource
from pathlib import Path

import numpy as np
import pytest
import soundfile
from capture.conftest import RATE, Samples
from click.testing import CliRunner
from python.helpers import Command

from neurig.capture import signal
from neurig.cli import main


@pytest.mark.parametrize("seconds", [30, 47.3, 180, 1200])
def test_plan_is_without_gaps(seconds: float) -> None:
    passages = signal.plan(seconds)
    for passage, following in zip(passages, passages[1:], strict=False):
        assert passage.start + passage.seconds == pytest.approx(following.start)
    assert passages[0].start == 0 and passages[-1].start + passages[-1].seconds == pytest.approx(seconds)
    assert min(passage.seconds for passage in passages) >= 0.7


def test_description_has_the_times_of_the_plan() -> None:
    rows = [line.split()[:2] for line in (signal.__doc__ or "").splitlines() if line[:1].isdigit()]
    assert rows == [[f"{passage.start:.2f}", passage.name] for passage in signal.plan()]


def test_passages(whole: Samples) -> None:
    parts = [(p.name, whole[round(p.start * RATE) : round((p.start + p.seconds) * RATE)]) for p in signal.plan(30)]
    by_name = dict(parts)
    assert len(whole) == 30 * RATE and np.abs(whole).max() == pytest.approx(10 ** (-1 / 20))
    for name, part in parts:
        if name == "clicks":
            assert np.flatnonzero(part).tolist() == [RATE // 4, 3 * RATE // 4]
        elif name == "silence":
            assert not part.any()
        else:
            assert 0.01 < np.sqrt(np.mean(part**2)) < 0.5, name
    assert np.array_equal(by_name["phrase"], by_name["repeat"])
    levels = np.abs(by_name["strings"][: 11 * RATE]).reshape(-1, RATE // 4).max(axis=1)
    assert levels.max() > 0.5 and np.quantile(levels, 0.2) < 0.05  # loud and soft


def test_make(whole: Samples, command: Command, tmp_path: Path) -> None:
    shown = command("capture", "make", "test.wav", "--seconds", 30, "--seed", 3).stdout
    with soundfile.SoundFile(tmp_path / "test.wav") as file:
        assert (file.samplerate, file.channels, file.subtype, len(file)) == (RATE, 1, "PCM_24", 30 * RATE)
        assert signal.described(file.comment) == signal.plan(30)
        assert np.abs(file.read() - whole).max() < 2**-23  # the same seed: the same signal
    assert all(passage.name in shown for passage in signal.plan(30))


def test_other_rate_and_seed(whole: Samples) -> None:
    other = signal.signal(30, 44100, seed=4)
    assert len(other) == 30 * 44100 and np.abs(other).max() == pytest.approx(10 ** (-1 / 20))
    assert np.flatnonzero(other)[:2].tolist() == [44100 // 4, 3 * 44100 // 4]
    ours, theirs = (samples[3 * rate : 7 * rate] for samples, rate in ((whole, RATE), (other, 44100)))
    quiet = [np.abs(part.reshape(-1, len(part) // 40)).max(axis=1) for part in (ours, theirs)]
    assert np.corrcoef(*quiet)[0, 1] < 0.9  # another phrase


@pytest.mark.parametrize(("options", "message"), [
    (["test.flac"], "has to end in .wav"),
    (["test.wav", "--seconds", "5"], "30<=x<=1200"),
    (["test.wav", "--rate", "8000"], "22050<=x<=192000"),
    (["missing/test.wav"], "there is no folder"),
])
def test_what_cannot_be_made(tmp_path: Path, options: list[str], message: str) -> None:
    run = CliRunner().invoke(main, ["capture", "make", str(tmp_path / options[0]), *options[1:]])
    assert run.exit_code and message in run.stderr
    assert not list(tmp_path.iterdir())


def test_a_full_disk_keeps_the_old_file(command: Command, tmp_path: Path) -> None:
    (tmp_path / "test.wav").write_text("old")
    done = command("capture", "make", "test.wav", "--seconds", "30", code=1,
                   preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000)))
    assert done.stderr.startswith("Error: test.wav: the disk is full")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize("comment", ["", "on Sunday", "[]", '{"signal": "other"}', '{"signal": "neurig capture"}'])
def test_other_comments(comment: str) -> None:
    assert signal.described(comment) is None

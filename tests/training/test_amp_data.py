"""Recordings for an amp: put in time and split where they are sound, refused with the reason where they are not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from capture.conftest import RATE, Samples, delayed, device
from capture.conftest import playing, whole  # noqa: F401 - fixtures

from neurig.capture import signal
from neurig.training import TrainingError
from neurig.training.amp_data import LEVEL, Pair, Part, Windows, load

Writer = Callable[..., Pair]


@pytest.fixture
def pair(tmp_path: Path) -> Writer:
    """Writes a pair."""

    def write(x: Samples, y: Samples, name: str = "a", rate: int = RATE, **knobs: float) -> Pair:
        paths = tmp_path / f"{name}-in.wav", tmp_path / f"{name}-out.wav"
        for path, samples in zip(paths, (x, y), strict=True):
            soundfile.write(path, samples, rate, "PCM_24")
        return Pair(*paths, knobs)

    return write


def test_it_is_put_in_time_and_split(playing: Samples, pair: Writer) -> None:  # noqa: F811
    said: list[str] = []
    data = load([pair(playing, delayed(device(playing), 37))], notice=said.append)
    (learned,), (validation,), (test,) = data.learned, data.validation, data.test
    n = 10 * RATE - 37
    assert (len(learned), len(validation)) == (n - 2 * round(n / 5), round(n / 5))
    assert len(learned) + len(validation) + len(test) == n
    assert validation.start == len(learned) and test.start == len(learned) + len(validation)
    assert data.rate == RATE and data.knobs == () and data.seconds == pytest.approx(0.6 * n / RATE, abs=1e-3)
    expected = device(playing)
    assert np.abs(test.target[test.judged] - expected[test.start + 8192 : n]).max() < 1e-3
    assert any("late by 37" in line and "37 were removed" in line for line in said)
    assert any("12 s" in line or "10 s are little" in line for line in said)
    loud = np.concatenate([part.target[part.start :] for part in data.learned]) * data.scale()
    assert np.sqrt(np.mean(loud**2)) == pytest.approx(LEVEL, rel=1e-4)


def test_files_of_their_own_for_validation_and_test(playing: Samples, pair: Writer) -> None:  # noqa: F811
    pairs = [pair(playing[i * 3 * RATE :][: 3 * RATE], device(playing)[i * 3 * RATE :][: 3 * RATE], str(i))
             for i in range(3)]
    data = load(pairs[:1], pairs[1:2], pairs[2:])
    lengths = [len(parts[0]) for parts in (data.learned, data.validation, data.test)]
    assert lengths == pytest.approx([3 * RATE] * 3, abs=5)
    data = load(pairs[:1], validation=pairs[1:2])
    assert len(data.learned[0]) == pytest.approx(0.8 * 3 * RATE, abs=5) and len(data.validation[0]) > 2.9 * RATE
    assert data.test[0].start == len(data.learned[0])


def silent(x: Samples) -> tuple[Samples, Samples]:
    return x, np.zeros_like(x)


def swapped(x: Samples) -> tuple[Samples, Samples]:
    return delayed(device(x), 60), x


def short(x: Samples) -> tuple[Samples, Samples]:
    return x[: 2 * RATE], device(x)[: 2 * RATE]


def clipped(x: Samples) -> tuple[Samples, Samples]:
    return x, (4 * device(x)).clip(-1, 1)


def bypassed(x: Samples) -> tuple[Samples, Samples]:
    return x, x


def unrelated(x: Samples) -> tuple[Samples, Samples]:
    return x, np.random.default_rng(1).normal(0, 0.1, len(x))


@pytest.mark.parametrize("spoil, words", [
    (silent, "out.wav is silent .* Look to cables"), (swapped, "order IN OUT"),
    (short, "2.0 s, and at least 3 s are needed"), (clipped, "out.wav is clipped: .* Lower the level"),
    (bypassed, "is a copy of .* bypassed"), (unrelated, "is no answer to"),
])
def test_what_cannot_be_trained_on(playing: Samples, pair: Writer,  # noqa: F811
                                   spoil: Callable[[Samples], tuple[Samples, Samples]], words: str) -> None:
    with pytest.raises(TrainingError, match=words) as problem:
        load([pair(*spoil(playing))])
    assert "\n" not in str(problem.value)


def test_own_signal_swapped(pair: Writer, tmp_path: Path) -> None:
    """Where the test signal says what it is, even files without any latency cannot be mistaken."""
    signal.make(tmp_path / "signal.wav", 30, RATE, seed=3)
    played = soundfile.read(tmp_path / "signal.wav")[0]
    soundfile.write(tmp_path / "out.wav", device(played), RATE, "PCM_24")
    with pytest.raises(TrainingError, match="order IN OUT"):
        load([Pair(tmp_path / "out.wav", tmp_path / "signal.wav")])


@pytest.mark.parametrize("content, words", [
    (b"", "Save it as WAV"), (b"RIFF\x24\x00\x00\x00WAVEfmt ", "it is damaged .* record it again"),
    (b"\x00" * 5000, "Save it as WAV"), (None, "there is no such file")])
def test_corrupt_files(playing: Samples, pair: Writer, tmp_path: Path, content: bytes | None,  # noqa: F811
                       words: str) -> None:
    broken = tmp_path / "broken.wav"
    if content is not None:
        broken.write_bytes(content)
    good = pair(playing, device(playing))
    for one in (Pair(good.input, broken), Pair(broken, good.output)):
        with pytest.raises(TrainingError, match=f"broken.wav: .*({words})"):
            load([one])


def test_a_file_that_was_cut(playing: Samples, pair: Writer) -> None:  # noqa: F811
    """A recorder that was switched off: the header promises more than is there."""
    good = pair(playing, device(playing))
    content = good.output.read_bytes()
    good.output.write_bytes(content[: len(content) // 2 + 1])
    said: list[str] = []
    assert load([good], notice=said.append).seconds == pytest.approx(3, abs=0.01)
    assert any("5.0 s" in line and "have no answer" in line for line in said)


def test_pairs_that_do_not_fit_together(playing: Samples, pair: Writer) -> None:  # noqa: F811
    x, y = playing[: 4 * RATE], device(playing)[: 4 * RATE]
    with pytest.raises(TrainingError, match="knobs are tone, those of the first pair gain"):
        load([pair(x, y, "a", gain=0.3), pair(x, y, "b", tone=0.3)])
    with pytest.raises(TrainingError, match="knobs are none, those of the first pair gain"):
        load([pair(x, y, "a", gain=0.3), pair(x, y, "b")])
    with pytest.raises(TrainingError, match="gain is at 1.5"):
        load([pair(x, y, gain=1.5)])
    with pytest.raises(TrainingError, match="44100 Hz, .* 48000 Hz"):
        load([pair(x, y), pair(x, y, "b", rate=44100)])
    with pytest.raises(TrainingError, match="no pair"):
        load([])
    quiet = np.concatenate([x, np.zeros(4 * RATE)])
    with pytest.raises(TrainingError, match="validate with is silent"):
        load([pair(quiet, device(quiet))])


def test_windows() -> None:
    """Every stretch lies in one part, with its knobs; the same seeds give the same ones; targets are scaled."""
    ramps = [np.arange(1000, dtype=np.float32), np.arange(5000, 5400, dtype=np.float32)]
    parts = [Part(ramp, 2 * ramp, np.array([knob], np.float32), start=100 * (knob > 0.5))
             for ramp, knob in zip(ramps, (0.25, 0.75), strict=True)]
    windows = Windows(parts, 0.5)
    assert (len(windows), windows.shortest()) == (1300, 300)
    seen = []
    for step in range(200):
        starts, part = windows.draw(8, 50, 1, step)
        inputs, target = windows.take(starts, part, 50, 10)
        assert inputs.shape == (8, 2, 50) and target.shape == (8, 40)
        assert (target == inputs[:, 0, 10:]).all() and (inputs[:, 0].diff() == 1).all()
        assert (inputs[:, 1] == (0.25 + 0.5 * (inputs[:, 0, :1] >= 5000))).all()
        seen += inputs[:, 0, 0].tolist()
    assert min(seen) < 10 and 940 < max(s for s in seen if s < 5000) <= 950
    assert 5100 <= min(s for s in seen if s >= 5000) < 5110 and 5340 < max(seen) <= 5350
    again = windows.draw(8, 50, 1, 199)[0]
    assert (again == starts).all() and (windows.draw(8, 50, 2, 199)[0] != starts).any()

"""The nodes, sample by sample, in pyo's graph on its manual server."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from scipy import signal

import neurig
from neurig.files import share
from rig.render import play, render

RATE = 48000
Signal = NDArray[np.float32]


def sine(frequency: float, seconds: float, level: float = 0.5) -> Signal:
    return (level * np.sin(2 * np.pi * frequency * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


@pytest.fixture(scope="module")
def noise() -> Signal:
    return (np.random.default_rng(5).standard_normal(RATE // 2) * 0.1).astype(np.float32)


def click(y: Signal) -> float:
    """How much there is above 5 kHz at the loudest moment; a pure low tone has next to nothing there."""
    high = signal.sosfilt(signal.butter(6, 5000, "highpass", fs=RATE, output="sos"), y)
    return float(np.abs(high[500:]).max())


THROUGH = {"in": ("input", {}), "out": ("output", {})}


@pytest.mark.parametrize("block", [16, 64, 441, 1024])
def test_an_amp_sounds_as_offline(noise: Signal, block: int) -> None:
    model = neurig.load(share("models", "crunch.nam"))
    expected = model.instance(rate=RATE).process(noise)
    assert np.abs(expected).max() > 0.1
    assert np.abs(render(share("models", "crunch.nam"), noise, block=block) - expected).max() <= 1e-6


def test_an_amp_at_another_rate(noise: Signal) -> None:
    expected = neurig.load(share("models", "crunch.nam")).instance(rate=44100)
    # The converter has been running for as long as the silence before the signal.
    expected.process(np.zeros(-(-round(0.2 * 44100) // 64) * 64, np.float32))
    assert np.abs(render(share("models", "crunch.nam"), noise, rate=44100) - expected.process(noise)).max() <= 1e-6


@pytest.mark.parametrize("name", ["BossWN-standard.nam", "BossLSTM-1x16.nam", "linear_10.nam"])
def test_families_sound_as_offline(data: Path, noise: Signal, name: str) -> None:
    expected = neurig.load(data / "amps" / name).instance(rate=RATE)
    expected.process(np.zeros(round(0.2 * RATE), np.float32))
    assert np.abs(render(data / "amps" / name, noise) - expected.process(noise)).max() <= 1e-6


def test_a_models_own_knob(data: Path, noise: Signal) -> None:
    """Given when it is made, turned while it plays, and kept when a model with the same knob takes its place."""
    path = data / "amps" / "HT40_Overdrive.json"
    expected = neurig.load(path).instance(rate=RATE)
    expected.set("knob1", 0.9)
    expected.process(np.zeros(round(0.2 * RATE), np.float32))
    nodes = THROUGH | {"amp": ("amp", {"model": str(path), "knob1": 0.9})}
    chain = [("in", "amp"), ("amp", "out")]
    assert np.abs(play(nodes, chain, noise)[:, 0] - expected.process(noise)).max() <= 1e-6
    x = sine(150, 1.2)
    turned = play(
        nodes,
        chain,
        x,
        [
            (24050, "set", "amp", "knob1", 0.1, 0.0),
            (38400, "put", "amp", "amp", "model", str(data / "amps" / "TS9.json")),
        ],
    )[:, 0]
    assert np.abs(turned[30000:36000] - turned[18000:24000]).max() > 1e-2
    ts9 = neurig.load(data / "amps" / "TS9.json").instance(rate=RATE)
    ts9.set("knob1", 0.1)
    assert np.abs(turned[-4800:] - ts9.process(x)[-4800:]).max() < 1e-4


def test_straight_through(noise: Signal) -> None:
    y = play(THROUGH, [("in", "out")], noise)
    assert np.array_equal(y[:, 0], noise) and np.array_equal(y[:, 1], noise)


def test_a_cabinet_has_no_latency(noise: Signal) -> None:
    path = share("models", "open-back.wav")
    response, rate = soundfile.read(path)
    assert rate == RATE
    response *= 10 ** (neurig.load(path).info["metadata"]["normalised_by_db"] / 20)
    y = play(THROUGH | {"cab": ("ir", {"file": str(path)})}, [("in", "cab"), ("cab", "out")], noise)
    expected = signal.fftconvolve(noise, response)[: len(noise)]
    assert np.abs(y[:, 0] - expected).max() < 1e-5
    half = play(
        THROUGH | {"cab": ("ir", {"file": str(path), "mix": 0.25, "out": 6.0})}, [("in", "cab"), ("cab", "out")], noise
    )
    assert np.abs(half[:, 0] - (0.75 * noise + 0.25 * 10 ** (6 / 20) * expected)).max() < 1e-5


def test_the_sides_of_a_stereo_cabinet(noise: Signal, tmp_path: Path) -> None:
    left, right = (np.random.default_rng(seed).normal(0, np.exp(-np.arange(500) / 50)) for seed in (1, 2))
    soundfile.write(tmp_path / "stereo.wav", np.stack([left, right], axis=1), RATE, "FLOAT")
    gain = 10 ** (neurig.load(tmp_path / "stereo.wav").info["metadata"]["normalised_by_db"] / 20)
    nodes = THROUGH | {"cab": ("ir", {"file": str(tmp_path / "stereo.wav"), "side": 0.0})}
    y = play(nodes, [("in", "cab"), ("cab", "out")], noise, [(12000, "set", "cab", "side", 1.0, 0.1)])[:, 0]
    for part, taps in ((slice(0, 11000), left), (slice(18000, None), right)):
        expected = gain * signal.fftconvolve(noise, taps)[: len(noise)]
        assert np.abs(y - expected)[part].max() < 1e-4 * np.abs(expected).max()


def test_order_of_making_does_not_matter(noise: Signal) -> None:
    """Made and connected from the end to the beginning, and mixed natively and by pyo's objects: no block is lost."""
    nodes = {
        "out": ("output", {}),
        "d": ("gain", {}),
        "c": ("amp", {"bypass": 1}),
        "b": ("gain", {}),
        "a": ("recorder", {}),
        "in": ("input", {}),
    }
    connections = [("d", "out"), ("c", "d"), ("b", "c"), ("a", "b"), ("in", "a")]
    y = play(nodes, connections, noise)
    assert np.array_equal(y[:, 0], noise)


def test_inputs_are_mixed(noise: Signal) -> None:
    nodes = THROUGH | {"other": ("input", {"channel": 2}), "half": ("gain", {"gain": -6.0206})}
    y = play(nodes, [("in", "out"), ("other", "half"), ("half", "out")], noise)
    assert np.abs(y[:, 0] - noise / 2).max() < 1e-6


def test_connecting_a_sounding_chain_elsewhere_costs_nothing(noise: Signal) -> None:
    """A node that sounds is put before another one that was made first: nothing is heard twice, or late."""
    nodes = {"late": ("gain", {}), "in": ("input", {}), "early": ("gain", {}), "out": ("output", {})}
    y = play(
        nodes,
        [("in", "early"), ("early", "out")],
        noise,
        [(9600, "connect", ("early", "late")), (12000, "connect", ("late", "out"))],
    )
    assert np.array_equal(y[:11900, 0], noise[:11900])
    assert np.array_equal(y[14400:, 0], 2 * noise[14400:])


@pytest.mark.parametrize(
    ("node", "values", "param", "value"),
    [
        (("gain", {}), {}, "gain", -20.0),
        (("gate", {"threshold": -50.0}), {}, "threshold", -70.0),
        (("amp", {"model": "half"}), {}, "gain", 6.0),
        (("amp", {"model": "half"}), {}, "out", -12.0),
        (("amp", {"model": "half"}), {}, "bypass", 1),
        (("ir", {"file": "cab"}), {}, "mix", 0.0),
        (("ir", {"file": "cab"}), {}, "bypass", 1),
        (("delay", {"time": 100.0}), {}, "time", 237.0),
        (("delay", {"time": 100.0}), {}, "feedback", 0.9),
        (("delay", {"time": 100.0}), {}, "mix", 1.0),
        (("reverb", {}), {}, "size", 0.9),
        (("reverb", {}), {}, "mix", 0.9),
        (("limiter", {"ceiling": -1.0}), {}, "ceiling", -12.0),
        (("output", {}), {}, "gain", -20.0),
        (("output", {}), {}, "channel", 2),
        (("input", {}), {}, "channel", 2),
    ],
)
def test_setting_a_parameter_never_clicks(
    amp_file: Callable[..., Path], node: tuple, values: dict, param: str, value: float
) -> None:
    files = {"half": str(amp_file()), "cab": str(share("models", "open-back.wav"))}
    type_name, given = node
    given = {key: files.get(item, item) for key, item in given.items()}
    nodes: dict = THROUGH | {"x": (type_name, given)}
    connections = [("in", "x"), ("x", "out")]
    if type_name in ("input", "output"):
        nodes = THROUGH | {"in" if type_name == "input" else "out": (type_name, given)}
        connections = [("in", "out")]
    name = {"input": "in", "output": "out"}.get(type_name, "x")
    x = sine(150, 1.2)
    when = 24050  # not at a zero of the sine
    y = play(nodes, connections, x, [(when, "set", name, param, value, 0.0)])[:, 0]
    assert np.abs(y[-4800:] - y[19200:24000]).max() > 1e-3 or param == "threshold", "it did not change anything"
    assert click(y[9600:]) < 2e-3


def test_a_ramp_takes_its_time(noise: Signal) -> None:
    nodes = THROUGH | {"x": ("gain", {})}
    y = play(nodes, [("in", "x"), ("x", "out")], np.ones(RATE), [(9600, "set", "x", "gain", -40.0, 0.5)])[:, 0]
    assert y[9599] == 1 and y[9600 + 12000] == pytest.approx(10 ** (-20 / 20), rel=1e-2)
    assert y[9600 + 24000 - 100] > 0.01 and y[9600 + 24000 + 64] == pytest.approx(0.01)


def test_a_ramp_of_an_amps_gain(amp_file: Callable[..., Path]) -> None:
    nodes = THROUGH | {"x": ("amp", {"model": str(amp_file())})}
    y = play(nodes, [("in", "x"), ("x", "out")], np.ones(RATE), [(9600, "set", "x", "out", -40.0, 0.5)])[:, 0]
    assert y[9600 + 12000] == pytest.approx(0.05, rel=0.25) and y[-1] == pytest.approx(0.005, rel=1e-3)
    assert np.all(np.diff(y[9600:]) <= 1e-7)


def test_changing_a_model_crossfades(amp_file: Callable[..., Path]) -> None:
    """Twenty models in a row: each takes over within its crossfade, and none makes a step."""
    gains = [0.5, 0.4, 0.6, 0.3] * 5
    files = [amp_file(f"x{gain}.nam", gain) for gain in gains]
    nodes = THROUGH | {"amp": ("amp", {"model": str(files[0])})}
    events = [(4800 * turn + 2400, "put", "amp", "amp", "model", str(file)) for turn, file in enumerate(files[1:])]
    x = np.ones(4800 * 20)
    y = play(nodes, [("in", "amp"), ("amp", "out")], x, events, check="graph.nodes[numbers['amp']]._held == 1")[:, 0]
    for turn, gain in enumerate(gains):
        assert y[4800 * turn + 2300] == pytest.approx(gain, abs=1e-6)
    assert np.abs(np.diff(y)).max() < 1.6 * 0.3 / (0.02 * RATE)


def test_connecting_and_disconnecting_never_click(noise: Signal) -> None:
    x = sine(150, 1.0)
    nodes = THROUGH | {"x": ("gain", {}), "y": ("gain", {})}
    events = [
        (9650, "connect", ("x", "out")),
        (19250, "disconnect", ("x", "out")),
        (19500, "connect", ("x", "out")),
        (28850, "remove", "x"),
        (38450, "disconnect", ("in", "out")),
    ]
    y = play(nodes, [("in", "out"), ("in", "x"), ("in", "y")], x, events)[:, 0]
    assert np.array_equal(y[:9600], x[:9600]) and np.abs(y[14400:19200] - 2 * x[14400:19200]).max() < 1e-7
    assert np.array_equal(y[33600:38400], x[33600:38400]) and np.abs(y[-4800:]).max() == 0
    assert click(y) < 1e-3


def test_from_one_rig_to_another(tmp_path: Path) -> None:
    """In a second: half-way both are heard, at its end the old one is gone, and nothing clicks."""
    for name, frequency in (("low", 100), ("high", 300)):
        soundfile.write(tmp_path / f"{name}.wav", sine(frequency, 1.0, 0.3), RATE, subtype="FLOAT")
    nodes = {"a": ("player", {"file": str(tmp_path / "low.wav")}), "o": ("output", {})}
    events = [
        (24000, "add", "b", "player", {"file": str(tmp_path / "high.wav")}),
        (24000, "add", "p", "output", {}),
        (24000, "connect", ("b", "p")),
        (24000, "crossfade", ["a", "o"], 1.0),
    ]
    y = play(nodes, [("a", "o")], np.zeros(2 * RATE), events, check="len(graph.nodes) == 2")[:, 0]

    def level(frequency: int, start: int) -> float:
        return (
            float(abs(np.mean(y[start : start + 4800] * np.exp(-2j * np.pi * frequency * np.arange(4800) / RATE)))) * 2
        )

    assert level(100, 12000) == pytest.approx(0.3, abs=1e-3) and level(300, 12000) < 1e-3
    assert level(100, 45600) == pytest.approx(0.15, abs=0.01) and level(300, 45600) == pytest.approx(0.15, abs=0.01)
    assert level(100, 76800) < 1e-6 and level(300, 76800) == pytest.approx(0.3, abs=1e-3)
    assert click(y) < 1e-3


def test_freeing_returns_everything(noise: Signal) -> None:
    """A chain is made, freed and made again: its streams are gone, and what remains still sounds."""
    events: list[tuple] = []
    for turn in range(10):
        at = 4800 * turn
        events += [
            (at, "add", f"a{turn}", "delay", {}),
            (at, "add", f"b{turn}", "amp", {}),
            (at, "add", f"c{turn}", "output", {}),
            (at + 64, "connect", ("in", f"a{turn}"), (f"a{turn}", f"b{turn}"), (f"b{turn}", f"c{turn}")),
            (at + 2000, "remove", f"b{turn}"),
            (at + 2000, "remove", f"a{turn}"),
            (at + 2100, "remove", f"c{turn}"),
        ]
    x = np.tile(noise, 3)[: 4800 * 12]
    y = play(THROUGH, [("in", "out")], x, events, check="len(graph.nodes) == 2 and len(server.getStreams()) < 22")
    assert np.array_equal(y[-4800:, 0], x[-4800:])


def test_gate(noise: Signal) -> None:
    nodes = THROUGH | {"x": ("gate", {"threshold": -40.0, "attack": 1.0, "release": 20.0})}
    loud, soft = sine(500, 0.5, 0.1), sine(500, 0.5, 0.005)  # -23 and -49 dB RMS
    y = play(nodes, [("in", "x"), ("x", "out")], np.concatenate([soft, loud, soft]))[:, 0]
    assert np.abs(y[:24000]).max() == 0
    assert np.abs(y[24000 + 2400 : 48000] - loud[2400:]).max() < 1e-4
    assert np.abs(y[-4800:]).max() < 1e-5
    assert np.argmax(np.abs(y) > 0.05) < 24000 + 480, "the gate must not delay the signal"


def test_limiter() -> None:
    nodes = THROUGH | {"x": ("limiter", {"ceiling": -6.0})}
    ceiling = 10 ** (-6 / 20)
    x = np.concatenate([sine(220, 0.5, 0.4), sine(220, 0.5, 4.0), sine(220, 1.0, 0.4)])
    y = play(nodes, [("in", "x"), ("x", "out")], x)[:, 0]
    assert np.abs(y).max() <= ceiling * (1 + 1e-6)
    assert np.array_equal(y[:24000], x[:24000]) and np.abs(y[-2400:] - x[-2400:]).max() < 1e-6
    assert np.abs(y[24000:48000]).max() > 0.99 * ceiling


def test_delay() -> None:
    nodes = THROUGH | {"x": ("delay", {"time": 100.0, "feedback": 0.5, "mix": 0.25})}
    x = np.zeros(RATE)
    x[100] = 1
    y = play(nodes, [("in", "x"), ("x", "out")], x)[:, 0]
    at = np.nonzero(np.abs(y) > 1e-3)[0]
    assert at.tolist()[:4] == [100, 4900, 9700, 14500]
    assert y[at[:4]] == pytest.approx([0.75, 0.25, 0.125, 0.0625], rel=1e-3)


@pytest.mark.parametrize("ms", [1.0, 2000.0])
def test_the_shortest_and_the_longest_delay(ms: float) -> None:
    x = np.zeros(3 * RATE)
    x[100] = 1
    y = play(THROUGH | {"x": ("delay", {"time": ms, "feedback": 0.0, "mix": 1.0})}, [("in", "x"), ("x", "out")], x)[
        :, 0
    ]
    assert np.nonzero(np.abs(y) > 1e-3)[0].tolist() == [100 + round(ms * 48)]


def test_numbers_that_are_none_stay_inside(noise: Signal, amp_file: Callable[..., Path]) -> None:
    """One NaN costs its block, and nothing after it: not the amp, not the reverb."""
    x = noise.copy()
    x[12000], x[12700] = np.nan, np.inf
    nodes = THROUGH | {"amp": ("amp", {"model": str(share("models", "crunch.nam"))}), "room": ("reverb", {})}
    y = play(nodes, [("in", "amp"), ("amp", "room"), ("room", "out")], x, check="graph.faults == 2")[:, 0]
    assert np.isfinite(y).all() and np.abs(y[-4800:]).max() > 1e-3


class TestPlayer:
    def test_loops_exactly(self, tmp_path: Path) -> None:
        clip = (np.random.default_rng(1).standard_normal(10007) * 0.1).astype(np.float32)
        soundfile.write(tmp_path / "clip.wav", clip, RATE, subtype="FLOAT")
        y = play(
            {"p": ("player", {"file": str(tmp_path / "clip.wav"), "play": 0}), "out": ("output", {})},
            [("p", "out")],
            np.zeros(RATE),
            [(960, "set", "p", "play", 1, 0.0)],
        )[:, 0]
        assert np.abs(y[:960]).max() == 0
        expected = np.tile(clip, 5)[: len(y) - 960]
        assert np.array_equal(y[960 + 960 :], expected[960:])

    def test_channels_are_mixed_and_rates_converted(self, tmp_path: Path) -> None:
        t = np.arange(44100) / 44100
        stereo = np.stack([np.sin(2 * np.pi * 441 * t), np.zeros_like(t)], axis=1) * 0.5
        soundfile.write(tmp_path / "clip.flac", stereo, 44100)
        y = play(
            {"p": ("player", {"file": str(tmp_path / "clip.flac")}), "out": ("output", {})},
            [("p", "out")],
            np.zeros(2 * RATE),
        )[:, 0]
        spectrum = np.abs(np.fft.rfft(y[:RATE] * np.hanning(RATE)))
        assert spectrum.argmax() == 441 and np.abs(y).max() == pytest.approx(0.25, abs=2e-3)
        assert click(y) < 2e-4, "the loop clicks where it begins again"

    @pytest.mark.parametrize("speed", [0.5, 1.5])
    def test_speed(self, tmp_path: Path, speed: float) -> None:
        soundfile.write(tmp_path / "clip.wav", sine(400, 1.0), RATE, subtype="FLOAT")
        y = play(
            {"p": ("player", {"file": str(tmp_path / "clip.wav"), "rate": speed}), "out": ("output", {})},
            [("p", "out")],
            np.zeros(RATE),
        )[:, 0]
        spectrum = np.abs(np.fft.rfft(y * np.hanning(RATE)))
        assert spectrum.argmax() == 400 * speed and click(y) < 1e-4

    def test_another_file_is_crossfaded_to(self, tmp_path: Path) -> None:
        for name, level in (("a", 0.5), ("b", 0.2), ("c", 0.7)):
            soundfile.write(tmp_path / f"{name}.wav", np.full(5000, level), RATE, subtype="FLOAT")
        events = [
            (4800, "put", "p", "player", "file", str(tmp_path / "b.wav")),
            (4864, "put", "p", "player", "file", str(tmp_path / "c.wav")),
        ]
        y = play(
            {"p": ("player", {"file": str(tmp_path / "a.wav")}), "out": ("output", {})},
            [("p", "out")],
            np.zeros(RATE),
            events,
        )[:, 0]
        assert y[4700] == pytest.approx(0.5) and y[-1] == pytest.approx(0.7) and np.abs(np.diff(y)).max() < 0.002


@pytest.mark.parametrize(
    ("type_name", "content", "problem"),
    [
        ("amp", None, "no such file|No such file"),
        ("ir", None, "no such file|No such file"),
        ("player", None, "."),
        ("amp", b"", "."),
        ("ir", b"", "."),
        ("player", b"", "."),
        ("amp", b"{}", "."),
        ("ir", b"RIFF", "."),
        ("player", b"RIFF....WAVE", "."),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, type_name: str, content: bytes | None, problem: str) -> None:
    from neurig.rig.errors import RigError
    from neurig.rig.graph import read

    path = tmp_path / "file.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RigError, match=problem) as caught:
        read(type_name, str(path), RATE, 64)
    assert caught.value.code == "bad_file" and "file.wav" in caught.value.text


@pytest.mark.parametrize(("level", "gain"), [("raw", 0), ("normalised", -6), ("calibrated", (10 - 18) + (6 - 10))])
def test_an_amps_level(tmp_path: Path, level: str, gain: float) -> None:
    """As the file's metadata has it; changed while it plays, it glides."""
    path = tmp_path / "half.nam"
    path.write_text(json.dumps({
        "architecture": "Linear", "config": {"receptive_field": 1, "bias": False}, "weights": [0.5], "sample_rate": RATE,
        "metadata": {"loudness": -12, "input_level_dbu": 18, "output_level_dbu": 6},
    }))
    nodes = THROUGH | {"amp": ("amp", {"model": str(path), "dbu": 10})}
    y = play(nodes, [("in", "amp"), ("amp", "out")], sine(440, 0.5), events=[(RATE // 4, "set", "amp", "level", level, 0.0)])[:, 0]
    loudest = [np.abs(part).max() for part in (y[: RATE // 4], y[RATE // 3 :])]
    assert loudest == pytest.approx([0.25, 0.25 * 10 ** (gain / 20)], rel=1e-3)
    assert click(y) < 0.01


def test_a_recording_longer_than_a_wav_can_be_goes_on_in_another_file(tmp_path: Path) -> None:
    path, full = tmp_path / "take.wav", (1 << 30) - 90_000  # samples: 4 bytes each, of the 2³² that a WAV holds
    soundfile.write(path, np.zeros(0), 48000, "FLOAT")
    head = bytearray(path.read_bytes())
    for place, size in (4, len(head) - 8 + 4 * full), (len(head) - 4, 4 * full):
        head[place : place + 4] = size.to_bytes(4, "little")
    with path.open("wb") as file:  # a hole, which takes no room on the disk
        file.write(head)
        file.truncate(len(head) + 4 * full)
    assert soundfile.info(path).frames == full
    x = np.random.default_rng(1).uniform(-1, 1, 192_000).astype(np.float32)
    events = [(0, "record", "take", str(path), True), (len(x) - 64, "stop", "take")]
    ended = "not graph.nodes[numbers['take']].recording.wait(10)"
    play({"in": ("input", {}), "take": ("recorder", {})}, [("in", "take")], x, events, check=ended)
    with soundfile.SoundFile(path) as file:
        file.seek(full)
        first = file.read(dtype="float32")
    second, _ = soundfile.read(tmp_path / "take-2.wav", dtype="float32")
    assert path.stat().st_size < 1 << 32 and len(first)
    np.testing.assert_array_equal(np.concatenate([first, second]), x[: len(first) + len(second)])
    assert len(first) + len(second) >= len(x) - 128

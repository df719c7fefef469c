"""NeuralAmp in scsynth -N and supernova --nrt: the samples that Python gives; replacing, failing and freeing."""

import json
from pathlib import Path

import numpy as np
import pytest

import neurig
from neurig import files
from sc.render import SERVERS, UGen, message, perform, render, synthdef

RATE = 48000
XFADE = 960  # samples

pytestmark = pytest.mark.parametrize("server", SERVERS)


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    """Half a second of plucks in noise."""
    random = np.random.default_rng(7)
    time = np.arange(RATE // 2) / RATE
    plucks = np.exp(-6 * (time % 0.13)) * np.sin(2 * np.pi * 196 * time)
    return (0.4 * plucks + 0.02 * random.standard_normal(len(time))).astype(np.float32)


def write_lstm(path: Path, seed: int, rate: int = RATE) -> Path:
    """A small recurrent amp: its output depends on all that it has heard."""
    units = 4
    count = 4 * units * (1 + units) + 4 * units + 2 * units + units + 1
    weights = np.random.default_rng(seed).normal(0, 0.6, count).astype(np.float32).tolist()
    config = {"input_size": 1, "hidden_size": units, "num_layers": 1}
    amp = {"version": "0.5.4", "architecture": "LSTM", "config": config, "weights": weights, "sample_rate": rate}
    path.write_text(json.dumps(amp))
    return path


@pytest.fixture
def a(tmp_path: Path) -> Path:
    return write_lstm(tmp_path / "a.nam", 1)


@pytest.fixture
def b(tmp_path: Path) -> Path:
    return write_lstm(tmp_path / "b.nam", 2)


def play(path: Path, x: np.ndarray, rate: int = RATE) -> np.ndarray:
    return neurig.load(path).instance(rate).process(x)


@pytest.mark.parametrize("block", [1, 64, 256])
def test_same_samples_as_python(server: str, block: int, x: np.ndarray) -> None:
    path = files.share("models", "crunch.nam")
    y = render(path, x, RATE, server, block)
    assert np.abs(y).max() > 0.01
    np.testing.assert_allclose(y, play(path, x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("block", [1, 7, 1024])
def test_other_sample_rate(server: str, block: int, x: np.ndarray, a: Path) -> None:
    y = render(a, x, 44100, server, block)
    np.testing.assert_allclose(y, play(a, x, 44100), rtol=0, atol=1e-6)


def test_gain_out_and_bypass(server: str, x: np.ndarray, a: Path) -> None:
    y = render(a, x, RATE, server, gain=6, out=-12)
    np.testing.assert_allclose(y, play(a, x * 10 ** (6 / 20)) * 10 ** (-12 / 20), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(render(a, x, RATE, server, bypass=1, gain=6), x)


def write_knob(path: Path) -> Path:
    """A model with a knob."""
    units, random = 4, np.random.default_rng(5)
    shapes = {"rec.weight_ih_l0": (4 * units, 2), "rec.weight_hh_l0": (4 * units, units), "rec.bias_ih_l0": 4 * units,
              "rec.bias_hh_l0": 4 * units, "lin.weight": (1, units), "lin.bias": 1}  # fmt: skip
    state = {name: random.normal(0, 0.6, shape).tolist() for name, shape in shapes.items()}
    about = {"model": "SimpleRNN", "input_size": 2, "skip": 0, "output_size": 1, "unit_type": "LSTM", "num_layers": 1,
             "hidden_size": units, "bias_fl": True}  # fmt: skip
    path.write_text(json.dumps({"model_data": about, "state_dict": state}))
    return path


def test_knobs(server: str, x: np.ndarray, tmp_path: Path) -> None:
    """Its own default where none is given, what is given otherwise; surplus knobs are nothing."""
    path = write_knob(tmp_path / "knob.json")
    instance = neurig.load(path).instance(RATE)
    default = instance.process(x)
    np.testing.assert_allclose(render(path, x, RATE, server), default, rtol=0, atol=1e-6)
    instance.reset()
    instance.set(0, 0.9)
    turned = instance.process(x)
    np.testing.assert_allclose(render(path, x, RATE, server, p0=0.9, p1=0.3), turned, rtol=0, atol=1e-6)
    assert np.abs(turned - default).max() > 0.01


@pytest.mark.parametrize("block", [1, 64])
def test_gains_at_audio_rate(server: str, block: int, x: np.ndarray, a: Path) -> None:
    """They hold for each sample, and bypass gives the input as it is."""
    swing = (12 * np.sin(np.arange(len(x)) * 0.2)).astype(np.float32)
    gain = 10 ** (swing / 20)
    y = render(a, x, RATE, server, block, gain=swing, out=-6)
    np.testing.assert_allclose(y, play(a, (x * gain).astype(np.float32)) * 10 ** (-6 / 20), rtol=0, atol=1e-6)
    y = render(a, x, RATE, server, block, gain=swing, out=-swing)
    np.testing.assert_allclose(y, play(a, (x * gain).astype(np.float32)) / gain, rtol=0, atol=4e-6)
    np.testing.assert_array_equal(render(a, x, RATE, server, block, out=swing, bypass=1), x)
    wild = np.tile(np.array([np.nan, np.inf, -np.inf, 1e30], np.float32), len(x) // 4)
    y = render(a, x, RATE, server, block, gain=wild, out=wild)
    assert np.isfinite(y).all()


def test_bypass_beside_a_gain_at_audio_rate_crossfades(server: str, x: np.ndarray, a: Path) -> None:
    gain = np.full(len(x), 6, np.float32)
    events = [(0.2, [message("/n_set", 1000, "bypass", 1.0)])]
    expected = render(a, x, RATE, server, events=events, gain=6)
    np.testing.assert_allclose(render(a, x, RATE, server, events=events, gain=gain), expected, rtol=0, atol=1e-5)


def test_a_knob_at_audio_rate(server: str, x: np.ndarray, tmp_path: Path) -> None:
    path = write_knob(tmp_path / "knob.json")
    knob = (0.5 + 0.5 * np.sin(np.arange(len(x)) * 0.01)).astype(np.float32)
    instance, expected = neurig.load(path).instance(RATE), np.zeros_like(x)
    for i, value in enumerate(knob):
        instance.set(0, float(value))
        expected[i] = instance.process(x[i : i + 1])[0]
    y = render(path, x, RATE, server, 256, p0=knob)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-6)
    assert np.abs(y - render(path, x, RATE, server, p0=0.5)).max() > 0.01


def test_latency(server: str, a: Path, tmp_path: Path) -> None:
    """Of models at the server's rate and at another, of a slot that is empty, and of slots that there are not."""
    other = write_lstm(tmp_path / "other.nam", 3, 32000)
    latency = neurig.load(other).instance(RATE).latency
    slots = [0, 1, 7, -1, 5000, float("nan")]
    units = [UGen("NeuralAmpLatency", [slot], rate) for slot in slots for rate in ("scalar", "control")]
    ramps = [UGen("DC", [unit]) if unit.rate == "scalar" else UGen("K2A", [unit]) for unit in units]
    definition = synthdef("all", [*units, *ramps, UGen("Out", [0, *ramps], outputs=0)])
    score = [(0, [message("/d_recv", definition), message("/cmd", "neuralamp_read", 0, str(a))]),
             (0, [message("/cmd", "neuralamp_read", 1, str(other)), message("/s_new", "all", 1000, 0, 0)]),
             (0.1, [message("/cmd", "neuralamp_free", 1)])]  # fmt: skip
    y, _ = perform(score, 0.2, server=server, channels=len(units))
    assert latency > 0
    np.testing.assert_array_equal(y[RATE // 20], [0, 0, latency, latency, *[0] * 8])
    np.testing.assert_array_equal(y[RATE * 3 // 20], [0, 0, latency, 0, *[0] * 8])


def test_replacing_crossfades(server: str, x: np.ndarray, a: Path, b: Path) -> None:
    y = render(a, x, RATE, server, events=[(0.2, [message("/cmd", "neuralamp_read", 0, str(b))])])
    before, after = play(a, x), play(b, x)
    begin = np.flatnonzero(np.abs(y - before) > 1e-6)[0]
    assert abs(begin - 0.2 * RATE) < 4 * 64
    # the new one has heard the input from the replacement on; a block's beginning was its beginning
    start = next(s for s in range(begin - 64, begin + 1) if np.abs(play(b, x[s:]) - y[s:])[XFADE:].max() < 1e-6)
    fresh = play(b, x[start:])
    share = (y[start:] - fresh)[:XFADE] / np.where(np.abs(before[start:] - fresh)[:XFADE] > 1e-3,
                                                   (before[start:] - fresh)[:XFADE], np.nan)
    assert np.nanmax(np.diff(share[~np.isnan(share)])) < 1e-3, "the old one's share only falls"
    steps = [np.abs(np.diff(signal)).max() for signal in (y[start - 1 : start + XFADE], before, after)]
    assert steps[0] < 1.5 * max(steps[1:]), "no click"


def test_replacing_faster_than_the_crossfade_ends_with_the_last(server: str, x: np.ndarray, a: Path, b: Path) -> None:
    reads = [(0.1 + 0.004 * k, [message("/cmd", "neuralamp_read", 0, str((a, b)[k % 2]))]) for k in range(10)]
    y = render(a, x, RATE, server, events=reads)
    late = slice(RATE * 3 // 10, None)  # state that was there at the replacement has died away
    np.testing.assert_allclose(y[late], play(b, x)[late], rtol=0, atol=1e-4)


def test_what_cannot_be_read_changes_nothing(server: str, x: np.ndarray, a: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.nam").write_text(a.read_text()[:-40])
    (tmp_path / "empty.nam").touch()
    arguments = [(0, str(tmp_path / "broken.nam")), (0, str(tmp_path / "empty.nam")), (0, str(tmp_path / "none.nam")),
                 (0, str(tmp_path)), (0,), (), (-1, str(a)), (1024, str(a)), (0, 7)]  # fmt: skip
    events = [(0.1, [message("/cmd", "neuralamp_read", *some) for some in arguments])]
    y = render(a, x, RATE, server, events=events)
    np.testing.assert_allclose(y, play(a, x), rtol=0, atol=1e-6)


def test_reasons_are_printed(server: str, tmp_path: Path) -> None:
    (tmp_path / "broken.nam").write_text('{"architecture": "Tube"}')
    predictor = files.share("models", "wander.mdrnn")
    reads = [(0, str(tmp_path / "broken.nam")), (0, str(predictor)), (5000, "x.nam"), (0,)]
    _, said = perform([(0, [message("/cmd", "neuralamp_read", *some) for some in reads])], 0.1, server=server)
    assert 'neuralamp_read: ' + str(tmp_path / "broken.nam") in said and "Tube" in said
    assert f"neuralamp_read: {predictor}: this model is a predictor, not an amp" in said
    assert "the number of a model is from 0 to 1023" in said
    assert "no path given" in said


def test_what_is_doubtful_about_a_file_is_printed(server: str, tmp_path: Path) -> None:
    doubtful = tmp_path / "two.nam"
    doubtful.write_text('{"architecture": "Linear", "config": {"receptive_field": 1, "out_channels": 2}, "weights": [1]}')
    _, said = perform([(0, [message("/cmd", "neuralamp_read", 0, str(doubtful))])], 0.1, server=server)
    assert f"neuralamp_read: {doubtful}: it has 2 outputs; the first is heard" in said


def test_free_fades_to_silence(server: str, x: np.ndarray, a: Path) -> None:
    y = render(a, x, RATE, server, events=[(0.2, [message("/cmd", "neuralamp_free", 0)])])
    expected = play(a, x)
    begin = np.flatnonzero(np.abs(y - expected) > 1e-6)[0]
    assert abs(begin - 0.2 * RATE) < 4 * 64
    assert not y[begin + XFADE :].any()
    assert y[begin : begin + XFADE // 2].any()


def test_units_with_nothing_to_play_are_silent(server: str, a: Path) -> None:
    """An empty slot, slots that there are not, and an input at control rate."""
    noise = UGen("WhiteNoise", [])
    control = UGen("LFNoise0", [500], "control")
    slots = [7, -1, 5000, float("nan"), 1e30]
    amps = [UGen("NeuralAmp", [noise, slot, 0, 0, 0, 0, 12, 1]) for slot in slots]
    amps.append(UGen("NeuralAmp", [control, 0, 0, 0, 0, 0, 12, 1]))
    definition = synthdef("all", [noise, control, *amps, UGen("Out", [0, *amps], outputs=0)])
    score = [(0, [message("/d_recv", definition), message("/cmd", "neuralamp_read", 0, str(a))]),
             (0, [message("/s_new", "all", 1000, 0, 0)])]  # fmt: skip
    y, said = perform(score, 0.2, server=server, channels=len(amps))
    assert y.shape[1] == len(amps) and not y.any()
    assert "slot 7 is empty" in said


def test_units_of_one_model_are_independent(server: str, a: Path) -> None:
    """Eight units play one model, each with an input of its own; half of them are freed on the way."""
    impulse = UGen("Impulse", ["freq", 0])
    amp = UGen("NeuralAmp", [impulse, 0, 0, 0, 0, 0, 12, 1])
    definition = synthdef(
        "one", [impulse, amp, UGen("Out", ["bus", amp], outputs=0), UGen("Out", ["dry", impulse], outputs=0)],
        bus=0, dry=0, freq=10,
    )  # fmt: skip
    start = [message("/d_recv", definition), message("/cmd", "neuralamp_read", 0, str(a))]
    for k in range(8):
        start.append(message("/s_new", "one", 1000 + k, 0, 0, "bus", k, "dry", 8 + k, "freq", 10.0 * (k + 1)))
    free = [message("/n_free", 1000 + k) for k in range(0, 8, 2)]
    y, _ = perform([(0, start), (0.2, free)], 0.4, server=server, channels=16)
    begin = np.flatnonzero(y[:, 8])[0]
    for k in range(8):
        expected = play(a, y[begin:, 8 + k])
        alive = slice(RATE // 10) if k % 2 == 0 else slice(None)
        np.testing.assert_allclose(y[begin:, k][alive], expected[alive], rtol=0, atol=1e-6)
        assert y[RATE // 4 :, k].any() == (k % 2 == 1)


@pytest.mark.parametrize(("level", "dbu", "gain"), [(0, 12, 0.5), (1, 12, 0.25), (2, 18, 0.5), (2, 6, 0.5)])
def test_levels(server: str, level: int, dbu: int, gain: float, x: np.ndarray, tmp_path: Path) -> None:
    """A wire: calibrated, its input and its output are changed by as much."""
    about = {"loudness": -18 + 20 * np.log10(2), "input_level_dbu": 12, "output_level_dbu": 12}
    wire = {"architecture": "Linear", "config": {"receptive_field": 1, "bias": False}, "weights": [0.5],
            "sample_rate": RATE, "metadata": about}  # fmt: skip
    (tmp_path / "wire.nam").write_text(json.dumps(wire))
    y = render(tmp_path / "wire.nam", x, RATE, server, level=level, dbu=dbu)
    np.testing.assert_allclose(y[2000:], gain * x[2000:], rtol=1e-4, atol=1e-7)


def test_sizes(server: str, x: np.ndarray, tmp_path: Path) -> None:
    def wire(gain: float) -> dict:
        return {"architecture": "Linear", "config": {"receptive_field": 1, "bias": False}, "weights": [gain],
                "sample_rate": RATE}  # fmt: skip

    sizes = [{"max_value": 0.5, "model": wire(0.25)}, {"max_value": 1, "model": wire(0.75)}]
    path = tmp_path / "sizes.nam"
    path.write_text(json.dumps({"architecture": "SlimmableContainer", "config": {"submodels": sizes}}))
    for slim, gain in ((1, 0.75), (0, 0.25)):
        y = render(path, x, RATE, server, slim=slim)
        np.testing.assert_allclose(y[2000:], gain * x[2000:], rtol=1e-5, atol=1e-7)

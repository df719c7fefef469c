"""[neuralamp~] in real Pd: the same samples as in Python, and what it answers to whatever is sent to it."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import neurig
import numpy as np
import pytest
from neurig.files import share
from numpy.typing import NDArray
from pd.render import ROOT, Patch, complaints, render, run, talk

AmpFile = Callable[..., Path]


@pytest.fixture(scope="module")
def noise() -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(0, 0.1, 12000).astype(np.float32)


# ---- Sound ----------------------------------------------------------------------------------------------------------


def offline(model: Path, x: NDArray[np.float32], rate: int, silence: int = 0) -> NDArray[np.float32]:
    """What Python makes of the signal, after so many samples of silence."""
    instance = neurig.load(model).instance(rate)
    instance.process(np.zeros(silence, np.float32))
    return instance.process(x)


@pytest.mark.parametrize("block", [1, 64, 1024])
@pytest.mark.parametrize("rate", [44100, 48000, 96000])
def test_sounds_as_in_python(noise: NDArray[np.float32], rate: int, block: int) -> None:
    model = share("models", "crunch.nam")
    expected = offline(model, noise, rate, silence=max(0, block - 64))
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(render(f"neuralamp~ {model}", noise, rate, block=block), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["BossWN-standard.nam", "BossWN-nano.nam", "BossLSTM-1x16.nam", "linear_10.nam"])
def test_every_family_sounds_as_in_python(data: Path, noise: NDArray[np.float32], name: str) -> None:
    model = data / "amps" / name
    np.testing.assert_allclose(render(f"neuralamp~ {model}", noise), offline(model, noise, 48000), rtol=0, atol=1e-6)


@pytest.mark.parametrize("rate", [44100, 48000])
@pytest.mark.parametrize(("inlets", "block"), [(1, 64), (2, 64), (5, 1), (3, 512)])
def test_channels_sound_as_each_alone(noise: NDArray[np.float32], inlets: int, block: int, rate: int) -> None:
    model, x = share("models", "crunch.nam"), noise[: inlets * (len(noise) // inlets)].reshape(-1, inlets)
    heard = render(f"neuralamp~ -ch {inlets} {model}", x, rate, block=block)
    for inlet in range(inlets):
        expected = offline(model, x[:, inlet], rate, silence=max(0, block - 64))
        np.testing.assert_allclose(heard[:, inlet], expected, rtol=0, atol=1e-6)


def test_recurrent_channels_sound_as_each_alone(data: Path, noise: NDArray[np.float32]) -> None:
    model, x = data / "amps" / "BossLSTM-1x16.nam", noise[:9000].reshape(-1, 3)
    heard = render(f"neuralamp~ -ch 3 {model}", x)
    for inlet in range(3):
        np.testing.assert_allclose(heard[:, inlet], offline(model, x[:, inlet], 48000), rtol=0, atol=1e-6)


def test_messages_go_to_all_channels(amp_file: AmpFile) -> None:
    first, second = amp_file(), amp_file("double.nam", 2)
    messages = [(0, "async 0"), (50, "gain 20"), (100, f"load {second}"), (150, "unload"), (160, "bypass 1")]
    x = np.ones((9600, 3), np.float32) * np.array([1, 0.5, -1], np.float32)
    y = render(f"neuralamp~ -xfade 5 -ch 3 {first}", x, messages=messages) / x
    np.testing.assert_array_equal(y, y[:, [1, 2, 0]])
    assert [y[time * 48, 0] for time in (0, 49, 99, 149, 159)] == pytest.approx([0.5, 0.5, 5, 20, 0], rel=1e-5)
    assert y[-1, 0] == 1


def test_the_information_comes_from_the_last_outlet(amp_file: AmpFile) -> None:
    path = amp_file()
    told = talk(f"neuralamp~ -ch 4 {path}", ["bang", "print"], outlets=[4])
    assert told[1][0] == f"out 4: loaded {path}" and any("channels 4," in line for line in told[2])


# ---- Every Pd -------------------------------------------------------------------------------------------------------


def test_in_every_pd_as_in_python(noise: NDArray[np.float32], pd: str) -> None:
    """Also two inlets."""
    model, x = share("models", "crunch.nam"), noise[:4000].reshape(-1, 2)
    for rate in (44100, 48000):
        heard = render(f"neuralamp~ -ch 2 {model}", x, rate, pd=pd)
        for inlet in range(2):
            np.testing.assert_allclose(heard[:, inlet], offline(model, x[:, inlet], rate), rtol=0, atol=1e-6)


def test_a_signal_of_several_channels(noise: NDArray[np.float32], pd: str) -> None:
    """From Pd 0.54 on; the channels of each inlet go to the same outlet, and another number of them at any time."""
    if pd == "pd":
        return
    model, x = share("models", "crunch.nam"), noise[:9000].reshape(-1, 3)
    heard = render(f"neuralamp~ {model}", x, multichannel=True, block=256, pd=pd)
    threaded = render(f"neuralamp~ -threaded 1 {model}", x, multichannel=True, messages=[(0, "async 0")], pd=pd)
    for channel in range(3):
        np.testing.assert_allclose(heard[:, channel], offline(model, x[:, channel], 48000, 192), rtol=0, atol=1e-6)
        expected = offline(model, x[:, channel], 48000)[:-64]
        np.testing.assert_allclose(threaded[64:, channel], expected, rtol=0, atol=1e-6)


# ---- Knobs ----------------------------------------------------------------------------------------------------------


def steered(model: Path, x: NDArray[np.float32], knobs: NDArray[np.float32]) -> NDArray[np.float32]:
    """What Python makes of the signal with these knobs, shape (n, knobs), of which every 64th is looked at."""
    instance, made = neurig.load(model).instance(48000), []
    for start in range(0, len(x), 64):
        for knob, value in enumerate(knobs[start]):
            instance.set(knob, value)
        made.append(instance.process(x[start : start + 64]))
    return np.concatenate(made)


def test_knobs_have_inlets_for_signals(adder_file: AmpFile, pd: str) -> None:
    """A knob is looked at every 64 samples, and stays between 0 and 1."""
    model, x = adder_file(), np.random.default_rng(2).uniform(-0.5, 1.5, (6400, 3)).astype(np.float32)
    for block in (64, 512):
        before = np.concatenate([np.zeros((block - 64, 3), np.float32), x])  # larger blocks come from silence
        expected = steered(model, before[:, 0], np.clip(before[:, 1:], 0, 1))[block - 64 :]
        assert np.ptp(expected - x[:, 0]) > 0.5
        y = render(f"neuralamp~ {model}", x, outlets=1, block=block, pd=pd)
        np.testing.assert_allclose(y[:, 0], expected, rtol=0, atol=1e-6)


def test_knob_inlets_with_several_channels_and_a_thread(adder_file: AmpFile, pd: str) -> None:
    model, x = adder_file(), np.random.default_rng(2).uniform(0, 1, (6400, 4)).astype(np.float32)
    expected = np.stack([steered(model, x[:, inlet], x[:, 2:]) for inlet in range(2)], axis=1)
    y = render(f"neuralamp~ -ch 2 {model}", x, outlets=2, pd=pd)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-6)
    y = render(f"neuralamp~ -ch 2 -threaded 5 {model}", x, outlets=2, messages=[(0, "async 0")], pd=pd)
    np.testing.assert_allclose(y[320:], expected[:-320], rtol=0, atol=1e-6)
    assert not y[:320].any()


def test_a_knob_is_where_it_was_last_turned_to(adder_file: AmpFile, pd: str) -> None:
    """By a number into its inlet, a message, or what an inlet stands at when another model comes."""
    first, second = adder_file(), adder_file("third.json", 3)
    told = knob_talk(f"neuralamp~ {first}", [
        (1, "0.25"), (0, "bang"), (0, "param knob1 0.75"), (0, "bang"), (1, "0.125"), (0, "bang"), (2, "7"),
        (0, "bang"), (0, "async 0"), (0, f"load {second}"), (0, f"load {first}"),
    ], pd)  # fmt: skip
    assert told == ["knob1 0.25 knob2 0.5", "knob1 0.75 knob2 0.5", "knob1 0.125 knob2 0.5", "knob1 0.125 knob2 1",
                    "knob1 0.125 knob2 1 knob3 0.5", "knob1 0.125 knob2 1"]  # fmt: skip


@pytest.mark.parametrize(("flags", "inlets"), [("", 2), ("-knobs 1", 1), ("-knobs 0", 0), ("-knobs 4", 4)])
def test_as_many_knob_inlets_as_asked_for(adder_file: AmpFile, flags: str, inlets: int) -> None:
    """Also where the model has fewer, or there is none yet."""
    for file in (adder_file(), "" if flags else None):
        if file is not None:
            counted = inlets if file else max(0, int((flags or "-knobs 0").split()[1]))
            knob_talk(f"neuralamp~ {flags} {file}", [(counted, "0.5")], "pd")
            with pytest.raises(AssertionError, match="connection failed"):
                knob_talk(f"neuralamp~ {flags} {file}", [(counted + 1, "0.5")], "pd")


def knob_talk(text: str, messages: list[tuple[int, str]], pd: str) -> list[str]:
    """Sends messages to inlets, and gives the params that were told."""
    patch = Patch()
    begin, amp, out = patch.obj("loadbang"), patch.obj(text), patch.obj("print out")
    patch.connect(patch.obj("osc~ 100"), amp)
    patch.connect(amp, out, 1)
    patch.at(begin, 0, "; pd dsp 1", amp)
    for number, (inlet, message) in enumerate(messages, 1):
        patch.at(begin, 10 * number, message, amp, inlet)
    patch.at(begin, 10 * len(messages) + 10, "; pd quit", amp)
    console = patch.run(pd=pd)
    assert not complaints(console), "\n".join(complaints(console))
    return [line.removeprefix("out: params ") for line in console if line.startswith("out: params")]


# ---- On a thread of its own -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("flags", "block", "rate"), [
    ("-threaded 1", 64, 48000), ("-threaded 3", 1, 48000), ("-threaded 2", 1024, 44100), ("-threaded 0", 64, 48000),
])  # fmt: skip
def test_threaded_it_sounds_the_same_some_blocks_later(
    noise: NDArray[np.float32], flags: str, block: int, rate: int, pd: str
) -> None:
    model, x = share("models", "crunch.nam"), noise[:6000]
    delay = int(flags.split()[1]) * block
    heard = render(f"neuralamp~ {flags} {model}", x, rate, block=block, messages=[(0, "async 0")], pd=pd)
    expected = offline(model, x, rate, silence=max(0, block - 64))
    np.testing.assert_allclose(heard[delay:], expected[: len(x) - delay], rtol=0, atol=1e-6)


def test_threaded_crossfades_are_as_smooth(amp_file: AmpFile) -> None:
    first, second = amp_file(), amp_file("double.nam", 2)
    messages = [(0, "async 0"), (50, f"load {second}"), (100, f"load {first}"), (101, f"load {second}"),
                (200, "unload")]
    y = render(f"neuralamp~ -threaded 8 -xfade 10 {first}", np.ones(14400, np.float32), messages=messages)
    assert y[600] == 0.5 and y[4700] == 2 and y[9500] == 2 and y[-1] == 0
    assert np.abs(np.diff(y[600:])).max() < 0.01


def test_threaded_information(amp_file: AmpFile) -> None:
    """Latency is that of conversion and thread together."""
    told = talk(f"neuralamp~ -threaded 7 {amp_file()}", ["async 0", "bang", "print"], outlets=[1])[2:]
    latency = neurig.load(amp_file()).instance(44100).latency
    assert f"out 1: latency {latency + 448}" in told[0]
    assert [line.split()[2] for line in told[0][-2:]] == ["cpu", "late"]
    assert "  on a thread of its own, 448 samples later (7 blocks of 64)" in told[1]


def test_threaded_it_takes_what_comes(amp_file: AmpFile, pd: str) -> None:
    """In real time: the signal stops and goes, and blocks and rate change while it plays."""
    inner, patch = Patch(), Patch()
    told, amp, block = inner.obj("inlet"), inner.obj(f"neuralamp~ -threaded 4 {amp_file()}"), inner.obj("block~ 64 1 1")
    inner.chain(inner.obj("osc~ 100"), amp)
    inner.connect(told, amp)
    inner.connect(amp, inner.obj("print out"), 1)
    inner.chain(inner.obj("r neurig-block"), block)
    begin, sub = patch.obj("loadbang"), patch.sub(inner)
    steps = ["; pd dsp 1", "bang", "; neurig-block set 256 1 1", "bang", "; pd dsp 0", "; pd dsp 1", "bang",
             "; neurig-block set 16 1 2", "bang", "; pd dsp 0", "bang", "; pd quit"]  # fmt: skip
    for number, text in enumerate(steps):
        patch.at(begin, 30 * number, text, sub)
    console = patch.run("-r", "48000", batch=False, pd=pd)
    assert not complaints(console)
    latencies = [int(line.split()[-1]) for line in console if line.startswith("out: latency")]
    upsampled = neurig.load(amp_file()).instance(96000).latency
    assert latencies == [256, 1024, 1024, *[latencies[3]] * 2] and latencies[3] >= upsampled + 4 * 16


def test_threaded_the_work_is_done_elsewhere(tmp_path: Path, wait_until: Callable[..., object]) -> None:
    """Eight amps: Pd's own thread uses a small part of what theirs use."""
    patch = Patch()
    begin, noise_ = patch.obj("loadbang"), patch.obj("noise~")
    for _ in range(8):
        amp = patch.obj(f"neuralamp~ -threaded 32 {share('models', 'crunch.nam')}")
        patch.connect(noise_, amp)
    patch.at(begin, 0, "; pd dsp 1", amp)
    path = tmp_path / "eight.pd"
    path.write_text(patch.text() + "\n")

    def used() -> list[int]:
        """Hundredths of a second of CPU time, Pd's own thread first."""
        stats = sorted(Path(f"/proc/{running.pid}/task").iterdir(), key=lambda thread: int(thread.name))
        fields = ((thread / "stat").read_text().rpartition(")")[2].split() for thread in stats)
        return [int(field[11]) + int(field[12]) for field in fields]

    options = ["-nogui", "-noprefs", "-noaudio", "-nomidi", "-path", str(ROOT / "pd"), "-open", str(path)]
    with subprocess.Popen(["pd", *options], stderr=subprocess.DEVNULL) as running:
        try:
            wait_until(lambda: len(used()) == 9, "eight threads", 60)
            loaded = used()[0]
            wait_until(lambda: sum(used()[1:]) > 20, "the amps to have worked", 60)
            own, *theirs = used()
        finally:
            running.kill()
    assert own - loaded < sum(theirs) / 2


def test_the_time_that_it_takes_is_told(data: Path) -> None:
    """In percent of the time that the signal lasts; of a thread of its own, too. Without a signal it is 0."""
    for flags in ("", "-threaded 16"):
        text = f"neuralamp~ {flags} {data}/amps/BossWN-standard.nam"
        told = talk(text, ["async 0", "bang", "; pd dsp 0", "bang"], outlets=[1], every=600)
        cpu = [float(line.split()[-1]) for step in told for line in step if line.startswith("out 1: cpu")]
        assert 0.1 < cpu[0] < 100 and cpu[1] == 0


def test_quality_of_rate_conversion_is_that_of_the_flag(noise: NDArray[np.float32], amp_file: AmpFile) -> None:
    model = amp_file()
    for quality in (0, 2):
        expected = neurig.load(model).instance(44100, quality).process(noise)
        heard = render(f"neuralamp~ -q {quality} {model}", noise, 44100)
        np.testing.assert_allclose(heard, expected, rtol=0, atol=1e-6)


def test_gains_and_bypass(amp_file: AmpFile) -> None:
    ones = np.ones(9600, np.float32)
    y = render(f"neuralamp~ {amp_file()}", ones, messages=[(50, "gain 20"), (100, "out -20"), (150, "bypass 1")])
    assert y[2300] == pytest.approx(0.5)
    assert y[4700] == pytest.approx(5, rel=1e-5)
    assert y[7100] == pytest.approx(0.5, rel=1e-5)
    assert y[-1] == 1
    assert np.abs(np.diff(y)).max() < 0.05  # it glides


def test_follows_the_sample_rate_and_keeps_its_settings(amp_file: AmpFile) -> None:
    """In an upsampled subpatch, whose rate is known only when the signal starts."""
    path, inner, patch = amp_file(), Patch(), Patch()
    told, amp, out = inner.obj("inlet"), inner.obj(f"neuralamp~ {path}"), inner.obj("print out")
    inner.obj("block~ 64 1 2")
    inner.chain(told, amp)
    inner.connect(amp, out, 1)
    begin, sub = patch.obj("loadbang"), patch.sub(inner)
    for ms, text in ((0, "gain 6"), (10, "; pd dsp 1"), (20, "bang, print"), (30, "; pd quit")):
        patch.at(begin, ms, text, sub)
    console = patch.run("-r", "48000")
    assert f"out: loaded {path}" in console and "out: samplerate 48000 96000" in console
    assert any("gain 6 dB" in line for line in console)


@pytest.mark.parametrize("flags", ["", "-threaded 2"])
def test_follows_pds_own_rate_while_it_plays(flags: str, pd: str) -> None:
    patch, model = Patch(), share("models", "crunch.nam")
    begin, amp = patch.obj("loadbang"), patch.obj(f"neuralamp~ {flags} {model}")
    patch.chain(patch.obj("osc~ 100"), amp)
    patch.connect(amp, patch.obj("print out"), 1)
    rates = (44100, 96000, 48000)
    for number, rate in enumerate(rates):
        patch.at(begin, 60 * number, f"; pd dsp 1, audio-dialog {'0 ' * 16} {rate} 25 0 64", amp)
        patch.at(begin, 60 * number + 30, "bang", amp)
    patch.at(begin, 180, "; pd quit", amp)
    console = patch.run(batch=False, pd=pd)
    assert not complaints(console)
    wanted = [line for line in console if line.startswith(("out: samplerate", "out: latency"))]
    told = [tuple(map(int, line.split()[2:])) for line in wanted]
    delay = 128 if flags else 0
    assert told == [value for rate in rates
                    for value in ((48000, rate), (neurig.load(model).instance(rate).latency + delay,))]  # fmt: skip


def test_without_a_model_it_is_silent() -> None:
    assert not render("neuralamp~", np.ones(1000, np.float32)).any()


def test_the_next_model_is_crossfaded_to(amp_file: AmpFile) -> None:
    first, second = amp_file(), amp_file("double.nam", 2)
    messages = [(0, "async 0"), (50, f"load {second}"), (150, "unload")]
    y = render(f"neuralamp~ -xfade 10 {first}", np.ones(9600, np.float32), messages=messages)
    changes = np.flatnonzero(np.diff(y)) / 48
    assert y[0] == 0.5 and y[4800] == 2 and y[-1] == 0
    assert changes[0] == pytest.approx(50, abs=1.5) and changes[-1] == pytest.approx(160, abs=1.5)
    assert np.count_nonzero((changes > 65) & (changes < 145)) == 0
    assert np.abs(np.diff(y)).max() < 0.01


@pytest.mark.parametrize("content", [None, "", "{", '{"architecture": "Marshall", "config": {}, "weights": []}'])
def test_a_failed_load_keeps_what_played(amp_file: AmpFile, tmp_path: Path, content: str | None) -> None:
    bad = tmp_path / "bad.nam"
    if content is not None:
        bad.write_text(content)
    patch = f"neuralamp~ {amp_file()}"
    failed = talk(patch, ["async 0", f"load {bad}", "bang"], outlets=[1])
    assert len(complaints(failed[2])) == 2  # one in the console, one from the outlet
    assert failed[2][0].startswith(f"error: neuralamp~: {bad}: ")
    assert failed[2][1].startswith(f"out 1: error {bad} ")
    assert failed[3][0] == f"out 1: loaded {amp_file()}"


def test_what_is_doubtful_about_a_file_is_said(tmp_path: Path) -> None:
    path = tmp_path / "two.nam"
    path.write_text('{"architecture": "Linear", "config": {"receptive_field": 1, "out_channels": 2}, "weights": [1]}')
    told = talk("neuralamp~", ["async 0", f"load {path}"])
    assert f"neuralamp~: {path}: it has 2 outputs; the first is heard" in told[2]


# ---- Files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["plain.nam", "two words.nam", "take 2 of 3.nam", "in/a folder/7.nam", "äöü.nam",
                                  "007 plexi 1.20.nam", "20230915 take 05.nam", "05 in/1.0 of 2/-03.50 é.nam"])
@pytest.mark.parametrize("extension", ["", ".nam"])
def test_names_of_files(amp_file: AmpFile, tmp_path: Path, name: str, extension: str) -> None:
    """Of numbers in them Pd does not keep all."""
    path = amp_file(name)
    typed = name.removesuffix(".nam") + extension
    told = talk(f"neuralamp~ {typed}", ["bang", "unload", "async 0", f"load {typed}"], outlets=[1], folder=tmp_path)
    assert not any(map(complaints, told))
    printed = str(path).replace(" ", "\\ ")
    assert told[1][0] == told[4][0] == f"out 1: loaded {printed}"


def test_home_folder(amp_file: AmpFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = amp_file("home/at-home.nam")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    numbered = amp_file("home/at home 010.nam")
    told = talk("neuralamp~ ~/at-home", ["bang", "async 0", "load ~/at home 010", "load ~/at home 011"], outlets=[1])
    assert told[1][0] == f"out 1: loaded {path}"
    assert told[3][0].replace("\\", "") == f"out 1: loaded {numbered}"
    assert told[4][0].startswith("error: neuralamp~: ~/at home 11: there is no such file")


def test_paths_of_declare_and_patches_opened_by_relative_names(
    amp_file: AmpFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = amp_file("declared/by-the-patch.nam")
    (tmp_path / "test.pd").write_text(
        "#N canvas 0 0 450 300 12;\n#X declare -path declared;\n#X obj 10 10 declare -path declared;\n"
        "#X obj 10 40 loadbang;\n#X msg 10 70 bang \\, \\; pd quit;\n#X obj 10 100 neuralamp~ by-the-patch;\n"
        "#X obj 10 130 print out;\n#X connect 1 0 2 0;\n#X connect 2 0 3 0;\n#X connect 3 1 4 0;\n"
    )
    monkeypatch.chdir(tmp_path)
    console = run(Path("test.pd"))
    assert console[0] == f"out: loaded {path}"


# ---- Messages -------------------------------------------------------------------------------------------------------


def test_information_comes_in_its_order(amp_file: AmpFile) -> None:
    path = amp_file("told.nam", loudness=-18.5)
    expected = [f"out 1: loaded {path}", "out 1: arch Linear", "out 1: samplerate 48000 44100",
                f"out 1: latency {neurig.load(path).instance(44100).latency}", "out 1: loudness -18.5", "out 1: params",
                "out 1: cpu 0"]
    told = talk("neuralamp~", ["bang", "async 0", f"load {path}", "bang", "unload"], outlets=[1])
    assert told == [[], ["out 1: unloaded"], [], expected, expected, ["out 1: unloaded"]]


def test_print_says_what_is_loaded(amp_file: AmpFile) -> None:
    path = amp_file()
    told = talk(f"neuralamp~ -xfade 7 {path}", ["gain 3", "out -4", "bypass 1", "print", "unload", "print"])
    assert f"neuralamp~: {path}" in told[4]
    assert any("gain 3 dB, out -4 dB, bypass 1, xfade 7 ms" in line for line in told[4])
    assert "neuralamp~: nothing is loaded" in told[6]


@pytest.mark.parametrize("messages, gain", [
    (["normalize 1"], -18 + 12), (["normalize 1", "normalize 0"], 0), (["calibrate 10"], (10 - 18) + (6 - 10)),
])  # fmt: skip
def test_levels(amp_file: AmpFile, messages: list[str], gain: float) -> None:
    path = amp_file(loudness=-12, input_level_dbu=18, output_level_dbu=6)
    y = render(f"neuralamp~ {path}", np.ones(9600, np.float32), messages=[(0, text) for text in messages])
    assert y[-1] == pytest.approx(0.5 * 10 ** (gain / 20), rel=1e-5)


def test_a_level_that_the_file_does_not_state_is_said(amp_file: AmpFile) -> None:
    told = talk(f"neuralamp~ {amp_file(loudness=-12)}", ["normalize 1", "calibrate 4", "calibrate loud"])
    assert told[1] == []
    assert told[2] == ["neuralamp~: the model's file does not state its input level: it plays normalised"]
    assert len(told[3]) == 1 and told[3][0].startswith("error")


def test_slim(amp_file: AmpFile, tmp_path: Path) -> None:
    """A model of two sizes, of gains 0.5 and 0.25: the smaller comes in within 20 ms, and stays for the next model."""
    def container(name: str) -> Path:
        sizes = [{"max_value": most, "model": json.loads(amp_file("part.nam", gain).read_text())}
                 for most, gain in ((0.5, 0.25), (1.0, 0.5))]
        path = tmp_path / name
        path.write_text(json.dumps({"version": "0.7.0", "architecture": "SlimmableContainer",
                                    "config": {"submodels": sizes}, "weights": [], "sample_rate": 48000}))
        return path

    first, second = container("first.nam"), container("second.nam")
    messages = [(100, "slim 0"), (300, "async 0"), (300, f"load {second}")]
    y = render(f"neuralamp~ {first}", np.ones(24000, np.float32), messages=messages)
    assert np.allclose(y[:4800], 0.5) and np.allclose(y[4800 + 1100 :], 0.25)
    assert np.abs(np.diff(y)).max() < 2 * 0.25 / 960


@pytest.mark.parametrize("message, kept", [("gain 1000", "gain 60 dB"), ("out -1000", "out -60 dB"),
                                           ("xfade -1", "xfade 0 ms"), ("bypass 7", "bypass 1")])
def test_values_out_of_range_are_clipped(message: str, kept: str) -> None:
    assert kept in talk("neuralamp~", [message, "print"])[2][-1]


@pytest.mark.parametrize("message", [
    "gain", "gain loud", "out", "out loud", "bypass", "bypass on", "xfade", "xfade long", "normalize", "calibrate",
    "slim", "slim big", "async", "async yes", "load",
    "param", "param 0", "param tone", "param tone high", "param 0 0.5", "param tone 0.5", "drive 11", "symbol crunch",
    "unload",
])  # fmt: skip
def test_wrong_messages_get_one_clear_error(amp_file: AmpFile, message: str) -> None:
    path = amp_file()
    told = talk(f"neuralamp~ {path}", [message, "bang"], outlets=[1])
    if message == "unload":  # the one right message among them: so that this test is seen to notice
        assert told[1:] == [["out 1: unloaded"], ["out 1: unloaded"]]
        return
    assert len(told[1]) == 1 and re.match(r"error: (neuralamp~: |bad arguments for message)", told[1][0]), told[1]
    assert told[2][0] == f"out 1: loaded {path}"


@pytest.mark.parametrize("text", [
    "-q 3", "-q", "-q good", "-ch 0", "-ch 65", "-ch 1.5", "-xfade", "-xfade long", "-loud 11", "-knobs -1",
    "-knobs 65", "-knobs all", "-threaded -1", "-threaded 0.5", "-threaded 1025", "-threaded",
])  # fmt: skip
def test_wrong_flags_get_one_clear_error(amp_file: AmpFile, text: str) -> None:
    path = amp_file()
    told = talk(f"neuralamp~ {text} -xfade 7 {path}", ["bang"], outlets=[1])
    assert len(complaints(told[0])) <= 2 and told[0][0].startswith("error: neuralamp~: bad flag: ")
    if text.split()[-1] not in ("good", "long", "all"):  # a word there begins the name of the file
        assert told[1][0] == f"out 1: loaded {path}"


def test_a_missing_file_leaves_the_object_in_the_patch(amp_file: AmpFile) -> None:
    path = amp_file()
    told = talk("neuralamp~ missing", ["async 0", f"load {path}"], outlets=[1])
    assert told[0] == ["error: neuralamp~: missing: there is no such file in the patch's folder or on Pd's search path"]
    assert told[2][0] == f"out 1: loaded {path}"


def test_a_predictor_is_refused_with_the_name_of_its_object() -> None:
    told = talk("neuralamp~", ["async 0", f"load {share('models', 'wander.mdrnn')}"])
    assert len(told[2]) == 1 and "[mdrnn]" in told[2][0]


# ---- In the background ----------------------------------------------------------------------------------------------


def test_loads_in_the_background_and_the_newest_wins(amp_file: AmpFile) -> None:
    paths = [amp_file(f"{number}.nam", number) for number in range(1, 9)]
    burst = ", ".join(f"load {path}" for path in paths)
    told = talk("neuralamp~", [burst, "bang", f"load {paths[0]}, unload", "bang"], outlets=[1], batch=False, every=300)
    assert [line for line in told[1] if "loaded" in line] == [f"out 1: loaded {paths[-1]}"]
    assert told[2][0] == f"out 1: loaded {paths[-1]}"
    assert told[3] == told[4] == ["out 1: unloaded"]


def test_a_failed_load_in_the_background_is_told(amp_file: AmpFile, tmp_path: Path) -> None:
    path, bad = amp_file(), tmp_path / "bad.nam"
    bad.write_text("[]")
    told = talk(f"neuralamp~ {path}", [f"load {bad}", "bang"], outlets=[1], batch=False, every=300)
    assert told[1][0].startswith(f"error: neuralamp~: {bad}: ") and told[1][1].startswith(f"out 1: error {bad} ")
    assert told[2][0] == f"out 1: loaded {path}"


def test_at_once_overtakes_what_loads_in_the_background(amp_file: AmpFile) -> None:
    slow, quick = amp_file("slow.nam"), amp_file("quick.nam")
    told = talk("neuralamp~", [f"load {slow}, async 0, load {quick}", "bang"], outlets=[1], batch=False, every=300)
    assert [line for line in told[1] if "loaded" in line] == [f"out 1: loaded {quick}"]
    assert told[2][0] == f"out 1: loaded {quick}"


def test_deleting_it_while_it_loads_does_not_hold_pd_up(tmp_path: Path, pd: str) -> None:
    """A file that takes a while: when what loads it is deleted, nobody waits for it."""
    config = {"receptive_field": 2_000_000, "bias": False}
    (tmp_path / "long.nam").write_text(json.dumps({"version": "0.5.4", "architecture": "Linear", "config": config,
                                                   "weights": [0.001] * 2_000_000, "sample_rate": 48000}))
    patch = Patch(tmp_path)
    begin, clock, out = patch.obj("loadbang"), patch.obj("realtime"), patch.obj("print took")
    patch.sub(Patch(), "stage")
    patch.chain(clock, out)
    patch.at(begin, 1, "; pd dsp 1; pd-stage obj 10 10 neuralamp~", out)
    for ms, text in ((2, "; pd-stage obj 10 10 r neurig-amp; pd-stage connect 1 0 0 0"),
                     (10, "; neurig-amp load long.nam"), (20, "; pd-stage clear")):
        patch.at(begin, ms - 0.5, "bang", clock)
        patch.at(begin, ms, text, out)
        patch.at(begin, ms + 0.5, "bang", clock, inlet=1)
    patch.at(begin, 30, "; pd quit", out)
    console = patch.run(batch=False, pd=pd)
    assert not complaints(console)
    took = [float(line.split()[1]) for line in console if line.startswith("took: ")]
    assert len(took) == 3 and max(took) < 60, took

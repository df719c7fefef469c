"""``neurig eval`` and ``neurig predict``: a model against a recording of its device, the report, what goes wrong."""

import base64
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile
from evaluation.conftest import Said
from numpy.typing import NDArray
from python.helpers import Command
from scipy.signal import resample_poly

import neurig
from neurig.evaluation import evaluate
from neurig.files import share

Compare = Callable[..., Said]
RATE = 48000
KEYS = ("esr", "esr_preemphasis", "mae", "mrstft")
PICTURES = ("waveform", "error-spectrogram", "magnitude-spectra", "power-spectral-density", "error-energy",
            "cross-correlation", "phase-difference")


@pytest.fixture
def noise() -> NDArray[np.float32]:
    """A second of noise that ends below 10 kHz and swells, so that it has no clicks at its ends."""
    white = resample_poly(np.random.default_rng(3).normal(0, 0.1, RATE // 4), 4, 1)
    return (white * np.hanning(RATE)).astype(np.float32)


@pytest.fixture
def recording(gain_model: Path, tmp_path: Path, noise: NDArray) -> Path:
    """In a folder with the amp gain.nam (times 0.5): in.wav, and out.wav of a device that is 0.1 dB louder."""
    soundfile.write(tmp_path / "in.wav", noise, RATE, "FLOAT")
    soundfile.write(tmp_path / "out.wav", noise * 0.5 * 10 ** (0.1 / 20), RATE, "FLOAT")
    return tmp_path


def figures(compare: Compare, *arguments: object) -> dict[str, float]:
    return json.loads(compare(*arguments, "--json").stdout)


def test_a_perfect_model(compare: Compare, recording: Path, noise: NDArray) -> None:
    soundfile.write(recording / "out.wav", noise / 2, RATE, "FLOAT")
    done = compare("gain.nam", "in.wav", "out.wav", "--json")
    found = json.loads(done.stdout)
    assert [found[key] for key in KEYS] == [0, 0, 0, 0]
    assert (found["seconds"], found["rate"]) == (1, RATE) and found["delay"] == pytest.approx(0, abs=1e-3)
    assert done.stderr == ""


def test_a_known_gain_error(compare: Compare, recording: Path) -> None:
    found = figures(compare, "gain.nam", "in.wav", "out.wav")
    expected = (1 - 10 ** (-0.1 / 20)) ** 2
    assert found["esr"] == pytest.approx(expected, rel=1e-4)
    assert found["esr_preemphasis"] == pytest.approx(expected, rel=1e-4)
    said = compare("gain.nam", "in.wav", "out.wav").stdout
    assert f"{expected:.3g}" in said and "-38.8 dB" in said and "MR-STFT" in said


def test_a_real_pair(data: Path, compare: Compare, tmp_path: Path) -> None:
    """The beginning of a recording, and the very model that was its device; then another model of that device."""
    for name in ("input", "output"):
        samples, rate = soundfile.read(data / "capture" / f"{name}.flac", frames=4 * RATE, dtype="float32")
        soundfile.write(tmp_path / f"{name}.wav", samples, rate, "FLOAT")
    device, other = (data / "amps" / f"BossWN-{name}.nam" for name in ("standard", "nano"))
    assert figures(compare, device, "input.wav", "output.wav")["esr"] < 1e-9
    found = figures(compare, other, "input.wav", "output.wav")
    assert 1e-3 < found["esr"] and found["mrstft"] > 0.1


def test_another_rate(compare: Compare, recording: Path, noise: NDArray) -> None:
    """The input at 44.1 kHz, the device at 96, the model at 48: all are brought together, and in time."""
    soundfile.write(recording / "in44.flac", resample_poly(noise, 147, 160), 44100, "PCM_24")
    soundfile.write(recording / "out96.wav", resample_poly(noise / 2, 2, 1), 96000, "FLOAT")
    done = compare("gain.nam", "in44.flac", "out96.wav", "--json")
    found = json.loads(done.stdout)
    assert found["esr"] < 1e-6 and found["rate"] == 96000 and abs(found["delay"]) < 0.01
    assert done.stderr == "in44.flac: converted from 44100 to 96000 Hz, the rate of out96.wav\n"


def test_what_is_not_as_it_should_be_is_said(compare: Compare, recording: Path, noise: NDArray) -> None:
    def said(recorded: NDArray) -> str:
        soundfile.write(recording / "other.wav", recorded, RATE, "FLOAT")
        return compare("gain.nam", "in.wav", "other.wav").stderr

    assert "other.wav: the last 480 of its samples (0.010 s)" in said(np.append(noise, np.zeros(480)))
    assert "in.wav: the last 480 of its samples (0.010 s)" in said(noise[:-480])
    assert "other.wav is 31.0 samples later than gain.nam: the figures count that" in said(np.roll(noise, 31))
    assert "gain.nam is 31.0 samples later than other.wav: the figures count that" in said(np.roll(noise, -31))
    assert "other.wav: it is upside down" in said(-noise)
    unrelated = np.random.default_rng(9).normal(0, 0.1, RATE)
    assert "have little in common" in said(unrelated)


def test_knobs_and_channels(command: Command, compare: Compare, recording: Path, noise: NDArray) -> None:
    left, right = (np.random.default_rng(seed).normal(0, np.exp(-np.arange(800) / 99), 800) for seed in (1, 2))
    soundfile.write(recording / "cab.wav", np.stack([left, right], axis=1), RATE, "FLOAT")
    command("predict", "cab.wav", "in.wav", "stereo.wav")
    assert soundfile.info(recording / "stereo.wav").channels == 2
    for side, channel in ((0, "left"), (1, "right")):
        arguments = ("cab.wav", "in.wav", "stereo.wav", "--channel", channel)
        assert figures(compare, *arguments, "--param", f"side={side}")["esr"] < 1e-12
        assert figures(compare, *arguments, "--param", f"side={1 - side}")["esr"] > 0.1
    assert "its channels differ" in compare("gain.nam", "in.wav", "stereo.wav", code=1).stderr
    soundfile.write(recording / "three.wav", np.stack([noise, noise, noise], axis=1), RATE, "FLOAT")
    assert "three.wav: it has 3 channels" in compare("gain.nam", "in.wav", "three.wav", code=1).stderr
    soundfile.write(recording / "both.wav", np.stack([noise, noise], axis=1) / 2, RATE, "FLOAT")
    assert figures(compare, "gain.nam", "in.wav", "both.wav")["esr"] == 0


def test_bad_input(compare: Compare, recording: Path, mdrnn_file: Path) -> None:
    def write(name: str, samples: object) -> None:
        soundfile.write(recording / name, np.asarray(samples, np.float32), RATE, "FLOAT")

    write("silent.wav", np.zeros(RATE))
    write("short.wav", np.ones(2000))
    write("nan.wav", np.full(RATE, np.nan))
    write("none.wav", [])
    (recording / "text.wav").write_text("no sound")
    before = sorted(os.listdir(recording))
    for arguments, reason in (
        (("gain.nam", "in.wav", "missing.wav"), "missing.wav: there is no such file"),
        (("gain.nam", "text.wav", "out.wav"), "text.wav: "),
        (("gain.nam", "in.wav", "none.wav"), "none.wav: it has no samples"),
        (("gain.nam", "in.wav", "silent.wav"), "silent.wav: it is silent"),
        (("gain.nam", "in.wav", "short.wav"), "short.wav: 2000 samples are too few"),
        (("gain.nam", "in.wav", "nan.wav"), "nan.wav: it has samples that are no numbers"),
        (("missing.nam", "in.wav", "out.wav"), "missing.nam: "),
        ((mdrnn_file.name, "in.wav", "out.wav"), "this is a predictor"),
        (("gain.nam", "in.wav", "out.wav", "--param", "tone=1"), "no knob 'tone'"),
        (("gain.nam", "in.wav", "out.wav", "--slim", "0"), "it comes in one size"),
        (("gain.nam", "in.wav", "out.wav", "-o", "report.docx"), "report.docx: a report's name ends in .html or .pdf"),
        (("gain.nam", "in.wav", "out.wav", "-o", "no/report.html"), "its folder does not exist"),
    ):
        assert reason in compare(*arguments, code=1).stderr
    assert sorted(os.listdir(recording)) == before


def test_a_silent_answer_is_no_accident(compare: Compare, recording: Path) -> None:
    """A model that says nothing has an ESR of 1, and a report like any other."""
    soundfile.write(recording / "quiet.wav", np.zeros(RATE), RATE, "FLOAT")
    assert figures(compare, "gain.nam", "quiet.wav", "out.wav", "-o", "report.html")["esr"] == 1
    assert (recording / "report.html").stat().st_size > 10000


class _Page(HTMLParser):
    """What a page holds: the tags with their attributes, and the text of each element's kind."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, text: str) -> None:
        self.texts[self.open[-1] if self.open else ""] = self.texts.get(self.open[-1] if self.open else "", "") + text

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def _content(source: str | None, kind: str) -> bytes:
    head, _, content = (source or "").partition(",")
    assert head == f"data:{kind};base64"
    return base64.b64decode(content, validate=True)


def test_the_report_is_one_file_with_everything(compare: Compare, recording: Path) -> None:
    model, phrase = share("models", "crunch.nam"), share("models", "phrase.wav")
    samples, _ = soundfile.read(phrase, dtype="float32")
    answer = neurig.load(model).instance().process(samples)
    target = answer + 0.02 * answer**3
    soundfile.write(recording / "device & co.wav", target, RATE, "FLOAT")
    before = set(os.listdir(recording))
    found = figures(compare, model, phrase, "device & co.wav", "-o", "report.html")
    assert set(os.listdir(recording)) - before == {"report.html"}

    text = (recording / "report.html").read_text(encoding="utf-8")
    page = _Page(text)
    assert page.open == []
    assert f"{found['esr']:.3g}" in page.texts["strong"] and f"{found['mrstft']:.3g}" in page.texts["strong"]
    assert "device & co.wav" in page.texts["dd"] and "crunch.nam" in page.texts["title"]
    assert [section["id"] for section in page.all("section")] == ["listen", *PICTURES]
    for image in page.all("img"):
        drawn = ElementTree.fromstring(_content(image["src"], "image/svg+xml"))
        assert drawn.tag.endswith("svg") and len(list(drawn.iter())) > 50 and image["alt"]
    assert len(page.all("img")) == len(PICTURES)
    outside = [value for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "href")
               and not (value or "").startswith("data:")]
    assert outside == [] and not re.search(r"url\(|@import|fetch\(|https?:", text)

    heard = []
    for player in page.all("audio"):
        played, rate = soundfile.read(io.BytesIO(_content(player["src"], "audio/flac")))
        assert rate == RATE and played.shape == target.shape
        heard.append(played)
    for played, expected in zip(heard, (target, answer, answer - target), strict=False):
        assert np.abs(played - expected).max() < 2**-14
    assert len(heard) == 4 and np.abs(heard[3]).max() == pytest.approx(0.9, abs=1e-3)
    assert np.corrcoef(heard[3], answer - target)[0, 1] > 0.9999


def test_long_recordings_make_no_long_reports(recording: Path, gain_model: Path) -> None:
    """Half a minute, loudest near its end and beyond full scale: 20 seconds of it are in the report, not clipped."""
    from neurig.evaluation import report

    samples = np.random.default_rng(1).normal(0, 0.05, 30 * 8000).astype(np.float32)
    samples[27 * 8000] = 3
    for name, gain in (("in.wav", 1), ("out.wav", 0.6)):
        soundfile.write(recording / name, samples * gain, 8000, "FLOAT")
    done = evaluate(neurig.load(gain_model), recording / "in.wav", recording / "out.wav")
    report.write(done, recording / "report.html")
    page = _Page((recording / "report.html").read_text(encoding="utf-8"))
    played, rate = soundfile.read(io.BytesIO(_content(page.all("audio")[0]["src"], "audio/flac")))
    assert len(played) == 20 * rate and int(np.argmax(played)) == 17 * rate
    assert 0.85 < played.max() < 0.95 and "lowered by 6.0 dB" in page.texts["p"]


def test_a_report_as_pdf(compare: Compare, recording: Path) -> None:
    compare("gain.nam", "in.wav", "out.wav", "-o", "report.PDF")
    content = (recording / "report.PDF").read_bytes()
    assert content.startswith(b"%PDF-") and content.rstrip().endswith(b"%%EOF")
    assert len(re.findall(rb"/Type /Page\b", content)) == 1 + len(PICTURES)


def test_without_matplotlib(recording: Path) -> None:
    """The figures come as ever; for a report there is a line that says what to install."""
    program = ("import sys\nsys.modules['matplotlib'] = None\n"
               "from neurig.cli import main\nmain(sys.argv[1:])")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", program, "eval", "gain.nam", "in.wav", "out.wav", *arguments],
                              cwd=recording, capture_output=True, text=True, timeout=60)

    assert run().returncode == 0
    refused = run("-o", "report.html")
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1
    assert "pip install 'neurig[train]'" in refused.stderr
    assert not (recording / "report.html").exists()


def test_predict_is_render(command: Command, recording: Path) -> None:
    command("predict", "gain.nam", "in.wav", "predicted.flac")
    command("render", "gain.nam", "in.wav", "rendered.flac")
    assert (recording / "predicted.flac").read_bytes() == (recording / "rendered.flac").read_bytes()
    assert "neurig.cli predict" in command("predict", "gain.nam", code=2).stderr

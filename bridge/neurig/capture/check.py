"""Judging a pair of recordings, and putting it in time: what went into a device, and what came out of it."""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from neurig.capture import timing, wav
from neurig.capture.signal import CLICKS, Passage, described
from neurig.capture.timing import Samples

Channel = Literal["left", "right"]
Severity = Literal["error", "warning", "note"]

SHORTEST = 3.0  # s
_SHORT = 60.0  # s
_SILENT = -60.0  # dBFS, peak
_FRAME = 0.05  # s, in which a level is measured
_TOO_SLOW = "The recorder could not keep up: close other programs or take a larger block, and record again."
_UNRECOGNISED = 1  # libsndfile's number for what is no sound file
_BEYOND = 100.0  # full scales, from which on samples are no sound
_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32, "FLOAT": 32, "DOUBLE": 64}


class CaptureError(ValueError):
    """A recording that cannot even be judged. The message is one line, names the file and says what to do."""


@dataclass(frozen=True)
class Problem:
    """Something about a pair of recordings that its owner should know.

    :ivar severity: ``"error"``: it cannot be trained on; ``"warning"``: the amp will be worse for it; ``"note"``
    :ivar kind: one word for programs, such as ``"clipping"``
    :ivar what: a sentence
    :ivar remedy: what to do about it; empty where there is nothing to be done
    """

    severity: Severity
    kind: str
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.severity}: {self.what}" + (f" {self.remedy}" if self.remedy else "")


@dataclass
class Report:
    """What is known about a pair. What could not be measured is None.

    :ivar rate: Hz, the input's; everything in samples is at this rate
    :ivar latency: of the output in samples, not a whole number: what the recording added to the device's own answer
    :ivar removed: whole samples that the aligned output was moved forward by: never so many that the answer would begin
        before its cause
    :ivar drift: by how much the output's clock is faster, parts per million; removed too where it is told from 0
    :ivar polarity: -1 where the output is upside down
    :ivar noise_floor: of the output where the input is silent, dBFS rms
    :ivar repeat_error: of two answers to the same passage, without the noise: energy of the difference over the energy
    :ivar aligned_input: mono, float32, as long as ``aligned_output``
    """

    input: str
    output: str
    rate: int
    seconds: float = 0.0
    latency: float | None = None
    removed: int | None = None
    drift: float | None = None
    polarity: int | None = None
    input_peak: float = -np.inf
    output_peak: float = -np.inf
    noise_floor: float | None = None
    repeat_error: float | None = None
    problems: list[Problem] = field(default_factory=list)
    aligned_input: Samples = field(default_factory=lambda: np.zeros(0, np.float32), repr=False)
    aligned_output: Samples = field(default_factory=lambda: np.zeros(0, np.float32), repr=False)

    @property
    def trainable(self) -> bool:
        return all(problem.severity != "error" for problem in self.problems)

    def add(self, severity: Severity, kind: str, what: str, remedy: str = "") -> None:
        self.problems.append(Problem(severity, kind, what, remedy))

    def as_dict(self) -> dict[str, object]:
        """For JSON: all but the samples; levels that are minus infinity are None."""
        plain = {name: value for name, value in vars(self).items() if not name.startswith("aligned_")}
        for name in ("input_peak", "output_peak", "noise_floor"):
            if plain[name] is not None and not np.isfinite(plain[name]):
                plain[name] = None
        return plain | {"problems": [vars(problem) for problem in self.problems], "trainable": self.trainable}


@dataclass(frozen=True)
class Recording:
    """One channel of a sound file.

    :ivar samples: shape (n,), float32
    :ivar rate: Hz
    :ivar passages: what is where in it, if it is our own signal
    """

    path: str
    samples: Samples
    rate: int
    passages: list[Passage] | None


def check(input: str | os.PathLike[str], output: str | os.PathLike[str], channel: Channel | None = None,
          called: str | os.PathLike[str] = "") -> Report:
    """Judges what went into a device and what came out of it, and puts the two in time.

    The output is brought to the input's rate. The report has the two aligned; where it has an error, they may be empty.

    :param channel: which one of a stereo file; needed where its two differ
    :param called: what the report calls ``output``, where that is not its final name
    :raises CaptureError: where a file cannot be read, or it is not clear which channel is meant
    """
    notes: list[Problem] = []
    x, y = read(Path(input), channel, notes), read(Path(output), channel, notes)
    y = replace(y, path=str(called) if called else y.path)
    report = Report(x.path, y.path, x.rate, problems=notes)
    output_samples = y.samples
    _check_clipping(report, x)
    _check_clipping(report, y)
    if x.rate != y.rate:
        report.add("note", "rate", f"{y.path} has {y.rate} Hz, {x.path} {x.rate} Hz: it was resampled to the latter.")
        output_samples = soxr.resample(y.samples, y.rate, x.rate, "VHQ")
    report.input_peak, report.output_peak = (_db(_peak(samples)) for samples in (x.samples, output_samples))
    _check_levels(report, x, y)
    if report.trainable:
        _align(report, x, output_samples, y.rate, swapped=y.passages is not None and x.passages is None)
    if report.trainable:
        _check_holes(report)
    if report.trainable:
        _check_noise(report)
        _check_change(report, x.passages)
    return report


def read(path: Path, channel: Channel | None, notes: list[Problem]) -> Recording:
    """Reads one channel of a sound file.

    :param channel: which one of a stereo file; needed where its two differ
    :param notes: is added what its owner should know
    :raises CaptureError: where it cannot be read, or it is not clear which channel is meant
    """
    if not path.is_file():
        raise CaptureError(f"{path}: {'this is a folder' if path.is_dir() else 'there is no such file'}")
    try:
        with soundfile.SoundFile(path) as file:
            samples = file.read(dtype="float32", always_2d=True)
            rate, subtype, comment = file.samplerate, file.subtype, file.comment
    except soundfile.LibsndfileError as problem:
        if problem.code == _UNRECOGNISED:
            raise CaptureError(f"{path}: this is no sound file that can be read. Save it as WAV, FLAC or AIFF"
                               ) from None
        reason = problem.error_string.removeprefix("Error :").strip().rstrip(".")
        raise CaptureError(f"{path}: it is damaged ({reason}). Export or record it again") from None
    if not len(samples):
        raise CaptureError(f"{path}: it has no samples. Record it again")
    if not np.isfinite(samples).all():
        raise CaptureError(f"{path}: it has samples that are no numbers. Export it again")
    if _peak(samples) > _BEYOND:
        raise CaptureError(f"{path}: its samples go up to {_peak(samples):.3g}, where 1 is full scale. Export it again")
    bits = _BITS.get(subtype)
    if bits is None:
        notes.append(Problem("warning", "format", f"{path} is in a format that loses detail ({subtype}).",
                             "Record to WAV, FLAC or AIFF with 24 bits."))
    elif bits <= 8:
        notes.append(Problem("warning", "format", f"{path} has 8 bits, hence loud noise.", "Record with 24 bits."))
    elif bits == 16:
        notes.append(Problem("note", "format", f"{path} has 16 bits.", "24 bits keep soft notes cleaner."))
    return Recording(str(path), _mono(path, samples, channel, notes), rate, described(comment))


def _mono(path: Path, samples: Samples, channel: Channel | None, notes: list[Problem]) -> Samples:
    channels = samples.shape[1]
    if channels == 1:
        return samples[:, 0]
    if channels > 2:
        raise CaptureError(f"{path}: it has {channels} channels. Export the one that counts as mono")
    left, right = np.ascontiguousarray(samples.T)
    if np.array_equal(left, right):
        notes.append(Problem("note", "channels", f"{path} is stereo with twice the same: one was taken."))
        return left
    if channel is None:
        raise CaptureError(f"{path}: it is stereo, and its channels differ. Say which one with --channel left or "
                           "--channel right")
    chosen, other = (left, right) if channel == "left" else (right, left)
    if _db(_peak(chosen)) < _SILENT < _db(_peak(other)):
        notes.append(Problem("error", "channels", f"{path} is silent on the {channel}, but not on the other side.",
                             f"Give --channel {'right' if channel == 'left' else 'left'}."))
    return chosen


def _peak(samples: Samples) -> float:
    return float(np.abs(samples).max(initial=0))


def _db(amplitude: float) -> float:
    return 20 * float(np.log10(amplitude)) if amplitude > 0 else -np.inf


def _peak_in_words(level: float) -> str:
    return f"its peak is {level:.0f} dBFS" if np.isfinite(level) else "all samples are 0"


def _rms(samples: Samples) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0


def _flat(samples: Samples) -> int:
    """Samples in runs of three or more at the very highest or lowest value."""
    count = 0
    for extreme in (samples.max(), samples.min()):
        if extreme:
            at = np.concatenate([[False], samples == extreme, [False]])
            edges = np.flatnonzero(at[1:] != at[:-1]).reshape(-1, 2)
            runs = edges[:, 1] - edges[:, 0]
            count += int(runs[runs >= 3].sum())
    return count


def _check_clipping(report: Report, recording: Recording) -> None:
    flat, peak = _flat(recording.samples), _peak(recording.samples)
    if not flat or _db(peak) < _SILENT:
        return
    what = f"{recording.path} is clipped: {flat} samples lie in flat tops at {_db(peak):.1f} dBFS."
    if peak > 0.98:
        severity: Severity = "error" if flat > 1e-4 * len(recording.samples) else "warning"
        report.add(severity, "clipping", what, "Lower the level into the recorder, and record again.")
    else:
        report.add("warning", "clipping", what, "If that is not what the device does, lower the level before it was "
                                                "clipped, and record again.")


def _check_levels(report: Report, x: Recording, y: Recording) -> None:
    for recording, quiet in ((x, -24), (y, -36)):
        level, offset = _db(_peak(recording.samples)), float(np.mean(recording.samples, dtype=np.float64))
        if level < _SILENT:
            report.add("error", "silence", f"{recording.path} is silent ({_peak_in_words(level)}).",
                       "Look to cables, inputs and levels, and record again.")
        elif level < quiet:
            report.add("warning", "level", f"{recording.path} is soft: its peak is {level:.0f} dBFS.",
                       "Raise the level, so that the peak is between -12 and -1 dBFS.")
        if abs(offset) > 0.01 and abs(offset) > 0.02 * _rms(recording.samples):
            report.add("warning", "dc", f"{recording.path} has a constant offset (DC) of {offset:+.3f}.",
                       "Look for a faulty input, or take it away with a high-pass filter at 5 Hz.")
    seconds = min(len(x.samples) / x.rate, len(y.samples) / y.rate)
    if seconds < SHORTEST:
        report.add("error", "length", f"The shorter recording has {seconds:.1f} s, and at least {SHORTEST:.0f} s are "
                                      "needed.", "Record longer; three minutes are good.")
    elif seconds < _SHORT:
        report.add("warning", "length", f"{seconds:.0f} s are little to learn from.", "Three minutes are good.")


def _align(report: Report, x: Recording, late: Samples, recorded_at: int, swapped: bool) -> None:
    """Measures latency, drift and polarity, and takes the first two away."""
    source, rate = x.samples, x.rate
    band = 0.42 * min(1.0, recorded_at / rate)
    clock, output, lag = 1.0, late, timing.coarse(source, late, rate)
    own = None
    for _ in range(3):  # a drift is measured better once most of it is gone
        rough = timing.shifted(output, lag, len(source))
        track = timing.track(source, rough, rate, band, own)
        if own is not None and not track.certain:
            break
        if track.certain:
            clock *= 1 + track.ppm / 1e6
            output = soxr.resample(late, rate * clock, rate, "VHQ")
            rest = timing.delay(source, timing.shifted(output, lag, len(source)), band)
            lag += round(rest.samples) if rest else 0
        own = timing.own_phase(source, timing.shifted(output, lag, len(source)), band)
    again = _repeat(source, rate, x.passages) if clock != 1 else None
    if again:  # the same passage, far apart: nothing tells a drift better
        one, other = (timing.shifted(output, lag + start, again[2]) for start in again[:2])
        apart = timing.delay(one, other, band, timing.NO_FILTER)
        if apart and apart.clearness > 0.8 and abs(apart.samples) < 5:
            clock *= 1 + apart.samples / (again[1] - again[0])
            output = soxr.resample(late, rate * clock, rate, "VHQ")
    if abs(clock - 1) * len(source) < 0.5:  # samples: there was none
        clock, output = 1.0, late
    rough = timing.shifted(output, lag, len(source))
    found = timing.delay(source, rough, band)
    if swapped or found is None or found.clearness < 0.4:
        report.add("error", "unrelated", f"{report.output} is no answer to {report.input}.",
                   "Check that these are the right files, in the order IN OUT, and the right channel of each.")
        return
    report.drift = 1e6 * (clock - 1)
    report.latency, report.polarity = lag + found.samples, found.polarity
    _check_gaps(report, track)
    if not report.trainable:
        return
    if report.latency < -2.5:
        report.add("error", "order",
                   f"{report.output} comes {-report.latency:.1f} samples before {report.input}, so it is no answer.",
                   "Give the files in the order IN OUT; if one was cut, cut both at the same place.")
        return
    clicks = _clicks(x)
    first = (timing.onset_of_clicks(rough, clicks) if clicks else timing.onset(source, rough)) + lag
    latest = int(np.floor(report.latency + 0.25))
    report.removed = max(min(first, latest), latest - 2, 0)
    length = min(len(source), len(output) - report.removed)
    report.aligned_input = source[:length]
    report.aligned_output = timing.shifted(output, report.removed, length)
    report.seconds = length / rate
    _check_timing(report, len(source) - length)


def _clicks(x: Recording) -> list[int]:
    """Where the clicks begin that the signal says it has, if they are there."""
    starts = [passage.start for passage in x.passages or () if passage.name == "clicks"]
    places = [round((start + click) * x.rate) for start in starts[:1] for click in CLICKS]
    there = all(place < len(x.samples) and abs(x.samples[place]) > 0.1 for place in places)
    return places if there else []


def _check_gaps(report: Report, track: timing.Track) -> None:
    if track.jump:
        what = "samples are missing" if track.jump > 0 else "samples too many are"
        report.add("error", "jump", f"At about {track.at:.0f} s, {abs(track.jump)} {what} in {report.output}.",
                   _TOO_SLOW)
    elif track.lost is not None:
        where = f"From about {track.lost:.0f} s on" if track.lost else "At its beginning"
        report.add("error", "jump", f"{where}, {report.output} does not answer {report.input}.",
                   f"Look for a loose cable. Or: {_TOO_SLOW}")


def _check_holes(report: Report) -> None:
    """Is the output silent where it should not be?"""
    x, y, rate = report.aligned_input, report.aligned_output, report.rate
    cuts = timing.dropouts(x, y)
    if cuts:
        first, length = cuts[0]
        again = f", the first of {len(cuts)} times" if len(cuts) > 1 else ""
        report.add("error", "jump", f"At about {first / rate:.0f} s, {report.output} is cut out for "
                                    f"{1000 * length / rate:.1f} ms{again}.", _TOO_SLOW)
        return
    holes = timing.silences(x, y, rate)
    if holes:
        total = sum(length for _, length in holes) / rate
        report.add("error", "gap",
                   f"From about {holes[0][0] / rate:.0f} s on, {report.output} is silent for {total:.1f} s in which "
                   f"{report.input} plays.", "Look for a loose cable, and record again.")


def _check_timing(report: Report, missing: int) -> None:
    if missing > report.rate:
        report.add("note", "length",
                   f"The last {missing / report.rate:.1f} s of {report.input} have no answer, and were left out.")
    if report.drift:
        report.add("warning", "drift", f"The clocks of player and recorder differ by {report.drift:+.2f} ppm; that was "
                                       "corrected.", "Play and record with the same sound card.")
    if report.polarity == -1:
        report.add("note", "polarity",
                   f"{report.output} is upside down (inverted). Many amps do so, and the model will.")
    if _rms(report.aligned_output - report.aligned_input) < 1e-4 * _rms(report.aligned_input):
        report.add("error", "bypass", f"{report.output} is a copy of {report.input}.",
                   "Record what comes out of the device; is it bypassed?")


def _check_noise(report: Report) -> None:
    """The output's level in frames where the input has been silent for a while."""
    n = round(_FRAME * report.rate)
    count = report.aligned_input.size // n
    x, y = (samples[: count * n].reshape(count, n) for samples in (report.aligned_input, report.aligned_output))
    silent = np.abs(x).max(axis=1) < 1e-4
    rest = np.convolve(silent, np.ones(11), "full")[:count] == 11  # for half a second before
    if not rest.any():
        report.add("note", "noise", "The noise floor is not known: the input is never silent.",
                   "Leave a second of silence before playing.")
        return
    quiet = y[rest] - y[rest].mean()
    report.noise_floor = _db(_rms(quiet.ravel()))
    distance = _db(_rms(report.aligned_output)) - report.noise_floor
    if distance < 35:
        report.add("error" if distance < 10 else "warning", "noise",
                   f"{report.output} is noisy: {report.noise_floor:.0f} dBFS rms, {distance:.0f} dB below the sound.",
                   "Look for hum and hiss, switch delay and reverb off, and raise the level into the recorder.")


def _check_change(report: Report, passages: list[Passage] | None) -> None:
    """Does the device answer the same passage twice in the same way? Where nothing repeats, is a filter for each level
    enough?"""
    x, y = report.aligned_input, report.aligned_output
    advice = "Switch chorus, flanger, tremolo, delay and reverb off, and record again."
    again = _repeat(x, report.rate, passages)
    if again:
        first, second, length = again
        one, other = y[first : first + length], y[second : second + length]
        noise = 10 ** (report.noise_floor / 20) if report.noise_floor is not None else 0.0
        energy = _rms(one) ** 2
        # Hum may be the other way round the second time: then the answers differ by twice the noise.
        report.repeat_error = max(_rms(one - other) ** 2 - 4 * noise**2, 0.0) / energy if energy else None
        if report.repeat_error is not None and report.repeat_error > 0.003:
            report.add("warning", "change",
                       "The device changes with time: it answers the same passage otherwise when it comes again "
                       f"(ESR {report.repeat_error:.2g}).", advice)
        return
    strings = next((round(passage.start * report.rate) for passage in passages or () if passage.name == "strings"), 0)
    by_level, by_many = timing.change(x[strings:], y[strings:], report.rate)
    if by_level - by_many > 0.05 and by_level > 3 * by_many:
        report.add("warning", "change", "The device seems to change with time, as a flanger or phaser does.", advice)


def _repeat(x: Samples, rate: int, passages: list[Passage] | None) -> tuple[int, int, int] | None:
    """Where a passage is that comes twice, sample for sample: its two beginnings and its length."""
    by_name = {passage.name: passage for passage in passages or ()}
    if "phrase" in by_name and "repeat" in by_name:
        first, second = (round(by_name[name].start * rate) for name in ("phrase", "repeat"))
        length = round(by_name["phrase"].seconds * rate)
    else:
        loud = np.flatnonzero(np.abs(x) > 0.1 * _peak(x))
        first, length = int(loud[0]), 2 * rate
        second = first + length + timing.find(x[first : first + length], x[first + length :])
    one, other = x[first : first + length], x[second : second + length]
    same = len(one) == len(other) == length and _rms(one - other) < 1e-3 * _rms(one)
    return (first, second, length) if same else None


def write(report: Report, path: str | os.PathLike[str]) -> None:
    """Writes the aligned output: a WAV file of 32-bit float, as long as the input that it answers.

    :raises ValueError: where nothing is aligned
    :raises OSError: where the file cannot be written
    """
    from neurig.files import atomic

    if not len(report.aligned_output):
        raise ValueError(f"{report.output}: it could not be aligned")
    with atomic(path) as temporary:
        wav.write(temporary, report.aligned_output, report.rate, "FLOAT")

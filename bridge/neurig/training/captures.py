"""Many captures: an amp for each pair of recordings in a folder, and for each of several architectures.

Each is a *trial*: one run of ``neurig train amp`` in a process of its own, whose profile goes to
``PROFILES/CAPTURE/ARCHITECTURE``. They run in turn on this machine, or side by side on a cluster of Ray. A trial that
is killed, or crashes, is tried again, and goes on where it was; one that is refused (its recording is clipped, say) is
not. What became of each is kept in ``PROFILES/captures.json``; trials that are done are not done again.
"""

import ctypes
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import soundfile

import neurig
from neurig.capture.signal import described
from neurig.files import write_atomic
from neurig.training import TrainingError

LEDGER = "captures.json"
RETRIES = 2
_SOUNDS = (".wav", ".flac", ".aif", ".aiff")
_INPUT, _OUTPUT = {"in", "input", "dry", "di"}, {"out", "output", "target", "wet"}
_LAST_LINES = 2000  # characters of a trial's output that are kept to tell why it failed

State = Literal["done", "refused", "failed", "stopped"]


@dataclass(frozen=True)
class Capture:
    """A pair of recordings.

    :ivar name: a relative path, of what its files' names have beside "input" and "output"
    """

    name: str
    input: Path
    output: Path


@dataclass(frozen=True)
class Trial:
    """An amp to be trained.

    :ivar options: for ``neurig train amp``
    """

    capture: Capture
    architecture: str
    options: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The profile's folder, in that of all profiles."""
        return f"{self.capture.name}/{self.architecture}"

    def key(self) -> str:
        """A hash of all that the profile depends on."""
        content = hashlib.sha256("\0".join([self.architecture, *self.options]).encode())
        for path in (self.capture.input, self.capture.output):
            with path.open("rb") as file:
                content.update(hashlib.file_digest(file, "sha256").digest())
        return content.hexdigest()[:24]

    def command(self, input: Path, output: Path, profile: Path) -> list[str]:
        """What to run."""
        return [sys.executable, "-m", "neurig.cli", "train", "amp", str(input), str(output), "-o", str(profile),
                "--arch", self.architecture, "--name", self.capture.name, *self.options]


@dataclass
class Outcome:
    """What became of a trial.

    :ivar attempts: that it took
    :ivar esr: on the test
    :ivar why: it was refused, or failed: a line
    """

    key: str
    state: State
    attempts: int
    seconds: float = 0.0
    esr: float | None = None
    why: str = ""


@dataclass(frozen=True)
class Event:
    """A trial has begun, been lost, or ended.

    :ivar what: ``"begins"``, ``"again"`` (lost, and tried again), ``"ended"``, or ``"known"``: done before
    """

    what: Literal["begins", "again", "ended", "known"]
    trial: Trial
    outcome: Outcome | None = None
    why: str = ""


def find(folder: str | os.PathLike[str]) -> list[Capture]:
    """The pairs of recordings in a folder and all in it.

    A file is an input where a word of its name is "in", "input", "dry" or "di", or where it is our own test signal; an
    output where one is "out", "output", "target" or "wet". The two with the same other words are a pair; an output that
    has no such input belongs to the one that has no other words, or is the only one in its folder. In a folder where no
    file is named an output, all others are.

    :raises TrainingError: where there are none, or one is without its input
    """
    root = Path(folder)
    if not root.is_dir():
        raise TrainingError(f"{root}: there is no such folder")
    places: dict[Path, list[Path]] = {}
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() in _SOUNDS and path.is_file() and not path.name.startswith("."):
            places.setdefault(path.parent, []).append(path)
    found = [capture for place, files in places.items() for capture in _pairs(root, place, files)]
    if not found:
        raise TrainingError(f"{root}: there are no recordings. A pair is named input.wav and output.wav, or "
                            "lead-input.wav and lead-output.wav; or there is one input.wav, and all others answer it")
    return found


def _pairs(root: Path, place: Path, files: Sequence[Path]) -> Iterator[Capture]:
    words = {path: [word for word in re.split(r"[-_. ]+", path.stem) if word] for path in files}
    inputs = {path for path in files if _has(words[path], _INPUT) or _is_own_signal(path)}
    outputs = [path for path in files if path not in inputs and _has(words[path], _OUTPUT)]
    if not outputs and inputs:
        outputs = [path for path in files if path not in inputs]
    by_name = {_rest(words[path]): path for path in sorted(inputs, reverse=True)}
    for path in outputs:
        rest = _rest(words[path])
        alone = next(iter(inputs)) if len(inputs) == 1 else None
        source = by_name.get(rest) or by_name.get("") or alone
        if source is None:
            raise TrainingError(f"{path}: there is no input beside it")
        name = (place.relative_to(root) / rest).as_posix()
        yield Capture(name if name != "." else path.stem, source, path)


def _has(words: Sequence[str], of: set[str]) -> bool:
    return any(word.lower() in of for word in words)


def _rest(words: Sequence[str]) -> str:
    return "-".join(word for word in words if word.lower() not in _INPUT | _OUTPUT)


def _is_own_signal(path: Path) -> bool:
    try:
        with soundfile.SoundFile(path) as file:
            return described(file.comment) is not None
    except (OSError, soundfile.LibsndfileError):
        return False  # the trial says what is wrong with it


def plan(folder: str | os.PathLike[str], architectures: Sequence[str], options: Sequence[str] = ()) -> list[Trial]:
    """A trial for each capture and architecture.

    :param options: for ``neurig train amp``
    :raises TrainingError: as :func:`find`, and where two captures have the same name
    """
    captures = find(folder)
    trials = [Trial(capture, architecture, tuple(options)) for capture in captures for architecture in architectures]
    names = [trial.name for trial in trials]
    for trial in trials:
        if names.count(trial.name) > 1:
            raise TrainingError(f"{folder}: several recordings would make the profile {trial.name}. Rename one of them")
    return trials


@dataclass
class Ledger:
    """What became of trials, on the disk after each."""

    folder: Path
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> "Ledger":
        """An empty one where there is none, or it is damaged: then trials are done again."""
        try:
            content = json.loads((folder / LEDGER).read_text(encoding="utf-8"))
            return cls(folder, {name: Outcome(**outcome) for name, outcome in content["trials"].items()})
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return cls(folder)

    def note(self, trial: Trial, outcome: Outcome) -> None:
        self.outcomes[trial.name] = outcome
        trials = {name: asdict(one) for name, one in sorted(self.outcomes.items())}
        write_atomic(self.folder / LEDGER, json.dumps({"trials": trials}, indent=2, ensure_ascii=False) + "\n")

    def is_done(self, trial: Trial, key: str) -> bool:
        known = self.outcomes.get(trial.name)
        return known is not None and known.state == "done" and known.key == key and (
            self.folder / trial.name / "metrics.json").is_file()


def run(trials: Sequence[Trial], folder: str | os.PathLike[str], ray: str | None = None, retries: int = RETRIES,
        threads: int = 1, gpus: float = 0, show: Callable[[Event], None] = lambda event: None) -> dict[str, Outcome]:
    """Trains them all, but for those that are done.

    :param folder: for the profiles
    :param ray: a cluster's address, or ``"local"`` for one on this machine that lasts as long as this; None: in turn,
        without Ray
    :param retries: how often a trial is tried again that was lost
    :param threads: with Ray, cores that each trial has
    :param gpus: with Ray, GPUs that each trial has
    :param show: is told what happens
    :returns: what became of each, by name
    :raises TrainingError: where Ray is not there
    """
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    ledger = Ledger.read(place)
    keys = {trial.name: trial.key() for trial in trials}
    open_ = []
    for trial in trials:
        if ledger.is_done(trial, keys[trial.name]):
            show(Event("known", trial, ledger.outcomes[trial.name]))
        else:
            open_.append(trial)

    def end(trial: Trial, attempts: int, began: float, attempt: "_Attempt") -> None:
        seconds = round(time.monotonic() - began, 1)
        outcome = Outcome(keys[trial.name], attempt.state, attempts, seconds, why=attempt.why)
        if attempt.state in ("done", "stopped"):
            outcome.esr = _esr(place / trial.name)
        ledger.note(trial, outcome)
        show(Event("ended", trial, outcome))

    if ray is None:
        _in_turn(open_, place, retries, end, show)
    elif open_:
        _on_ray(open_, keys, place, ray, retries, threads, gpus, end, show)
    return {trial.name: ledger.outcomes[trial.name] for trial in trials if trial.name in ledger.outcomes}


@dataclass(frozen=True)
class _Attempt:
    """How one run of the command ended."""

    state: State
    why: str = ""


_End = Callable[[Trial, int, float, _Attempt], None]


def _in_turn(trials: Sequence[Trial], place: Path, retries: int, end: _End, show: Callable[[Event], None]) -> None:
    for trial in trials:
        began, profile = time.monotonic(), place / trial.name
        for number in range(1, retries + 2):
            show(Event("begins", trial))
            with _log() as log:
                attempt = _attempt(trial.command(trial.capture.input, trial.capture.output, profile), log, aloud=True)
            if attempt.state != "failed" or number > retries:
                break
            show(Event("again", trial, why=attempt.why))
        end(trial, number, began, attempt)
        if attempt.state == "stopped":
            raise KeyboardInterrupt


@contextmanager
def _log() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="neurig-") as folder:
        yield Path(folder) / "log"


def _attempt(command: Sequence[str], log: Path, aloud: bool = False) -> _Attempt:
    """Runs a trial's command to its end. Ctrl-C lets it stop early and keep the best so far.

    :param log: where what it says to stderr goes
    :param aloud: let it show here how far it is
    """
    path = os.pathsep.join([str(Path(neurig.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    stopped = False
    with log.open("wb") as errors:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=None if aloud else subprocess.DEVNULL,
                                   stderr=errors, preexec_fn=_not_alone, start_new_session=True,
                                   env=os.environ | {"PYTHONPATH": path})
    while True:
        try:
            status = process.wait()
            break
        except KeyboardInterrupt:
            stopped = True
            process.send_signal(signal.SIGINT)
    said = log.read_bytes()[-_LAST_LINES:].decode(errors="replace").strip()
    last = said.splitlines()[-1] if said else ""
    if status == 0:
        return _Attempt("stopped" if stopped else "done")
    if stopped:
        return _Attempt("stopped", last)
    if last.startswith("Error: ") or status == 2:
        return _Attempt("refused", last.removeprefix("Error: "))
    if status < 0:
        return _Attempt("failed", f"it was ended by {signal.Signals(-status).name}")
    return _Attempt("failed", f"it ended with status {status}: {last}")


def _not_alone() -> None:
    """In the new process: it ends with the one that started it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _esr(profile: Path) -> float | None:
    try:
        return float(json.loads((profile / "metrics.json").read_text(encoding="utf-8"))["test"]["esr"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _on_ray(trials: Sequence[Trial], keys: dict[str, str], place: Path, address: str, retries: int, threads: int,
            gpus: float, end: _End, show: Callable[[Event], None]) -> None:
    """The machines of a cluster share no files: recordings go there, and profiles come back, as bytes."""
    try:
        import ray
    except ImportError:
        raise TrainingError("a cluster takes Ray, which is not installed: pip install 'neurig[cluster]'") from None
    _reach(address)
    try:
        ray.init(address=None if address == "local" else address, include_dashboard=False, log_to_driver=False,
                 logging_level="error", ignore_reinit_error=True)
    except (ConnectionError, RuntimeError, ValueError) as problem:
        raise TrainingError(f"there is no Ray cluster at {address} ({str(problem).splitlines()[0]})") from None
    try:
        remote = ray.remote(max_retries=0, num_cpus=threads, num_gpus=gpus)(_there)
        files = {path: ray.put(path.read_bytes())
                 for trial in trials for path in (trial.capture.input, trial.capture.output)}

        def start(trial: Trial) -> Any:
            source, recorded = trial.capture.input, trial.capture.output
            return remote.remote(keys[trial.name], trial, files[source], files[recorded])

        waiting = {start(trial): (trial, 1, time.monotonic()) for trial in trials}
        for trial in trials:
            show(Event("begins", trial))
        while waiting:
            [ready], _ = ray.wait(list(waiting))
            trial, number, began = waiting.pop(ready)
            try:
                attempt, profile = ray.get(ready)
            except ray.exceptions.RayError as problem:
                attempt, profile = _Attempt("failed", _reason(problem)), {}
            if attempt.state == "failed" and number <= retries:
                show(Event("again", trial, why=attempt.why))
                waiting[start(trial)] = trial, number + 1, began
                continue
            _keep(profile, place / trial.name)
            end(trial, number, began, attempt)
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Ray itself waits for minutes where nobody is there.

    :raises TrainingError: where nobody answers
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:
        return  # "local", or "auto"
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or str(problem)
        raise TrainingError(f"there is no Ray cluster at {address} ({reason})") from None


def _there(key: str, trial: Trial, source: bytes, recorded: bytes) -> tuple[_Attempt, dict[str, bytes]]:
    """A trial, on the machine that Ray chose. A profile that is not finished stays there for the next attempt."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "neurig" / "trials" / key
    folder.mkdir(parents=True, exist_ok=True)
    # Each in a folder of its own: the two may have one name.
    paths = [folder / place / path.name for place, path in (("in", trial.capture.input), ("out", trial.capture.output))]
    for path, content in zip(paths, (source, recorded), strict=True):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    profile = folder / "profile"
    attempt = _attempt(trial.command(*paths, profile), folder / "log")
    if attempt.state == "failed":
        return attempt, {}
    files = sorted(path for path in profile.rglob("*") if path.is_file()) if attempt.state == "done" else []
    made = {str(path.relative_to(profile)): path.read_bytes() for path in files}
    shutil.rmtree(folder, ignore_errors=True)
    why = attempt.why
    for here, there in zip((trial.capture.input, trial.capture.output), paths, strict=True):
        why = why.replace(str(there), str(here))
    return _Attempt(attempt.state, why), made


def _keep(profile: dict[str, bytes], folder: Path) -> None:
    for name, content in profile.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.write_bytes(content)
        temporary.replace(path)


def _reason(problem: Exception) -> str:
    cause = getattr(problem, "cause", None)
    if isinstance(cause, Exception):  # of an exception in the trial's function
        return f"{type(cause).__name__}: {cause}"
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(problem).__name__.removesuffix("Error")).lower()
    return f"Ray lost it ({words})"

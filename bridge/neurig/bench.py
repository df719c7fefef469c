"""Measuring how fast and how exact amp models run here, beside other engines.

Another engine takes part as a peer, a shared library with three C functions::

    void *peer_load(const char *path, int max_block, int flags, float slim, char *info, int info_len);
    void peer_process(void *handle, const float *in, float *out, int n);
    void peer_free(void *handle);

``peer_load`` returns NULL where it cannot run the model and writes the reason into ``info``. Bit 0 of ``flags`` asks
for no prewarming; ``slim`` is the size of a model that comes in several, 0 to 1, below 0 the engine's default.
"""

import ctypes
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soundfile
from numpy.typing import NDArray

from neurig._core import ffi, lib
from neurig.files import share, write_atomic
from neurig.model import Instance, Model, load

OURS = "neurig"
BUNDLED = ("crunch.nam", "open-back.wav")
_SETTLED = 0.5  # seconds, after which neither prewarming nor cold caches matter any more
_INFO_SIZE = 512


class BenchError(ValueError):
    """A measurement that is not possible. The message is one line, and names the file that it is about."""


@dataclass(frozen=True)
class Row:
    """What one engine did with one model at one block size.

    :ivar model: the path as it was given
    :ivar engine: ``"neurig"``, or the name of a peer
    :ivar block: samples
    :ivar channels: our own engine runs them together, a peer one after the other, each by a stream of its own
    :ivar ns_per_sample: CPU time in ns for each sample of each channel, median of the rounds; like all that follows,
        ``None`` where the engine refused the model
    :ivar ns_low: first quartile of the same
    :ivar ns_high: third quartile of the same
    :ivar wall_ns_per_sample: the same by the clock on the wall, median
    :ivar real_time_factor: how many times faster than real time all channels together run
    :ivar fma_share: the model's multiply-adds, as a share of those that this core could have done meanwhile: beyond 1
        where an engine gets along with fewer, as with filters by Fourier transform; ``None`` where ``slim`` is given
    :ivar worst_block: the slowest block over the median block, after half a second; of several rounds each block counts
        as its fastest, so that only what the engine itself does differently from block to block is left
    :ivar esr: error-to-signal ratio against the reference, after half a second
    :ivar slim: the size of a model that comes in several, 0 to 1, as it was asked for
    :ivar refused: why the engine cannot run the model, else ``None``
    """

    model: str
    engine: str
    block: int
    channels: int
    ns_per_sample: float | None = None
    ns_low: float | None = None
    ns_high: float | None = None
    wall_ns_per_sample: float | None = None
    real_time_factor: float | None = None
    fma_share: float | None = None
    worst_block: float | None = None
    esr: float | None = None
    slim: float | None = None
    refused: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Refused(Exception):
    """An engine cannot run a model; the message says why."""


class Engine(Protocol):
    """Something that runs amps.

    :ivar name: as shown
    :ivar process: a ``neurig_process`` for the streams
    """

    name: str
    process: Any

    def open(self, model: Model, block: int, slim: float | None, channels: int) -> Any:
        """Fresh, prewarmed streams: a context manager that gives their handles, ``void *``, which share the channels.

        :raises Refused: where the engine cannot run the model
        """


class _Ours:
    name = OURS
    process = ffi.cast("neurig_process", ffi.addressof(lib, "neurig_instance_process"))

    @contextmanager
    def open(self, model: Model, block: int, slim: float | None, channels: int) -> Iterator[Any]:
        instance = _instance(model, slim, channels)
        yield [ffi.cast("void *", instance._handle)]


class Peer:
    """Another engine in a shared library.

    :ivar name: that of the library, without ``lib`` and ``.so``
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """:raises BenchError: where the library cannot be loaded, or is not a peer"""
        self.name = Path(path).stem.removeprefix("lib")
        if not Path(path).is_file():
            raise BenchError(f"{path}: there is no such file")
        try:
            library = ctypes.CDLL(str(Path(path).resolve()))
        except OSError as problem:
            raise BenchError(f"{path}: it is not a library that can be loaded: {problem}") from None
        try:
            self._load, process, self._free = library.peer_load, library.peer_process, library.peer_free
        except AttributeError as problem:
            name = str(problem).rsplit(" ", 1)[-1]
            wanted = "a peer has peer_load, peer_process and peer_free"
            raise BenchError(f"{path}: it has no function {name}; {wanted}") from None
        text, number = ctypes.c_char_p, ctypes.c_int
        self._load.restype = ctypes.c_void_p
        self._load.argtypes = (text, number, number, ctypes.c_float, text, number)
        self._free.restype = None
        self._free.argtypes = (ctypes.c_void_p,)
        self.process = ffi.cast("neurig_process", ctypes.cast(process, ctypes.c_void_p).value)

    @contextmanager
    def open(self, model: Model, block: int, slim: float | None, channels: int) -> Iterator[Any]:
        info = ctypes.create_string_buffer(_INFO_SIZE)
        size = -1.0 if slim is None else slim
        handles: list[int] = []
        try:
            for _ in range(channels):
                handle = self._load(os.fsencode(model.path), block, 0, size, info, _INFO_SIZE)
                if not handle:
                    reason = " ".join(info.value.decode(errors="replace").split())
                    raise Refused(reason or "it gives no reason")
                handles.append(handle)
            yield [ffi.cast("void *", handle) for handle in handles]
        finally:
            for handle in handles:
                self._free(handle)


def peers_at(paths: Sequence[str | os.PathLike[str]]) -> list[Peer]:
    """The engines in libraries. Those that would be called alike, or like our own, are called by their paths.

    :raises BenchError: where one of them cannot be loaded, is not a peer, or is named twice
    """
    peers = [Peer(path) for path in paths]
    names = [OURS, *(peer.name for peer in peers)]
    for peer, path in zip(peers, paths, strict=True):
        if names.count(peer.name) > 1:
            peer.name = str(path)
    if len({peer.name for peer in peers}) < len(peers):
        raise BenchError("a peer is named twice")
    return peers


def models_at(paths: Sequence[str | os.PathLike[str]]) -> list[Model]:
    """The amps in files: models, or impulse responses (``.wav``, ``.flac``, ``.aiff``).

    :param paths: where there are none, the bundled amps
    :raises ModelError: where one of them cannot be run
    :raises BenchError: where one of them is no amp
    """
    found = []
    for path in paths or [share("models", name) for name in BUNDLED]:
        model = load(path)
        if not model.is_amp:
            raise BenchError(f"{path}: this is a predictor: it makes no sound, and cannot be measured by the sample")
        found.append(model)
    return found


def signal(path: str | os.PathLike[str] | None = None, seconds: float = 2.0) -> NDArray[np.float32]:
    """What the engines are given: the start of the first channel of a sound file, at whatever rate.

    :param path: where it is ``None``, the bundled guitar phrase
    :raises BenchError: where it cannot be read, or a sample is no finite number
    """
    path = Path(path) if path else share("models", "phrase.wav")
    if not path.is_file():
        raise BenchError(f"{path}: there is no such file")
    try:
        with soundfile.SoundFile(os.fsencode(path)) as file:
            samples = file.read(int(seconds * file.samplerate), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as problem:
        raise BenchError(f"{path}: {problem.error_string.strip().rstrip('.')}") from None
    if len(samples) == 0:
        raise BenchError(f"{path}: it has no samples")
    if not np.isfinite(samples).all():
        raise BenchError(f"{path}: it has samples that are no finite numbers")
    return np.ascontiguousarray(samples[:, 0])


def measure(
    models: Sequence[Model],
    source: NDArray[np.float32],
    blocks: Sequence[int] = (64,),
    channels: int = 1,
    peers: Sequence[Engine] = (),
    rounds: int = 7,
    references: bool = False,
    slim: float | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Iterator[Row]:
    """Runs each model in each engine at each block size and tells how that went.

    In each round every engine opens the model anew, processes the signal from silence, block by block, and once more as
    a whole. The engines take turns, each round beginning with another one, so that whatever else the machine does falls
    upon all of them.

    :param source: shape (n,), the signal
    :param references: compare with ``NAME.npy`` beside each model, float32, shape (n,), an exact render of the signal
        from silence (with ``slim``, ``NAME.slimSIZE.npy``); otherwise, and where there is none, with our own render
    :param peers: of different names
    :param slim: the size of models that come in several, 0 to 1; ``None`` for the engine's default
    :param progress: called now and then with the model's name and the share that is done, 0 to 1
    :raises BenchError: where the signal is shorter than a block, the size out of range, or a reference unreadable
    """
    if slim is not None and not 0 <= slim <= 1:
        raise BenchError(f"slim is {slim}, but a size goes from 0 to 1")
    engines: list[Engine] = [_Ours(), *peers]
    total, done = len(models) * len(blocks) * rounds * len(engines), 0
    for model in models:
        if len(source) < max(blocks):
            raise BenchError(f"the signal has {len(source)} samples, less than a block of {max(blocks)}")
        reference = _reference(model, source, slim, references)
        for block in blocks:
            runs: dict[str, list[_Run]] = {engine.name: [] for engine in engines}
            refused: dict[str, str] = {}
            peaks = []
            for turn in range(rounds):
                peaks.append(lib.neurig_peak())
                for engine in engines[turn % len(engines):] + engines[: turn % len(engines)]:
                    try:
                        if engine.name not in refused:
                            runs[engine.name].append(_run(engine, model, source, block, channels, slim))
                    except Refused as problem:
                        refused[engine.name] = str(problem)
                    done += 1
                    if progress:
                        progress(_name(model), done / total)
            for engine in engines:
                head = (str(model.path), engine.name, block, channels)
                if engine.name in refused:
                    yield Row(*head, slim=slim, refused=refused[engine.name])
                else:
                    yield _row(head, model, slim, runs[engine.name], reference, float(np.median(peaks)))


@dataclass(frozen=True)
class _Run:
    output: NDArray[np.float32]  # of the last channel
    blocks: NDArray[np.float32]  # seconds
    cpu: float  # ns for each sample of each channel
    wall: float


def _run(engine: Engine, model: Model, source: NDArray[np.float32], block: int, channels: int,
         slim: float | None) -> _Run:
    """:raises Refused: where the engine cannot run the model, or makes no finite samples of it"""
    frames = len(source) // block * block
    times = np.zeros(frames // block, np.float32)
    seconds = ffi.new("double[2]")
    with engine.open(model, block, slim, channels) as handles:
        each = channels // len(handles)
        blocks = np.repeat(source[:frames].reshape(-1, 1, block), each, axis=1)  # every channel hears the same
        output = np.zeros_like(blocks)
        fixed = (engine.process, ffi.new("void *[]", handles), len(handles), each, ffi.from_buffer("float[]", blocks),
                 ffi.from_buffer("float[]", output, require_writable=True), frames, block, seconds)
        lib.neurig_measure(*fixed, ffi.from_buffer("float[]", times, require_writable=True))
        heard = output[:, -1].flatten()  # a copy: the second time writes into the same memory
        lib.neurig_measure(*fixed, ffi.NULL)
    if not np.isfinite(heard).all():
        raise Refused("it gives samples that are no finite numbers")
    to_ns = 1e9 / (frames * channels)
    return _Run(heard, times, seconds[0] * to_ns, seconds[1] * to_ns)


def _row(head: tuple[str, str, int, int], model: Model, slim: float | None, runs: list[_Run],
         reference: NDArray[np.float32], peak: float) -> Row:
    low, ns, high = np.percentile([run.cpu for run in runs], [25, 50, 75])
    blocks = np.min([run.blocks for run in runs], axis=0)
    settled = _settled(len(runs[0].output), model)
    blocks = blocks[settled // head[2] :]
    return Row(
        *head,
        ns_per_sample=float(ns), ns_low=float(low), ns_high=float(high),
        wall_ns_per_sample=float(np.median([run.wall for run in runs])),
        real_time_factor=1e9 / (_rate(model) * float(ns) * head[3]),
        fma_share=model.info["macs"] * 1e9 / float(ns) / peak if slim is None and "macs" in model.info else None,
        worst_block=float(blocks.max() / np.median(blocks)),
        esr=_esr(reference, runs[0].output, settled),
        slim=slim,
    )


def _reference(model: Model, source: NDArray[np.float32], slim: float | None, given: bool) -> NDArray[np.float32]:
    path = Path(f"{model.path}.npy" if slim is None else f"{model.path}.slim{slim:g}.npy")
    if given and path.is_file():
        try:
            samples = np.load(path)
        except ValueError as problem:
            raise BenchError(f"{path}: {problem}") from None
        if samples.ndim != 1 or len(samples) < len(source):
            raise BenchError(f"{path}: its shape is {samples.shape}, but the signal's is {source.shape}")
        return samples
    return _instance(model, slim).process(source)


def _instance(model: Model, slim: float | None, channels: int = 1) -> Instance:
    instance = model.instance(_rate(model), channels=channels)
    if slim is not None:
        instance.slim = slim
    return instance


def _settled(frames: int, model: Model) -> int:
    """From which sample on errors and slow blocks count."""
    return min(int(_SETTLED * _rate(model)), frames // 2)


def _esr(reference: NDArray[np.float32], output: NDArray[np.float32], start: int) -> float | None:
    expected = reference[start : len(output)].astype(np.float64)
    power = float(np.sum(expected**2))
    return float(np.sum((expected - output[start:]) ** 2)) / power if power else None


def _rate(model: Model) -> float:
    return model.rate or 48000.0


def _name(model: Model) -> str:
    return model.path.name if model.path else repr(model)


def machine() -> str:
    """The processor's name and what it could do at best."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return f"{name}, one core: {lib.neurig_peak() / 1e9:.1f} billion multiply-adds per second at most"


def table(rows: Sequence[Row]) -> str:
    """The rows for the terminal, which is a Markdown table, too."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    ours = {(row.model, row.block): row.ns_per_sample for row in rows if row.engine == OURS}
    made = Table(box=box.MARKDOWN)
    for title in ("model", "block", "engine"):
        made.add_column(title, no_wrap=True, justify="right" if title == "block" else "left")
    for title in ("ns/sample", "quartiles", "of ours", "× real time", "of FMA peak", "worst block", "ESR"):
        made.add_column(title, no_wrap=True, justify="right")
    for row in rows:
        head = (Path(row.model).name, str(row.block), row.engine)
        if row.ns_per_sample is None:
            made.add_row(*head, "refused")
            continue
        made.add_row(
            *head, f"{row.ns_per_sample:.1f}", f"{row.ns_low:.1f}–{row.ns_high:.1f}",
            "" if row.engine == OURS else f"{row.ns_per_sample / ours[row.model, row.block]:.2f}",
            f"{row.real_time_factor:.0f}", "" if row.fma_share is None else f"{row.fma_share:.0%}",
            f"{row.worst_block:.2f}", "" if row.esr is None else f"{row.esr:.1e}",
        )
    console = Console(width=250, markup=False, emoji=False, highlight=False)
    with console.capture() as captured:
        console.print(made)
    return captured.get().strip()


def plot(rows: Sequence[Row], path: str | os.PathLike[str]) -> None:
    """Draws ns per sample as bars, an SVG picture: a group for each model and block size, a colour for each engine.

    In each group the slowest engine's bar has the full length.

    :raises OSError: where the file cannot be written
    """
    width, left, right, bar, gap, top = 900, 250, 130, 16, 14, 40
    colours = ("#d9480f", "#1c7ed6", "#2b8a3e", "#862e9c", "#868e96", "#e67700", "#0b7285", "#a61e4d")
    engines = list(dict.fromkeys(row.engine for row in rows))
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        if row.ns_per_sample is not None:
            groups.setdefault((row.model, row.block), []).append(row)
    parts, y = [], top
    for (model, block), group in groups.items():
        longest = max(row.ns_per_sample or 0 for row in group)
        middle = y + len(group) * bar / 2 + 4
        label = f"{Path(model).name}, block {block}"
        parts.append(f'<text x="{left - 8}" y="{middle:.0f}" text-anchor="end">{escape(label)}</text>')
        for row in group:
            ns = row.ns_per_sample or 0
            length = (width - left - right) * ns / longest
            colour = colours[engines.index(row.engine) % len(colours)]
            error = "" if row.esr is None else f", ESR {row.esr:.0e}"
            parts.append(f'<rect x="{left}" y="{y + 1}" width="{length:.1f}" height="{bar - 2}" fill="{colour}"/>')
            parts.append(f'<text x="{left + length + 6:.1f}" y="{y + bar - 4}" fill="#495057">{ns:.1f}{error}</text>')
            y += bar
        y += gap
    keys, x = [], left
    for index, engine in enumerate(engines):
        keys.append(f'<rect x="{x}" y="12" width="12" height="12" fill="{colours[index % len(colours)]}"/>')
        keys.append(f'<text x="{x + 17}" y="22">{escape(engine)}</text>')
        x += 40 + 7 * len(engine)
    parts.append(f'<text x="{left}" y="{y + 6}" fill="#495057">ns of CPU time per sample: shorter is faster</text>')
    picture = "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {max(width, x)} {y + 20}" width="{max(width, x)}" '
        f'height="{y + 20}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>', *keys, *parts, "</svg>\n",
    ])
    write_atomic(path, picture)

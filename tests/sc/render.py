"""Renders a signal through NeuralAmp, or a session with MDRNN, in a real SuperCollider server, faster than real time.

The servers' non-real-time modes take a score: OSC bundles with their times, in a file. This module writes scores and
the SynthDefs in them without sclang, so that a render takes a tenth of a second.
"""

from __future__ import annotations

import os
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from pythonosc.osc_message_builder import OscMessageBuilder

PLUGINS = Path(__file__).resolve().parents[2] / "sc" / "plugins"
SERVERS = ("scsynth", "supernova")
RATES = {"scalar": 0, "control": 1, "audio": 2}


@dataclass(eq=False)
class UGen:
    """One unit of a SynthDef.

    :ivar inputs: numbers, units (their first output), (unit, output) pairs, or the names of parameters
    """

    name: str
    inputs: Sequence[float | str | UGen | tuple[UGen, int]]
    rate: str = "audio"
    outputs: int = 1


def synthdef(name: str, ugens: Sequence[UGen], **parameters: float) -> bytes:
    """A SynthDef in the servers' binary format, version 2.

    :param ugens: in the order of computation
    :param parameters: the names of control-rate parameters and their defaults
    """
    names = list(parameters)
    control = UGen("Control", [], "control", len(names))
    units = [control, *ugens] if names else list(ugens)
    constants = sorted({float(x) for u in units for x in u.inputs if isinstance(x, int | float)})

    def text(value: str) -> bytes:
        return struct.pack("B", len(value)) + value.encode()

    def wire(x: float | str | UGen | tuple[UGen, int]) -> bytes:
        if isinstance(x, int | float):
            return struct.pack(">ii", -1, constants.index(float(x)))
        source, output = (control, names.index(x)) if isinstance(x, str) else x if isinstance(x, tuple) else (x, 0)
        return struct.pack(">ii", units.index(source), output)

    def unit(u: UGen) -> bytes:
        head = text(u.name) + struct.pack(">biih", RATES[u.rate], len(u.inputs), u.outputs, 0)
        return head + b"".join(map(wire, u.inputs)) + bytes([RATES[u.rate]]) * u.outputs

    return b"".join([
        b"SCgf", struct.pack(">ih", 2, 1), text(name),
        struct.pack(f">i{len(constants)}f", len(constants), *constants),
        struct.pack(f">i{len(names)}f", len(names), *parameters.values()),
        struct.pack(">i", len(names)), *(text(n) + struct.pack(">i", i) for i, n in enumerate(names)),
        struct.pack(">i", len(units)), *map(unit, units),
        struct.pack(">h", 0),
    ])  # fmt: skip


def message(address: str, *arguments: object) -> bytes:
    """An OSC message."""
    builder = OscMessageBuilder(address)
    for argument in arguments:
        builder.add_arg(argument)
    return builder.build().dgram


def environment(folder: Path) -> dict[str, str]:
    """The environment of a server that knows this repository's plugins and nobody's own."""
    return os.environ | {"SC_PLUGIN_PATH": str(PLUGINS), "HOME": str(folder), "XDG_DATA_HOME": str(folder)}


def perform(
    score: Sequence[tuple[float, Sequence[bytes]]],
    seconds: float,
    rate: int = 48000,
    server: str = "scsynth",
    block: int = 64,
    channels: int = 2,
) -> tuple[np.ndarray, str]:
    """Has a server perform a score.

    :param score: times in seconds, and the messages for each
    :param seconds: length of the result
    :returns: what the server played, (frames, channels) float32, and what it printed
    :raises RuntimeError: where it failed, with what it printed
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        packets = []
        for time, messages in [*score, (seconds, [message("/c_set", 0, 0.0)])]:
            stamp = struct.pack(">II", int(time), int((time - int(time)) * 2**32))
            bundle = b"#bundle\0" + stamp + b"".join(struct.pack(">i", len(m)) + m for m in messages)
            packets.append(struct.pack(">i", len(bundle)) + bundle)
        (folder / "score.osc").write_bytes(b"".join(packets))
        result = subprocess.run(
            [server, "-N" if server == "scsynth" else "--nrt", "score.osc", "_", "out.wav", str(rate), "WAV", "float",
             "-i", "0", "-o", str(channels), "-z", str(block), "-D", "0"],
            cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        said = result.stdout + result.stderr
        if result.returncode or "FAILURE" in said or "xception" in said or not (folder / "out.wav").exists():
            raise RuntimeError(f"{server} failed with {result.returncode}:\n{said}")
        return soundfile.read(folder / "out.wav", dtype="float32", always_2d=True)[0], said


def render(
    path: str | Path,
    x: np.ndarray,
    rate: int,
    server: str = "scsynth",
    block: int = 64,
    events: Sequence[tuple[float, Sequence[bytes]]] = (),
    **controls: float | np.ndarray,
) -> np.ndarray:
    """Plays a signal through ``NeuralAmp.ar`` with the model in slot 0.

    :param path: a model file
    :param x: one channel, float32
    :param rate: Hz
    :param server: ``"scsynth"`` or ``"supernova"``
    :param block: the server's block size in samples
    :param events: messages to perform meanwhile, at times in seconds
    :param controls: gain, out, bypass, level, dbu, slim, p0 (the first param; the model's own default where not given);
        an array, as long as ``x``, is a signal at audio rate
    :returns: as many samples as ``x`` has, aligned with it (the latency of a rate conversion is left in)
    """
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder) / "in.wav"
        start = np.zeros_like(x)
        start[0] = 1  # a second channel tells where in the output the sound begins
        signals = {name: value for name, value in controls.items() if isinstance(value, np.ndarray)}
        soundfile.write(sound, np.stack([x, start, *signals.values()], 1), rate, subtype="FLOAT")
        player = UGen("PlayBuf", [0, 1, 1, 0, 0, 0], outputs=2 + len(signals))
        knobs = ["gain", "out", "bypass", "level", "dbu", "slim", *(name for name in controls if name.startswith("p"))]
        sources = [(player, 2 + list(signals).index(name)) if name in signals else name for name in knobs]
        amp = UGen("NeuralAmp", [player, 0, *sources])
        output = UGen("Out", [0, amp, (player, 1)], outputs=0)
        presets = {"gain": 0, "out": 0, "bypass": 0, "level": 0, "dbu": 12, "slim": 1}
        numbers = {name: value for name, value in controls.items() if name not in signals}
        definition = synthdef("amp", [player, amp, output], **presets | numbers)
        score = [
            (0, [message("/b_allocRead", 0, str(sound)), message("/d_recv", definition)]),
            (0, [message("/cmd", "neuralamp_read", 0, str(path)), message("/s_new", "amp", 1000, 0, 0)]),
            *events,
        ]
        y, said = perform(score, (len(x) + 4 * block + 64) / rate, rate, server, block)
    begin = np.flatnonzero(y[:, 1])
    if len(begin) != 1 or len(y) < begin[0] + len(x):
        raise RuntimeError(f"{server} did not play the sound once and whole:\n{said}")
    return y[begin[0] : begin[0] + len(x), 0]


def play(
    path: str | Path,
    gestures: Sequence[tuple[float, Sequence[float]]],
    seconds: float,
    values: int,
    server: str = "scsynth",
    block: int = 64,
    rate: int = 48000,
    events: Sequence[tuple[float, Sequence[bytes]]] = (),
    **settings: float,
) -> np.ndarray:
    """Plays a session with ``MDRNN.kr`` and the model in slot 0.

    :param gestures: times in seconds (further apart than two blocks), and the player's values
    :param values: of the player, and of the unit
    :param events: messages to perform meanwhile; the synth is node 1000
    :param settings: inputs of the unit: mode, threshold, timescale, pitemp, sigmatemp, mix, run, seed, reset
    :returns: a row for each block since the unit began: whether there was a gesture, then the unit's outputs: trigger,
        dt, x1 …
    """
    names = ("mode", "threshold", "timescale", "pitemp", "sigmatemp", "mix", "run", "seed", "reset")
    settings = {"mode": 0, "threshold": 0.1, "timescale": 1, "pitemp": 1, "sigmatemp": 0.01, "mix": 1, "run": 1,
                "seed": 0, "reset": 0} | settings  # fmt: skip
    hands = [f"x{index}" for index in range(values)]
    player = UGen("MDRNN", [0, *names, "trig", *hands], "control", 2 + values)
    outputs = ["begun", "trig", *((player, index) for index in range(2 + values))]
    ramps = [UGen("K2A", [output]) for output in outputs]
    definition = synthdef("player", [player, *ramps, UGen("Out", [0, *ramps], outputs=0)], **settings, trig=0, begun=1,
                          **dict.fromkeys(hands, 0))  # fmt: skip
    step = block / rate
    score: list[tuple[float, Sequence[bytes]]] = [
        (0, [message("/d_recv", definition)]),
        (0, [message("/cmd", "mdrnn_read", 0, str(path)), message("/s_new", "player", 1000, 0, 0)]),
    ]
    for time, frame in gestures:
        moves = [part for name, value in zip(hands, frame, strict=True) for part in (name, float(value))]
        score.append((time, [message("/n_set", 1000, *moves, "trig", 1.0)]))
        score.append((time + 1.5 * step, [message("/n_set", 1000, "trig", 0.0)]))
    score = sorted([*score, *events], key=lambda event: event[0])
    y, said = perform(score, seconds, rate, server, block, channels=len(outputs))
    rows = y[::block]  # a block's value is where its ramp ends: at the beginning of the next one
    begun = np.flatnonzero(rows[:, 0])
    if not len(begun):
        raise RuntimeError(f"{server} did not play:\n{said}")
    return rows[begun[0] + 1 :, 1:]  # a ramp begins where its signal does

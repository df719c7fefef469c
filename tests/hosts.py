"""Several amps side by side in one start of each host: one signal goes into all of them.

All are faster than real time and exact to the sample. Each function takes the models' files and a signal, float32 of
shape (n,) at 48 kHz, and gives (n, files).
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from click.testing import CliRunner
from numpy.typing import NDArray

import neurig
import pd.render
import rig.render
import sc.render
from neurig.cli import main
from sc.render import UGen, message

Signal = NDArray[np.float32]
RATE = 48000


def python(paths: Sequence[Path], x: Signal) -> Signal:
    return np.stack([neurig.load(path).instance(RATE).process(x) for path in paths], 1)


def command(paths: Sequence[Path], x: Signal) -> Signal:
    """``neurig render``, with the models' own knobs in the middle."""
    played = []
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.wav", Path(folder) / "out.wav"
        soundfile.write(source, x, RATE, "FLOAT")
        for path in paths:
            knobs = [f"--param={index}=0.5" for index in range(len(neurig.load(path).params))]
            done = CliRunner().invoke(main, ["render", str(path), str(source), str(target), *knobs])
            assert done.exit_code == 0, done.output
            played.append(soundfile.read(target, dtype="float32")[0])
    return np.stack(played, 1)


def by_rig(paths: Sequence[Path], x: Signal) -> Signal:
    nodes, connections = {"in": ("input", {})}, []
    for channel, path in enumerate(paths, 1):
        nodes[f"amp{channel}"] = ("amp", {"model": str(path)})
        nodes[f"out{channel}"] = ("output", {"channel": channel})
        connections += [("in", f"amp{channel}"), (f"amp{channel}", f"out{channel}")]
    return rig.render.play(nodes, connections, x, rate=RATE, channels=len(paths))


def by_pd(paths: Sequence[Path], x: Signal) -> Signal:
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder) / "in.wav", Path(folder) / "out.wav"
        soundfile.write(source, x, RATE, "FLOAT")
        tables = [f"neurig-{number}" for number in range(len(paths))]
        patch = pd.render.Patch()
        begin, order = patch.obj("loadbang"), patch.obj("t b b b")
        patch.obj("table neurig-in")
        file, dsp, play = patch.obj("soundfiler"), patch.msg("; pd dsp 1"), patch.obj("tabplay~ neurig-in")
        patch.connect(order, read := patch.msg(f"read -resize {source} neurig-in"), 2)
        patch.connect(order, dsp, 1)
        for path, table in zip(paths, tables):
            patch.obj(f"table {table} {len(x)}")
            patch.chain(play, patch.obj(f"neuralamp~ {path}"), record := patch.obj(f"tabwrite~ {table}"))
            patch.connect(order, record)
        patch.connect(order, play)
        ended, end = patch.obj(f"delay {1000 * (len(x) + 128) / RATE:.9g}"), patch.obj("t b b")
        write = patch.msg(f"write -wave -bytes 4 -rate {RATE} {result} {' '.join(tables)}")
        patch.chain(begin, order, ended, end, patch.msg("; pd quit"))
        patch.connect(end, write, 1)
        patch.chain(read, file)
        patch.chain(write, file)
        wrong = pd.render.complaints(patch.run("-r", str(RATE)))
        assert not wrong, wrong
        return soundfile.read(result, dtype="float32", always_2d=True)[0]


def by_supercollider(paths: Sequence[Path], x: Signal, server: str) -> Signal:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in.wav"
        start = np.zeros_like(x)
        start[0] = 1  # a second channel tells where in the output the sound begins
        soundfile.write(source, np.stack([x, start], 1), RATE, "FLOAT")
        player = UGen("PlayBuf", [0, 1, 1, 0, 0, 0], outputs=2)
        amps = [UGen("NeuralAmp", [player, slot, 0, 0, 0, 0, 12, 1]) for slot in range(len(paths))]
        definition = sc.render.synthdef("amps", [player, *amps, UGen("Out", [0, (player, 1), *amps], outputs=0)])
        reads = [message("/cmd", "neuralamp_read", slot, str(path)) for slot, path in enumerate(paths)]
        y, said = sc.render.perform(
            [(0, [message("/b_allocRead", 0, str(source)), message("/d_recv", definition), *reads]),
             (0, [message("/s_new", "amps", 1000, 0, 0)])],
            (len(x) + 320) / RATE, RATE, server, channels=1 + len(paths),
        )  # fmt: skip
    begin = np.flatnonzero(y[:, 0])
    assert len(begin) == 1 and len(y) >= begin[0] + len(x), said
    return y[begin[0] : begin[0] + len(x), 1:]

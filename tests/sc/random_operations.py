"""NeuralAmp, NeuralAmpLatency and MDRNN driven by chance in a running scsynth or supernova: units are made, steered,
paused and freed, models read, replaced and freed, with files that are good, broken, or deleted while they are read, and
with arguments that make no sense.

    python tests/sc/random_operations.py --operations 3000 --seed 1 [--server scsynth|supernova] [--rate 44100]
                                         [--block 64] [--sanitize address|thread|undefined] [--valgrind]

It ends with an error where the server does, where something is not as it should be, or where a sanitizer finds
something.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "externals"), str(ROOT / "bridge")]

from sc.render import SERVERS, UGen, environment, message, synthdef  # noqa: E402
from sc.server import Server  # noqa: E402

SLOTS = range(6)
NUMBERS = [0, 1, -1, 0.5, 2, 3, 4, 7, 12, -20, 1e9, -1e30, float("nan"), float("inf"), float("-inf")]
AMP_KNOBS = ["gain", "out", "bypass", "level", "dbu", "slim", "p0", "p1"]
PLAYER_KNOBS = ["mode", "threshold", "timescale", "pitemp", "sigmatemp", "mix", "run", "seed", "reset", "trig"]


def write_files(folder: Path) -> dict[str, list[str]]:
    """Models, good and bad, by kinds."""
    crunch, wander = ((ROOT / "models" / name).read_bytes() for name in ("crunch.nam", "wander.mdrnn"))
    dense = {"type": "dense", "shape": [1], "weights": [[[1], [1], [1]], [0]]}
    wire = {"architecture": "Linear", "config": {"receptive_field": 1, "bias": False}, "weights": [0.5],
            "sample_rate": 44100}  # fmt: skip
    sizes = [{"max_value": limit, "model": wire | {"weights": [limit]}} for limit in (0.5, 1)]
    files = {
        "amps": {"crunch.nam": crunch, "wire é.nam": json.dumps(wire).encode(),
                 "cab.wav": (ROOT / "models" / "open-back.wav").read_bytes(),
                 "knobs.json": json.dumps({"in_shape": [3], "layers": [dense]}).encode(),
                 "sizes.nam": json.dumps({"architecture": "SlimmableContainer",
                                          "config": {"submodels": sizes}}).encode()},
        "players": {"wander.mdrnn": wander},
        "bad": {"cut.nam": crunch[: len(crunch) // 2], "cut.mdrnn": wander[:1000], "empty.nam": b"",
                "noise.nam": bytes(range(256)), "cut.wav": b"RIFF\xff\xff\xff\xffWAVEfmt ", "none.nam": b"{}"},
    }  # fmt: skip
    for kind in files.values():
        for name, content in kind.items():
            (folder / name).write_bytes(content)
    paths = {kind: [str(folder / name) for name in names] for kind, names in files.items()}
    return paths | {"bad": [*paths["bad"], str(folder), "/nowhere/none.nam", "", "~", "x" * 9000]}


def definitions() -> dict[str, tuple[bytes, int]]:
    """SynthDefs, and how many of their units play a slot."""
    noise = UGen("WhiteNoise", [])
    slow = UGen("FSinOsc", [3.0, 0.0])
    knobs = dict.fromkeys(AMP_KNOBS, 0.0) | {"dbu": 12.0, "slim": 1.0}
    amp = UGen("NeuralAmp", [noise, "model", *AMP_KNOBS])
    signals = UGen("NeuralAmp", [noise, "model", slow, slow, "bypass", "level", "dbu", "slim", slow, noise])
    latency = UGen("NeuralAmpLatency", ["model"], "control")
    delayed = UGen("DelayN", [noise, 0.01, latency])
    hands = [UGen("LFNoise0", [50.0], "control") for _ in range(3)]
    dust = UGen("Dust", [30.0], "control")
    player = UGen("MDRNN", ["model", *PLAYER_KNOBS[:-1], dust, *hands], "control", 5)
    heard = [UGen("K2A", [(player, index)]) for index in range(5)]
    played = {"mode": 0.0, "threshold": 0.05, "timescale": 0.1, "pitemp": 1.0, "sigmatemp": 0.1, "mix": 1.0, "run": 1.0,
              "seed": 0.0, "reset": 0.0}  # fmt: skip

    def out(*units: UGen) -> UGen:
        return UGen("Out", [0, *units], outputs=0)

    return {
        "amp": (synthdef("amp", [noise, amp, out(amp)], model=0, **knobs), 1),
        "pair": (synthdef("pair", [noise, amp, (other := UGen("NeuralAmp", [amp, 2, *AMP_KNOBS])), out(amp, other)],
                          model=0, **knobs), 2),
        "signals": (synthdef("signals", [noise, slow, signals, out(signals)], model=0, **knobs), 1),
        "latency": (synthdef("latency", [noise, latency, delayed, out(delayed)], model=0), 0),
        "player": (synthdef("player", [*hands, dust, player, *heard, out(*heard[:2])], model=0, **played), 0),
    }  # fmt: skip


def drive(server: Server, operations: int, seed: int, folder: Path) -> Counter[str]:
    """Performs operations by chance, and looks whether all is as it should be.

    :returns: how many there were of each
    :raises AssertionError: where something is not, with what the server has said
    """
    choose = random.Random(seed)
    files = write_files(folder)
    for definition, _ in definitions().values():
        server.ask("/d_recv", definition, answer=("/done", "/d_recv"))
    units = {name: count for name, (_, count) in definitions().items()}
    alive: dict[int, tuple[str, int]] = {}
    fleeting = folder / "fleeting.nam"
    nodes = iter(range(1000, 10**9))

    def make() -> None:
        name, slot = choose.choice(sorted(units)), choose.choice([*SLOTS, 1023, -1, 5000])
        knobs = [part for knob in choose.sample(AMP_KNOBS, 2) for part in (knob, float(choose.choice(NUMBERS)))]
        alive[node := next(nodes)] = name, slot
        server.send("/s_new", name, node, 0, 0, "model", float(slot), *(knobs if choose.random() < 0.3 else ()))

    def free() -> None:
        if alive:
            node = choose.choice(list(alive))
            del alive[node]
            server.send("/n_free", node)

    def free_many() -> None:
        if len(alive) > 12:
            server.send("/g_freeAll", 0)
            alive.clear()

    def pause() -> None:
        if alive:
            server.send("/n_run", choose.choice(list(alive)), choose.randrange(2))

    def steer() -> None:
        if alive:
            knob = choose.choice([*AMP_KNOBS, *PLAYER_KNOBS])
            server.send("/n_set", choose.choice(list(alive)), knob, float(choose.choice(NUMBERS)))

    def read() -> None:
        plugin = choose.choice(["neuralamp", "mdrnn"])
        paths = files[choose.choice(["amps", "players"] if choose.random() < 0.7 else ["bad"])]
        server.send("/cmd", plugin + "_read", choose.choice([*SLOTS] * 3 + [-1, 5000]), choose.choice(paths))

    def read_what_goes() -> None:
        """A file that is deleted, or another one, before it is read to its end."""
        fleeting.write_bytes(Path(files["amps"][0]).read_bytes())
        server.send("/cmd", "neuralamp_read", choose.choice(SLOTS), str(fleeting))
        if choose.random() < 0.5:
            fleeting.unlink()
        else:
            fleeting.write_bytes(b"{")

    def empty() -> None:
        server.send("/cmd", choose.choice(["neuralamp", "mdrnn"]) + "_free", choose.choice([*SLOTS, -1, 5000]))

    def replace_at_once() -> None:
        """Faster than the crossfade."""
        for _ in range(4):
            server.send("/cmd", "neuralamp_read", 2, choose.choice(files["amps"]))
        server.send("/cmd", "neuralamp_free", 2)

    def ask() -> None:
        buffer = choose.choice([0, 1, 2, 3, -1, 10**6])
        server.send("/cmd", choose.choice(["neuralamp", "mdrnn"]) + "_query", choose.choice(SLOTS), buffer,
                    *([message("/b_getn", 0, 0, 8)] if choose.random() < 0.5 else []))  # fmt: skip

    def predict() -> None:
        server.send("/cmd", "mdrnn_predict", choose.choice(SLOTS), choose.randrange(100), choose.randrange(50),
                    choose.randrange(200), choose.randrange(5), float(choose.choice(NUMBERS)), 0.1, 0,
                    choose.choice([0, 1, 2]))  # fmt: skip

    def record() -> None:
        server.send("/cmd", "mdrnn_record", choose.choice([*SLOTS, -1]), choose.randrange(2))

    def buffers() -> None:
        buffer = choose.choice([1, 2])
        server.send(*choose.choice([("/b_alloc", buffer, choose.choice([1, 9, 600]), 1), ("/b_free", buffer)]))

    def nonsense() -> None:
        name = choose.choice(["neuralamp_read", "neuralamp_free", "neuralamp_query", "mdrnn_read", "mdrnn_free",
                              "mdrnn_query", "mdrnn_predict", "mdrnn_record"])  # fmt: skip
        pool = [0, 1, -7, 2**31 - 1, 0.5, float("nan"), "x", "", message("/nonsense"), "é" * 100]
        server.send("/cmd", name, *(choose.choice(pool) for _ in range(choose.randrange(8))))

    shares: dict[Callable[[], None], int] = {
        make: 30, free: 24, free_many: 1, pause: 4, steer: 10, read: 14, read_what_goes: 3, empty: 3,
        replace_at_once: 1, ask: 4, predict: 4, record: 2, buffers: 2, nonsense: 4,
    }  # fmt: skip
    counts: Counter[str] = Counter()
    for number in range(operations):
        does = choose.choices(list(shares), list(shares.values()))[0]
        while len(alive) > 40:
            free()
        does()
        counts[does.__name__] += 1
        if number % 10 == 0:
            server.ask("/sync", number, answer=("/synced", number))
    server.send("/b_free", 0)
    server.ask("/b_alloc", 0, 512, 1, answer=("/done", "/b_alloc", 0))

    synths = server.ask("/status", answer=("/status.reply",))[2]
    assert synths == len(alive), f"seed {seed}: {synths} synths, not {len(alive)}"
    users = Counter(slot for name, slot in alive.values() for _ in range(min(units[name], 1)))
    users[2] += sum(name == "pair" for name, _ in alive.values())
    for node in alive:
        server.send("/n_run", node, 1)  # units of a synth that was paused at once do not exist yet
    end = time.monotonic() + server.seconds
    while (told := {slot: server.command("neuralamp_query", slot)[0]["users"] for slot in SLOTS}) != {
            slot: users[slot] for slot in SLOTS}:  # fmt: skip
        assert time.monotonic() < end, f"seed {seed}: units on slots are {told}, not {users}"
    for name, path in (("neuralamp", files["amps"][0]), ("mdrnn", files["players"][0])):
        head, text = server.command(name + "_read", 0, path)
        assert head["ok"] == 1, f"seed {seed}: {text}"
    assert server.report("mdrnn_predict", 0, 1, 0, 5, 3, 1.0, 0.01, 0)[0] == 1
    server.send("/g_freeAll", 0)
    server.ask("/sync", -1, answer=("/synced", -1))
    assert server.command("neuralamp_query", 0)[0]["users"] == 0
    return counts


def sanitized(kind: str) -> tuple[Path, dict[str, str]]:
    """Builds the plugins with a sanitizer; gives their folder, and the environment in which a server loads them."""
    import build

    build.OBJECTS = ROOT / "build" / f"sc-{kind}"
    flag = f"-fsanitize={kind}"
    kept = [option for option in build.COMPILE if option != "-O3"]
    build.COMPILE = [*kept, flag, "-O1", "-g", "-fno-omit-frame-pointer"]
    build.LINK = [flag] + [option for option in build.LINK if option != "-s" and not option.startswith("-static")]
    folder = build.OBJECTS / "plugins"
    build.build_sc(folder)
    libraries = {"address": "libasan.so", "thread": "libtsan.so", "undefined": "libubsan.so"}
    paths = [subprocess.check_output(["g++", f"-print-file-name={name}"], text=True).strip()
             for name in (libraries[kind], "libstdc++.so.6")]  # fmt: skip
    return folder, {"LD_PRELOAD": ":".join(paths), "ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "halt_on_error=1",
                    "TSAN_OPTIONS": "ignore_noninstrumented_modules=1"}  # fmt: skip


def main() -> None:
    from conftest import _free_port, _run_jack

    parser = argparse.ArgumentParser()
    parser.add_argument("--operations", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--server", choices=SERVERS, default="scsynth")
    parser.add_argument("--rate", type=int, default=48000)
    parser.add_argument("--block", type=int, default=64, help="the server's")
    parser.add_argument("--sanitize", choices=["address", "thread", "undefined"])
    parser.add_argument("--valgrind", action="store_true")
    asked = parser.parse_args()
    plugins, env = sanitized(asked.sanitize) if asked.sanitize else (ROOT / "sc" / "plugins", {})
    wrapper = ("valgrind", "--error-exitcode=9", "--quiet", "--errors-for-leak-kinds=none") if asked.valgrind else ()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with contextlib.contextmanager(_run_jack)(folder, asked.rate, 256, "--timeout", "20000") as jack:
            env = environment(folder) | jack.env | env | {"SC_PLUGIN_PATH": str(plugins), "HOME": str(folder)}
            server = Server(asked.server, _free_port(), folder, env, "-z", str(asked.block), wrapper=wrapper,
                            seconds=300)
            try:
                began = time.monotonic()
                counts = drive(server.ready(), asked.operations, asked.seed, folder)
                took = time.monotonic() - began
                assert server.process.poll() is None, server.log.read_text()[-4000:]
                memory = server.memory()
                server.send("/quit")
                with contextlib.suppress(subprocess.TimeoutExpired):  # supernova may not end: that is its own
                    server.process.wait(60)
                said = server.log.read_text(errors="replace")
            finally:
                server.process.kill()
                server.process.wait()
    marks = ("ERROR: AddressSanitizer", "WARNING: ThreadSanitizer", "runtime error")
    findings = [line for line in said.splitlines() if line.startswith("==") or any(mark in line for mark in marks)]
    print(*sorted(counts.items()), sep="\n")
    print(f"{asked.operations} operations in {took:.1f} s, seed {asked.seed}, {asked.server} at {asked.rate} Hz, "
          f"blocks of {asked.block}, {memory:.0f} MiB; ended with {server.process.returncode}; {len(findings)} findings")
    if findings:
        sys.exit(said[-20000:])


if __name__ == "__main__":
    main()

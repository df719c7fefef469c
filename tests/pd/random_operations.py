"""[neuralamp~] and [mdrnn] driven by chance in real Pd, in real time: made, loaded, told right and wrong things, and
deleted in any order while the signal runs, stops, and changes its rate and its blocks.

    python tests/pd/random_operations.py --operations 3000 --seed 1 [--pd PROGRAM] [--sanitize address|thread] [--valgrind]

It ends with an error where Pd does, where an object complains of what is right, or where a sanitizer finds something.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from pd.render import Patch, complaints  # noqa: E402

GOOD = {"amps": ["crunch.nam", "crunch", "a cab.wav", "two knobs.json"], "players": ["wander.mdrnn", "wander"]}
AMP_MESSAGES = [
    "unload", "reset", "prewarm", "bang", "print", "async 0", "async 1", "bypass 1", "bypass 0", "gain 12", "gain -200",
    "out 3", "normalize 1", "normalize 0", "calibrate 4", "slim 0", "slim 1", "slim 7", "xfade 0", "xfade 500",
    "xfade 20", "param knob1 0.3", "param 0 1", "param 99 1", "param 0.7", "param", "param knob1 x", "gain loud",
    "load", "slim", "async", "0.25", "1e30", "nonsense 1 2 3", "symbol x", "list 1 2 3", "float 3",
]  # fmt: skip
PLAYER_MESSAGES = [
    "0.1 0.2 0.3", "0.5 0.5 0.5 0.5", "0.5", "2 0.1 0.1", "x 0.1 0.2", "bang", "reset", "info", "print", "mode battle",
    "mode manual", "mode callresponse", "mode filter", "mode polyphony", "mode useronly", "mode solo", "mode", "run 0",
    "run 1", "seed 3", "seed -1", "threshold 0", "threshold -1", "timescale 0", "timescale 0.1", "pitemp 0",
    "pitemp 2", "sigmatemp 1", "mix 0.5", "mix 3", "record 1", "record takes", "record 0", "record", "record /dev/full",
    "record /nowhere/at/all", "async 0", "async 1", "load", "nonsense", "symbol x",
]  # fmt: skip
FLAGS = ["", "", "-ch 2", "-ch 5", "-threaded 1", "-threaded 9", "-threaded 3 -ch 3", "-knobs 3", "-q 0 -xfade 3",
         "-q 7", "-ch none", "-threaded", "-loud 11"]  # fmt: skip
# What is wrong with a message is said; anything else is not expected.
EXPECTED = ("error: neuralamp~: ", "error: mdrnn: ", "bad arguments for message", "no method for",
            "signal outlet connected to nonsignal inlet", "amps-told: error", "players-told: error",
            "connection failed")  # fmt: skip


def write_files(folder: Path) -> list[str]:
    """Models, good and bad; some names have spaces, or numbers that Pd changes. Returns all, as messages have them."""
    models = ROOT / "models"
    crunch, wander = (models / "crunch.nam").read_bytes(), (models / "wander.mdrnn").read_bytes()
    dense = {"type": "dense", "shape": [1], "weights": [[[1], [1], [1]], [0]]}
    files = {
        "07 plexi 1.20.nam": crunch, "crunch.nam": crunch, "wander.mdrnn": wander,
        "a cab.wav": (models / "open-back.wav").read_bytes(),
        "two knobs.json": json.dumps({"in_shape": [3], "layers": [dense]}).encode(),
        "cut.nam": crunch[: len(crunch) // 2], "cut.mdrnn": wander[:1000], "empty.nam": b"",
        "noise.nam": bytes(range(256)),
        "turned.nam": crunch.replace(b"0.", b"1e30", 50), "no weights.nam": b'{"architecture": "WaveNet"}',
    }  # fmt: skip
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "takes").mkdir(exist_ok=True)
    return [*files, "missing.nam", "08 missing 1.0.nam", "takes"]


def operations(count: int, seed: int, files: Sequence[str]) -> list[str]:
    """So many operations, as [qlist] reads them."""
    draw, steps, stage = random.Random(seed), [], 0

    def file(kind: str) -> str:
        return draw.choice(GOOD[kind] if draw.random() < 0.6 else files)

    for number in range(count):
        wait = draw.choice([0, 0, 0, 1, 1, 2, 3, 5, 10])
        kind = draw.random()
        if number % 40 == 0 or kind < 0.04:  # of what the window holds, everything goes: also what is loading
            steps.append(f"{wait} pd-stage clear")
            steps += [f"0 pd-stage obj 10 10 {text}" for text in (
                "osc~ 110", "r neurig-amps", "r neurig-players", "*~", "block~ 64 1 1", "r neurig-block", "sig~ 0.3",
                "print amps-told", "print players-told")]  # fmt: skip
            steps.append("0 pd-stage connect 5 0 4 0")
            stage = 9
        elif kind < 0.25:
            if draw.random() < 0.7:
                flags = draw.choice(FLAGS)
                told = re.search(r"-ch (\d)", flags)  # the number of its last outlet
                name = file("amps") if draw.random() < 0.7 else ""
                steps.append(f"{wait} pd-stage obj 10 100 neuralamp~ {flags} {name}")
                steps += [f"0 pd-stage connect {wire}" for wire in (
                    f"1 0 {stage} 0", f"{stage} {told[1] if told else 1} 7 0", *draw.sample(
                        [f"0 0 {stage} 0", f"{stage} 0 3 0", f"{stage} 0 3 1", f"6 0 {stage} 1", f"0 0 {stage} 2"],
                        draw.randint(2, 5)))]  # fmt: skip
            else:
                flags = draw.choice(["", "-mode battle -timescale 0.1", "-mode filter -seed 3", "-mode solo", "-mix 9"])
                name = file("players") if draw.random() < 0.7 else ""
                steps.append(f"{wait} pd-stage obj 10 100 mdrnn {flags} {name}")
                steps += [f"0 pd-stage connect {wire}" for wire in (f"2 0 {stage} 0", f"{stage} 2 8 0")]
            stage += 1
        elif kind < 0.45:
            receiver = draw.choice(["amps", "players"])
            steps.append(f"{wait} neurig-{receiver} load {file(receiver)}")
        elif kind < 0.68:
            steps.append(f"{wait} neurig-amps {draw.choice(AMP_MESSAGES)}")
        elif kind < 0.88:
            steps.append(f"{wait} neurig-players {draw.choice(PLAYER_MESSAGES)}")
        elif kind < 0.93:
            blocks = f"{draw.choice([1, 16, 64, 512, 4096])} {draw.choice([1, 2, 4])} {draw.choice([1, 2, 4])}"
            steps.append(f"{wait} neurig-block set {blocks}")
        elif kind < 0.96:
            steps.append(f"{wait} pd dsp {draw.randint(0, 1)}")
        elif kind < 0.98:
            rate = draw.choice([22050, 44100, 48000, 96000])
            steps.append(f"{wait} pd audio-dialog 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 {rate} 25 0 64")
        else:
            steps.append(f"{wait} pd dsp 1")
    return steps


def drive(count: int, seed: int, *, command: Sequence[str] = ("pd",), objects: Path = ROOT / "pd",
          env: dict[str, str] | None = None, seconds: float = 120) -> list[str]:
    """Runs so many operations in Pd.

    :param command: of Pd, or of what runs it
    :param objects: the folder of the objects
    :returns: the console's lines
    :raises AssertionError: where Pd does not end as it should, or complains of what is right
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        steps = operations(count, seed, write_files(folder))
        last = ["20 pd-stage clear", "0 pd-stage obj 10 10 neuralamp~ crunch", "0 pd-stage obj 10 10 print alive",
                "0 pd-stage obj 10 10 r neurig-last", "0 pd-stage connect 0 1 1 0", "0 pd-stage connect 2 0 0 0",
                "0 pd dsp 1", "100 neurig-last bang", "20 pd quit"]  # fmt: skip
        (folder / "script.txt").write_text("".join(f"{step};\n" for step in ["0 pd dsp 1", *steps, *last]))
        patch = Patch(folder)
        patch.sub(Patch(), "stage")
        patch.chain(patch.obj("loadbang"), patch.msg("read script.txt, bang"), patch.obj("qlist"))
        (folder / "test.pd").write_text(patch.text() + "\n")
        options = ["-nogui", "-noprefs", "-noaudio", "-nomidi", "-stderr", "-path", str(objects)]
        done = subprocess.run([*command, *options, "-open", str(folder / "test.pd")], capture_output=True, text=True,
                              errors="replace", timeout=seconds, env=os.environ | (env or {}))  # fmt: skip
        console = done.stderr.splitlines()
        assert done.returncode == 0, f"seed {seed}: pd ended with {done.returncode}:\n" + "\n".join(console[-60:])
        wrong = [line for line in complaints(console) if not any(text in line for text in EXPECTED)]
        assert not wrong, f"seed {seed}:\n" + "\n".join(wrong)
        assert f"alive: loaded {folder}/crunch.nam" in console, f"seed {seed}:\n" + "\n".join(console[-20:])
    return console


def sanitized(kind: str) -> tuple[Path, dict[str, str]]:
    """Builds the objects with a sanitizer; gives their folder, and the environment in which Pd loads them."""
    from core.programs import RACES, SANITIZED, build_step

    kinds = {"address": ("sanitized", SANITIZED, "libasan.so"), "thread": ("races", RACES, "libtsan.so")}
    name, flags, library = kinds[kind]
    step = build_step()
    core = step.compile_objects(sorted((ROOT / "externals" / "core").glob("*.cpp")), name, macros=flags)
    include = next(path for path in step.PD_HEADERS if (Path(path) / "m_pd.h").exists())
    folder = step.OBJECTS / f"pd-{name}" / "objects"
    libraries = [option for option in step.LINK if option != "-s" and not option.startswith("-static")]
    for source in sorted((ROOT / "externals" / "pd").glob("*.cpp")):
        made = step.compile_objects([source], f"pd-{name}", [include], ["-DPD", *flags])
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"{source.stem}.pd_linux"
        command = [*step.compiler(), "-shared", *flags, *map(str, [*made, *core]), "-o", str(target), *libraries]
        subprocess.run(command, check=True)
    # Pd itself has neither the sanitizer nor the C++ library that it wraps: both are loaded before all else.
    paths = [subprocess.check_output(["g++", f"-print-file-name={name}"], text=True).strip()
             for name in (library, "libstdc++.so.6")]  # fmt: skip
    return folder, {"LD_PRELOAD": ":".join(paths), "ASAN_OPTIONS": "detect_leaks=0",
                    "TSAN_OPTIONS": "ignore_noninstrumented_modules=1:halt_on_error=1"}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--operations", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pd", default="pd")
    parser.add_argument("--sanitize", choices=["address", "thread"])
    parser.add_argument("--valgrind", action="store_true")
    asked = parser.parse_args()
    objects, env = sanitized(asked.sanitize) if asked.sanitize else (ROOT / "pd", {})
    command = [asked.pd]
    if asked.valgrind:
        command = ["valgrind", "--error-exitcode=9", "--quiet", "--errors-for-leak-kinds=none", *command]
    began = time.monotonic()
    console = drive(asked.operations, asked.seed, command=command, objects=objects, env=env, seconds=3600)
    loads = sum("told: loaded" in line for line in console)
    print(f"{asked.operations} operations in {time.monotonic() - began:.1f} s: {loads} loads told of, "
          f"{len(complaints(console))} wrong things complained of, nothing else")  # fmt: skip


if __name__ == "__main__":
    main()

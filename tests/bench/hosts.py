"""Amps as objects of Pure Data and unit generators of SuperCollider: the CPU time that ours and others' take, in the
same patch, with the same model, in the same run.

    .venv/bin/python tests/bench/hosts.py MODEL … [--pdnam FOLDER] [--nn FOLDER --torchscript FOLDER]
                                          [--rtneural FOLDER …] [--rounds n] [--json FILE]

Others are built beforehand from their own repositories. A patch has some instances of one object, which hear noise; the
host plays it offline for a short and for a long time. The difference between the two, without that of a patch with no
such object, is what the object takes; loading does not count, threads do. Hosts, objects and models take turns in
several rounds, and medians are printed: nanoseconds per sample of one instance, and ours over the best other one. The
machine should have nothing else to do.
"""

import argparse
import json
import os
import resource
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pd.render
import sc.render
from sc.render import UGen, message

RATE = 48000
INSTANCES = 4
SHORT, LONG = 1, 11  # seconds of sound

Play = Callable[[Path, int], None]  # a model and seconds; an AssertionError where the model is refused


def in_pd(text: str, *options: str, instances: int = INSTANCES) -> Play:
    """:param text: of the object, with {model} for its file; none where it is empty"""

    def play(model: Path, seconds: int) -> None:
        patch = pd.render.Patch()
        begin, order = patch.obj("loadbang"), patch.obj("t b b")
        ended, end = patch.obj(f"delay {1000 * seconds}"), patch.msg("; pd quit")
        patch.chain(begin, order, ended, end)
        patch.connect(order, patch.msg("; pd dsp 1"), 1)
        noise, quieter = patch.obj("noise~"), patch.obj("*~ 0.1")
        patch.chain(noise, quieter)
        for _ in range(instances if text else 0):
            patch.chain(quieter, patch.obj(text.format(model=model)))
        said = patch.run("-r", str(RATE), *options)
        wrong = pd.render.complaints(said)
        assert not wrong, wrong[0]

    return play


def in_scsynth(name: str, inputs: list[float | None], commands: Callable[[Path], list[bytes]]) -> Play:
    """:param name: of the unit generator; none where it is empty
    :param inputs: its own, with None for the sound
    :param commands: what makes it play a model; the synth is node 1000
    """

    def play(model: Path, seconds: int) -> None:
        noise = UGen("WhiteNoise", [])
        quieter = UGen("MulAdd", [noise, 0.1, 0])
        amps = [UGen(name, [quieter if value is None else value for value in inputs])
                for _ in range(INSTANCES if name else 0)]  # fmt: skip
        output = UGen("Out", [0, amps[-1] if amps else quieter], outputs=0)
        definition = sc.render.synthdef("amps", [noise, quieter, *amps, output])
        score = [(0, [message("/d_recv", definition)]), (0, commands(model))]
        _, said = sc.render.perform(score, seconds, RATE, channels=1)
        assert "error" not in said.lower() and "cannot" not in said, said

    return play


START = message("/s_new", "amps", 1000, 0, 0)


def neurig_commands(model: Path) -> list[bytes]:
    return [message("/cmd", "neuralamp_read", 0, str(model)), START]


def rtneural_commands(model: Path) -> list[bytes]:
    units = range(2, 2 + INSTANCES)  # after the noise and its gain
    return [START, *(message("/u_cmd", 1000, unit, "load_model", str(model), 0) for unit in units)]


def engines(options: argparse.Namespace) -> dict[str, dict[str, Play]]:
    """For each host what plays in it; the first one is ours, and \"\" is the patch alone."""
    in_hosts = {
        "Pd": {"": in_pd(""), "[neuralamp~]": in_pd("neuralamp~ {model}")},
        "scsynth": {
            "": in_scsynth("", [], lambda model: [START]),
            "NeuralAmp.ar": in_scsynth("NeuralAmp", [None, 0, 0, 0, 0, 0, 12, 1], neurig_commands),
        },
    }
    if options.pdnam:
        in_hosts["Pd"]["[pdnam+~]"] = in_pd("pdnam+~ {model}", "-path", options.pdnam)
    if options.nn:
        scripted = f"nn~ {options.torchscript}/{{model.name}}.ts forward"
        in_hosts["Pd"]["[nn~], 4096 samples"] = in_pd(scripted, "-path", options.nn)
        in_hosts["Pd"]["[nn~], 64 samples"] = in_pd(f"{scripted} 64", "-path", options.nn)
    for folder in options.rtneural:
        # bypass, rate, trigger mode, trigger, reset, inputs of the model (0: as many as follow); the sound
        play = in_scsynth("RTNeural", [0, RATE, 0, 0, 0, 0, None], rtneural_commands)
        in_hosts["scsynth"][f"RTNeural.ar, {Path(folder).name}"] = with_plugins(play, folder)
    return in_hosts


def with_plugins(play: Play, folder: str) -> Play:
    """Lets the server find a folder's plugins, too."""

    def played(model: Path, seconds: int) -> None:
        ours = sc.render.PLUGINS
        sc.render.PLUGINS = f"{ours}:{folder}"  # type: ignore[assignment]
        try:
            play(model, seconds)
        finally:
            sc.render.PLUGINS = ours

    return played


def cpu_seconds(play: Play, model: Path, seconds: int) -> float:
    def used() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return children.ru_utime + children.ru_stime

    before = used()
    play(model, seconds)
    return used() - before


def measure(hosts: dict[str, dict[str, Play]], models: list[Path], rounds: int) -> list[dict[str, object]]:
    """A row for each host, model and engine: the nanoseconds per sample of each round, or why it was refused."""
    rows: list[dict[str, object]] = []
    times: dict[tuple[str, Path, str], list[float]] = {}
    refused: dict[tuple[str, Path, str], str] = {}
    for number in range(rounds):
        for host, plays in hosts.items():
            for model in models:
                alone = 0.0
                for engine, play in plays.items():
                    key = host, model, engine
                    if key in refused:
                        continue
                    try:
                        took = cpu_seconds(play, model, LONG) - cpu_seconds(play, model, SHORT)
                    except (AssertionError, RuntimeError) as problem:
                        refused[key] = str(problem).strip().splitlines()[-1][:200]
                        continue
                    if not engine:
                        alone = took
                    times.setdefault(key, []).append(1e9 * (took - alone) / ((LONG - SHORT) * RATE * INSTANCES))
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    for host, plays in hosts.items():
        for model in models:
            for engine in filter(None, plays):
                taken = times.get((host, model, engine), [])
                rows.append({"host": host, "model": model.name, "engine": engine, "rounds": taken,
                             "ns_per_sample": statistics.median(taken) if taken else None,
                             "refused": refused.get((host, model, engine))})  # fmt: skip
    return rows


def table(rows: list[dict[str, object]]) -> str:
    """In Markdown. `ours / best` is in the rows of ours."""
    lines = ["| host | model | object | ns per sample | ours / best other |", "|---|---|---|---:|---:|"]
    for row in rows:
        same = [other for other in rows if (other["host"], other["model"]) == (row["host"], row["model"])]
        others = [other["ns_per_sample"] for other in same[1:] if other["ns_per_sample"]]
        shown = "" if row is not same[0] or not others else f"{row['ns_per_sample'] / min(others):.2f}"  # type: ignore
        took = f"{row['ns_per_sample']:.0f}" if row["rounds"] else f"refused: {row['refused']}"
        lines.append(f"| {row['host']} | {row['model']} | {row['engine']} | {took} | {shown} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL", help="of 48 kHz")
    parser.add_argument("--pdnam", metavar="FOLDER", help="with pdnam+~, for Pd")
    parser.add_argument("--nn", metavar="FOLDER", help="with nn~, for Pd")
    parser.add_argument("--torchscript", metavar="FOLDER", help="with the models for nn~, each as NAME.ts of its NAME")
    parser.add_argument("--rtneural", metavar="FOLDER", action="append", default=[],
                        help="with a build of RTNeural's plugin for SuperCollider; may be repeated")
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)d)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    if bool(options.nn) != bool(options.torchscript):
        parser.error("--nn and --torchscript go together")
    os.environ["OMP_NUM_THREADS"] = "1"  # PyTorch's other threads would only wait, and count
    models = [path.resolve() for path in options.models]
    before = os.getloadavg()[0]
    rows = measure(engines(options), models, options.rounds)
    print(f"{table(rows)}\n\nload of the machine: {before:.1f} before, {os.getloadavg()[0]:.1f} after")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()

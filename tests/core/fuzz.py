"""Searches with libFuzzer for files that break the readers. Needs clang (Debian: clang, libclang-rt-dev).

    .venv/bin/python tests/core/fuzz.py --seconds 600 wavenet mdrnn     CPU seconds for each reader; all without names

A reader's corpus stays in build/fuzz/<reader>; the next search goes on from it. What breaks the core is left there
too, as crash-…, timeout-… or oom-…, and ends the search; slowest-SECONDS is what took longest, if more than a second
with the sanitizers.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from core import programs, seeds

FOLDER = programs.ROOT / "build" / "fuzz"
LIMITS = ["-max_len=40000", "-timeout=300", "-malloc_limit_mb=256", "-rss_limit_mb=2048"]
# Its kernels are written for GCC, which knows nothing of libFuzzer's coverage; they have no branches worth finding.
CLANG = [*programs.THOROUGH, "-DLIBFUZZER", "-fsanitize=fuzzer", "-Wno-unknown-pragmas", "-Wno-psabi"]
OF_GCC = ("kernels.cpp", "train_kernels.cpp", "measure.cpp")
# What reads which of the families in seeds.py.
READERS = {
    "wavenet": ("wavenet-a1", "wavenet-a2", "wavenet-slimmable", "wavenet-filtered"),
    "nam": ("convnet", "lstm", "linear"),
    "container": ("container",),
    "rtneural": ("rtneural", "aidax"),
    "state-dict": ("guitarml", "state-dict"),
    "gated-wavenet": ("wavenet-va",),
    "mdrnn": ("mdrnn",),
    "sound": ("wav", "flac", "aiff"),
}


def build(clang: str) -> Path:
    step = programs.build_step()
    sources = sorted((programs.ROOT / "externals" / "core").glob("*.cpp"))
    ours = [path for path in sources if path.name in OF_GCC]
    objects = step.compile_objects(ours, "thorough", macros=programs.THOROUGH)
    os.environ["CXX"] = clang
    sources = [Path(__file__).with_suffix(".cpp"), *(path for path in sources if path not in ours)]
    objects += step.compile_objects(sources, "fuzzer", macros=CLANG)
    program = step.OBJECTS / "fuzzer" / "fuzz"
    if not step.is_newer(program, objects):
        libraries = [flag for flag in step.LINK if flag.startswith("-l")]  # the runtime's malloc must be seen by all
        subprocess.run([clang, *CLANG, *map(str, objects), "-o", str(program), *libraries], check=True)
    return program


def dictionary() -> Path:
    """What the readers look for."""
    words = set()
    for source in (programs.ROOT / "externals" / "core").glob("*.cpp"):
        words |= set(re.findall(r'"([A-Za-z0-9_]{2,24})"', source.read_text()))
    path = FOLDER / "words"
    path.write_text("".join(f'"\\"{word}\\""\n' for word in sorted(words)))
    return path


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def search(program: Path, reader: str, files: dict[str, bytes], seconds: float) -> bool:
    """Fuzzes one reader, from a file of each of its families on; says whether all went well."""
    folder = FOLDER / reader
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for family, content in files.items():
        (corpus / family).write_bytes(content)
    executions, coverage, start = 0, "", cpu_seconds()
    while cpu_seconds() - start < seconds:  # libFuzzer measures the time that passes, which on a busy machine is more
        left = seconds - (cpu_seconds() - start)
        command = [str(program), *LIMITS, f"-max_total_time={max(5, min(300, int(left)))}", f"-dict={FOLDER / 'words'}",
                   f"-artifact_prefix={folder}/", "-print_final_stats=1", str(corpus)]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", cwd=folder)
        if found := re.search(r"number_of_executed_units: (\d+)", done.stderr):
            executions += int(found[1])
        if found := re.findall(r"cov: (\d+) ft: (\d+)", done.stderr):
            coverage = f"{found[-1][0]} edges and {found[-1][1]} features covered"
        if done.returncode:
            print(f"{reader}: failed after {executions} executions; see {folder}\n{done.stderr[-6000:]}", flush=True)
            return False
    kept = sum(1 for _ in corpus.iterdir())
    took = cpu_seconds() - start
    print(f"{reader}: {executions} executions in {took:.0f} s of CPU, {coverage}, {kept} files kept", flush=True)
    return True


def main() -> int:
    families = {name: text.encode() for name, text in seeds.seeds().items()} | seeds.sounds()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("readers", nargs="*", metavar="READER", help=", ".join(READERS))
    parser.add_argument("--seconds", type=float, default=600, help="of CPU for each reader (default: %(default)g)")
    options = parser.parse_args()
    if unknown := set(options.readers) - set(READERS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    names = ["clang++", *(f"clang++-{version}" for version in range(25, 13, -1))]
    clang = next(filter(shutil.which, names), None)
    if not clang:
        parser.error("no clang++ is installed")
    FOLDER.mkdir(parents=True, exist_ok=True)
    program = build(clang)
    dictionary()
    good = [search(program, reader, {name: families[name] for name in READERS[reader]}, options.seconds)
            for reader in options.readers or READERS]  # fmt: skip
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Searches with libFuzzer for files that break the readers. Needs clang (Debian: clang, libclang-rt-dev).

    .venv/bin/python tests/core/fuzz.py --seconds 600 lstm linear     CPU seconds for each family; all without names

A family's corpus stays in build/fuzz/<family>; the next search goes on from it. What breaks the core is left there
too, as crash-…, timeout-… or oom-…, and ends the search.
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
LIMITS = ["-max_len=40000", "-timeout=60", "-malloc_limit_mb=256", "-rss_limit_mb=2048"]
# Its kernels are written for GCC, which knows nothing of libFuzzer's coverage; they have no branches worth finding.
CLANG = [*programs.THOROUGH, "-DLIBFUZZER", "-fsanitize=fuzzer", "-Wno-unknown-pragmas", "-Wno-psabi"]
OF_GCC = ("kernels.cpp", "measure.cpp")


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


def search(program: Path, family: str, text: str, seconds: float) -> bool:
    """Fuzzes one family; says whether all went well."""
    folder = FOLDER / family
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    (corpus / "seed").write_text(text)
    executions, start = 0, cpu_seconds()
    while cpu_seconds() - start < seconds:  # libFuzzer measures the time that passes, which on a busy machine is more
        left = seconds - (cpu_seconds() - start)
        command = [str(program), *LIMITS, f"-max_total_time={max(5, min(60, int(left)))}", f"-dict={FOLDER / 'words'}",
                   f"-artifact_prefix={folder}/", "-print_final_stats=1", str(corpus)]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", cwd=folder)
        if found := re.search(r"number_of_executed_units: (\d+)", done.stderr):
            executions += int(found[1])
        if done.returncode:
            print(f"{family}: failed after {executions} executions; see {folder}\n{done.stderr[-6000:]}", flush=True)
            return False
    files = sum(1 for _ in corpus.iterdir())
    print(f"{family}: {executions} executions in {cpu_seconds() - start:.0f} s of CPU, {files} files kept", flush=True)
    return True


def main() -> int:
    families = seeds.seeds()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=", ".join(families))
    parser.add_argument("--seconds", type=float, default=600, help="of CPU for each family (default: %(default)g)")
    options = parser.parse_args()
    if unknown := set(options.families) - set(families):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    names = ["clang++", *(f"clang++-{version}" for version in range(25, 13, -1))]
    clang = next(filter(shutil.which, names), None)
    if not clang:
        parser.error("no clang++ is installed")
    FOLDER.mkdir(parents=True, exist_ok=True)
    program = build(clang)
    dictionary()
    good = [search(program, name, families[name], options.seconds) for name in options.families or families]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())

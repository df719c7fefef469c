"""C++ programs of these tests, built with the core's own sources, most of them with a sanitizer."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]


def build_step() -> ModuleType:
    """``externals/build.py`` as a module."""
    spec = importlib.util.spec_from_file_location("externals_build", ROOT / "externals" / "build.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build(name: str, kind: str, flags: list[str]) -> Path:
    """Compiles what has changed and links a program.

    :param name: of a C++ file in this folder
    :param kind: keeps programs and objects of different flags apart, in ``build/externals/<kind>``
    :param flags: for the compiler and the linker
    """
    step = build_step()
    sources = [Path(__file__).with_name(name + ".cpp"), *sorted((ROOT / "externals" / "core").glob("*.cpp"))]
    objects = step.compile_objects(sources, kind, macros=flags)
    program = step.OBJECTS / kind / name
    if not step.is_newer(program, objects):
        fresh = program.with_name(name + ".new")
        subprocess.run([*step.compiler(), *flags, *map(str, objects), "-o", str(fresh), *step.LINK], check=True)
        fresh.replace(program)
    return program


# Memory errors, leaks and undefined behaviour end the program.
SANITIZED = "-O1 -g1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined".split()
# Races between threads end the program.
RACES = "-O1 -g1 -fsanitize=thread".split()

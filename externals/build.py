"""The one build step: the core once, and from it the Python module, the Pure Data objects and the SuperCollider UGens.

    python externals/build.py            builds what has changed, in place

The Python module is made by cffi's builder from neurig.h itself; everything is compiled by the compiler that cffi uses.
Hosts whose headers are not on this machine are left out, and named.
"""

from __future__ import annotations

import fcntl
import os
import platform
import re
import subprocess
import sys
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nlohmann_json
from cffi import FFI
from setuptools._distutils.ccompiler import new_compiler
from setuptools._distutils.sysconfig import customize_compiler

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
OBJECTS = ROOT / "build" / "externals"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

# No -ffast-math: it would change the sums, and on the link line it switches flush-to-zero on in the whole host.
COMPILE = (
    "-std=gnu++17 -O3 -ffp-contract=fast -fno-math-errno -fno-trapping-math -fPIC -fvisibility=hidden -pthread "
    f"-Wall -Wextra -DNEURIG_VERSION=\"{VERSION}\""
).split()
INCLUDE = [str(HERE / "core"), str(Path(nlohmann_json.__file__).parent / "include")]
# Linked statically and kept to ourselves: one file to copy, no clash with what the host has loaded.
LINK = (
    "-pthread -s -static-libgcc -static-libstdc++ -Wl,--exclude-libs,ALL -l:libspeexdsp.a -l:libfftw3f.a -lm"
).split()

# What the core calls in Python: networks that a session plays (bridge/neurig/session.py), and models that onnxruntime
# computes (bridge/neurig/onnx.py).
CALLBACKS = """
extern "Python" {
    int neurig_python_condition(void *, const double *);
    int neurig_python_predict(void *, double, double, double *);
    void neurig_python_reset(void *);
    void neurig_python_seed(void *, uint64_t);

    int neurig_python_process(void *, float *, const float *, float *, int);
    int neurig_python_step(void *, float *, const float *, float *, float *, float *);
    void neurig_python_release(void *);
}
"""

PD_HEADERS = ["/usr/include/pd", "/usr/include", "/usr/local/include/pd", "/usr/local/include"]
SC_HEADERS = ["/usr/include/SuperCollider", "/usr/local/include/SuperCollider"]


def declarations(header: Path) -> str:
    """The part of a C header that cffi reads: what stands inside its extern "C", or between its cdef marks."""
    text = header.read_text()
    marked = re.search(r"/\* cdef \*/(.*?)/\* end cdef \*/", text, re.S)
    inside = marked or re.search(r'extern "C" \{\n#endif\n(.*?)#ifdef __cplusplus', text, re.S)
    if not inside:
        raise SystemExit(f"{header}: found neither cdef marks nor an extern \"C\"")
    return inside[1]


def builder(objects: list[Path]) -> FFI:
    """cffi's builder of ``neurig._core``: the core's functions, and pyo's way to them, over the compiled core."""
    ffi = FFI()
    source = '#include "neurig.h"\n'
    ffi.cdef(declarations(HERE / "core" / "neurig.h"))
    ffi.cdef(CALLBACKS)
    kernel = HERE / "pyo" / "kernel.h"
    if kernel.exists():
        ffi.cdef(declarations(kernel))
        source += '#include "kernel.h"\n'
    ffi.set_source(
        "neurig._core",
        source,
        source_extension=".cpp",
        include_dirs=[*INCLUDE, str(HERE / "pyo")],
        extra_compile_args=[*COMPILE, "-Wno-missing-field-initializers", "-Wno-unused-parameter"],
        extra_objects=[str(path) for path in objects],
        extra_link_args=LINK,
    )
    return ffi


def compiler() -> list[str]:
    """The C++ compiler's command, as cffi's builder would call it."""
    made = new_compiler()
    customize_compiler(made)
    return made.compiler_cxx[:1]


def is_newer(target: Path, sources: list[Path]) -> bool:
    return target.exists() and all(
        source.exists() and target.stat().st_mtime > source.stat().st_mtime for source in sources
    )


def is_compiled(target: Path, command: list[str]) -> bool:
    """Whether an object was made by this command, of files that have not changed since: beside it both are noted."""
    made_by, made_of = (target.with_name(target.name + ending) for ending in (".command", ".d"))
    if not made_by.exists() or not made_of.exists() or made_by.read_text() != " ".join(command):
        return False
    _, _, files = made_of.read_text().replace("\\\n", " ").partition(":")
    names = (name.replace("\0", " ") for name in files.replace("\\ ", "\0").split())
    return is_newer(target, [Path(name) for name in names])


def compile_objects(sources: list[Path], kind: str, include: list[str] = [], macros: list[str] = []) -> list[Path]:
    """Compiles what has changed; returns the objects. `kind` keeps those of different macros apart."""
    driver = compiler()

    def one(source: Path) -> Path:
        target = OBJECTS / kind / (source.name + ".o")
        paths = [f"-I{folder}" for folder in [*INCLUDE, *include]]
        command = [*driver, *COMPILE, *macros, *paths, "-MMD", "-MF", f"{target}.d"]
        command += ["-c", str(source), "-o", str(target)]
        if not is_compiled(target, command):
            target.parent.mkdir(parents=True, exist_ok=True)
            print("compiling", source.relative_to(ROOT), f"({kind})", flush=True)
            began = time.time()
            subprocess.run(command, check=True)
            os.utime(target, (began, began))  # a header that has changed since is newer
            target.with_name(target.name + ".command").write_text(" ".join(command))
        return target

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(one, sources))


def core() -> list[Path]:
    return compile_objects(sorted((HERE / "core").glob("*.cpp")), "core")


def core_archive() -> Path:
    """The core as a library, of which only those parts become part of an object that it calls."""
    objects, archive = core(), OBJECTS / "core.a"
    if not is_newer(archive, objects):
        archive.unlink(missing_ok=True)
        subprocess.run(["ar", "rcs", str(archive), *map(str, objects)], check=True)
    return archive


def link(target: Path, objects: list[Path]) -> None:
    """Makes a shared library that a host loads; replaced at once, so that a running host keeps the old one."""
    if is_newer(target, objects):
        return
    print("linking", target.relative_to(ROOT), flush=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(target.name + ".new")
    subprocess.run([*compiler(), "-shared", "-o", str(fresh), *map(str, objects), *LINK], check=True)
    fresh.replace(target)


def build_python(folder: Path = ROOT / "bridge" / "neurig") -> None:
    """The extension module ``_core`` into `folder`."""
    objects = core()
    sources = [HERE / "core" / "neurig.h", *HERE.glob("pyo/*.h"), Path(__file__), *objects]
    target = folder / "_core.abi3.so"
    if is_newer(target, sources):
        return
    print("building", target.name, flush=True)
    made = Path(builder(objects).compile(tmpdir=str(OBJECTS / "python"), target=target.name))
    folder.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(target.name + ".new")
    fresh.write_bytes(made.read_bytes())
    fresh.replace(target)


def pd_processor() -> str:
    """This machine's processor as Pd names it: in the names of objects for double precision, and of deken packages."""
    names = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "armv7", "i686": "i386"}
    return names.get(platform.machine(), platform.machine())


def build_pd(folder: Path = ROOT / "pd") -> None:
    """The Pure Data objects into `folder`, for Pd of single and of double precision."""
    include = next((path for path in PD_HEADERS if (Path(path) / "m_pd.h").exists()), None)
    if include is None:
        print("left out: Pure Data objects (no m_pd.h; Debian's package puredata-dev has it)")
        return
    archive = core_archive()
    for source in sorted((HERE / "pd").glob("*.cpp")):
        for bits, ending in ((32, ".pd_linux"), (64, f".linux-{pd_processor()}-64.so")):
            objects = compile_objects([source], f"pd{bits}", [include], ["-DPD", f"-DPD_FLOATSIZE={bits}"])
            link(folder / (source.stem + ending), [*objects, archive])


def build_sc(folder: Path = ROOT / "sc" / "plugins") -> None:
    """The SuperCollider UGens, for scsynth and for supernova, into `folder`."""
    include = next((path for path in SC_HEADERS if (Path(path) / "plugin_interface" / "SC_PlugIn.h").exists()), None)
    if include is None:
        print("left out: SuperCollider UGens (no SC_PlugIn.h; Debian's package supercollider-dev has it)")
        return
    paths = [f"{include}/{part}" for part in ("plugin_interface", "common", "server")]
    archive = core_archive()
    for source in sorted((HERE / "sc").glob("*.cpp")):
        # SCUnit's constructor reads what the server has put there before it runs.
        for suffix, macros in (("", []), ("_supernova", ["-DSUPERNOVA"])):
            objects = compile_objects([source], "sc" + suffix, paths, ["-fno-lifetime-dse", *macros])
            link(folder / f"{source.stem}{suffix}.so", [*objects, archive])


def build() -> None:
    """Everything, in place; one build at a time."""
    OBJECTS.mkdir(parents=True, exist_ok=True)
    with open(OBJECTS / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        build_python()
        build_pd()
        build_sc()


if __name__ == "__main__":
    try:
        build()
    except subprocess.CalledProcessError:  # the compiler has said why
        sys.exit("building failed; the compiler's messages are above")

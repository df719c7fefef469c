"""What pyproject.toml cannot say: how the compiled module is made, and which folders travel in the wheel."""

import shutil
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "externals"))
import build as externals  # noqa: E402  externals/build.py


class Build(build_ext):
    """Leaves compiling to externals/build.py; puts what is not Python into ``neurig/share``, see neurig.files.share."""

    def run(self) -> None:
        if self.inplace:  # pip install -e: the folders are used where they are
            externals.build_python()
            externals.build_pd()
            externals.build_sc()
            return
        package = Path(self.build_lib).resolve() / "neurig"
        externals.build_python(package)
        shutil.rmtree(package / "share", ignore_errors=True)  # what an earlier build put there may be gone
        for kind in ("models", "examples", "pd", "sc"):
            left_behind = shutil.ignore_patterns("__pycache__", "make", "*.so", "*.pd_linux")
            shutil.copytree(ROOT / kind, package / "share" / kind, ignore=left_behind)
        shutil.copyfile(ROOT / "LICENSE", package / "share" / "LICENSE")
        externals.build_pd(package / "share" / "pd")
        externals.build_sc(package / "share" / "sc" / "plugins")


setup(
    ext_modules=[Extension("neurig._core", [], py_limited_api=True)],
    cmdclass={"build_ext": Build},
)

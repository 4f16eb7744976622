"""Our C routines, compiled for the processor at hand when they are first needed, and kept.

Nothing depends on them: where there is no C compiler, or none that makes what torch's own threads can run, there are
torch's operators.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from torch import Tensor

from residuum.devices import processor_features
from residuum.files import cache_folder

SOURCES, SHARED = ("norms.c", "weight_gradient.c", "chain.c"), ("bfloat16.h",)
COMPILERS = ("cc", "gcc")
"""GNU's: torch's threads are."""
FLAGS = ("-O3", "-march=native", "-fopenmp", "-fPIC", "-fno-math-errno", "-fno-trapping-math")
"""No -ffast-math: a NaN has to stay one, and linking with it would change rounding in the whole process."""
SECONDS = 120.0


@dataclass(frozen=True)
class Kernels:
    """The compiled routines, and by which compiler."""

    library: ctypes.CDLL
    compiler: str

    @property
    def weight_gradient(self) -> bool:
        """Whether this processor has the instructions that the weights' gradient is written in."""
        return bool(self.library.has_weight_gradient())

    @cached_property
    def chain(self) -> bool:
        """Whether it has those that chains of convolutions are written in."""
        return bool(self.library.has_chain())

    def call(self, routine: str, *arguments: Tensor | int | float | None) -> None:
        """Call a routine with where tensors' numbers are (None: nowhere), whole numbers and float32 numbers.

        MemoryError where it returns 1 instead of 0.
        """
        if getattr(self.library, routine)(*map(_passed, arguments)):
            raise MemoryError(f"{routine}: no memory for its sums")


def _passed(argument: Tensor | int | float | None) -> ctypes.c_void_p | ctypes.c_long | ctypes.c_float:
    if argument is None:
        return ctypes.c_void_p(None)
    if isinstance(argument, Tensor):
        return ctypes.c_void_p(argument.data_ptr())
    return ctypes.c_long(argument) if isinstance(argument, int) else ctypes.c_float(argument)


@cache
def kernels() -> Kernels | None:
    """The routines, or None where they cannot be had (no compiler, or torch's threads are not GNU's OpenMP)."""
    for compiler in filter(None, map(shutil.which, COMPILERS)):
        if _threads_are_shared():
            with suppress(OSError, subprocess.SubprocessError, IndexError):
                version = _output([compiler, "--version"]).splitlines()[0]
                return Kernels(ctypes.CDLL(str(_compiled(compiler, version))), version)
    return None


def _threads_are_shared() -> bool:
    """Whether the routines will find the OpenMP that torch has loaded: a second set of threads would be in its way."""
    try:
        return hasattr(ctypes.CDLL(None), "GOMP_parallel")
    except (OSError, TypeError):
        return False


def _compiled(compiler: str, version: str) -> Path:
    """The shared library for these sources, this compiler and this processor; it is made once."""
    here = Path(__file__).parent
    content = [(here / name).read_text() for name in (*SOURCES, *SHARED)]
    known = hashlib.sha256("\0".join((*content, *FLAGS, version, processor_features())).encode())
    folder = _writable(cache_folder())
    library = folder / f"{known.hexdigest()[:16]}.so"
    if not library.exists():
        with tempfile.TemporaryDirectory(dir=folder) as work:
            objects = [str(Path(work) / f"{name}.o") for name in SOURCES]
            for name, made in zip(SOURCES, objects, strict=True):
                _output([compiler, *FLAGS, "-c", str(here / name), "-o", made])
            made = Path(work) / library.name
            _output([compiler, "-shared", *objects, "-o", str(made), "-lm"])
            with open(made, "rb") as written:
                os.fsync(written.fileno())
            os.replace(made, library)  # whole or not at all, whoever else is at it
    return library


def _writable(cache: Path | None) -> Path:
    """A folder in the user's cache, or one for this process where there is none."""
    with suppress(OSError):
        if cache is not None:
            (cache / "kernels").mkdir(parents=True, exist_ok=True)
            if os.access(cache / "kernels", os.W_OK):
                return cache / "kernels"
    return Path(tempfile.mkdtemp(prefix="residuum-"))


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=True, timeout=SECONDS).stdout

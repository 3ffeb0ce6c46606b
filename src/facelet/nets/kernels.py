"""Compiled kernels for training on CPUs: `native/kernels.cpp`, built once by the machine's own C++ compiler.

The library is kept in the cache, named by its source, compiler and processor. Where there is no compiler, or it
refuses, training goes on with torch's own kernels; `FACELET_KERNELS=0` asks for that.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import subprocess
import tempfile
import warnings
from pathlib import Path

import torch
from torch import Tensor

from facelet.cache import cache_dir
from facelet.processes import find_program, run

SOURCES = Path(__file__).with_name("native")
BUILD_LIMIT_S = 120.0
"""A compiler that takes longer is given up."""

COMPILERS = ("c++", "g++", "clang++")
FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-std=c++17", "-shared", "-fPIC")
LANES = 16
"""A multiple of the channels that a kernel works on at a time, which are as many as the processor's registers hold."""

SUFFIXES = {torch.float32: "f32", torch.bfloat16: "bf16"}
"""Types of tensors, as the kernels' names end."""

_TENSOR, _COUNT = ctypes.c_void_p, ctypes.c_int64
SIGNATURES: dict[str, tuple[type, ...]] = {
    "norm": (_TENSOR,) * 10,
    "norm_back": (_TENSOR,) * 7,
    "depthwise": (*(_TENSOR,) * 3, _COUNT, _TENSOR),
    "depthwise_data": (*(_TENSOR,) * 3, _COUNT, _TENSOR),
    "depthwise_weight": (*(_TENSOR,) * 3, _COUNT, _TENSOR),
}
"""Arguments of each kernel, as `native/kernels.cpp` has them."""

Argument = Tensor | ctypes.Structure | int | None


class Kernels:
    """The built library.

    Args:
        path: of the shared object.
    """

    def __init__(self, path: Path) -> None:
        library = ctypes.CDLL(str(path))
        self._functions = {}
        for name, arguments in SIGNATURES.items():
            for kind, suffix in SUFFIXES.items():
                function = getattr(library, f"{name}_{suffix}")
                function.argtypes, function.restype = arguments, None
                self._functions[name, kind] = function

    def __call__(self, name: str, kind: torch.dtype, *arguments: Argument) -> None:
        """Runs a kernel for tensors of a type; every tensor is contiguous in the order that the kernel reads."""
        self._functions[name, kind](*map(_plain, arguments))


def _plain(argument: Argument) -> int | None:
    if isinstance(argument, Tensor):
        return argument.data_ptr()
    return ctypes.addressof(argument) if isinstance(argument, ctypes.Structure) else argument


@functools.cache
def kernels() -> Kernels | None:
    """The kernels, built on the first call of a machine (about two seconds); None where they cannot be had."""
    compiler = find_program(*COMPILERS)
    if os.environ.get("FACELET_KERNELS") == "0" or compiler is None:
        return None
    try:
        path = cache_dir() / "kernels" / f"{_key(compiler)}.so"
        if not path.exists():
            _build(compiler, path)
        return Kernels(path)
    except (OSError, AttributeError, subprocess.SubprocessError) as error:
        told = error.stderr if isinstance(error, subprocess.CalledProcessError) and error.stderr else str(error)
        warnings.warn(
            f"{compiler}: {told.strip().splitlines()[-1]}; training goes on with torch's own kernels", stacklevel=2
        )
        return None


def _key(compiler: str) -> str:
    """Changes with the sources, the flags, the compiler and what the processor can do."""
    version = run([compiler, "--version"]).stdout.encode()
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else [platform.processor()]
    can = next((line for line in lines if line.startswith(("flags", "Features"))), lines[0])
    sources = [path.read_bytes() for path in sorted(SOURCES.iterdir())]
    parts = (*sources, " ".join(FLAGS).encode(), version, platform.machine().encode(), can.encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:24]


def _build(compiler: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        built = Path(folder) / path.name
        call = [compiler, *FLAGS, str(SOURCES / "kernels.cpp"), "-o", str(built)]
        run(call, limit_s=BUILD_LIMIT_S).check_returncode()
        built.replace(path)

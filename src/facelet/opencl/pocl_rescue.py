"""Recognises where PoCL 3.0 from PyPI does not know the processor, and corrects it if the user asks for that.

Its LLVM 14 (2022) calls a processor that it does not know "generic", a name that its own front end then refuses:
`error: unknown target CPU 'generic'`, for every program, for example on AMD's Zen 5. Others it takes for an older one
of their family, such as AMD's Zen 4 for a Zen 3, which has no AVX-512. There is no option for the name.

By default PoCL is left as it is: `pocl_trouble` gives the line that `facelet devices` and errors print. With
`FACELET_POCL_PATCH=1`, `rescue` does what PoCL 3.1 and later do and chooses a name by what the processor can do: it
overwrites the library's function that asks LLVM, in this process's memory alone, before the first call of OpenCL.
Whatever does not look as expected is left as it is. ADR 0009 has the reasons.
"""

from __future__ import annotations

import ctypes
import importlib.util
import mmap
import os
import platform
import struct
from collections.abc import Collection
from pathlib import Path
from typing import Any, TypeAlias

CFunction: TypeAlias = Any
"""A function of a library, as `ctypes` has it."""

WIDE_FLAGS = frozenset({"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl", "avx2", "fma", "bmi2"})
"""What a processor with AVX-512 calls itself capable of, in the words of Linux; LLVM's skylake-avx512, Intel's skx."""

WIDE_NAMES = ("avx512", "cascadelake", "cooperlake", "cannonlake", "icelake", "rocketlake", "tigerlake", "rapids")
"""In LLVM 14's names of processors with AVX-512, as PoCL 3.0 tells them in its device's version; others have less."""

PATCH_VARIABLE = "FACELET_POCL_PATCH"
"""Where it is "1", PoCL's answer is corrected in memory."""

QUESTION = "pocl_get_llvm_cpu_name"
"""The library's function that asks; it returns a string from malloc."""

_kept: list[ctypes.Array[ctypes.c_char]] = []
"""Names that PoCL copies for as long as the process lives."""


def is_wide(text: str) -> bool:
    """Whether a text, such as what PoCL 3.0 says of its device, names a processor with AVX-512."""
    return any(name in text for name in WIDE_NAMES)


def target(flags: Collection[str]) -> str:
    """LLVM's name of the widest processor whose instructions are all among a processor's flags."""
    if set(flags) >= WIDE_FLAGS:
        return "skylake-avx512"
    if {"avx2", "fma", "bmi2", "f16c"} <= set(flags):
        return "haswell"
    return "x86-64"


def mended(answer: str, flags: Collection[str]) -> str:
    """The name that PoCL should hear for what LLVM answers: another for "generic", or where AVX-512 goes untold."""
    better = target(flags)
    return better if answer == "generic" or (is_wide(better) and not is_wide(answer)) else answer


def pocl_trouble(flags: Collection[str]) -> str:
    """What the installed PoCL gets wrong about this processor, and the remedy; empty where nothing is wrong."""
    answer = _answer(_question())
    better = mended(answer, flags)
    if not answer or better == answer:
        return ""
    if answer == "generic":
        wrong = "PoCL 3.0 does not know this processor and cannot build for it"
    else:
        wrong = f"PoCL 3.0 takes this processor for a {answer}, without AVX-512, and is slower than it could be"
    return f"{wrong}; set {PATCH_VARIABLE}=1 to correct that in the memory of this process (nothing on disk changes)"


def rescue(flags: Collection[str]) -> bool:
    """Puts a better name in place of LLVM's if `FACELET_POCL_PATCH` is "1"; whether that was needed and done."""
    if os.environ.get(PATCH_VARIABLE) != "1":
        return False
    question = _question()
    answer = _answer(question)
    better = mended(answer, flags)
    if question is None or not answer or better == answer:
        return False
    return _patch(question, better)


def _question() -> CFunction | None:
    """PyPI's PoCL's function that asks LLVM; None where it is not installed or of another kind."""
    found = importlib.util.find_spec("pyopencl")
    if found is None or found.origin is None or platform.machine() != "x86_64" or platform.system() != "Linux":
        return None
    libraries = sorted((Path(found.origin).parent / ".libs").glob("libpocl-*.so"))
    if len(libraries) != 1:
        return None
    try:
        question: CFunction = getattr(ctypes.CDLL(str(libraries[0])), QUESTION)
    except (OSError, AttributeError):
        return None
    question.restype = ctypes.c_char_p
    return question


def _answer(question: CFunction | None) -> str:
    return "" if question is None else (question() or b"").decode(errors="replace")


def _patch(question: CFunction, better: str) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    name = ctypes.create_string_buffer(better.encode())
    _kept.append(name)
    strdup = ctypes.cast(libc.strdup, ctypes.c_void_p).value
    # mov rdi, name; mov rax, strdup; jmp rax: PoCL frees each copy
    code = (
        b"\x48\xbf" + struct.pack("<Q", ctypes.addressof(name)) + b"\x48\xb8" + struct.pack("<Q", strdup) + b"\xff\xe0"
    )
    address = ctypes.cast(question, ctypes.c_void_p).value
    if address is None:
        return False
    page = address & ~(mmap.PAGESIZE - 1)
    span = ctypes.c_size_t(address + len(code) - page)
    everything = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    if libc.mprotect(ctypes.c_void_p(page), span, everything):
        return False
    ctypes.memmove(address, code, len(code))
    libc.mprotect(ctypes.c_void_p(page), span, mmap.PROT_READ | mmap.PROT_EXEC)
    return True

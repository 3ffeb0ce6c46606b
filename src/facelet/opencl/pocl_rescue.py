"""Makes PoCL 3.0 from PyPI work on processors that are newer than its compiler.

Its LLVM 14 (2022) calls a processor that it does not know "generic", a name that its own front end then refuses:
`error: unknown target CPU 'generic'`, for every program, for example on AMD's Zen 5. Others it takes for an older one
of their family, such as AMD's Zen 4 for a Zen 3, which has no AVX-512. There is no option for the name.
PoCL 3.1 and later choose a name by what the processor can do instead; this does the same for 3.0, by putting that
name in place of the answer of the library's function that asks LLVM, in this process's memory alone. It must happen
before the first call of OpenCL. Whatever does not look as expected is left as it is.
"""

from __future__ import annotations

import ctypes
import importlib.util
import mmap
import platform
import struct
from collections.abc import Collection
from pathlib import Path

WIDE_FLAGS = frozenset({"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl", "avx2", "fma", "bmi2"})
"""What a processor with AVX-512 calls itself capable of, in the words of Linux; LLVM's skylake-avx512, Intel's skx."""

WIDE_NAMES = ("avx512", "cascadelake", "cooperlake", "cannonlake", "icelake", "rocketlake", "tigerlake", "rapids")
"""In LLVM 14's names of processors with AVX-512, as PoCL 3.0 tells them in its device's version; others have less."""

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


def rescue(flags: Collection[str]) -> bool:
    """Puts a better name in place of LLVM's, as `mended` tells; whether that was needed and done."""
    found = importlib.util.find_spec("pyopencl")
    if found is None or found.origin is None or platform.machine() != "x86_64" or platform.system() != "Linux":
        return False
    libraries = sorted((Path(found.origin).parent / ".libs").glob("libpocl-*.so"))
    if len(libraries) != 1:
        return False
    try:
        library = ctypes.CDLL(str(libraries[0]))
        question = getattr(library, QUESTION)
    except (OSError, AttributeError):
        return False
    question.restype = ctypes.c_char_p
    answer = (question() or b"").decode(errors="replace")
    better = mended(answer, flags)
    if not answer or better == answer:
        return False
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

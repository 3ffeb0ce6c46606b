"""Invariant: after the first step a training finds its memory in place. Oracle: what Linux says of the process."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

LARGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")

needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone is asked")


def after_asking(code: str) -> str:
    """What a fresh process prints that asks for its memory and then runs some lines."""
    asks = "from facelet.train.memory import keep_freed_memory\nimport numpy as np\nkeep_freed_memory()\n"
    return subprocess.run([sys.executable, "-c", asks + code], capture_output=True, text=True, check=True).stdout


@needs_glibc
def test_what_is_freed_is_there_for_the_next_step() -> None:
    faults = after_asking(
        "import resource\n"
        "def step(): return np.ones(1 << 26, np.uint8).sum(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "first = step()[1]\n"
        "sums = {step()[0] for _ in range(20)}\n"
        "assert sums == {1 << 26}, sums\n"
        "print(step()[1] - first)"
    )
    assert int(faults) < 1000  # 64 MB are 16,384 pages, and would be asked for anew in each step


@needs_glibc
@pytest.mark.skipif(not LARGE_PAGES.exists(), reason="this system has no large pages")
def test_large_blocks_may_lie_in_large_pages() -> None:
    flags = after_asking(
        "import ctypes\n"  # NumPy asks by itself
        "from pathlib import Path\n"
        "middle, flags = ctypes.addressof((ctypes.c_char * (1 << 26))()) + (1 << 25), []\n"
        "for line in Path('/proc/self/smaps').read_text().splitlines():\n"
        "    head = line.split(' ', 1)[0]\n"
        "    if '-' in head: low, high = (int(part, 16) for part in head.split('-'))\n"
        "    if line.startswith('VmFlags:') and low <= middle < high: flags = line.split()\n"
        "print(*flags)"
    ).split()
    assert "hg" in flags

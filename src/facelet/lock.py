"""One process at a time: a lock on a file that is released when its process ends, however that ends (filelock)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from facelet.atomic import cannot_write
from facelet.errors import InputError

PAUSE_S = 0.05


def take(path: Path) -> ExitStack | None:
    """Takes the lock of a path; None where another holds it.

    Args:
        path: the lock's own file; it and its folder are made.

    Returns:
        What releases the lock when it is closed, or at the end of its `with` block.

    Raises:
        InputError: the place cannot be written.
        DiskFullError: the disk is full.
    """
    try:
        return _acquired(path, timeout_s=0)
    except Timeout:
        return None


def take_or_refuse(path: Path, busy: str) -> ExitStack:
    """Takes the lock of a path as `take` does; an error where another holds it.

    Raises:
        InputError: `busy`, or the place cannot be written.
    """
    held = take(path)
    if held is None:
        raise InputError(f"{busy}; wait for it or give another --out")
    return held


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Waits until no other process is within the same block, then keeps others out of it.

    Raises:
        InputError: the place cannot be written.
    """
    with _acquired(path, timeout_s=-1):
        yield


def _acquired(path: Path, timeout_s: float) -> ExitStack:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=timeout_s, thread_local=False)  # any thread may release it
        held = ExitStack()
        held.enter_context(lock.acquire(poll_interval=PAUSE_S))
        return held
    except Timeout:
        raise
    except OSError as error:
        raise cannot_write(path, error) from error

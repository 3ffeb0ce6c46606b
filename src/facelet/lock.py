"""One process at a time: a lock on a file that is let go when its process ends, however that ends.

It is SQLite's own lock on an empty database, so it works wherever Python does and leaves nothing to clean up.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from facelet.errors import InputError

PAUSE_S = 0.05


def take(path: Path) -> sqlite3.Connection | None:
    """Takes the lock of a path and returns what lets go of it when closed; None where another holds it.

    Args:
        path: the lock's own file; it and its folder are made.

    Raises:
        InputError: the place cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = sqlite3.connect(path, timeout=0, isolation_level=None)
        try:
            held.execute("BEGIN IMMEDIATE")
        except BaseException:
            held.close()
            raise
    except sqlite3.Error as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
            return None
        raise InputError(f"{path}: cannot be written ({error}); give another place") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error}); give another place") from error
    return held


def take_or_refuse(path: Path, busy: str) -> sqlite3.Connection:
    """Takes the lock of a path as `take` does; where another holds it, says so.

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
    while (held := take(path)) is None:
        time.sleep(PAUSE_S)
    with closing(held):
        yield

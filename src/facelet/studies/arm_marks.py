"""What an arm of a study was made of, written beside it: a study that is run again takes no other one's results."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from facelet.atomic import write_text_atomic
from facelet.errors import InputError
from facelet.graph.ir import Graph
from facelet.lock import alone

MARK = "arm.txt"

LOCK = "arm.lock"
"""In an arm's folder: held by the process that makes the arm."""


def already_made(file: Path, folder: Path, key: str) -> bool:
    """Whether an arm's result lies there. Where it does not, marks the arm's folder, before anything is made in it.

    Args:
        file: the result.
        folder: of the arm.
        key: names all that the result depends on.

    Raises:
        InputError: what lies there was made of something else, or the place cannot be written.
    """
    mark = folder / MARK
    if not file.exists():
        write_text_atomic(mark, key)
        return False
    if not mark.exists() or mark.read_text() != key:
        raise InputError(f"{folder}: an arm of other models, data or options; give another --out or delete it")
    return True


@contextmanager
def arm_of_its_own(file: Path, folder: Path, key: str) -> Iterator[bool]:
    """Keeps other processes out of an arm, waiting for one that makes it; yields what `already_made` says.

    Args:
        file, folder, key: as `already_made` takes them.
    """
    with alone(folder / LOCK):
        yield already_made(file, folder, key)


def graphs_key(graphs: tuple[Graph, ...], *more: object) -> str:
    """A key of what graphs compute, and of whatever else an arm depends on."""
    digest = hashlib.sha256(repr(more).encode())
    for graph in graphs:
        digest.update(repr(graph.nodes).encode())
        for name in sorted(graph.constants):
            array = np.ascontiguousarray(graph.constants[name])
            digest.update(f"{name} {array.shape} {array.dtype}".encode())
            digest.update(array.tobytes())
    return digest.hexdigest()[:24]

"""Which crops calibrate and which measure: a figure on the crops that chose the fractions says little about others."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from facelet.errors import InputError

FEWEST = 8
"""Different crops below which nothing is calibrated: one or two show no range, and their error is always small."""

MEASURED = 64
"""Most crops that measure only; fewer where the set is small, then a quarter of it."""


def different_rows(crops: NDArray[np.uint8], most: int, seed: int, where: str) -> NDArray[np.int64]:
    """Draws at most so many crops, no two of which are equal.

    Args:
        crops: `(n, height, width, 3)` uint8; may be mapped from disk, of which little more than `most` is read.
        most: wanted.
        seed: of the draw.
        where: they come from, for the message.

    Returns:
        Their rows in the order of the draw, `(m,)`.

    Raises:
        InputError: fewer than `FEWEST` different ones.
    """
    rows: list[int] = []
    met: set[bytes] = set()
    for row in np.random.default_rng(seed).permutation(len(crops)):
        if len(rows) == most:
            break
        digest = hashlib.sha256(crops[row].tobytes()).digest()
        if digest not in met:
            met.add(digest)
            rows.append(int(row))
    if len(rows) < FEWEST:
        raise InputError(
            f"{where}: holds {len(rows)} different crops; give {FEWEST} or more, some hundred of many people are better"
        )
    return np.array(rows, np.int64)


def split_rows(rows: NDArray[np.int64], wanted: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows that calibrate, at most `wanted`, and others that measure, ascending each.

    Args:
        rows: at most `wanted + MEASURED`.
    """
    n_measured = min(MEASURED, max(len(rows) - wanted, len(rows) // 4))
    kept = len(rows) - n_measured
    return np.sort(rows[:kept]), np.sort(rows[kept:])

"""Where each tensor lies in the arena: those that never live together may share a place.

Largest first, each at the lowest place that is free for its whole life. Source: Pisarchyk and Lee, "Efficient memory
management for deep neural net inference", 2020, section 5.2 (greedy by size for offset calculation).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ALIGN = 16
"""Floats; a cache line."""


@dataclass(frozen=True)
class Life:
    """A stretch of memory that is needed from one launch to another, both included.

    Attributes:
        size: in floats, 1 or more.
        first: launch that writes it; -1 for what the host writes.
        last: launch that reads it last.
    """

    size: int
    first: int
    last: int


@dataclass(frozen=True)
class Plan:
    """Offsets per life, the size of the arena and of the largest set that lives at once, in floats."""

    offsets: tuple[int, ...]
    arena: int
    live: int


def rounded(size: int) -> int:
    """A size up to the next cache line."""
    return -(-size // ALIGN) * ALIGN


def plan(lives: Sequence[Life]) -> Plan:
    """Places every life."""
    placed: list[tuple[int, int, Life]] = []
    offsets = [0] * len(lives)
    for index in sorted(range(len(lives)), key=lambda i: (-lives[i].size, lives[i].first)):
        life = lives[index]
        size, offset = rounded(life.size), 0
        for begin, end, other in sorted(placed, key=lambda entry: entry[:2]):
            apart = life.last < other.first or other.last < life.first
            if apart or end <= offset:
                continue
            if begin >= offset + size:
                break
            offset = end
        placed.append((offset, offset + size, life))
        offsets[index] = offset
    arena = max((end for _, end, _ in placed), default=0)
    moments = {life.first for life in lives}
    live = max(
        (sum(rounded(life.size) for life in lives if life.first <= moment <= life.last) for moment in moments),
        default=0,
    )
    return Plan(tuple(offsets), arena, live)

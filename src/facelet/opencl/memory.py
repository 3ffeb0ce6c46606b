"""Where buffers lie in the arena: two that are never alive at once may share their place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ALIGNMENT = 16
"""Floats: one cache line, and the widest vector."""


@dataclass(frozen=True)
class Lifetime:
    """A buffer and the launches that touch it.

    Attributes:
        size: floats.
        first: index of the launch that writes it first.
        last: index of the last launch that reads it, inclusive.
    """

    size: int
    first: int
    last: int


@dataclass(frozen=True)
class Plan:
    """Offsets in the arena, in floats.

    Attributes:
        offsets: one per buffer.
        size: of the arena.
        largest_live: the most that is alive at one launch; no arena can be smaller.
    """

    offsets: tuple[int, ...]
    size: int
    largest_live: int


def plan(buffers: Sequence[Lifetime]) -> Plan:
    """Places every buffer; the best of three orders of placing them.

    Source: Pisarchyk and Lee, "Efficient memory management for deep neural net inference", 2020, greedy by size.
    """
    sizes = [-(-buffer.size // ALIGNMENT) * ALIGNMENT for buffer in buffers]
    steps = range(max((buffer.last for buffer in buffers), default=-1) + 1)
    alive = [sum(s for s, b in zip(sizes, buffers, strict=True) if b.first <= step <= b.last) for step in steps]
    orders = (
        sorted(range(len(buffers)), key=lambda i: (-sizes[i], buffers[i].first)),
        sorted(range(len(buffers)), key=lambda i: (buffers[i].first, -sizes[i])),
        sorted(range(len(buffers)), key=lambda i: -sizes[i] * (1 + buffers[i].last - buffers[i].first)),
    )
    found = min((_place(buffers, sizes, order) for order in orders), key=lambda placed: placed[1])
    return Plan(tuple(found[0]), found[1], max(alive, default=0))


def _place(buffers: Sequence[Lifetime], sizes: Sequence[int], order: Sequence[int]) -> tuple[list[int], int]:
    offsets = [0] * len(buffers)
    done: list[int] = []
    for index in order:
        here = buffers[index]
        others = sorted(
            (offsets[i], offsets[i] + sizes[i])
            for i in done
            if buffers[i].first <= here.last and here.first <= buffers[i].last
        )
        offset, best, gap = 0, -1, 0
        for start, end in others:
            room = start - offset
            if room >= sizes[index] and (best < 0 or room < gap):
                best, gap = offset, room
            offset = max(offset, end)
        offsets[index] = best if best >= 0 else offset
        done.append(index)
    return offsets, max((offsets[i] + sizes[i] for i in done), default=0)

"""Progressive resizing: small pictures first, whole ones at the end.

A step on 64 pixels takes less than half the arithmetic of one on 96, and what a net learns first does not need the
rest. The kernels are the same at any size; only the map behind the last of them is smaller, and is stretched to what
the net's pooling expects.

Source: Tan and Le, "EfficientNetV2", ICML 2021, section 4 (progressive learning).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from facelet.errors import InputError

GROWN = 0.6
"""Fraction of the run after which pictures are whole."""

STEP, SMALLEST = 16, 32
"""Between one side and the next, and the smallest side, pixels."""


def sides(first: int, size: int) -> tuple[int, ...]:
    """Sides of the pictures before they are whole, in turn, each for an equal part of `GROWN`.

    Args:
        first: side of the first pictures, pixels.
        size: that of the net's input.

    Raises:
        InputError: `first` is no side that pictures of that size can grow from.
    """
    found = range(SMALLEST, size, STEP)
    if first not in found:
        known = ", ".join(map(str, found)) or "none"
        raise InputError(
            f"`first_resolution` {first}: pictures of {size} pixels grow from one of: {known}; or 0: whole ones"
        )
    return tuple(found[found.index(first) :])


def mean_cost(first: int, size: int) -> float:
    """Arithmetic of a mean step of a run, by that of a step on whole pictures."""
    growing = [(side / size) ** 2 for side in sides(first, size)]
    return GROWN * sum(growing) / len(growing) + 1 - GROWN


@dataclass(frozen=True)
class Resizing:
    """Shrinks pictures by how far the run is.

    Attributes:
        size: side of whole pictures, pixels.
        sides: of smaller ones, in turn.
    """

    size: int
    sides: tuple[int, ...]

    def side(self, progress: float) -> int:
        """Of the pictures at a fraction of the run."""
        part = int(progress / GROWN * len(self.sides))
        return self.sides[part] if part < len(self.sides) else self.size

    def __call__(self, pixels: Tensor, progress: float) -> Tensor:
        """`(n, 3, size, size)`, bytes or floats, at the side of that fraction of the run."""
        side = self.side(progress)
        if side == self.size:
            return pixels
        return functional.interpolate(pixels, (side, side), mode="bilinear", antialias=True)


def resized(net: nn.Module, first: int) -> Resizing:
    """Readies a net for smaller pictures: from now on it stretches maps that are smaller than its layer `pool` expects.

    Args:
        first: side of the first pictures, pixels.

    Raises:
        InputError: pictures cannot grow from that, or the net takes none so small.
    """
    size = int(net.input_size)  # type: ignore[arg-type]
    resizing = Resizing(size, sides(first, size))
    pool, whole = net.get_submodule("pool"), list[torch.Size]()
    net.eval()
    with torch.no_grad():
        with pool.register_forward_pre_hook(lambda _pool, inputs: whole.append(inputs[0].shape[2:])):
            net(torch.zeros(1, 3, size, size))
        pool.register_forward_pre_hook(functools.partial(_stretched, whole[0]))
        try:
            net(torch.zeros(1, 3, first, first))
        except RuntimeError as error:
            raise InputError(f"`first_resolution` {first}: the net takes no pictures so small; give more") from error
    return resizing


def _stretched(whole: torch.Size, _pool: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
    if inputs[0].shape[2:] == whole:
        return None
    return (functional.interpolate(inputs[0], tuple(whole), mode="bilinear"),)

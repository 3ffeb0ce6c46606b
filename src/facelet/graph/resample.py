"""Which pixels an image of another size is made of: nearest neighbour and linear, as ONNX's Resize has them.

Along each axis an output pixel at i lies at some place of the input, which `COORDINATES` computes in float32, as
onnxruntime does: where two pixels are equally near, the last bit decides.

Source: ONNX, Resize; onnxruntime, `core/providers/cpu/tensor/upsamplebase.h`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facelet.graph.ir import Array, Node

HALF = np.float32(0.5)


@dataclass(frozen=True)
class Taps:
    """Per output pixel along one axis the two pixels that it is made of.

    Attributes:
        first: `(n,)` int64.
        second: `(n,)` int64; the same as the first where one pixel is all.
        weight: `(n,)` float32 in [0, 1], of the second.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    weight: Array


def _asymmetric(at: Array, scale: np.float32, old: int, new: int) -> Array:
    return at / scale


def _half_pixel(at: Array, scale: np.float32, old: int, new: int) -> Array:
    return (at + HALF) / scale - HALF


def _pytorch_half_pixel(at: Array, scale: np.float32, old: int, new: int) -> Array:
    return (at + HALF) / scale - HALF if new > 1 else np.zeros_like(at)


def _tf_half_pixel(at: Array, scale: np.float32, old: int, new: int) -> Array:
    return (at + HALF) / scale


def _align_corners(at: Array, scale: np.float32, old: int, new: int) -> Array:
    return at * np.float32(old - 1) / np.float32(new - 1) if new > 1 else np.zeros_like(at)


def _half_pixel_symmetric(at: Array, scale: np.float32, old: int, new: int) -> Array:
    adjustment = np.float32(new) / (scale * np.float32(old))
    offset = np.float32(old) / np.float32(2) * (np.float32(1) - adjustment)
    return offset + (at + HALF) / scale - HALF


COORDINATES: dict[str, Callable[[Array, np.float32, int, int], Array]] = {
    "align_corners": _align_corners,
    "asymmetric": _asymmetric,
    "half_pixel": _half_pixel,
    "half_pixel_symmetric": _half_pixel_symmetric,
    "pytorch_half_pixel": _pytorch_half_pixel,
    "tf_half_pixel_for_nn": _tf_half_pixel,
}
"""Where output pixels lie in the input: from their numbers, the scale, and the sizes of input and output."""

NEAREST: dict[str, Callable[[Array], Array]] = {
    "ceil": np.ceil,
    "floor": np.floor,
    "round_prefer_ceil": lambda at: np.floor(at + HALF),
    "round_prefer_floor": lambda at: np.ceil(at - HALF),
}
"""Which pixel is the nearest to a place."""


def taps(mode: str, coordinates: str, nearest: str, scale: float, old: int, new: int) -> Taps:
    """What an axis of another size is made of.

    Args:
        mode: "nearest" or "linear".
        coordinates: of `COORDINATES`.
        nearest: of `NEAREST`; of no meaning with mode linear.
        scale: of the file; it need not be new / old.
        old: size of the input.
        new: size of the output.
    """
    at = np.arange(new, dtype=np.float32)
    if np.float32(scale) != 1 or old != new:
        at = np.asarray(COORDINATES[coordinates](at, np.float32(scale), old, new), np.float32)
    if mode == "nearest":
        chosen = np.clip(NEAREST[nearest](at).astype(np.int64), 0, old - 1)
        return Taps(chosen, chosen, np.zeros(new, np.float32))
    at = np.clip(at, np.float32(0), np.float32(old - 1))
    first = at.astype(np.int64)
    second = np.minimum(first + 1, old - 1)
    return Taps(first, second, np.where(second == first, np.float32(0), at - first.astype(np.float32)))


def node_taps(node: Node, height: int, width: int) -> tuple[Taps, Taps]:
    """The rows and the columns of a Resample of an image of that size."""
    how: tuple[Any, Any, Any] = (node["mode"], node["coordinates"], node["nearest"])
    return (
        taps(*how, node["scale_h"], height, node["height"]),
        taps(*how, node["scale_w"], width, node["width"]),
    )


def repeats(along: Taps, old: int) -> int:
    """How often every pixel is repeated along an axis; 0 where that is not all that happens."""
    new = len(along.first)
    times = new // old
    same = new == times * old and not along.weight.any()
    return times if same and np.array_equal(along.first, np.arange(new) // times) else 0

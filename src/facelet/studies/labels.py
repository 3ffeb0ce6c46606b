"""Names beside the points of a plot, each in the freest place around its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FONT = 7.0
"""Points, of the names."""

GAP = 4.0
"""Points between a point and its name."""

MARKER = 3.0
"""Points, half the side of what a name must not cover."""

SIDES = {"left": 0.0, "right": 1.0, "center": 0.5}
"""Horizontal alignment, and which share of the name then lies left of its anchor."""

PLACES = (
    ("left", GAP, GAP),
    ("right", -GAP, GAP),
    ("left", GAP, -GAP - FONT),
    ("right", -GAP, -GAP - FONT),
    ("left", 1.5 * GAP, -FONT / 2),
    ("right", -1.5 * GAP, -FONT / 2),
    ("center", 0.0, 1.5 * GAP),
    ("center", 0.0, -1.5 * GAP - FONT),
)
"""Alignment and offset of a name, what is liked best first."""

Boxes = NDArray[np.float64]
"""`(n, 4)`: left, bottom, right, top in points."""


def label_points(axes: Axes, named: Sequence[tuple[str, float, float]]) -> None:
    """Writes names so that they hardly cover each other, the points, or the frame.

    Args:
        axes: scaled as they will be drawn; what is plotted later may move the points.
        named: name, x and y of each point.
    """
    if not named:
        return
    axes.autoscale_view()
    inch = 72.0 / axes.figure.dpi
    at = axes.transData.transform([(x, y) for _, x, y in named]) * inch
    frame = np.asarray(axes.bbox.extents) * inch
    taken = np.concatenate([at - MARKER, at + MARKER], axis=1)
    for (text, x, y), (left, bottom) in zip(named, at, strict=True):
        tried = [_box(text, left + dx, bottom + dy, side) for side, dx, dy in PLACES]
        best = int(np.argmin([_covered(box, taken) + _outside(box, frame) for box in tried]))
        side, dx, dy = PLACES[best]
        axes.annotate(text, (x, y), xytext=(dx, dy), textcoords="offset points", ha=side, fontsize=FONT)
        taken = np.vstack([taken, tried[best]])


def _box(text: str, x: float, y: float, side: str) -> Boxes:
    """Of a name, by the mean width of a letter."""
    width = 0.58 * FONT * len(text)
    start = x - SIDES[side] * width
    return np.array([start, y, start + width, y + FONT])


def _area(low: Boxes, high: Boxes) -> float:
    return float(np.prod(np.maximum(high - low, 0.0), axis=-1).sum())


def _covered(box: Boxes, taken: Boxes) -> float:
    """Area that a box shares with others."""
    return _area(np.maximum(box[:2], taken[:, :2]), np.minimum(box[2:], taken[:, 2:]))


def _outside(box: Boxes, frame: Boxes) -> float:
    """Area of a box that lies outside the frame."""
    return _area(box[:2], box[2:]) - _area(np.maximum(box[:2], frame[:2]), np.minimum(box[2:], frame[2:]))

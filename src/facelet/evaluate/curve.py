"""One curve over training steps as PNG."""

from __future__ import annotations

from collections.abc import Sequence

from facelet.evaluate.png import new_figure, png_bytes


def curve_png(x: Sequence[float], y: Sequence[float], x_label: str, y_label: str) -> bytes:
    """Returns a line plot as a PNG; equal numbers give equal bytes."""
    figure = new_figure(6, 5)
    axes = figure.add_subplot()
    axes.plot(x, y, color="tab:blue")
    axes.set(xlabel=x_label, ylabel=y_label, ylim=(0, None))
    axes.grid(alpha=0.3)
    return png_bytes(figure)

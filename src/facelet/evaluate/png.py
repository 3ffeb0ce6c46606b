"""Figures of matplotlib as PNG bytes; no window, no global state.

matplotlib comes with the extra `plots` and is imported when the first figure is made. A command that draws beside its
results leaves the plots out without it and reports that (`NO_PLOTS`); one whose plot was asked for calls `check_plots`.
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable
from typing import TYPE_CHECKING

from facelet.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Plot = Callable[[], bytes]
"""Draws a PNG when it is called."""

NO_PLOTS = "plots: left out, as matplotlib is not installed; install it with: pip install 'facelet[plots]'"


def can_plot() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def check_plots() -> None:
    """Refuses a plot that was asked for where it cannot be drawn.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    if not can_plot():
        raise MissingExtraError("matplotlib", "plots")


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, with a canvas of its own.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    check_plots()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def png_bytes(figure: Figure, dpi: float = 100) -> bytes:
    """The drawn figure; equal figures give equal bytes."""
    stream = io.BytesIO()
    figure.savefig(stream, dpi=dpi, format="png", metadata={"Software": None})
    return stream.getvalue()

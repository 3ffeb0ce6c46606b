"""Signal to noise of each layer as bars, worst on top; no window, no global state."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from facelet.atomic import write_bytes_atomic

ROW = 0.22


def plot_noise(names: Sequence[str], snr_db: Sequence[float], title: str, path: Path) -> None:
    """Writes a PNG.

    Args:
        names: of the layers, worst first.
        snr_db: of each.

    Raises:
        InputError: the place cannot be written.
    """
    figure = Figure(figsize=(8, 1.2 + ROW * len(names)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.barh(range(len(names)), list(snr_db), color="#4477aa")
    axes.set_yticks(range(len(names)), labels=list(names), fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("signal to noise, dB")
    axes.set_title(title, parse_math=False)
    axes.grid(axis="x", alpha=0.3)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100, metadata={"Software": None})
    write_bytes_atomic(path, stream.getvalue())

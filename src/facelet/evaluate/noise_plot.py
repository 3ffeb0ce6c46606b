"""Signal to noise of each layer as bars, worst on top; no window, no global state."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from facelet.atomic import write_bytes_atomic
from facelet.evaluate.png import new_figure, png_bytes

ROW = 0.22


def plot_noise(names: Sequence[str], snr_db: Sequence[float], title: str, path: Path) -> None:
    """Writes a PNG.

    Args:
        names: of the layers, worst first.
        snr_db: of each.

    Raises:
        InputError: the place cannot be written.
    """
    figure = new_figure(8, 1.2 + ROW * len(names))
    axes = figure.add_subplot()
    axes.barh(range(len(names)), list(snr_db), color="#4477aa")
    axes.set_yticks(range(len(names)), labels=list(names), fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("signal to noise, dB")
    axes.set_title(title, parse_math=False)
    axes.grid(axis="x", alpha=0.3)
    write_bytes_atomic(path, png_bytes(figure))

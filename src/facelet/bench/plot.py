"""Draws the rows of a comparison: milliseconds per image, a panel for each setting of threads and batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from facelet.atomic import write_bytes_atomic
from facelet.bench.measure import Row
from facelet.evaluate.png import new_figure, png_bytes

OURS, OTHERS = "tab:blue", "tab:gray"


def plot_rows(rows: Sequence[Row], title: str, path: Path) -> None:
    """Writes a PNG with one bar per runtime, fastest on top.

    Raises:
        MissingExtraError: matplotlib is not installed.
        InputError: the place cannot be written.
    """
    settings = sorted({(row.threads, row.batch) for row in rows})
    figure = new_figure(5 * len(settings), 3.4)
    axes = figure.subplots(1, len(settings), squeeze=False)
    for axis, (threads, batch) in zip(axes[0], settings, strict=True):
        here = sorted(
            (row for row in rows if (row.threads, row.batch) == (threads, batch)), key=lambda row: -row.median_ms
        )
        colours = [OURS if row.backend.startswith("opencl:") else OTHERS for row in here]
        names = ["=".join(part.rpartition("/")[2] for part in row.backend.split("=")) for row in here]
        bars = axis.barh(names, [row.median_ms / batch for row in here], color=colours)
        axis.bar_label(
            bars, [f"{row.median_ms / batch:.3g} ms, {row.ratio_to_onnxruntime:.2f}x" for row in here], padding=3
        )
        axis.set(xlabel="milliseconds per image (log)", title=f"{threads} thread{'s' * (threads > 1)}, batch {batch}")
        axis.set_xscale("log")
        axis.margins(x=0.35)
    figure.suptitle(title, parse_math=False)
    write_bytes_atomic(path, png_bytes(figure, dpi=110))

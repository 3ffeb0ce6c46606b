"""Arms that are run with several seeds: their means, how far they lie apart, every seed a dot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from facelet.studies.study import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def over_seeds(rows: Sequence[Row], figures: Sequence[str], apart: Sequence[str]) -> Row:
    """Means over seeds, how far the seeds lie apart (largest less smallest), and each seed's own figures.

    Args:
        rows: of one arm, one a seed.
        figures: keys to take.
        apart: those of them whose spread is reported, as `KEY_apart`; None with one seed.
    """
    each = {key: [row[key] for row in rows] for key in figures}
    means = {key: float(np.mean(values)) for key, values in each.items()}
    spread = {f"{key}_apart": apart_by(each[key]) for key in apart}
    return {**means, **spread, "each": each}


def apart_by(values: Sequence[float]) -> float | None:
    """The largest less the smallest; None of one."""
    return max(values) - min(values) if len(values) > 1 else None


def plot_seeds(axes: Axes, rows: list[Row], places: NDArray[np.int64], key: str, name: str) -> None:
    """One figure of all arms across: every seed a dot, their mean a bar.

    Args:
        places: of the rows, upwards.
        key: of the figure.
        name: of it, for the axis.
    """
    axes.plot([row[key] for row in rows], places, "|", markersize=16, markeredgewidth=2, color="C0", label="mean")
    for number, (row, place) in enumerate(zip(rows, places, strict=True)):
        values = row["each"][key]
        axes.plot(values, [place] * len(values), "o", markersize=5, color="C1", label=None if number else "each seed")
    axes.set_xlabel(name)
    axes.grid(alpha=0.3)

"""Plots of the benchmark "trouble" as PNG; no window, no global state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from facelet.evaluate.png import new_figure, png_bytes

LOWEST = 1e-4
"""Left end of the axis of rates; a rate of 0 is drawn there."""


def trouble_png(rows: Mapping[str, Mapping[str, Any]], promised: float, bar: float) -> bytes:
    """Returns the false accept rate of each row, without and with the quality.

    Args:
        rows: by name: "far_plain" and "far", fractions or None, and "fitted".
        promised: the rate that the threshold was measured for.
        bar: the rate that no row may exceed.
    """
    figure = new_figure(7, 1.2 + 0.2 * len(rows))
    axes = figure.add_subplot()
    names = [name + ("" if row["fitted"] else " *") for name, row in rows.items()]
    for key, label, marker in (("far_plain", "distance alone", "o"), ("far", "with the quality", "s")):
        points = [(max(row[key], LOWEST), place) for place, row in enumerate(rows.values()) if row[key] is not None]
        axes.plot([x for x, _ in points], [y for _, y in points], marker, markersize=4, label=label)
    axes.axvline(promised, color="grey", linewidth=1, linestyle=":")
    axes.axvline(bar, color="black", linewidth=1, linestyle="--")
    axes.set_yticks(range(len(names)), labels=names, fontsize=7)
    axes.invert_yaxis()
    axes.set(xscale="log", xlim=(LOWEST * 0.8, 1), xlabel="false accept rate (* held out of the fit)")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(fontsize="small")
    return png_bytes(figure)


def reject_png(curve: Mapping[str, Sequence[float]]) -> bytes:
    """Returns the error-versus-reject curve.

    Args:
        curve: "rejected", "fnmr" and "fmr", fractions of the same length.
    """
    figure = new_figure(6, 4)
    axes = figure.add_subplot()
    axes.plot(curve["rejected"], curve["fnmr"], marker=".", label="false non-matches")
    axes.plot(curve["rejected"], curve["fmr"], marker=".", label="false matches")
    axes.set(
        xlabel="share of pairs left out, worst quality first", ylabel="rate at the fixed threshold", ylim=(0, None)
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return png_bytes(figure)

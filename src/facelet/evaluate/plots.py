"""ROC and distance histogram as PNG; no window, no global state."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from facelet.evaluate.png import new_figure, png_bytes
from facelet.evaluate.verification import auc, roc

_GENUINE, _IMPOSTOR = "tab:blue", "tab:orange"


def roc_png(curves: Mapping[str, tuple[NDArray[np.float32], NDArray[np.bool_]]]) -> bytes:
    """Returns ROC curves as a PNG, FAR on a logarithmic axis.

    Args:
        curves: by legend: squared distances `(n_pairs,)` and whether each pair is genuine `(n_pairs,)` bool.

    Raises:
        ProtocolError: a curve without genuine or without impostor pairs.
    """
    figure = new_figure(6, 5)
    axes = figure.add_subplot()
    lowest = 1.0
    for name, (distances, same) in curves.items():
        points = roc(distances, same)
        lowest = min(lowest, 1 / int((~same).sum()))
        label = f"{name}  AUC {auc(distances, same):.4f}"
        axes.step(np.maximum(points.far, lowest / 2), points.tar, where="post", label=label)
    axes.set(xscale="log", xlim=(lowest, 1), ylim=(0, 1.02), xlabel="false accept rate", ylabel="true accept rate")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize="small")
    return png_bytes(figure)


def distance_histogram_png(
    distances: NDArray[np.float32], same: NDArray[np.bool_], threshold: float, title: str
) -> bytes:
    """Returns the distances of genuine and impostor pairs as two histograms in one PNG.

    Args:
        distances: squared distances, `(n_pairs,)` in [0, 4].
        same: whether each pair is genuine, `(n_pairs,)` bool.
        threshold: drawn as a line.
        title: above the plot.
    """
    figure = new_figure(6, 4)
    axes = figure.add_subplot()
    bins = np.linspace(0, max(2.0, float(distances.max())), 81).tolist()
    axes.hist(distances[same], bins, color=_GENUINE, alpha=0.6, label=f"genuine ({int(same.sum())})")
    axes.hist(distances[~same], bins, color=_IMPOSTOR, alpha=0.6, label=f"impostor ({int((~same).sum())})")
    axes.axvline(threshold, color="black", linewidth=1, linestyle="--", label=f"threshold {threshold:.3f}")
    axes.set(xlabel="squared distance of unit embeddings", ylabel="pairs", title=title)
    axes.legend(fontsize="small")
    return png_bytes(figure)

"""Plots of identification, clustering and robustness as PNG; no window, no global state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from facelet.evaluate.clustering import ClusterScores
from facelet.evaluate.identification import Identification
from facelet.evaluate.png import new_figure, png_bytes
from facelet.evaluate.robustness import DEGRADATIONS

CMC_RANKS = 20
"""Ranks that the cumulative match curve shows."""


def identification_png(found: Identification, title: str) -> bytes:
    """Returns the cumulative match curve, and beside it the identification rate over the false alarm rate."""
    figure = new_figure(9, 4)
    closed, opened = figure.subplots(1, 2)
    ranks = range(1, CMC_RANKS + 1)
    closed.plot(ranks, [found.rank_rate(rank) for rank in ranks], marker=".")
    closed.set(xlabel="rank", ylabel="share of probes", title=f"{title}: closed set", xlim=(1, CMC_RANKS))
    if len(found.impostor):
        fars = np.geomspace(max(1e-3, 1 / len(found.impostor)), 1, 40)
        opened.plot(fars, [found.dir_at_far(far) for far in fars])
    opened.set(xscale="log", xlabel="false alarm rate", ylabel="identified rightly", title="open set", ylim=(0, 1.02))
    for axes in (closed, opened):
        axes.grid(alpha=0.3)
    return png_bytes(figure)


def clustering_png(scores: Sequence[ClusterScores], at_card: ClusterScores | None, title: str) -> bytes:
    """Returns BCubed precision, recall and F and pairwise F over the threshold of the tree.

    Args:
        scores: of the sweep.
        at_card: drawn as a line at its threshold; None for no line.
        title: above the plot.
    """
    figure = new_figure(6, 4)
    axes = figure.add_subplot()
    x = [float(score.threshold or 0) for score in scores]
    axes.plot(x, [score.bcubed_f for score in scores], label="BCubed F")
    axes.plot(x, [score.bcubed_precision for score in scores], linestyle=":", label="BCubed precision")
    axes.plot(x, [score.bcubed_recall for score in scores], linestyle=":", label="BCubed recall")
    axes.plot(x, [score.pairwise_f for score in scores], label="pairwise F")
    if at_card is not None and at_card.threshold is not None:
        axes.axvline(at_card.threshold, color="black", linewidth=1, linestyle="--", label="the card's threshold")
    axes.set(xlabel="threshold, squared distance", ylim=(0, 1.02), title=title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return png_bytes(figure)


def robustness_png(accuracies: Mapping[str, Mapping[str, Mapping[str, float]]]) -> bytes:
    """Returns one panel per degradation with a curve per model.

    Args:
        accuracies: by model, then degradation, then strength as text: a fraction.
    """
    figure = new_figure(15, 3.6)
    panels = figure.subplots(1, len(DEGRADATIONS), sharey=True)
    for axes, (name, degradation) in zip(panels, DEGRADATIONS.items(), strict=True):
        places = range(len(degradation.axis))
        for model, by_name in accuracies.items():
            axes.plot(
                places, [by_name[name][f"{strength:g}"] for strength in degradation.axis], marker=".", label=model
            )
        axes.axvline(degradation.axis.index(degradation.clean), color="grey", linewidth=1, linestyle=":")
        axes.set_xticks(places, [f"{strength:g}" for strength in degradation.axis])
        axes.set(xlabel=degradation.what, title=name)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("LFW View 1 accuracy")
    panels[0].legend(fontsize="small")
    return png_bytes(figure)

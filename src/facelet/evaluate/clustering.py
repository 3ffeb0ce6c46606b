"""How well clusters of faces are people: BCubed and pairwise F, at one threshold and over a sweep.

NumPy in, numbers out. Clusters come from `linkage.merge_tree`: average linkage over squared distances.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facelet.errors import InputError
from facelet.linkage import MergeTree

SWEEP: tuple[float, ...] = tuple(round(0.5 + 0.05 * step, 2) for step in range(31))
"""Thresholds of the sweep: 0.50 to 2.00, squared distances."""


@dataclass(frozen=True)
class ClusterScores:
    """Figures of one clustering, all but the count fractions in [0, 1].

    Attributes:
        threshold: squared distance at which the tree was cut; None where there was no tree.
        n_clusters: clusters found.
        bcubed_precision: mean over faces of the share of its cluster that shows its person.
        bcubed_recall: mean over faces of the share of its person that is in its cluster.
        bcubed_f: their harmonic mean.
        pairwise_precision: share of couples within a cluster that show one person; 1 where there are none.
        pairwise_recall: share of one person's couples that are within a cluster; 1 where there are none.
        pairwise_f: their harmonic mean.
    """

    threshold: float | None
    n_clusters: int
    bcubed_precision: float
    bcubed_recall: float
    bcubed_f: float
    pairwise_precision: float
    pairwise_recall: float
    pairwise_f: float


def score_clusters(
    person: NDArray[np.int64], cluster: NDArray[np.int64], threshold: float | None = None
) -> ClusterScores:
    """Compares clusters with people.

    Args:
        person: who each face shows, `(n,)` int64, n at least 1.
        cluster: where it was put, `(n,)` int64.
        threshold: passed on.

    Raises:
        InputError: no faces, or lengths differ.

    Source: Bagga and Baldwin, "Entity-based cross-document coreferencing using the vector space model", 1998, and
    Amigo et al., "A comparison of extrinsic clustering evaluation metrics based on formal constraints", 2009 (BCubed).
    """
    if person.ndim != 1 or person.shape != cluster.shape or not len(person):
        raise InputError(f"clusters: person {person.shape} and cluster {cluster.shape}; expected both (n,), n >= 1")
    _, person = np.unique(person, return_inverse=True)
    _, cluster = np.unique(cluster, return_inverse=True)
    _, cell, together = np.unique(
        person.astype(np.int64) * len(cluster) + cluster, return_inverse=True, return_counts=True
    )
    of_person, of_cluster = np.bincount(person), np.bincount(cluster)
    both = together[cell]
    precision, recall = float(np.mean(both / of_cluster[cluster])), float(np.mean(both / of_person[person]))
    hits = _couples(together)
    pair_precision = _share(hits, _couples(of_cluster))
    pair_recall = _share(hits, _couples(of_person))
    return ClusterScores(
        threshold=threshold,
        n_clusters=len(of_cluster),
        bcubed_precision=precision,
        bcubed_recall=recall,
        bcubed_f=_harmonic(precision, recall),
        pairwise_precision=pair_precision,
        pairwise_recall=pair_recall,
        pairwise_f=_harmonic(pair_precision, pair_recall),
    )


def sweep_clusters(
    tree: MergeTree, person: NDArray[np.int64], thresholds: Sequence[float] = SWEEP
) -> list[ClusterScores]:
    """Scores of one tree cut at each threshold.

    Raises:
        InputError: lengths differ.
    """
    return [score_clusters(person, tree.cut(threshold), threshold) for threshold in thresholds]


def best_clusters(scores: Sequence[ClusterScores]) -> ClusterScores:
    """The scores of highest BCubed F; of equals the first."""
    return max(scores, key=lambda score: score.bcubed_f)


def _couples(sizes: NDArray[np.int64]) -> int:
    """Couples within groups of these sizes."""
    return int((sizes * (sizes - 1) // 2).sum())


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


def _harmonic(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0

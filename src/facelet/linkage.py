"""Who belongs together: average linkage over squared distances. NumPy in, cluster numbers out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform

from facelet.errors import InputError

MAX_FACES = 20_000
"""More would need over 6 GB: the distances of all couples are held at once."""

NEVER = 4.0
"""The largest squared distance of unit vectors; given to couples of one photo."""


@dataclass(frozen=True, eq=False)
class MergeTree:
    """The order in which average linkage joins n faces to one cluster.

    Attributes:
        n: number of faces.
        merges: `(n - 1, 2)` int64, what each step joins: a face (below n) or the result of step `number - n`.
        heights: `(n - 1,)` float64, mean squared distance between the two, ascending.
    """

    n: int
    merges: NDArray[np.int64]
    heights: NDArray[np.float64]

    def cut(self, threshold: float) -> NDArray[np.int64]:
        """Returns the clusters that remain where only merges below a threshold are made.

        Args:
            threshold: squared distance in [0, 4].

        Returns:
            `(n,)` int64 cluster numbers from 0, in the order of each cluster's first face.
        """
        root = np.arange(self.n + len(self.merges))
        for step in range(int(np.searchsorted(self.heights, threshold, side="left"))):
            root[self.merges[step]] = self.n + step
        for node in range(len(root) - 2, -1, -1):  # parents have larger numbers, so each parent is settled before
            root[node] = root[root[node]]
        _, first, label = np.unique(root[: self.n], return_index=True, return_inverse=True)
        rank = np.empty(len(first), dtype=np.int64)
        rank[np.argsort(first)] = np.arange(len(first))
        return rank[label]


def merge_tree(
    embeddings: NDArray[np.float32], apart: NDArray[np.int64] | None = None, prints_below: float = 0.0
) -> MergeTree:
    """Returns how average linkage joins faces.

    Two clusters' distance is the mean squared distance of all couples between them.

    Args:
        embeddings: unit vectors, `(n, d)` float32, n at least 1.
        apart: `(n,)` int64; two faces of one non-negative number count as far apart (distance 4), as two faces of one
            photo are; between large clusters their other couples can outvote that. None: no such knowledge.
        prints_below: squared distance below which two faces of one number are prints of one picture and keep it.

    Raises:
        InputError: no faces, or more than `MAX_FACES`.

    Source: Sokal and Michener, "A statistical method for evaluating systematic relationships", 1958 (UPGMA).
    """
    n = len(embeddings)
    if not 1 <= n <= MAX_FACES:
        raise InputError(f"clustering: {n:,} faces; expected 1 to {MAX_FACES:,}, so cluster in parts")
    if n == 1:
        return MergeTree(1, np.empty((0, 2), np.int64), np.empty(0))
    distances = squared_distances(embeddings)
    if apart is not None:
        distances[(apart[:, None] == apart) & (apart[:, None] >= 0) & (distances >= prints_below)] = NEVER
    np.fill_diagonal(distances, 0)
    steps = linkage(squareform(distances, checks=False), method="average")
    return MergeTree(n, steps[:, :2].astype(np.int64), steps[:, 2].copy())


def squared_distances(left: NDArray[np.float32], right: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """Squared Euclidean distances of unit vectors, `(n, m)` float32 in [0, 4]; `right` is `left` where not given."""
    return np.asarray(np.clip(2 - 2 * (left @ (left if right is None else right).T), 0.0, NEVER), dtype=np.float32)

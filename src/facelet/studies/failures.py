"""What a detector's failures cost, by what is done about a photo in which no face is found.

The failures are drawn at random, as YuNet finds a face in every photo of LFW. Thresholds are those of a protocol in
which every face is found, as they would be calibrated.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facelet.data.pairs import Pairs
from facelet.evaluate.verification import fold_accuracy, pair_distances

Vectors = NDArray[np.float32]

FAILED = 10
"""Photos in a hundred in which no face is found."""

DRAWS = 10
"""Random choices of those photos; figures are means over them."""

CENTRE_INSTEAD, LEFT_OUT, DIFFERENT = "centre instead", "pair left out", "pair called different"
"""Policies: the middle of the photo takes the face's place; no verdict; the verdict that keeps a door shut."""


def policies(found: Vectors, centre: Vectors, pairs: Pairs, seed: int) -> dict[str, tuple[float, float]]:
    """Share of right verdicts and share of pairs that get one, both in [0, 1], by policy.

    Args:
        found: embedding of each photo by its face, `(n_images, d)`.
        centre: of the photo's centre, `(n_images, d)`.
        pairs: the protocol.
        seed: of the failures.
    """
    folds = fold_accuracy(pair_distances(found, pairs), pairs)
    numbers = np.unique(pairs.fold, return_inverse=True)[1]
    threshold = folds.thresholds[numbers]
    rng = np.random.default_rng(seed)
    told: dict[str, list[tuple[float, float]]] = {CENTRE_INSTEAD: [], LEFT_OUT: [], DIFFERENT: []}
    for _ in range(DRAWS):
        lost = rng.random(len(found)) < FAILED / 100
        whole = ~(lost[pairs.left] | lost[pairs.right])
        near = pair_distances(found, pairs) < threshold
        replaced = pair_distances(np.where(lost[:, None], centre, found), pairs) < threshold
        told[CENTRE_INSTEAD].append((float(np.mean(replaced == pairs.same)), 1.0))
        told[LEFT_OUT].append((float(np.mean((near == pairs.same)[whole])), float(whole.mean())))
        told[DIFFERENT].append((float(np.mean((near & whole) == pairs.same)), 1.0))
    return {policy: (float(right), float(share)) for policy, (right, share) in _means(told).items()}


def _means(told: dict[str, list[tuple[float, float]]]) -> dict[str, NDArray[np.float64]]:
    return {policy: np.mean(draws, axis=0) for policy, draws in told.items()}

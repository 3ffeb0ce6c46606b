"""Triplets from a batch of P people with K photos each: semi-hard negatives.

Source: Schroff et al., "FaceNet", CVPR 2015, section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Triplets:
    """Row numbers of anchors, positives and negatives, `(n,)` int64 each."""

    anchor: Tensor
    positive: Tensor
    negative: Tensor


def squared_distances(embeddings: Tensor) -> Tensor:
    """All pairwise squared Euclidean distances of unit vectors `(n, d)`: `(n, n)` in [0, 4]."""
    return (2.0 - 2.0 * embeddings @ embeddings.T).clamp_min(0.0)


def semi_hard(embeddings: Tensor, identity: Tensor, margin: float) -> Triplets:
    """One negative for every genuine pair: the nearest that is farther than the positive.

    A pair whose every negative is nearer than its positive takes the farthest of them, the least hard one: the
    hardest collapses the embedding early in training. A pair with no negative inside the margin drops out, as
    its loss is zero.

    Args:
        embeddings: `(n, d)` unit vectors.
        identity: `(n,)` int64.
        margin: of the triplet loss, in squared distance.
    """
    with torch.no_grad():
        distance = squared_distances(embeddings)
        same = identity[:, None] == identity[None, :]
        anchor, positive = torch.nonzero(same & ~torch.eye(len(identity), dtype=torch.bool), as_tuple=True)
        to_positive = distance[anchor, positive]
        to_all = distance[anchor]
        impostor = ~same[anchor]
        farther = impostor & (to_all > to_positive[:, None])
        nearest_farther = to_all.masked_fill(~farther, float("inf")).min(1)
        farthest = to_all.masked_fill(~impostor, float("-inf")).max(1)
        has_farther = farther.any(1)
        negative = torch.where(has_farther, nearest_farther.indices, farthest.indices)
        to_negative = torch.where(has_farther, nearest_farther.values, farthest.values)
        kept = to_negative < to_positive + margin
        return Triplets(anchor[kept], positive[kept], negative[kept])


def triplet_loss(embeddings: Tensor, triplets: Triplets, margin: float) -> Tensor:
    """Mean over triplets of `max(0, d(a, p) - d(a, n) + margin)`, d the squared distance; 0 without triplets."""
    anchor = embeddings[triplets.anchor]
    to_positive = (anchor - embeddings[triplets.positive]).square().sum(1)
    to_negative = (anchor - embeddings[triplets.negative]).square().sum(1)
    losses = (to_positive - to_negative + margin).clamp_min(0.0)
    return losses.sum() / max(1, len(losses))

"""Relational distillation: distances and angles between the faces of a batch shall be the teacher's.

Source: Park et al., "Relational Knowledge Distillation", CVPR 2019, equations 4 to 9.
"""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from facelet.train.term import Term

ANGLE_WEIGHT = 2.0
"""Of angles next to distances, as the paper has it."""

SMALLEST = 1e-12
"""Squared distance; nearer embeddings get no gradient, whose length would have no bound."""


class Relational(Term):
    """`distance_loss + 2 angle_loss`; keeps no state."""

    WEIGHT = 1.0  # as in the paper's metric learning; its 25 beside a cross-entropy would drown `squared_error` here

    @classmethod
    def made_for(cls, target: NDArray[np.float32], person: NDArray[np.int64]) -> Self:
        """Depends on nothing."""
        return cls()

    def forward(self, embedding: Tensor, target: Tensor, crop: Tensor, person: Tensor) -> Tensor:
        """The term of one batch; crops and people play no part."""
        return distance_loss(embedding, target) + ANGLE_WEIGHT * angle_loss(embedding, target)


def distance_loss(embedding: Tensor, target: Tensor) -> Tensor:
    """Mean over ordered pairs of `h(|a_i - a_j| / mean_a - |b_i - b_j| / mean_b)`.

    `mean_a` is the mean distance of the student's pairs, `mean_b` of the teacher's; `h(x)` is `x^2 / 2` where
    `|x| <= 1`, else `|x| - 1/2`.

    Args:
        embedding: the student's a, `(n, size)`, n at least 2.
        target: the teacher's b, alike.
    """
    n_pairs = len(embedding) * (len(embedding) - 1)
    mine, theirs = (_distances(vectors) for vectors in (embedding, target))
    mine, theirs = (d / (d.sum() / n_pairs).clamp_min(SMALLEST) for d in (mine, theirs))
    return functional.smooth_l1_loss(mine, theirs, reduction="sum") / n_pairs


def angle_loss(embedding: Tensor, target: Tensor) -> Tensor:
    """Mean over ordered triples of `h(cos a_ijk - cos b_ijk)`, the angle at j between i and k; `h` as above.

    Two rows have no triple: 0.

    Args:
        embedding: the student's a, `(n, size)`.
        target: the teacher's b, alike.
    """
    n = len(embedding)
    mine, theirs = (_angle_cosines(vectors) for vectors in (embedding, target))
    # where two of i, j, k are one row, both cosines are 0 or both are 1: those add nothing
    return functional.smooth_l1_loss(mine, theirs, reduction="sum") / max(1, n * (n - 1) * (n - 2))


def _distances(vectors: Tensor) -> Tensor:
    """Between all rows, `(n, n)`, 0 on the diagonal."""
    squared = (vectors[:, None] - vectors[None, :]).square().sum(2)
    apart = squared > SMALLEST
    return torch.where(apart, squared, 1.0).sqrt() * apart


def _angle_cosines(vectors: Tensor) -> Tensor:
    """At j, between the directions to i and to k, `(n, n, n)` indexed `[j, i, k]`."""
    directions = functional.normalize(vectors[None, :] - vectors[:, None], dim=2, eps=SMALLEST**0.5)
    return directions @ directions.transpose(1, 2)

"""Margin softmax over labelled people beside a distillation: CosFace with centres that begin as the teachers' means.

Source: Wang et al., "CosFace: Large margin cosine loss for deep face recognition", CVPR 2018, equation 4.
"""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from facelet.errors import InputError
from facelet.train.term import Term

SCALE = 32.0
"""s; half of the paper's 64, for shorter runs."""

MARGIN = 0.35
"""m, in cosine; the paper's."""

MIN_CROPS = 2
"""Of a person who is told from others: one crop alone says nothing of a person."""

NOBODY = -1


class MarginSoftmax(Term):
    """`-log(e^(s (cos_y - m)) / (e^(s (cos_y - m)) + sum over j != y of e^(s cos_j)))`, mean over labelled rows.

    `cos_j` is the cosine between the student's embedding and the centre of person j, y the person in the row. Rows
    that show nobody known, or two people blended, are left out. The centres begin as the mean of the teachers' answers
    for each person's clean crops and are trained with the student.

    Args:
        centres: `(n_people, size)`, of any length.
        classes: row of `centres` by a person's number, -1 for those without one.
    """

    WEIGHT = 0.02  # the gradient is up to s long, that of `squared_error` up to 2
    classes: Tensor

    def __init__(self, centres: Tensor, classes: Tensor) -> None:
        super().__init__()
        self.centres = nn.Embedding(len(centres), centres.shape[1], _weight=functional.normalize(centres))
        self.register_buffer("classes", classes)

    @classmethod
    def check(cls, person: NDArray[np.int64]) -> None:
        """Refuses crops of fewer than two people to tell apart."""
        n_people = len(_people(person))
        if n_people < 2:
            raise InputError(
                f"`loss` mse+margin: needs two labelled people with {MIN_CROPS} crops or more, found {n_people}; "
                "give labelled crops or take another loss"
            )

    @classmethod
    def made_for(cls, target: NDArray[np.float32], person: NDArray[np.int64]) -> Self:
        """A centre for every person with `MIN_CROPS` crops or more."""
        people = _people(person)
        classes = np.full(int(people.max()) + 1, NOBODY, np.int64)
        classes[people] = np.arange(len(people))
        known = np.flatnonzero(np.isin(person, people))
        centres = np.zeros((len(people), target.shape[1]), np.float32)
        np.add.at(centres, classes[person[known]], target[known])
        return cls(torch.from_numpy(centres), torch.from_numpy(classes))

    def forward(self, embedding: Tensor, target: Tensor, crop: Tensor, person: Tensor) -> Tensor:
        """The term of one batch, 0 where it shows nobody known; the teachers' answers and crops play no part."""
        inside = (person >= 0) & (person < len(self.classes))
        label = torch.where(inside, self.classes[person.where(inside, 0)], NOBODY)
        rows = torch.nonzero(label != NOBODY).flatten()
        if len(rows) == 0:
            return embedding.sum() * 0
        label = label[rows]
        cosine = embedding[rows] @ functional.normalize(self.centres.weight).T
        margin = MARGIN * functional.one_hot(label, cosine.shape[1])
        return functional.cross_entropy(SCALE * (cosine - margin), label)


def _people(person: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers of those with `MIN_CROPS` crops or more."""
    numbers, counts = np.unique(person[person >= 0], return_counts=True)
    return numbers[counts >= MIN_CROPS]

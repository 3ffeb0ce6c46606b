"""What every term has that a distillation can add to its distance of embeddings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn


class Term(nn.Module, ABC):
    """Something to minimise beside the distance between the student's and the teachers' embeddings.

    Its buffers and parameters are its state, which checkpoints hold.
    """

    WEIGHT: ClassVar[float]
    """Next to `squared_error`, where none is given."""
    REMEMBERS: ClassVar[bool] = False
    """Whether it keeps batches that it saw."""

    @classmethod
    def check(cls, person: NDArray[np.int64]) -> None:
        """Refuses crops that it cannot work with; most can do with any.

        Args:
            person: in each crop, `(n,)` int64; -1 where not known.

        Raises:
            InputError: what is missing.
        """

    @classmethod
    @abstractmethod
    def made_for(cls, target: NDArray[np.float32], person: NDArray[np.int64]) -> Self:
        """The term as a run begins with it.

        Args:
            target: the teachers' embeddings of the clean training crops, `(n, size)` unit vectors.
            person: in each, `(n,)` int64; -1 where not known.
        """

    @abstractmethod
    def forward(self, embedding: Tensor, target: Tensor, crop: Tensor, person: Tensor) -> Tensor:
        """The term of one batch.

        Args:
            embedding: the student's, `(n, size)` float32 unit vectors.
            target: the teachers' of the same views, alike.
            crop: number of the crop in each row, `(n,)` int64.
            person: in each row, `(n,)` int64; -1 where not known, or where a view shows two.
        """

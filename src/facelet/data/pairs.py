"""`Pairs`, the noun of every verification protocol."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Pairs:
    """A verification protocol over a list of images.

    Attributes:
        images: one key per image, `(n_images,)`; a path below the data folder or a running number.
        left: index into `images`, `(n_pairs,)` int.
        right: index into `images`, `(n_pairs,)` int.
        same: whether the pair shows one person, `(n_pairs,)` bool.
        fold: fold of each pair, `(n_pairs,)` int from 0.
    """

    images: tuple[str, ...]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    same: NDArray[np.bool_]
    fold: NDArray[np.int64]

    @property
    def n_pairs(self) -> int:
        """Number of pairs."""
        return len(self.same)

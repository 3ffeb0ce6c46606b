"""From what teachers say to what a student shall say: joining several teachers, fitting sizes.

Several teachers are concatenated (each scaled alike, so that distances average) or averaged. Where the result
is longer than the student's embedding, the principal directions of the clean embeddings join the two: of all
linear maps to that size it keeps distances between faces best, and it is fixed, so the student's space is a
rotation of its teacher's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facelet.errors import InputError

JOINS = ("concatenate", "average")


@dataclass(frozen=True)
class TargetMap:
    """A linear map from joined teacher embeddings to the student's space.

    Attributes:
        mean: subtracted first, `(d,)` float32; zero unless centred.
        matrix: `(d, size)` float32 with orthonormal columns, or the identity.
    """

    mean: NDArray[np.float32]
    matrix: NDArray[np.float32]

    def __call__(self, joined: NDArray[np.float32]) -> NDArray[np.float32]:
        """Unit vectors `(n, size)` of joined embeddings `(n, d)`."""
        mapped = (joined - self.mean) @ self.matrix
        norm = np.linalg.norm(mapped, axis=1, keepdims=True)
        return np.asarray(mapped / norm.clip(1e-12), np.float32)


def join(parts: list[NDArray[np.float16]], how: str) -> NDArray[np.float32]:
    """Joins one batch of embeddings of several teachers.

    Args:
        parts: `(n, d_i)` unit vectors of each teacher.
        how: "concatenate" or "average" (equal sizes only).

    Raises:
        InputError: unknown join, or sizes that cannot be averaged.
    """
    if how == "concatenate":
        return np.concatenate(parts, axis=1).astype(np.float32) / np.float32(len(parts) ** 0.5)
    if how != "average":
        raise InputError(f"join '{how}': not known; one of {', '.join(JOINS)}")
    sizes = {part.shape[1] for part in parts}
    if len(sizes) > 1:
        raise InputError(f"teachers: sizes {sorted(sizes)} cannot be averaged; use --join concatenate")
    mean = np.mean([part.astype(np.float32) for part in parts], axis=0)
    return np.asarray(mean / np.linalg.norm(mean, axis=1, keepdims=True).clip(1e-12), np.float32)


def fit_target_map(joined: NDArray[np.float32], size: int, *, center: bool = False) -> TargetMap:
    """The map that keeps most of the variance of `joined`, `(n, d)`, in `size` dimensions.

    Args:
        center: subtract the mean face first (the mean carries no identity).

    Raises:
        InputError: fewer teacher dimensions than the student has.
    """
    width = joined.shape[1]
    if size > width:
        raise InputError(
            f"student: its {size} dimensions exceed the teachers' {width}; add a teacher or use a smaller net"
        )
    mean = joined.mean(0) if center else np.zeros(width, np.float32)
    if size == width:
        return TargetMap(mean.astype(np.float32), np.eye(width, dtype=np.float32))
    centred = (joined - mean).astype(np.float64)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
    # the sign of an eigenvector is free: fix it, so that the map is the same on every machine
    top = vectors[:, np.argsort(values)[::-1][:size]]
    top *= np.sign(top[np.abs(top).argmax(0), np.arange(size)])
    return TargetMap(mean.astype(np.float32), top.astype(np.float32))

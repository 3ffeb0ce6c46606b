"""From what teachers say to what a student shall say: joining several teachers, fitting sizes.

Several teachers are concatenated (each scaled alike, so that distances average), averaged as they are, or averaged
after each was turned onto the first (orthogonal Procrustes). The plain average is for teachers of one space, as two
students of one teacher are: coordinates of unrelated nets mean unrelated things. Where a teacher is longer than the
student's embedding, the principal directions of the clean embeddings join the two: of all linear maps to that size it
keeps distances between faces best, and it is fixed, so the student's space is a rotation of its teacher's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from facelet.errors import InputError

Vectors = NDArray[np.float16] | NDArray[np.float32]

JOINS = ("concatenate", "average", "procrustes")


@dataclass(frozen=True)
class TargetMap:
    """A linear map from teacher embeddings, one teacher's or joined, to the student's space.

    Attributes:
        matrix: `(d, size)` float32 with orthonormal columns, or the identity.
    """

    matrix: NDArray[np.float32]

    def __call__(self, vectors: Vectors) -> NDArray[np.float32]:
        """Unit vectors `(n, size)` of embeddings `(n, d)`."""
        mapped = vectors.astype(np.float32) @ self.matrix
        norm = np.linalg.norm(mapped, axis=1, keepdims=True)
        return np.asarray(mapped / norm.clip(1e-12), np.float32)


@dataclass(frozen=True)
class Target:
    """What a student shall say, from what each of its teachers says.

    Attributes:
        own: of each teacher, before they are joined; empty where they are joined as they are.
        how: "concatenate" or "average".
        joint: of the joined embeddings.
    """

    own: tuple[TargetMap, ...]
    how: str
    joint: TargetMap

    def __call__(self, parts: Sequence[Vectors]) -> NDArray[np.float32]:
        """Unit vectors `(n, size)` of the teachers' embeddings, `(n, d_i)` each."""
        if self.own:
            parts = [own(part) for own, part in zip(self.own, parts, strict=True)]
        return self.joint(join(parts, self.how))

    def turned_onto(self, parts: Sequence[Vectors], goal: NDArray[np.float32]) -> Target:
        """The same target in another space: distances stay, and what is said of some faces comes nearest to a goal.

        Args:
            parts: what each teacher says of n faces, `(n, d_i)` each.
            goal: of those faces, `(n, size)` unit vectors.
        """
        return replace(self, joint=_turned(self.joint, rotation(self(parts), goal)))


def fit_target(parts: Sequence[Vectors], how: str, size: int) -> Target:
    """The target of a student of `size` dimensions.

    Args:
        parts: what each teacher says of the clean crops to train on, `(n, d_i)` unit vectors.
        how: of `JOINS`.

    Raises:
        InputError: unknown join, or sizes that do not fit.
    """
    if how != "procrustes":
        return Target((), how, fit_target_map(join(parts, how), size))
    first, *others = (fit_target_map(part.astype(np.float32), size) for part in parts)
    goal = first(parts[0])
    turned = (_turned(own, rotation(own(part), goal)) for own, part in zip(others, parts[1:], strict=True))
    return Target((first, *turned), "average", fit_target_map(goal, size))


def rotation(source: NDArray[np.float32], goal: NDArray[np.float32]) -> NDArray[np.float32]:
    """The orthogonal matrix `(d, d)` that brings `source @ matrix` nearest to `goal`, both `(n, d)`.

    Source: Schönemann, "A generalized solution of the orthogonal Procrustes problem", Psychometrika 1966.
    """
    left, _, right = np.linalg.svd(source.T.astype(np.float64) @ goal)
    return np.asarray(left @ right, np.float32)


def _turned(own: TargetMap, turn: NDArray[np.float32]) -> TargetMap:
    return TargetMap(own.matrix @ turn)


def join(parts: Sequence[Vectors], how: str) -> NDArray[np.float32]:
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
        raise InputError(f"join '{how}': not known; concatenate or average")
    sizes = {part.shape[1] for part in parts}
    if len(sizes) > 1:
        raise InputError(f"teachers: sizes {sorted(sizes)} cannot be averaged; use `join` procrustes or concatenate")
    mean = np.mean([part.astype(np.float32) for part in parts], axis=0)
    return np.asarray(mean / np.linalg.norm(mean, axis=1, keepdims=True).clip(1e-12), np.float32)


def fit_target_map(joined: NDArray[np.float32], size: int) -> TargetMap:
    """The map that keeps most of the variance of `joined`, `(n, d)`, in `size` dimensions.

    Raises:
        InputError: fewer teacher dimensions than the student has.
    """
    width = joined.shape[1]
    if size > width:
        raise InputError(
            f"student: its {size} dimensions exceed the teachers' {width}; add a teacher or use a smaller net"
        )
    if size == width:
        return TargetMap(np.eye(width, dtype=np.float32))
    wide = joined.astype(np.float64)
    values, vectors = np.linalg.eigh(wide.T @ wide / len(wide))
    # the sign of an eigenvector is free: fix it, so that the map is the same on every machine
    top = vectors[:, np.argsort(values)[::-1][:size]]
    top *= np.sign(top[np.abs(top).argmax(0), np.arange(size)])
    return TargetMap(top.astype(np.float32))

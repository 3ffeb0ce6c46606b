"""The rotation, scale and shift between two sets of points, and points under it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facelet.errors import InputError


def similarity(landmarks: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the rotation, scale and shift that bring `landmarks` nearest to `points` in least squares.

    With centred points as complex numbers p (from) and q (to), the factor is sum(q conj(p)) / sum(|p|^2).

    Args:
        landmarks: `(k, 2)` photo pixels.
        points: `(k, 2)` template pixels.

    Returns:
        `(2, 3)` float64: template = matrix @ (x, y, 1).

    Raises:
        InputError: shapes differ, fewer than two points, or all landmarks in one place.

    Source: Umeyama, "Least-squares estimation of transformation parameters between two point patterns", 1991,
    without reflection.
    """
    source = np.asarray(landmarks, dtype=np.float64)
    target = np.asarray(points, dtype=np.float64)
    if source.shape != target.shape or source.ndim != 2 or source.shape[1] != 2 or len(source) < 2:
        raise InputError(f"similarity: landmarks {source.shape} and points {target.shape}; both must be (k, 2), k >= 2")
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    p = (source - source_mean) @ np.array([1, 1j])
    q = (target - target_mean) @ np.array([1, 1j])
    spread = float(np.sum(np.abs(p) ** 2))
    if not np.isfinite(spread) or spread < 1e-9:
        raise InputError("similarity: the landmarks lie in one place or are not finite; no rotation can be told")
    factor = complex(np.sum(q * np.conj(p)) / spread)
    rotation = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    return np.column_stack([rotation, target_mean - rotation @ source_mean])


def moved(points: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points `(k, 2)` under a matrix `(2, 3)` as `similarity` gives it: photo pixels to template pixels."""
    there: NDArray[np.float64] = points @ matrix[:, :2].T + matrix[:, 2]
    return there


def moved_back(points: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """What `moved` was given: template pixels to photo pixels, `(k, 2)`."""
    back: NDArray[np.float64] = (points - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    return back

"""The map from dlib's five points to those of the field: prints the numbers of `facelet.faces.landmarks`.

python docs/benchmarks/dlib_points.py LFW YUNET    # the folder of LFW, the file of YuNet; some minutes
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facelet.cache import cache_dir
from facelet.data.lfw import load_lfw
from facelet.faces import landmarks
from facelet.faces.crops import CropCache, benchmark_faces
from facelet.faces.detect import DlibDetector, Face, YuNetDetector
from facelet.faces.similarity import moved, similarity

FAR = 20.0
"""Root-mean-square distance in template pixels from which two detectors mean two faces."""

RIDGE = 1e-3
"""Square pixels that are added to each variance: after a similarity four of ten numbers say nothing."""


def upright(face: Face, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points of a photo after the similarity that brings the face's "dlib5" upright."""
    return moved(points, similarity(face.landmarks, landmarks._UPRIGHT))


def main(lfw: Path, yunet: Path) -> None:
    """Prints the mean places, the matrix, and how far the points that they tell are from YuNet's."""
    pairs, root = load_lfw(lfw, view=1, split="train")
    photos, cache = [root / key for key in pairs.images], CropCache(cache_dir() / "crops")
    both = [benchmark_faces(photos, detector, cache) for detector in (DlibDetector(), YuNetDetector(yunet))]
    found = [(a, b) for a, b in zip(*both, strict=True) if a is not None and b is not None and a.score > 0]
    moves = np.array([(upright(a, a.landmarks) - landmarks._UPRIGHT).ravel() for a, _ in found])
    fives = np.array([upright(a, b.landmarks) for a, b in found])
    near = np.sqrt(np.square(fives - landmarks._FIVE).sum(2).mean(1)) < FAR
    moves, fives = moves[near], fives[near].reshape(-1, 10)
    centred, mean = moves - moves.mean(0), fives.mean(0)
    variance = centred.T @ centred + len(moves) * RIDGE * np.eye(10)
    matrix = np.linalg.solve(variance, centred.T @ (fives - mean))
    places = mean - moves.mean(0) @ matrix
    np.set_printoptions(suppress=True, precision=4, linewidth=150)
    print(f"{near.sum()} of {len(photos)} photos\n{places.reshape(5, 2)}\n{matrix}")  # noqa: T201
    for what, told in (("by the map", moves @ matrix + places), ("by mean places alone", mean)):
        apart = np.sqrt(np.square(told - fives).reshape(-1, 5, 2).sum(2).mean(0))
        print(f"{what}: {apart} template pixels from YuNet's, root mean square")  # noqa: T201


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))

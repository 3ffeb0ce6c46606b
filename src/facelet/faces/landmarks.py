"""From dlib's five points of a face to the five of the field, which nets are aligned by.

dlib's points are corners of the eyes and the base of the nose. Where pupils, tip of the nose and corners of the mouth
are depends on how the head is turned, which moves the base of the nose between the eyes; so they are told from all five
points together, by one linear map.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facelet.errors import InputError
from facelet.faces.detect import Face
from facelet.faces.similarity import moved, moved_back, similarity
from facelet.faces.templates import load_template

# Measured: mean place of dlib's five points on 875 crops of the transfer set (the first 150 of each of shards 0 to 5;
# dlib found no face in 25 of those 900), each crop brought to "arcface" by its own "five" landmarks.
_UPRIGHT = np.array(
    [[80.1682, 53.5636], [65.8781, 54.5611], [30.1936, 54.1927], [44.5038, 54.8166], [55.5045, 81.6184]]
)

# Measured: `docs/benchmarks/dlib_points.py`, least squares over 3,421 of the 3,443 photos of LFW's `pairsDevTrain.txt`
# (dlib finds no face in 20, another one than YuNet in 2): YuNet's points from dlib's, both after the similarity that
# brings dlib's nearest to the places above. What is left is 2.6 to 3.8 pixels of 112; by mean places alone 2.7 to 5.2.
_FIVE = np.array(
    [
        [36.8543, 54.2168],
        [74.1002, 53.7622],
        [55.6199, 75.66],
        [39.8048, 91.8432],
        [72.2952, 91.4686],
    ]
)
_FIVE_BY_MOVE = np.array(
    [
        [-0.5126, 0.7169, 0.2111, 0.0332, -1.0107, 0.19, 0.3743, -0.2997, 1.1632, -0.9199],
        [0.0087, -0.1154, 0.2337, -0.0028, 0.582, -0.085, -0.1471, 0.6251, 0.0376, 0.7483],
        [-0.1427, -0.0671, 0.1076, 0.0552, 0.4329, 0.0364, -0.5812, -0.6841, -0.1156, -0.5724],
        [0.2148, -0.2595, -0.287, 0.0069, -0.0372, -0.1078, -0.0569, -0.523, -0.5228, -0.2909],
        [0.6402, -0.5121, -0.07, -0.4275, -0.5274, -0.2009, 0.7937, 0.4332, 0.0151, 0.4949],
        [0.0105, -0.1614, 0.2613, 0.0295, -0.3635, -0.0033, -0.0879, 0.7214, 0.1098, 0.8723],
        [0.0135, -0.0854, -0.23, 0.3028, 0.2741, 0.0007, -0.3926, 0.6059, -0.8847, 0.9395],
        [0.1688, 0.0462, -0.2797, -0.1751, -0.0537, -0.2096, 0.366, -0.6421, -0.0971, -0.8347],
        [0.0016, -0.0522, -0.0187, 0.0362, 0.8311, -0.0262, -0.1941, -0.0553, -0.1779, 0.0579],
        [-0.4028, 0.4901, 0.0718, 0.1415, -0.1276, 0.4058, -0.0741, -0.1814, 0.4725, -0.495],
    ]
)


def five_of_dlib5(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The landmarks "five" of a face whose "dlib5" are given.

    Args:
        points: `(5, 2)` photo pixels.

    Returns:
        `(5, 2)` float64 photo pixels.

    Raises:
        InputError: as `similarity`.
    """
    matrix = similarity(points, _UPRIGHT)
    off = moved(points, matrix) - _UPRIGHT
    five = _FIVE + (off.ravel() @ _FIVE_BY_MOVE).reshape(5, 2)
    return moved_back(five, matrix)


def five_landmarks(face: Face) -> NDArray[np.float64]:
    """The landmarks "five" of a face: refined, its own, or told from its own, `(5, 2)` photo pixels.

    Raises:
        InputError: they cannot be told from landmarks of that scheme.
    """
    if face.refined is not None:
        return face.refined
    if face.scheme == "five":
        return face.landmarks
    if face.scheme == "dlib5":
        return five_of_dlib5(face.landmarks)
    raise InputError(f"align: no way from landmarks '{face.scheme}' to the five of the templates; known: five, dlib5")


def landmarks_in_square(center_x: float, center_y: float, side: float) -> NDArray[np.float64]:
    """The landmarks "five" of an average face whose "arcface" crop is that upright square, `(5, 2)` photo pixels."""
    arcface = load_template("arcface")
    x0, y0, x1, y1 = arcface.box
    middle = np.array([x0 + x1, y0 + y1], dtype=np.float64) / 2
    center = np.array([center_x, center_y], dtype=np.float64)
    return (arcface.points["five"] - middle) * (side / (x1 - x0)) + center

"""Which face of a photo is meant: one rule for `verify`, `embed`, `cluster` and the benchmarks.

A face counts by the side of its visible part, how certain the detector is, and how near the photo's centre it lies.
Stands between the detectors, whose lists it orders, and all that compares faces.
"""

from __future__ import annotations

import math

from facelet.errors import InputError
from facelet.faces.detect import Face

SCALES: dict[str, tuple[float, float]] = {"five": (0.5, 0.92), "dlib5": (-1.0, 0.9)}
"""Per landmark scheme, which names the detector: the score of certainty 0, and that of certainty 1, which no turned
face reached where it was measured (docs/evaluation.md#turned-photos)."""

CLEAR = 0.7
"""Certainty below which a face may be none, or turned: it counts less than its size, and is compared only if a second
look confirms it (`orientation`)."""

OFF_CENTER = 0.7
"""Weight that a face loses where its centre lies in the middle of an edge of the photo."""


def raw_certainty(face: Face) -> float:
    """The detector's score on its scale in `SCALES`, from 0 to 1 and beyond; comparable between detectors.

    Raises:
        InputError: landmarks of a scheme that has no scale.
    """
    if face.scheme not in SCALES:
        raise InputError(f"face with landmarks '{face.scheme}': no scale of certainty; known: {', '.join(SCALES)}")
    low, sure = SCALES[face.scheme]
    return (face.score - low) / (sure - low)


def certainty(face: Face) -> float:
    """How certain the detector is, in [0, 1]; comparable between detectors."""
    return min(max(raw_certainty(face), 0.0), 1.0)


def visible_area(face: Face, height: int, width: int) -> float:
    """Square pixels of a face's box inside a photo of that size."""
    x0, y0, x1, y1 = face.box
    return max(0.0, min(x1, width) - max(x0, 0.0)) * max(0.0, min(y1, height) - max(y0, 0.0))


def by_merit(faces: list[Face], height: int, width: int) -> list[Face]:
    """Returns the faces of a photo, the main one first.

    The merit of a face is the side of a square as large as its visible part, times a weight that falls
    from 1 at the photo's centre to 1 - `OFF_CENTER` in the middle of an edge, times the square of its certainty over
    `CLEAR` where it is below. So a large face wins over a passer-by at the centre, a whole one over one that the border
    cuts, and any of them over a large box of which the detector is not certain.

    Args:
        faces: any number.
        height: of the photo.
        width: of the photo.
    """

    def merit(face: Face) -> float:
        x0, y0, x1, y1 = face.box
        away = math.hypot((x0 + x1) / width - 1, (y0 + y1) / height - 1)
        side = math.sqrt(visible_area(face, height, width))
        return side * max(0.0, 1 - OFF_CENTER * away) * min(1.0, certainty(face) / CLEAR) ** 2

    return sorted(faces, key=merit, reverse=True)


def main_face(faces: list[Face], height: int, width: int) -> Face:
    """Returns the face that a photo is about, the first of `by_merit`.

    Args:
        faces: at least one.
        height: of the photo.
        width: of the photo.

    Raises:
        InputError: no faces.
    """
    if not faces:
        raise InputError("main_face: no faces given")
    return by_merit(faces, height, width)[0]

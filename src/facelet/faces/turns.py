"""Photos that are turned, and faces that were found in them back in the pixels of the photo as it is given.

A turn is in degrees clockwise: what the photo has to be turned by to show a face upright.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from facelet.faces.detect import Face
from facelet.faces.similarity import moved_back

QUARTERS = (0, 90, 180, 270)
"""Turns of a whole photo, as cameras and scanners make them."""

DIAGONALS = (45, 135, 225, 315)
"""Turns between: of a face alone, such as somebody's who lies down."""


def turned(image: NDArray[np.uint8], turn: int) -> NDArray[np.uint8]:
    """Returns a photo turned by `turn`, one of `QUARTERS`."""
    return np.ascontiguousarray(np.rot90(image, -turn // 90))


def turned_back(face: Face, turn: int, height: int, width: int) -> Face:
    """Returns a face that was found in a turned photo in the pixels of the photo as it was before.

    Args:
        face: in the pixels of `turned(photo, turn)`.
        turn: one of `QUARTERS`.
        height: of the photo before it was turned.
        width: of the photo before it was turned.
    """

    def back(points: NDArray[np.float64], edge: int) -> NDArray[np.float64]:
        """Points under the turn back; `edge` is 1 where whole numbers are pixel centres, 0 where they are edges."""
        x, y = points[:, 0], points[:, 1]
        if turn == 90:
            return np.column_stack([y, height - edge - x])
        if turn == 180:
            return np.column_stack([width - edge - x, height - edge - y])
        return np.column_stack([width - edge - y, x])

    if turn == 0:
        return face
    corners = back(np.array(face.box, dtype=np.float64).reshape(2, 2), 0)
    (x0, y0), (x1, y1) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    refined = None if face.refined is None else back(face.refined, 1)
    return replace(
        face,
        box=(x0, y0, x1, y1),
        landmarks=back(face.landmarks, 1),
        refined=refined,
        turn=(face.turn + turn) % 360,
    )


def upright_square(center: tuple[float, float], side: float, turn: int, size: int) -> NDArray[np.float64]:
    """Returns the transform that cuts a square around a face out of a photo and turns it.

    Args:
        center: x and y of the square in photo pixels, pixel centres at whole numbers.
        side: of the square in photo pixels.
        turn: any number of degrees clockwise.
        size: side of the result in pixels.

    Returns:
        `(2, 3)` float64: result = matrix @ (x, y, 1), for `align.warp_to` and `similarity.moved_back`.
    """
    angle, scale = np.deg2rad(turn), size / side
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    rotation = np.array([[cosine, -sine], [sine, cosine]])
    middle = np.full(2, (size - 1) / 2)
    return np.column_stack([rotation, middle - rotation @ np.array(center)])


def moved_face(face: Face, matrix: NDArray[np.float64], turn: int) -> Face:
    """Returns a face that was found in an `upright_square` in the photo's pixels.

    The box keeps its centre and its area. Where the turn is a diagonal one, it becomes a square.

    Args:
        face: in pixels of the square.
        matrix: of the square.
        turn: of the square.
    """
    x0, y0, x1, y1 = face.box
    scale = 1 / float(np.hypot(*matrix[:, 0]))
    sides = (x1 - x0) * scale, (y1 - y0) * scale
    if turn in DIAGONALS:
        sides = (float(np.sqrt(sides[0] * sides[1])),) * 2
    width, height = sides[::-1] if turn in (90, 270) else sides
    # edges lie half a pixel beside the centres of pixels
    x, y = (moved_back(np.array([[(x0 + x1 - 1) / 2, (y0 + y1 - 1) / 2]]), matrix)[0] + 0.5).tolist()
    return replace(
        face,
        box=(x - width / 2, y - height / 2, x + width / 2, y + height / 2),
        landmarks=moved_back(face.landmarks, matrix),
        refined=None if face.refined is None else moved_back(face.refined, matrix),
        turn=(face.turn + turn) % 360,
    )

"""Faces that are upright, or are brought upright: what a detector finds in a photo that may be turned.

A detector sometimes takes a face on its side, or upside down, for an upright one. The landmarks are then in the wrong
places, and strangers who are aligned by them resemble each other. The detector is less certain of such a face than of
the same face upright. So a face of which it is not certain is looked at in all four orientations, and if need be in
those between; the highest score decides. Where no face is found, the whole photo is looked at in the other three
orientations. Stands between the detectors and all that compares faces; measured in docs/evaluation.md#turned-photos.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from facelet.faces.align import warp_to
from facelet.faces.detect import Detector, Face, cover, covers_center
from facelet.faces.selection import CLEAR, by_merit, raw_certainty
from facelet.faces.turns import DIAGONALS, QUARTERS, moved_face, turned, turned_back, upright_square

SIDE, AROUND = 160, 2.2
"""Pixels of the square in which a face is looked at again, and its side over the longer side of the detector's box."""

TURNED = 0.9
"""Certainty that a face must reach to count as turned; `selection.CLEAR` is enough for one that is upright as given."""

ALONE = {"five": 0.63, "dlib5": 0.5}
"""Certainty that is enough where the photo shows no face in any other orientation, per landmark scheme. For dlib's
detector, which finds upright faces alone, whatever it reports is enough; YuNet's also finds faces that lie."""

MARGIN = 0.02
"""Certainty by which the best orientation of a face must exceed each other one."""


@dataclass(frozen=True, eq=False)
class FoundFaces:
    """The faces of one photo, in the photo's own pixels.

    Attributes:
        faces: those that can be aligned, the main face first (`selection.by_merit`); each with its `turn`.
        doubtful: those that no orientation shows for certain; comparing them would match strangers.
        n_found: faces that the detector found in the orientation that was taken. Where only the main face was wanted,
            the others were not looked at again and are in neither list.
    """

    faces: tuple[Face, ...]
    doubtful: tuple[Face, ...]
    n_found: int


def find_faces(image: NDArray[np.uint8], detector: Detector, every: bool = True) -> FoundFaces:
    """Returns the faces of a photo, each with the turn that brings it upright.

    Args:
        image: the photo, `(h, w, 3)` uint8 RGB.
        detector: what finds the faces.
        every: False looks for the main face alone, which is quicker in a photo of many.
    """
    first = _look(image, 0, detector, every)
    if any(face.turn not in QUARTERS[1:] for face in first.faces):
        return first
    turns = (first.faces[0].turn,) if first.faces else QUARTERS[1:]
    looks = [(_look(image, turn, detector, every), turn) for turn in turns]

    def merit(found: tuple[FoundFaces, int]) -> tuple[bool, float]:
        look, turn = found
        return look.faces[0].turn == turn, raw_certainty(look.faces[0])

    if shown := [found for found in looks if found[0].faces]:
        return max(shown, key=merit)[0]
    if not first.faces and not any(look.n_found for look, _ in looks):
        alone = tuple(face for face in first.doubtful if raw_certainty(face) >= ALONE[face.scheme])
        return replace(first, faces=alone, doubtful=tuple(face for face in first.doubtful if face not in alone))
    return first


def _look(image: NDArray[np.uint8], turn: int, detector: Detector, every: bool) -> FoundFaces:
    """What the detector finds in the photo turned by `turn`, in the pixels of the photo as it is given."""
    view = turned(image, turn) if turn else image
    found = by_merit(detector.detect(view), *view.shape[:2])
    faces: list[Face] = []
    doubtful: list[Face] = []
    for face in found:
        upright = face if raw_certainty(face) >= 1 else _brought_upright(view, face, detector)
        if upright is None:
            doubtful.append(face)
        elif not any(cover(upright, known) for known in faces if known.turn or upright.turn):
            faces.append(upright)
            if not every:
                break
    height, width = image.shape[:2]
    back = partial(turned_back, turn=turn, height=height, width=width)
    return FoundFaces(tuple(map(back, by_merit(faces, *view.shape[:2]))), tuple(map(back, doubtful)), len(found))


def _brought_upright(image: NDArray[np.uint8], face: Face, detector: Detector) -> Face | None:
    """A face of which the detector is not certain, as its best orientation shows it; None where none shows it clearly.

    Where that is the photo's own orientation, the face is returned as it was found. Diagonal turns are tried where no
    quarter turn is near certain, or two neighbouring ones show the face and neither for certain: it may lie between.
    """
    shown = _looks(image, face, detector, QUARTERS)
    between = any(_apart(other, shown[0]) == 90 for other in shown)
    if shown and raw_certainty(shown[0]) < (1 if between else TURNED):
        shown = sorted([*shown, *_looks(image, face, detector, DIAGONALS)], key=raw_certainty, reverse=True)
    if not shown or raw_certainty(shown[0]) < (TURNED if shown[0].turn else CLEAR):
        return None
    rivals = [other for other in shown[1:] if _apart(other, shown[0]) > 45]
    if rivals and raw_certainty(shown[0]) - raw_certainty(rivals[0]) < MARGIN:
        return None
    return shown[0] if shown[0].turn else face


def _looks(image: NDArray[np.uint8], face: Face, detector: Detector, turns: tuple[int, ...]) -> list[Face]:
    """A face as each turn of its surroundings shows it, the highest score first."""
    x0, y0, x1, y1 = face.box
    center, side = ((x0 + x1 - 1) / 2, (y0 + y1 - 1) / 2), max(AROUND * max(x1 - x0, y1 - y0), 1.0)
    shown: list[Face] = []
    for turn in turns:
        matrix = upright_square(center, side, turn, SIDE)
        square = warp_to(image, matrix, (0, 0, SIDE, SIDE), SIDE, SIDE)
        seen = [other for other in detector.detect(square) if covers_center(other, SIDE, SIDE)]
        shown += [moved_face(max(seen, key=raw_certainty), matrix, turn)] if seen else []
    return sorted(shown, key=raw_certainty, reverse=True)


def _apart(one: Face, other: Face) -> int:
    """Degrees between the turns of two faces, 0 to 180."""
    return abs((one.turn - other.turn + 180) % 360 - 180)

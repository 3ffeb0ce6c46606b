"""The faces in a folder of photos, and what there is to say about photos that gave none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facelet.benchmark import Progress
from facelet.errors import FaceNotFoundError
from facelet.faces.detect import Detector, Face
from facelet.faces.quality import Quality
from facelet.photo import UNUSABLE, photo_faces


@dataclass(frozen=True, eq=False)
class FoundFace:
    """One face of one photo.

    Attributes:
        photo: number of the photo.
        face: where it is.
        crop: `(height, width, 3)` uint8 RGB.
        quality: how much its picture tells.
    """

    photo: int
    face: Face
    crop: NDArray[np.uint8]
    quality: Quality


@dataclass(frozen=True)
class Findings:
    """What was found in photos, each known by its number.

    Attributes:
        faces: every face that is large enough.
        unreadable: why photos could not be read.
        notes: what the user should know about photos that could.
    """

    faces: list[FoundFace] = field(default_factory=list)
    unreadable: dict[int, str] = field(default_factory=dict)
    notes: dict[int, tuple[str, ...]] = field(default_factory=dict)


def find_faces(
    photos: Sequence[Path],
    template: str,
    size: tuple[int, int],
    min_face: int,
    detector: Detector,
    progress: Progress,
) -> Findings:
    """Looks for faces in photos; one that cannot be read, or is gone, ends nothing.

    Args:
        photos: their files.
        template: of the alignment, or "box".
        size: height and width of a crop in pixels.
        min_face: shorter side in pixels of the smallest detector's box that counts as a face.
        detector: what finds them.
        progress: opens a progress bar.
    """
    found = Findings()
    with progress("faces") as advance:
        for number, photo in enumerate(photos):
            try:
                shown = photo_faces(photo, template, *size, detector)
                for face in shown.crops:
                    x0, y0, x1, y1 = face.face.box
                    if min(x1 - x0, y1 - y0) >= min_face:
                        found.faces.append(FoundFace(number, face.face, face.crop, face.quality))
                if notes := (*shown.crops[0].notes, *shown.left_out):
                    found.notes[number] = notes
            except FaceNotFoundError:
                pass  # it goes to the unsorted
            except UNUSABLE as error:
                found.unreadable[number] = str(error)
            advance(number + 1, len(photos))
    return found

"""One photo to the crops that a model eats: reads it, finds its faces, lays each on a template."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facelet.errors import FaceNotFoundError
from facelet.faces.align import align
from facelet.faces.detect import Detector, Face
from facelet.faces.detectors import default_detector
from facelet.faces.images import read_image


@dataclass(frozen=True, eq=False)
class FaceCrop:
    """One face of a photo, ready for a model.

    Attributes:
        face: where it was found.
        crop: `(height, width, 3)` uint8 RGB.
    """

    face: Face
    crop: NDArray[np.uint8]


def face_crops(path: Path, template: str, height: int, width: int, detector: Detector | None = None) -> list[FaceCrop]:
    """Every face of a photo, largest first.

    Args:
        path: the photo.
        template: name of the alignment; "box" cuts the detector's box without alignment.
        height: of a crop in pixels.
        width: of a crop in pixels.
        detector: what finds the faces; None is the default one.

    Raises:
        MissingFileError: the photo is not there.
        ImageError: the file is no readable photo.
        FaceNotFoundError: the detector finds no face.
        UnknownNameError: no such template.
    """
    chosen = default_detector() if detector is None else detector
    image = read_image(path)
    faces = chosen.detect(image)
    if not faces:
        raise FaceNotFoundError(
            f"{path}: no face found by {chosen.name}; give a photo with a larger, frontal face, or another detector"
        )
    return [FaceCrop(face, align(image, face, template, height, width)) for face in faces]

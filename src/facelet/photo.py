"""One photo to the crops that a model eats: reads it, finds its faces, lays each on a template."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facelet.errors import FaceNotFoundError, ImageError, MissingFileError
from facelet.faces.align import align
from facelet.faces.detect import Detector, Face
from facelet.faces.detectors import as_detector
from facelet.faces.sources import PhotoSource, load_photo

UNUSABLE = (FaceNotFoundError, ImageError, MissingFileError)
"""What one photo of many can be: without a face, not readable, or gone. None of it needs to end a run."""


@dataclass(frozen=True, eq=False)
class FaceCrop:
    """One face of a photo, ready for a model.

    Attributes:
        face: where it was found.
        crop: `(height, width, 3)` uint8 RGB.
        notes: what the user should know about the photo's file, one line each.
    """

    face: Face
    crop: NDArray[np.uint8]
    notes: tuple[str, ...] = ()


def face_crops(
    source: PhotoSource,
    template: str,
    height: int,
    width: int,
    detector: Detector | str | None = None,
    *,
    name: str = "photo",
    bgr: bool = False,
) -> list[FaceCrop]:
    """Every face of a photo, largest first.

    Args:
        source: the photo, in any form that `faces.sources.load_photo` takes.
        template: name of the alignment; "box" cuts the detector's box without alignment.
        height: of a crop in pixels.
        width: of a crop in pixels.
        detector: what finds the faces, or its name; None is the default one.
        name: what messages call a photo that has no path.
        bgr: an array's colours are in OpenCV's order, blue first.

    Raises:
        InputError: `source` is nothing that a photo is read from, or `detector` is not a detector.
        MissingFileError: the photo is not there.
        ImageError: the file is not a readable photo.
        FaceNotFoundError: the detector finds no face.
        UnknownNameError: no such template or detector.
    """
    chosen = as_detector(detector)
    photo = load_photo(source, name, bgr=bgr)
    faces = chosen.detect(photo.pixels)
    if not faces:
        raise FaceNotFoundError(
            f"{photo.name}: no face found by {chosen.name}; give a photo with a larger, frontal face, "
            "or another detector"
        )
    return [FaceCrop(face, align(photo.pixels, face, template, height, width), photo.notes) for face in faces]

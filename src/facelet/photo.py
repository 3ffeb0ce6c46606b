"""One photo to the crops that a model takes as input: reads it, finds its faces, aligns each to a template."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facelet.errors import FaceNotFoundError, ImageError, MissingFileError
from facelet.faces.align import align
from facelet.faces.detect import Detector, Face
from facelet.faces.detectors import as_detector
from facelet.faces.orientation import find_faces
from facelet.faces.quality import Quality, face_quality
from facelet.faces.sources import PhotoSource, load_photo

UNUSABLE = (FaceNotFoundError, ImageError, MissingFileError)
"""What one photo of many can be: without a face, not readable, or gone. None of it needs to end a run."""


@dataclass(frozen=True, eq=False)
class FaceCrop:
    """One face of a photo, ready for a model.

    Attributes:
        face: where it was found.
        crop: `(height, width, 3)` uint8 RGB.
        quality: how much its picture tells.
        notes: what the user should know about the photo's file, one line each.
    """

    face: Face
    crop: NDArray[np.uint8]
    quality: Quality
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class PhotoFaces:
    """The faces of one photo.

    Attributes:
        name: what messages call the photo.
        crops: at least one, the main face first; only that one where no more were wanted.
        n_found: faces that the detector found.
        doubtful: faces that were left out, because no orientation of the photo shows them upright for certain.
    """

    name: str
    crops: tuple[FaceCrop, ...]
    n_found: int
    doubtful: tuple[Face, ...] = ()

    @property
    def left_out(self) -> tuple[str, ...]:
        """A line about the faces that were left out; none where all were taken."""
        n = len(self.doubtful)
        what = "1 face is" if n == 1 else f"{n} faces are"
        return (f"{self.name}: {what} left out, not clear enough to tell which way up",) if n else ()


def photo_faces(
    source: PhotoSource,
    template: str,
    height: int,
    width: int,
    detector: Detector | str | None = None,
    *,
    every: bool = True,
    name: str = "photo",
    bgr: bool = False,
) -> PhotoFaces:
    """The faces of a photo, the main one first (`faces.selection`), turned photos brought upright.

    Args:
        source: the photo, in any form that `faces.sources.load_photo` takes.
        template: name of the alignment; "box" cuts the detector's box without alignment.
        height: of a crop in pixels.
        width: of a crop in pixels.
        detector: what finds the faces, or its name; None is the default one.
        every: False takes the main face alone.
        name: what messages call a photo that has no path.
        bgr: an array's colours are in OpenCV's order, blue first.

    Raises:
        InputError: `source` is nothing that a photo is read from, or `detector` is not a detector.
        MissingFileError: the photo is not there.
        ImageError: the file is not a readable photo.
        FaceNotFoundError: the detector finds no face, or none that can be brought upright for certain.
        UnknownNameError: no such template or detector.
    """
    chosen = as_detector(detector)
    photo = load_photo(source, name, bgr=bgr)
    found = find_faces(photo.pixels, chosen, every)
    if not found.faces and found.doubtful:
        x0, y0, x1, y1 = found.doubtful[0].box
        raise FaceNotFoundError(
            f"{photo.name}: the face at ({x0:.0f}, {y0:.0f}, {x1:.0f}, {y1:.0f}) is not clear enough for {chosen.name} "
            "to tell which way up it is; turn the photo upright, or give a larger, frontal face, or another detector"
        )
    if not found.faces:
        raise FaceNotFoundError(
            f"{photo.name}: no face found by {chosen.name}, nor with the photo turned by 90, 180 or 270 degrees; "
            "give an upright photo with a larger, frontal face, or another detector"
        )
    crops = [
        FaceCrop(
            face,
            align(photo.pixels, face, template, height, width),
            face_quality(photo.pixels, face),
            photo.notes,
        )
        for face in found.faces
    ]
    return PhotoFaces(photo.name, tuple(crops), found.n_found, found.doubtful)


def face_crops(
    source: PhotoSource,
    template: str,
    height: int,
    width: int,
    detector: Detector | str | None = None,
    *,
    every: bool = True,
    name: str = "photo",
    bgr: bool = False,
) -> list[FaceCrop]:
    """The crops of `photo_faces` alone, which takes the same arguments and raises the same errors."""
    return list(photo_faces(source, template, height, width, detector, every=every, name=name, bgr=bgr).crops)

"""A detector's landmarks placed anew by a small net of our own, so that every detector lays faces the same way.

The net sees the face as the detector's landmarks lay it, and tells how far from the template each point lies. Asking it
again about the result makes nothing better of what our detectors give (View 1, `facelet_s` and `facelet_xs`); where
landmarks are far off, or only guessed from a box, it does (docs/evaluation.md).
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facelet.backends import onnxruntime_runner
from facelet.errors import InputError, ModelError
from facelet.faces.align import box_square, warp_to
from facelet.faces.detect import Detector, Face
from facelet.faces.landmarks import five_landmarks, landmarks_in_square
from facelet.faces.similarity import moved_back, similarity
from facelet.faces.templates import load_template
from facelet.model_files import LANDMARKS, load_model

REFINED = "_refined"
"""Behind the name of a detector whose landmarks the shipped net mends."""

STEP = 1 / 16
"""Template pixels that offsets are rounded to: what processors add up differently stays far below it, so that they lay
nearly every face alike to the bit (399 of 400 photos by two executors; without it 277)."""


class LandmarkRefiner:
    """The net that mends landmarks.

    Args:
        path: its ONNX file; by default the shipped one.

    Raises:
        MissingFileError: no such file.
        ModelError: it is no net of landmarks.
    """

    def __init__(self, path: Path = LANDMARKS) -> None:
        model = load_model(path)
        self._card = model.card
        if self._card.output != "landmarks" or self._card.embedding_size != 10:
            raise ModelError(f"{path}: gives no five landmarks; give a file that `facelet train landmarks` wrote")
        self._template = load_template(self._card.template)
        self._run = onnxruntime_runner(model, threads=1)
        self.version = model.sha256[:16]
        self.suffix = REFINED if path == LANDMARKS else f"+{self._card.name}-{self.version[:8]}"
        """Behind the name of a detector whose landmarks it mends."""

    def __call__(self, image: NDArray[np.uint8], face: Face, asked: int = 1) -> Face:
        """The face with `refined` landmarks.

        Args:
            image: the photo, `(h, w, 3)` uint8 RGB.
            face: what a detector found in it.
            asked: times that the net is asked, each about what it told before.
        """
        places = self._template.points["five"]
        for _ in range(asked):
            matrix = similarity(five_landmarks(face), places)
            face = replace(face, refined=moved_back(places + self._offsets(image, matrix), matrix))
        return face

    def _offsets(self, image: NDArray[np.uint8], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far each point lies from its place under `matrix`, `(5, 2)` template pixels."""
        crop = warp_to(image, matrix, self._template.box, self._card.height, self._card.width)
        told = self._run(crop[None]).astype(np.float64)
        return np.rint(told.reshape(5, 2) / STEP) * STEP


class RefinedDetector:
    """A detector whose landmarks are mended.

    Args:
        detector: what finds the faces.
    """

    def __init__(self, detector: Detector, refiner: LandmarkRefiner) -> None:
        self._detector, self._refiner = detector, refiner
        self.name = detector.name + refiner.suffix
        self.version = f"{detector.version}-refined-{refiner.version}"

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        """Returns the faces of a photo `(h, w, 3)` uint8 RGB, largest first."""
        return [self._refiner(image, face) for face in self._detector.detect(image)]

    def guess(self, image: NDArray[np.uint8]) -> Face | None:
        """Returns the likeliest face of a photo that is known to show one."""
        face = self._detector.guess(image)
        return None if face is None else self._refiner(image, face)


@lru_cache(maxsize=1)
def landmark_refiner() -> LandmarkRefiner:
    """The shipped net, loaded once."""
    return LandmarkRefiner()


def face_in_box(image: NDArray[np.uint8], box: tuple[float, float, float, float], asked: int = 3) -> Face:
    """The face of which only a box is known, as other detectors give it; its `refined` landmarks are told by the net.

    Args:
        image: the photo, `(h, w, 3)` uint8 RGB.
        box: `(x0, y0, x1, y1)` in photo pixels, about as the shipped detectors draw it: from brows or forehead to chin.
        asked: times that the net is asked, first about an average face in that box.

    Raises:
        InputError: the box has no area.
    """
    x0, y0, x1, y1 = box
    if not (np.isfinite(box).all() and x0 < x1 and y0 < y1):
        raise InputError(
            f"box ({x0:g}, {y0:g}, {x1:g}, {y1:g}): has no area; give x0 < x1 and y0 < y1 in pixels of the photo"
        )
    bare = Face(box, 1.0, np.empty((0, 2)), "five")
    return landmark_refiner()(image, replace(bare, landmarks=landmarks_in_square(*box_square(bare))), asked)

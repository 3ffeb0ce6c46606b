"""Ways to cut a face out of a photo, from careful to careless: the arms of the study `alignment`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from facelet.faces.align import box_crop, box_square, center_crop, square_crop, warp_to
from facelet.faces.detect import Face
from facelet.faces.landmarks import five_landmarks, landmarks_in_square
from facelet.faces.refine import landmark_refiner
from facelet.faces.similarity import similarity
from facelet.faces.templates import load_template

Crop = NDArray[np.uint8]
Cropper = Callable[[Crop, Face, str, int, np.random.Generator], Crop]
"""Photo, face, template, side of the crop and a stream of numbers to a square crop."""

EYES = (0, 1)
"""Of the five landmarks."""


def affine(
    image: Crop, face: Face, template: str, side: int, rng: np.random.Generator, jitter: float = 0.0, asked: int = 0
) -> Crop:
    """The similarity of all five landmarks.

    Args:
        jitter: noise that each coordinate is moved by first, in per cent of the distance of the eyes.
        asked: times that the shipped net of landmarks is asked then.
    """
    five = five_landmarks(face)
    step = jitter / 100 * float(np.linalg.norm(np.subtract(*five[list(EYES)])))
    moved = _refined(image, face, five + rng.normal(0, 1, five.shape) * step, asked)
    return _laid(image, moved, template, side, range(len(moved)))


def eyes_only(image: Crop, face: Face, template: str, side: int, rng: np.random.Generator) -> Crop:
    """The similarity that brings both eyes to their places."""
    return _laid(image, five_landmarks(face), template, side, EYES)


def _laid(
    image: Crop, landmarks: NDArray[np.float64], template: str, side: int, chosen: range | tuple[int, ...]
) -> Crop:
    laid = load_template(template)
    points = laid.points["five"]
    matrix = similarity(landmarks[list(chosen)], points[list(chosen)])
    return warp_to(image, matrix, laid.box, side, side)


def _refined(image: Crop, face: Face, five: NDArray[np.float64], asked: int) -> NDArray[np.float64]:
    laid = replace(face, landmarks=five, scheme="five", refined=None)
    return five_landmarks(landmark_refiner()(image, laid, asked) if asked else laid)


def square(image: Crop, face: Face, template: str, side: int, rng: np.random.Generator) -> Crop:
    """The upright square around the detector's box that lies as the template does on average."""
    return box_crop(image, face, side, side)


def square_refined(image: Crop, face: Face, template: str, side: int, rng: np.random.Generator, asked: int = 1) -> Crop:
    """The similarity of the landmarks that the net finds where they lie in that square on average, `asked` times."""
    five = _refined(image, face, landmarks_in_square(*box_square(face)), asked)
    return _laid(image, five, template, side, range(len(five)))


def box(image: Crop, face: Face, template: str, side: int, rng: np.random.Generator, margin: float = 0.0) -> Crop:
    """The square around the middle of the detector's box, with a margin in per cent of its longer side all around."""
    x0, y0, x1, y1 = face.box
    long = max(x1 - x0, y1 - y0) * (1 + 2 * margin / 100)
    return square_crop(image, (x0 + x1) / 2, (y0 + y1) / 2, long, side, side)


def centre(image: Crop, face: Face, template: str, side: int, rng: np.random.Generator) -> Crop:
    """The middle of the photo, whatever the detector says."""
    return center_crop(image, side, side)


AFFINE, SQUARE, CENTRE = "five-point affine", "box like the template", "centre of the photo"

CROPPINGS: dict[str, Cropper] = {
    AFFINE: affine,
    "eyes only": eyes_only,
    "affine, landmarks off by 5 %": partial(affine, jitter=5.0),
    "affine, landmarks off by 10 %": partial(affine, jitter=10.0),
    "affine, landmarks off by 20 %": partial(affine, jitter=20.0),
    "affine, refined": partial(affine, asked=1),
    "affine, off by 20 %, refined": partial(affine, jitter=20.0, asked=1),
    SQUARE: square,
    "box, refined": square_refined,
    "box, refined twice": partial(square_refined, asked=2),
    "box, margin 0 %": box,
    "box, margin 10 %": partial(box, margin=10.0),
    "box, margin 20 %": partial(box, margin=20.0),
    "box, margin 40 %": partial(box, margin=40.0),
    CENTRE: centre,
}


def is_random(cropping: str) -> bool:
    """Whether a cropping depends on its stream of numbers."""
    return "off" in cropping

"""What can be measured of a face's picture: detail, noise, light, pose, and what covers it.

The first half of `faces.quality`, which turns these numbers into one figure. All but two are measured on one crop of
128 x 128 pixels ("canvas"), so they do not depend on the photo's size; `eyes_px` tells the size.
"""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from facelet.faces.align import align
from facelet.faces.detect import Face
from facelet.faces.landmarks import five_landmarks
from facelet.faces.similarity import moved, similarity
from facelet.faces.templates import load_template

Plane = NDArray[np.float32]

CANVAS = 128
"""Side in pixels of the crop that is measured; a pixel of the template each."""

LUMA = np.array([0.299, 0.587, 0.114], np.float32)

LAPLACE = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
"""Blind to straight edges, so that what it finds is mostly noise.

Source: Immerkaer, "Fast noise variance estimation", 1996."""

ROBUST = 1.4826
"""Standard deviation over median absolute value of normal noise."""

PARTS: dict[str, tuple[slice, slice]] = {
    "left eye": (slice(52, 68), slice(36, 58)),
    "right eye": (slice(52, 68), slice(70, 92)),
    "nose": (slice(68, 88), slice(52, 76)),
    "mouth": (slice(90, 110), slice(46, 82)),
    "left cheek": (slice(74, 92), slice(34, 50)),
    "right cheek": (slice(74, 92), slice(78, 94)),
    "brow": (slice(30, 46), slice(44, 84)),
}
"""Rows and columns of the canvas; left and right as in the picture."""


def face_measures(image: NDArray[np.uint8], face: Face) -> dict[str, float]:
    """What is measured of a face: `crop_measures` and `geometry_measures` together.

    Args:
        image: the photo, `(h, w, 3)` uint8 RGB.
        face: what a detector found in it.
    """
    return {**crop_measures(align(image, face, "canvas", CANVAS, CANVAS)), **geometry_measures(face)}


def geometry_measures(face: Face) -> dict[str, float]:
    """What the landmarks tell.

    Returns:
        "misfit": root mean square in template pixels of what the five landmarks are off the template; high where a
            face is turned away, or is none. "eyes_px": ln of the distance of the eyes in photo pixels.
    """
    places = load_template("arcface").points["five"]
    points = five_landmarks(face)
    off = moved(points, similarity(points, places)) - places
    return {
        "misfit": float(np.sqrt(np.square(off).sum(axis=1).mean())),
        "eyes_px": math.log(float(np.linalg.norm(points[1] - points[0])) + 0.1),
    }


def crop_measures(crop: NDArray[np.uint8]) -> dict[str, float]:
    """What is measured on a face's crop.

    Detail is the contrast that a picture has at one scale: the standard deviation of a band of an octave, in grey
    levels. A sharp face has about as much in one octave as in the next (its power falls with the square of the
    frequency), whatever its contrast; so ratios of bands tell how fine its true detail is. Detail of a face is sparse,
    strong at edges and weak on skin, noise is everywhere; so the median over the standard deviation tells noise.

    Args:
        crop: on the template "canvas", `(128, 128, 3)` uint8 RGB.

    Returns:
        By name, "ln" being a natural logarithm:
            "detail_1_4", "detail_2_4", "detail_2_8", "detail_4_8": ln of detail at the first scale in pixels over that
                at the second. Low: blurred or enlarged. High: noise.
            "detail_4": ln of detail at 4 pixels, grey levels.
            "streaks": ln of the detail in the direction that has least over that in the one with most. Low: motion
                blur.
            "spread_1", "spread_2": ln of the median detail over its standard deviation, at 1 and 2 pixels. High: noise.
                "level_2", "level_4": ln of the median detail over the face's contrast, at 2 and 4 pixels. High: grain.
            "texture": ln of fine noise, grey levels. Low: pixelated, compressed or filtered.
            "noise": fine noise over the face's contrast.
            "flat": share of the face that has next to no detail. High: something covers it.
            "contrast": ln of the standard deviation of the face's grey levels; "range": ln of what lies between their
                5th and 95th percentile.
            "light": mean grey level; "dark", "glare": share of the face below 20 and above 245.
            "eyes_light": ln of the lighter eye over the lighter cheek. Low: dark glasses.
            "eyes_detail", "eye_detail": ln of the contrast in the eye that has more, less of it, over the face's.
            "nose_detail", "mouth_detail": the same of nose and mouth. Low: something covers them.
            "left_colour", "right_colour", "mouth_colour": how far the colour of an eye or the mouth is off that of the
                face, in shares of red, green and blue.
    """
    grey: Plane = crop.astype(np.float32) @ LUMA
    inside = _window()[0] > 0.5
    face = grey[inside]
    deviation = float(face.std())
    contrast = math.log(deviation + 1)
    low, high = np.percentile(face, [5, 95])
    noise = float(np.median(np.abs(cv2.filter2D(grey, cv2.CV_32F, LAPLACE))[inside])) / 6 * ROBUST
    return {
        **_detail(grey, deviation),
        "noise": noise / (deviation + 1),
        "texture": math.log(noise + 0.05),
        "contrast": contrast,
        "range": math.log(float(high - low) + 1),
        "light": float(face.mean()),
        "dark": float((face < 20).mean()),
        "glare": float((face > 245).mean()),
        **_parts(crop, grey, contrast),
    }


@lru_cache(maxsize=1)
def _window() -> tuple[Plane, ...]:
    """Weights of the pixels, 1 in the face's oval and 0 outside, for each of the five scales."""
    y, x = np.mgrid[0:CANVAS, 0:CANVAS]
    oval = np.clip(5 - 4 * np.hypot((x - 64) / 44, (y - 72) / 54), 0, 1).astype(np.float32)
    scales = [oval]
    for _ in range(3):
        scales.append(_half(scales[-1]))
    return tuple(scales)


def _half(plane: Plane) -> Plane:
    size = (plane.shape[1] // 2, plane.shape[0] // 2)
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.float32)


def _smooth(plane: Plane, sigma: float = 1.0) -> Plane:
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma), np.float32)


def _detail(grey: Plane, deviation: float) -> dict[str, float]:
    """What the bands of 1, 2, 4 and 8 pixels tell."""
    detail, spread, level = [], [], []
    told: dict[str, float] = {}
    for scale, weight in enumerate(_window()):
        low = _smooth(grey)
        band, inside = grey - low, weight > 0.5
        usual = math.sqrt(float((weight * band * band).sum() / weight.sum()))
        detail.append(math.log(usual + 0.3))
        median = ROBUST * float(np.median(np.abs(band[inside])))
        spread.append(math.log(median + 0.1) - math.log(usual + 1))  # a level more, as rounding is not noise
        level.append(math.log(median + 0.1) - math.log(deviation + 1))
        if scale == 1:
            told["streaks"] = _streaks(band, weight)
            local = np.sqrt(_smooth(band * band, 2.0)) / (deviation + 1)
            told["flat"] = float((local[inside] < 0.02).mean())
        grey = _half(low)
    return {
        **told,
        "detail_1_4": detail[0] - detail[2],
        "detail_2_4": detail[1] - detail[2],
        "detail_2_8": detail[1] - detail[3],
        "detail_4_8": detail[2] - detail[3],
        "detail_4": detail[2],
        "spread_1": spread[0],
        "spread_2": spread[1],
        "level_2": level[1],
        "level_4": level[2],
    }


def _streaks(band: Plane, weight: Plane) -> float:
    """Ln of the least over the most of the differences along rows, columns and both diagonals."""
    here = band[1:, 1:]
    # neighbours on a diagonal lie further apart: 1.2 is what their differences have more on a sharp face
    ways = (
        (here - band[1:, :-1], 1.0),
        (here - band[:-1, 1:], 1.0),
        (here - band[:-1, :-1], 1.2),
        (band[1:, :-1] - band[:-1, 1:], 1.2),
    )
    energy = [float((weight[1:, 1:] * way * way).sum()) / usual for way, usual in ways]
    return 0.5 * math.log((min(energy) + 1) / (max(energy) + 1))


def _parts(crop: NDArray[np.uint8], grey: Plane, contrast: float) -> dict[str, float]:
    """What eyes, nose, mouth and cheeks tell."""
    light = {name: float(np.median(grey[part])) + 5 for name, part in PARTS.items()}
    detail = {name: math.log(float(grey[part].std()) + 1) - contrast for name, part in PARTS.items()}
    colour = {}
    for name, part in PARTS.items():
        middle = np.median(crop[part].reshape(-1, 3), axis=0) + 5
        colour[name] = middle / middle.sum()
    usual = np.median(np.stack(list(colour.values())), axis=0)
    off = {name: float(np.abs(shares - usual).sum()) for name, shares in colour.items()}
    eyes = ("left eye", "right eye")
    return {
        "eyes_light": math.log(max(light[eye] for eye in eyes) / max(light["left cheek"], light["right cheek"])),
        "eyes_detail": max(detail[eye] for eye in eyes),
        "eye_detail": min(detail[eye] for eye in eyes),
        "nose_detail": detail["nose"],
        "mouth_detail": detail["mouth"],
        "left_colour": off["left eye"],
        "right_colour": off["right eye"],
        "mouth_colour": off["mouth"],
    }

"""Faces laid on a template: similarity transform by landmarks, or the plain square crop of the detector's box.

Takes what `detect` found; returns the crop that a net of that template eats.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from facelet.faces.detect import Face
from facelet.faces.landmarks import five_landmarks
from facelet.faces.similarity import similarity
from facelet.faces.templates import load_template
from facelet.faces.turns import upright_square

_SHARP = 0.8
"""Output pixels per photo pixel above which plain bilinear sampling shows no aliasing worth the second pass."""


def align(image: NDArray[np.uint8], face: Face, template_name: str, height: int, width: int) -> NDArray[np.uint8]:
    """Returns the face on its template.

    Args:
        image: photo, `(h, w, 3)` uint8 RGB.
        face: what a detector found in it.
        template_name: key of `TEMPLATES`; "box" gives `box_crop`.
        height: of the crop in pixels.
        width: of the crop in pixels.

    Returns:
        `(height, width, 3)` uint8 RGB; outside the photo its border pixels are repeated.

    Raises:
        UnknownNameError: no such template.
        InputError: the template has no points for such landmarks, nor can others be told from them.
    """
    template = load_template(template_name)
    if not template.points:
        return box_crop(image, face, height, width)
    scheme = face.scheme if face.scheme in template.points else "five"
    landmarks = five_landmarks(face) if scheme == "five" else face.landmarks
    return warp_to(image, similarity(landmarks, template.points[scheme]), template.box, height, width)


_SQUARES: dict[str, tuple[float, float]] = {"five": (1.18, -0.093), "dlib5": (1.233, -0.155)}
"""Per landmark scheme, which names the detector: side of the crop over the mean side of the detector's box, and how
far down the crop's centre lies from the box's, over the same side. Measured: medians over the 3,443 photos of LFW's
`pairsDevTrain.txt` against the "arcface" crop by YuNet's landmarks."""

CENTER_FRACTION = 0.52
"""Side of the "arcface" crop over the side of the photo: median over the same 3,443 photos."""


def box_crop(image: NDArray[np.uint8], face: Face, height: int, width: int) -> NDArray[np.uint8]:
    """Returns the upright square around the detector's box: no alignment.

    The square has the size and place that the "arcface" crop has on average, so that what is lost against it is
    rotation and precision, not context. A face that a turned photo shows upright is cut from that.

    Returns:
        `(height, width, 3)` uint8 RGB; outside the photo its border pixels are repeated.
    """
    center_x, center_y, side = box_square(face)
    if face.turn == 0:
        return square_crop(image, center_x, center_y, side, height, width)
    matrix = upright_square((center_x, center_y), side, face.turn, height)
    return warp_to(image, matrix, (0, 0, height, height), height, width)


def box_square(face: Face) -> tuple[float, float, float]:
    """Centre x and y, and side, of the square of `box_crop`, in photo pixels; it is lower in the face's own sense."""
    factor, down = _SQUARES[face.scheme]
    x0, y0, x1, y1 = face.box
    mean_side = ((x1 - x0) + (y1 - y0)) / 2
    angle = math.radians(face.turn)
    x, y = math.sin(angle) * down * mean_side, math.cos(angle) * down * mean_side
    return (x0 + x1) / 2 + x, (y0 + y1) / 2 + y, factor * mean_side


def square_crop(
    image: NDArray[np.uint8], center_x: float, center_y: float, side: float, height: int, width: int
) -> NDArray[np.uint8]:
    """Returns a square of the photo, resized.

    Args:
        image: `(h, w, 3)` uint8 RGB.
        center_x: of the square, in pixels.
        center_y: of the square, in pixels.
        side: of the square, in pixels; at least 1 is used.
        height: of the result.
        width: of the result.

    Returns:
        `(height, width, 3)` uint8 RGB; outside the photo its border pixels are repeated.
    """
    side = max(side, 1.0)
    x0, y0 = center_x - (side - 1) / 2, center_y - (side - 1) / 2
    identity = np.eye(2, 3)
    return _warp(image, fit_box(identity, (x0, y0, x0 + side, y0 + side), height, width), height, width)


def center_crop(
    image: NDArray[np.uint8], height: int, width: int, fraction: float = CENTER_FRACTION
) -> NDArray[np.uint8]:
    """Returns the middle square of a photo, where no face was found.

    Args:
        image: `(h, w, 3)` uint8 RGB.
        height: of the result.
        width: of the result.
        fraction: side of the square over the photo's shorter side.

    Returns:
        `(height, width, 3)` uint8 RGB.
    """
    rows, columns = image.shape[:2]
    return square_crop(image, (columns - 1) / 2, (rows - 1) / 2, fraction * min(rows, columns), height, width)


def reframe(crop: NDArray[np.uint8], template_name: str, height: int, width: int) -> NDArray[np.uint8]:
    """Returns an "arcface" crop on another template; no detector is asked.

    Args:
        crop: the whole "arcface" canvas at any size, `(h, w, 3)` uint8 RGB.
        template_name: key of `TEMPLATES`; "box" keeps the canvas.
        height: of the result in pixels.
        width: of the result in pixels.

    Returns:
        `(height, width, 3)` uint8 RGB.

    Raises:
        UnknownNameError: no such template.
    """
    source, target = load_template("arcface"), load_template(template_name)
    to_canvas = fit_box(np.eye(2, 3), (0, 0, crop.shape[1], crop.shape[0]), source.canvas, source.canvas)
    matrix = np.eye(2, 3)
    if target.points and target.points is not source.points:
        matrix = similarity(source.points["five"], target.points["five"])
    both = (np.vstack([matrix, [0, 0, 1]]) @ np.vstack([to_canvas, [0, 0, 1]]))[:2]
    return _warp(crop, fit_box(both, target.box, height, width), height, width)


def fit_box(
    matrix: NDArray[np.float64], box: tuple[float, float, float, float], height: int, width: int
) -> NDArray[np.float64]:
    """Returns the transform to canvas pixels followed by the resize of `box` to `(height, width)`.

    Pixel centres at whole numbers: a box that starts at x0 covers x0 - 0.5 on, so u = (x - x0 + 0.5) s - 0.5.
    """
    x0, y0, x1, y1 = box
    scale_x, scale_y = width / (x1 - x0), height / (y1 - y0)
    resize = np.array([[scale_x, 0, (0.5 - x0) * scale_x - 0.5], [0, scale_y, (0.5 - y0) * scale_y - 0.5], [0, 0, 1.0]])
    fitted: NDArray[np.float64] = (resize @ np.vstack([matrix, [0, 0, 1]]))[:2]
    return fitted


def warp_to(
    image: NDArray[np.uint8],
    matrix: NDArray[np.float64],
    box: tuple[float, float, float, float],
    height: int,
    width: int,
) -> NDArray[np.uint8]:
    """Returns what lies in a box of a template.

    Args:
        image: `(h, w, 3)` uint8 RGB.
        matrix: `(2, 3)`: template = matrix @ (x, y, 1), as `similarity` gives it.
        box: `(x0, y0, x1, y1)` in template pixels.
        height: of the result.
        width: of the result.
    """
    return _warp(image, fit_box(matrix, box, height, width), height, width)


def _warp(image: NDArray[np.uint8], matrix: NDArray[np.float64], height: int, width: int) -> NDArray[np.uint8]:
    """Returns the photo under `matrix`, antialiased: shrinking samples k times as finely and averages k x k."""
    scale = math.sqrt(abs(np.linalg.det(matrix[:, :2])))
    longest = max(image.shape[:2])
    k = min(max(1, math.ceil(_SHARP / max(scale, 1e-6))), max(1, math.ceil(longest / min(height, width))))
    fine = fit_box(matrix, (0, 0, width, height), height * k, width * k)
    warped = cv2.warpAffine(
        image, fine, (width * k, height * k), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    if k > 1:
        warped = cv2.resize(warped, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(warped, dtype=np.uint8)

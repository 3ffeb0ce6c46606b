"""The canvas of stored crops: the "arcface" template's 112 pixels with a border of 8; its map to any input.

A crop kept on the canvas can be turned, shifted and laid on any other template without going back to the photo.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facelet.data.views import BORDER, CANVAS
from facelet.faces.align import align, fit_box
from facelet.faces.detect import Face
from facelet.faces.refine import LandmarkRefiner
from facelet.faces.similarity import similarity
from facelet.faces.templates import TEMPLATES, load_template

_STORED = TEMPLATES["arcface"]

CANVAS_POINTS = _STORED.points["five"] + BORDER
"""Where the landmarks of a stored crop lie, `(5, 2)` canvas pixels."""


def canvas_matrix(template_name: str, height: int, width: int) -> NDArray[np.float64]:
    """The map from canvas pixels to the input of a net trained on a template.

    Args:
        template_name: key of `TEMPLATES`; "box" sees what "arcface" sees, as its square has that size.
        height: of the input in pixels.
        width: of the input in pixels.

    Returns:
        `(2, 3)` float64.

    Raises:
        UnknownNameError: no such template.
    """
    template = load_template(template_name)
    points = template.points or _STORED.points
    matrix = similarity(CANVAS_POINTS, points["five"])
    return fit_box(matrix, template.box, height, width)


def realigned(crop: NDArray[np.uint8], refiner: LandmarkRefiner) -> NDArray[np.uint8]:
    """A stored crop laid anew by what the net of landmarks sees in it.

    Args:
        crop: `(128, 128, 3)` uint8 RGB.

    Returns:
        The same; beyond the old crop its border pixels are repeated.
    """
    face = Face((0.0, 0.0, CANVAS, CANVAS), 1.0, CANVAS_POINTS, "five")
    return align(crop, refiner(crop, face), "canvas", CANVAS, CANVAS)

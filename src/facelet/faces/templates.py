"""Where the landmarks of an upright face belong: the alignment templates, by name.

A template is a square canvas, the place of each landmark on it, and the part of the canvas that a net sees. A
model's card names its template, so that the alignment travels with the weights.

Landmark schemes (rows of an array `(k, 2)`, x right, y down, pixel centres at whole numbers):
    "five"   eye centre, eye centre, nose tip, mouth corner, mouth corner; image-left first. YuNet and the field.
    "dlib5"  outer and inner corner of the image-right eye, outer and inner corner of the image-left eye, nose base.
             A template that does not name them is met by the "five" that `landmarks` tells from them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facelet.errors import UnknownNameError

SCHEMES = ("five", "dlib5")


@dataclass(frozen=True, eq=False)
class Template:
    """One way to lay a face on a canvas.

    Attributes:
        name: key in `TEMPLATES`.
        points: place of the landmarks per scheme, `(k, 2)` float64 in canvas pixels; empty for "box".
        canvas: side of the square canvas in pixels.
        box: `(x0, y0, x1, y1)` in canvas pixels: the part that is resized to the net's input.
    """

    name: str
    points: dict[str, NDArray[np.float64]]
    canvas: int
    box: tuple[float, float, float, float]


# Source: Deng et al., "ArcFace", 2019; the reference points of its released code.
_ARCFACE_FIVE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)

# Source: dlib 19.24, image_transforms/interpolation.h, get_face_chip_details: mean positions on the unit square.
_DLIB_UNIT = np.array(
    [
        [0.8595674595992, 0.2134981538014],
        [0.6460604764104, 0.2289674387677],
        [0.1205750620789, 0.2137274526848],
        [0.3340850613712, 0.2290642403242],
        [0.4901123135679, 0.6277975316475],
    ]
)
_DLIB_SIDE, _DLIB_PADDING = 150, 0.25
_DLIB_DLIB5 = (_DLIB_UNIT + _DLIB_PADDING) / (1 + 2 * _DLIB_PADDING) * _DLIB_SIDE - 0.5  # its edges are at 0 and 150

# Measured: mean place of the "five" landmarks of 875 crops of the transfer set (the first 150 of each of shards 0 to 5;
# dlib found no face in 25 of those 900), each brought to the points above by its own "dlib5" landmarks.
_DLIB_FIVE = np.array(
    [[47.7599, 43.7286], [101.1069, 44.0998], [75.0238, 77.0649], [50.4692, 98.9088], [97.6839, 99.339]]
)

_ARCFACE = {"five": _ARCFACE_FIVE}

TEMPLATES: dict[str, Template] = {
    template.name: template
    for template in (
        Template("arcface", _ARCFACE, 112, (0, 0, 112, 112)),
        Template("canvas", _ARCFACE, 112, (-8, -8, 120, 120)),
        Template("arcface_narrow", _ARCFACE, 112, (8, 0, 104, 112)),
        Template("dlib", {"five": _DLIB_FIVE, "dlib5": _DLIB_DLIB5}, 150, (0, 0, 150, 150)),
        Template("box", {}, 112, (0, 0, 112, 112)),
    )
}


def load_template(name: str) -> Template:
    """Returns the template called `name`.

    Raises:
        UnknownNameError: no such template.
    """
    if name not in TEMPLATES:
        raise UnknownNameError("template", name, TEMPLATES)
    return TEMPLATES[name]

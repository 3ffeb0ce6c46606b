"""What bad pictures cost: aligned crops made worse in five ways, and the accuracy that is left.

NumPy in, numbers out. A degradation acts on the aligned crop, before the network, so that detection and alignment stay
those of the clean photo. Blur is given in pixels of a crop 112 pixels wide and scaled to others; resolution is in
pixels whatever the crop's size, as a face far away has so many of them whatever the network takes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from facelet.errors import UnknownNameError

Crop = NDArray[np.uint8]

REFERENCE_WIDTH = 112
"""Width in pixels of the crop that blur is stated for."""

GREY = 127
"""Of the square that covers a part of the face."""


@dataclass(frozen=True)
class Degradation:
    """One way of making a crop worse.

    Attributes:
        what: the strength's meaning and unit, for the axis of a plot.
        clean: the strength that changes nothing.
        strengths: those that are measured, in the order of the plot, without `clean`.
        apply: `(crop, strength, random)` to the worse crop of the same shape.
    """

    what: str
    clean: float
    strengths: tuple[float, ...]
    apply: Callable[[Crop, float, np.random.Generator], Crop]

    @property
    def axis(self) -> tuple[float, ...]:
        """All strengths with the clean one among them, ascending."""
        return tuple(sorted((*self.strengths, self.clean)))


def blur(crop: Crop, sigma: float, _random: np.random.Generator) -> Crop:
    """Gaussian blur of standard deviation `sigma` pixels at width 112."""
    scaled = sigma * crop.shape[1] / REFERENCE_WIDTH
    return np.asarray(cv2.GaussianBlur(crop, (0, 0), scaled, borderType=cv2.BORDER_REPLICATE), dtype=np.uint8)


def compress(crop: Crop, quality: float, _random: np.random.Generator) -> Crop:
    """One JPEG round trip at a quality in 1..100, with OpenCV's default 4:2:0 chroma."""
    _, encoded = cv2.imencode(".jpg", crop[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), dtype=np.uint8)[..., ::-1]


def lower_resolution(crop: Crop, width: float, _random: np.random.Generator) -> Crop:
    """Shrinks a crop to `width` pixels, whatever its own width, and enlarges it bilinearly."""
    rows, columns = crop.shape[:2]
    small = (max(1, round(width)), max(1, round(width * rows / columns)))
    shrunk = cv2.resize(crop, small, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(shrunk, (columns, rows), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def occlude(crop: Crop, share: float, random: np.random.Generator) -> Crop:
    """Covers a share of the area, in [0, 1], with one grey square (of the crop's proportions) at a random place."""
    rows, columns = crop.shape[:2]
    height, width = round(rows * share**0.5), round(columns * share**0.5)
    top, left = random.integers(0, rows - height + 1), random.integers(0, columns - width + 1)
    covered = crop.copy()
    covered[top : top + height, left : left + width] = GREY
    return covered


def brighten(crop: Crop, factor: float, _random: np.random.Generator) -> Crop:
    """Multiplies the grey levels and cuts them off at 255; factors below 1 darken and lose levels by rounding."""
    return np.asarray(np.clip(np.rint(crop * factor), 0, 255), dtype=np.uint8)


DEGRADATIONS: dict[str, Degradation] = {
    "blur": Degradation("Gaussian blur, sigma in pixels of 112", 0, (1, 2, 3, 4), blur),
    "jpeg": Degradation("JPEG quality, 100: none", 100, (30, 15, 8, 4), compress),
    "resolution": Degradation("width of the crop in pixels", 112, (48, 32, 24, 16), lower_resolution),
    "occlusion": Degradation("share of the area that is covered", 0, (0.05, 0.1, 0.2, 0.4), occlude),
    "brightness": Degradation("factor on the grey levels", 1, (0.1, 0.25, 0.5, 1.75, 2.5), brighten),
}
"""The five ways by name."""


def degrade(crops: NDArray[np.uint8], name: str, strength: float, seed: int = 0) -> NDArray[np.uint8]:
    """Makes crops worse.

    Args:
        crops: `(n, height, width, 3)` uint8 RGB.
        name: key of `DEGRADATIONS`.
        strength: in the unit that `what` names; `clean` returns the crops unchanged.
        seed: of what is random, which is the place of the cover; crop i always gets the same.

    Returns:
        `(n, height, width, 3)` uint8 RGB.

    Raises:
        UnknownNameError: no such degradation.
    """
    if name not in DEGRADATIONS:
        raise UnknownNameError("degradation", name, DEGRADATIONS)
    chosen = DEGRADATIONS[name]
    if strength == chosen.clean:
        return crops
    worse = np.empty_like(crops)
    for index, crop in enumerate(crops):
        worse[index] = chosen.apply(np.ascontiguousarray(crop), strength, np.random.default_rng([seed, index]))
    return worse

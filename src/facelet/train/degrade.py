"""Worse pictures for the student alone: dark or glaring, partly covered, coarse, compressed.

The teachers answer for the view as it was, so the student learns to see the face through what spoils the picture; and
no teacher has to be asked again. What is drawn is a pure function of (seed, crop, epoch).

Source: asymmetric views as in Xie et al., "Self-training with Noisy Student improves ImageNet classification", CVPR
2020 (noise for the student, none for the teacher); covers as in Zhong et al., "Random Erasing", AAAI 2020.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from facelet.evaluate.robustness import REFERENCE_WIDTH, Crop, brighten, compress, lower_resolution

STREAM = 0xDE6  # keeps these random numbers apart from those of the crops' order
DARK, GLARING = (0.06, 0.6), (1.4, 2.6)  # factors on the grey levels
NOISE = 3.0  # largest standard deviation of a dark picture's noise, grey levels
COVER, ASPECT = (0.03, 0.25), (0.5, 2.0)  # share of the area, and height by width of the cover
COARSE = (14, 48)  # pixels that the face keeps, at width 112
QUALITY = (5, 40)  # of JPEG


def _log_uniform(limits: tuple[float, float], random: np.random.Generator) -> float:
    return float(np.exp(random.uniform(*np.log(limits))))


def _light(crop: Crop, random: np.random.Generator) -> Crop:
    """Two thirds dark and noisy, the others glaring."""
    if random.random() < 1 / 3:
        return brighten(crop, _log_uniform(GLARING, random), random)
    noisy = crop * _log_uniform(DARK, random) + random.normal(0, random.uniform(0, NOISE), crop.shape)
    return np.asarray(np.clip(np.rint(noisy), 0, 255), dtype=np.uint8)


def _cover(crop: Crop, random: np.random.Generator) -> Crop:
    """One upright rectangle of one colour, anywhere."""
    rows, columns = crop.shape[:2]
    area, aspect = random.uniform(*COVER), _log_uniform(ASPECT, random)
    height = min(rows, round(rows * (area * aspect) ** 0.5))
    width = min(columns, round(columns * (area / aspect) ** 0.5))
    top, left = random.integers(0, rows - height + 1), random.integers(0, columns - width + 1)
    covered = crop.copy()
    covered[top : top + height, left : left + width] = random.integers(0, 256, 3)
    return covered


def _coarse(crop: Crop, random: np.random.Generator) -> Crop:
    return lower_resolution(crop, _log_uniform(COARSE, random) * crop.shape[1] / REFERENCE_WIDTH, random)


def _compress(crop: Crop, random: np.random.Generator) -> Crop:
    return compress(crop, float(random.integers(*QUALITY)), random)


WAYS: tuple[Callable[[Crop, np.random.Generator], Crop], ...] = (_light, _cover, _coarse, _compress)
"""Each as likely as another."""


def degrade_some(pixels: NDArray[np.uint8], index: NDArray[np.int64], epoch: int, seed: int, share: float) -> None:
    """Makes some of a batch's pictures worse, in place.

    Args:
        pixels: `(n, height, width, 3)` uint8 RGB.
        index: crop in each row, `(n,)`.
        epoch: pass over the set; each draws anew.
        share: probability of each picture, in [0, 1].
    """
    for row, crop in enumerate(index):
        random = np.random.default_rng([STREAM, seed, epoch, int(crop)])
        if random.random() < share:
            pixels[row] = WAYS[random.integers(len(WAYS))](pixels[row], random)

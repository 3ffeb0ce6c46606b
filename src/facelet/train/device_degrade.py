"""Worse pictures for the student alone, as in `degrade`, for a batch of torch images where they lie.

The same four ways with the same ranges. How many pictures of a batch take each is fixed instead of drawn; which ones is
chance, as a batch is in random order.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from facelet.evaluate.robustness import REFERENCE_WIDTH
from facelet.train.degrade import ASPECT, COARSE, COVER, DARK, GLARING, NOISE, QUALITY

BLOCK = 8  # of JPEG, pixels
Rows = tuple[tuple[float, ...], ...]

# Source: ITU-T T.81 (JPEG), annex K, tables K.1 and K.2.
_LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
)

# Source: ITU-T T.871 (JFIF), section 7.
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


def degrade_batch(pixels: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Makes the first pictures of a batch worse, in place.

    Args:
        pixels: `(n, 3, height, width)` float32 RGB of whole numbers in [0, 255].
        share: of the pictures, in [0, 1]; a quarter of them goes each way.
        generator: on their device.

    Returns:
        `pixels`.
    """
    n_worse = round(len(pixels) * share)
    ways = (_light, _cover, _coarse, _compress)
    start = 0
    for number, way in enumerate(ways):
        stop = n_worse * (number + 1) // len(ways)
        if stop > start:
            pixels[start:stop] = way(pixels[start:stop], generator).round_().clamp_(0, 255)
        start = stop
    return pixels


def _uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(n, 1, 1, 1, generator=generator, device=generator.device)


def _log_uniform(n: int, limits: tuple[float, float], generator: torch.Generator) -> Tensor:
    return _uniform(n, math.log(limits[0]), math.log(limits[1]), generator).exp()


def _light(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Two thirds dark and noisy, the others glaring."""
    n = len(pixels)
    glaring = _uniform(n, 0, 1, generator) < 1 / 3
    factor = torch.where(glaring, _log_uniform(n, GLARING, generator), _log_uniform(n, DARK, generator))
    noise = torch.randn(pixels.shape, generator=generator, device=pixels.device) * _uniform(n, 0, NOISE, generator)
    return pixels * factor + noise.masked_fill(glaring, 0)


def _cover(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """One upright rectangle of one colour, anywhere."""
    n, _, rows, columns = pixels.shape
    area, aspect = _uniform(n, *COVER, generator), _log_uniform(n, ASPECT, generator)
    colour = torch.randint(256, (n, 3, 1, 1), generator=generator, device=pixels.device).float()
    y = torch.arange(rows, device=pixels.device)[:, None]
    x = torch.arange(columns, device=pixels.device)
    inside = torch.ones_like(pixels[:, :1], dtype=torch.bool)
    for place, side, share in ((y, rows, area * aspect), (x, columns, area / aspect)):
        length = (side * share.sqrt()).round().clamp(max=side)
        first = (_uniform(n, 0, 1, generator) * (side - length + 1)).floor()
        inside = inside & (place >= first) & (place < first + length)
    return torch.where(inside, colour, pixels)


def _coarse(pixels: Tensor, generator: torch.Generator) -> Tensor:
    n, _, rows, columns = pixels.shape
    width = _log_uniform(n, COARSE, generator).flatten() * columns / REFERENCE_WIDTH
    across = _coarse_matrices(columns, pixels.device)[width.round().long()]
    down = _coarse_matrices(rows, pixels.device)[(width * rows / columns).round().long()]
    return down[:, None] @ pixels @ across[:, None].mT


@functools.cache
def _coarse_matrices(side: int, device: torch.device) -> Tensor:
    """By the number of pixels that are left, what shrinking and enlarging do along one axis: `(k, side, side)`."""
    one: np.ndarray[Any, Any] = np.eye(side, dtype=np.float32)
    largest = round(COARSE[1] * side / REFERENCE_WIDTH) + 1
    matrices: list[np.ndarray[Any, Any]] = [one]
    for left in range(1, largest + 1):
        shrunk = cv2.resize(one, (side, left), interpolation=cv2.INTER_AREA)
        matrices.append(cv2.resize(shrunk, (side, side), interpolation=cv2.INTER_LINEAR))
    return torch.from_numpy(np.stack(matrices)).to(device)


def _compress(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """JPEG at whole qualities of `degrade.QUALITY`."""
    quality = torch.randint(*QUALITY, (len(pixels), 1, 1, 1), generator=generator, device=pixels.device)
    return jpeg(pixels, quality.float())


def jpeg(pixels: Tensor, quality: Tensor) -> Tensor:
    """What a JPEG file with 4:2:0 chroma keeps of pictures.

    Args:
        pixels: `(n, 3, height, width)` float32 RGB in [0, 255].
        quality: `(n, 1, 1, 1)` float32, 1 to 100, in the sense of libjpeg.

    Returns:
        The pictures after it, alike; not yet rounded.

    Source: ITU-T T.81; the scale of the tables is that of the Independent JPEG Group's library.
    """
    rows, columns = pixels.shape[2:]
    pixels = functional.pad(pixels, (0, -columns % (2 * BLOCK), 0, -rows % (2 * BLOCK)), mode="replicate")
    percent = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)
    ycc = torch.einsum("ij,njhw->nihw", _constant(_TO_YCC, pixels.device), pixels).round()
    luma = _quantised(ycc[:, :1] - 128, _LUMA, percent) + 128
    chroma = _quantised(functional.avg_pool2d(ycc[:, 1:], 2).round(), _CHROMA, percent)
    chroma = functional.interpolate(chroma, scale_factor=2, mode="bilinear")
    kept = torch.cat([luma, chroma], 1)[:, :, :rows, :columns]
    return torch.einsum("ij,njhw->nihw", _constant(_TO_RGB, pixels.device), kept)


def _quantised(planes: Tensor, table: Rows, percent: Tensor) -> Tensor:
    """Planes `(n, c, h, w)` with the cosine transform of each block rounded to multiples of a table."""
    n, c, h, w = planes.shape
    step = ((_constant(table, planes.device) * percent + 50) / 100).floor().clamp(1, 255)[:, None, None]
    blocks = planes.reshape(n, c, h // BLOCK, BLOCK, w // BLOCK, BLOCK).transpose(3, 4)
    basis = _cosines(planes.device)
    kept = basis.T @ ((basis @ blocks @ basis.T / step).round() * step) @ basis
    return kept.transpose(3, 4).reshape(n, c, h, w)


@functools.cache
def _constant(rows: Rows, device: torch.device) -> Tensor:
    """A table that stays on the device: a copy in each step would wait for what is being computed."""
    return torch.tensor(rows, dtype=torch.float32, device=device)


@functools.cache
def _cosines(device: torch.device) -> Tensor:
    """The orthonormal cosine transform of 8 numbers, `(8, 8)`."""
    k = torch.arange(BLOCK, dtype=torch.float64)
    basis: Tensor = torch.cos((2 * k + 1) * k[:, None] * math.pi / (2 * BLOCK)) * (2 / BLOCK) ** 0.5
    basis[0] /= 2**0.5
    return basis.float().to(device)

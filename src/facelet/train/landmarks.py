"""Learning where the five landmarks lie from aligned crops alone: each is moved, and the net tells how far.

A crop of the transfer set has its landmarks on the template, give or take what its detector erred. Moved by a known
similarity, it has them elsewhere, and that place is what the net regresses. No landmark is ever read, and as the
errors of the many crops cancel, the net places faces more steadily than what aligned them.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from facelet.data.transfer import TransferSet, spread_rows
from facelet.data.views import BORDER
from facelet.faces.align import warp_to
from facelet.faces.similarity import moved
from facelet.faces.templates import TEMPLATES
from facelet.train.distill import normalize_pixels
from facelet.train.loop import Watcher
from facelet.train.measure import MEASURED_CROPS

ROTATION_DEG, LOG_SCALE, SHIFT = 3.0, 0.05, 2.5
"""Standard deviations of how a crop is moved; the shift in template pixels."""

FAR = 0.3
"""Share of the crops that are moved twice as far."""

GAIN, BIAS, GREY, BLUR, BLUR_SIGMA = 0.15, 15.0, 0.1, 0.2, 2.0
"""Standard deviations of contrast around mid grey and of brightness in grey levels; shares of the crops without colour
and of those that are blurred; the strongest blur in canvas pixels."""

BETA = 2.0
"""Template pixels up to which an error counts by its square."""

_TEMPLATE = TEMPLATES["arcface"]
_POINTS = _TEMPLATE.points["five"]
_MIRROR = np.array([1, 0, 2, 4, 3])
"""Landmarks in the order of the mirrored face, image-left first again."""


@dataclass(frozen=True)
class MovedCrops:
    """Pixels `(n, h, w, 3)` uint8 RGB, and how far off its place each point lies, `(n, 10)` float32 template pixels."""

    pixels: Tensor
    offset: Tensor


class LandmarkTask:
    """Batches and loss of the net of landmarks; a `Task` of the loop.

    Args:
        index: crops to train on, `(m,)`.
    """

    def __init__(
        self, student: nn.Module, transfer: TransferSet, index: NDArray[np.int64], *, batch_size: int, seed: int
    ) -> None:
        self.student, self.transfer, self.index = student, transfer, index
        self.modules = nn.ModuleDict({"student": student})
        self.batch_size, self.seed = batch_size, seed
        self.size = int(student.input_size)  # type: ignore[arg-type]

    def batch(self, step: int) -> MovedCrops:
        """Crops of a step, each moved in its own way."""
        rng = np.random.default_rng([self.seed, step])
        chosen = np.sort(rng.integers(0, len(self.index), self.batch_size))
        return moved_crops(self.transfer.crops, self.index[chosen], self.size, rng)

    def loss(self, batch: MovedCrops, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """The smooth L1 of the offsets, and the root of the mean squared distance of the points."""
        error = self.student(normalize_pixels(batch.pixels)).float() - batch.offset
        loss = functional.smooth_l1_loss(error, torch.zeros_like(error), beta=BETA)
        return loss, {"loss": loss.detach(), "off_px": _distance(error.detach())}


def held_distance(net: nn.Module, transfer: TransferSet, held: NDArray[np.int64], seed: int) -> Watcher:
    """Measures how far off the points are told on moved crops that were held out, in template pixels.

    Args:
        held: their numbers, `(n,)` int64 ascending.
    """
    rows = held[spread_rows(len(held), MEASURED_CROPS)]
    size = int(net.input_size)  # type: ignore[arg-type]
    crops = moved_crops(transfer.crops, rows, size, np.random.default_rng([seed, 0x401D]))

    def watch(net: nn.Module) -> dict[str, float]:
        with torch.inference_mode():
            return {"held_px": float(_distance(net(normalize_pixels(crops.pixels)) - crops.offset))}

    return watch


def moved_crops(crops: NDArray[np.uint8], index: NDArray[np.int64], size: int, rng: np.random.Generator) -> MovedCrops:
    """Crops under random similarities, half of them mirrored, in other light.

    Args:
        crops: on the canvas, `(n, 128, 128, 3)` uint8 RGB.
        index: crops to move, `(m,)`.
        size: side of the result.
    """
    pixels = np.empty((len(index), size, size, 3), np.uint8)
    offset = np.empty((len(index), 5, 2), np.float32)
    for row, number in enumerate(index):
        crop, points = crops[number], _POINTS
        if rng.random() < 0.5:
            crop, points = np.ascontiguousarray(crop[:, ::-1]), _mirrored(points)
        matrix = _some_similarity(rng)
        offset[row] = moved(points, matrix) - _POINTS
        from_canvas = np.column_stack([matrix[:, :2], matrix[:, 2] - matrix[:, :2] @ [BORDER, BORDER]])
        warped = warp_to(_blurred(crop, rng), from_canvas, _TEMPLATE.box, size, size)
        pixels[row] = cv2.transform(warped, _some_light(rng))
    return MovedCrops(torch.from_numpy(pixels), torch.from_numpy(offset.reshape(len(index), -1)))


def _mirrored(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where the landmarks of a mirrored crop lie."""
    mirrored: NDArray[np.float64] = np.column_stack([_TEMPLATE.canvas - 1 - points[:, 0], points[:, 1]])[_MIRROR]
    return mirrored


def _some_similarity(rng: np.random.Generator) -> NDArray[np.float64]:
    """From the template to itself, `(2, 3)`, about its middle."""
    far = 2.0 if rng.random() < FAR else 1.0
    angle, log_scale, x, y = rng.normal(size=4) * far * [np.deg2rad(ROTATION_DEG), LOG_SCALE, SHIFT, SHIFT]
    cos, sin = np.cos(angle) * np.exp(log_scale), np.sin(angle) * np.exp(log_scale)
    turn = np.array([[cos, -sin], [sin, cos]])
    middle = np.full(2, (_TEMPLATE.canvas - 1) / 2)
    shift = np.array([x, y])
    matrix: NDArray[np.float64] = np.column_stack([turn, middle + shift - turn @ middle])
    return matrix


def _blurred(crop: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    sigma = rng.uniform(0.3, BLUR_SIGMA)
    return np.asarray(cv2.GaussianBlur(crop, (0, 0), sigma), np.uint8) if rng.random() < BLUR else crop


def _some_light(rng: np.random.Generator) -> NDArray[np.float64]:
    """From colours to colours, `(3, 4)`; contrast acts around mid grey."""
    gain = 1 + GAIN * rng.normal()
    colour = np.tile([0.299, 0.587, 0.114], (3, 1)) if rng.random() < GREY else np.eye(3)
    return np.column_stack([gain * colour, np.full(3, BIAS * rng.normal() + 127.5 * (1 - gain))])


def _distance(error: Tensor) -> Tensor:
    """The root of the mean squared distance of points whose errors are given, `(n, 10)`."""
    return error.reshape(len(error), -1, 2).square().sum(2).mean().sqrt()

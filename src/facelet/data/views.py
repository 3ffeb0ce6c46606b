"""Deterministic augmented views of aligned crops.

A view is a pure function of (seed, image, view number): its parameters come from a counter-based hash, not from
a random stream, so a teacher that is run once over a set and a student that trains for days on it see the very
same pixels, in any order, on any number of workers.

Source: Beyer et al., "Knowledge distillation: A good teacher is patient and consistent", CVPR 2022.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

CANVAS = 128  # side of a stored crop: the 112-pixel template region with a border of 8
BORDER = 8

Matrix = NDArray[np.float64]

BOX_ROTATION_DEG, BOX_LOG_SCALE, BOX_SHIFT_X, BOX_SHIFT_Y = 3.7, 0.022, 7.6, 2.5
"""How the square around a detector's box (`faces.align.box_crop`) lies to the crop that is aligned by landmarks:
standard deviations of rotation, logarithm of the zoom, and shift of the centre in canvas pixels. Measured: the 3,443
photos of LFW's `pairsDevTrain.txt`, YuNet's boxes and landmarks; the means (-0.4 degrees, 0.1 %, -0.5 and -0.5 pixels)
are left out. Sideways it is the turn of the head that shifts: correlation 0.99 with the nose's place between the eyes.
"""


@dataclass(frozen=True)
class ViewRecipe:
    """How far a view may depart from the clean crop. Ranges are standard deviations or half-widths.

    Attributes:
        rotation_deg: standard deviation of the rotation, degrees.
        log_scale: standard deviation of the logarithm of the zoom.
        shift: standard deviation of the shift in both directions, canvas pixels.
        flip: probability of a left-right flip.
        gain: half-width of the brightness factor around 1.
        bias: half-width of the added brightness, grey levels.
        channel_gain: half-width of each channel's own factor around 1.
        grey: probability of losing all colour.
        blur: probability of a Gaussian blur.
        blur_sigma: largest blur, canvas pixels.
        mix: probability of being blended with another aligned face.
        mix_low: smallest weight of the other face; the largest is `1 - mix_low`.
        loose: probability that a view lies as the square around a detector's box does: `BOX_ROTATION_DEG`,
            `BOX_LOG_SCALE`, `BOX_SHIFT_X` and `BOX_SHIFT_Y` on top of the recipe's own spread.
    """

    rotation_deg: float = 4.0
    log_scale: float = 0.05
    shift: float = 2.0
    flip: float = 0.5
    gain: float = 0.3
    bias: float = 20.0
    channel_gain: float = 0.08
    grey: float = 0.1
    blur: float = 0.2
    blur_sigma: float = 2.0
    mix: float = 0.0
    mix_low: float = 0.3
    loose: float = 0.0

    @property
    def template(self) -> str:
        """How photos are cut for a net that saw such views: key of `faces.templates.TEMPLATES`."""
        return "box" if self.loose == 1 else "arcface"

    def scaled(self, geometry: float, photometry: float) -> ViewRecipe:
        """The recipe with its strengths times a factor each; flips and blends stay.

        Args:
            geometry: on rotation, zoom and shift.
            photometry: on brightness and colour, and on how often a view is grey or blurred.
        """
        return replace(
            self,
            rotation_deg=self.rotation_deg * geometry,
            log_scale=self.log_scale * geometry,
            shift=self.shift * geometry,
            gain=self.gain * photometry,
            bias=self.bias * photometry,
            channel_gain=self.channel_gain * photometry,
            grey=min(1.0, self.grey * photometry),
            blur=min(1.0, self.blur * photometry),
        )

    def key(self, seed: int) -> str:
        """Short hash that names this recipe with this seed in cache folders."""
        values = asdict(self)
        if self.loose:
            values["box"] = (BOX_ROTATION_DEG, BOX_LOG_SCALE, BOX_SHIFT_X, BOX_SHIFT_Y)
        else:
            del values["loose"]  # came later: recipes without it keep their folders
        text = json.dumps({**values, "seed": seed, "version": 1}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


RECIPES: dict[str, ViewRecipe] = {
    "light": ViewRecipe(channel_gain=0.0, grey=0.0, blur=0.0),
    "standard": ViewRecipe(),
    "mixing": ViewRecipe(mix=0.3),
    "unaligned": ViewRecipe(loose=1.0),
    "both": ViewRecipe(loose=0.5),
}
"""Known recipes. "unaligned" is for nets that see photos without landmarks, "both" for nets that see either."""

N_UNIFORMS = 17


def uniforms(seed: int, index: NDArray[np.int64], view: NDArray[np.int64]) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1) that depend on nothing but their arguments.

    Args:
        index: image numbers, `(n,)`.
        view: view numbers, `(n,)`.

    Returns:
        `(n, N_UNIFORMS)` float64.

    Source: Steele et al., "Fast splittable pseudorandom number generators", OOPSLA 2014 (SplitMix64).
    """
    with np.errstate(over="ignore"):
        golden = np.uint64(0x9E3779B97F4A7C15)
        state = np.full(len(index), np.uint64(seed % 2**64))
        for part in (index.astype(np.uint64), view.astype(np.uint64)):
            state = _mix64(state * golden + part + golden)
        lanes = state[:, None] + golden * np.arange(1, N_UNIFORMS + 1, dtype=np.uint64)
        return (_mix64(lanes) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix64(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _normal(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
    """Box-Muller: one normal number from two uniform ones."""
    return np.sqrt(-2.0 * np.log(1.0 - u)) * np.cos(2.0 * np.pi * v)


def blended(index: NDArray[np.int64], view: NDArray[np.int64], recipe: ViewRecipe, seed: int) -> NDArray[np.bool_]:
    """Whether each view shows a blend of its image with another, `(n,)`; arguments as of `view_inputs`."""
    return _mixed(uniforms(seed, index, view), view, recipe)


def _mixed(u: NDArray[np.float64], view: NDArray[np.int64], recipe: ViewRecipe) -> NDArray[np.bool_]:
    return (view > 0) & (u[:, 14] < recipe.mix)


def _spread(own: float, box: float, loose: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Standard deviation in each view: the recipe's own, and that of two independent displacements where loose."""
    return np.where(loose, np.hypot(own, box), own)


def view_inputs(
    crops: NDArray[np.uint8],
    index: NDArray[np.int64],
    view: NDArray[np.int64],
    recipe: ViewRecipe,
    seed: int,
    matrix: Matrix,
    height: int,
    width: int,
) -> NDArray[np.uint8]:
    """One view of each image, rendered straight to a net's input size.

    Args:
        crops: aligned crops on the canvas, `(n_images, 128, 128, 3)` uint8 RGB.
        index: images to draw, `(n,)`.
        view: view number per image, `(n,)`; 0 is the clean crop, each number from 1 on another fixed view.
        matrix: maps canvas pixels to the net's input, 2x3 (see `faces.canvas.canvas_matrix`).

    Returns:
        `(n, height, width, 3)` uint8 RGB.
    """
    u = uniforms(seed, index, view)
    base = np.vstack([matrix, [0, 0, 1]])
    loose = u[:, 16] < recipe.loose
    angle = np.deg2rad(_spread(recipe.rotation_deg, BOX_ROTATION_DEG, loose) * _normal(u[:, 0], u[:, 1]).clip(-3, 3))
    zoom = np.exp(_spread(recipe.log_scale, BOX_LOG_SCALE, loose) * _normal(u[:, 2], u[:, 3]).clip(-3, 3))
    shift_x = _spread(recipe.shift, BOX_SHIFT_X, loose) * _normal(u[:, 4], u[:, 5]).clip(-3, 3)
    shift_y = _spread(recipe.shift, BOX_SHIFT_Y, loose) * _normal(u[:, 4], (u[:, 5] + 0.25) % 1.0).clip(-3, 3)
    flip = np.where(u[:, 6] < recipe.flip, -1.0, 1.0)
    gain = 1.0 + recipe.gain * (2 * u[:, 7] - 1)
    bias = recipe.bias * (2 * u[:, 8] - 1)
    channel_gain = 1.0 + recipe.channel_gain * (2 * u[:, 9:12] - 1)
    mixed = _mixed(u, view, recipe)
    partner = (u[:, 15] * len(crops)).astype(np.int64)
    weight = recipe.mix_low + (1 - 2 * recipe.mix_low) * (u[:, 14] / max(recipe.mix, 1e-9))
    centre = (CANVAS - 1) / 2
    out = np.empty((len(index), height, width, 3), np.uint8)
    for row, i in enumerate(index):
        crop = crops[i]
        if view[row] == 0:
            cv2.warpAffine(crop, matrix, (width, height), dst=out[row], flags=cv2.INTER_LINEAR)
            continue
        if mixed[row]:
            crop = cv2.addWeighted(crop, 1 - weight[row], crops[partner[row]], weight[row], 0.0)
        if u[row, 13] < recipe.blur:
            sigma = 0.3 + (recipe.blur_sigma - 0.3) * u[row, 13] / recipe.blur
            crop = cv2.GaussianBlur(crop, (0, 0), sigma)
        cos, sin = np.cos(angle[row]) * zoom[row], np.sin(angle[row]) * zoom[row]
        turn = np.array([[cos * flip[row], -sin, 0], [sin * flip[row], cos, 0], [0, 0, 1]])
        turn[:2, 2] = np.array([centre + shift_x[row], centre + shift_y[row]]) - turn[:2, :2] @ np.array(
            [centre, centre]
        )
        warped = cv2.warpAffine(
            crop, (base @ turn)[:2], (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        colour = np.zeros((3, 4))
        if u[row, 12] < recipe.grey:
            colour[:, :3] = np.array([0.299, 0.587, 0.114]) * gain[row]
        else:
            colour[[0, 1, 2], [0, 1, 2]] = channel_gain[row] * gain[row]
        # the brightness factor acts around mid grey, so contrast changes and the mean stays
        colour[:, 3] = bias[row] + 127.5 * (1 - gain[row])
        cv2.transform(warped, colour, dst=out[row])
    return out

"""Augmented views of aligned crops, drawn and rendered in torch, a batch at a time, where the crops lie.

What `data.views` does for one picture after another on a CPU, with the same recipes and in the same order: blend, blur,
turn, colour. The random numbers are those of a torch generator instead of a hash, so a view is not the same picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional

from facelet.data.views import BOX_LOG_SCALE, BOX_ROTATION_DEG, BOX_SHIFT_X, BOX_SHIFT_Y, CANVAS, ViewRecipe

LUMA = (0.299, 0.587, 0.114)
SHARP = 1e-3  # standard deviation of a blur that changes nothing, pixels


@dataclass(frozen=True)
class Views:
    """Parameters of n views.

    Attributes:
        crop: number of the crop, `(n,)` int64.
        partner: of the crop that it is blended with, `(n,)` int64.
        weight: of that one, `(n,)` float32; 0 where nothing is blended.
        sigma: of the blur, canvas pixels, `(n,)` float32.
        turn: from the canvas to itself, `(n, 2, 3)` float32.
        colour: factors and offset that act on (r, g, b), `(n, 3, 4)` float32.
    """

    crop: Tensor
    partner: Tensor
    weight: Tensor
    sigma: Tensor
    turn: Tensor
    colour: Tensor

    def __len__(self) -> int:
        return len(self.crop)

    def rows(self, index: Tensor | slice) -> Views:
        """Some of the views."""
        return Views(*(getattr(self, field.name)[index] for field in fields(self)))


def clean_views(crop: Tensor) -> Views:
    """The crops, `(n,)`, as they are."""
    n, like = len(crop), torch.ones(len(crop), device=crop.device)
    turn = torch.eye(2, 3, device=crop.device).expand(n, 2, 3)
    return Views(crop, crop, 0 * like, SHARP * like, turn, torch.eye(3, 4, device=crop.device).expand(n, 3, 4))


def draw_views(crop: Tensor, n_crops: int, recipe: ViewRecipe, generator: torch.Generator) -> Views:
    """One view of each crop.

    Args:
        crop: numbers, `(n,)` int64.
        n_crops: that a blend may take its other face from.
        generator: on the crops' device.
    """
    n, device = len(crop), crop.device

    def uniform(*shape: int) -> Tensor:
        return torch.rand(n, *shape, generator=generator, device=device)

    def normal(own: float, box: float) -> Tensor:
        spread = torch.where(loose, math.hypot(own, box), own)
        return spread * torch.randn(n, generator=generator, device=device).clamp(-3, 3)

    def half_width(width: float, *shape: int) -> Tensor:
        return width * (2 * uniform(*shape) - 1)

    loose = uniform() < recipe.loose
    angle = normal(recipe.rotation_deg, BOX_ROTATION_DEG).deg2rad()
    zoom = normal(recipe.log_scale, BOX_LOG_SCALE).exp()
    shift = torch.stack([normal(recipe.shift, BOX_SHIFT_X), normal(recipe.shift, BOX_SHIFT_Y)], 1)
    flip = torch.where(uniform() < recipe.flip, -1.0, 1.0)
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    linear = torch.stack([torch.stack([cos * flip, -sin], 1), torch.stack([sin * flip, cos], 1)], 1)
    centre = torch.full((2,), (CANVAS - 1) / 2, device=device)
    turn = torch.cat([linear, (centre + shift - (linear * centre).sum(2))[:, :, None]], 2)
    gain = 1 + half_width(recipe.gain)
    # the brightness factor acts around mid grey, so contrast changes and the mean stays
    offset = (half_width(recipe.bias) + 127.5 * (1 - gain))[:, None, None].expand(n, 3, 1)
    coloured = torch.diag_embed((1 + half_width(recipe.channel_gain, 3)) * gain[:, None])
    grey = torch.tensor(LUMA, device=device).expand(n, 3, 3) * gain[:, None, None]
    factors = torch.where((uniform() < recipe.grey)[:, None, None], grey, coloured)
    sigma = torch.where(uniform() < recipe.blur, 0.3 + (recipe.blur_sigma - 0.3) * uniform(), SHARP)
    other = recipe.mix_low + (1 - 2 * recipe.mix_low) * uniform()
    return Views(
        crop=crop,
        partner=torch.randint(n_crops, (n,), generator=generator, device=device),
        weight=torch.where(uniform() < recipe.mix, other, 0.0),
        sigma=sigma,
        turn=turn,
        colour=torch.cat([factors, offset], 2),
    )


def render(crops: Tensor, views: Views, matrix: Tensor, height: int, width: int) -> Tensor:
    """Views at a net's input size.

    Args:
        crops: `(n_crops, 128, 128, 3)` uint8 RGB.
        views: of some of them, on the same device.
        matrix: from canvas pixels to the net's input, `(2, 3)` float32.

    Returns:
        `(n, 3, height, width)` float32 RGB of whole numbers in [0, 255].
    """
    weight = views.weight[:, None, None, None]
    mixed = torch.lerp(crops[views.crop].float(), crops[views.partner].float(), weight)
    blur = _blur_matrices(views.sigma, CANVAS)[:, None]
    blurred = _levels(blur @ _levels(mixed.permute(0, 3, 1, 2)) @ blur.mT)
    warped = _levels(_warp(blurred, _composed(matrix, views.turn), height, width))
    coloured = torch.einsum("nij,njhw->nihw", views.colour[:, :, :3], warped) + views.colour[:, :, 3, None, None]
    return _levels(coloured)


def _levels(values: Tensor) -> Tensor:
    """Grey levels, as a picture of 8 bits would hold them."""
    return values.round_().clamp_(0, 255)


def _blur_matrices(sigma: Tensor, side: int) -> Tensor:
    """What a Gaussian blur does along one axis, `(n, side, side)`; at the border what lies outside counts nothing."""
    place = torch.arange(side, device=sigma.device, dtype=torch.float32)
    away = (place[:, None] - place).square()
    return torch.softmax(-away / (2 * sigma.square())[:, None, None], 2)


def _composed(matrix: Tensor, turn: Tensor) -> Tensor:
    """`matrix` after `turn`, `(n, 2, 3)`."""
    # a sum of products, as GPUs may multiply matrices in less than full precision
    moved = (matrix[:, :2, None] * turn[:, None]).sum(2)
    return torch.cat([moved[:, :, :2], moved[:, :, 2:] + matrix[:, 2:]], 2)


def _warp(images: Tensor, matrix: Tensor, height: int, width: int) -> Tensor:
    """Each image through its own affine map, bilinear, border pixels repeated."""
    (a, b, p), (c, d, q) = (row.unbind(1) for row in matrix.unbind(1))
    x = torch.arange(width, device=images.device, dtype=torch.float32)[None, None, :]
    y = torch.arange(height, device=images.device, dtype=torch.float32)[None, :, None]
    a, b, c, d, p, q = (value[:, None, None] for value in (a, b, c, d, p, q))
    determinant = a * d - b * c
    from_x = (d * (x - p) - b * (y - q)) / determinant
    from_y = (a * (y - q) - c * (x - p)) / determinant
    grid = torch.stack([from_x * (2 / (images.shape[3] - 1)), from_y * (2 / (images.shape[2] - 1))], 3) - 1
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=True)

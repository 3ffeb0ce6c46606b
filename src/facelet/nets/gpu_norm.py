"""Channels scaled, shifted and bent in one pass on a GPU: batch norm with its activation, or a bias with its own.

In the small nets here a training step on a GPU moves the same tensors through one function after another, as
one on a CPU does (`fused`). These kernels pass over each of them eight times, torch's batch norm and PReLU fifteen.
Values, gradients and running statistics are torch's, but for rounding.

Source: Ioffe & Szegedy, "Batch Normalization", ICML 2015, section 3.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import torch
import triton
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from facelet.nets import gpu_norm_kernels as kernels
from facelet.nets.fused import nhwc

KINDS = (torch.float32, torch.bfloat16, torch.float16)
LANES = 16
"""Neighbouring values that are read together; rows are joined until they are a multiple of it."""

TILE = 4096
"""Values that a program works on at a time."""

PROGRAMS = 528
"""Programs that share a sum over all rows; each leaves one partial sum of a channel."""

PARTS = 64
"""Partial sums that are added at a time."""

LARGEST = 2**31 - 1
"""Values of a tensor, as places in it are 32-bit integers."""


@dataclass(frozen=True)
class _Grid:
    """How a tensor of `(rows, channels)` is cut.

    Attributes:
        rows: of `at_once` pixels each.
        width: values of a row.
        channels: of a pixel.
        tile_rows, tile_width: of a tile.
        strips: of rows that are summed, each by one program.
    """

    rows: int
    width: int
    channels: int
    tile_rows: int
    tile_width: int
    strips: int

    @property
    def columns(self) -> int:
        """Tiles side by side."""
        return int(triton.cdiv(self.width, self.tile_width))

    @property
    def tiles(self) -> tuple[int, int]:
        """Programs of a pass that writes every value."""
        return triton.cdiv(self.rows, self.tile_rows), self.columns

    @property
    def per_strip(self) -> int:
        """Rows of a strip."""
        return int(triton.cdiv(self.rows, self.strips))

    @property
    def plane(self) -> int:
        """Partial sums of one kind."""
        return self.strips * self.width

    @property
    def parts(self) -> int:
        """Partial sums of one kind of a channel."""
        return self.plane // self.channels

    @property
    def pixels(self) -> int:
        """Values of a channel."""
        return self.rows * self.width // self.channels


def _grid(x: Tensor) -> _Grid | None:
    """None where the pixels cannot be joined to rows."""
    channels = x.shape[1]
    at_once = LANES // math.gcd(LANES, channels)
    pixels = x.numel() // channels
    if pixels % at_once or pixels < 2 * at_once or x.numel() > LARGEST:
        return None
    rows, width = pixels // at_once, channels * at_once
    tile_width = 64 if width % 64 == 0 else 32
    tile_rows = TILE // tile_width
    strips = max(1, min(PROGRAMS // triton.cdiv(width, tile_width), triton.cdiv(rows, tile_rows)))
    return _Grid(rows, width, channels, tile_rows, tile_width, strips)


def can_bend(x: Tensor) -> bool:
    """Whether `bend` takes this tensor."""
    return x.ndim == 4 and x.dtype in KINDS and _grid(x) is not None


def can_norm(x: Tensor, norm: nn.BatchNorm2d) -> bool:
    """Whether `norm_activation` takes this input and this norm."""
    plain = norm.affine and norm.momentum is not None and norm.weight.dtype == torch.float32
    return can_bend(x) and plain and norm.track_running_stats


def bend(
    x: Tensor, shift: Tensor, slope: Tensor | float = 1.0, top: float = math.inf, residual: Tensor | None = None
) -> Tensor:
    """`v = x + shift + residual`, then `min(v, top)` where v is positive and `slope * v` elsewhere; without a gradient.

    Args:
        x: `(n, channels, height, width)`; may be overwritten.
        shift: of each channel, `(channels,)`.
        slope: of each channel, `(channels,)`, or of all.
        top: infinity for none.
        residual: like `x`.
    """
    x = nhwc(x)
    one, slopes = _constant(1.0, x.shape[1], x.device), _slopes(slope, x)
    return _bent(x, x, one, shift, slopes, top, None if residual is None else nhwc(residual.to(x.dtype)))


def norm_activation(x: Tensor, norm: nn.BatchNorm2d, slope: Tensor | float, top: float) -> Tensor:
    """Batch norm of this batch, then `min(v, top)` where v is positive and `slope * v` elsewhere.

    The norm's running statistics move as torch moves them.

    Args:
        x: `(n, channels, height, width)`, of `KINDS`.
        slope: of each channel, `(channels,)`, or of all.
        top: infinity for none.
    """
    y: Tensor = _NormActivation.apply(nhwc(x), norm.weight, norm.bias, _slopes(slope, x), top, norm)  # type: ignore[no-untyped-call]
    return y


def _slopes(slope: Tensor | float, x: Tensor) -> Tensor:
    return slope if isinstance(slope, Tensor) else _constant(slope, x.shape[1], x.device)


@functools.cache
def _constant(value: float, count: int, device: torch.device) -> Tensor:
    return torch.full((count,), value, device=device)


def _cut(x: Tensor) -> _Grid:
    grid = _grid(x)
    if grid is None:
        raise ValueError(f"gpu_norm: a tensor of {tuple(x.shape)} cannot be cut; ask can_bend first")
    return grid


def _bent(
    x: Tensor, y: Tensor, scale: Tensor, shift: Tensor, slope: Tensor, top: float, residual: Tensor | None = None
) -> Tensor:
    grid = _cut(x)
    other = x if residual is None else residual
    kernels.bend[grid.tiles](
        x, other, y, scale, shift, slope, top, grid.rows, grid.width, grid.channels,
        ADDS=residual is not None, ROWS=grid.tile_rows, WIDTH=grid.tile_width,
    )  # fmt: skip
    return y


class _NormActivation(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, slope: Tensor, top: float, norm: nn.BatchNorm2d
    ) -> Tensor:
        grid = _cut(x)
        sums = x.new_empty((2, grid.strips, grid.width), dtype=torch.float32)
        kernels.sums[grid.strips, grid.columns](
            x, sums, grid.rows, grid.width, grid.channels, grid.per_strip, grid.plane,
            ROWS=grid.tile_rows, WIDTH=grid.tile_width,
        )  # fmt: skip
        line = x.new_empty((4, grid.channels), dtype=torch.float32)  # scale, shift, mean, 1 / deviation
        kernels.finish[triton.cdiv(grid.channels, LANES),](
            x, sums, line, weight, bias, norm.running_mean, norm.running_var, norm.momentum, norm.eps,
            grid.parts, grid.channels, grid.pixels, grid.plane, PARTS=PARTS, WIDTH=LANES,
        )  # fmt: skip
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked += 1
        ctx.save_for_backward(x, line, slope)
        ctx.top = top
        return _bent(x, torch.empty_like(x), line[0], line[1], slope, top)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, line, slope = ctx.saved_tensors
        grid, incoming = _cut(x), nhwc(gradient.to(x.dtype))
        sums = x.new_empty((3, grid.strips, grid.width), dtype=torch.float32)
        kernels.sums_back[grid.strips, grid.columns](
            x, incoming, sums, line, slope, ctx.top, grid.rows, grid.width, grid.channels, grid.per_strip,
            grid.plane, ROWS=grid.tile_rows, WIDTH=grid.tile_width,
        )  # fmt: skip
        of_parameters = x.new_empty((3, grid.channels), dtype=torch.float32)  # weight, bias, slope
        back = x.new_empty((2, grid.channels), dtype=torch.float32)  # factor of x, and what is added
        kernels.finish_back[triton.cdiv(grid.channels, LANES),](
            sums, line, of_parameters, back,
            grid.parts, grid.channels, grid.pixels, grid.plane, PARTS=PARTS, WIDTH=LANES,
        )  # fmt: skip
        result = torch.empty_like(x)
        kernels.bend_back[grid.tiles](
            x, incoming, result, line, slope, back, ctx.top, grid.rows, grid.width, grid.channels,
            ROWS=grid.tile_rows, WIDTH=grid.tile_width,
        )  # fmt: skip
        return result, of_parameters[0], of_parameters[1], of_parameters[2].to(slope.dtype), None, None

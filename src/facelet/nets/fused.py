"""Batch norm with its activation, and depthwise convolution, as one compiled pass each; for training on a CPU core.

In the small nets here a training step spends most of its time between the dense products, moving the same
tensors through one function after another. These functions keep nothing but the convolution's output and work out
the rest again on the way back. Values, gradients and running statistics are torch's, but for rounding.

Source: Ioffe & Szegedy, "Batch Normalization", ICML 2015, section 3.
"""

from __future__ import annotations

import ctypes
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from facelet.nets.kernels import LANES, SUFFIXES, Kernels

SUM = torch.float64


class _Shape(ctypes.Structure):
    """Of a depthwise convolution, as `kernels.cpp` has it."""

    _fields_ = [
        (name, ctypes.c_int)
        for name in ("height", "width", "channels", "kernel", "stride", "pad", "out_height", "out_width")
    ]


def can_norm(x: Tensor, norm: nn.BatchNorm2d) -> bool:
    """Whether `norm_activation` takes this input and this norm."""
    return x.dtype in SUFFIXES and norm.affine and norm.momentum is not None and _rows_at_once(x) > 0


def norm_activation(kernels: Kernels, x: Tensor, norm: nn.BatchNorm2d, slope: Tensor | float, top: float) -> Tensor:
    """Batch norm of this batch, then `min(v, top)` where v is positive and `slope * v` elsewhere.

    The norm's running statistics move as torch moves them.

    Args:
        x: `(n, channels, height, width)` float32 or bfloat16.
        slope: of each channel, `(channels,)`, or of all.
        top: infinity for none.
    """
    slopes = slope if isinstance(slope, Tensor) else torch.full((x.shape[1],), slope)
    y: Tensor = _NormActivation.apply(kernels, _nhwc(x), norm.weight, norm.bias, slopes, top, norm)  # type: ignore[no-untyped-call]
    return y


def can_depthwise(x: Tensor, conv: nn.Conv2d) -> bool:
    """Whether `depthwise` takes this input and this convolution."""
    each_alone = conv.groups == conv.in_channels == conv.out_channels >= LANES
    square = all(len(set(pair)) == 1 for pair in (conv.kernel_size, conv.stride))
    plain = conv.bias is None and conv.dilation == (1, 1) and conv.padding_mode == "zeros"
    pad = isinstance(conv.padding, tuple) and len(set(conv.padding)) == 1
    return x.dtype in SUFFIXES and each_alone and square and plain and pad


def depthwise(kernels: Kernels, x: Tensor, conv: nn.Conv2d) -> Tensor:
    """A convolution of each channel by itself; under autocast in bfloat16, as torch does it."""
    if torch.is_autocast_enabled("cpu"):
        x = x.to(torch.get_autocast_dtype("cpu"))
    stride, pad = conv.stride[0], int(conv.padding[0])
    y: Tensor = _Depthwise.apply(kernels, _nhwc(x), conv.weight, stride, pad)  # type: ignore[no-untyped-call]
    return y


def _nhwc(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _rows_at_once(x: Tensor) -> int:
    """Pixels that are taken as one, so that their channels are a multiple of `LANES`; 0 where they cannot be."""
    n_rows = x.numel() // x.shape[1]
    at_once = LANES // math.gcd(LANES, x.shape[1])
    return at_once if n_rows % at_once == 0 and n_rows > 1 else 0


class _NormActivation(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        kernels: Kernels,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        slope: Tensor,
        top: float,
        norm: nn.BatchNorm2d,
    ) -> Tensor:
        channels, at_once = x.shape[1], _rows_at_once(x)
        width, n_rows = channels * at_once, x.numel() // channels
        rows = n_rows // at_once, width
        sums = torch.zeros(2, width, dtype=SUM)
        kernels("moments", x.dtype, x, *rows, *sums)
        mean, square = _by_channel(sums, channels) / n_rows
        variance = (square - mean.square()).clamp_min(0)
        _move(norm, mean, variance * (n_rows / (n_rows - 1)))
        deviation = (variance + norm.eps).sqrt()
        scale = weight.detach() / deviation
        line = torch.stack([scale, bias.detach() - mean * scale, slope.detach()]).float().repeat(1, at_once)
        y = torch.empty_like(x)
        kernels("norm", x.dtype, x, y, *rows, *line, top)
        ctx.save_for_backward(x, line, mean, deviation)
        ctx.kernels, ctx.top = kernels, top
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, line, mean, deviation = ctx.saved_tensors
        kernels, top, kind = ctx.kernels, ctx.top, x.dtype
        channels, width = x.shape[1], line.shape[1]
        n_rows, rows = x.numel() // channels, (x.numel() // width, width)
        incoming, result = _nhwc(gradient.to(kind)), torch.empty_like(x)
        sums = torch.zeros(3, width, dtype=SUM)
        kernels("norm_sums", kind, x, incoming, *rows, *line, top, *sums)
        passed, passed_x, of_slope = _by_channel(sums, channels)
        of_weight = (passed_x - mean * passed) / deviation
        scale = line[0, :channels].double()
        of_x = -scale * of_weight / deviation / n_rows
        offset = -scale * passed / n_rows - of_x * mean
        rest = torch.stack([of_x, offset]).float().repeat(1, width // channels)
        kernels("norm_back", kind, x, incoming, result, *rows, *line, top, *rest)
        return None, result, of_weight.float(), passed.float(), of_slope.float(), None, None


def _by_channel(sums: Tensor, channels: int) -> Tensor:
    """Sums of several pixels at once, `(count, width)`, as those of their channels, `(count, channels)`."""
    return sums.view(len(sums), -1, channels).sum(1)


def _move(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    """Moves the running statistics towards this batch's."""
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    norm.num_batches_tracked += 1
    momentum = float(norm.momentum or 0.0)
    norm.running_mean.lerp_(mean.float(), momentum)
    norm.running_var.lerp_(variance.float(), momentum)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kernels: Kernels, x: Tensor, weight: Tensor, stride: int, pad: int) -> Tensor:
        n, channels, height, width = x.shape
        kernel = weight.shape[-1]
        out_height, out_width = ((side + 2 * pad - kernel) // stride + 1 for side in (height, width))
        shape = _Shape(height, width, channels, kernel, stride, pad, out_height, out_width)
        taps = weight.detach().reshape(channels, kernel * kernel).t().contiguous()
        y = x.new_empty((n, out_height, out_width, channels)).permute(0, 3, 1, 2)
        kernels("depthwise", x.dtype, x, taps, y, n, shape)
        ctx.save_for_backward(x, taps)
        ctx.kernels, ctx.shape = kernels, shape
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, taps = ctx.saved_tensors
        kernels, shape, kind = ctx.kernels, ctx.shape, x.dtype
        incoming, result = _nhwc(gradient.to(kind)), torch.empty_like(x)
        total = torch.zeros(taps.shape, dtype=SUM)
        kernels("depthwise_data", kind, incoming, taps, result, len(x), shape)
        kernels("depthwise_weight", kind, x, incoming, total, len(x), shape)
        of_taps = total.float().t()
        return None, result, of_taps.reshape(shape.channels, 1, shape.kernel, shape.kernel), None, None

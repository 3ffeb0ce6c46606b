"""Batch norm with its activation, and depthwise convolution, as one compiled pass each; for training on a CPU core.

In the small nets here a training step spends most of its time between the dense products, moving the same
tensors through one function after another. These functions keep nothing but the convolution's output and work out
the rest again on the way back. Values, gradients and running statistics are torch's, but for rounding.

Source: Ioffe & Szegedy, "Batch Normalization", ICML 2015, section 3.
"""

from __future__ import annotations

import ctypes
import functools
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from facelet.nets.kernels import LANES, SUFFIXES, Kernels

SUM = torch.float64


class _Norm(ctypes.Structure):
    """Of a batch norm, as `native/norm.h` has it."""

    _fields_ = (
        ("rows", ctypes.c_int64),
        ("channels", ctypes.c_int),
        ("at_once", ctypes.c_int),
        ("top", ctypes.c_float),
        ("eps", ctypes.c_double),
        ("momentum", ctypes.c_double),
    )


class _Shape(ctypes.Structure):
    """Of a depthwise convolution, as `native/shape.h` has it."""

    _fields_ = [
        (name, ctypes.c_int)
        for name in ("height", "width", "channels", "kernel", "stride", "pad", "out_height", "out_width")
    ]


def can_norm(x: Tensor, norm: nn.BatchNorm2d) -> bool:
    """Whether `norm_activation` takes this input and this norm."""
    plain = norm.affine and norm.momentum is not None and norm.weight.dtype == torch.float32
    return x.dtype in SUFFIXES and plain and _rows_at_once(x) > 0


def norm_activation(kernels: Kernels, x: Tensor, norm: nn.BatchNorm2d, slope: Tensor | float, top: float) -> Tensor:
    """Batch norm of this batch, then `min(v, top)` where v is positive and `slope * v` elsewhere.

    The norm's running statistics move as torch moves them.

    Args:
        x: `(n, channels, height, width)` float32 or bfloat16.
        slope: of each channel, `(channels,)`, or of all.
        top: infinity for none.
    """
    slopes = slope if isinstance(slope, Tensor) else _constant(slope, x.shape[1])
    y: Tensor = _NormActivation.apply(kernels, nhwc(x), norm.weight, norm.bias, slopes, top, norm)  # type: ignore[no-untyped-call]
    return y


def can_depthwise(x: Tensor, conv: nn.Conv2d) -> bool:
    """Whether `depthwise` takes this input and this convolution."""
    each_alone = conv.groups == conv.in_channels == conv.out_channels >= LANES
    square = all(len(set(pair)) == 1 for pair in (conv.kernel_size, conv.stride))
    plain = conv.bias is None and conv.dilation == (1, 1) and conv.padding_mode == "zeros"
    pad = isinstance(conv.padding, tuple) and len(set(conv.padding)) == 1
    kinds = x.dtype in SUFFIXES and conv.weight.dtype == torch.float32
    return kinds and each_alone and square and plain and pad


def depthwise(kernels: Kernels, x: Tensor, conv: nn.Conv2d) -> Tensor:
    """A convolution of each channel by itself; under autocast in bfloat16, as torch does it."""
    if torch.is_autocast_enabled("cpu"):
        x = x.to(torch.get_autocast_dtype("cpu"))
    stride, pad = conv.stride[0], int(conv.padding[0])
    y: Tensor = _Depthwise.apply(kernels, nhwc(x), conv.weight, stride, pad)  # type: ignore[no-untyped-call]
    return y


def nhwc(x: Tensor) -> Tensor:
    """The same with its channels last in memory."""
    return x.contiguous(memory_format=torch.channels_last)


@functools.cache
def _constant(value: float, count: int) -> Tensor:
    return torch.full((count,), value)


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
        of = _Norm(x.numel() // channels // at_once, channels, at_once, top, norm.eps, float(norm.momentum or 0.0))
        line, moment = x.new_empty(3, channels * at_once, dtype=torch.float32), x.new_empty(2, channels, dtype=SUM)
        y = torch.empty_like(x)
        kernels("norm", x.dtype, x, y, of, weight, bias, slope, norm.running_mean, norm.running_var, line, moment)
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked += 1
        ctx.save_for_backward(x, line, moment)
        ctx.kernels, ctx.of = kernels, of
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, line, moment = ctx.saved_tensors
        of, kind = ctx.of, x.dtype
        incoming, result = nhwc(gradient.to(kind)), torch.empty_like(x)
        of_parameters = x.new_empty(3, of.channels, dtype=torch.float32)
        ctx.kernels("norm_back", kind, x, incoming, result, of, line, moment, of_parameters)
        return None, result, *of_parameters, None, None


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
        incoming, result = nhwc(gradient.to(kind)), torch.empty_like(x)
        total = torch.zeros(taps.shape, dtype=SUM)
        kernels("depthwise_data", kind, incoming, taps, result, len(x), shape)
        kernels("depthwise_weight", kind, x, incoming, total, len(x), shape)
        of_taps = total.float().t()
        return None, result, of_taps.reshape(shape.channels, 1, shape.kernel, shape.kernel), None, None

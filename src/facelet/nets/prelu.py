"""PReLU whose gradient takes a quarter of the time on CPUs.

torch's own backward pass of PReLU is not vectorised; in a student with 24 of them it took 36 % of a training step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

CHUNK = 1 << 16
"""Values that are worked on at a time, so that what one pass writes the next still finds in the cache."""


class PReLU(nn.PReLU):
    """`x` where positive, `weight * x` elsewhere, by `prelu`."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(n, channels, ...)` to the same shape."""
        return prelu(x, self.weight)


def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """`x` where positive, `slope * x` elsewhere; values and gradients are those of `torch.nn.functional.prelu`.

    Args:
        x: `(n, channels, ...)`.
        slope: `(channels,)`.
    """
    if x.device.type != "cpu" or not torch.is_grad_enabled():
        return functional.prelu(x, slope.to(x.dtype))
    y: Tensor = _PReLU.apply(x, slope)  # type: ignore[no-untyped-call]
    return y


class _PReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(x, slope)
        return functional.prelu(x, slope)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, slope = ctx.saved_tensors
        result = torch.empty_like(x)
        slope_gradient = torch.zeros_like(slope)
        others = [axis for axis in range(x.ndim) if axis != 1]
        along = slope.view(-1, *[1] * (x.ndim - 2))
        rows = max(1, len(x) * CHUNK // max(1, x.numel()))
        parts = (torch.split(tensor, rows) for tensor in (x, gradient, result))
        for values, incoming, outgoing in zip(*parts, strict=True):
            kept = torch.ops.aten.threshold_backward(incoming, values, 0)  # the gradient where x is positive
            damped = incoming - kept
            torch.addcmul(kept, damped, along, out=outgoing)
            slope_gradient += damped.mul_(values).sum(others)
        return result, slope_gradient

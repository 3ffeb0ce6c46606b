"""ReLU6 whose gradient is several times faster on CPUs than that of `torch.nn.ReLU6`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class ReLU6(nn.Module):
    """`min(max(x, 0), 6)`."""

    def forward(self, x: Tensor) -> Tensor:
        """Clips any shape."""
        if not torch.is_grad_enabled():
            return x.clamp(0.0, 6.0)
        clipped: Tensor = _Clip6.apply(x)  # type: ignore[no-untyped-call]
        return clipped


class _Clip6(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.clamp(0.0, 6.0)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        above_zero = torch.ops.aten.threshold_backward(gradient, y, 0.0)
        below_six: Tensor = torch.ops.aten.threshold_backward(above_zero, 6.0 - y, 0.0)
        return below_six

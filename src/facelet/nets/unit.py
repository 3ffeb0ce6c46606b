"""Convolution, batch norm, activation: the unit that every net here is made of."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from facelet.nets.fused import can_depthwise, can_norm, depthwise, norm_activation
from facelet.nets.kernels import kernels
from facelet.nets.relu6 import ReLU6


class ConvUnit(nn.Sequential):
    """A convolution, a batch norm and perhaps an activation.

    On one thread of a CPU it trains through compiled kernels; on several threads and on a GPU, through torch's own.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(n, in_channels, h, w)` as the parts one after another do."""
        conv, norm, *rest = self
        compiled = kernels() if self._trains_on_one_core(x) else None
        if compiled is None:
            y: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
            return y
        if not isinstance(conv, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d):
            raise TypeError(f"{type(self).__name__}: a convolution and a batch norm come first")
        x = depthwise(compiled, x, conv) if can_depthwise(x, conv) else conv(x)
        shape = _activation(rest[0]) if rest else (1.0, math.inf)
        if shape is not None and can_norm(x, norm):
            return norm_activation(compiled, x, norm, *shape)
        for part in (norm, *rest):
            x = part(x)
        return x

    def _trains_on_one_core(self, x: Tensor) -> bool:
        trains = self.training and torch.is_grad_enabled()
        return trains and x.device.type == "cpu" and torch.get_num_threads() == 1


def _activation(part: nn.Module) -> tuple[Tensor | float, float] | None:
    """Slope below zero and largest value of an activation; None where it has another form."""
    if isinstance(part, nn.PReLU) and part.num_parameters > 1:
        return part.weight, math.inf
    if isinstance(part, nn.ReLU):
        return 0.0, math.inf
    return (0.0, 6.0) if isinstance(part, ReLU6) else None

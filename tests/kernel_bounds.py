"""Every call of a compiled training kernel inside a net, and the rounding error that it may have.

A whole net is no place for one tolerance: a max pool or an activation jumps where rounding changes the order of two
values, and then all gradients before it move, torch's own as well. So each call is compared with float64 on the call's
own inputs, component by component, and the bound follows from the arithmetic of that call alone.

Standard model: `fl(a op b) = (a op b)(1 + d)` with `|d| <= u = 2^-24`. A sum of `n` products in any order, fused or
not, then errs by at most `gamma(n) * sum |a_i b_i|`. The derivations below are to first order in `u`; `SECOND_ORDER`
covers the rest, as no `gamma` here is above 2e-4.

Source: Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., sections 2.2 and 3.1.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from facelet.nets.fused import depthwise, norm_activation
from facelet.nets.kernels import Kernels
from facelet.nets.unit import ConvUnit

UNIT_ROUNDOFF = 2.0**-24
SECOND_ORDER = 1.01
BLOCK = 128
"""Rows that a kernel sums in float32 before the sum goes into a float64: `BLOCK` of `native/rows.h`."""
SMALLEST = 2.0**-126
"""The smallest normal float32: below it the standard model does not hold."""


def gamma(n: int) -> float:
    """Relative error of `n` roundings one after another."""
    return n * UNIT_ROUNDOFF / (1 - n * UNIT_ROUNDOFF)


@dataclass
class Call:
    """One call of a kernel: its input, the parts that it stands for as they were before, and its float32 results."""

    module: nn.Module
    x: Tensor
    before: nn.Sequential
    slope: Tensor | float = 1.0
    top: float = math.inf
    found: dict[str, Tensor] = field(default_factory=dict)
    incoming: Tensor | None = None


class Recorder:
    """Puts itself between `ConvUnit` and the kernels, and keeps what goes in and comes out."""

    def __init__(self, net: nn.Module, patch: pytest.MonkeyPatch) -> None:
        self.calls: list[Call] = []
        self._units = [unit for unit in net.modules() if isinstance(unit, ConvUnit)]
        patch.setattr("facelet.nets.unit.depthwise", self._depthwise)
        patch.setattr("facelet.nets.unit.norm_activation", self._norm_activation)

    def _depthwise(self, kernels: Kernels, x: Tensor, conv: nn.Conv2d) -> Tensor:
        call = Call(conv, x.detach().clone(), copy.deepcopy(nn.Sequential(conv)))
        return self._run(call, x, lambda own: depthwise(kernels, own, conv))

    def _norm_activation(
        self, kernels: Kernels, x: Tensor, norm: nn.BatchNorm2d, slope: Tensor | float, top: float
    ) -> Tensor:
        parts = next(list(unit)[1:] for unit in self._units if unit[1] is norm)
        call = Call(norm, x.detach().clone(), copy.deepcopy(nn.Sequential(*parts)), slope, top)
        return self._run(call, x, lambda own: norm_activation(kernels, own, norm, slope, top))

    def _run(self, call: Call, x: Tensor, kernel: Callable[[Tensor], Tensor]) -> Tensor:
        own = x.view_as(x)  # a node of its own: other readers of x add nothing to its gradient
        y = kernel(own)
        call.found["y"] = y.detach().clone()
        if own.requires_grad:
            own.register_hook(lambda gradient: call.found.update(x=gradient.clone()))  # type: ignore[no-untyped-call]
        y.register_hook(lambda gradient: setattr(call, "incoming", gradient.clone()))  # type: ignore[no-untyped-call]
        self.calls.append(call)
        return y


def error_over_bound(call: Call) -> float:
    """The largest error of a call's outputs, gradients and running statistics, as a share of its bound; NaN is kept.

    Raises:
        AssertionError: the call has no gradient yet.
    """
    assert call.incoming is not None, "no gradient has come back"
    found = dict(call.found)
    found |= {name: parameter.grad for name, parameter in call.module.named_parameters() if parameter.grad is not None}
    if isinstance(call.module, nn.Conv2d):
        bounds = _depthwise_bounds(call.module, call.x.double(), call.incoming.double())
    else:
        bounds = _norm_bounds(call, call.x.double(), call.incoming.double())
        if isinstance(call.slope, nn.Parameter) and call.slope.grad is not None:
            found["slope"] = call.slope.grad
        found |= {name: buffer for name, buffer in call.module.named_buffers() if name.startswith("running")}
    exact = _by_torch_in_float64(call)
    ratios = [
        (value.double() - exact[name]).abs() / (SECOND_ORDER * bounds[name] + SMALLEST) for name, value in found.items()
    ]
    return float(torch.stack([ratio.max() for ratio in ratios]).max())


def _by_torch_in_float64(call: Call) -> dict[str, Tensor]:
    parts = copy.deepcopy(call.before).double().train()
    x = call.x.double().requires_grad_()
    y = parts(x)
    y.backward(call.incoming.double())  # type: ignore[union-attr]
    exact = {"y": y.detach(), "x": x.grad}
    exact |= {name: parameter.grad for name, parameter in parts[0].named_parameters()}
    exact |= dict(parts[0].named_buffers())
    for parameter in parts[1:].parameters():
        exact["slope"] = parameter.grad
    return {name: tensor for name, tensor in exact.items() if tensor is not None}


def _depthwise_bounds(conv: nn.Conv2d, x: Tensor, dy: Tensor) -> dict[str, Tensor]:
    """A sum of `kernel^2` products each way; for the weight, one of an image's outputs, then a sum in float64."""
    x, weight = x.abs().requires_grad_(), conv.weight.detach().double().abs().requires_grad_()
    y = functional.conv2d(x, weight, None, conv.stride, conv.padding, groups=conv.groups)
    of_x, of_weight = torch.autograd.grad(y, (x, weight), dy.abs())
    n_taps, n_outputs = weight[0, 0].numel(), dy[0, 0].numel()
    return {"y": gamma(n_taps) * y.detach(), "x": gamma(n_taps) * of_x, "weight": gamma(n_outputs + 1) * of_weight}


def _norm_bounds(call: Call, x: Tensor, dy: Tensor) -> dict[str, Tensor]:
    """Batch norm and `min(v, top)` or `slope * v`, forward and back.

    With `p` the first pixel, the kernel forms `mean = p + sum(x - p) / n` and `variance = sum((x - p)^2) / n - (sum(x
    - p) / n)^2`: the mean errs by `g * mean|x - p|` with `g = gamma(BLOCK + 4)`, the variance by `3 * g * mean((x -
    p)^2)`, so the deviation by half of that over the variance, relatively. Every later formula follows by the product
    rule; `few` counts the roundings of one pixel. Where `v` is within its own error of a kink, either branch is right.
    """
    norm = call.before[0]
    assert isinstance(norm, nn.BatchNorm2d)
    of_pixels, n = (0, 2, 3), x.numel() // x.shape[1]
    g, few = gamma(BLOCK + 4), gamma(4)

    def row(values: Tensor | float) -> Tensor:
        return torch.as_tensor(values).detach().double().reshape(1, -1, 1, 1)

    def total(values: Tensor) -> Tensor:
        return values.sum(of_pixels, keepdim=True)

    def mean_of(values: Tensor) -> Tensor:
        return values.mean(of_pixels, keepdim=True)

    weight, bias, slope = row(norm.weight), row(norm.bias), row(call.slope)
    from_pivot = x - x[:1, :, :1, :1]
    mean, variance = mean_of(x), x.var(of_pixels, correction=0, keepdim=True)
    deviation = (variance + norm.eps).sqrt()
    scale, z = weight / deviation, (x - mean) / deviation
    mean_error = g * mean_of(from_pivot.abs()) + UNIT_ROUNDOFF * mean.abs()
    variance_error = 3 * g * mean_of(from_pivot.square())
    stretch = variance_error / (variance + norm.eps) / 2  # relative, of the deviation

    v = z * weight + bias
    v_error = scale.abs() * mean_error + (z * weight).abs() * stretch
    v_error = v_error + few * ((x * scale).abs() + (mean * scale).abs() + bias.abs())
    y = torch.where(v > 0, v.clamp(max=call.top), v * slope)
    y_error = v_error * slope.abs().clamp(min=1) + UNIT_ROUNDOFF * y.abs()

    passes = torch.where(v > 0, (v < call.top).double(), slope)
    jump = torch.where(v.abs() <= v_error, (1 - slope).abs(), 0.0)
    jump = torch.where((v - call.top).abs() <= v_error, 1.0, jump)
    back = dy * passes
    back_error = (UNIT_ROUNDOFF * passes.abs() + jump) * dy.abs()
    of_bias, of_weight = total(back), total(back * z)
    of_bias_error = g * total(back.abs()) + total(back_error)
    z_error = mean_error / deviation + z.abs() * stretch + few * (z.abs() + (mean / deviation).abs())
    of_weight_error = g * total((back * z).abs()) + total(back_error * z.abs())
    of_weight_error = of_weight_error + of_bias.abs() * mean_error / deviation + of_weight.abs() * stretch
    of_weight_error = of_weight_error + g * UNIT_ROUNDOFF * (mean / deviation).abs() * total(back.abs())
    size = back.abs() + of_bias.abs() / n + (z * of_weight).abs() / n
    of_x_error = back_error + (of_bias_error + z.abs() * of_weight_error + z_error * of_weight.abs()) / n
    of_x_error = scale.abs() * (of_x_error + (stretch + gamma(6)) * size)
    below = torch.where(v <= v_error, dy.abs(), 0.0)
    running = {
        "running_mean": (mean, mean_error),
        "running_var": (variance * n / (n - 1), variance_error * n / (n - 1)),
    }
    bounds = {
        "y": y_error,
        "x": of_x_error,
        "weight": of_weight_error + UNIT_ROUNDOFF * of_weight.abs(),
        "bias": of_bias_error + UNIT_ROUNDOFF * of_bias.abs(),
        "slope": g * total(below * v.abs()) + total(below * v_error),
    }
    momentum = norm.momentum or 0.0
    for name, (value, error) in running.items():
        old = row(norm.get_buffer(name))
        bounds[name] = momentum * error + gamma(2) * (old.abs() + momentum * (value - old).abs())
    return {name: bound if name in ("y", "x") else bound.flatten() for name, bound in bounds.items()}

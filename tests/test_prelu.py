"""Oracle: torch's own PReLU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from facelet.nets.prelu import CHUNK, PReLU

SHAPES = [(3, 5), (2, 4, 7), (1, 3, 5, 5), (4, 8, 64, 65), (CHUNK // 64 + 3, 2, 6, 6)]


def answers(net: nn.Module, x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    net.zero_grad()
    y = net(x)
    y.backward(gradient)
    slope = next(net.parameters()).grad
    assert x.grad is not None
    assert slope is not None
    return y.detach(), x.grad, slope


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("layout", ["contiguous", "channels last", "gradient the other way"])
def test_values_and_gradients_are_those_of_torch(shape: tuple[int, ...], layout: str) -> None:
    torch.manual_seed(len(shape))
    x, gradient = torch.randn(shape), torch.randn(shape)
    x[0, 0] = 0  # the kink
    if len(shape) == 4 and layout != "contiguous":
        x = x.to(memory_format=torch.channels_last)
        if layout == "channels last":
            gradient = gradient.to(memory_format=torch.channels_last)
    mine, theirs = PReLU(shape[1]), nn.PReLU(shape[1])
    with torch.no_grad():
        mine.weight.copy_(torch.randn(shape[1]))
        theirs.weight.copy_(mine.weight)
    found, wanted = answers(mine, x, gradient), answers(theirs, x, gradient)
    assert torch.equal(found[0], wanted[0])
    assert torch.equal(found[1], wanted[1])
    torch.testing.assert_close(found[2], wanted[2], rtol=1e-4, atol=1e-3)


def test_without_gradients_it_is_torch_s() -> None:
    with torch.no_grad():
        assert PReLU(3)(torch.randn(2, 3)).grad_fn is None

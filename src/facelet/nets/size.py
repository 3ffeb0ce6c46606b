"""How large a net is: parameters as Keras counts them, and multiply-accumulates of one inference."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def count_learnable(net: nn.Module) -> int:
    """Learnable parameters."""
    return sum(p.numel() for p in net.parameters())


def count_parameters(net: nn.Module) -> int:
    """Learnable parameters and the running statistics of batch norm, as Keras counts them."""
    statistics = sum(b.numel() for name, b in net.named_buffers() if name.endswith(("running_mean", "running_var")))
    return count_learnable(net) + statistics


def count_macs(net: nn.Module, size: int) -> int:
    """Multiply-accumulates of the convolutions and dense layers for one `size` x `size` image."""
    total = 0

    def count(module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            total += output[0].numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            total += module.weight.numel()

    handles = [m.register_forward_hook(count) for m in net.modules()]
    was_training = net.training
    with torch.no_grad():
        net.eval()(torch.zeros(1, 3, size, size))
    net.train(was_training)
    for handle in handles:
        handle.remove()
    return total

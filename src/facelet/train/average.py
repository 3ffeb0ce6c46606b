"""Averaged weights: the exponential moving average of a net in training.

Source: Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992.
"""

from __future__ import annotations

import copy

import torch
from torch import nn


class Average:
    """Exponential moving average of a net's parameters; buffers, such as batch-norm statistics, are copied.

    The decay starts low, so that the average forgets the first steps.

    Args:
        module: the net; the average starts from its weights.
        decay: per step, in (0, 1).
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.module = copy.deepcopy(module)

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Takes one step towards the net's present weights."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(list(self.module.parameters()), list(module.parameters()), 1 - decay)
        for mine, theirs in zip(self.module.buffers(), module.buffers(), strict=True):
            mine.copy_(theirs)

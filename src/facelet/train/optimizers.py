"""Optimizers by name: AdamW for everything, or Muon for the matrices and AdamW for the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from facelet.errors import UnknownNameError

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonalize(matrix: Tensor, steps: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrix of `(rows, columns)`, roughly: singular values near 1.

    Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024.
    """
    a, b, c = NEWTON_SCHULZ
    x: Tensor = matrix / (matrix.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


class MuonAdamW(torch.optim.Optimizer):
    """Muon on dense convolution and linear kernels, AdamW on everything else.

    Depthwise kernels, biases, batch-norm and PReLU parameters have no matrix structure; they take AdamW at the same
    learning rate.

    Args:
        lr: Muon's step: the root-mean-square change of each matrix entry is `0.2 * lr` per step.
        momentum: of Muon's Nesterov average.
        weight_decay: decoupled, for matrices only.
    """

    ADAM_BETAS = (0.9, 0.99)
    ADAM_EPS = 1e-8
    RMS = 0.2  # makes a step of Muon as large as one of AdamW; Liu et al., "Muon is scalable", 2025

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        others: Iterable[nn.Parameter],
        lr: float,
        weight_decay: float,
        momentum: float = 0.95,
    ) -> None:
        groups = [
            {"params": list(matrices), "muon": True, "weight_decay": weight_decay},
            {"params": list(others), "muon": False, "weight_decay": 0.0},
        ]
        super().__init__([g for g in groups if g["params"]], {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Takes one step from the gradients at hand."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if group["muon"]:
                    self._muon(parameter, group)
                else:
                    self._adam(parameter, group)

    def _muon(self, parameter: nn.Parameter, group: dict[str, Any]) -> None:
        gradient = parameter.grad
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"]
        momentum.lerp_(gradient, 1 - group["momentum"])
        update = torch.lerp(gradient, momentum, group["momentum"])  # type: ignore[arg-type]
        flat = orthogonalize(update.reshape(len(update), -1))
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(flat.view_as(update), alpha=-group["lr"] * self.RMS * max(flat.shape) ** 0.5)

    def _adam(self, parameter: nn.Parameter, group: dict[str, Any]) -> None:
        gradient = parameter.grad
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state["mean"] = torch.zeros_like(parameter)
            state["square"] = torch.zeros_like(parameter)
        state["step"] += 1
        low, high = self.ADAM_BETAS
        state["mean"].lerp_(gradient, 1 - low)
        state["square"].mul_(high).addcmul_(gradient, gradient, value=1 - high)
        correction = (1 - high ** state["step"]) ** 0.5 / (1 - low ** state["step"])
        denominator = state["square"].sqrt().add_(self.ADAM_EPS)
        parameter.addcdiv_(state["mean"], denominator, value=-group["lr"] * correction)


def is_matrix(parameter: nn.Parameter) -> bool:
    """Whether a parameter is a dense kernel: at least 8 outputs and 8 inputs."""
    return parameter.ndim in (2, 4) and parameter.shape[0] >= 8 and parameter[0].numel() > 9


def _adamw(module: nn.Module, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    decayed = [p for p in module.parameters() if p.ndim > 1]
    kept = [p for p in module.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=lr)


def _muon(module: nn.Module, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """Muon for kernels; tables (`nn.Embedding`), whose rows stand each for itself, take AdamW, as Jordan et al. say."""
    parameters = list(module.parameters())
    tables = {id(p) for m in module.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    kernels = [p for p in parameters if is_matrix(p) and id(p) not in tables]
    chosen = {id(p) for p in kernels}
    return MuonAdamW(kernels, [p for p in parameters if id(p) not in chosen], lr, weight_decay)


OPTIMIZERS: dict[str, Callable[[nn.Module, float, float], torch.optim.Optimizer]] = {"adamw": _adamw, "muon": _muon}


def make_optimizer(name: str, module: nn.Module, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """Makes the optimizer that `OPTIMIZERS` names.

    Raises:
        UnknownNameError: no such optimizer.
    """
    if name not in OPTIMIZERS:
        raise UnknownNameError("optimizer", name, OPTIMIZERS)
    return OPTIMIZERS[name](module, lr, weight_decay)

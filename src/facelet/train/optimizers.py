"""Optimizers by name: AdamW for everything, or Muon for the matrices and AdamW for the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from facelet.errors import UnknownNameError

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonalize(matrix: Tensor, steps: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrix of each in `(..., rows, columns)`, roughly: singular values near 1.

    Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024.
    """
    a, b, c = NEWTON_SCHULZ
    x: Tensor = matrix / (torch.linalg.vector_norm(matrix, dim=(-2, -1), keepdim=True) + 1e-7)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class MuonAdamW(torch.optim.Optimizer):
    """Muon on what `is_matrix` takes as one, AdamW on everything else.

    Depthwise kernels of up to 3x3, biases, batch-norm and PReLU parameters have no matrix structure; they take AdamW at
    the same learning rate. The kernel of a global depthwise head, which is larger, is taken as a matrix all the same.

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
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if group["muon"]:
                alike: dict[tuple[int, ...], list[Tensor]] = {}
                for parameter in parameters:
                    alike.setdefault((len(parameter), parameter[0].numel()), []).append(parameter)
                for same in alike.values():
                    self._muon(same, group)
            elif parameters:
                self._adam(parameters, group)

    def _muon(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """A step of kernels that are matrices of one size: orthogonalized together, which takes a GPU fewer calls."""
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter]["momentum"] = torch.zeros_like(parameter)
        gradients = _gradients(parameters)
        momenta = [self.state[parameter]["momentum"] for parameter in parameters]
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        updates = torch._foreach_lerp(gradients, momenta, group["momentum"])
        flat = orthogonalize(torch.stack([update.reshape(len(update), -1) for update in updates]))
        steps = [one.view_as(update) for one, update in zip(flat, updates, strict=True)]
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(parameters, steps, alpha=-group["lr"] * self.RMS * max(flat.shape[1:]) ** 0.5)

    def _adam(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state.update(step=0, mean=torch.zeros_like(parameter), square=torch.zeros_like(parameter))
            state["step"] += 1
        states = [self.state[parameter] for parameter in parameters]
        gradients = _gradients(parameters)
        means, squares = [state["mean"] for state in states], [state["square"] for state in states]
        low, high = self.ADAM_BETAS
        torch._foreach_lerp_(means, gradients, 1 - low)
        torch._foreach_mul_(squares, high)
        torch._foreach_addcmul_(squares, gradients, gradients, value=1 - high)
        denominators = torch._foreach_sqrt(squares)
        torch._foreach_add_(denominators, self.ADAM_EPS)
        corrections = [(1 - high ** s["step"]) ** 0.5 / (1 - low ** s["step"]) for s in states]
        torch._foreach_addcdiv_(parameters, means, denominators, [-group["lr"] * c for c in corrections])


def _gradients(parameters: list[Tensor]) -> list[Tensor]:
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def is_matrix(parameter: nn.Parameter) -> bool:
    """Whether a parameter is taken as a matrix: at least 8 outputs, each of more than 9 weights.

    So are dense kernels, and the facelet nets' global depthwise head of 6x6; depthwise kernels of up to 3x3 are not.
    """
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

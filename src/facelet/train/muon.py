"""Muon for the matrices of a net and AdamW for the rest, one kernel after another or as one CUDA graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
Rates = Sequence[float] | Sequence[Tensor]


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
        self.move(self.rates())

    def rates(self) -> list[Rates]:
        """What each group is moved by in the step that is due, which is counted here; see `move`."""
        return [self._muon_rates(group) if group["muon"] else self._adam_rates(group) for group in self.param_groups]

    @torch.no_grad()
    def move(self, rates: Sequence[Rates]) -> None:
        """Takes a step from the gradients at hand.

        Args:
            rates: of each group: of Muon what its matrices keep and how far they go, of AdamW how far each parameter
                goes; tensors, of one number, may stand for the numbers, of AdamW one for all.
        """
        for group, own in zip(self.param_groups, rates, strict=True):
            parameters = _with_gradient(group["params"])
            if group["muon"]:
                alike: dict[tuple[int, ...], list[Tensor]] = {}
                for parameter in parameters:
                    alike.setdefault((len(parameter), parameter[0].numel()), []).append(parameter)
                for same in alike.values():
                    self._muon(same, group["momentum"], *own)
            elif parameters:
                self._adam(parameters, own)

    def _muon_rates(self, group: dict[str, Any]) -> Rates:
        for parameter in _with_gradient(group["params"]):
            if not self.state[parameter]:
                self.state[parameter]["momentum"] = torch.zeros_like(parameter)
        return [1 - group["lr"] * group["weight_decay"], -group["lr"] * self.RMS]

    def _muon(self, parameters: list[Tensor], momentum: float, kept: float | Tensor, rate: float | Tensor) -> None:
        """A step of kernels that are matrices of one size: orthogonalized together, which takes a GPU fewer calls."""
        gradients = _gradients(parameters)
        momenta = [self.state[parameter]["momentum"] for parameter in parameters]
        torch._foreach_lerp_(momenta, gradients, 1 - momentum)
        updates = torch._foreach_lerp(gradients, momenta, momentum)
        flat = orthogonalize(torch.stack([update.reshape(len(update), -1) for update in updates]))
        flat *= rate * max(flat.shape[1:]) ** 0.5
        torch._foreach_mul_(parameters, kept)
        torch._foreach_add_(parameters, [one.view_as(update) for one, update in zip(flat, updates, strict=True)])

    def _adam_rates(self, group: dict[str, Any]) -> Rates:
        parameters = _with_gradient(group["params"])
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state.update(step=0, mean=torch.zeros_like(parameter), square=torch.zeros_like(parameter))
            state["step"] += 1
        low, high = self.ADAM_BETAS
        steps = [self.state[parameter]["step"] for parameter in parameters]
        return [-group["lr"] * (1 - high**step) ** 0.5 / (1 - low**step) for step in steps]

    def _adam(self, parameters: list[Tensor], rates: Rates) -> None:
        states = [self.state[parameter] for parameter in parameters]
        gradients = _gradients(parameters)
        means, squares = [state["mean"] for state in states], [state["square"] for state in states]
        low, high = self.ADAM_BETAS
        torch._foreach_lerp_(means, gradients, 1 - low)
        torch._foreach_mul_(squares, high)
        torch._foreach_addcmul_(squares, gradients, gradients, value=1 - high)
        denominators = torch._foreach_sqrt(squares)
        torch._foreach_add_(denominators, self.ADAM_EPS)
        updates = torch._foreach_div(means, denominators)
        torch._foreach_mul_(updates, rates[0] if isinstance(rates[0], Tensor) else rates)  # type: ignore[arg-type]
        torch._foreach_add_(parameters, updates)


def _with_gradient(parameters: Iterable[Tensor]) -> list[Tensor]:
    return [parameter for parameter in parameters if parameter.grad is not None]


def _gradients(parameters: list[Tensor]) -> list[Tensor]:
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


class GraphedMuonAdamW(MuonAdamW):
    """The same on a GPU, its steps but the first ones replays of a CUDA graph.

    Launching the hundreds of small kernels of a step takes a CPU longer than running takes a GPU. What changes from
    one to the next, gradients and rates, is copied to where the graph reads it. Every parameter has a gradient.
    """

    EAGER_STEPS = 3

    def __init__(
        self, matrices: Iterable[nn.Parameter], others: Iterable[nn.Parameter], lr: float, weight_decay: float
    ):
        super().__init__(matrices, others, lr, weight_decay)
        self._done = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._read: list[Tensor] = []
        self._rates: list[list[Tensor]] = []

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Takes one step from the gradients at hand."""
        self._done += 1
        if self._done <= self.EAGER_STEPS:
            super().step()
            return
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        gradients = _gradients(parameters)
        rates = [own if group["muon"] else own[:1] for group, own in zip(self.param_groups, self.rates(), strict=True)]
        if self._graph is None:
            self._graph = self._captured(parameters, gradients, [len(own) for own in rates])
        torch._foreach_copy_(self._read, gradients)
        for places, numbers in zip(self._rates, rates, strict=True):
            for place, number in zip(places, numbers, strict=True):
                place.fill_(number)  # type: ignore[call-overload]
        self._graph.replay()

    def _captured(self, parameters: list[Tensor], gradients: list[Tensor], counts: list[int]) -> torch.cuda.CUDAGraph:
        self._read = [gradient.clone() for gradient in gradients]
        self._rates = [[gradients[0].new_zeros((), dtype=torch.float32) for _ in range(n)] for n in counts]
        for parameter, gradient in zip(parameters, self._read, strict=True):
            parameter.grad = gradient
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.move(self._rates)
        return graph

"""Optimizers by name: AdamW for everything, or Muon for the matrices and AdamW for the rest."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from facelet.errors import UnknownNameError
from facelet.train.muon import GraphedMuonAdamW, MuonAdamW


def is_matrix(parameter: nn.Parameter) -> bool:
    """Whether a parameter is taken as a matrix: at least 8 outputs, each of more than 9 weights.

    So are dense kernels, and the facelet nets' global depthwise head of 6x6; depthwise kernels of up to 3x3 are not.
    """
    return parameter.ndim in (2, 4) and parameter.shape[0] >= 8 and parameter[0].numel() > 9


def _adamw(module: nn.Module, lr: float, weight_decay: float, graphed: bool) -> torch.optim.Optimizer:
    decayed = [p for p in module.parameters() if p.ndim > 1]
    kept = [p for p in module.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=lr)


def _muon(module: nn.Module, lr: float, weight_decay: float, graphed: bool) -> torch.optim.Optimizer:
    """Muon for kernels; tables (`nn.Embedding`), whose rows stand each for itself, take AdamW, as Jordan et al. say."""
    parameters = list(module.parameters())
    tables = {id(p) for m in module.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    kernels = [p for p in parameters if is_matrix(p) and id(p) not in tables]
    chosen = {id(p) for p in kernels}
    kind = GraphedMuonAdamW if graphed else MuonAdamW
    return kind(kernels, [p for p in parameters if id(p) not in chosen], lr, weight_decay)


OPTIMIZERS: dict[str, Callable[[nn.Module, float, float, bool], torch.optim.Optimizer]] = {
    "adamw": _adamw,
    "muon": _muon,
}


def make_optimizer(
    name: str, module: nn.Module, lr: float, weight_decay: float, *, graphed: bool = False
) -> torch.optim.Optimizer:
    """Makes the optimizer that `OPTIMIZERS` names.

    Args:
        graphed: takes Muon's steps as CUDA graphs; torch's AdamW is but a few kernels as it is.

    Raises:
        UnknownNameError: no such optimizer.
    """
    if name not in OPTIMIZERS:
        raise UnknownNameError("optimizer", name, OPTIMIZERS)
    return OPTIMIZERS[name](module, lr, weight_decay, graphed)

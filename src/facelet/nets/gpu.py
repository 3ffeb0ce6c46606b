"""Whether the passes of `gpu_norm` can be had on this machine's GPU."""

from __future__ import annotations

import functools
import importlib
import os
import warnings
from types import ModuleType

import torch
from torch import Tensor, nn

NEAR = 1e-3
"""How far values and gradients of the passes may be from torch's, in units of the largest."""


@functools.cache
def gpu_passes() -> ModuleType | None:
    """`gpu_norm`, where Triton is there, which comes with torch for GPUs, and builds what says the same as torch.

    None elsewhere; training then goes on with torch's own kernels. `FACELET_KERNELS=0` asks for that.
    """
    if os.environ.get("FACELET_KERNELS") == "0":
        return None
    try:
        passes = importlib.import_module("facelet.nets.gpu_norm")
    except ImportError:
        return None
    try:
        apart = distance(passes, "cuda")
    except Exception as error:  # of any kind: a compiler's
        first, *_ = str(error).strip().splitlines() or ["no reason given"]
        why = f"{type(error).__name__}: {first}"
    else:
        if apart < NEAR:
            return passes
        why = f"they are {apart:.2g} from what torch says"
    warnings.warn(f"kernels for the GPU: {why}; training goes on with torch's own kernels", stacklevel=2)
    return None


def distance(passes: ModuleType, device: str) -> float:
    """How far values and gradients of a batch norm with PReLU are from torch's, in units of the largest of each."""
    generator = torch.Generator().manual_seed(0)
    x = 2 * torch.randn(8, 24, 16, 16, generator=generator) + 3
    incoming = torch.randn(x.shape, generator=generator).to(device)
    said: list[list[Tensor]] = []
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device, enabled=False):
        for ours in (True, False):
            norm, bend = nn.BatchNorm2d(24).to(device), nn.PReLU(24).to(device)
            taken = x.to(device, memory_format=torch.channels_last).requires_grad_()
            y: Tensor = passes.norm_activation(taken, norm, bend.weight, float("inf")) if ours else bend(norm(taken))
            of = torch.autograd.grad(y, (taken, norm.weight, norm.bias, bend.weight), incoming)
            said.append([y.detach(), *of, *(norm.running_mean, norm.running_var)])  # type: ignore[list-item]
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(*said, strict=True))

"""The passes for GPUs against torch, in Triton's interpreter; on a GPU they check themselves (`nets.gpu`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from facelet.nets import gpu
from facelet.nets.layers import conv_bn

pytest.importorskip("triton", reason="Triton comes with torch for GPUs")

INTERPRETED = """
import json, math, sys
import torch
from torch import nn
from torch.nn import functional
from facelet.nets import gpu, gpu_norm

def far(ours, right):
    return float((ours.float() - right).abs().max() / right.abs().max())

told = {"check": gpu.distance(gpu_norm, "cpu")}
torch.manual_seed(0)
for kind in (torch.float32, torch.bfloat16):
    for n, c, side in ((4, 24, 8), (3, 72, 8), (2, 512, 2), (16, 128, 1)):
        for act in ("prelu", "relu6", "none"):
            x = (torch.randn(n, c, side, side) * 2 + 3).to(kind).contiguous(memory_format=torch.channels_last)
            right, ours = ((t.clone().requires_grad_(), nn.BatchNorm2d(c)) for t in (x.float(), x))
            for _, norm in (right, ours):
                nn.init.uniform_(norm.weight, 0.5, 3.0, generator=torch.Generator().manual_seed(1))
                nn.init.uniform_(norm.bias, -1.0, 3.0, generator=torch.Generator().manual_seed(2))
            slopes = [nn.Parameter(torch.linspace(-0.1, 0.4, c)) for _ in range(2)]
            z = right[1](right[0])
            bent = {"prelu": lambda z: functional.prelu(z, slopes[0]), "relu6": lambda z: z.clamp(0, 6)}
            y = bent[act](z) if act in bent else z
            slope, top = {"prelu": (slopes[1], math.inf), "relu6": (0.0, 6.0), "none": (1.0, math.inf)}[act]
            mine = gpu_norm.norm_activation(ours[0], ours[1], slope, top)
            incoming = torch.randn(y.shape).to(kind)
            y.backward(incoming.float()); mine.backward(incoming)
            pairs = [(mine.detach(), y.detach()), (ours[0].grad, right[0].grad)]
            pairs += [(getattr(ours[1], k), getattr(right[1], k)) for k in ("running_mean", "running_var")]
            pairs += [(getattr(ours[1], k).grad, getattr(right[1], k).grad) for k in ("weight", "bias")]
            pairs += [(slopes[1].grad, slopes[0].grad)] if act == "prelu" else []
            told[f"{kind} {n} {c} {side} {act}"] = max(far(a, b) for a, b in pairs)
    x, other = torch.randn(2, 48, 4, 4).to(kind), torch.randn(2, 48, 4, 4).to(kind)
    bias, slope = torch.randn(48).to(kind), torch.rand(48).to(kind)
    right = functional.prelu(x.float() + bias.float()[:, None, None] + other.float(), slope.float())
    told[f"{kind} bend"] = far(gpu_norm.bend(x.clone(), bias, slope, residual=other), right)
json.dump(told, sys.stdout)
"""


def test_passes_say_what_torch_says() -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", INTERPRETED], env=environment, capture_output=True, text=True, check=True
    )
    told = json.loads(ran.stdout)
    assert len(told) == 27
    for what, far in told.items():
        assert far < (0.03 if "bfloat16" in what else 1e-4), what


def test_passes_that_err_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "distance", lambda passes, device: 0.5)
    gpu.gpu_passes.cache_clear()
    try:
        with pytest.warns(UserWarning, match="0.5 from what torch says; training goes on with torch's own"):
            assert gpu.gpu_passes() is None
        gpu.gpu_passes.cache_clear()
        monkeypatch.setattr(gpu, "distance", _fails)
        with pytest.warns(UserWarning, match="RuntimeError: no such device"):
            assert gpu.gpu_passes() is None
    finally:
        gpu.gpu_passes.cache_clear()


def _fails(passes: object, device: str) -> float:
    raise RuntimeError("no such device\nsecond line")


def test_cannot_norm_what_cannot_be_cut() -> None:
    from facelet.nets import gpu_norm

    norm = nn.BatchNorm2d(24)
    assert gpu_norm.can_norm(torch.zeros(2, 24, 4, 4), norm)
    assert not gpu_norm.can_norm(torch.zeros(1, 24, 3, 3), norm)  # an odd number of pixels, two of which make a row
    assert not gpu_norm.can_norm(torch.zeros(2, 24, 4, 4, dtype=torch.float64), norm)
    assert not gpu_norm.can_norm(torch.zeros(2, 24, 4, 4), nn.BatchNorm2d(24, affine=False))
    assert isinstance(conv_bn(3, 24, 3)(torch.zeros(2, 3, 8, 8)), torch.Tensor)

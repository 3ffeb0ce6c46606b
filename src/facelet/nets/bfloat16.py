"""Whether training in bfloat16 pays on this machine's processor."""

from __future__ import annotations

import torch

FLAGS = ("avx512_bf16", "amx_bf16", "bf16")
"""Of `torch.cpu.get_capabilities`; the last is that of ARM."""


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself; one that does not is several times faster in float32."""
    found = torch.cpu.get_capabilities()
    return any(found.get(flag, False) for flag in FLAGS)

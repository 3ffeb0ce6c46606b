"""Images a second of training steps on one core: torch's own kernels and ours, float32 and bfloat16, in turns.

python docs/benchmarks/training_step.py [NET...]    # prints the table of docs/distillation.md
"""

from __future__ import annotations

import copy
import statistics
import sys
import time

import torch
from torch import Tensor, nn

from facelet.nets import build_net
from facelet.nets import unit as unit_module
from facelet.nets.kernels import kernels
from facelet.train.memory import keep_freed_memory

BATCH, ROUNDS, WARM = 64, 9, 2
WAYS = [(ours, precision) for precision in ("float32", "bfloat16") for ours in (False, True)]


def seconds(net: nn.Module, x: Tensor, *, ours: bool, precision: str) -> float:
    """One step without an optimizer: forward, the loss, backward."""
    built = kernels()
    unit_module.kernels = (lambda: built) if ours else (lambda: None)  # type: ignore[assignment]
    start = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        y = net(x)
    (y.float() * torch.randn(y.shape)).sum().backward()
    return time.perf_counter() - start


def main() -> None:
    """Prints one row for each net."""
    torch.set_num_threads(1)
    keep_freed_memory()
    print("| net | torch, float32 | ours | torch, bfloat16 | ours | ours in bfloat16 by torch's best |")  # noqa: T201
    print("|---|---|---|---|---|---|")  # noqa: T201
    x = torch.randn(BATCH, 3, 96, 96).contiguous(memory_format=torch.channels_last)
    for name in sys.argv[1:] or ["facelet_s", "facelet_xs", "mobilenet_v2_050", "mobilenet_v2_035", "nn4_small2"]:
        net = build_net(name).train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        nets = [copy.deepcopy(net) for _ in WAYS]
        took: list[list[float]] = [[] for _ in WAYS]
        for _ in range(WARM + ROUNDS):
            for each, times, (ours, precision) in zip(nets, took, WAYS, strict=True):
                times.append(seconds(each, x, ours=ours, precision=precision))
        rate = [BATCH / statistics.median(times[WARM:]) for times in took]
        cells = " | ".join(f"{value:.0f}" for value in rate)
        print(f"| {name} | {cells} | {rate[3] / max(rate[0], rate[2]):.2f} |", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()

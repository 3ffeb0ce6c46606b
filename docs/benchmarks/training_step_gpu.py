"""Milliseconds of a training step on a GPU: forward and backward pass, the optimizer kernel by kernel and as a graph.

python docs/benchmarks/training_step_gpu.py [NET...]    # a line each
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from facelet.nets import build_net
from facelet.train.online import graphed_net
from facelet.train.optimizers import make_optimizer
from facelet.train.prepare import open_device

BATCH, ROUNDS, WARM = 256, 30, 5


def milliseconds(act: Callable[[], object]) -> float:
    """Median over rounds, each waited for."""
    took = []
    for _ in range(WARM + ROUNDS):
        torch.cuda.synchronize()
        start = time.perf_counter()
        act()
        torch.cuda.synchronize()
        took.append(1000 * (time.perf_counter() - start))
    return statistics.median(took[WARM:])


def passes(net: nn.Module, x: Tensor) -> Callable[[], object]:
    """Forward pass, loss and backward pass, replayed from graphs."""

    def act() -> None:
        net.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.bfloat16):
            y = run(x)
        y.float().square().sum().backward()  # type: ignore[no-untyped-call]

    with torch.autocast("cuda", torch.bfloat16):
        run = graphed_net(net, x)
    return act


def main() -> None:
    """Prints one row for each net."""
    open_device("cuda")
    print("| net | passes | optimizer | its graph |\n|---|---|---|---|")  # noqa: T201
    x = torch.randn(BATCH, 3, 96, 96, device="cuda").contiguous(memory_format=torch.channels_last)
    for name in sys.argv[1:] or ["facelet_s", "facelet_xs", "mobilenet_v2_035"]:
        net = build_net(name).train().to("cuda", memory_format=torch.channels_last)  # type: ignore[call-overload]
        figures = [milliseconds(passes(net, x))]
        for graphed in (False, True):
            figures.append(milliseconds(make_optimizer("muon", net, 1e-4, 0, graphed=graphed).step))
        print(f"| {name} | {' | '.join(f'{figure:.1f}' for figure in figures)} |", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()

"""Milliseconds of a training step on a GPU: torch's kernels and ours, the optimizer kernel by kernel and as a graph.

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
from facelet.nets import unit as unit_module
from facelet.nets.gpu import gpu_passes
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


def passes(net: nn.Module, x: Tensor, *, ours: bool) -> Callable[[], object]:
    """Forward pass, loss and backward pass, replayed from graphs."""
    built = gpu_passes()
    unit_module.gpu_passes = (lambda: built) if ours else (lambda: None)  # type: ignore[assignment]

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
    print("| net | passes, torch | passes, ours | optimizer | its graph |\n|---|---|---|---|---|")  # noqa: T201
    x = torch.randn(BATCH, 3, 96, 96, device="cuda").contiguous(memory_format=torch.channels_last)
    for name in sys.argv[1:] or ["facelet_s", "facelet_xs", "mobilenet_v2_035"]:
        figures = []
        for ours in (False, True):
            net = build_net(name).train().to("cuda", memory_format=torch.channels_last)  # type: ignore[call-overload]
            act = passes(net, x, ours=ours)
            figures.append((milliseconds(act), milliseconds(make_optimizer("muon", net, 1e-4, 0, graphed=ours).step)))
        (theirs, alone), (mine, graphed) = figures
        print(f"| {name} | {theirs:.1f} | {mine:.1f} | {alone:.1f} | {graphed:.1f} |", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()

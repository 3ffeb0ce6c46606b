"""Images a second of whole training steps on all cores: one process with many threads, and many with one, in turns.

python docs/benchmarks/training_workers.py [NET...]    # prints the second table of docs/distillation.md
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

from facelet.nets import build_net
from facelet.train.distill import normalize_pixels
from facelet.train.loop import HISTORY, LoopConfig, train
from facelet.train.losses import squared_error

CORES = len(os.sched_getaffinity(0))
BATCH, STEPS, ROUNDS = 128, 12, 3
WAYS = [(workers, precision) for precision in ("fp32", "bf16") for workers in (1, CORES)]


class Noise:
    """Pixels that mean nothing and targets alike; a `Task` of the loop."""

    def __init__(self, student: nn.Module, batch_size: int) -> None:
        self.student, self.batch_size = student, batch_size
        self.modules = nn.ModuleDict({"student": student})

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Pixels and targets of a step."""
        made = torch.Generator().manual_seed(step)
        pixels = torch.randint(0, 256, (self.batch_size, 96, 96, 3), generator=made, dtype=torch.uint8)
        return pixels, nn.functional.normalize(torch.randn(self.batch_size, 128, generator=made))

    def loss(self, batch: tuple[Tensor, Tensor], progress: float) -> tuple[Tensor, dict[str, float | Tensor]]:
        """Squared distance to the targets."""
        pixels, target = batch
        return squared_error(self.student(normalize_pixels(pixels)).float(), target), {}


def rate(name: str, workers: int, precision: str) -> float:
    """Images a second, the median of a run's steps without the first two."""
    threads = 1 if workers > 1 else CORES
    config = LoopConfig(
        steps=STEPS, learning_rate=1e-3, precision=precision, threads=threads, workers=workers, log_every=1
    )
    with tempfile.TemporaryDirectory() as folder:
        train(Noise(build_net(name), BATCH // workers), config, Path(folder), identity="")
        rows = [json.loads(line) for line in (Path(folder) / HISTORY).read_text().splitlines()]
    return statistics.median(row["images_per_s"] for row in rows[2:])


def main() -> None:
    """Prints one row for each net."""
    heads = [f"{'processes' if workers > 1 else 'threads'}, {precision}" for workers, precision in WAYS]
    print(f"| net | {' | '.join(f'{CORES} {head}' for head in heads)} | processes by threads |")  # noqa: T201
    print(f"|---{'|---' * (len(heads) + 1)}|")  # noqa: T201
    for name in sys.argv[1:] or ["facelet_s", "facelet_xs", "mobilenet_v2_050", "mobilenet_v2_035", "nn4_small2"]:
        rounds = [[rate(name, *way) for way in WAYS] for _ in range(ROUNDS)]
        rates = [statistics.median(column) for column in zip(*rounds, strict=True)]
        cells = " | ".join(f"{value:.0f}" for value in rates)
        print(f"| {name} | {cells} | {max(rates[1::2]) / max(rates[::2]):.2f} |", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()

"""A changed net learns, for a few minutes, to say what it said before: pruned (`recover`) or of int8 (`int8_net`).

The net that it was runs beside it on the very same views, fed as its card says; no labels, no cache. Loss: the squared
distance of unit embeddings, as in `distill`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from facelet.data.transfer import TransferSet
from facelet.data.views import RECIPES, view_inputs
from facelet.errors import InputError
from facelet.faces.canvas import canvas_matrix
from facelet.graph.ir import Graph
from facelet.model import Card
from facelet.train.distill import epoch_rows
from facelet.train.graph_net import GraphNet
from facelet.train.loop import LoopConfig, Tick, train
from facelet.train.torch_teacher import net_planes

BATCH_SIZE = 64
TIMED_STEPS = 3
SHARE = 0.9
"""Of the minutes that are planned for steps; the rest is for their unevenness."""


class RecoverTask:
    """Batches and loss; a `Task` of the loop.

    Args:
        card: of both nets: the size, colours, mean and scale of what they eat, and its alignment.
        rows: crops to train on, `(m,)`; all without.
    """

    batch_size = BATCH_SIZE

    def __init__(
        self,
        student: nn.Module,
        original: GraphNet,
        card: Card,
        transfer: TransferSet,
        seed: int,
        rows: NDArray[np.int64] | None = None,
    ) -> None:
        self.student = student
        self.rows = np.arange(transfer.n_images) if rows is None else rows
        self.original, self.card, self.transfer, self.seed = original.eval(), card, transfer, seed
        self.matrix = canvas_matrix(card.template, card.height, card.width)
        self.modules = nn.ModuleDict({"student": student})

    def batch(self, step: int) -> Tensor:
        """Pixels of a step, `(n, h, w, 3)` uint8 RGB."""
        epoch, places = epoch_rows(step, self.batch_size, len(self.rows), self.seed)
        index, crops, recipe = np.sort(self.rows[places]), self.transfer.crops, RECIPES["standard"]
        view = np.full(len(index), epoch + 1)
        height, width = self.card.height, self.card.width
        return torch.from_numpy(view_inputs(crops, index, view, recipe, self.seed, self.matrix, height, width))

    def loss(self, batch: Tensor, progress: float) -> tuple[Tensor, dict[str, float]]:
        """Squared distance between what the student and the original net say."""
        x = net_input(batch, self.card)
        with torch.no_grad():
            target = _unit(self.original(x))
        loss = (_unit(self.student(x)) - target).square().sum(1).mean()
        return loss, {"loss": loss.item()}


def net_input(pixels: Tensor, card: Card) -> Tensor:
    """`(n, h, w, 3)` uint8 RGB as the `(n, 3, h, w)` float32 that a net of this card eats."""
    return net_planes(pixels.permute(0, 3, 1, 2).float(), card)


def _unit(embeddings: Tensor) -> Tensor:
    return functional.normalize(embeddings.flatten(1))


def recover(
    original: Graph,
    pruned: Graph,
    card: Card,
    transfer: TransferSet,
    folder: Path,
    *,
    minutes: float = 0.0,
    steps: int = 0,
    threads: int,
    seed: int = 0,
    learning_rate: float = 1e-4,
    on_tick: Callable[[Tick], None] | None = None,
) -> Graph:
    """Trains the pruned graph's weights towards the original's answers and returns it.

    Args:
        card: of both.
        folder: for the log and the checkpoint.
        minutes: of training; the number of steps follows from how long the first ones take.
        steps: of training, in place of `minutes`.

    Raises:
        InputError: no time, fewer crops than a batch, or nets that do not fit their card.
        GraphError: a net that cannot be trained.
    """
    found, wanted = pruned.shapes[pruned.inputs[0]][1:], (3, card.height, card.width)
    if found != wanted:
        raise InputError(f"--recover: {card.name} eats {found}, its card says {wanted}; mend the card")
    net = GraphNet(pruned)
    teach(
        net,
        original,
        card,
        transfer,
        folder,
        minutes=minutes,
        steps=steps,
        threads=threads,
        seed=seed,
        learning_rate=learning_rate,
        on_tick=on_tick,
    )
    return net.trained_graph()


def teach(
    student: nn.Module,
    original: Graph,
    card: Card,
    transfer: TransferSet,
    folder: Path,
    *,
    minutes: float = 0.0,
    steps: int = 0,
    threads: int,
    seed: int,
    learning_rate: float,
    rows: NDArray[np.int64] | None = None,
    optimizer: str = "adamw",
    weight_decay: float = 0.0,
    on_tick: Callable[[Tick], None] | None,
) -> None:
    """Trains a changed net towards the answers of the net that it was.

    Args:
        student: trained in place; it eats what `original` eats.
        card: of both.
        folder: for the log and the checkpoint.
        minutes: of training; the number of steps follows from how long the first ones take.
        steps: of training, in place of `minutes`.
        rows: crops to train on, `(m,)`; all without.
        optimizer: key of `OPTIMIZERS`.
        weight_decay: decoupled, on kernels.

    Raises:
        InputError: no time, or fewer crops than a batch.
    """
    if not steps and not 0 < minutes < math.inf:
        raise InputError(f"--minutes: must be above 0 and finite, found {minutes}")
    if (count := transfer.n_images if rows is None else len(rows)) <= BATCH_SIZE:
        raise InputError(f"{count} crops do not fill a batch of {BATCH_SIZE}; give more")
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    task = RecoverTask(student, GraphNet(original), card, transfer, seed, rows)
    steps = steps or max(1, int(SHARE * 60 * minutes / _step_s(task)))
    config = LoopConfig(
        steps=steps,
        learning_rate=learning_rate,
        warmup=0.2,
        weight_decay=weight_decay,
        optimizer=optimizer,
        clip=1.0,
        threads=threads,
    )
    identity = f"teach {type(student).__name__} {original.name} {seed} {steps}"
    train(task, config, folder, identity=identity, on_tick=on_tick)


def _step_s(task: RecoverTask) -> float:
    """Seconds of a step without its update, measured."""
    took = []
    for step in range(TIMED_STEPS):
        begun = time.perf_counter()
        loss, _ = task.loss(task.batch(step), 0.0)
        loss.backward()  # type: ignore[no-untyped-call]
        took.append(time.perf_counter() - begun)
    task.modules.zero_grad()
    return float(np.median(took))

"""One arm of a study that trains: a student distilled by one command's options, and how well it tells people apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facelet.data.transfer import TransferSet
from facelet.embedder import Embedder
from facelet.errors import training_extra
from facelet.evaluate.verification import fold_accuracy, pair_distances
from facelet.graph.ir import Graph
from facelet.model import Card
from facelet.model_files import save_model
from facelet.studies.study import Context, Row, aligned_crops

BATCH = 64


def distilled(context: Context, name: str, transfer: TransferSet, steps: int, **options: Any) -> Path:
    """Distils a student for a number of steps and returns its `model.onnx`.

    A finished arm is taken as it lies there, a broken one goes on from its checkpoint: a study resumes by being
    run again with the same `--out`.

    Args:
        name: of the arm, its folder in the study's.
        options: of `DistillOptions`, `student` and `teachers` among them; the rest has the study's defaults.
    """
    with training_extra():
        from facelet.train.checkpoint import CHECKPOINT
        from facelet.train.run import MODEL_FILE, DistillOptions, distill

    folder = context.folder / name
    if (folder / MODEL_FILE).exists():
        return folder / MODEL_FILE
    chosen = DistillOptions(
        out=folder,
        epochs=steps / (transfer.n_images // BATCH),
        **{
            "batch_size": BATCH,
            "holdout": 0.0,
            "watch_every": 0,
            "seed": context.seeds[0],
            "threads": context.threads,
            "resume": (folder / CHECKPOINT).exists(),
            **options,
        },
    )
    with context.progress(name) as advance:
        return distill(chosen, transfer, on_tick=lambda tick: advance(tick.step, tick.steps)).model


def recovered(context: Context, name: str, original: Graph, changed: Graph, card: Card, steps: int) -> Path:
    """Teaches a changed net what the net said that it was, for a number of steps, and returns its file.

    A finished arm is taken as it lies there.

    Args:
        name: of the arm, its file and its folder in the study's.
        card: of both.
    """
    with training_extra():
        from facelet.train.recover import recover

    path = context.folder / f"{name}.onnx"
    if not path.exists():
        with context.progress(name) as advance:
            graph = recover(
                original,
                changed,
                card,
                context.transfer,
                context.folder / name,
                steps=steps,
                threads=context.threads,
                seed=context.seeds[0],
                on_tick=lambda tick: advance(tick.step, tick.steps),
            )
        save_model(path, graph, card)
    return path


class Accuracy:
    """Verification accuracy of models on a study's photos; the crops of each alignment are cut once."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._crops: dict[tuple[Any, ...], NDArray[np.uint8]] = {}

    def of(self, model: Path | str) -> Row:
        """`accuracy` and `std` over folds, percent, of a file or a shipped model's name."""
        pairs = self.context.photos.pairs
        folds = fold_accuracy(pair_distances(self.vectors(model), pairs), pairs)
        return {"accuracy": 100 * folds.mean, "std": 100 * folds.std}

    def vectors(self, model: Path | str) -> NDArray[np.float32]:
        """The unit embedding of every photo, `(n, d)`."""
        embedder = Embedder.load(model, threads=self.context.threads)
        card = embedder.card
        key = (card.template, card.height, card.width)
        if key not in self._crops:
            self._crops = {key: aligned_crops(self.context, card)}  # of the last alignment only: they are large
        return embedder.embed(self._crops[key])

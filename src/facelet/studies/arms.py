"""One arm of a study that trains: a student distilled by one command's options, and how well it tells people apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from facelet.data.transfer import TransferSet
from facelet.embedder import Embedder
from facelet.errors import InputError, training_extra
from facelet.evaluate.verification import auc, fold_accuracy, pair_distances, tar_at_far
from facelet.graph.ir import Graph
from facelet.model import Card, Model
from facelet.model_files import load_model, save_model
from facelet.studies.arm_marks import arm_of_its_own, graphs_key
from facelet.studies.study import Context, Row, aligned_crops

if TYPE_CHECKING:
    from facelet.train.loop import Tick
    from facelet.train.options import DistillOptions

BATCH, QUICK_BATCH = 64, 16
"""Crops of a step."""

BF16: dict[str, Any] = {"precision": "bf16", "teacher_precision": "bf16"}
"""Options of all real arms; a processor without bfloat16 trains in float32."""

MIXING: dict[str, Any] = {**BF16, "recipe": "mixing", "views": 3}
"""Options of short real arms."""

AS_SHIPPED: dict[str, Any] = {**MIXING, "views": 1, "degrade": 0.1, "ema": 0.998}
"""Options of longer ones: those of the shipped students, with fewer views."""

TAR_FAR = 1e-2


def batch_size(context: Context) -> int:
    """Crops of a step of this study's arms."""
    return QUICK_BATCH if context.quick else BATCH


def distilled(
    context: Context,
    name: str,
    transfer: TransferSet,
    steps: int,
    /,
    *,
    parts: int = 0,
    on_tick: Callable[[Tick], None] | None = None,
    **options: Any,
) -> Path:
    """Distils a student for a number of steps and returns its `model.onnx`.

    A finished arm is taken as it lies there, a broken one continues from its checkpoint: a study resumes by being
    run again with the same `--out`. While another process makes the arm, this one waits.

    Args:
        name: of the arm, its folder in the study's.
        parts: validations, evenly spread, each with a checkpoint; 0 validates at the end only.
        on_tick: told after each logged step; what it raises ends the arm.
        options: of `DistillOptions`, `student` and `teachers` among them; the rest has the study's defaults.

    Raises:
        InputError: a finished arm of this name lies there that was made of other models, data or options.
    """
    with training_extra():
        from facelet.nets.bfloat16 import has_bfloat16
        from facelet.train.files import CHECKPOINT, MODEL_FILE
        from facelet.train.options import DistillOptions
        from facelet.train.run import distill

    folder = context.folder / name
    values: dict[str, Any] = {
        "batch_size": batch_size(context),
        "holdout": 0.0,
        "watch_every": 0,
        "seed": context.seeds[0],
        "threads": context.threads,
        **options,
    }
    if not has_bfloat16():
        values["precision"] = "fp32"
    learned, _ = held_out(transfer, values["holdout"], values["seed"])
    epochs = steps / max(1, len(learned) // values["batch_size"])
    if parts:
        values |= {"watch_every": epochs / parts, "checkpoint_every": steps // parts}
    wanted = DistillOptions(out=folder, epochs=epochs, **values)
    with arm_of_its_own(folder / MODEL_FILE, folder, _arm_key(wanted, transfer)) as made:
        if made:
            return folder / MODEL_FILE
        wanted = dataclasses.replace(wanted, resume=(folder / CHECKPOINT).exists())
        with context.progress(name) as advance:

            def tick(tick: Tick) -> None:
                advance(tick.step, tick.steps)
                if on_tick is not None:
                    on_tick(tick)

            return distill(wanted, transfer, on_tick=tick).model


def _arm_key(options: DistillOptions, transfer: TransferSet) -> str:
    """Names all that an arm depends on, its models by what is in their files."""
    from facelet.train.options import run_identity, warm_start_key

    teachers = tuple(load_model(name).sha256 for name in options.teachers)
    named = dataclasses.replace(options, teachers=teachers, warm_start=None)
    return run_identity(named, [transfer.key, warm_start_key(options)])


def held_out(transfer: TransferSet, fraction: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The crops that a distillation with `holdout=fraction` learns from, and those that it does not, sorted."""
    with training_extra():
        from facelet.train.measure import split_holdout

    return split_holdout(transfer.n_images, fraction, seed)


def net_sizes(student: str) -> tuple[int, int]:
    """Side of the input in pixels, and numbers that come out, of a net that can be trained, by its name."""
    with training_extra():
        from facelet.nets import build_net

    net = build_net(student)
    return int(net.input_size), int(net.embedding_size)  # type: ignore[arg-type]


def going_on(model: Model) -> dict[str, Any]:
    """Options of an arm that is fine-tuned from a file: the net that it is named after, at its own resolution."""
    with training_extra():
        from facelet.nets.scaled import at_resolution

    name, side = model.card.name, model.card.height
    own, _ = net_sizes(name)
    return {"student": name if side == own else at_resolution(name, side), "warm_start": model.path}


def check_one_size(study: str, student: str, teacher: Card) -> None:
    """Refuses a student and a teacher that no cosine compares.

    Args:
        study: that asks, by name.
        student: a net that can be trained, by name.

    Raises:
        InputError: their embeddings differ in size.
    """
    _, size = net_sizes(student)
    if size != teacher.embedding_size:
        raise InputError(
            f"--model: the study {study} compares student and teacher by cosine; {student} has {size} dimensions, "
            f"{teacher.name} {teacher.embedding_size}; give two of one size"
        )


def mean_cosine(left: NDArray[np.float32], right: NDArray[np.float32]) -> float:
    """Of the rows of two sets of unit vectors, `(n, d)` each."""
    return float((left * right).sum(axis=1).mean())


def recovered(
    context: Context, name: str, original: Graph, changed: Graph, card: Card, /, *, steps: int, seed: int
) -> Path:
    """Teaches a changed net what the net said that it was, for a number of steps, and returns its file.

    A finished arm is taken as it lies there. While another process makes it, this one waits.

    Args:
        name: of the arm, its file and its folder in the study's.
        card: of both.
        seed: of the order of the crops and of their views.

    Raises:
        InputError: a finished arm of this name lies there that was made of other nets or data.
    """
    with training_extra():
        from facelet.train.recover import recover

    path, folder = context.folder / f"{name}.onnx", context.folder / name
    key = graphs_key((original, changed), context.transfer.key, steps, seed)
    with arm_of_its_own(path, folder, key) as made:
        if made:
            return path
        with context.progress(name) as advance:
            graph = recover(
                original,
                changed,
                card,
                context.transfer,
                folder,
                steps=steps,
                threads=context.threads,
                seed=seed,
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
        """Figures of a file or a shipped model's name, in percent.

        `accuracy` and `std` over folds; `tar` at `TAR_FAR` and `auc`, over all pairs at once, which tell closer models
        apart.
        """
        return self.told(self.vectors(model))

    def vectors(self, model: Path | str) -> NDArray[np.float32]:
        """What a model says of every photo, `(n_images, d)` unit vectors."""
        embedder = Embedder.load(model, self.context.backend, self.context.threads)
        return embedder.embed(self.crops(embedder.card))

    def crops(self, card: Card) -> NDArray[np.uint8]:
        """The crop of every photo that a model of this card takes, `(n_images, h, w, 3)`."""
        key = (card.template, card.height, card.width)
        if key not in self._crops:
            self._crops = {key: aligned_crops(self.context, card)}  # of the last alignment only: they are large
        return self._crops[key]

    def told(self, vectors: NDArray[np.float32]) -> Row:
        """The figures of `of`, of what a model said of every photo."""
        pairs = self.context.photos.pairs
        distances = pair_distances(vectors, pairs)
        folds = fold_accuracy(distances, pairs)
        return {
            "accuracy": 100 * folds.mean,
            "std": 100 * folds.std,
            "tar": 100 * tar_at_far(distances, pairs.same, TAR_FAR),
            "auc": 100 * auc(distances, pairs.same),
        }

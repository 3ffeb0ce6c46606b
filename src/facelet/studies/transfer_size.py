"""How far a transfer set of so many crops goes, and how far one of faces that belong to nobody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from facelet.canvas import embed_canvas
from facelet.data.synthetic_transfer import SYNTHETIC_SOURCES, synthetic_transfer_set
from facelet.data.transfer import TransferSet, spread_rows
from facelet.embedder import Embedder
from facelet.errors import InputError
from facelet.studies.arms import (
    BATCH,
    BF16,
    QUICK_BATCH,
    Accuracy,
    batch_size,
    check_one_size,
    distilled,
    held_out,
    mean_cosine,
)
from facelet.studies.seeds import over_seeds
from facelet.studies.study import Context, Row, Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZES = (1_000, 4_000, 16_000)
"""Crops of the smaller arms; the last arm takes all that are not held out."""

SYNTHETIC = ((400, 10), (1_600, 10))
"""People and photos of each in the synthetic arms."""

HELD = 1_000
"""Crops of the transfer set that no arm learns from; at most a tenth of it."""

STEPS, QUICK_STEPS = 600, 10

BESIDE = 1.12
"""Where the plot has the dots of seeds, by the number of crops."""

FIGURES = ("own", "unseen", "accuracy", "std", "auc")


@dataclass(frozen=True, eq=False)
class Arm:
    """What one student learns from.

    Attributes:
        source: "real" or "synthetic".
        transfer: the crops.
        holdout: fraction of them that it does not learn from.
    """

    source: str
    transfer: TransferSet
    holdout: float = 0.0


def run(context: Context) -> list[Row]:
    """A student from scratch on each transfer set, with the same number of steps; the last model is the teacher.

    Each seed draws its own sets, and its own crops that no arm learns from.

    Raises:
        InputError: there is no transfer set of real crops, or student and teacher differ in size.
    """
    teacher = Embedder.load(context.models[-1], threads=context.threads)
    check_one_size("transfer-size", context.models[0], teacher.card)
    accuracy = Accuracy(context)
    found: dict[tuple[str, int], list[Row]] = {}
    for seed in context.seeds:
        for row in _rows(context, teacher, accuracy, seed):
            found.setdefault((row["source"], row["images"]), []).append(row)
    steps = QUICK_STEPS if context.quick else STEPS
    return [
        {"source": source, "images": images, "passes": steps * batch_size(context) / images}
        | over_seeds(rows, FIGURES, ("unseen", "accuracy"))
        for (source, images), rows in found.items()
    ]


def _rows(context: Context, teacher: Embedder, accuracy: Accuracy, seed: int) -> list[Row]:
    """Of one seed, a row an arm."""
    whole = context.transfer
    holdout = min(HELD, whole.n_images // 10) / whole.n_images
    learned, held = held_out(whole, holdout, seed)
    unseen = whole.crops[held]
    goal = embed_canvas(teacher, unseen)
    if context.quick:
        sets = [Arm("synthetic", whole, holdout), Arm("synthetic", synthetic_transfer_set(QUICK_BATCH + 1, 2, seed))]
    else:
        sets = arms(whole, learned, holdout, seed)
    rows: list[Row] = []
    for arm in sets:
        images = arm.transfer.n_images - round(arm.holdout * arm.transfer.n_images)
        path = distilled(
            context,
            f"{arm.source}-{images}-{seed}",
            arm.transfer,
            QUICK_STEPS if context.quick else STEPS,
            student=context.models[0],
            teachers=(context.models[-1],),
            seed=seed,
            holdout=arm.holdout,
            **({} if context.quick else BF16),
        )
        pupil = Embedder.load(path, threads=context.threads)
        own = held_out(arm.transfer, arm.holdout, seed)[0]
        seen = arm.transfer.crops[own[spread_rows(len(own), HELD)]]
        rows.append(
            {
                "source": arm.source,
                "images": images,
                "own": mean_cosine(embed_canvas(pupil, seen), embed_canvas(teacher, seen)),
                "unseen": mean_cosine(embed_canvas(pupil, unseen), goal),
                **accuracy.of(path),
            }
        )
    return rows


def arms(whole: TransferSet, learned: NDArray[np.int64], holdout: float, seed: int) -> list[Arm]:
    """Real sets, smaller ones within larger ones, and synthetic sets.

    Args:
        learned: crops of `whole` that are not held out.
        holdout: fraction of it that is.

    Raises:
        InputError: `whole` is not of real crops.
    """
    if whole.sources == SYNTHETIC_SOURCES:
        raise InputError("--transfer: the study transfer-size needs shards of real crops, or --quick")
    order = np.random.default_rng(seed).permutation(learned)
    parts = [Arm("real", whole.subset(np.sort(order[:size]))) for size in SIZES if size < len(order)]
    drawn = [Arm("synthetic", synthetic_transfer_set(*shape, seed)) for shape in SYNTHETIC]
    return [*parts, Arm("real", whole, holdout), *drawn]


def draw(rows: list[Row], figure: Figure) -> None:
    """Cosine to the teacher, and accuracy, over the number of crops: one colour a source, a dot beside it a seed."""
    cosine, accuracy = figure.subplots(1, 2)
    for number, source in enumerate(dict.fromkeys(row["source"] for row in rows)):
        mine = [row for row in rows if row["source"] == source]
        images, color = [row["images"] for row in mine], f"C{number}"
        for key, line in (("unseen", "o-"), ("own", "o:")):
            label = f"{source}, {'unseen' if key == 'unseen' else 'its own'} crops"
            cosine.plot(images, [row[key] for row in mine], line, color=color, label=label)
        told, spread = [row["accuracy"] for row in mine], [row["std"] for row in mine]
        accuracy.errorbar(images, told, yerr=spread, fmt="o-", capsize=3, color=color)
        for axes, key in ((cosine, "unseen"), (accuracy, "accuracy")):
            for row in mine:
                each = row["each"][key]
                axes.plot([BESIDE * row["images"]] * len(each), each, ".", color=color, alpha=0.6)
    cosine.set_ylabel("cosine to the teacher")
    accuracy.set_ylabel("accuracy, % ± over folds")
    for axes in (cosine, accuracy):
        axes.set_xscale("log")
        axes.set_xlabel("crops in the transfer set")
        axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=4, fontsize=8)


TRANSFER_SIZE = Study(
    name="transfer-size",
    title="How large a transfer set has to be",
    question=f"The same student, from scratch, by mean squared error to one teacher, for the same {STEPS} steps of "
    f"{BATCH} crops (a short schedule, the same for every arm), fresh views against the teacher's answer for the clean "
    "crop (`--views 0`): only the number of distinct crops differs, and whether they show people or nobody "
    f"(`facelet.data.synthetic`). {HELD:,} real crops were kept from every arm: the mean cosine to the teacher on "
    "those says how well a student copies it on faces that it never saw. Beside it stands the same on crops that it "
    "learned from. Seeds differ in the sets that are drawn, the crops that are kept from them, the student's first "
    "weights and the order of the crops.",
    models=("mobilenet_v2_035", "facelet_s"),
    columns=(
        ("source", "crops of"),
        ("images", "crops"),
        ("passes", "passes over them"),
        ("own", "cosine, its own crops"),
        ("unseen", "cosine, unseen crops"),
        ("unseen_apart", "seeds apart by"),
        ("accuracy", "accuracy %"),
        ("std", "± over folds"),
        ("accuracy_apart", "seeds apart by"),
        ("auc", "AUC %"),
    ),
    run=run,
    draw=draw,
)

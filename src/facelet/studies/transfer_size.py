"""How far a transfer set of so many crops goes, and how far one of faces that belong to nobody."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from facelet.data.synthetic_transfer import SYNTHETIC_SOURCES, synthetic_transfer_set
from facelet.data.transfer import TransferSet
from facelet.errors import InputError
from facelet.studies.arms import BATCH, Accuracy, distilled
from facelet.studies.study import Context, Row, Study

SIZES = (1_000, 4_000, 16_000)
"""Crops of the smaller arms; the last arm takes all."""

SYNTHETIC = ((400, 10), (1_600, 10))
"""People and photos of each in the synthetic arms."""

STEPS, QUICK_STEPS = 400, 10


def run(context: Context) -> list[Row]:
    """A student from scratch on each transfer set, with the same number of steps; the last model is the teacher."""
    student, teacher = context.models[0], context.models[-1]
    steps = QUICK_STEPS if context.quick else STEPS
    rows: list[Row] = []
    accuracy = Accuracy(context)
    for source, transfer in _arms(context):
        name = f"{source}-{transfer.n_images}"
        path = distilled(context, name, transfer, steps, student=student, teachers=(teacher,))
        rows.append(
            {
                "source": source,
                "images": transfer.n_images,
                "passes": steps * BATCH / transfer.n_images,
                **accuracy.of(path),
            }
        )
    return rows


def _arms(context: Context) -> list[tuple[str, TransferSet]]:
    """Sources and their transfer sets, smaller ones drawn from the larger at random.

    Raises:
        InputError: there is no transfer set of real crops.
    """
    whole, rng = context.transfer, np.random.default_rng(context.seeds[0])
    if context.quick:
        return [("synthetic", whole), ("synthetic", synthetic_transfer_set(BATCH + 1, 2, context.seeds[0]))]
    if whole.sources == SYNTHETIC_SOURCES:
        raise InputError("--transfer: the study transfer-size needs shards of real crops, or --quick")
    order = rng.permutation(whole.n_images)
    arms = [("real", whole.subset(np.sort(order[:size]))) for size in SIZES if size < whole.n_images]
    arms.append(("real", whole))
    return [*arms, *(("synthetic", synthetic_transfer_set(*shape, context.seeds[0])) for shape in SYNTHETIC)]


def draw(rows: list[Row], figure: Figure) -> None:
    """Accuracy over the number of crops, one line a source."""
    axes = figure.add_subplot()
    for source in dict.fromkeys(row["source"] for row in rows):
        mine = [row for row in rows if row["source"] == source]
        axes.errorbar(
            [row["images"] for row in mine],
            [row["accuracy"] for row in mine],
            yerr=[row["std"] for row in mine],
            marker="o",
            capsize=3,
            label=source,
        )
    axes.set_xscale("log")
    axes.set_xlabel("crops in the transfer set")
    axes.set_ylabel("accuracy, %")
    axes.grid(alpha=0.3)
    axes.legend()


TRANSFER_SIZE = Study(
    name="transfer-size",
    title="How large a transfer set has to be",
    question=f"The same student, from scratch, by mean squared error to one teacher, for the same {STEPS} steps of "
    f"{BATCH} crops (a short schedule, the same for every arm): only the number of distinct crops differs, and whether "
    "they show people or nobody (`facelet.data.synthetic`).",
    models=("mobilenet_v2_035", "facelet_s"),
    columns=(
        ("source", "crops of"),
        ("images", "crops"),
        ("passes", "passes over them"),
        ("accuracy", "accuracy %"),
        ("std", "± over folds"),
    ),
    run=run,
    draw=draw,
)

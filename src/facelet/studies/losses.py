"""Which loss a distillation should minimise: the squared error, its relatives, and terms beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from facelet.data.synthetic_transfer import synthetic_transfer_set
from facelet.studies.arms import BATCH, MIXING, Accuracy, distilled
from facelet.studies.seeds import over_seeds, plot_seeds
from facelet.studies.study import Context, Row, Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ARMS = ("mse", "cosine", "huber", "mse+relational", "mse+contrastive", "mse+margin")
"""Of `facelet distill --loss`."""

QUICK_ARMS = ("mse", "mse+margin")

STEPS, QUICK_STEPS = 600, 8
QUICK_FACES = (33, 2)
"""People and photos of each: what the margin needs are people with two photos."""

FIGURES = ("accuracy", "std", "tar", "auc")


def run(context: Context) -> list[Row]:
    """A student from scratch by each loss and seed; the last model is the teacher, the first seed that of all views."""
    student, teacher = context.models[0], context.models[-1]
    transfer = synthetic_transfer_set(*QUICK_FACES, context.seeds[0]) if context.quick else context.transfer
    steps, arms = (QUICK_STEPS, QUICK_ARMS) if context.quick else (STEPS, ARMS)
    options: dict[str, Any] = {"student": student, "teachers": (teacher,), "view_seed": context.seeds[0]}
    accuracy = Accuracy(context)
    found: dict[str, list[Row]] = {loss: [] for loss in arms}
    for seed in context.seeds:
        for loss in arms:
            chosen: dict[str, Any] = {**options, "loss": loss, "seed": seed, **({} if context.quick else MIXING)}
            found[loss].append(accuracy.of(distilled(context, f"{loss}-{seed}", transfer, steps, **chosen)))
    return [{"loss": loss, **over_seeds(rows, FIGURES, ("accuracy", "tar"))} for loss, rows in found.items()]


def draw(rows: list[Row], figure: Figure) -> None:
    """Accuracy with its spread over folds, and TAR: every seed a dot, their mean a bar."""
    left, right = figure.subplots(1, 2, sharey=True)
    places = np.arange(len(rows))[::-1]
    plot_seeds(left, rows, places, "accuracy", "accuracy, %, and its spread over folds")
    left.errorbar(
        [row["accuracy"] for row in rows], places, xerr=[row["std"] for row in rows], fmt="none", capsize=4, color="C0"
    )
    left.set_yticks(places, labels=[row["loss"] for row in rows])
    plot_seeds(right, rows, places, "tar", "TAR at FAR 1e-2, %")
    right.legend(fontsize=8)


LOSSES = Study(
    name="losses",
    title="Which loss distillation should minimise",
    question="The same student, from scratch, taught by the same teacher on the same crops and views for the same "
    f"{STEPS} steps of {BATCH} crops (a short schedule, the same for every arm): only the loss differs. What each is "
    "made of stands in [distillation](../distillation.md#losses). Weights of the terms were set beforehand and not "
    "tuned. Seeds differ in the student's first weights and the order of the crops.",
    models=("mobilenet_v2_035", "facelet_s"),
    columns=(
        ("loss", "`--loss`"),
        ("accuracy", "accuracy %"),
        ("std", "± over folds"),
        ("accuracy_apart", "seeds apart by"),
        ("tar", "TAR % at FAR 1e-2"),
        ("tar_apart", "seeds apart by"),
        ("auc", "AUC %"),
    ),
    run=run,
    draw=draw,
)

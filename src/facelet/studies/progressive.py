"""What small pictures first are worth: more steps for the same arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from facelet.canvas import embed_canvas
from facelet.embedder import Embedder
from facelet.errors import training_extra
from facelet.studies.arms import (
    AS_SHIPPED,
    BATCH,
    Accuracy,
    batch_size,
    check_one_size,
    distilled,
    held_out,
    mean_cosine,
    net_sizes,
)
from facelet.studies.seeds import over_seeds, plot_seeds
from facelet.studies.study import Context, Row, Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WHOLE = 0
FIRST, QUICK_FIRST = (WHOLE, 64, 48), (WHOLE, 64)
"""Sides of the first pictures, one arm each."""

STEPS, QUICK_STEPS = 2_000, 6
"""Of the arm on whole pictures; the others have as many more as theirs are cheaper."""

HOLDOUT = 0.02

FIGURES = ("cosine", "accuracy", "tar", "auc")


def run(context: Context) -> list[Row]:
    """A student from scratch by each first side and seed; the last model is the teacher.

    Raises:
        InputError: student and teacher differ in size.
    """
    student, teacher = context.models[0], Embedder.load(context.models[-1], threads=context.threads)
    check_one_size("progressive", student, teacher.card)
    size, _ = net_sizes(student)
    arms = {first: steps_of(first, size, context.quick) for first in (QUICK_FIRST if context.quick else FIRST)}
    found: dict[int, list[Row]] = {first: [] for first in arms}
    accuracy = Accuracy(context)
    for seed in context.seeds:
        unseen = context.transfer.crops[held_out(context.transfer, HOLDOUT, seed)[1]]
        goal = embed_canvas(teacher, unseen)
        for first, steps in arms.items():
            path = distilled(
                context,
                f"first-{first or size}-{seed}",
                context.transfer,
                steps,
                student=student,
                teachers=(context.models[-1],),
                seed=seed,
                view_seed=context.seeds[0],
                holdout=HOLDOUT,
                first_resolution=first,
                **({} if context.quick else AS_SHIPPED),
            )
            said = embed_canvas(Embedder.load(path, threads=context.threads), unseen)
            found[first].append({"cosine": mean_cosine(said, goal), **accuracy.of(path)})
    return [
        {"first": first or size, "steps": arms[first], "crops": batch_size(context) * arms[first]}
        | over_seeds(rows, FIGURES, ("cosine", "accuracy", "tar"))
        for first, rows in found.items()
    ]


def steps_of(first: int, size: int, quick: bool) -> int:
    """As many steps as cost what the arm on whole pictures does.

    Args:
        first: side of the first pictures; `WHOLE`: that of the net.
        size: side of the net's input, pixels.
    """
    with training_extra():
        from facelet.train.resizing import mean_cost

    steps = QUICK_STEPS if quick else STEPS
    return steps if first == WHOLE else round(steps / mean_cost(first, size))


def draw(rows: list[Row], figure: Figure) -> None:
    """Cosine and TAR: every seed a dot, their mean a bar."""
    left, right = figure.subplots(1, 2, sharey=True)
    places, whole = np.arange(len(rows))[::-1], max(row["first"] for row in rows)
    labels = ["whole pictures" if row["first"] == whole else f"from {row['first']} pixels" for row in rows]
    plot_seeds(left, rows, places, "cosine", "cosine to the teacher, unseen crops")
    left.set_yticks(places, labels=labels)
    plot_seeds(right, rows, places, "tar", "TAR at FAR 1e-2, %")
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
    for axes in (left, right):
        axes.margins(0.15)


PROGRESSIVE = Study(
    name="progressive",
    title="What small pictures first are worth",
    question="The same student, from scratch, taught by the same teacher on the same crops and views, for the same "
    f"arithmetic: that of {STEPS:,} steps of {BATCH} whole pictures (a short schedule, the same for every arm). Where "
    "the pictures begin small and grow to the net's own size over the first 60 % of the run (`--first-resolution`, "
    "[distillation](../distillation.md#small-pictures-first)), a step is cheaper and there are more of them. Told are "
    "the mean cosine to the teacher on the two in a hundred crops that no arm of a seed learns from, and how well LFW "
    "is verified. Seeds differ in the student's first weights, the order of the crops and those kept back.",
    models=("facelet_xs", "facelet_s"),
    columns=(
        ("first", "first pictures, pixels"),
        ("steps", "steps"),
        ("crops", "crops seen"),
        ("cosine", "cosine to the teacher"),
        ("cosine_apart", "cosines of the seeds apart by"),
        ("accuracy", "LFW accuracy %"),
        ("accuracy_apart", "seeds apart by"),
        ("tar", "TAR % at FAR 1e-2"),
        ("tar_apart", "seeds apart by"),
        ("auc", "AUC %"),
    ),
    run=run,
    draw=draw,
    views=(1, 2),
)

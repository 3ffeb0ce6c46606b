"""Who should teach: one teacher, several joined in different ways, a teacher's student, or the student itself again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from facelet.canvas import embed_canvas
from facelet.embedder import Embedder
from facelet.errors import InputError
from facelet.studies.arms import BATCH, Accuracy, distilled
from facelet.studies.study import Context, Row, Study
from facelet.train.targets import fit_target

STEPS, QUICK_STEPS = 600, 8
VIEWS = 1
"""Cached views of each crop besides the clean one: one, as every teacher has to answer for all of them."""


@dataclass(frozen=True)
class Arm:
    """Who teaches.

    Attributes:
        teachers: positions among the study's teachers.
        join: of `facelet.train.targets.JOINS`.
    """

    teachers: tuple[int, ...]
    join: str = "concatenate"


def arms(sizes: list[int]) -> list[Arm]:
    """Each teacher alone, then the first two in every way in which they can be joined.

    Args:
        sizes: of the teachers' embeddings; a plain average takes equal ones.
    """
    pair = (0, 1)
    joins = ("concatenate", "procrustes", "average") if len(set(sizes[:2])) == 1 else ("concatenate", "procrustes")
    several = [Arm(pair, join) for join in joins] if len(sizes) > 1 else []
    return [*(Arm((place,)) for place in range(len(sizes))), *several]


@dataclass(frozen=True, eq=False)
class _Teacher:
    """A teacher and what it says.

    Attributes:
        model: name or file.
        name: of its card.
        learn: of crops that a join is fitted on, `(n, d)`.
        photos: of the photos that are measured on, `(m, d)`.
    """

    model: str
    name: str
    learn: NDArray[np.float32]
    photos: NDArray[np.float32]


def run(context: Context) -> list[Row]:
    """The same student under every arm, and once more under its own first generation.

    Raises:
        InputError: no teacher was given.
    """
    student, *models = context.models
    if not models:
        raise InputError("--model: the study teachers needs a student and then its teachers, found one model")
    accuracy = Accuracy(context)
    teachers = [_asked(context, accuracy, model) for model in models]
    rows, first = [], None
    for arm in arms([teacher.learn.shape[1] for teacher in teachers]):
        taught = [teachers[place] for place in arm.teachers]
        path, row = _taught(context, accuracy, student, taught, arm.join)
        first = first or path
        rows.append(row)
    again = _asked(context, accuracy, str(first))
    return [*rows, _taught(context, accuracy, student, [again], "concatenate")[1]]


def _asked(context: Context, accuracy: Accuracy, model: str) -> _Teacher:
    embedder = Embedder.load(model, threads=context.threads)
    return _Teacher(model, embedder.card.name, embed_canvas(embedder, context.learn), accuracy.vectors(model))


def _taught(
    context: Context, accuracy: Accuracy, student: str, teachers: list[_Teacher], join: str
) -> tuple[Path, Row]:
    """The student's file, and its row beside that of what it was asked to say."""
    names = " + ".join(teacher.name for teacher in teachers)
    several = join if len(teachers) > 1 else None
    path = distilled(
        context,
        f"{names}, {several}" if several else names,
        context.transfer,
        QUICK_STEPS if context.quick else STEPS,
        student=student,
        teachers=tuple(teacher.model for teacher in teachers),
        join=join,
        recipe="mixing",
        views=VIEWS,
        teacher_precision="f32" if context.quick else "bf16",
        name=f"{student} of {names}",
    )
    said = accuracy.vectors(path)
    target = fit_target([teacher.learn for teacher in teachers], join, said.shape[1])
    asked, told = accuracy.told(target([teacher.photos for teacher in teachers])), accuracy.told(said)
    return path, {
        "teachers": names,
        "join": several,
        "teacher_accuracy": asked["accuracy"],
        "teacher_auc": asked["auc"],
        **told,
        "gained": told["accuracy"] - asked["accuracy"],
    }


def draw(rows: list[Row], figure: Figure) -> None:
    """A row each: the student's accuracy with its spread over folds, and that of what it was asked to say."""
    axes = figure.add_subplot()
    places = np.arange(len(rows))
    own, spread = [row["accuracy"] for row in rows], [row["std"] for row in rows]
    axes.errorbar(own, places, xerr=spread, fmt="o", capsize=3, label="student, ± over folds")
    axes.plot([row["teacher_accuracy"] for row in rows], places, "kD", markersize=5, label="what it was asked to say")
    labels = [row["teachers"] + (f"\n{row['join']}" if row["join"] else "") for row in rows]
    axes.set_yticks(places, labels=labels, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("accuracy, %")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower right")


TEACHERS = Study(
    name="teachers",
    title="Who should teach",
    question="The same student, from scratch, by mean squared error, for the same "
    f"{STEPS} steps of {BATCH} crops (a short schedule, the same for every arm). A crop is shown clean or in the one "
    "augmented view that every teacher answered for (`--views 1 --recipe mixing`). Arms: each teacher alone; the first "
    "two joined in every way they can be; and, last, the first arm's student as teacher of the same net (born again, "
    "Furlanello et al., ICML 2018). Beside the student stands the accuracy, on the same photos, of the very vectors "
    "that it was asked to say: the teacher's own, or those of the joined teachers, at the student's size.",
    models=("mobilenet_v2_035", "facelet_s", "nn4_small2", "facelet_xs"),
    columns=(
        ("teachers", "teachers"),
        ("join", "join"),
        ("teacher_accuracy", "teacher's accuracy %"),
        ("teacher_auc", "teacher's AUC %"),
        ("accuracy", "student's accuracy %"),
        ("std", "± over folds"),
        ("auc", "student's AUC %"),
        ("gained", "student minus teacher"),
    ),
    run=run,
    draw=draw,
)

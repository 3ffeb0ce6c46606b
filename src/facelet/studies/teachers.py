"""Who should teach: one teacher, several joined in different ways, a teacher's student, or the student itself again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from facelet.canvas import embed_canvas
from facelet.embedder import Embedder
from facelet.errors import InputError
from facelet.studies.arms import BATCH, MIXING, Accuracy, distilled
from facelet.studies.seeds import over_seeds
from facelet.studies.study import Context, Row, Study, check_distinct
from facelet.train.targets import fit_target

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEPS, QUICK_STEPS = 600, 8

QUICK: dict[str, Any] = {"recipe": "mixing", "views": 1}
REAL: dict[str, Any] = {**MIXING, **QUICK}
"""Options of every arm; one cached view of each crop besides the clean one, as each teacher has to answer for all."""

FIGURES = ("teacher_accuracy", "teacher_auc", "accuracy", "std", "auc", "gained")


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
    """The same student under every arm, and once more under its own first generation, with each seed.

    Raises:
        InputError: no teacher was given.
    """
    student, *models = context.models
    if not models:
        raise InputError("--model: the study teachers needs a student and then its teachers, found one model")
    accuracy = Accuracy(context)
    teachers = [_asked(context, accuracy, model) for model in models]
    check_distinct([teacher.name for teacher in teachers])
    found: dict[tuple[str, str | None], list[Row]] = {}
    for seed in context.seeds:
        first = None
        for arm in arms([teacher.learn.shape[1] for teacher in teachers]):
            taught = [teachers[place] for place in arm.teachers]
            path, row = _taught(context, accuracy, student, taught, arm.join, seed)
            first = first or path
            found.setdefault((row["teachers"], row["join"]), []).append(row)
        again = _asked(context, accuracy, str(first))
        _, row = _taught(context, accuracy, student, [again], "concatenate", seed)
        found.setdefault((row["teachers"], row["join"]), []).append(row)
    return [
        {"teachers": names, "join": join, **over_seeds(rows, FIGURES, ("accuracy", "auc"))}
        for (names, join), rows in found.items()
    ]


def _asked(context: Context, accuracy: Accuracy, model: str) -> _Teacher:
    embedder = Embedder.load(model, threads=context.threads)
    return _Teacher(model, embedder.card.name, embed_canvas(embedder, context.learn), accuracy.vectors(model))


def _taught(
    context: Context, accuracy: Accuracy, student: str, teachers: list[_Teacher], join: str, seed: int
) -> tuple[Path, Row]:
    """The student's file, and its row beside that of what it was asked to say."""
    names = " + ".join(teacher.name for teacher in teachers)
    several = join if len(teachers) > 1 else None
    path = distilled(
        context,
        f"{names}, {several}, {seed}" if several else f"{names}, {seed}",
        context.transfer,
        QUICK_STEPS if context.quick else STEPS,
        student=student,
        teachers=tuple(teacher.model for teacher in teachers),
        join=join,
        seed=seed,
        view_seed=context.seeds[0],
        **(QUICK if context.quick else REAL),
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
    """A row each: the student's accuracy with its spread over folds and of each seed, and what it was asked to say."""
    axes = figure.add_subplot()
    places = np.arange(len(rows))
    for row, place in zip(rows, places, strict=True):
        axes.plot(row["each"]["accuracy"], [place] * len(row["each"]["accuracy"]), ".", color="C1", zorder=3)
    own, spread = [row["accuracy"] for row in rows], [row["std"] for row in rows]
    axes.errorbar(own, places, xerr=spread, fmt="o", capsize=3, label="student, ± over folds; dots: seeds")
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
    "that it was asked to say: the teacher's own, or those of the joined teachers, at the student's size. Seeds "
    "differ in the student's first weights and the order of the crops.",
    models=("mobilenet_v2_035", "facelet_s", "nn4_small2", "facelet_xs"),
    columns=(
        ("teachers", "teachers"),
        ("join", "join"),
        ("teacher_accuracy", "teacher's accuracy %"),
        ("teacher_auc", "teacher's AUC %"),
        ("accuracy", "student's accuracy %"),
        ("std", "± over folds"),
        ("accuracy_apart", "seeds apart by"),
        ("auc", "student's AUC %"),
        ("auc_apart", "seeds apart by"),
        ("gained", "student minus teacher"),
    ),
    run=run,
    draw=draw,
)

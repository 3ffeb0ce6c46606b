"""What it is worth to a student to have seen, without labels, the people whom it is measured on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from facelet.canvas import embed_canvas
from facelet.data.heldout import HELDOUT_FRACTION
from facelet.data.heldout_people import heldout_images, heldout_people
from facelet.data.synthetic_transfer import synthetic_transfer_set
from facelet.data.transfer import TransferSet
from facelet.embedder import Embedder
from facelet.evaluate.verification import all_couples, eer, tar_at_far
from facelet.studies.arms import AS_SHIPPED, BATCH, Accuracy, check_one_size, distilled, mean_cosine
from facelet.studies.study import Context, Row, Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TENTHS = {"first tenth": 0.0, "second tenth": HELDOUT_FRACTION}
"""Groups of people, and where the hashes of their names begin; the first is the one of the benchmark heldout."""

FAR = 1e-3
STEPS, QUICK_STEPS = 4_500, 8
QUICK_PEOPLE = 130


@dataclass(frozen=True, eq=False)
class Group:
    """People whom students are measured on.

    Attributes:
        name: key of `TENTHS`.
        person: in each crop, `(n,)` int64.
        crops: `(n, 128, 128, 3)` uint8.
        goal: what the teacher says of them, `(n, d)` unit vectors.
    """

    name: str
    person: NDArray[np.int64]
    crops: NDArray[np.uint8]
    goal: NDArray[np.float32]


def run(context: Context) -> list[Row]:
    """Students from scratch, each without one group of people, measured on every group; the last model is the teacher.

    Raises:
        InputError: student and teacher differ in size.
        TransferSetError: a group of too few people.
    """
    student, teacher = context.models[0], Embedder.load(context.models[-1], threads=context.threads)
    check_one_size("seen", student, teacher.card)
    first = context.seeds[0]
    whole = synthetic_transfer_set(QUICK_PEOPLE, 2, first) if context.quick else context.transfer
    groups = [_group(whole, name, teacher) for name in TENTHS]
    accuracy, rows = Accuracy(context), []
    for seed in context.seeds:
        for without, start in TENTHS.items():
            path = distilled(
                context,
                f"without-{without.replace(' ', '-')}-{seed}",
                whole.subset(np.flatnonzero(~heldout_images(whole, start=start))),
                QUICK_STEPS if context.quick else STEPS,
                student=student,
                teachers=(context.models[-1],),
                seed=seed,
                view_seed=first,
                **({} if context.quick else AS_SHIPPED),
            )
            pupil, told = Embedder.load(path, threads=context.threads), accuracy.of(path)["accuracy"]
            for group in groups:
                seen = "no" if group.name == without else "yes"
                row = {"people": group.name, "seen": seen, "seed": seed, "accuracy": told}
                rows.append({**row, **measured(pupil, group)})
    return [*sorted(rows, key=lambda row: (row["people"], row["seen"], row["seed"])), *differences(rows)]


def _group(whole: TransferSet, name: str, teacher: Embedder) -> Group:
    people, index = heldout_people(whole, start=TENTHS[name])
    crops = np.asarray(whole.crops[index])
    return Group(name, people.person, crops, embed_canvas(teacher, crops))


def measured(pupil: Embedder, group: Group) -> Row:
    """Cosine to the teacher, and figures over all couples of a group in percent."""
    found = embed_canvas(pupil, group.crops)
    distances, same = all_couples(found, group.person)
    return {
        "crops": len(found),
        "cosine": mean_cosine(found, group.goal),
        "tar": 100 * tar_at_far(distances, same, FAR),
        "eer": 100 * eer(distances, same),
    }


def differences(rows: list[Row]) -> list[Row]:
    """What having seen a group adds, by group: the mean over seeds of seen less unseen."""

    def mean(people: str, seen: str, key: str) -> float:
        return float(np.mean([row[key] for row in rows if (row["people"], row["seen"]) == (people, seen)]))

    return [
        {"people": people, "seen": "yes less no"}
        | {key: mean(people, "yes", key) - mean(people, "no", key) for key in ("cosine", "tar", "eer")}
        for people in dict.fromkeys(row["people"] for row in rows)
    ]


def draw(rows: list[Row], figure: Figure) -> None:
    """Cosine and TAR of seen and unseen people, one line a group and seed."""
    arms = [row for row in rows if "seed" in row]
    names = {"cosine": "cosine to the teacher", "tar": "TAR at FAR 1e-3, %"}
    for axes, (key, label) in zip(figure.subplots(1, 2), names.items(), strict=True):
        for number, people in enumerate(TENTHS):
            for nth, seed in enumerate(dict.fromkeys(row["seed"] for row in arms)):
                mine = {row["seen"]: row[key] for row in arms if (row["people"], row["seed"]) == (people, seed)}
                axes.plot(
                    ["no", "yes"],
                    [mine["no"], mine["yes"]],
                    "o-",
                    color=f"C{number}",
                    label=f"{people} of the people" if nth == 0 else None,
                )
        axes.set_xlabel("seen in training, without labels")
        axes.set_ylabel(label)
        axes.margins(0.3)
        axes.grid(alpha=0.3)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)


SEEN = Study(
    name="seen",
    title="What it is worth to have seen the people who are measured",
    question="The students that are shipped saw the crops of the benchmark heldout, without labels. What does that add "
    "to their figures there? Two groups of labelled people, a tenth of the names each, the first of them those of the "
    f"benchmark; two students, each from scratch for {STEPS:,} steps of {BATCH} crops by the recipe of the shipped "
    "ones (a short schedule with one teacher, the same for both) on all crops but those of one group. Each is "
    "measured on both, so that the same people stand once seen and once unseen: the cosine to the teacher, and TAR at "
    "FAR 1e-3 and EER over all couples.",
    models=("facelet_xs", "facelet_s"),
    columns=(
        ("people", "measured on"),
        ("seen", "seen in training"),
        ("seed", "seed"),
        ("crops", "crops"),
        ("cosine", "cosine to the teacher"),
        ("tar", "TAR %"),
        ("eer", "EER %"),
        ("accuracy", "LFW accuracy %"),
    ),
    run=run,
    draw=draw,
    views=(1, 2),
)

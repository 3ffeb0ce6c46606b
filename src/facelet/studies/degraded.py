"""What it is worth to show the student worse pictures than the teachers answer for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from facelet.embedder import Embedder
from facelet.errors import InputError
from facelet.evaluate.robustness import DEGRADATIONS, degrade
from facelet.evaluate.verification import accuracy_at, auc, best_threshold, pair_distances
from facelet.model_files import load_model
from facelet.studies.arms import BATCH, MIXING, Accuracy, distilled, going_on
from facelet.studies.seeds import over_seeds
from facelet.studies.study import Context, Row, Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARES, QUICK_SHARES = (0.0, 0.1, 0.3, 0.6), (0.0, 0.3)
"""Of pictures that are made worse, one arm each."""

STRENGTHS: dict[str, float] = {"blur": 3, "jpeg": 8, "resolution": 16, "occlusion": 0.2, "brightness": 0.1}
"""One strong degradation of each kind; the student's own in training are drawn from wide ranges and look otherwise."""

STEPS, QUICK_STEPS = 300, 8
LEARNING_RATE = 2e-3
EMA = 0.97

FIGURES = ("accuracy", "auc", *STRENGTHS, "mean")


def run(context: Context) -> list[Row]:
    """Goes on training the first model, a file of a known net, by each share; the others are its teachers.

    Two rows stand before the arms: the first teacher, and the model as it is.

    Raises:
        InputError: no teacher was given.
    """
    student, teachers = load_model(context.models[0]), context.models[1:]
    if not teachers:
        raise InputError("--model: the study degraded needs a student's file and then its teachers, found one model")
    steps, shares = (QUICK_STEPS, QUICK_SHARES) if context.quick else (STEPS, SHARES)
    photos = Accuracy(context)
    rows = [
        {"net": load_model(teachers[0]).card.name, "share": None, **measured(photos, teachers[0])},
        {"net": f"{student.card.name}, as it is", "share": None, **measured(photos, context.models[0])},
    ]
    for share in shares:
        found = []
        for seed in context.seeds:
            path = distilled(
                context,
                f"degrade-{share}-{seed}",
                context.transfer,
                steps,
                **going_on(student),
                teachers=teachers,
                learning_rate=LEARNING_RATE,
                ema=EMA,
                degrade=share,
                seed=seed,
                view_seed=context.seeds[0],
                **({} if context.quick else MIXING),
            )
            found.append(measured(photos, path))
        told = over_seeds(found, FIGURES, ("accuracy", "mean"))
        rows.append({"net": f"{student.card.name}, {steps} steps", "share": 100 * share, **told})
    return rows


def measured(photos: Accuracy, model: Path | str) -> Row:
    """Accuracy in percent on clean crops, on both crops of each pair made worse in each way, and the mean of those.

    The threshold is the best on the clean pairs and stays.
    """
    context, pairs = photos.context, photos.context.photos.pairs
    embedder = Embedder.load(model, context.backend, context.threads)
    crops = photos.crops(embedder.card)

    def distances(some: NDArray[np.uint8]) -> NDArray[np.float32]:
        return pair_distances(embedder.embed(some), pairs)

    clean = distances(crops)
    threshold, best = best_threshold(clean, pairs.same)
    seed = context.seeds[0]
    worse = {
        name: 100 * accuracy_at(distances(degrade(crops, name, strength, seed)), pairs.same, threshold)
        for name, strength in STRENGTHS.items()
    }
    return {
        "accuracy": 100 * best,
        "auc": 100 * auc(clean, pairs.same),
        **worse,
        "mean": float(np.mean([*worse.values()])),
    }


def draw(rows: list[Row], figure: Figure) -> None:
    """Accuracy by kind of degradation, one line a net."""
    axes = figure.subplots()
    ticks = ["clean", *(f"{name} {strength:g}" for name, strength in STRENGTHS.items())]
    for number, row in enumerate(rows):
        values = [row["accuracy"], *(row[name] for name in STRENGTHS)]
        for each in zip(*(row["each"][key] for key in ("accuracy", *STRENGTHS)), strict=True) if "each" in row else ():
            axes.plot(each, ticks, ".", color=f"C{number}", alpha=0.5)
        label = row["net"] if row["share"] is None else f"{row['net']}, {row['share']:.0f} % worse"
        axes.plot(values, ticks, "s" if row["share"] is None else "o-", color=f"C{number}", label=label, alpha=0.8)
    axes.invert_yaxis()
    axes.set_xlabel("accuracy, %, at the threshold of the clean pairs")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)


DEGRADED = Study(
    name="degraded",
    title="What worse pictures for the student alone are worth",
    question="A trained student goes on learning from its teachers, in every arm for the same "
    f"{STEPS} steps of {BATCH} crops; only the share of pictures differs that the student sees darker, partly "
    "covered, coarser or compressed, while the teachers answer for them as they were (`--degrade`, "
    "[distillation](../distillation.md#worse-pictures-for-the-student)). Measured at one strong degradation of each "
    "kind, which are those of `facelet evaluate --benchmark robustness`: "
    + "; ".join(f"{DEGRADATIONS[name].what}: {strength:g}" for name, strength in STRENGTHS.items())
    + ". Seeds differ in the order of the crops and in what is made worse.",
    models=("facelet_xs", "facelet_s"),
    columns=(
        ("net", "net"),
        ("share", "worse pictures %"),
        ("accuracy", "clean %"),
        ("accuracy_apart", "seeds apart by"),
        ("auc", "its AUC %"),
        *((name, f"{name} %") for name in STRENGTHS),
        ("mean", "mean of the five %"),
        ("mean_apart", "seeds apart by"),
    ),
    run=run,
    draw=draw,
)

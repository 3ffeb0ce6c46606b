"""What each kind of layer that a net can spare is worth, before and after a short recovery."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from facelet.evaluate.verification import fold_accuracy, pair_distances, tar_at_far
from facelet.graph.ir import Graph
from facelet.graph.passes import optimise
from facelet.graph.passes.prune import KINDS, pruned_with_savings, saving
from facelet.model_files import load_model, save_model
from facelet.model_graph import model_graph
from facelet.quantize.calibrate import embedding_error
from facelet.studies.arms import Accuracy, recovered
from facelet.studies.seeds import over_seeds
from facelet.studies.study import Context, Row, Study, check_distinct

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ARMS = tuple(kinds for size in range(len(KINDS) + 1) for kinds in combinations(KINDS, size))
"""Every combination of kinds of layers to remove."""

STEPS, QUICK_STEPS = 30, 1
"""Of recovery, 64 crops each."""

FIGURES = ("accuracy", "std", "tar", "moved")


def run(context: Context) -> list[Row]:
    """Every net without every combination of kinds: accuracy and cost as pruned, and once more as recovered."""
    steps = QUICK_STEPS if context.quick else STEPS
    arms = (ARMS[0], ARMS[-1]) if context.quick else ARMS
    measured = Accuracy(context)
    rows: list[Row] = []
    models = [load_model(name) for name in context.models]
    check_distinct([model.card.name for model in models])
    for model in models:
        card, original = model.card, model_graph(model)
        whole = measured.vectors(model.path)
        done: list[tuple[Graph, list[Row]]] = []
        for kinds in arms:
            graph = optimise(pruned_with_savings(original, kinds)[0])
            found = next((figures for other, figures in done if _equal(other, graph)), None)
            if found is None:
                arm = f"{card.name}-without-{'-'.join(kinds) or 'nothing'}"
                pruned = context.folder / f"{arm}.onnx"
                save_model(pruned, graph, card)
                after = f"{arm}-recovered-{steps}"
                recoveries = [
                    recovered(context, f"{after}-{seed}", original, graph, card, steps=steps, seed=seed)
                    for seed in context.seeds
                ]
                found = []
                for taken, paths in ((0, [pruned]), (steps, recoveries)):
                    told = [_figures(context, measured.vectors(path), whole) for path in paths]
                    found.append({"recovery": taken, **over_seeds(told, FIGURES, ("accuracy", "tar"))})
                done.append((graph, found))
            saved = saving(original, graph, "")
            costs = {"kernels": saved.kernels, "megabytes": saved.traffic_bytes / 1e6}
            removed = " + ".join(kinds) or "nothing"
            rows += [{"model": card.name, "removed": removed, **figures, **costs} for figures in found]
    return rows


def _equal(one: Graph, other: Graph) -> bool:
    return one.nodes == other.nodes and all(
        np.array_equal(array, other.constants[name]) for name, array in one.constants.items()
    )


def _figures(context: Context, vectors: NDArray[np.float32], whole: NDArray[np.float32]) -> Row:
    """How well a net tells people apart, and how far its embeddings are from those of the whole net."""
    pairs = context.photos.pairs
    distances = pair_distances(vectors, pairs)
    folds = fold_accuracy(distances, pairs)
    return {
        "accuracy": 100 * folds.mean,
        "std": 100 * folds.std,
        "tar": 100 * tar_at_far(distances, pairs.same, 1e-3),
        "moved": 1000 * embedding_error(vectors, whole),
    }


def draw(rows: list[Row], figure: Figure) -> None:
    """Accuracy, with its spread over folds, and TAR by what is removed: as pruned, and as recovered, a dot a seed."""
    arms = list(dict.fromkeys((row["model"], row["removed"]) for row in rows))
    several = len({model for model, _ in arms}) > 1
    names = [f"{model}\n{removed}" if several else removed.replace(" + ", "\n+ ") for model, removed in arms]
    panels = figure.subplots(2, 1, sharex=True)
    places = np.arange(len(arms))
    for axes, key, title in zip(panels, ("accuracy", "tar"), ("accuracy, %", "TAR at FAR 1e-3, %"), strict=True):
        for offset, label, mine in (
            (-0.1, "pruned", [row for row in rows if not row["recovery"]]),
            (0.1, "recovered", [row for row in rows if row["recovery"]]),
        ):
            spread = [row["std"] for row in mine] if key == "accuracy" else None
            means = axes.errorbar(
                places + offset, [row[key] for row in mine], yerr=spread, fmt="o", capsize=3, label=label
            )
            for place, row in zip(places, mine, strict=True):
                each = row["each"][key]
                axes.plot([place + 2 * offset] * len(each), each, ".", color=means[0].get_color(), alpha=0.6)
        axes.set_ylabel(title, fontsize=9)
        axes.grid(axis="y", alpha=0.3)
    panels[1].legend(fontsize=8, loc="lower right")
    panels[-1].set_xticks(places, labels=names, fontsize=8)
    panels[-1].set_xlabel("removed", fontsize=9)


PRUNING = Study(
    name="pruning",
    title="Pruning layers: LRN, constants, powers",
    question="`facelet prune` leaves local response normalization out, products with a constant, and the squares and "
    "roots of power pools. What does each cost, alone and with the others, as it is and after a short recovery: "
    "the steps that the table tells, of 64 crops of the transfer set, the same for every row, in which the pruned net "
    "learns what the unpruned one says? Where nothing is removed, the recovery shows what more training alone does. "
    "The constant of a power pool goes with the pool, into the next convolution, so powers with and without constants "
    "are one net, measured once. Seeds differ in the order of the crops and in their views.",
    models=("nn4_small2",),
    columns=(
        ("model", "model"),
        ("removed", "removed"),
        ("recovery", "steps of recovery"),
        ("accuracy", "accuracy %"),
        ("std", "± over folds"),
        ("accuracy_apart", "seeds apart by"),
        ("tar", "TAR % at FAR 1e-3"),
        ("tar_apart", "seeds apart by"),
        ("moved", "squared distance from the whole net's embeddings, thousandths"),
        ("kernels", "kernels saved"),
        ("megabytes", "MB read and written saved"),
    ),
    run=run,
    draw=draw,
)

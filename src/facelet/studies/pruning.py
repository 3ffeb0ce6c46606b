"""What each kind of layer that a net can spare is worth: LRN, and the squares and roots of power pools."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from facelet.backends import network_input, run_graph
from facelet.evaluate.verification import fold_accuracy, pair_distances, tar_at_far
from facelet.graph.ir import Graph
from facelet.graph.onnx_io import read_graph
from facelet.graph.passes import optimise
from facelet.graph.passes.prune import RULES, pruned_with_savings, saving
from facelet.model_files import load_model
from facelet.quantize.calibrate import unit
from facelet.studies.study import Context, Row, Study, aligned_crops

ARMS: dict[str, tuple[str, ...]] = {
    "as it is": (),
    "without LRN": ("LRN",),
    "without powers": tuple(op for op in RULES if op != "LRN"),
    "without both": tuple(RULES),
}
"""Ops whose rules apply, by arm."""

CHUNK = 256


def run(context: Context) -> list[Row]:
    """Accuracy and cost of every net in every arm, none trained after its pruning."""
    rows: list[Row] = []
    for name in context.models:
        model = load_model(name)
        original = read_graph(model.path)
        inputs = network_input(aligned_crops(context, model.card), model.card)
        for arm, ops in ARMS.items():
            graph = pruned_with_savings(original, ops)[0] if ops else original
            vectors = _embedded(context, optimise(graph), inputs, f"{model.card.name}, {arm}")
            distances = pair_distances(vectors, context.photos.pairs)
            folds = fold_accuracy(distances, context.photos.pairs)
            saved = saving(original, graph, arm)
            rows.append(
                {
                    "model": model.card.name,
                    "arm": arm,
                    "accuracy": 100 * folds.mean,
                    "std": 100 * folds.std,
                    "tar": 100 * tar_at_far(distances, context.photos.pairs.same, 1e-3),
                    "kernels": saved.kernels,
                    "megabytes": saved.traffic_bytes / 1e6,
                }
            )
    return rows


def _embedded(context: Context, graph: Graph, inputs: NDArray[np.float32], title: str) -> NDArray[np.float32]:
    parts = []
    with context.progress(title) as advance:
        for start in range(0, len(inputs), CHUNK):
            parts.append(run_graph(graph, inputs[start : start + CHUNK], context.threads))
            advance(min(start + CHUNK, len(inputs)), len(inputs))
    return unit(np.concatenate(parts))


def draw(rows: list[Row], figure: Figure) -> None:
    """Bars of accuracy and of TAR, one pair an arm."""
    axes = figure.add_subplot()
    names = [f"{row['model']}\n{row['arm']}" for row in rows]
    places = np.arange(len(rows))
    axes.bar(places - 0.2, [row["accuracy"] for row in rows], 0.4, label="accuracy, %")
    axes.bar(places + 0.2, [row["tar"] for row in rows], 0.4, label="TAR at FAR 1e-3, %")
    axes.set_xticks(places, labels=names, fontsize=8)
    axes.set_ylim(min(50, *(row["tar"] for row in rows)), 100)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=8)


PRUNING = Study(
    name="pruning-kinds",
    title="Which spared layer costs what",
    question="`facelet prune` leaves local response normalization out and makes average pools of power pools. Which of "
    "the two costs the accuracy? Nothing is trained after the removal; what a recovery gives back is in "
    "[pruning](pruning.md).",
    models=("nn4_small2",),
    columns=(
        ("model", "model"),
        ("arm", "layers"),
        ("accuracy", "accuracy %"),
        ("std", "± over folds"),
        ("tar", "TAR % at FAR 1e-3"),
        ("kernels", "kernels saved"),
        ("megabytes", "MB read and written saved"),
    ),
    run=run,
    draw=draw,
)

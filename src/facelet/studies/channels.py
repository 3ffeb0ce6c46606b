"""Hidden channels pruned from a trained student, against a narrower one that is simply trained."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from facelet.backends import network_input
from facelet.canvas import canvas_inputs
from facelet.data.transfer import spread_rows
from facelet.errors import training_extra
from facelet.graph.ir import Graph
from facelet.graph.onnx_io import read_graph
from facelet.graph.passes import optimise
from facelet.graph.passes.channels import channels
from facelet.graph.size import layers
from facelet.model import Card, Model
from facelet.model_files import load_model, save_model
from facelet.model_graph import model_graph
from facelet.studies.arm_marks import arm_of_its_own, graphs_key
from facelet.studies.arms import Accuracy, recovered
from facelet.studies.seeds import over_seeds
from facelet.studies.study import Context, Row, Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARES, QUICK_SHARES = (0.9, 0.75, 0.5), (0.5,)
"""Of the hidden channels that stay."""

STEPS, QUICK_STEPS = 100, 2
"""Of recoveries and of trainings from scratch, 64 crops each."""

IMAGES, QUICK_IMAGES = 256, 16
"""Crops that channels are chosen by."""

FIGURES = ("accuracy", "std")

LEARNING_RATE, WEIGHT_DECAY = 4e-3, 0.05
"""Of trainings from scratch, those of `facelet distill`."""


def run(context: Context) -> list[Row]:
    """The first model as it is and in every arm; further models are narrower nets, trained in full, to compare with."""
    first, *others = (load_model(name) for name in context.models)
    measured = Accuracy(context)
    rows = []
    for arm, share, paths in ((f"{first.card.name}, whole", 1.0, [first.path]), *_arms(context, first)):
        rows.append(_row(measured, arm, share, paths))
    return [*rows, *(_row(measured, f"{other.card.name}, trained in full", None, [other.path]) for other in others)]


def _row(measured: Accuracy, arm: str, share: float | None, paths: list[Path]) -> Row:
    """Of an arm's files, one a seed, which are of one shape."""
    counts = layers(optimise(read_graph(paths[0])))
    return {
        "arm": arm,
        "kept": None if share is None else 100 * share,
        "parameters": sum(row.parameters for row in counts),
        "macs": sum(row.macs for row in counts) / 1e6,
        **over_seeds([measured.of(path) for path in paths], FIGURES, ("accuracy",)),
    }


def _arms(context: Context, model: Model) -> Iterator[tuple[str, float, list[Path]]]:
    """Arm, share that stays, and files: one, or one a seed."""
    steps = QUICK_STEPS if context.quick else STEPS
    spread = spread_rows(len(context.learn), QUICK_IMAGES if context.quick else IMAGES)
    images = network_input(canvas_inputs(model.card, context.learn[spread]), model.card)
    original = model_graph(model)
    for share in QUICK_SHARES if context.quick else SHARES:
        name = f"{model.card.name}-{share:g}"
        fitted = channels(original, images, share).graph
        for arm, graph in (("cut", channels(original, images, share, fit=False).graph), ("cut and fitted", fitted)):
            path = context.folder / f"{name}-{arm.replace(' ', '-')}.onnx"
            save_model(path, graph, model.card)
            yield arm, share, [path]
        after = f"{name}-recovered-{steps}"
        recoveries = [
            recovered(context, f"{after}-{seed}", original, fitted, model.card, steps=steps, seed=seed)
            for seed in context.seeds
        ]
        yield "cut, fitted and recovered", share, recoveries
        fresh = [
            _from_scratch(context, f"{name}-from-scratch-{steps}-{seed}", original, fitted, model.card, steps, seed)
            for seed in context.seeds
        ]
        yield "from scratch, same steps", share, fresh


def _from_scratch(
    context: Context, name: str, original: Graph, shape: Graph, card: Card, steps: int, seed: int
) -> Path:
    """Trains a net of a graph's shape from first weights, with the recovery's loss, views and steps."""
    with training_extra():
        from facelet.train.fresh_graph import FreshNet
        from facelet.train.recover import teach

    path, folder = context.folder / f"{name}.onnx", context.folder / name
    key = graphs_key((original, shape), context.transfer.key, steps, seed)
    with arm_of_its_own(path, folder, key) as made:
        if made:
            return path
        net = FreshNet(shape, seed)
        with context.progress(name) as advance:
            teach(
                net,
                original,
                card,
                context.transfer,
                folder,
                steps=steps,
                threads=context.threads,
                seed=seed,
                learning_rate=LEARNING_RATE,
                optimizer="muon",
                weight_decay=WEIGHT_DECAY,
                on_tick=lambda tick: advance(tick.step, tick.steps),
            )
        save_model(path, net.trained_graph(), card)
    return path


def draw(rows: list[Row], figure: Figure) -> None:
    """Accuracy over parameters, one line an arm."""
    axes = figure.add_subplot()
    for number, arm in enumerate(dict.fromkeys(row["arm"] for row in rows)):
        mine = sorted((row for row in rows if row["arm"] == arm), key=lambda row: int(row["parameters"]))
        axes.errorbar(
            [row["parameters"] / 1000 for row in mine],
            [row["accuracy"] for row in mine],
            yerr=[row["std"] for row in mine],
            marker="o",
            capsize=3,
            label=arm,
            color=f"C{number}",
        )
        for row in mine:
            places = [row["parameters"] / 1000] * len(row["each"]["accuracy"])
            axes.plot(places, row["each"]["accuracy"], ".", color=f"C{number}", alpha=0.5)
    axes.set_xlabel("thousand parameters")
    axes.set_ylabel("accuracy, %")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


CHANNELS = Study(
    name="channels",
    title="Pruned channels or a narrower net",
    question="`facelet prune --channels` takes hidden channels out of a student's inverted residuals. Is that better "
    "than to train a narrower student? Cut: the channels with the least variance behind the projection go, the rest "
    "stays as it is. Fitted: the cheapest go one after another, each projection in least squares on "
    f"{IMAGES} crops. Recovered: {STEPS} steps of 64 crops towards the whole net's answers. From scratch: a net of the "
    "very same shape with first weights, the same steps on the same views to the same target. Pruned nets inherit the "
    "long training of the whole one, which those steps cannot repeat; a narrower net that was trained in full shows "
    "what that would give. Seeds differ in first weights, and in the order and views of the crops.",
    models=("mobilenet_v2_050", "mobilenet_v2_035"),
    columns=(
        ("arm", "arm"),
        ("kept", "hidden channels kept, %"),
        ("parameters", "parameters"),
        ("macs", "M MACs"),
        ("accuracy", "accuracy %"),
        ("std", "± over folds"),
        ("accuracy_apart", "seeds apart by"),
    ),
    run=run,
    draw=draw,
)

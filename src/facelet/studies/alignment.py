"""What alignment is worth: nets trained on aligned crops, on others and on both, on crops aligned ever less well."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from facelet.embedder import Embedder
from facelet.evaluate.verification import fold_accuracy, pair_distances
from facelet.faces.align import center_crop
from facelet.faces.templates import load_template
from facelet.model_files import find_model, load_model
from facelet.studies.arms import BATCH, BF16, batch_size, distilled, going_on
from facelet.studies.croppings import AFFINE, CENTRE, CROPPINGS, SQUARE, is_random
from facelet.studies.failures import FAILED, policies
from facelet.studies.seeds import apart_by
from facelet.studies.study import Context, Row, Study, check_distinct

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Vectors = NDArray[np.float32]
Kind = tuple[str, int]
"""Template with landmarks and side: nets of one kind take the same crops."""

RECIPES = {"aligned": "standard", "unaligned": "unaligned", "both": "both"}
"""What a net is trained on, and the recipe of its views."""

STEPS, QUICK_STEPS = 400, 4
LEARNING_RATE = 2e-3
"""Half of an untrained net's, as the nets are fine-tuned."""

CHUNK = 256
"""Photos whose crops are held at a time."""


def run(context: Context) -> list[Row]:
    """Accuracy of every net with every cropping, and with each policy for photos in which no face is found."""
    nets = [*((None, [find_model(model)]) for model in context.models), *_trained(context).items()]
    embedders = [Embedder.load(path, context.backend, context.threads) for _, paths in nets for path in paths]
    check_distinct([embedder.card.name for embedder in embedders[: len(context.models)]])
    found = iter(zip(embedders, _embedded(context, embedders), strict=True))
    rows = []
    for way, paths in nets:
        trainings = [next(found) for _ in paths]
        card = trainings[0][0].card
        own = SQUARE if card.template == "box" else AFFINE
        told = {"model": f"{card.name}, {way}" if way else card.name, "trained": way}
        rows += [{**told, **row} for row in _rows(context, own, [vectors for _, vectors in trainings])]
    return rows


def _trained(context: Context) -> dict[str, list[Path]]:
    """By way, files one a seed: the first model, trained on by the second, who is asked about the aligned crop."""
    student, teacher = load_model(context.models[0]), context.models[1 % len(context.models)]
    steps = QUICK_STEPS if context.quick else STEPS
    needed = steps * batch_size(context)
    found: dict[str, list[Path]] = {way: [] for way in RECIPES}
    for seed in context.seeds:
        transfer = context.transfer
        if transfer.n_images > needed:  # what no step shows, the teacher need not see
            order = np.random.default_rng(seed).permutation(transfer.n_images)
            transfer = transfer.subset(np.sort(order[:needed]))
        for way, recipe in RECIPES.items():
            path = distilled(
                context,
                f"{way}-{seed}",
                transfer,
                steps,
                **going_on(student),
                teachers=(teacher,),
                learning_rate=LEARNING_RATE,
                recipe=recipe,
                seed=seed,
                **({} if context.quick else BF16),
            )
            found[way].append(path)
    return found


def _passes(context: Context) -> Iterator[tuple[str, int]]:
    """Each cropping with each seed that it needs; only those that policies need where the study is but tried."""
    for cropping in (AFFINE, SQUARE, CENTRE) if context.quick else CROPPINGS:
        for seed in context.seeds if is_random(cropping) else context.seeds[:1]:
            yield cropping, seed


def _embedded(context: Context, embedders: list[Embedder]) -> list[dict[tuple[str, int], Vectors]]:
    """Per net and pass, the embedding of every photo `(n, d)`; each photo is read once."""
    passes = list(_passes(context))
    parts: list[dict[tuple[str, int], list[Vectors]]] = [{each: [] for each in passes} for _ in embedders]
    kinds = list(dict.fromkeys(_kind(embedder) for embedder in embedders))
    streams = {(kind, each): np.random.default_rng(each[1]) for kind in kinds for each in passes}
    total = len(context.photos.faces)
    with context.progress("photos") as advance:
        for start in range(0, total, CHUNK):
            chosen = range(start, min(start + CHUNK, total))
            images = [context.photos.load(index) for index in chosen]
            for kind in kinds:
                for each in passes:
                    crops = _cropped(context, images, chosen, each[0], kind, streams[kind, each])
                    for embedder, mine in zip(embedders, parts, strict=True):
                        if _kind(embedder) == kind:
                            mine[each].append(embedder.embed(crops))
            advance(chosen.stop, total)
    return [{each: np.concatenate(found) for each, found in mine.items()} for mine in parts]


def _kind(embedder: Embedder) -> Kind:
    """A net for unaligned photos is laid where its crops lie on average, on "arcface"."""
    card = embedder.card
    return card.template if load_template(card.template).points else "arcface", card.height


def _cropped(
    context: Context,
    images: list[NDArray[np.uint8]],
    chosen: range,
    cropping: str,
    kind: Kind,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    template, side = kind
    crops = np.empty((len(images), side, side, 3), np.uint8)
    for row, (image, index) in enumerate(zip(images, chosen, strict=True)):
        face = context.photos.faces[index]
        if face is None:
            crops[row] = center_crop(image, side, side)
        else:
            crops[row] = CROPPINGS[cropping](image, face, template, side, rng)
    return crops


def _rows(context: Context, own: str, nets: list[dict[tuple[str, int], Vectors]]) -> list[Row]:
    """Rows of one net, or means over its trainings.

    Args:
        own: the cropping that the net is meant for, which the policies start from.
        nets: of each training, embeddings of all photos by cropping and seed.
    """
    pairs, first = context.photos.pairs, context.seeds[0]
    rows: list[Row] = []
    for cropping in dict.fromkeys(arm for arm, _ in nets[0]):
        found = [
            fold_accuracy(pair_distances(mine, pairs), pairs)
            for vectors in nets
            for (arm, _), mine in vectors.items()
            if arm == cropping
        ]
        means = [100 * folds.mean for folds in found]
        rows.append(
            {
                "arm": cropping,
                "policy": None,
                "accuracy": float(np.mean(means)),
                "apart": apart_by(means),
                "std": 100 * float(np.mean([folds.std for folds in found])),
                "told": 100.0,
                "seeds": len(found),
            }
        )
    verdicts = [policies(vectors[own, first], vectors[CENTRE, first], pairs, first) for vectors in nets]
    for policy in verdicts[0]:
        right = [100 * each[policy][0] for each in verdicts]
        rows.append(
            {
                "arm": own,
                "policy": policy,
                "accuracy": float(np.mean(right)),
                "apart": apart_by(right),
                "std": None,
                "told": 100 * verdicts[0][policy][1],
                "seeds": len(right),
            }
        )
    aligned = rows[0]["accuracy"]
    return [{**row, "lost": aligned - row["accuracy"]} for row in rows]


def draw(rows: list[Row], figure: Figure) -> None:
    """Left, a line of accuracies over croppings for each net, the trained ones thick; right, the policies."""
    croppings = list(dict.fromkeys(row["arm"] for row in rows if not row["policy"]))
    told = list(dict.fromkeys(row["policy"] for row in rows if row["policy"]))
    left, *others = figure.subplots(
        1, 2 if told else 1, width_ratios=(3, 1)[: 2 if told else 1], sharey=True, squeeze=False
    )[0]
    for name in dict.fromkeys(row["model"] for row in rows):
        mine = [row for row in rows if row["model"] == name]
        thick = mine[0]["trained"] is not None
        line = {"marker": "o", "linewidth": 2.2, "markersize": 5} if thick else {"marker": ".", "linewidth": 0.8}
        accuracy = {row["arm"]: row["accuracy"] for row in mine if not row["policy"]}
        drawn = left.plot(range(len(croppings)), [accuracy[arm] for arm in croppings], label=name, **line)
        with_policy = {row["policy"]: row["accuracy"] for row in mine if row["policy"]}
        for right in others:
            right.plot(
                range(len(told)),
                [with_policy[policy] for policy in told],
                **{**line, "linestyle": "none", "color": drawn[0].get_color()},
            )
    for axes, labels in zip((left, *others), (croppings, told), strict=False):
        axes.set_xticks(range(len(labels)), labels=labels, rotation=40, ha="right", fontsize=7)
        axes.grid(alpha=0.3)
    left.set_ylim(50, 100)
    left.set_ylabel("accuracy, %")
    for right in others:
        right.set_xlim(-0.5, len(told) - 0.5)
        right.set_title(f"{FAILED} % not found", fontsize=8)
    left.legend(fontsize=7, loc="lower left")


ALIGNMENT = Study(
    name="alignment",
    title="What alignment is worth",
    question="The original work found that leaving the affine step out costs only a modest amount. Here nets that "
    "were trained on aligned crops meet crops that are aligned ever less well, and so do three nets that differ in "
    f"what they saw: the first model is fine-tuned for {STEPS} steps of {BATCH} crops (a short schedule, "
    "the same for each), shown aligned views, views that lie as the square around a detector's box does "
    "(`--recipe unaligned`), or one or the other by a coin (`--recipe both`), and its target is always the second "
    "model's embedding of the aligned crop. Seeds differ in the crops that are drawn for that training, their order "
    "and their views; and in the noise of the landmarks.",
    models=("mobilenet_v2_035", "facelet_s", "mobilenet_v2_050", "nn4_small2"),
    columns=(
        ("model", "model"),
        ("arm", "crop"),
        ("policy", f"{FAILED} % not found"),
        ("accuracy", "accuracy %"),
        ("std", "± over folds"),
        ("apart", "seeds apart by"),
        ("lost", "points lost"),
        ("told", "pairs with a verdict %"),
        ("seeds", "seeds"),
    ),
    run=run,
    draw=draw,
)

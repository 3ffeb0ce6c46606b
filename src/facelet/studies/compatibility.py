"""Whether a student's embeddings can be compared with a gallery that another net embedded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from facelet.canvas import embed_canvas
from facelet.embedder import Embedder
from facelet.evaluate.verification import fold_accuracy
from facelet.quantize.search import unit
from facelet.studies.study import Context, Row, Study, aligned_crops, check_distinct

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Vectors = NDArray[np.float32]
RIDGE = 1e-3
"""Of the mean squared length of the vectors: keeps the fitted map from following noise."""


def fitted_map(source: Vectors, target: Vectors) -> Vectors:
    """The linear map that brings `source` nearest to `target` in least squares, `(d_source, d_target)`."""
    gram = source.T @ source
    return np.asarray(
        np.linalg.solve(gram + RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram)), source.T @ target), np.float32
    )


def run(context: Context) -> list[Row]:
    """Every model against every other: probes of one, gallery of the other, straight and through a linear map."""
    embedders = [Embedder.load(name, context.backend, context.threads) for name in context.models]
    check_distinct([e.card.name for e in embedders])
    measured = {e.card.name: e.embed(aligned_crops(context, e.card)) for e in embedders}
    learned = {}
    with context.progress("vectors to fit on") as advance:
        for done, embedder in enumerate(embedders):
            learned[embedder.card.name] = embed_canvas(embedder, context.learn)
            advance(done + 1, len(embedders))
    rows = []
    for probe in measured:
        for gallery in measured:
            mapped = unit(measured[probe] @ fitted_map(learned[probe], learned[gallery]))
            straight = measured[probe].shape[1] == measured[gallery].shape[1]
            rows.append(
                {
                    "probe": probe,
                    "gallery": gallery,
                    "straight": _across(context, measured[probe], measured[gallery]) if straight else None,
                    "mapped": None if probe == gallery else _across(context, mapped, measured[gallery]),
                    "cosine": None if probe == gallery else float((mapped * measured[gallery]).sum(axis=1).mean()),
                }
            )
    return rows


def _across(context: Context, left: Vectors, right: Vectors) -> float:
    """Accuracy in per cent where the left photo of each pair is embedded by one net and the right one by another."""
    pairs = context.photos.pairs
    differences = left[pairs.left] - right[pairs.right]
    distances = np.clip(np.einsum("ij,ij->i", differences, differences), 0, 4)
    return 100 * fold_accuracy(distances, pairs).mean


def draw(rows: list[Row], figure: Figure) -> None:
    """Two heat maps: straight and mapped."""
    probes = list(dict.fromkeys(row["probe"] for row in rows))
    for place, key in enumerate(("straight", "mapped"), start=1):
        axes = figure.add_subplot(1, 2, place)
        table = np.array(
            [[_value(rows, probe, gallery, key) for gallery in probes] for probe in probes], dtype=np.float64
        )
        axes.imshow(table, vmin=50, vmax=100, cmap="viridis")
        axes.set_title({"straight": "as they are", "mapped": "through a linear map"}[key])
        axes.set_xticks(range(len(probes)), labels=probes, rotation=40, ha="right", fontsize=7)
        axes.set_yticks(range(len(probes)), labels=probes, fontsize=7)
        axes.set_xlabel("gallery")
        axes.set_ylabel("probe")
        for (i, j), value in np.ndenumerate(table):
            if np.isfinite(value):
                axes.text(j, i, f"{value:.1f}", ha="center", va="center", fontsize=7, color="w" if value < 85 else "k")


def _value(rows: list[Row], probe: str, gallery: str, key: str) -> float:
    row = next(row for row in rows if (row["probe"], row["gallery"]) == (probe, gallery))
    own = row["straight"] if probe == gallery else row[key]
    return float("nan") if own is None else float(own)


COMPATIBILITY = Study(
    name="compatibility",
    title="One net's probe, another net's gallery",
    question="Can a student's embedding be compared with a gallery that its teacher, or another student, embedded? As "
    "it is, or through a linear map that is fitted on crops of the transfer set, without labels.",
    models=("facelet_s", "facelet_s_int8", "facelet_xs", "mobilenet_v2_050", "nn4_small2"),
    columns=(
        ("probe", "probe"),
        ("gallery", "gallery"),
        ("straight", "as they are, %"),
        ("mapped", "through a map, %"),
        ("cosine", "cosine of mapped and gallery vector of one photo"),
    ),
    run=run,
    draw=draw,
    views=(2, 1),
    seeded=False,
)

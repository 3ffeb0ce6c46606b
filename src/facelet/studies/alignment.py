"""What alignment is worth: the same nets on crops that are aligned ever less well."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from facelet.embedder import Embedder
from facelet.evaluate.verification import fold_accuracy, pair_distances
from facelet.faces.align import box_crop, center_crop, similarity, square_crop, warp_to
from facelet.faces.detect import Face
from facelet.faces.templates import load_template
from facelet.studies.study import Context, Photos, Row, Study

Crop = NDArray[np.uint8]
Cropper = Callable[[Crop, Face, str, int, np.random.Generator], Crop]
"""Photo, face, template, side of the crop and a stream of numbers to a square crop."""

EYES = (0, 1)
"""Of the five landmarks."""

CHUNK = 512


def affine(image: Crop, face: Face, template: str, side: int, rng: np.random.Generator, jitter: float = 0.0) -> Crop:
    """The similarity of all five landmarks, each moved by noise of `jitter` per cent of the distance of the eyes."""
    eyes = face.landmarks[list(EYES)]
    step = jitter / 100 * float(np.linalg.norm(eyes[0] - eyes[1]))
    moved = face.landmarks + rng.normal(0, 1, face.landmarks.shape) * step
    return _laid(image, moved, face, template, side, range(len(moved)))


def eyes_only(image: Crop, face: Face, template: str, side: int, rng: np.random.Generator) -> Crop:
    """The similarity that brings both eyes to their places."""
    return _laid(image, face.landmarks, face, template, side, EYES)


def _laid(
    image: Crop, landmarks: NDArray[np.float64], face: Face, template: str, side: int, chosen: range | tuple[int, ...]
) -> Crop:
    laid = load_template(template)
    points = laid.points[face.scheme]
    matrix = similarity(landmarks[list(chosen)], points[list(chosen)])
    return warp_to(image, matrix, laid.box, side, side)


def box(image: Crop, face: Face, template: str, side: int, rng: np.random.Generator, margin: float = 0.0) -> Crop:
    """The upright square around the detector's box; with a margin in per cent of its own side all around."""
    if not margin:
        return box_crop(image, face, side, side)
    x0, y0, x1, y1 = face.box
    long = max(x1 - x0, y1 - y0) * (1 + 2 * margin / 100)
    return square_crop(image, (x0 + x1) / 2, (y0 + y1) / 2, long, side, side)


ARMS: dict[str, Cropper] = {
    "five-point affine": affine,
    "eyes only": eyes_only,
    "affine, landmarks off by 5 %": partial(affine, jitter=5.0),
    "affine, landmarks off by 10 %": partial(affine, jitter=10.0),
    "affine, landmarks off by 20 %": partial(affine, jitter=20.0),
    "box like the template": box,
    "box, margin 10 %": partial(box, margin=10.0),
    "box, margin 20 %": partial(box, margin=20.0),
    "box, margin 40 %": partial(box, margin=40.0),
}


def run(context: Context) -> list[Row]:
    """Accuracy of every model with every way to crop; photos without a face take the centre."""
    rows = []
    for name in context.models:
        embedder = Embedder.load(name, threads=context.threads)
        aligned: float | None = None
        for arm, cropper in ARMS.items():
            seeds = context.seeds if "off" in arm else context.seeds[:1]
            found = [_accuracy(context, embedder, arm, cropper, seed) for seed in seeds]
            folds = np.array([accuracy for accuracy, _ in found])
            accuracy = 100 * float(folds.mean())
            aligned = accuracy if aligned is None else aligned
            rows.append(
                {
                    "model": embedder.card.name,
                    "arm": arm,
                    "accuracy": accuracy,
                    "std": 100 * float(np.mean([std for _, std in found])),
                    "lost": aligned - accuracy,
                    "seeds": len(seeds),
                }
            )
    return rows


def _accuracy(context: Context, embedder: Embedder, arm: str, cropper: Cropper, seed: int) -> tuple[float, float]:
    photos, card = context.photos, embedder.card
    rng = np.random.default_rng(seed)
    parts = []
    with context.progress(f"{card.name}, {arm}") as advance:
        total = len(photos.faces)
        for start in range(0, total, CHUNK):
            chosen = range(start, min(start + CHUNK, total))
            crops = [_cropped(photos, index, cropper, card.template, card.height, rng) for index in chosen]
            parts.append(embedder.embed(np.stack(crops)))
            advance(chosen.stop, total)
    folds = fold_accuracy(pair_distances(np.concatenate(parts), photos.pairs), photos.pairs)
    return folds.mean, folds.std


def _cropped(photos: Photos, index: int, cropper: Cropper, template: str, side: int, rng: np.random.Generator) -> Crop:
    image, face = photos.load(index), photos.faces[index]
    return center_crop(image, side, side) if face is None else cropper(image, face, template, side, rng)


def draw(rows: list[Row], figure: Figure) -> None:
    """Bars of accuracy, one group an arm."""
    axes = figure.add_subplot()
    models = list(dict.fromkeys(row["model"] for row in rows))
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    width = 0.8 / len(models)
    for place, model in enumerate(models):
        mine = {row["arm"]: row for row in rows if row["model"] == model}
        axes.bar(
            np.arange(len(arms)) + (place - (len(models) - 1) / 2) * width,
            [mine[arm]["accuracy"] for arm in arms],
            width,
            label=model,
        )
    axes.set_xticks(range(len(arms)), labels=arms, rotation=30, ha="right", fontsize=8)
    axes.set_ylim(min(50, *(row["accuracy"] for row in rows)), 100)
    axes.set_ylabel("accuracy, %")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=8)


ALIGNMENT = Study(
    name="alignment",
    title="What alignment is worth",
    question="The original work found that leaving the affine step out costs only a modest amount. Here nets that "
    "were trained on aligned crops meet crops that are aligned ever less well. What a net that was trained without "
    "alignment, or on both, would lose is not measured here.",
    models=("facelet_s", "facelet_xs", "mobilenet_v2_050", "nn4_small2"),
    columns=(
        ("model", "model"),
        ("arm", "crop"),
        ("accuracy", "accuracy %"),
        ("std", "± over folds"),
        ("lost", "points lost"),
        ("seeds", "seeds"),
    ),
    run=run,
    draw=draw,
)

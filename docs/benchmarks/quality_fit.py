"""The table of `facelet.faces.quality`: fits it and writes it.

python docs/benchmarks/quality_fit.py LFW YUNET OUT.json    # the folder of LFW, the file of YuNet; some 15 minutes

Degrades one photo each of 165 people of View 1's train part in the ways that `evaluate.troubles` marks as fitted, and
fits to each face how much more alike the strangers are whose photos are degraded alike. What counts as clear is the
range of the photos of View 1's genuine pairs. The other ways, and the people of the test part, are only measured
(`facelet evaluate MODEL --data LFW --benchmark trouble`).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from facelet.assets import cache_dir
from facelet.atomic import write_text_atomic
from facelet.data.lfw import load_lfw
from facelet.embedder import Embedder
from facelet.evaluate.troubles import TROUBLES
from facelet.faces.align import align
from facelet.faces.crops import CropCache, benchmark_faces
from facelet.faces.detectors import default_detector, load_detector
from facelet.faces.images import read_image
from facelet.faces.landmarks import five_landmarks
from facelet.faces.quality import FULL_SHIFT, steps_outside
from facelet.faces.quality_measures import face_measures
from facelet.faces.selection import main_face

Rows = dict[str, tuple[list[dict[str, float]], NDArray[np.float32]]]

N_PEOPLE = 165
MODEL = "facelet_s"

TERMS: tuple[tuple[str, bool, str], ...] = (
    ("detail_2_4", True, "blurred"),
    ("detail_2_8", True, "blurred"),
    ("detail_4_8", True, "blurred"),
    ("detail_4", True, "blurred"),
    ("streaks", True, "blurred"),
    ("eyes_px", True, "small"),
    ("detail_1_4", False, "noisy"),
    ("detail_2_8", False, "noisy"),
    ("spread_1", False, "noisy"),
    ("spread_2", False, "noisy"),
    ("level_2", False, "noisy"),
    ("level_4", False, "noisy"),
    ("noise", False, "noisy"),
    ("contrast", True, "low in contrast"),
    ("range", True, "low in contrast"),
    ("dark", False, "too dark"),
    ("light", False, "too bright"),
    ("glare", False, "too bright"),
    ("misfit", False, "turned away"),
    ("eyes_light", True, "eyes covered"),
    ("eyes_detail", True, "eyes covered"),
    ("eye_detail", True, "eyes covered"),
    ("left_colour", False, "eyes covered"),
    ("right_colour", False, "eyes covered"),
    ("nose_detail", True, "partly covered"),
    ("mouth_detail", True, "partly covered"),
    ("mouth_colour", False, "partly covered"),
    ("flat", False, "partly covered"),
    ("spread_2", True, "partly covered"),
    ("texture", True, "no fine texture"),
)
"""Measure, whether low is bad, and the words for the user."""

TAIL = {"nose_detail": 0.01, "texture": 0.01}
"""Share of clear photos outside the range, where it is not `USUAL_TAIL`: they differ more in other sets than in LFW."""

USUAL_TAIL = 0.05

LEAST_UNIT = {"noise": 0.01, "dark": 0.05, "glare": 0.03, "flat": 0.02}
"""Of measures that hardly vary on clear photos; 0.001 of the others."""

MOST_STEPS = {"texture": 3.0}
"""Steps that a term counts for at most, where it is not `USUAL_STEPS`: drawings have no texture at all."""

USUAL_STEPS = 20.0

FLOOR = {"contrast": 0.0045, "range": 0.0045}
"""Least weight, before `SCALE`, where it is not `USUAL_FLOOR`: whatever is abnormal counts a little, also where no row
of the fit needs it."""

USUAL_FLOOR = 0.0015

EMPHASIS = {"hand": 2.0, "noise 20": 2}
"""Of a row in the fit; 1 of the others."""

CLEAN_EMPHASIS, LOW_EMPHASIS = 6.0, 6.0
"""Of clean photos, and of faces whose estimate is too low, in the squared error."""

SCALE, TOLERANCE = 1.85, 0.03
"""All weights are multiplied by the first; the second is taken off the sum. Chosen on View 1: as little loss on clean
photos as keeps every row below 3e-3."""

DEVIATIONS = 2.5
"""Strangers' similarity that is fitted: mean plus so many standard deviations of each face's."""


def hinges(measures: list[dict[str, float]], edges: list[tuple[float, float]]) -> NDArray[np.float64]:
    """Steps outside the range, `(n, n_terms)`."""
    return np.array(
        [
            [
                steps_outside(face[name], low, *edge, MOST_STEPS.get(name, USUAL_STEPS))
                for (name, low, _), edge in zip(TERMS, edges, strict=True)
            ]
            for face in measures
        ]
    )


def clear_edges(clean: list[dict[str, float]]) -> list[tuple[float, float]]:
    """Edge and unit of each term."""
    edges = []
    for name, low, _ in TERMS:
        values, tail = np.array([face[name] for face in clean]), TAIL.get(name, USUAL_TAIL)
        unit = float(np.quantile(values, 0.84) - np.quantile(values, 0.16)) / 2
        edge = float(np.quantile(values, tail if low else 1 - tail))
        edges.append((edge, max(unit, LEAST_UNIT.get(name, 1e-3))))
    return edges


def strangers(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """How alike each face is to the nearer of the others, `(n,)`."""
    alike = (vectors @ vectors.T).astype(np.float64)
    np.fill_diagonal(alike, np.nan)
    told: NDArray[np.float64] = np.nanmean(alike, axis=1) + DEVIATIONS * np.nanstd(alike, axis=1)
    return told


def weights(rows: Rows, clean: list[dict[str, float]], edges: list[tuple[float, float]]) -> NDArray[np.float64]:
    """Weight of each term: non-negative least squares, in which too low an estimate counts more than too high a one."""
    usual = float(np.median(strangers(rows["clean"][1])))
    steps, rise = [CLEAN_EMPHASIS * hinges(clean[::2], edges)], [np.zeros(len(clean[::2]))]
    for name, (measures, vectors) in rows.items():
        factor = EMPHASIS.get(name, 1.0)
        steps.append(factor * hinges(measures, edges))
        rise.append(factor * np.clip(strangers(vectors) - usual, 0, FULL_SHIFT))
    a, y = np.concatenate(steps), np.concatenate(rise)
    floor = np.array([FLOOR.get(name, USUAL_FLOOR) for name, _, _ in TERMS])
    found = floor
    for _ in range(20):
        factor = np.where(a @ found < y, LOW_EMPHASIS**0.5, 1.0)
        found = floor + nnls(a * factor[:, None], (y - a @ floor) * factor)[0]
    return np.asarray(found * SCALE)


SHARPNESS = ("detail_1_4", "detail_2_4", "detail_2_8", "detail_4_8")


def ln_resolution(rows: Rows) -> dict[str, float]:
    """Factors of the measures, and the offset "1", that tell ln of the width that a face was enlarged from."""
    enlarged = [(name, float(name.split()[1])) for name in rows if name.startswith("enlarged")]
    a = np.array([[*(face[name] for name in SHARPNESS), 1.0] for row, _ in enlarged for face in rows[row][0]])
    y = np.concatenate([np.full(len(rows[row][0]), np.log(width)) for row, width in enlarged])
    factors = np.linalg.lstsq(a, y, rcond=None)[0]
    print(f"resolution: off by a factor of {np.exp(np.std(a @ factors - y)):.3f}")  # noqa: T201
    return dict(zip((*SHARPNESS, "1"), np.round(factors, 4).tolist(), strict=True))


def measured_rows(lfw: Path, yunet: Path) -> tuple[Rows, list[dict[str, float]]]:
    """Measures and embeddings of the degraded photos, and measures of the clear ones."""
    pairs, root = load_lfw(lfw, view=1)
    first = {}
    for index in np.unique(np.concatenate([pairs.left[pairs.fold == 0], pairs.right[pairs.fold == 0]])):
        first.setdefault(pairs.images[index].split("/")[0], pairs.images[index])
    names = sorted(first)
    people = sorted(names[number] for number in np.random.default_rng(7).permutation(len(names))[:N_PEOPLE])
    detector, embedder = load_detector("yunet_refined", yunet), Embedder.load(MODEL)
    card, rows = embedder.card, {}
    photos = [read_image(root / first[name]) for name in people]
    places = [five_landmarks(main_face(detector.detect(photo), *photo.shape[:2])) for photo in photos]
    for name, trouble in TROUBLES.items():
        measures, crops = [], []
        for index, (photo, points) in enumerate(zip(photos, places, strict=True)) if trouble.fitted else ():
            worse = trouble.apply(photo, points, np.random.default_rng([3, index]))
            found = detector.detect(worse)
            if found:
                face = main_face(found, *worse.shape[:2])
                measures.append(face_measures(worse, face))
                crops.append(align(worse, face, card.template, card.height, card.width))
        if crops:
            rows[name] = (measures, embedder.embed(crops))
            print(f"{name}: {len(crops)} faces")  # noqa: T201
    used = np.unique(np.concatenate([pairs.left[pairs.same], pairs.right[pairs.same]]))
    paths = [root / pairs.images[index] for index in used]
    faces = benchmark_faces(paths, default_detector(), CropCache(cache_dir() / "crops"))
    clean = [face_measures(read_image(path), face) for path, face in zip(paths, faces, strict=True) if face is not None]
    return rows, clean


def table(rows: Rows, clean: list[dict[str, float]]) -> dict[str, Any]:
    """What `quality.json` holds."""
    edges = clear_edges(clean)
    found = weights(rows, clean, edges).tolist()
    terms = [
        {
            "measure": name,
            "low": low,
            "edge": round(edge, 5),
            "unit": round(unit, 5),
            "weight": round(weight, 5),
            "cause": cause,
            "most_steps": MOST_STEPS.get(name, USUAL_STEPS),
        }
        for (name, low, cause), (edge, unit), weight in zip(TERMS, edges, found, strict=True)
    ]
    return {"tolerance": TOLERANCE, "terms": terms, "ln_resolution": ln_resolution(rows)}


def main(lfw: Path, yunet: Path, out: Path) -> None:
    """Writes the table."""
    write_text_atomic(out, json.dumps(table(*measured_rows(lfw, yunet)), indent=1) + "\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))

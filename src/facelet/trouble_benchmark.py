"""The benchmark "trouble": how often `verify` calls strangers one person where both photos are bad in the same way.

Takes people of LFW's View 1 with two photos or more, degrades both photos of each (`evaluate.troubles`), runs what
`verify` runs, and compares everybody with everybody. `people_benchmarks` lists it.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facelet.atomic import write_bytes_atomic
from facelet.benchmark import Progress, embed_crops, no_progress
from facelet.data.lfw import load_lfw
from facelet.data.pairs import Pairs
from facelet.embedder import Embedder
from facelet.evaluate.people_report import PeopleReport, Row
from facelet.evaluate.png import Plot
from facelet.evaluate.trouble_plots import reject_png, trouble_png
from facelet.evaluate.troubles import TROUBLES, Photo, Trouble
from facelet.faces.align import align
from facelet.faces.crops import CropCache, benchmark_faces
from facelet.faces.detect import Detector, Face
from facelet.faces.detectors import default_detector
from facelet.faces.images import read_image
from facelet.faces.landmarks import five_landmarks
from facelet.faces.orientation import find_faces
from facelet.faces.quality import FULL_SHIFT, MIN_QUALITY, face_quality, quality_version

VERSION = "1"
"""Part of the cache's keys; goes up where a degradation, the choice of photos or the quality changes."""

N_PEOPLE = 100
"""Of whom two photos are taken: 19,800 pairs of strangers in a row."""

FAR = 1e-3
"""The rate that is promised."""

BAR = 3e-3
"""The rate that no row may exceed."""

REJECTED = tuple(step / 20 for step in range(20))
"""Shares of the pairs, those of the worst quality, that the curve leaves out."""


@dataclass(frozen=True, eq=False)
class TroubleFaces:
    """Faces of photos that are bad in one way.

    Attributes:
        crops: `(n, height, width, 3)` uint8 RGB; of no meaning where no face was found.
        found: `(n,)` bool.
        quality: score of each, `(n,)` float64 in [0, 1]; 0 where no face was found.
    """

    crops: NDArray[np.uint8]
    found: NDArray[np.bool_]
    quality: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Verdicts:
    """What `faces.quality.judge` says of many pairs, as arrays `(n,)`.

    Attributes:
        near: bool, the distance is below the card's threshold.
        same: bool, called one person.
        uncertain: bool, called uncertain.
    """

    near: NDArray[np.bool_]
    same: NDArray[np.bool_]
    uncertain: NDArray[np.bool_]


def judge_all(distances: NDArray[Any], threshold: float, a: NDArray[Any], b: NDArray[Any]) -> Verdicts:
    """`faces.quality.judge` for arrays.

    Args:
        distances: squared, `(n,)`.
        threshold: of the card.
        a: score of one face of each pair, `(n,)`.
        b: of the other.
    """
    asked = threshold - 2 * FULL_SHIFT * (1 - np.maximum(a, b))
    near, poor = distances < threshold, np.minimum(a, b) < MIN_QUALITY
    same = (distances < asked) & ~poor
    return Verdicts(near, same, poor | (near & ~same))


@dataclass(frozen=True)
class _Run:
    """What is measured, and how; the arguments of `measure_trouble`."""

    embedder: Embedder
    detector: Detector
    threshold: float
    folder: Path
    seed: int
    progress: Progress


def measure_trouble(
    embedder: Embedder,
    data: Path,
    folder: Path,
    detector: Detector | None = None,
    seed: int = 0,
    progress: Progress = no_progress,
) -> PeopleReport:
    """Rates of true and false accepts in each row of `TROUBLES`, and the error-versus-reject curve over all rows.

    Args:
        embedder: the model.
        data: LFW's folder.
        folder: of the cache.
        detector: what finds the faces; None is the default one.
        seed: of the choice of people and of what is drawn on the photos.
        progress: opens a progress bar.

    Raises:
        MissingFileError: data that is not there.
        ProtocolError: LFW that is not as published.
        ModelError: the card has no threshold for `FAR`.
        InputError: the cache cannot be written.
    """
    finder = detector or default_detector()
    run = _Run(embedder, finder, embedder.card.threshold_at(FAR), folder, seed, progress)
    pairs, root = load_lfw(data, view=1, cache_dir=folder)
    photos = chosen_photos(pairs, seed)
    paths = [root / pairs.images[index] for index in photos]
    with progress("landmarks of the clean photos") as advance:
        faces = benchmark_faces(paths, finder, CropCache(folder / "crops"), advance)
    person = np.repeat(np.arange(len(photos) // 2), 2)
    rows: dict[str, dict[str, Any]] = {}
    pooled: list[_Pool] = []
    for name, trouble in TROUBLES.items():
        found = _trouble_faces(run, paths, faces, name)
        rows[name], pool = _row(run, trouble, found, person)
        pooled.append(pool)
    clean = _clean_pairs(run, pairs, root)
    curve = _reject_curve(pooled)
    setting = {
        "model": embedder.card.name,
        "model_sha256": embedder.model.sha256,
        "backend": embedder.backend,
        "benchmark": "trouble",
        "detector": finder.name,
        "detector_version": finder.version,
        "template": embedder.card.template,
        "view": 1,
        "seed": seed,
    }
    figures = {
        "far_promised": FAR,
        "threshold": run.threshold,
        "n_people": len(photos) // 2,
        "rows": rows,
        "clean_pairs": clean,
        "reject_curve": curve,
    }
    plots: dict[str, Plot] = {"trouble": partial(trouble_png, rows, FAR, BAR), "reject": partial(reject_png, curve)}
    return PeopleReport(setting, figures, _table(rows, clean), plots)


def chosen_photos(pairs: Pairs, seed: int, n_people: int = N_PEOPLE) -> NDArray[np.int64]:
    """Two photos of each of some people of View 1, `(2 n,)` indices into `pairs.images`, a person's side by side.

    Args:
        pairs: View 1.
        seed: of the choice.
        n_people: at most; all where there are fewer.
    """
    by_person: dict[str, tuple[int, int]] = {}
    for left, right in zip(pairs.left[pairs.same], pairs.right[pairs.same], strict=True):
        by_person.setdefault(pairs.images[left].split("/")[0], (int(left), int(right)))
    names = sorted(by_person)
    drawn = np.random.default_rng(seed).permutation(len(names))[:n_people]
    return np.array([index for number in sorted(drawn) for index in by_person[names[number]]], dtype=np.int64)


def _trouble_faces(run: _Run, paths: list[Path], faces: tuple[Face | None, ...], name: str) -> TroubleFaces:
    """The faces of the photos degraded in one way, from the cache where they are there."""
    card = run.embedder.card
    digest = hashlib.sha256("".join(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths).encode())
    for part in (
        VERSION,
        quality_version(),
        run.detector.version,
        name,
        run.seed,
        card.template,
        card.height,
        card.width,
    ):
        digest.update(f"\n{part}".encode())
    file = run.folder / "trouble" / f"{digest.hexdigest()[:40]}.npz"
    shape = (len(paths), card.height, card.width, 3)
    cached = _load(file, shape)
    if cached is not None:
        return cached
    crops, found, scores = np.zeros(shape, np.uint8), np.zeros(len(paths), np.bool_), np.zeros(len(paths))
    with run.progress(name) as advance:
        for index, (path, face) in enumerate(zip(paths, faces, strict=True)):
            if face is not None:
                random = np.random.default_rng([run.seed, index])
                photo = TROUBLES[name].apply(read_image(path), five_landmarks(face), random)
                taken = _main_face(photo, run.detector)
                if taken is not None:
                    crops[index] = align(photo, taken, card.template, card.height, card.width)
                    found[index], scores[index] = True, face_quality(photo, taken).score
            advance(index + 1, len(paths))
    file.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    np.savez(content, crops=crops, found=found, quality=scores)
    write_bytes_atomic(file, content.getvalue())
    return TroubleFaces(crops, found, scores)


def _load(file: Path, shape: tuple[int, ...]) -> TroubleFaces | None:
    """Cached faces; None where they are not there or damaged."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            faces = TroubleFaces(arrays["crops"], arrays["found"], arrays["quality"])
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None
    return faces if faces.crops.shape == shape and faces.found.shape == faces.quality.shape == shape[:1] else None


def _main_face(photo: Photo, detector: Detector) -> Face | None:
    """The face that `verify` compares; None where it finds none."""
    found = find_faces(photo, detector, every=False)
    return found.faces[0] if found.faces else None


@dataclass(frozen=True, eq=False)
class _Pool:
    """Pairs of one row, for the curve: worse quality of each, whether below the threshold, whether genuine; `(n,)`."""

    quality: NDArray[np.float64]
    near: NDArray[np.bool_]
    genuine: NDArray[np.bool_]


def _row(run: _Run, trouble: Trouble, faces: TroubleFaces, person: NDArray[np.int64]) -> tuple[dict[str, Any], _Pool]:
    """The figures of one row; rates are shares of all pairs whose faces were found, None where there are none."""
    there = np.flatnonzero(faces.found)
    base = {"what": trouble.what, "fitted": trouble.fitted, "found": float(faces.found.mean())}
    vectors = np.empty((0, run.embedder.card.embedding_size), np.float32)
    if len(there):
        vectors = embed_crops(run.embedder, faces.crops[there], False, lambda _done, _total: None)
    left, right = np.triu_indices(len(there), 1)
    distances = np.clip(2 - 2 * (vectors @ vectors.T)[left, right], 0, 4)
    score = faces.quality[there]
    verdicts = judge_all(distances, run.threshold, score[left], score[right])
    genuine = person[there][left] == person[there][right]
    figures = {
        **base,
        "quality": float(np.median(score)) if len(score) else None,
        "n_genuine": int(genuine.sum()),
        "n_strangers": int((~genuine).sum()),
        "far_plain": _share(verdicts.near[~genuine]),
        "far": _share(verdicts.same[~genuine]),
        "tar_plain": _share(verdicts.near[genuine]),
        "tar": _share(verdicts.same[genuine]),
        "uncertain_strangers": _share(verdicts.uncertain[~genuine]),
        "uncertain_genuine": _share(verdicts.uncertain[genuine]),
    }
    return figures, _Pool(np.minimum(score[left], score[right]), verdicts.near, genuine)


def _share(claims: NDArray[np.bool_]) -> float | None:
    return float(claims.mean()) if len(claims) else None


def _clean_pairs(run: _Run, pairs: Pairs, root: Path) -> dict[str, float]:
    """True accepts on all genuine pairs of View 1 as they are, without and with the quality."""
    left, right = pairs.left[pairs.same], pairs.right[pairs.same]
    used = np.unique(np.concatenate([left, right]))
    paths = tuple(root / pairs.images[index] for index in used)
    card, cache = run.embedder.card, CropCache(run.folder / "crops")
    with run.progress("clean photos") as advance:
        faces = benchmark_faces(paths, run.detector, cache, advance)
    crops, scores = np.zeros((len(used), card.height, card.width, 3), np.uint8), np.zeros(len(used))
    with run.progress("clean crops") as advance:
        for index, (path, face) in enumerate(zip(paths, faces, strict=True)):
            if face is not None:
                photo = read_image(path)
                crops[index] = align(photo, face, card.template, card.height, card.width)
                scores[index] = face_quality(photo, face).score
            advance(index + 1, len(used))
    with run.progress("embeddings") as advance:
        vectors = embed_crops(run.embedder, crops, False, advance)
    a, b = np.searchsorted(used, left), np.searchsorted(used, right)
    distances = np.square(vectors[a] - vectors[b]).sum(axis=1)
    verdicts = judge_all(distances, run.threshold, scores[a], scores[b])
    return {
        "n_pairs": len(left),
        "tar_plain": float(verdicts.near.mean()),
        "tar": float(verdicts.same.mean()),
        "uncertain": float(verdicts.uncertain.mean()),
        "poor_faces": float((scores < MIN_QUALITY).mean()),
    }


def _reject_curve(pools: list[_Pool]) -> dict[str, list[float]]:
    """False non-match and false match rate at the card's threshold, without the pairs of the worst quality.

    The pairs of all rows together, a pair's quality being that of its worse face.

    Source: Grother and Tabassi, "Performance of biometric quality measures", IEEE TPAMI 29 (4), 2007.
    """
    quality, near, genuine = (
        np.concatenate([getattr(pool, name) for pool in pools]) for name in ("quality", "near", "genuine")
    )
    order = np.argsort(quality, kind="stable")
    near, genuine = near[order], genuine[order]
    curve: dict[str, list[float]] = {"rejected": [], "fnmr": [], "fmr": []}
    for share in REJECTED:
        kept = slice(int(share * len(order)), None)
        if genuine[kept].any() and not genuine[kept].all():
            curve["rejected"].append(share)
            curve["fnmr"].append(float((~near[kept])[genuine[kept]].mean()))
            curve["fmr"].append(float(near[kept][~genuine[kept]].mean()))
    return curve


def _table(rows: dict[str, dict[str, Any]], clean: dict[str, float]) -> tuple[Row, ...]:
    """For people: each row's false accept rate without and with the quality."""

    def cell(value: float | None) -> str:
        return "-" if value is None else f"{value:.4f}"

    lines = [
        (
            name + ("" if row["fitted"] else " *"),
            f"FAR {cell(row['far_plain'])} -> {cell(row['far'])}, TAR {cell(row['tar_plain'])} -> {cell(row['tar'])}, "
            f"uncertain {cell(row['uncertain_strangers'])}, found {row['found']:.2f}",
        )
        for name, row in rows.items()
    ]
    head = (
        "all clean genuine pairs",
        f"TAR {clean['tar_plain']:.4f} -> {clean['tar']:.4f}, uncertain {clean['uncertain']:.4f}",
    )
    return head, *lines

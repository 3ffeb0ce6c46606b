"""A model measured beyond pairs of LFW: identification, clustering, held-out people, bad pictures.

Joins people, crops and embeddings with the figures of `evaluate`, as `benchmark` does for pairs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facelet.benchmark import CALIBRATION_FARS, Progress, embed_crops, no_progress
from facelet.cache import cache_dir
from facelet.canvas import canvas_inputs
from facelet.data.heldout import HELDOUT_FRACTION, HELDOUT_NOTE
from facelet.data.heldout_people import heldout_pairs, heldout_people
from facelet.data.lfw import load_lfw
from facelet.data.people import load_lfw_people
from facelet.data.transfer import open_transfer_set
from facelet.embedder import Embedder
from facelet.errors import InputError, UnknownNameError
from facelet.evaluate.clustering import best_clusters, score_clusters, sweep_clusters
from facelet.evaluate.identification import IDENTIFICATION_FARS, RANKS, identify_all
from facelet.evaluate.people_plots import clustering_png, identification_png, robustness_png
from facelet.evaluate.people_report import PeopleReport, Row
from facelet.evaluate.plots import roc_png
from facelet.evaluate.png import Plot
from facelet.evaluate.report import verify_pairs
from facelet.evaluate.robustness import DEGRADATIONS, degrade
from facelet.evaluate.verification import (
    accuracy_at,
    all_couples,
    best_threshold,
    impostor_threshold,
    pair_distances,
)
from facelet.faces.crops import BenchmarkCrops, CropCache, crop_benchmark
from facelet.faces.detect import Detector
from facelet.faces.detectors import default_detector
from facelet.linkage import MAX_FACES, merge_tree
from facelet.trouble_benchmark import measure_trouble

COUPLE_FARS: dict[str, float] = {"1e-2": 1e-2, "1e-3": 1e-3, "1e-4": 1e-4}
"""False accept rates over all couples of held-out people."""

CARD_FAR = "1e-3"
"""Of the card's threshold that clusters are also cut at: the one that `facelet cluster` takes."""


@dataclass(frozen=True)
class Request:
    """What is measured, and how.

    Attributes:
        embedder: the model.
        benchmark: key of `PEOPLE_BENCHMARKS`.
        data: LFW's folder, or the transfer set for "heldout".
        detector: what finds the faces on LFW; None is the default one.
        flip: add the embedding of the mirrored crop.
        align: False crops the detector's box in place of alignment.
        seed: of what is drawn: pairs of held-out people, places of the cover.
        progress: opens a progress bar.
        cache: folder for crops and packs; None is `cache.cache_dir()`.
    """

    embedder: Embedder
    benchmark: str
    data: Path
    detector: Detector | None = None
    flip: bool = False
    align: bool = True
    seed: int = 0
    progress: Progress = no_progress
    cache: Path | None = None

    @property
    def folder(self) -> Path:
        """Where crops and packs are kept."""
        return self.cache or cache_dir()


def measure(request: Request) -> PeopleReport:
    """Returns the figures of a model on one of `PEOPLE_BENCHMARKS`.

    Raises:
        UnknownNameError: no such benchmark.
        InputError: an option that the benchmark does not have.
        MissingFileError: data that is not there.
        ProtocolError: LFW that is not as published.
        TransferSetError: a transfer set without enough held-out people.
        ImageError: an image that cannot be read.
    """
    if request.benchmark not in PEOPLE_BENCHMARKS:
        raise UnknownNameError("benchmark", request.benchmark, PEOPLE_BENCHMARKS)
    return PEOPLE_BENCHMARKS[request.benchmark].run(request)


def measure_identification(request: Request) -> PeopleReport:
    """Closed and open set on LFW.

    The images are those that LFW's lists name (`load_lfw_people`), in the order of their numbers: gallery of 1,650
    people with two images or more, one image each, the first; 4,145 probes, the rest of their images; 3,261 impostors,
    the one image of everyone else. `Name_0001` comes first where the lists name it, else the lowest that is named.
    """
    people, root = load_lfw_people(request.data, request.folder)
    crops, setting = _lfw_crops(request, root, people.images)
    embeddings = _embed(request, crops.crops)
    figures, rows, plot = _identification(embeddings, people.person, setting["model"])
    return PeopleReport(setting, figures, rows, {"identification": plot})


def measure_clustering(request: Request) -> PeopleReport:
    """Clusters of the 5,795 images of the 1,650 LFW people with two images or more.

    Average linkage over squared distances, cut at each threshold of `SWEEP` and at the card's threshold for FAR 1e-3.
    The best of the sweep is chosen on these very images, so it is what a threshold could reach, not what one has.
    """
    people, root = load_lfw_people(request.data, request.folder)
    several = people.at_least(2)
    crops, setting = _lfw_crops(request, root, [people.images[index] for index in several])
    embeddings = _embed(request, crops.crops)
    figures, rows, plot = _clustering(request, embeddings, people.person[several])
    return PeopleReport(setting, figures, rows, {"clustering": plot})


def measure_heldout(request: Request) -> PeopleReport:
    """Verification, identification and clustering on the held-out labelled people of a transfer set.

    People are held out by a hash of their name (`data.heldout`). Whether the weights were trained without them is what
    the model's card says; without a word there, count on it that they saw these images, without labels. Verification
    is measured twice: on 6,000 pairs in ten folds without a common person, made as LFW's View 2 is, and over all
    couples of these crops, whose many impostors tell small false accept rates.
    """
    if not request.align:
        raise InputError(f"{request.benchmark}: the transfer set's crops come aligned; leave out --no-align")
    with request.progress("reading crops") as advance:
        transfer = open_transfer_set(request.data, request.folder, progress=advance)
    people, index = heldout_people(transfer)
    if len(index) > MAX_FACES:
        raise InputError(
            f"{request.data}: {len(index):,} held-out crops; more than {MAX_FACES:,} are not compared at once, give "
            "fewer shards"
        )
    pairs = heldout_pairs(people, request.seed)
    card = request.embedder.card
    embeddings = _embed(request, canvas_inputs(card, np.asarray(transfer.crops[index])))
    report = verify_pairs(embeddings, pairs)
    couples, same = all_couples(embeddings, people.person)
    several = people.at_least(2)
    identification, identification_rows, cmc = _identification(embeddings, people.person, card.name)
    clustering, clustering_rows, sweep = _clustering(request, embeddings[several], people.person[several])
    setting = {
        **_setting(request, "canvas"),
        "data_sha256": transfer.key,
        "heldout_fraction": HELDOUT_FRACTION,
        "trained_without_heldout": HELDOUT_NOTE in card.data,
        "seed": request.seed,
    }
    figures: dict[str, Any] = {
        "n_images": len(index),
        "n_people": people.n_people,
        "n_people_with_two": len(np.unique(people.person[several])),
        "verification": report.to_dict(),
        "couples": _couple_figures(request, couples, same),
        "identification": identification,
        "clustering": clustering,
    }
    rates = figures["couples"]["tar"]
    rows = (
        ("trained without these people", "yes" if setting["trained_without_heldout"] else "no, or not known"),
        ("people", f"{people.n_people:,}, {figures['n_people_with_two']:,} of them with two crops or more"),
        ("accuracy on 10-fold pairs", f"{_percent(report.accuracy)} ± {_percent(report.accuracy_std or 0.0)}"),
        *((f"TAR at FAR {far} on all couples", _percent(rate)) for far, rate in rates.items()),
        *identification_rows,
        *clustering_rows,
    )
    curve = {card.name: (report.distances, report.same)}
    return PeopleReport(
        setting, figures, rows, {"roc": partial(roc_png, curve), "identification": cmc, "clustering": sweep}
    )


def measure_robustness(request: Request) -> PeopleReport:
    """LFW View 1 with worse crops.

    The threshold is the best on the clean pairs of `pairsDevTrain.txt`; the accuracy is that of the 1,000 pairs of
    `pairsDevTest.txt` at this threshold with both images degraded, at each strength of `DEGRADATIONS`.
    """
    pairs, root = load_lfw(request.data, view=1, cache_dir=request.folder)
    crops, setting = _lfw_crops(request, root, pairs.images)
    embeddings = _embed(request, crops.crops)
    train = pairs.fold == 0
    distances = pair_distances(embeddings, pairs)
    threshold, _ = best_threshold(distances[train], pairs.same[train])
    clean = accuracy_at(distances[~train], pairs.same[~train], threshold)
    tested = np.unique(np.concatenate([pairs.left[~train], pairs.right[~train]]))
    subset = np.asarray(crops.crops[tested])
    steps = [(name, strength) for name, how in DEGRADATIONS.items() for strength in how.axis]
    accuracy: dict[str, dict[str, float]] = {name: {} for name in DEGRADATIONS}
    with request.progress("worse crops") as advance:
        for done, (name, strength) in enumerate(steps, start=1):
            if strength == DEGRADATIONS[name].clean:
                accuracy[name][f"{strength:g}"] = clean
            else:
                worse = embed_crops(
                    request.embedder, degrade(subset, name, strength, request.seed), request.flip, lambda _d, _t: None
                )
                embeddings[tested] = worse
                measured = pair_distances(embeddings, pairs)[~train]
                accuracy[name][f"{strength:g}"] = accuracy_at(measured, pairs.same[~train], threshold)
            advance(done, len(steps))
    figures = {
        "threshold": threshold,
        "n_pairs": int((~train).sum()),
        "clean_accuracy": clean,
        "accuracy": accuracy,
        "units": {name: how.what for name, how in DEGRADATIONS.items()},
    }
    rows = tuple(
        (f"{name} {strength}", _percent(value)) for name, by in accuracy.items() for strength, value in by.items()
    )
    model = setting["model"]
    return PeopleReport(
        {**setting, "view": 1, "seed": request.seed},
        figures,
        (("clean", _percent(clean)), ("threshold", f"{threshold:.4f}"), *rows),
        {"robustness": partial(robustness_png, {model: accuracy})},
    )


def measure_trouble_of(request: Request) -> PeopleReport:
    """`trouble_benchmark.measure_trouble` for a request."""
    if request.flip or not request.align:
        raise InputError("trouble: measures what verify does with aligned faces; leave --flip and --no-align out")
    return measure_trouble(
        request.embedder, request.data, request.folder, request.detector, request.seed, request.progress
    )


@dataclass(frozen=True)
class PeopleBenchmark:
    """One measurement by name.

    Attributes:
        what: one line about it.
        run: makes it.
    """

    what: str
    run: Callable[[Request], PeopleReport]


PEOPLE_BENCHMARKS: dict[str, PeopleBenchmark] = {
    "lfw-identification": PeopleBenchmark("ranks and open-set identification on LFW", measure_identification),
    "lfw-clustering": PeopleBenchmark("BCubed and pairwise F of clusters on LFW", measure_clustering),
    "heldout": PeopleBenchmark("all figures on held-out people of a transfer set", measure_heldout),
    "robustness": PeopleBenchmark(
        "LFW View 1 with blurred, compressed, small, covered, dark crops", measure_robustness
    ),
    "trouble": PeopleBenchmark("false accepts where both photos are bad alike", measure_trouble_of),
}
"""The measurements beyond pairs; `benchmark.BENCHMARKS` has the others."""


def _identification(
    embeddings: NDArray[np.float32], person: NDArray[np.int64], model: str
) -> tuple[dict[str, Any], tuple[Row, ...], Plot]:
    """Figures, rows and plot of one gallery."""
    found = identify_all(embeddings, person)
    fars = IDENTIFICATION_FARS if len(found.impostor) else {}  # without an impostor there is no false alarm
    figures: dict[str, Any] = {
        "n_gallery": found.n_gallery,
        "n_probes": len(found.rank),
        "n_impostors": len(found.impostor),
        "rank": {str(rank): found.rank_rate(rank) for rank in RANKS},
        "dir": {key: found.dir_at_far(far) for key, far in fars.items()},
        "thresholds": {key: found.threshold_at_far(far) for key, far in fars.items()},
    }
    rows = (
        ("gallery, probes, impostors", f"{found.n_gallery:,}, {len(found.rank):,}, {len(found.impostor):,}"),
        *((f"rank-{rank}", _percent(rate)) for rank, rate in figures["rank"].items()),
        *((f"DIR at FAR {far}", _percent(rate)) for far, rate in figures["dir"].items()),
    )
    return figures, rows, partial(identification_png, found, model)


def _clustering(
    request: Request, embeddings: NDArray[np.float32], person: NDArray[np.int64]
) -> tuple[dict[str, Any], tuple[Row, ...], Plot]:
    """Figures, rows and plot of one tree."""
    card = request.embedder.card
    with request.progress("clustering") as advance:
        advance(0, 1)
        tree = merge_tree(embeddings)
        advance(1, 1)
    scores = sweep_clusters(tree, person)
    best = best_clusters(scores)
    threshold = card.thresholds.get(CARD_FAR)
    at_card = None if threshold is None else score_clusters(person, tree.cut(threshold), threshold)
    figures = {
        "n_faces": len(person),
        "n_people": len(np.unique(person)),
        "best": dataclasses.asdict(best),
        "at_card": None if at_card is None else dataclasses.asdict(at_card),
        "sweep": [dataclasses.asdict(score) for score in scores],
    }
    rows: list[Row] = [("faces, people", f"{figures['n_faces']:,}, {figures['n_people']:,}")]
    for name, score in (("best", best), ("at the card's threshold", at_card)):
        if score is not None:
            rows += [
                (f"BCubed F, {name}", _percent(score.bcubed_f)),
                (f"pairwise F, {name}", _percent(score.pairwise_f)),
                (f"threshold, clusters, {name}", f"{score.threshold:.4f}, {score.n_clusters:,}"),
            ]
    return figures, tuple(rows), partial(clustering_png, scores, at_card, card.name)


def _couple_figures(request: Request, distances: NDArray[np.float32], same: NDArray[np.bool_]) -> dict[str, Any]:
    """TAR over all couples at measured false accept rates, and both rates at the card's thresholds."""
    genuine, impostor = distances[same], distances[~same]
    thresholds = {key: impostor_threshold(impostor, far) for key, far in COUPLE_FARS.items()}
    card = {key: value for key, value in request.embedder.card.thresholds.items() if key in CALIBRATION_FARS}
    return {
        "n_genuine": len(genuine),
        "n_impostor": len(impostor),
        "tar": {key: float(np.mean(genuine < value)) for key, value in thresholds.items()},
        "thresholds": thresholds,
        "at_card": {
            key: {
                "threshold": value,
                "far": float(np.mean(impostor < value)),
                "tar": float(np.mean(genuine < value)),
            }
            for key, value in card.items()
        },
    }


def _lfw_crops(request: Request, root: Path, keys: Any) -> tuple[BenchmarkCrops, dict[str, Any]]:
    """Crops of LFW's images, and the setting of a report on them."""
    card = request.embedder.card
    detector = request.detector or default_detector()
    template = card.template if request.align else "box"
    with request.progress("crops") as advance:
        crops = crop_benchmark(
            [root / key for key in keys],
            detector,
            template,
            card.height,
            card.width,
            CropCache(request.folder / "crops"),
            advance,
        )
    setting = {
        **_setting(request, template),
        "detector": detector.name,
        "detector_version": detector.version,
        "aligned": request.align,
        "data_sha256": crops.sha256,
        "n_images": len(crops.crops),
        "n_faces_not_found": crops.n_not_found,
    }
    return crops, setting


def _setting(request: Request, template: str) -> dict[str, Any]:
    """What every report says of the model."""
    return {
        "model": request.embedder.card.name,
        "model_sha256": request.embedder.model.sha256,
        "backend": request.embedder.backend,
        "benchmark": request.benchmark,
        "template": template,
        "flip": request.flip,
    }


def _embed(request: Request, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Unit embeddings of crops, with a progress bar."""
    with request.progress("embeddings") as advance:
        return embed_crops(request.embedder, crops, request.flip, advance)


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2f} %"

"""`VerificationReport`: what one verification measured, as numbers, as JSON and as files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facelet.atomic import write_files_atomic
from facelet.data.pairs import Pairs
from facelet.evaluate.plots import distance_histogram_png, roc_png
from facelet.evaluate.png import can_plot
from facelet.evaluate.verification import (
    FARS,
    auc,
    eer,
    fold_accuracy,
    pair_distances,
    tar_at_far,
    threshold_at_far,
)


@dataclass(frozen=True, eq=False)
class VerificationReport:
    """One verification. Rates and accuracies are fractions in [0, 1].

    Attributes:
        accuracy: mean over the reported folds.
        accuracy_std: standard deviation over the reported folds; None where one fold alone is reported.
        fold_accuracies: of each reported fold.
        fold_thresholds: squared distance that the other folds chose for each.
        auc: area under the ROC.
        eer: equal error rate.
        tar: by FAR ("1e-1", "1e-2", "1e-3").
        thresholds: squared distance by FAR, of these very pairs.
        n_pairs: that the figures are over.
        n_images: distinct images of the protocol.
        n_faces_not_found: images whose centre crop was taken because no face was found.
        setting: how it was measured: model, benchmark, view, detector, template, flip, hashes.
        distances: squared distances of the reported pairs, `(n_pairs,)` float32; not in the JSON.
        same: whether each reported pair is genuine, `(n_pairs,)` bool; not in the JSON.
    """

    accuracy: float
    accuracy_std: float | None
    fold_accuracies: tuple[float, ...]
    fold_thresholds: tuple[float, ...]
    auc: float
    eer: float
    tar: dict[str, float]
    thresholds: dict[str, float]
    n_pairs: int
    n_images: int
    n_faces_not_found: int
    setting: dict[str, Any]
    distances: NDArray[np.float32] = field(repr=False)
    same: NDArray[np.bool_] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The report as one flat JSON object: `setting` first, then the figures."""
        return {
            **self.setting,
            "accuracy": self.accuracy,
            "accuracy_std": self.accuracy_std,
            "fold_accuracies": list(self.fold_accuracies),
            "fold_thresholds": list(self.fold_thresholds),
            "auc": self.auc,
            "eer": self.eer,
            "tar": self.tar,
            "thresholds": self.thresholds,
            "n_pairs": self.n_pairs,
            "n_images": self.n_images,
            "n_faces_not_found": self.n_faces_not_found,
        }


def verify_pairs(
    embeddings: NDArray[np.float32],
    pairs: Pairs,
    report_folds: Sequence[int] | None = None,
    n_faces_not_found: int = 0,
    setting: dict[str, Any] | None = None,
) -> VerificationReport:
    """Returns the figures of a protocol.

    Args:
        embeddings: unit vectors, one per `pairs.images`, `(n_images, d)` float32.
        pairs: the protocol.
        report_folds: folds that the figures are over; the others only choose thresholds. None: all.
        n_faces_not_found: passed on.
        setting: passed on.

    Raises:
        InputError: embeddings that do not fit the protocol.
        ProtocolError: fewer than two folds, or a fold without genuine or impostor pairs.
    """
    distances = pair_distances(embeddings, pairs)
    folds = fold_accuracy(distances, pairs)
    numbers = np.unique(pairs.fold)
    chosen = numbers if report_folds is None else np.array(report_folds)
    reported = np.isin(numbers, chosen)
    inside = np.isin(pairs.fold, chosen)
    accuracies = folds.accuracies[reported]
    inner, same = distances[inside], pairs.same[inside]
    return VerificationReport(
        accuracy=float(accuracies.mean()),
        accuracy_std=float(accuracies.std(ddof=1)) if len(accuracies) > 1 else None,
        fold_accuracies=tuple(float(value) for value in accuracies),
        fold_thresholds=tuple(float(value) for value in folds.thresholds[reported]),
        auc=auc(inner, same),
        eer=eer(inner, same),
        tar={key: tar_at_far(inner, same, far) for key, far in FARS.items()},
        thresholds={key: threshold_at_far(inner, same, far) for key, far in FARS.items()},
        n_pairs=int(inside.sum()),
        n_images=len(pairs.images),
        n_faces_not_found=n_faces_not_found,
        setting=setting or {},
        distances=inner,
        same=same,
    )


def write_report(report: VerificationReport, out: Path) -> dict[str, Path]:
    """Writes `report.json`, `roc.png` and `distances.png` into a folder, all of them or none.

    Without matplotlib the two plots are left out.

    Returns:
        The files by what they are: "report", "roc", "distances".

    Raises:
        InputError: the folder cannot be written.
    """
    files = {"report": out / "report.json"}
    contents = {files["report"]: json.dumps(report.to_dict(), indent=2, allow_nan=False).encode() + b"\n"}
    if can_plot():
        files |= {"roc": out / "roc.png", "distances": out / "distances.png"}
        title = str(report.setting.get("title", report.setting.get("model", "")))
        threshold = float(np.mean(report.fold_thresholds))
        contents[files["roc"]] = roc_png({title: (report.distances, report.same)})
        contents[files["distances"]] = distance_histogram_png(report.distances, report.same, threshold, title)
    write_files_atomic(contents)
    return files

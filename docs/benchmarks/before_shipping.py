"""What decides between two trainings before View 2 is read: held-out people and all 3,200 pairs of LFW's View 1.

python docs/benchmarks/before_shipping.py LFW TRANSFER YUNET MODEL...    # prints one row for each model, in %
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facelet.cache import cache_dir
from facelet.canvas import embed_canvas
from facelet.data.heldout_people import heldout_people
from facelet.data.lfw import load_lfw
from facelet.data.transfer import TransferSet, open_transfer_set
from facelet.embedder import Embedder
from facelet.evaluate.verification import all_couples, auc, fold_accuracy, pair_distances, tar_at_far
from facelet.faces.canvas import realigned
from facelet.faces.crops import CropCache, crop_benchmark
from facelet.faces.detectors import DETECTORS, load_detector
from facelet.faces.refine import landmark_refiner

FAR = 1e-3
OTHER_TENTHS = tuple(start / 10 for start in range(1, 7))
"""Where six other tenths of the labelled people start, which the benchmark `heldout` does not measure on."""


def heldout_tar(embedder: Embedder, transfer: TransferSet, start: float, *, anew: bool = False) -> float:
    """TAR at FAR 1e-3 over all couples of a tenth of the labelled people, their crops as they come or re-aligned."""
    people, index = heldout_people(transfer, start=start)
    crops: NDArray[np.uint8] = np.asarray(transfer.crops[index])
    if anew:
        crops = np.stack([realigned(crop, landmark_refiner()) for crop in crops])
    return tar_at_far(*all_couples(embed_canvas(embedder, crops), people.person), FAR)


def view1(embedder: Embedder, lfw: Path, detector: str, yunet: Path) -> tuple[float, float, float]:
    """Accuracy, each part at the other's threshold, AUC, and TAR at FAR 1e-3 over all pairs of View 1."""
    pairs, root = load_lfw(lfw, view=1)
    card = embedder.card
    finder = load_detector(detector, yunet if detector.startswith("yunet") else None)
    photos, cache = [root / key for key in pairs.images], CropCache(cache_dir() / "crops")
    crops = crop_benchmark(photos, finder, card.template, card.height, card.width, cache).crops
    distances = pair_distances(embedder.embed(crops), pairs)
    accuracies = fold_accuracy(distances, pairs).accuracies
    accuracy = float(np.average(accuracies, weights=np.bincount(pairs.fold)))
    return accuracy, auc(distances, pairs.same), tar_at_far(distances, pairs.same, FAR)


def main(lfw: Path, data: Path, yunet: Path, *models: str) -> None:
    """Prints one row for each model."""
    transfer = open_transfer_set(data, cache_dir())
    heads = ["held-out TAR", "re-aligned", "six other tenths"]
    heads += [f"{detector}: accuracy, AUC, TAR" for detector in DETECTORS]
    print("| | " + " | ".join(heads) + " |" + "\n|---" + "|---" * len(heads) + "|", flush=True)  # noqa: T201
    for model in models:
        embedder = Embedder.load(model, threads=2)
        rates = [heldout_tar(embedder, transfer, 0.0), heldout_tar(embedder, transfer, 0.0, anew=True)]
        rates.append(float(np.mean([heldout_tar(embedder, transfer, start) for start in OTHER_TENTHS])))
        cells = [f"{100 * rate:.2f}" for rate in rates]
        for detector in DETECTORS:
            accuracy, area, rate = view1(embedder, lfw, detector, yunet)
            cells.append(f"{100 * accuracy:.2f}, {area:.5f}, {100 * rate:.2f}")
        print(f"| {model} | " + " | ".join(cells) + " |", flush=True)  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:])

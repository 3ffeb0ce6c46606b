"""What a box without landmarks is worth (`facelet.faces.refine.face_in_box`): prints the table of docs/evaluation.md.

python docs/benchmarks/face_in_box.py LFW YUNET facelet_s mobilenet_v2_035    # folder, YuNet's file, models; 20 minutes
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facelet.cache import cache_dir
from facelet.data.lfw import load_lfw
from facelet.embedder import Embedder
from facelet.evaluate.verification import fold_accuracy, pair_distances
from facelet.faces.align import align
from facelet.faces.crops import CropCache, benchmark_faces
from facelet.faces.detect import Face
from facelet.faces.detectors import load_detector
from facelet.faces.images import read_image
from facelet.faces.landmarks import five_landmarks
from facelet.faces.refine import face_in_box, landmark_refiner

Image = NDArray[np.uint8]


def boxed(image: Image, face: Face, asked: int, size: float = 1.0, down: float = 0.0) -> Face:
    """The face of a detector's box alone, which is made `size` times as large and laid lower by `down` of its side."""
    low, high = np.array(face.box[:2]), np.array(face.box[2:])
    middle, half = (low + high) / 2 + [0, down * (high - low)[1]], (high - low) / 2 * size
    return face_in_box(image, (*(middle - half), *(middle + half)), asked)


ARMS: dict[str, Callable[[Image, Face], Face]] = {
    "asked not at all": partial(boxed, asked=0),
    "once": partial(boxed, asked=1),
    "twice": partial(boxed, asked=2),
    "three times, as `face_in_box` does": partial(boxed, asked=3),
    "four times": partial(boxed, asked=4),
    "three times, the box a tenth smaller": partial(boxed, asked=3, size=0.9),
    "three times, the box a fifth larger": partial(boxed, asked=3, size=1.2),
    "three times, the box a tenth of its side lower": partial(boxed, asked=3, down=0.1),
    "three times, the box a fifth of its side lower": partial(boxed, asked=3, down=0.2),
    "by the detector's own landmarks": lambda _, face: face,
    "those, refined": landmark_refiner(),
}


def look(photo: Path, face: Face, embedders: list[Embedder]) -> tuple[list[list[Image]], list[float]]:
    """For each arm, the crop for each model, and how far the points are from the refined, over the eyes' distance."""
    image = read_image(photo)
    goal = five_landmarks(landmark_refiner()(image, face))
    faces = [arm(image, face) for arm in ARMS.values()]
    cards = [embedder.card for embedder in embedders]
    crops = [[align(image, found, card.template, card.height, card.width) for card in cards] for found in faces]
    away = [np.linalg.norm(five_landmarks(found) - goal, axis=1).mean() for found in faces]
    return crops, [float(mean / np.linalg.norm(goal[0] - goal[1])) for mean in away]


def main(lfw: Path, yunet: Path, *models: str) -> None:
    """Prints one row for each arm: accuracy by model and detector, and the points' distance for each detector.

    Accuracy is that of all pairs, each part of View 1 at the other's best threshold.
    """
    embedders = [Embedder.load(model, threads=2) for model in models]
    pairs, root = load_lfw(lfw, view=1)
    photos, cache = [root / key for key in pairs.images], CropCache(cache_dir() / "crops")
    cells: dict[str, list[str]] = {arm: [] for arm in ARMS}
    names: list[str] = []
    for detector in (load_detector("yunet", yunet), load_detector("dlib")):
        faces = [face for face in benchmark_faces(photos, detector, cache) if face is not None]
        if len(faces) < len(photos):
            raise SystemExit(f"{detector.name} finds no face in {len(photos) - len(faces)} photos")
        with ThreadPoolExecutor(2) as pool:
            seen = list(pool.map(partial(look, embedders=embedders), photos, faces))
        names += [f"{model}, {detector.name}" for model in models] + [f"points, {detector.name}: median, 95 of 100"]
        for number, arm in enumerate(ARMS):
            for place, embedder in enumerate(embedders):
                vectors = embedder.embed([crops[number][place] for crops, _ in seen])
                folds = fold_accuracy(pair_distances(vectors, pairs), pairs)
                cells[arm].append(f"{100 * np.average(folds.accuracies, weights=np.bincount(pairs.fold)):.2f}")
            away = [100 * distances[number] for _, distances in seen]
            cells[arm].append(f"{np.median(away):.1f}, {np.percentile(away, 95):.1f}")
    print("| | " + " | ".join(names) + " |\n|---" + "|---" * len(names) + "|")  # noqa: T201
    for arm, row in cells.items():
        print(f"| {arm} | " + " | ".join(row) + " |")  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])

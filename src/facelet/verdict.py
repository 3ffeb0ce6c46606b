"""Two photos, one verdict: the shortest way from files to an answer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facelet.embedder import Embedder
from facelet.errors import InputError
from facelet.faces.detect import Detector
from facelet.model_files import DEFAULT_MODEL, find_model, sidecar_path

DEFAULT_FAR = 1e-3


@dataclass(frozen=True)
class Verification:
    """Whether two photos show one person.

    Attributes:
        distance: squared Euclidean distance of the unit embeddings, in [0, 4].
        threshold: of the model's card for the chosen false accept rate, on the same scale.
        same: the distance is below the threshold.
    """

    distance: float
    threshold: float
    same: bool


def verify(
    a: str | Path,
    b: str | Path,
    *,
    model: str | Path | Embedder = DEFAULT_MODEL,
    far: float = DEFAULT_FAR,
    detector: Detector | None = None,
    align: bool = True,
) -> Verification:
    """Tells whether the largest faces of two photos belong to one person.

    Args:
        a: a photo.
        b: another photo.
        model: a shipped model's name, a path, or a loaded embedder.
        far: false accept rate, in (0, 1), whose threshold in the model's card decides.
        detector: what finds the faces; None is the default one.
        align: warp the faces to the template of the model's card; False cuts the detector's box.

    Raises:
        InputError: `far` is no rate.
        UnknownNameError: no such model.
        MissingFileError: a photo or the model's file is not there.
        ImageError: a file is no readable photo.
        FaceNotFoundError: a photo without a face.
        ModelError: the model does not fit its card, or the card holds no threshold for `far`.
    """
    if not 0 < far < 1:
        raise InputError(f"far: must be a rate between 0 and 1, such as 1e-3; found {far:g}")
    embedder = _embedder(model)
    threshold = embedder.card.threshold_at(far)
    vectors = embedder.embed_images([a, b], detector=detector, align=align)
    distance = float(np.clip(np.square(vectors[0] - vectors[1]).sum(), 0.0, 4.0))
    return Verification(distance, threshold, distance < threshold)


def embed(
    path: str | Path,
    *,
    model: str | Path | Embedder = DEFAULT_MODEL,
    detector: Detector | None = None,
    align: bool = True,
) -> NDArray[np.float32]:
    """The embedding of a photo's largest face.

    Args:
        path: the photo.
        model: a shipped model's name, a path, or a loaded embedder.
        detector: what finds the face; None is the default one.
        align: warp the face to the template of the model's card; False cuts the detector's box.

    Returns:
        `(embedding_size,)` float32 of Euclidean length 1; 128 numbers for the shipped models.

    Raises:
        UnknownNameError: no such model.
        MissingFileError: the photo or the model's file is not there.
        ImageError: the file is no readable photo.
        FaceNotFoundError: the photo has no face.
        ModelError: the model does not fit its card.
    """
    vector: NDArray[np.float32] = _embedder(model).embed_images([path], detector=detector, align=align)[0]
    return vector


def _embedder(model: str | Path | Embedder) -> Embedder:
    if isinstance(model, Embedder):
        return model
    path = find_model(model).resolve()
    return _load(str(model), path, _state(path))


def _state(path: Path) -> tuple[tuple[int, int], ...]:
    """Time and size of a model's files, so that a file that changed is read again."""
    files = (path, path.with_suffix(".bin"), sidecar_path(path))
    return tuple((file.stat().st_mtime_ns, file.stat().st_size) for file in files if file.exists())


@lru_cache(maxsize=4)
def _load(name_or_path: str, _path: Path, _state: tuple[tuple[int, int], ...]) -> Embedder:
    """Loaded once for each file and state of it; what is relative means another file elsewhere."""
    return Embedder.load(name_or_path)

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
from facelet.faces.sources import PhotoSource
from facelet.model import checked_threshold
from facelet.model_files import DEFAULT_MODEL, find_model, sidecar_path
from facelet.photo import face_crops

DEFAULT_FAR = 1e-3


@dataclass(frozen=True)
class Verification:
    """Whether two photos show one person.

    Attributes:
        distance: squared Euclidean distance of the unit embeddings, in [0, 4].
        threshold: what the distance was compared with, on the same scale.
        same: the distance is below the threshold.
        far: false accept rate whose threshold in the model's card was taken; None where the caller gave a threshold.
        notes: what the user should know about the photos' files, one line each.
    """

    distance: float
    threshold: float
    same: bool
    far: float | None = DEFAULT_FAR
    notes: tuple[str, ...] = ()


def verify(
    a: PhotoSource,
    b: PhotoSource,
    *,
    model: str | Path | Embedder = DEFAULT_MODEL,
    far: float | None = None,
    threshold: float | None = None,
    detector: Detector | str | None = None,
    align: bool = True,
    bgr: bool = False,
) -> Verification:
    """Tells whether the largest faces of two photos belong to one person.

    Args:
        a: a photo: a path, the bytes of an image file, a file opened with "rb", a PIL image, or an array
            `(h, w, 3)` uint8 RGB or `(h, w)` uint8 grey (`faces.sources.load_photo`).
        b: another photo.
        model: a shipped model's name, a path, or a loaded embedder.
        far: false accept rate, in (0, 1), whose threshold in the model's card decides; None is `DEFAULT_FAR`.
        threshold: squared distance in (0, 4] that decides in place of one of the card's.
        detector: what finds the faces, or its name, such as "yunet"; None is the default one.
        align: warp the faces to the template of the model's card; False cuts the detector's box.
        bgr: arrays have their colours in OpenCV's order, blue first.

    Raises:
        InputError: `far` or `threshold` is out of range, or both are given; a photo of a kind that is not taken.
        UnknownNameError: no such model or detector.
        MissingFileError: a photo or the model's file is not there.
        ImageError: a file is not a readable photo.
        FaceNotFoundError: a photo without a face.
        ModelError: the model does not fit its card, or the card holds no threshold for `far`.
    """
    if far is not None and threshold is not None:
        raise InputError("far, threshold: both are given; give the rate or the threshold")
    if threshold is None:
        far = DEFAULT_FAR if far is None else far
        if not 0 < far < 1:
            raise InputError(f"far: must be a rate between 0 and 1, such as 1e-3; found {far:g}")
    else:
        threshold = checked_threshold("threshold", threshold)
    embedder = _embedder(model)
    card = embedder.card
    limit = card.threshold_at(far or DEFAULT_FAR) if threshold is None else threshold
    template = card.template if align else "box"
    faces = [
        face_crops(photo, template, card.height, card.width, detector, name=name, bgr=bgr)[0]
        for name, photo in (("photo a", a), ("photo b", b))
    ]
    vectors = embedder.embed([face.crop for face in faces])
    distance = float(np.clip(np.square(vectors[0] - vectors[1]).sum(), 0.0, 4.0))
    notes = tuple(note for face in faces for note in face.notes)
    return Verification(distance, limit, distance < limit, far, notes)


def embed(
    photo: PhotoSource,
    *,
    model: str | Path | Embedder = DEFAULT_MODEL,
    detector: Detector | str | None = None,
    align: bool = True,
    bgr: bool = False,
) -> NDArray[np.float32]:
    """The embedding of a photo's largest face.

    Args:
        photo: a path, the bytes of an image file, a file opened with "rb", a PIL image, or an array `(h, w, 3)` uint8
            RGB or `(h, w)` uint8 grey (`faces.sources.load_photo`).
        model: a shipped model's name, a path, or a loaded embedder.
        detector: what finds the face, or its name, such as "yunet"; None is the default one.
        align: warp the face to the template of the model's card; False cuts the detector's box.
        bgr: an array has its colours in OpenCV's order, blue first.

    Returns:
        `(embedding_size,)` float32 of Euclidean length 1; 128 numbers for the shipped models.

    Raises:
        InputError: what cannot be a photo, or an array of another type or shape.
        UnknownNameError: no such model or detector.
        MissingFileError: the photo or the model's file is not there.
        ImageError: the file is not a readable photo.
        FaceNotFoundError: the photo has no face.
        ModelError: the model does not fit its card.
    """
    vector: NDArray[np.float32] = _embedder(model).embed_images([photo], detector=detector, align=align, bgr=bgr)[0]
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

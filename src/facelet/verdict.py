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
from facelet.faces.detectors import as_detector
from facelet.faces.quality import FULL_SHIFT, MIN_QUALITY, Judgement, Quality, judge
from facelet.faces.selection import certainty
from facelet.faces.sources import PhotoSource
from facelet.model import checked_threshold
from facelet.model_files import DEFAULT_MODEL, find_model, sidecar_path
from facelet.photo import PhotoFaces, photo_faces
from facelet.rates import limit_of_best, unmeasured

DEFAULT_FAR = 1e-3


@dataclass(frozen=True)
class ComparedFace:
    """The face of one photo that decided.

    Attributes:
        photo: what messages call the photo.
        box: `(x0, y0, x1, y1)` in pixels of the photo as it was given; may reach outside.
        turn: degrees clockwise by which the photo has to be turned to show the face upright: 0, 90, 180 or 270.
        certainty: of the detector, in [0, 1]; comparable between detectors (`faces.selection.certainty`).
        n_faces: faces that the detector found in the photo.
        n_doubtful: faces of the photo that were left out, because no orientation shows them upright for certain.
        quality: how much its picture tells, what lowers it, and its true resolution; None where it was not measured.
    """

    photo: str
    box: tuple[float, float, float, float]
    turn: int
    certainty: float
    n_faces: int
    n_doubtful: int = 0
    quality: Quality | None = None


@dataclass(frozen=True)
class Verification:
    """Whether two photos show one person.

    Attributes:
        distance: squared Euclidean distance of the unit embeddings, in [0, 4]; of the nearest pair where several faces
            were compared.
        threshold: of the model, for clear photos, on the same scale.
        same: the distance is below the threshold that holds for the quality of both faces. False where `uncertain`.
        far: false accept rate of this comparison: that of the threshold in the model's card, times the number of
            pairs that were compared; None where the caller gave a threshold.
        far_measured: whether that rate was measured with these settings; False without alignment, for example, where
            strangers match more often than `far` says.
        aligned: whether the faces were aligned, or cut as the detector's box.
        faces: the face of each photo that was compared, or the nearest pair of them; `n_faces` says of how many.
        n_pairs: pairs of faces that were compared.
        notes: what the user should know about the photos and the rate, one line each.
        uncertain: the pictures do not tell whether both faces belong to one person: one is too poor, or they are so
            unclear that strangers reach this distance. The notes say which.
    """

    distance: float
    threshold: float
    same: bool
    far: float | None
    far_measured: bool
    aligned: bool
    faces: tuple[ComparedFace, ComparedFace]
    n_pairs: int = 1
    notes: tuple[str, ...] = ()
    uncertain: bool = False

    @property
    def verdict(self) -> str:
        """In words: "same person", "different people" or "uncertain"."""
        return "uncertain" if self.uncertain else "same person" if self.same else "different people"


def verify(
    a: PhotoSource,
    b: PhotoSource,
    *,
    model: str | Path | Embedder = DEFAULT_MODEL,
    far: float | None = None,
    threshold: float | None = None,
    detector: Detector | str | None = None,
    align: bool = True,
    every: bool = False,
    bgr: bool = False,
) -> Verification:
    """Tells whether the main faces of two photos belong to one person.

    The main face is large, near the centre and certain (`faces.selection.by_merit`). A photo that is turned by quarter
    turns is turned back.

    Args:
        a: a photo: a path, the bytes of an image file, a file opened with "rb", a PIL image, or an array
            `(h, w, 3)` uint8 RGB or `(h, w)` uint8 grey (`faces.sources.load_photo`).
        b: another photo.
        model: a shipped model's name, a path, or a loaded embedder.
        far: false accept rate, in (0, 1), whose threshold in the model's card decides; None is `DEFAULT_FAR`.
        threshold: squared distance in (0, 4] that decides in place of one of the card's.
        detector: what finds the faces, or its name, such as "yunet"; None is the default one.
        align: warp the faces to the template of the model's card; False cuts the detector's box.
        every: compare every face of one photo with every face of the other; the nearest pair decides. Strangers have
            as many chances to match as there are pairs (`rates.limit_of_best`).
        bgr: arrays have their colours in OpenCV's order, blue first.

    Raises:
        InputError: `far` or `threshold` is out of range, or both are given; a photo of a kind that is not taken.
        UnknownNameError: no such model or detector.
        MissingFileError: a photo or the model's file is not there.
        ImageError: a file is not a readable photo.
        FaceNotFoundError: a photo without a face that can be aligned.
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
    # a rate that the card lacks is refused before any photo is read
    limit = card.threshold_at(far or DEFAULT_FAR) if threshold is None else threshold
    template = card.template if align else "box"
    finder = as_detector(detector)
    photos = [
        photo_faces(photo, template, card.height, card.width, finder, every=every, name=name, bgr=bgr)
        for name, photo in (("photo a", a), ("photo b", b))
    ]
    vectors = [embedder.embed([face.crop for face in photo.crops]) for photo in photos]
    distances = np.clip(np.square(vectors[0][:, None] - vectors[1]).sum(axis=2), 0.0, 4.0)
    best = _best_pair(distances, photos)
    distance, n_pairs = float(distances[best]), distances.size
    notes = [note for photo in photos for note in photo.crops[0].notes]
    notes += [
        note for photo, number in zip(photos, best, strict=True) for note in _photo_notes(photo, int(number), every)
    ]
    reason = unmeasured(card, finder.name, align)
    if far is not None:
        best_limit = limit_of_best(card, far, n_pairs)
        limit, rate = best_limit.threshold, min(1.0, best_limit.far * n_pairs)
        if rate > far * (1 + 1e-6):
            notes.append(
                f"nearest of {n_pairs} pairs: strangers match in up to {rate:g} of comparisons, as the card of "
                f"{card.name} has no threshold for {far:g} / {n_pairs}"
            )
        notes += [f"false accept rate {far:g}: not measured with these settings; {reason}"] if reason else []
        far = rate
    elif n_pairs > 1:
        notes.append(f"nearest of {n_pairs} pairs: strangers match up to {n_pairs} times as often as with one pair")
    faces = [_compared(photo, int(number)) for photo, number in zip(photos, best, strict=True)]
    qualities = [photo.crops[int(number)].quality for photo, number in zip(photos, best, strict=True)]
    judgement = judge(distance, limit, qualities[0], qualities[1])
    notes += _quality_notes(photos, qualities, judgement)
    return Verification(
        distance,
        limit,
        judgement.same,
        far,
        far is not None and not reason,
        align,
        (faces[0], faces[1]),
        n_pairs,
        tuple(notes),
        judgement.uncertain,
    )


def _best_pair(distances: NDArray[np.float32], photos: list[PhotoFaces]) -> tuple[int, int]:
    """The pair that decides: the nearest, given how much nearer strangers come at the quality of each.

    Faces that are too poor count only where every pair has one.
    """
    score = [np.array([face.quality.score for face in photo.crops]) for photo in photos]
    shift = 2 * FULL_SHIFT * (1 - np.maximum(score[0][:, None], score[1]))
    poor = np.minimum(score[0][:, None], score[1]) < MIN_QUALITY
    a, b = np.unravel_index(int(np.argmin(distances + shift + 10.0 * poor)), distances.shape)
    return int(a), int(b)


def _quality_notes(photos: list[PhotoFaces], qualities: list[Quality], judgement: Judgement) -> list[str]:
    """Why a verdict is uncertain."""
    if not judgement.uncertain:
        return []
    poor = [
        f"{photo.name}: the face is too unclear to compare; {quality}"
        for photo, quality in zip(photos, qualities, strict=True)
        if quality.poor
    ]
    if poor:
        return poor
    worse = "; ".join(f"{photo.name}: {quality}" for photo, quality in zip(photos, qualities, strict=True))
    return [
        f"faces this unclear have to be nearer than {judgement.threshold:.4f} to count as one person, as strangers "
        f"resemble each other more; {worse}"
    ]


def _compared(photo: PhotoFaces, number: int) -> ComparedFace:
    face, quality = photo.crops[number].face, photo.crops[number].quality
    return ComparedFace(photo.name, face.box, face.turn, certainty(face), photo.n_found, len(photo.doubtful), quality)


def _photo_notes(photo: PhotoFaces, number: int, every: bool) -> list[str]:
    """What the user should know about the face that was taken."""
    face = photo.crops[number].face
    where = "({:.0f}, {:.0f}, {:.0f}, {:.0f})".format(*face.box)
    notes: list[str] = []
    if photo.n_found > 1 and not every:
        notes.append(
            f"{photo.name}: {photo.n_found} faces; only the main one, at {where}, was compared (--all, or every=True, "
            "compares all)"
        )
    notes += photo.left_out
    if face.turn:
        notes.append(f"{photo.name}: turned clockwise by {face.turn} degrees, which shows the face at {where} upright")
    return notes


def embed(
    photo: PhotoSource,
    *,
    model: str | Path | Embedder = DEFAULT_MODEL,
    detector: Detector | str | None = None,
    align: bool = True,
    bgr: bool = False,
) -> NDArray[np.float32]:
    """The embedding of a photo's main face (`faces.selection.by_merit`).

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

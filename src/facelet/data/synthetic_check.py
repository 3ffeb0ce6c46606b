"""Asks whether the face model gives away a person it learned from.

Three questions, each with a yardstick of real people:

1. Does a sample repeat a training photo? Distance from each sample to its nearest training photo, in pixels and for a
   recognizer, beside the same distance from photos of people the model never saw.
2. Do the stored images themselves (mean and components) show anyone? The same distance for each of them.
3. Does the model remember its training photos? Photos it learned from and photos it never saw are projected on the
   model and drawn back. Whoever holds the model gains nothing about its training set if both fare alike.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from facelet.data.synthetic import SHAPE_GRID, FaceModel, canvas_grid
from facelet.data.synthetic_build import (
    KEPT,
    bent_texture,
    held_out,
    inverse_field,
    pixel_weights,
    refine_field,
    whole_photo,
)
from facelet.data.transfer import TransferSet
from facelet.errors import TransferSetError

Float = NDArray[np.float32]
Embed = Callable[[NDArray[np.uint8]], Float]
Progress = Callable[[str, int, int], None]

PIXEL_SIDE = 32
FALSE_ACCEPT_RATE = 1e-3
_N_GUIDE = 30
_N_ROUNDS = 3
_FACE_ROWS = slice(24, 120)
_FACE_COLUMNS = slice(20, 108)


@dataclass(frozen=True)
class Spread:
    """Quantiles of a list of distances.

    Attributes:
        least: nothing lies below.
        p01: a hundredth part lies below.
        median: half lies below.
        p99: all but a hundredth lies below.
    """

    least: float
    p01: float
    median: float
    p99: float


@dataclass(frozen=True)
class PrivacyReport:
    """What `check_privacy` found.

    Embedding distances are squared Euclidean, in [0, 4]; pixel distances are root mean square grey levels of the face
    region after brightness and contrast are made equal (standard deviation 50).

    Attributes:
        n_training: training photos compared with.
        n_samples: synthetic photos.
        n_held_out: real photos of people the model never saw.
        threshold: embedding distance below which two labelled training people are confused at `FALSE_ACCEPT_RATE`.
        pixel_sample: synthetic photo to its nearest training photo.
        pixel_held_out: photo of an unseen person to its nearest training photo.
        pixel_same_person: two training photos of one person.
        embedding_sample: synthetic photo to its nearest training photo.
        embedding_held_out: photo of an unseen person to its nearest training photo.
        embedding_same_person: two training photos of one person.
        embedding_different: two training photos of different people.
        embedding_stored: each of `stored_images` to its nearest training photo.
        accepted_sample: fraction of synthetic photos whose nearest training photo is below `threshold`.
        accepted_held_out: the same for photos of unseen people: what chance does among so many.
        accepted_stored: the same for stored images.
        least_effective_images: fewest training photos that share one texture component (participation ratio).
        projection_training: photo the model learned from, to its own projection on the model.
        projection_held_out: photo the model never saw, to its own projection on the model.
        projection_accepted_training: fraction of the former below `threshold`.
        projection_accepted_held_out: fraction of the latter below `threshold`.
        membership_auc_embedding: chance that a photo the model learned from lies nearer to its projection than one it
            never saw, for the recognizer; 0.5 is no knowledge.
        membership_auc_pixel: the same by what the projection leaves of the pixels.
    """

    n_training: int
    n_samples: int
    n_held_out: int
    threshold: float
    pixel_sample: Spread
    pixel_held_out: Spread
    pixel_same_person: Spread
    embedding_sample: Spread
    embedding_held_out: Spread
    embedding_same_person: Spread
    embedding_different: Spread
    embedding_stored: Spread
    accepted_sample: float
    accepted_held_out: float
    accepted_stored: float
    least_effective_images: float
    projection_training: Spread
    projection_held_out: Spread
    projection_accepted_training: float
    projection_accepted_held_out: float
    membership_auc_embedding: float
    membership_auc_pixel: float

    def to_dict(self) -> dict[str, Any]:
        """The report as plain numbers."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Nearest:
    """Each synthetic photo with the training photo nearest to it.

    Attributes:
        samples: `(n, 128, 128, 3)` uint8 RGB.
        by_pixels: rows of the transfer set, `(n,)`.
        by_embedding: rows of the transfer set, `(n,)`.
        embedding_distance: to `by_embedding`, `(n,)`.
    """

    samples: NDArray[np.uint8]
    by_pixels: NDArray[np.int64]
    by_embedding: NDArray[np.int64]
    embedding_distance: Float


def check_privacy(
    model: FaceModel,
    transfer: TransferSet,
    embed: Embed,
    *,
    n_samples: int = 500,
    limit: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[PrivacyReport, Nearest]:
    """Compares samples, stored images and projections with the training set.

    Args:
        embed: a recognizer: canvas crops `(n, 128, 128, 3)` uint8 RGB to unit vectors `(n, d)` float32.
        n_samples: synthetic photos, unseen photos and projections of each kind.
        limit: how many training photos to compare with; None for all.
        seed: of every choice.
        progress: called with (step, done, total).

    Raises:
        TransferSetError: too few labelled or held-out photos, or a set that the model was not learned from.
    """
    random = np.random.default_rng(seed)
    unseen = held_out(transfer)
    whole = whole_photo(transfer.crops)
    members = np.flatnonzero(whole & ~unseen)
    strangers = np.flatnonzero(whole & unseen)
    if len(strangers) < 50 or len(members) < 500:
        raise TransferSetError(
            f"privacy check: {len(members)} training and {len(strangers)} unseen photos; too few to compare"
        )
    if abs(model.n_images - KEPT * len(members)) > 2:
        raise TransferSetError(
            f"privacy check: the face model was learned from {model.n_images} photos, this transfer set gives "
            f"{round(KEPT * len(members))}; give the very set that it was built from"
        )
    if limit is not None and limit < len(members):
        members = np.sort(random.choice(members, limit, replace=False))
    strangers = np.sort(random.choice(strangers, min(n_samples, len(strangers)), replace=False))
    photos = [(model.sample_identity(seed, index), 0) for index in range(n_samples)]
    samples, _ = model.render_many(photos, clean=True)
    member_crops = _take(transfer, members)
    stranger_crops = _take(transfer, strangers)

    member_pixels, member_embeddings = _pixels(member_crops), _embed(embed, member_crops, "training photos", progress)
    sample_embeddings = _embed(embed, samples, "samples", progress)
    stranger_embeddings = _embed(embed, stranger_crops, "unseen photos", progress)
    stored_embeddings = _embed(embed, stored_images(model), "stored images", progress)

    same_left, same_right, other_left, other_right = _people_pairs(transfer.identity[members], random)
    same = _row_distance(member_embeddings[same_left], member_embeddings[same_right])
    different = _row_distance(member_embeddings[other_left], member_embeddings[other_right])
    threshold = float(np.quantile(different, FALSE_ACCEPT_RATE))

    sample_distance, sample_nearest = _nearest(sample_embeddings, member_embeddings)
    stranger_distance, _ = _nearest(stranger_embeddings, member_embeddings)
    stored_distance, _ = _nearest(stored_embeddings, member_embeddings)
    to_grey = 50 / np.sqrt(PIXEL_SIDE * PIXEL_SIDE)
    sample_pixel, sample_pixel_nearest = _nearest(_pixels(samples), member_pixels)
    stranger_pixel, _ = _nearest(_pixels(stranger_crops), member_pixels)
    same_pixel = _row_distance(member_pixels[same_left], member_pixels[same_right])

    probe = np.sort(random.choice(len(members), min(len(strangers), len(members)), replace=False))
    own_member, left_member = _project_distance(model, member_crops[probe], member_embeddings[probe], embed, progress)
    own_stranger, left_stranger = _project_distance(model, stranger_crops, stranger_embeddings, embed, progress)

    report = PrivacyReport(
        n_training=len(members),
        n_samples=n_samples,
        n_held_out=len(strangers),
        threshold=threshold,
        pixel_sample=_spread(np.sqrt(sample_pixel) * to_grey),
        pixel_held_out=_spread(np.sqrt(stranger_pixel) * to_grey),
        pixel_same_person=_spread(np.sqrt(same_pixel) * to_grey),
        embedding_sample=_spread(sample_distance),
        embedding_held_out=_spread(stranger_distance),
        embedding_same_person=_spread(same),
        embedding_different=_spread(different),
        embedding_stored=_spread(stored_distance),
        accepted_sample=float(np.mean(sample_distance < threshold)),
        accepted_held_out=float(np.mean(stranger_distance < threshold)),
        accepted_stored=float(np.mean(stored_distance < threshold)),
        least_effective_images=float(model.effective_images.min()),
        projection_training=_spread(own_member),
        projection_held_out=_spread(own_stranger),
        projection_accepted_training=float(np.mean(own_member < threshold)),
        projection_accepted_held_out=float(np.mean(own_stranger < threshold)),
        membership_auc_embedding=_auc(own_member, own_stranger),
        membership_auc_pixel=_auc(left_member, left_stranger),
    )
    return report, Nearest(samples, members[sample_pixel_nearest], members[sample_nearest], sample_distance)


def stored_images(model: FaceModel) -> NDArray[np.uint8]:
    """What the file holds, as pictures: the mean, and two deviations to either side along each component.

    Returns:
        `(1 + 2 * n_components, 128, 128, 3)` uint8 RGB.
    """
    deviation = np.sqrt(np.sum(np.square(model.between), axis=0) + np.sum(np.square(model.within), axis=0))
    n_components = len(model.basis)
    coefficients = np.zeros((1 + 2 * n_components, model.between.shape[1]))
    for component in range(n_components):
        coefficients[1 + 2 * component, component] = 2 * deviation[component]
        coefficients[2 + 2 * component, component] = -2 * deviation[component]
    column, row = canvas_grid()
    return np.stack([model.paint(texture, column, row) for texture in model.textures(coefficients)])


def project(model: FaceModel, crops: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Float]:
    """Real crops drawn back from the nearest point of the model: registered, projected on every component, painted.

    Returns:
        The drawings `(n, 128, 128, 3)` uint8 RGB, and the root mean square grey level left unexplained, `(n,)`.
    """
    weights = pixel_weights()
    basis = model.basis * model.basis_scale[:, None].astype(np.float32) * weights
    guide = basis[:_N_GUIDE]
    mean = model.mean * weights
    grid_x, grid_y = canvas_grid()
    drawn = np.empty_like(crops)
    left = np.empty(len(crops), np.float32)
    for index, crop in enumerate(crops):
        field = np.zeros((SHAPE_GRID, SHAPE_GRID, 2), np.float32)
        texture = bent_texture(crop, field)
        for _ in range(_N_ROUNDS):
            target = mean + ((texture * weights - mean) @ guide.T) @ guide
            field = refine_field(field, texture, target / weights, weights)
            texture = bent_texture(crop, field)
        centred = texture * weights - mean
        found = centred @ basis.T
        rest = centred - found @ basis
        left[index] = np.sqrt(np.mean(np.square(rest)))
        shape = (inverse_field(field) - model.shape_mean).ravel() @ model.shape_basis.T
        coefficients = np.concatenate([found, shape]).astype(np.float64)
        dense = cv2.resize(model.displacement(coefficients), crop.shape[:2], interpolation=cv2.INTER_LINEAR)
        drawn[index] = model.paint(
            model.textures(coefficients[None])[0], grid_x + dense[..., 0], grid_y + dense[..., 1]
        )
    return drawn, left


def _project_distance(
    model: FaceModel, crops: NDArray[np.uint8], embeddings: Float, embed: Embed, progress: Progress | None
) -> tuple[Float, Float]:
    drawn, left = project(model, crops)
    return _row_distance(_embed(embed, drawn, "projections", progress), embeddings), left


def _take(transfer: TransferSet, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    return np.asarray(transfer.crops[rows])


def _embed(embed: Embed, crops: NDArray[np.uint8], what: str, progress: Progress | None) -> Float:
    parts = []
    for start in range(0, len(crops), 256):
        parts.append(embed(crops[start : start + 256]))
        if progress is not None:
            progress(what, min(start + 256, len(crops)), len(crops))
    return np.concatenate(parts)


def _pixels(crops: NDArray[np.uint8]) -> Float:
    """Face region as `(n, PIXEL_SIDE**2)` float32 with mean 0 and standard deviation 1."""
    values = np.empty((len(crops), PIXEL_SIDE * PIXEL_SIDE), np.float32)
    for index, crop in enumerate(crops):
        grey = cv2.cvtColor(np.ascontiguousarray(crop[_FACE_ROWS, _FACE_COLUMNS]), cv2.COLOR_RGB2GRAY)
        values[index] = cv2.resize(grey, (PIXEL_SIDE, PIXEL_SIDE), interpolation=cv2.INTER_AREA).ravel()
    values -= values.mean(1, keepdims=True)
    values /= np.maximum(values.std(1, keepdims=True), 1e-3)
    return values


def _nearest(queries: Float, gallery: Float) -> tuple[Float, NDArray[np.int64]]:
    """Squared distance to the nearest gallery row, `(n,)`, and its index."""
    distance = np.empty(len(queries), np.float32)
    index = np.empty(len(queries), np.int64)
    length = np.einsum("ij,ij->i", gallery, gallery)
    for start in range(0, len(queries), 256):
        part = queries[start : start + 256]
        table = np.einsum("ij,ij->i", part, part)[:, None] + length - 2 * part @ gallery.T
        index[start : start + 256] = table.argmin(1)
        distance[start : start + 256] = table.min(1)
    return np.maximum(distance, 0), index


def _row_distance(left: Float, right: Float) -> Float:
    return np.asarray(np.square(left - right).sum(1), np.float32)


def _people_pairs(
    identity: NDArray[np.int64], random: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Rows of genuine pairs (one a person) and of 100,000 impostor pairs among the labelled."""
    order = random.permutation(np.flatnonzero(identity >= 0))
    order = order[np.argsort(identity[order], kind="stable")]
    labels = identity[order]
    first = np.flatnonzero(np.concatenate([[True], labels[1:] != labels[:-1]])[:-1] & (labels[1:] == labels[:-1]))
    if len(first) < 50:
        raise TransferSetError(f"privacy check: {len(first)} people have two photos; at least 50 are needed")
    left, right = random.choice(order, 100_000), random.choice(order, 100_000)
    differ = identity[left] != identity[right]
    return order[first], order[first + 1], left[differ], right[differ]


def _auc(nearer: Float, farther: Float) -> float:
    """Chance that a value of `nearer` is below one of `farther`."""
    order = np.sort(farther)
    below = len(order) - np.searchsorted(order, nearer, side="right")
    ties = np.searchsorted(order, nearer, side="right") - np.searchsorted(order, nearer, side="left")
    return float(np.mean((below + 0.5 * ties) / len(order)))


def _spread(values: Float) -> Spread:
    least, low, median, high = np.quantile(values, (0, 0.01, 0.5, 0.99))
    return Spread(float(least), float(low), float(median), float(high))

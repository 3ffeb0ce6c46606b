"""Learns the face model of `synthetic` from a transfer set of aligned crops.

Three steps. Registration: each crop is bent onto its own reconstruction by a few components, with a smooth flow field,
again and again with better components. Components: the bent crops (texture) and the fields (shape) go through one
truncated decomposition each. Identity: the covariance of the coefficients is split, over the labelled people, into what
differs between people and what differs between photos of one.

A tenth of the people and of the unlabelled photos is never learned from; `synthetic_check` compares with those.

Source: Vetter, Jones and Poggio, "A bootstrapping algorithm for learning linear models of object classes", CVPR 1997
(registration); Kroeger et al., "Fast optical flow using dense inverse search", ECCV 2016; Halko, Martinsson and Tropp,
"Finding structure with randomness", SIAM Review 2011 (decomposition).
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from facelet.atomic import write_bytes_atomic
from facelet.data.synthetic import CANVAS, CHROMA, LUMA, SHAPE_GRID
from facelet.data.transfer import TransferSet
from facelet.errors import TransferSetError

Float = NDArray[np.float32]
Progress = Callable[[str, int, int], None]

HELD_OUT_EVERY = 10
N_COMPONENTS = 250
N_SHAPES = 30
N_ROUNDS = 3
KEPT = 0.9
"""Fraction of the whole photos that stays after the first round of registration."""
MIN_PHOTOS = 4
"""Photos of a person that the covariances need."""

_N_GUIDE = 30
_MIN_IMAGES = 1000
_MIN_TOP_CHANGE = 1.2
_FLOW_SIGMA = 4.0
_FLOW_LIMIT = 4.0
_CHROMA_WEIGHT = LUMA / CHROMA
# Measured: mean place of YuNet's five points on the crops of the transfer set.
_LANDMARKS = np.array([[45.60, 60.44], [82.11, 60.22], [64.31, 82.58], [48.00, 98.07], [80.15, 97.94]])


@dataclass(frozen=True)
class Components:
    """A truncated principal component model.

    Attributes:
        mean: `(n_values,)` float32.
        basis: orthonormal rows, `(k, n_values)` float32.
        residual: mean squared length of what the components leave.
    """

    mean: Float
    basis: Float
    residual: float


def pixel_weights() -> Float:
    """Weight of each texture value, `(n_values,)` float32: 1 on the face, 0.3 in the corners; chroma counts by area."""
    axis = np.arange(LUMA) * CANVAS / LUMA
    radius = np.hypot((axis[None, :] - 64) / 46, (axis[:, None] - 74) / 58)
    luma = (0.3 + 0.7 / (1 + np.exp((radius - 1) * 8))).astype(np.float32)
    chroma = cv2.resize(luma, (CHROMA, CHROMA), interpolation=cv2.INTER_AREA).ravel() * np.float32(_CHROMA_WEIGHT)
    return np.concatenate([luma.ravel(), chroma, chroma])


def held_out(transfer: TransferSet) -> NDArray[np.bool_]:
    """Which crops the model never learns from, `(n_images,)`: every tenth person, every tenth unlabelled crop.

    Goes by the numbers that the set gives its people and crops: it holds for the whole set, not for a part of it.
    """
    unlabelled = transfer.identity < 0
    number = np.where(unlabelled, np.arange(transfer.n_images), transfer.identity)
    return np.asarray(number % HELD_OUT_EVERY == 0)


def whole_photo(crops: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which crops show the photo up to their upper edge, rather than its border repeated; `(n,)`."""
    whole = np.empty(len(crops), np.bool_)
    for start in range(0, len(crops), 1000):
        top = np.asarray(crops[start : start + 1000, :10, 24:104]).astype(np.float32).mean(3)
        whole[start : start + 1000] = np.abs(np.diff(top, axis=1)).mean((1, 2)) > _MIN_TOP_CHANGE
    return whole


def bent_texture(crop: NDArray[np.uint8], field: Float) -> Float:
    """Texture of a crop looked up through a displacement field `(SHAPE_GRID, SHAPE_GRID, 2)`; `(n_values,)` float32."""
    axis = (np.arange(LUMA, dtype=np.float32) + 0.5) * np.float32(CANVAS / LUMA) - 0.5
    dense = cv2.resize(field, (LUMA, LUMA), interpolation=cv2.INTER_LINEAR)
    bent = cv2.remap(
        crop,
        axis[None, :] + dense[..., 0],
        axis[:, None] + dense[..., 1],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    planes = cv2.cvtColor(bent, cv2.COLOR_RGB2YCrCb)
    chroma = cv2.resize(planes[..., 1:], (CHROMA, CHROMA), interpolation=cv2.INTER_AREA)
    return np.concatenate([planes[..., 0].ravel(), chroma.transpose(2, 0, 1).ravel()]).astype(np.float32)


def components(values: Float, count: int, seed: int) -> Components:
    """The first `count` principal components of the rows of `values` (centred in place and restored)."""
    mean = values.mean(0)
    values -= mean
    random = np.random.default_rng(seed)
    span = random.standard_normal((values.shape[1], count + 20), np.float32)
    for _ in range(3):
        span, _ = np.linalg.qr(values.T @ (values @ span))
    inner = values @ span
    variance, rotation = np.linalg.eigh(inner.T @ inner / len(values))
    order = np.argsort(-variance)[:count]
    total = float(np.mean(np.einsum("ij,ij->i", values, values)))
    values += mean
    return Components(mean, np.ascontiguousarray((span @ rotation[:, order]).T), total - float(variance[order].sum()))


def refine_field(field: Float, texture: Float, target: Float, weights: Float) -> Float:
    """A displacement field after one more round of flow.

    Args:
        field: `(SHAPE_GRID, SHAPE_GRID, 2)` float32, canvas pixels.
        texture: the crop looked up through `field`, `(n_values,)`, not weighted.
        target: its reconstruction, `(n_values,)`, not weighted.
        weights: of `pixel_weights`.
    """
    n_luma = LUMA * LUMA
    fixed = np.clip(target[:n_luma], 0, 255).astype(np.uint8).reshape(LUMA, LUMA)
    moving = np.clip(texture[:n_luma], 0, 255).astype(np.uint8).reshape(LUMA, LUMA)
    start = np.zeros((LUMA, LUMA, 2), np.float32)
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST).calc(fixed, moving, start)
    flow = np.clip(cv2.GaussianBlur(flow, (0, 0), _FLOW_SIGMA), -_FLOW_LIMIT, _FLOW_LIMIT)
    flow = np.asarray(flow * weights[:n_luma].reshape(LUMA, LUMA, 1), np.float32)
    axis = np.arange(LUMA, dtype=np.float32)
    old = cv2.resize(field, (LUMA, LUMA), interpolation=cv2.INTER_LINEAR)
    moved = cv2.remap(
        old,
        axis[None, :] + flow[..., 0],
        axis[:, None] + flow[..., 1],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    new = moved + flow * np.float32(CANVAS / LUMA)
    return np.asarray(cv2.resize(new, (SHAPE_GRID, SHAPE_GRID), interpolation=cv2.INTER_AREA), np.float32)


def inverse_field(field: Float) -> Float:
    """The field that undoes `field`, by fixed-point iteration."""
    axis = np.arange(SHAPE_GRID, dtype=np.float32)
    cell = np.float32(CANVAS / SHAPE_GRID)
    inverse = -field
    for _ in range(4):
        inverse = -np.asarray(
            cv2.remap(
                field,
                axis[None, :] + inverse[..., 0] / cell,
                axis[:, None] + inverse[..., 1] / cell,
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            ),
            np.float32,
        )
    return inverse


def identity_covariances(
    coefficients: NDArray[np.float64], identity: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Splits what differs between people from what differs between photos of one person.

    Args:
        coefficients: `(n, k)`.
        identity: person of each row, -1 where not known.

    Returns:
        Rows that span the between and the within covariance, `(m, k)` each, and the number of people behind them.

    Raises:
        TransferSetError: fewer than 100 people with `MIN_PHOTOS` photos.
    """
    people, inverse, count = np.unique(identity, return_inverse=True, return_counts=True)
    enough = (count >= MIN_PHOTOS) & (people >= 0)
    if enough.sum() < 100:
        raise TransferSetError(
            f"face model: {int(enough.sum())} people have {MIN_PHOTOS} photos or more; at least 100 are needed"
        )
    means = np.zeros((len(people), coefficients.shape[1]))
    np.add.at(means, inverse, coefficients)
    means /= count[:, None]
    rows = enough[inverse]
    spread = coefficients[rows] - means[inverse[rows]]
    within = spread.T @ spread / (rows.sum() - enough.sum())
    between = np.cov(means[enough].T) - within * np.mean(1 / count[enough])
    return _factor(between), _factor(within), int(enough.sum())


def build_face_model(
    transfer: TransferSet,
    out: Path,
    *,
    seed: int = 0,
    n_components: int = N_COMPONENTS,
    progress: Progress | None = None,
) -> int:
    """Learns a face model and writes it.

    Args:
        out: the `.npz` to write.
        progress: called with (step, done, total).

    Returns:
        Size of the file in bytes.

    Raises:
        TransferSetError: too few whole photos or labelled people.
    """
    rows = np.flatnonzero(whole_photo(transfer.crops) & ~held_out(transfer))
    if len(rows) < _MIN_IMAGES:
        raise TransferSetError(f"face model: {len(rows)} whole photos to learn from; at least {_MIN_IMAGES} are needed")
    weights = pixel_weights()
    rows, fields, textures = _register(transfer, rows, weights, seed, progress)
    inverses = np.stack([inverse_field(field) for field in fields]).reshape(len(rows), -1)
    shape = components(inverses, N_SHAPES, seed)
    texture = components(textures, n_components, seed)
    texture_coefficients = (textures - texture.mean) @ texture.basis.T
    coefficients = np.hstack([texture_coefficients, (inverses - shape.mean) @ shape.basis.T]).astype(np.float64)
    deviation = coefficients.std(0)
    between, within, n_identities = identity_covariances(coefficients / deviation, transfer.identity[rows])
    squares = np.square(texture_coefficients.astype(np.float64))
    drawn = texture.basis / weights
    steps = np.abs(drawn).max(1) / 127
    stream = io.BytesIO()
    np.savez_compressed(
        stream,
        mean=(texture.mean / weights).astype(np.float16),
        basis=np.rint(drawn / steps[:, None]).astype(np.int8),
        basis_scale=steps.astype(np.float32),
        shape_mean=shape.mean.astype(np.float16),
        shape_basis=shape.basis.astype(np.float16),
        between=(between * deviation).astype(np.float32),
        within=(within * deviation).astype(np.float32),
        landmarks=_LANDMARKS.astype(np.float32),
        effective_images=(np.square(squares.sum(0)) / np.square(squares).sum(0)).astype(np.float32),
        n_images=np.int64(len(rows)),
        n_identities=np.int64(n_identities),
    )
    write_bytes_atomic(out, stream.getvalue())
    return out.stat().st_size


def _register(
    transfer: TransferSet, rows: NDArray[np.int64], weights: Float, seed: int, progress: Progress | None
) -> tuple[NDArray[np.int64], Float, Float]:
    """Rows kept, their displacement fields `(n, SHAPE_GRID, SHAPE_GRID, 2)` and weighted textures `(n, n_values)`.

    After the first round the tenth of the crops that fits worst (profiles, hands, hats) is left out.
    """
    fields = np.zeros((len(rows), SHAPE_GRID, SHAPE_GRID, 2), np.float32)
    textures = _textures(transfer, rows, fields, weights)
    for number in range(N_ROUNDS):
        guide = components(textures, _N_GUIDE, seed)
        misfit = np.empty(len(rows), np.float32)
        for start in range(0, len(rows), 500):
            part = textures[start : start + 500]
            target = guide.mean + ((part - guide.mean) @ guide.basis.T) @ guide.basis
            misfit[start : start + 500] = np.linalg.norm(part - target, axis=1)
            for offset, (seen, wanted) in enumerate(zip(part, target, strict=True)):
                row = start + offset
                fields[row] = refine_field(fields[row], seen / weights, wanted / weights, weights)
            if progress is not None:
                progress(f"registration {number + 1} of {N_ROUNDS}", min(start + 500, len(rows)), len(rows))
        if number == 0:
            kept = np.flatnonzero(misfit <= np.quantile(misfit, KEPT))
            rows, fields = rows[kept], fields[kept]
        flat = fields.reshape(len(rows), -1)
        smooth = components(flat, _N_GUIDE, seed)
        projected = ((flat - smooth.mean) @ smooth.basis.T) @ smooth.basis
        fields = projected.reshape(fields.shape).astype(np.float32)
        textures = _textures(transfer, rows, fields, weights)
    return rows, fields, textures


def _textures(transfer: TransferSet, rows: NDArray[np.int64], fields: Float, weights: Float) -> Float:
    textures = np.empty((len(rows), len(weights)), np.float32)
    for row, index in enumerate(rows):
        textures[row] = bent_texture(np.asarray(transfer.crops[index]), fields[row]) * weights
    return textures


def _factor(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows `f` with `f.T @ f` the covariance, without its directions below a thousandth of the largest."""
    variance, directions = np.linalg.eigh(covariance)
    kept = variance > 1e-3 * variance[-1]
    return np.asarray((directions[:, kept] * np.sqrt(variance[kept])).T)

"""Faces that belong to nobody: a statistical model of shape and texture, and the photos drawn from it.

The model is an active appearance model. A face is a smooth texture in a common frame and a displacement field that
moves it to its place; both are linear in one coefficient vector. Learned covariances split that vector into what
differs between people (an identity is one draw) and what differs between photos of one person (a photo is one draw).
`synthetic_photo` then adds what a camera adds. The file `synthetic_faces.npz` is made by `synthetic_build` and
checked by `synthetic_check`.

Every draw is a function of (seed, stream, identity, photo) alone, so a set never depends on the order or the batch it
was drawn in.

Source: Cootes, Edwards and Taylor, "Active Appearance Models", ECCV 1998; Prince and Elder, "Probabilistic Linear
Discriminant Analysis for Inferences About Identity", ICCV 2007 (between and within covariances).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from facelet.archives import NPZ_ERRORS
from facelet.data.pairs import Pairs
from facelet.data.synthetic_photo import PhotoStyle, draw_style, finish, pose_map
from facelet.errors import InputError, MissingFileError, ModelError

CANVAS = 128
"""Side of a crop in pixels: the 112 px arcface template with a border of 8."""
LUMA = 96
"""Side of the stored luma texture."""
CHROMA = 24
"""Side of each stored chroma texture (Cr, Cb)."""
SHAPE_GRID = 16
"""Side of the stored displacement field."""
FILE = Path(__file__).with_name("synthetic_faces.npz")
STREAMS = {"train": 0, "pairs": 1}
"""Identities of different streams never share a draw, whatever the seed."""
BETWEEN_SCALE = 1.45
"""Spread of identities in units of the learned one; above 1, as a linear texture loses what tells people apart."""
WITHIN_SCALE = 0.45
"""Spread of the photos of one person in units of the learned one; below 1 for the same reason."""
TRUNCATION = 2.0
"""Every standard normal draw is clipped to plus or minus this."""

_FRACTION_BITS = 12
_CHUNK = 64
_N_FOLDS = 10


@dataclass(frozen=True)
class Identity:
    """One person who does not exist.

    Attributes:
        seed: of the set.
        stream: value of `STREAMS`.
        index: running number within seed and stream.
        coefficients: offset from the mean face, `(n_coefficients,)` float64.
    """

    seed: int
    stream: int
    index: int
    coefficients: NDArray[np.float64]


@dataclass(frozen=True)
class FaceModel:
    """The learned face.

    Attributes:
        mean: mean texture, `(n_values,)` float32 in 0..255: luma, side `LUMA`, then Cr and Cb, side `CHROMA`.
        basis: texture components, `(n_components, n_values)` float32 holding whole numbers in -127..127.
        basis_scale: grey levels per unit of `basis` at coefficient 1, `(n_components,)` float64.
        shape_mean: mean displacement, `(SHAPE_GRID, SHAPE_GRID, 2)` float32, canvas pixels (x, y).
        shape_basis: displacement components, `(n_shapes, SHAPE_GRID**2 * 2)` float32, pixels at coefficient 1.
        between: rows span what differs between people, `(n, n_components + n_shapes)` float64.
        within: rows span what differs between photos of one person, `(n, n_components + n_shapes)` float64.
        landmarks: five points of the common frame in canvas pixels, `(5, 2)` float64, image-left first.
        effective_images: training images that share each texture component (participation ratio),
            `(n_components,)` float32.
        n_images: training images.
        n_identities: labelled people behind `between` and `within`.
    """

    mean: NDArray[np.float32]
    basis: NDArray[np.float32]
    basis_scale: NDArray[np.float64]
    shape_mean: NDArray[np.float32]
    shape_basis: NDArray[np.float32]
    between: NDArray[np.float64]
    within: NDArray[np.float64]
    landmarks: NDArray[np.float64]
    effective_images: NDArray[np.float32]
    n_images: int
    n_identities: int

    @staticmethod
    def load(path: Path | None = None) -> FaceModel:
        """The shipped model, or the one in `path` (made by `facelet synthetic build`).

        Raises:
            MissingFileError: `path` is not there.
            ModelError: `path` is no face model.
        """
        return _load(FILE if path is None else Path(path))

    def sample_identity(self, seed: int, index: int, stream: str = "train") -> Identity:
        """Person number `index` of the set `seed`.

        Raises:
            InputError: negative seed or index, or an unknown stream.
        """
        if seed < 0 or index < 0:
            raise InputError(f"synthetic faces: seed {seed} and index {index} must not be negative")
        if stream not in STREAMS:
            raise InputError(f"synthetic faces: stream '{stream}' is not known; known: {', '.join(STREAMS)}")
        random = np.random.default_rng([seed, STREAMS[stream], index])
        normal = np.clip(random.standard_normal(len(self.between)), -TRUNCATION, TRUNCATION)
        return Identity(seed, STREAMS[stream], index, BETWEEN_SCALE * (normal @ self.between))

    def render(self, identity: Identity, photo_index: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """One photo of a person.

        Returns:
            The crop `(128, 128, 3)` uint8 RGB on the canvas of the transfer set, and its landmarks `(5, 2)` float32 in
            crop pixels.

        Raises:
            InputError: negative photo index.
        """
        crops, landmarks = self.render_many([(identity, photo_index)])
        return crops[0], landmarks[0]

    def render_many(
        self, photos: Sequence[tuple[Identity, int]], clean: bool = False
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Photos of people; each equals what `render` makes of it alone.

        Args:
            photos: person and photo number.
            clean: leave out what the camera adds: no pose, light, background, occlusion, blur or noise.

        Returns:
            Crops `(n, 128, 128, 3)` uint8 RGB and landmarks `(n, 5, 2)` float32.

        Raises:
            InputError: negative photo index.
        """
        crops = np.empty((len(photos), CANVAS, CANVAS, 3), np.uint8)
        landmarks = np.empty((len(photos), 5, 2), np.float32)
        for start in range(0, len(photos), _CHUNK):
            chunk = photos[start : start + _CHUNK]
            coefficients = np.empty((len(chunk), self.between.shape[1]))
            styles: list[PhotoStyle | None] = []
            randoms = []
            for row, (identity, photo_index) in enumerate(chunk):
                if photo_index < 0:
                    raise InputError(f"synthetic faces: photo index {photo_index} must not be negative")
                random = np.random.default_rng([identity.seed, identity.stream, identity.index, photo_index + 1])
                normal = np.clip(random.standard_normal(len(self.within)), -TRUNCATION, TRUNCATION)
                coefficients[row] = identity.coefficients + WITHIN_SCALE * (normal @ self.within)
                styles.append(None if clean else draw_style(random))
                randoms.append(random)
            textures = self.textures(coefficients)
            for row, style in enumerate(styles):
                crop, points = self._photo(textures[row], coefficients[row], style, randoms[row])
                crops[start + row] = crop
                landmarks[start + row] = points
        return crops, landmarks

    def textures(self, coefficients: NDArray[np.float64]) -> NDArray[np.float32]:
        """Texture vectors of coefficient vectors.

        The sum runs over whole numbers below 2**24, so float32 is exact and the result does not depend on batch size,
        thread count or BLAS.

        Args:
            coefficients: `(n, n_components + n_shapes)` float64.

        Returns:
            `(n, n_values)` float32, grey levels.
        """
        n_components = len(self.basis)
        unit = 1 << _FRACTION_BITS
        whole = np.rint(coefficients[:, :n_components] * (self.basis_scale * unit)).astype(np.float32)
        return self.mean + (whole @ self.basis) * np.float32(1 / unit)

    def displacement(self, coefficients: NDArray[np.float64]) -> NDArray[np.float32]:
        """Offset from each point of the crop to its place in the common frame.

        Returns:
            `(SHAPE_GRID, SHAPE_GRID, 2)` float32, canvas pixels.
        """
        offset = coefficients[len(self.basis) :].astype(np.float32) @ self.shape_basis
        return self.shape_mean + offset.reshape(SHAPE_GRID, SHAPE_GRID, 2)

    def paint(
        self, texture: NDArray[np.float32], column: NDArray[np.float32], row: NDArray[np.float32]
    ) -> NDArray[np.uint8]:
        """A picture of a texture.

        Args:
            texture: `(n_values,)` float32.
            column: which column of the common frame each pixel shows, `(128, 128)` float32, canvas pixels.
            row: the same for rows.

        Returns:
            `(128, 128, 3)` uint8 RGB.
        """
        n_luma, n_chroma = LUMA * LUMA, CHROMA * CHROMA
        planes = np.clip(texture, 0, 255).astype(np.uint8)
        luma = planes[:n_luma].reshape(LUMA, LUMA)
        red = cv2.resize(planes[n_luma : n_luma + n_chroma].reshape(CHROMA, CHROMA), (LUMA, LUMA))
        blue = cv2.resize(planes[n_luma + n_chroma :].reshape(CHROMA, CHROMA), (LUMA, LUMA))
        image = cv2.cvtColor(cv2.merge([luma, red, blue]), cv2.COLOR_YCrCb2RGB)
        ratio = np.float32(LUMA / CANVAS)
        shift = np.float32(0.5 * LUMA / CANVAS - 0.5)
        painted = cv2.remap(
            image, column * ratio + shift, row * ratio + shift, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )
        return np.asarray(painted, np.uint8)

    def _photo(
        self,
        texture: NDArray[np.float32],
        coefficients: NDArray[np.float64],
        style: PhotoStyle | None,
        random: np.random.Generator,
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        field = self.displacement(coefficients)
        dense = np.asarray(cv2.resize(field, (CANVAS, CANVAS), interpolation=cv2.INTER_LINEAR), np.float32)
        grid_x, grid_y = canvas_grid()
        if style is None:
            column, row = grid_x + dense[..., 0], grid_y + dense[..., 1]
            image = self.paint(texture, column, row)
            return image, _invert(column, row, self.landmarks)
        pose_x, pose_y = pose_map(style, grid_x, grid_y)
        moved = cv2.remap(dense, pose_x, pose_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        column, row = pose_x + moved[..., 0], pose_y + moved[..., 1]
        points = _invert(column, row, self.landmarks)
        image = finish(self.paint(texture, column, row), column, row, points, style, random)
        return image, points


def synthetic_faces(
    n_identities: int,
    photos_per_identity: int,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.float32]]:
    """A labelled transfer set of people who do not exist.

    Args:
        progress: called with the number of faces made since the last call.

    Returns:
        Crops `(n, 128, 128, 3)` uint8 RGB, identities `(n,)` int from 0, landmarks `(n, 5, 2)` float32 in crop pixels.

    Raises:
        InputError: a count below 1, or a negative seed.
    """
    if n_identities < 1 or photos_per_identity < 1:
        raise InputError(
            f"synthetic faces: {n_identities} identities with {photos_per_identity} photos each; both must be 1 or more"
        )
    model = FaceModel.load()
    identity = np.repeat(np.arange(n_identities), photos_per_identity)
    crops = np.empty((len(identity), CANVAS, CANVAS, 3), np.uint8)
    landmarks = np.empty((len(identity), 5, 2), np.float32)
    people = max(1, _CHUNK // photos_per_identity)
    for first in range(0, n_identities, people):
        last = min(first + people, n_identities)
        photos = [
            (person, photo)
            for person in (model.sample_identity(seed, index) for index in range(first, last))
            for photo in range(photos_per_identity)
        ]
        rows = slice(first * photos_per_identity, last * photos_per_identity)
        crops[rows], landmarks[rows] = model.render_many(photos)
        if progress is not None:
            progress(len(photos))
    return crops, identity, landmarks


def check_pairs(n_pairs: int) -> None:
    """Refuses a number of pairs that `synthetic_pairs` cannot make.

    Raises:
        InputError: it is no multiple of 20 from 40 on.
    """
    if n_pairs < 40 or n_pairs % (2 * _N_FOLDS):
        raise InputError(
            f"synthetic pairs: {n_pairs} pairs do not split into 10 balanced folds; use a multiple of 20 from 40 on"
        )


def synthetic_pairs(n_pairs: int, seed: int) -> tuple[Pairs, NDArray[np.uint8]]:
    """A verification protocol on people who do not exist: 10 folds, half of each genuine, no person in two folds.

    People come from a stream of their own, so no pair shows a person of `synthetic_faces`, whatever the seeds.

    Returns:
        The protocol, and its crops `(n_pairs, 128, 128, 3)` uint8 RGB in the order of `pairs.images`.

    Raises:
        InputError: `n_pairs` is no multiple of 20 from 40 on, or the seed is negative.
    """
    check_pairs(n_pairs)
    model = FaceModel.load()
    n_people = n_pairs // 2
    people = [model.sample_identity(seed, index, "pairs") for index in range(n_people)]
    crops, _ = model.render_many([(person, photo) for person in people for photo in (0, 1)])
    per_fold = n_people // _N_FOLDS
    within_fold = np.arange(n_people) % per_fold
    fold = np.arange(n_people) // per_fold
    other = fold * per_fold + (within_fold + 1) % per_fold
    left = np.concatenate([np.arange(n_people) * 2, np.arange(n_people) * 2])
    right = np.concatenate([np.arange(n_people) * 2 + 1, other * 2 + 1])
    order = np.argsort(np.concatenate([fold, fold]), kind="stable")
    pairs = Pairs(
        images=tuple(f"synthetic-{seed}-{person}-{photo}" for person in range(n_people) for photo in (0, 1)),
        left=left[order].astype(np.int64),
        right=right[order].astype(np.int64),
        same=(np.arange(n_pairs) < n_people)[order],
        fold=np.concatenate([fold, fold])[order].astype(np.int64),
    )
    return pairs, crops


def contact_sheet(people: Sequence[NDArray[np.uint8]], side: int = CANVAS) -> NDArray[np.uint8]:
    """One picture of many crops.

    Args:
        people: a row each, `(n, 128, 128, 3)` uint8 with the same n.
        side: of each crop in the picture, pixels.
    """
    sheet = np.vstack([np.hstack(list(crops)) for crops in people])
    size = (sheet.shape[1] * side // CANVAS, sheet.shape[0] * side // CANVAS)
    return np.asarray(cv2.resize(sheet, size, interpolation=cv2.INTER_AREA), np.uint8)


@functools.cache
def canvas_grid() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Column and row of every pixel of the canvas, `(128, 128)` float32 each."""
    axis = np.arange(CANVAS, dtype=np.float32)
    column, row = np.meshgrid(axis, axis)
    return column, row


def _invert(column: NDArray[np.float32], row: NDArray[np.float32], points: NDArray[np.float64]) -> NDArray[np.float32]:
    """Crop pixels `(n, 2)` whose looked-up place is `points`, by fixed-point iteration on a smooth map."""
    grid_x, grid_y = canvas_grid()
    offset = np.dstack([column - grid_x, row - grid_y])
    found = points.copy()
    for _ in range(6):
        x = np.clip(np.rint(found[:, 0]), 0, CANVAS - 1).astype(np.intp)
        y = np.clip(np.rint(found[:, 1]), 0, CANVAS - 1).astype(np.intp)
        found = points - offset[y, x]
    return np.clip(found, 0, CANVAS - 1).astype(np.float32)


@functools.lru_cache(maxsize=2)
def _load(path: Path) -> FaceModel:
    if not path.is_file():
        raise MissingFileError(f"{path}: no such face model; make one with: facelet synthetic build --transfer DIR")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            stored = {name: file[name] for name in file.files}
        return FaceModel(
            mean=stored["mean"].astype(np.float32),
            basis=stored["basis"].astype(np.float32),
            basis_scale=stored["basis_scale"].astype(np.float64),
            shape_mean=stored["shape_mean"].astype(np.float32).reshape(SHAPE_GRID, SHAPE_GRID, 2),
            shape_basis=stored["shape_basis"].astype(np.float32),
            between=stored["between"].astype(np.float64),
            within=stored["within"].astype(np.float64),
            landmarks=stored["landmarks"].astype(np.float64),
            effective_images=stored["effective_images"].astype(np.float32),
            n_images=int(stored["n_images"]),
            n_identities=int(stored["n_identities"]),
        )
    except NPZ_ERRORS as error:
        raise ModelError(f"{path}: not a face model; make one with: facelet synthetic build --transfer DIR") from error

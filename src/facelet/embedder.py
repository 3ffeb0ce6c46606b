"""Crops in, unit vectors out: a model joined with a backend that runs it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from facelet.backends import BACKENDS, DEFAULT_BACKENDS, Runner, check_backend
from facelet.errors import InputError, ModelError
from facelet.model import Card, Model
from facelet.model_files import DEFAULT_MODEL, load_model
from facelet.threads import check_threads

if TYPE_CHECKING:
    from facelet.faces.detect import Detector
    from facelet.faces.sources import PhotoSource

__all__ = ["BACKENDS", "Embedder"]

BATCH_SIZE = 64


@dataclass(frozen=True)
class Embedder:
    """A model that can be run.

    Attributes:
        model: the file and its card.
        backend: key of `BACKENDS`.
        runner: the loaded network.
    """

    model: Model
    backend: str
    runner: Runner

    @staticmethod
    def load(
        name_or_path: str | Path = DEFAULT_MODEL,
        backend: str | None = None,
        threads: int | None = None,
        card: Card | str | Path | None = None,
    ) -> Embedder:
        """Loads a model and checks its network against its card.

        Args:
            name_or_path: a shipped model's name, "dlib_resnet", or the path of a `.onnx`, `.xml` or `.dat` file.
            backend: key of `BACKENDS`; None takes the one that fits the file.
            threads: number of threads, at least 1; None leaves it to the backend.
            card: a card, or the JSON file of one, in place of the file's own.

        Raises:
            UnknownNameError: no such model or backend.
            MissingFileError: a file is not there.
            MissingExtraError: the backend is not installed.
            ModelError: the file cannot be run, or does not fit its card.
            InputError: the backend cannot read this kind of file, or `threads` is out of range.
        """
        check_threads(threads)
        check_backend(backend)
        model = load_model(name_or_path, card)
        if model.card.output != "embedding":
            raise ModelError(f"{model.path}: gives {model.card.output}, not embeddings; give a face recognition model")
        chosen = backend or DEFAULT_BACKENDS[model.path.suffix]
        return Embedder(model, chosen, BACKENDS[chosen](model, threads))

    @property
    def card(self) -> Card:
        """The model's card."""
        return self.model.card

    def embed(
        self, crops: NDArray[np.uint8] | Sequence[NDArray[np.uint8]], batch_size: int = BATCH_SIZE
    ) -> NDArray[np.float32]:
        """The embeddings of aligned crops.

        Args:
            crops: `(n, card.height, card.width, 3)` uint8 RGB, or n such crops; n may be 0.
            batch_size: crops that go through the network at once, at least 1.

        Returns:
            `(n, card.embedding_size)` float32, each row of Euclidean length 1.

        Raises:
            InputError: crops of another shape or type.
            ModelError: the network gives embeddings of another size, or ones that are no direction.
        """
        card = self.card
        if not isinstance(crops, np.ndarray):
            crops = _stacked(crops, (card.height, card.width, 3))
        if crops.dtype != np.uint8 or crops.shape[1:] != (card.height, card.width, 3):
            raise InputError(
                f"crops for {card.name}: must be uint8 (n, {card.height}, {card.width}, 3), "
                f"found {crops.dtype} {crops.shape}"
            )
        if batch_size < 1:
            raise InputError(f"batch_size: must be 1 or more, found {batch_size}")
        embeddings = np.empty((len(crops), card.embedding_size), np.float32)
        for start in range(0, len(crops), batch_size):
            batch = crops[start : start + batch_size]
            raw = self.runner(batch)
            if raw.size != len(batch) * card.embedding_size or len(raw) != len(batch):
                raise ModelError(
                    f"{self.model.path}: the network gives {raw.shape} for {len(batch)} crops, "
                    f"the card of {card.name} says {card.embedding_size} numbers each; mend the card"
                )
            embeddings[start : start + len(batch)] = raw.reshape(len(batch), -1)
        lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
        wrong = np.flatnonzero(~(np.isfinite(lengths[:, 0]) & (lengths[:, 0] > 0)))
        if len(wrong):
            raise ModelError(
                f"{self.model.path}: the embedding of crop {wrong[0]} has length {lengths[wrong[0], 0]}, "
                "so it points nowhere; the network or its card's mean and scale are broken"
            )
        embeddings /= lengths
        return embeddings

    def embed_images(
        self,
        photos: PhotoSource | Iterable[PhotoSource],
        detector: Detector | str | None = None,
        align: bool = True,
        *,
        bgr: bool = False,
    ) -> NDArray[np.float32]:
        """The embeddings of photos, of the main face in each (`faces.selection`).

        Args:
            photos: each a path, the bytes of an image file, a file opened with "rb", a PIL image or an array, as
                `faces.sources.load_photo` reads them; one alone is one photo, an array of four dimensions is several.
            detector: what finds the faces, or its name; None is the default one.
            align: warp the face to the template of the card; False cuts the detector's box.
            bgr: arrays have their colours in OpenCV's order, blue first.

        Returns:
            `(n, card.embedding_size)` float32 unit vectors.

        Raises:
            InputError: what cannot be a photo, or an array of another type or shape.
            MissingFileError: a photo is not there.
            ImageError: a file is not a readable photo.
            FaceNotFoundError: a photo without a face.
        """
        from facelet.faces.sources import one_or_many
        from facelet.photo import face_crops

        template, height, width = self.card.template if align else "box", self.card.height, self.card.width
        return self.embed(
            [
                face_crops(photo, template, height, width, detector, every=False, name=f"photo {number}", bgr=bgr)[
                    0
                ].crop
                for number, photo in enumerate(one_or_many(photos))
            ]
        )


def _stacked(crops: Sequence[NDArray[np.uint8]], shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Crops of one shape as one array.

    Raises:
        InputError: crops of different shapes.
    """
    try:
        return np.stack(crops) if len(crops) else np.empty((0, *shape), np.uint8)
    except (ValueError, TypeError) as error:
        raise InputError(f"crops: must be arrays of one shape {shape} ({error})") from error

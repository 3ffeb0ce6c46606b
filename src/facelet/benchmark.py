"""A model on a benchmark: joins crops, embeddings and figures.

`evaluate` measures, `calibrate` finds the thresholds that go into a model's card.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from facelet.cache import cache_dir
from facelet.data.lfw import load_lfw
from facelet.data.packed import load_packed
from facelet.data.pairs import Pairs
from facelet.errors import InputError, MissingFileError, ProtocolError, UnknownNameError
from facelet.evaluate.report import VerificationReport, verify_pairs
from facelet.evaluate.verification import FARS, impostor_threshold, pair_distances
from facelet.faces.crops import Advance, BenchmarkCrops, CropCache, crop_benchmark, crop_packed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from facelet.embedder import Embedder
    from facelet.faces.detect import Detector

Progress = Callable[[str], AbstractContextManager[Advance]]
"""Opens a progress bar with a title; what it yields is told `(done, total)`."""

BENCHMARKS: dict[str, str] = {
    "lfw": "Labeled Faces in the Wild: a folder with pairs.txt and images, or lfw.bin",
    "cfp_fp": "CFP frontal to profile, packed: cfp_fp.bin",
    "agedb_30": "AgeDB, 30 years apart, packed: agedb_30.bin",
    "calfw": "cross-age LFW, packed: calfw.bin",
    "cplfw": "cross-pose LFW, packed: cplfw.bin",
}
"""Name and one line for each benchmark."""

CALIBRATION_FARS = ("1e-2", "1e-3")
"""The rates whose thresholds a card carries."""

MIN_IMPOSTORS = 1000
"""Fewer pairs of different people cannot tell what FAR 1e-3 is."""

EMBED_CHUNK = 256
"""Crops between two reports of progress."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """Thresholds for a card.

    Attributes:
        thresholds: squared distance by FAR ("1e-2", "1e-3").
        n_impostors: pairs of different people that they were measured on.
        setting: how.
    """

    thresholds: dict[str, float]
    n_impostors: int
    setting: dict[str, Any]


@dataclass(frozen=True, eq=False)
class _Embedded:
    """A protocol with an embedding for each image."""

    pairs: Pairs
    embeddings: NDArray[np.float32]
    n_not_found: int
    packed: bool
    setting: dict[str, Any]


def evaluate(
    embedder: Embedder,
    benchmark: str = "lfw",
    data: str | Path = ".",
    view: int = 2,
    detector: Detector | None = None,
    flip: bool = False,
    align: bool = True,
    progress: Progress | None = None,
    cache: Path | None = None,
) -> VerificationReport:
    """Returns the verification figures of a model on a benchmark.

    Args:
        embedder: the model.
        benchmark: key of `BENCHMARKS`.
        data: the benchmark's folder, or a packed `.bin` file.
        view: of LFW: 2 is the reported result, 1 is for tuning (threshold from the train part, figures on the test
            part).
        detector: what finds the faces; None is the default one. Packed files come aligned and ask none.
        flip: add the embedding of the mirrored crop.
        align: False crops the detector's box in place of alignment.
        progress: opens a progress bar.
        cache: folder for crops; by default `cache.cache_dir()`.

    Raises:
        UnknownNameError: no such benchmark.
        InputError: an option that the benchmark does not have.
        MissingFileError: data that is not there.
        ProtocolError: data that is not as published.
        ImageError: an image that cannot be read.
    """
    embedded = _embed(embedder, benchmark, Path(data), view, detector, flip, align, progress, cache)
    return verify_pairs(
        embedded.embeddings,
        embedded.pairs,
        report_folds=(1,) if view == 1 and not embedded.packed else None,
        n_faces_not_found=embedded.n_not_found,
        setting=embedded.setting,
    )


def calibrate(
    embedder: Embedder,
    data: str | Path,
    detector: Detector | None = None,
    align: bool = True,
    progress: Progress | None = None,
    cache: Path | None = None,
) -> Calibration:
    """Returns the thresholds at FAR 1e-2 and 1e-3 for a model's card.

    With LFW they come from View 1, so that View 2 stays unseen, and from all pairs of its images whose names
    differ, as the 1,600 impostor pairs of the lists are too few for FAR 1e-3. With another packed file they come
    from its impostor pairs.

    Args:
        embedder: the model.
        data: LFW's folder, or a packed `.bin` file.
        detector: what finds the faces; None is the default one.
        align: False crops the detector's box in place of alignment.
        progress: opens a progress bar.
        cache: folder for crops; by default `cache.cache_dir()`.

    Raises:
        MissingFileError: data that is not there.
        ProtocolError: data that is not as published, LFW as a packed file, which is View 2, or fewer than 1,000
            impostor pairs.
        ImageError: an image that cannot be read.
    """
    check_request("lfw", data, 1)
    packed = packed_file("lfw", Path(data))
    if packed is not None and packed.stem == "lfw":
        raise ProtocolError(f"{packed}: packed LFW is View 2, which stays unseen; give LFW's own folder")
    embedded = _embed(embedder, "lfw", Path(data), 1, detector, False, align, progress, cache)
    if embedded.packed:
        impostors = pair_distances(embedded.embeddings, embedded.pairs)[~embedded.pairs.same]
    else:
        impostors = _impostor_distances(embedded.embeddings, embedded.pairs)
    if len(impostors) < MIN_IMPOSTORS:
        raise ProtocolError(
            f"{data}: {len(impostors)} impostor pairs; a threshold for FAR 1e-3 needs at least {MIN_IMPOSTORS}"
        )
    thresholds = {key: impostor_threshold(impostors, FARS[key]) for key in CALIBRATION_FARS}
    return Calibration(thresholds, len(impostors), embedded.setting)


def _impostor_distances(embeddings: NDArray[np.float32], pairs: Pairs) -> NDArray[np.float32]:
    """Returns the squared distances of all pairs of images whose names differ, `(n,)` float32."""
    _, person = np.unique([key.split("/")[0] for key in pairs.images], return_inverse=True)
    number = np.arange(len(person))
    parts = []
    for start in range(0, len(person), EMBED_CHUNK):
        block = slice(start, start + EMBED_CHUNK)
        different = (person[block, None] != person) & (number[block, None] < number)
        parts.append((2 - 2 * (embeddings[block] @ embeddings.T))[different])
    return np.asarray(np.clip(np.concatenate(parts), 0.0, 4.0), dtype=np.float32)


def _embed(
    embedder: Embedder,
    benchmark: str,
    data: Path,
    view: int,
    detector: Detector | None,
    flip: bool,
    align: bool,
    progress: Progress | None,
    cache: Path | None,
) -> _Embedded:
    """Returns a benchmark's protocol with an embedding for each image."""
    check_request(benchmark, data, view)
    folder = cache or cache_dir()
    open_bar = progress or no_progress
    card = embedder.card
    packed = packed_file(benchmark, data)
    begun = time.perf_counter()
    if packed is not None:
        if not align:
            raise InputError(f"{packed}: packed pairs come aligned; leave out --no-align")
        pairs, contents = load_packed(packed)
        with open_bar("crops") as advance:
            crops = crop_packed(contents, card.template, card.height, card.width, advance, str(packed))
        where: dict[str, Any] = {"benchmark": packed.stem, "view": None, "detector": None, "detector_version": None}
    else:
        if detector is None:
            from facelet.faces.detectors import default_detector

            detector = default_detector()
        pairs, root = load_lfw(data, view=view, cache_dir=folder)
        paths = [root / key for key in pairs.images]
        template = card.template if align else "box"
        with open_bar("crops") as advance:
            crops = crop_benchmark(
                paths, detector, template, card.height, card.width, CropCache(folder / "crops"), advance
            )
        where = {
            "benchmark": benchmark,
            "view": view,
            "detector": detector.name,
            "detector_version": detector.version,
        }
    cropped = time.perf_counter()
    with open_bar("embeddings") as advance:
        embeddings = embed_crops(embedder, crops.crops, flip, advance)
    setting = {
        "model": card.name,
        "model_sha256": embedder.model.sha256,
        "backend": embedder.backend,
        **where,
        "template": card.template if align else "box",
        "aligned": align,
        "flip": flip,
        "data_sha256": _data_hash(pairs, crops),
        "crops_s": round(cropped - begun, 3),
        "embeddings_s": round(time.perf_counter() - cropped, 3),
    }
    return _Embedded(pairs, embeddings, crops.n_not_found, packed is not None, setting)


def check_request(benchmark: str, data: str | Path, view: int, known: Iterable[str] = BENCHMARKS) -> None:
    """Raises where a benchmark cannot be meant, before any model is loaded.

    Args:
        benchmark: the name.
        data: where its data is.
        view: of LFW.
        known: names that there are.

    Raises:
        UnknownNameError: no such benchmark.
        InputError: no such view.
        MissingFileError: nothing at `data`.
    """
    if benchmark not in set(known):
        raise UnknownNameError("benchmark", benchmark, known)
    if view not in (1, 2):
        raise InputError(f"view: {view} is not known; LFW has views 1 and 2")
    if not Path(data).exists():
        raise MissingFileError(f"{data}: no such file or folder; give the benchmark's data")


def packed_file(benchmark: str, data: Path) -> Path | None:
    """Returns the packed file to read, or None where the data is LFW's own folder.

    Raises:
        MissingFileError: a folder without the benchmark's file.
    """
    if data.is_file():
        return data
    path = data / f"{benchmark}.bin"
    if benchmark == "lfw":
        own = any((folder / "pairs.txt").is_file() for folder in (data, data / "lfw"))
        return path if path.is_file() and not own else None
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file; {benchmark} is read from packed pairs")
    return path


def embed_crops(embedder: Embedder, crops: NDArray[np.uint8], flip: bool, advance: Advance) -> NDArray[np.float32]:
    """Returns unit embeddings of crops, with `flip` the direction of each one's and its mirror image's sum.

    Args:
        embedder: the model.
        crops: `(n, card.height, card.width, 3)` uint8 RGB, n at least 1; may be mapped from disk.
        flip: add the embedding of the mirrored crop.
        advance: told `(done, total)`.

    Returns:
        `(n, card.embedding_size)` float32 unit vectors.
    """
    parts = []
    for start in range(0, len(crops), EMBED_CHUNK):
        chunk = np.ascontiguousarray(crops[start : start + EMBED_CHUNK])
        vectors = embedder.embed(chunk)
        if flip:
            vectors = vectors + embedder.embed(np.ascontiguousarray(chunk[:, :, ::-1]))
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        parts.append(vectors)
        advance(min(start + EMBED_CHUNK, len(crops)), len(crops))
    return np.concatenate(parts)


def _data_hash(pairs: Pairs, crops: BenchmarkCrops) -> str:
    """Returns the sha256 of a benchmark: its images' contents and its pairs."""
    digest = hashlib.sha256(crops.sha256.encode())
    for array in (pairs.left, pairs.right, pairs.same, pairs.fold):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


@contextmanager
def no_progress(_what: str) -> Iterator[Advance]:
    """A progress bar that shows nothing."""
    yield lambda _done, _total: None

"""Aligned crops of a benchmark's images, kept on disk.

Two levels: what the detector found in each image (SQLite, by content and detector, so an interrupted run goes
on where it stopped), and the crops of a whole list of images (one `.npy`, by contents, detector, template and
size, so a second run only maps it into memory).
"""

from __future__ import annotations

import errno
import hashlib
import json
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facelet.atomic import cannot_write
from facelet.cache import MEND
from facelet.data.row_file import RowFile
from facelet.errors import DiskFullError, FaceletError, InputError, MissingFileError
from facelet.faces.align import align, center_crop, reframe
from facelet.faces.detect import Detector, Face, covers_center
from facelet.faces.images import decode_image
from facelet.faces.selection import main_face
from facelet.faces.templates import load_template

VERSION = "3"
"""Part of every key; goes up where alignment or reading changes what a crop looks like."""

Advance = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class BenchmarkCrops:
    """The crops of a benchmark.

    Attributes:
        crops: `(n, height, width, 3)` uint8 RGB, mapped from disk where they are cached.
        found: `(n,)` bool, False where the centre crop stands in for a face that could not even be guessed.
        sha256: of the images' contents, in order.
    """

    crops: NDArray[np.uint8]
    found: NDArray[np.bool_]
    sha256: str

    @property
    def n_not_found(self) -> int:
        """Images in which no face was found."""
        return int((~self.found).sum())


@dataclass(frozen=True)
class CropCache:
    """Where detections and crops are kept.

    Attributes:
        root: folder; made when first written to.
    """

    root: Path

    def load(self, key: str, shape: tuple[int, ...]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]] | None:
        """Returns cached crops and which of them show a found face, or None where they are not there or damaged."""
        try:
            crops = np.load(self.root / f"{key}.npy", mmap_mode="r", allow_pickle=False)
            found = np.load(self.root / f"{key}.found.npy", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        if crops.shape != shape or crops.dtype != np.uint8 or found.shape != shape[:1] or found.dtype != np.bool_:
            return None
        return crops, found

    def save(self, key: str, crops: NDArray[np.uint8], found: NDArray[np.bool_]) -> None:
        """Keeps crops; each file appears whole or not at all.

        Raises:
            InputError: the folder cannot be written.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="partial-", dir=self.root) as folder:
                for name, array in ((f"{key}.found.npy", found), (f"{key}.npy", crops)):
                    part = Path(folder) / name
                    RowFile(part, array.shape, array.dtype).write(0, array)
                    part.replace(self.root / name)
        except DiskFullError:
            raise
        except OSError as error:
            raise cannot_write(self.root, error, MEND) from error

    def open_faces(self) -> sqlite3.Connection:
        """Returns the table of detections: `faces(key, value)`.

        Raises:
            InputError: the folder cannot be written, or the file there is no table of detections.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, timeout=60, isolation_level=None)
            _write_ahead(connection)
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("CREATE TABLE IF NOT EXISTS faces (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
        except (OSError, sqlite3.Error) as error:
            raise self._refusal(error) from error
        return connection

    @contextmanager
    def faces(self) -> Iterator[sqlite3.Connection]:
        """The table of detections, which is closed behind the body.

        Raises:
            InputError: as `open_faces`; or, within the body, the table is damaged or locked, or the disk is full.
        """
        with closing(self.open_faces()) as table:
            try:
                yield table
            except sqlite3.Error as error:
                raise self._refusal(error) from error

    @property
    def _path(self) -> Path:
        return self.root / "faces.sqlite"

    def _refusal(self, error: Exception) -> FaceletError:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            return cannot_write(self._path, OSError(errno.ENOSPC, str(error)), MEND)
        if isinstance(error, OSError):
            return cannot_write(self._path, error, MEND)
        return InputError(f"{self._path}: cannot be used ({error}); delete it, or set FACELET_CACHE")


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Keeps each row at once, and lets no run wait for another.

    Of two processes that make the table together, SQLite refuses one at once and asks no busy handler, so that the
    two cannot wait for each other: the refused one tries again.
    """
    for pause_s in (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            time.sleep(pause_s)
        else:
            return
    connection.execute("PRAGMA journal_mode = WAL")


def crop_benchmark(
    images: Sequence[Path | bytes],
    detector: Detector,
    template: str,
    height: int,
    width: int,
    cache: CropCache,
    progress: Advance | None = None,
) -> BenchmarkCrops:
    """Returns the aligned face of each image, from the cache where it is there.

    Of several faces the main one is taken (`selection.main_face`), among those that cover the photo's centre if there
    are any; the detector's guess where none does; and the centre crop where there is no face at all.

    Args:
        images: path or content of each.
        detector: what finds the faces.
        template: key of `TEMPLATES`; "box" for crops without alignment.
        height: of a crop in pixels.
        width: of a crop in pixels.
        cache: where crops are kept.
        progress: told `(done, total)` where crops have to be made.

    Raises:
        UnknownNameError: no such template.
        MissingFileError: an image is not there.
        ImageError: an image cannot be read.
        InputError: the cache cannot be read or written.
    """
    load_template(template)
    digests = [hashlib.sha256(_content(image)).hexdigest() for image in images]
    whole = hashlib.sha256("".join(digests).encode()).hexdigest()
    key = _key(whole, detector.version, template, str(height), str(width))
    cached = cache.load(key, (len(images), height, width, 3))
    if cached is not None:
        return BenchmarkCrops(*cached, whole)
    crops = np.empty((len(images), height, width, 3), dtype=np.uint8)
    found = np.zeros(len(images), dtype=np.bool_)
    with cache.faces() as table:
        for index, (image, digest) in enumerate(zip(images, digests, strict=True)):
            name = str(image) if isinstance(image, Path) else f"image {index}"
            pixels = decode_image(_content(image), name)
            faces = _find_faces(table, _key(digest, detector.version), pixels, detector)
            found[index] = bool(faces)
            if faces:
                face = _central_face(faces, *pixels.shape[:2])
                crops[index] = align(pixels, face, template, height, width)
            else:
                crops[index] = center_crop(pixels, height, width)
            if progress is not None:
                progress(index + 1, len(images))
    cache.save(key, crops, found)
    return BenchmarkCrops(crops, found, whole)


def benchmark_faces(
    images: Sequence[Path], detector: Detector, cache: CropCache, progress: Advance | None = None
) -> tuple[Face | None, ...]:
    """Returns the face that each photo is about, found or guessed, detections from the cache where they are there.

    Args:
        images: path of each.
        detector: what finds the faces.
        cache: where detections are kept.
        progress: told `(done, total)`.

    Raises:
        MissingFileError: an image is not there.
        ImageError: an image cannot be read.
        InputError: the cache cannot be read or written.
    """
    found: list[Face | None] = []
    with cache.faces() as table:
        for path in images:
            content = _content(path)
            pixels = decode_image(content, str(path))
            faces = _find_faces(table, _key(hashlib.sha256(content).hexdigest(), detector.version), pixels, detector)
            found.append(_central_face(faces, *pixels.shape[:2]) if faces else None)
            if progress is not None:
                progress(len(found), len(images))
    return tuple(found)


def crop_packed(
    images: Sequence[bytes],
    template: str,
    height: int,
    width: int,
    progress: Advance | None = None,
    where: str = "packed pairs",
) -> BenchmarkCrops:
    """Returns crops that come aligned to "arcface", brought to another template and size.

    Args:
        images: encoded images, each the whole "arcface" canvas.
        template: key of `TEMPLATES`.
        height: of a crop in pixels.
        width: of a crop in pixels.
        progress: told `(done, total)`.
        where: name of their file, for error messages.

    Raises:
        UnknownNameError: no such template.
        ImageError: an image cannot be read.
    """
    crops = np.empty((len(images), height, width, 3), dtype=np.uint8)
    for index, image in enumerate(images):
        crops[index] = reframe(decode_image(image, f"{where}: image {index}"), template, height, width)
        if progress is not None:
            progress(index + 1, len(images))
    whole = hashlib.sha256("".join(hashlib.sha256(image).hexdigest() for image in images).encode()).hexdigest()
    return BenchmarkCrops(crops, np.ones(len(images), dtype=np.bool_), whole)


def _find_faces(table: sqlite3.Connection, key: str, pixels: NDArray[np.uint8], detector: Detector) -> list[Face]:
    """Returns what the detector finds, with a guess if that is not at the centre; from the table where it is there."""
    row = table.execute("SELECT value FROM faces WHERE key = ?", (key,)).fetchone()
    if row is not None:
        return [_read_face(*values) for values in json.loads(row[0])]
    faces, size = detector.detect(pixels), pixels.shape[:2]
    if not any(covers_center(face, *size) for face in faces) and (guessed := detector.guess(pixels)) is not None:
        faces = [guessed, *faces]
    value = json.dumps([_plain_face(face) for face in faces])
    table.execute("INSERT OR REPLACE INTO faces VALUES (?, ?)", (key, value))
    return faces


def _central_face(faces: list[Face], height: int, width: int) -> Face:
    """The main face of a benchmark photo, which is known to show one at its centre."""
    return main_face([face for face in faces if covers_center(face, height, width)] or faces, height, width)


def _plain_face(face: Face) -> list[Any]:
    """A face as JSON holds it; refined landmarks come last, where there are some."""
    refined = [] if face.refined is None else [face.refined.tolist()]
    return [face.box, face.score, face.landmarks.tolist(), face.scheme, *refined]


def _read_face(box: list[float], score: float, landmarks: Any, scheme: str, refined: Any = None) -> Face:
    """The face that `_plain_face` wrote."""
    x0, y0, x1, y1 = box
    placed = None if refined is None else np.array(refined, dtype=np.float64)
    return Face((x0, y0, x1, y1), score, np.array(landmarks, dtype=np.float64), scheme, placed)


def _content(image: Path | bytes) -> bytes:
    """Returns the bytes of an image that is given by path or by content."""
    if isinstance(image, bytes):
        return image
    try:
        return image.read_bytes()
    except OSError as error:
        raise MissingFileError(f"{image}: cannot be read ({error.strerror}); the benchmark needs it") from error


def _key(*parts: str) -> str:
    """Returns a file name that stands for all parts and this module's version."""
    return hashlib.sha256("\n".join((VERSION, *parts)).encode()).hexdigest()[:40]

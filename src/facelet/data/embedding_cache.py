"""What a teacher says of every view of a transfer set, computed once and kept on disk.

One float16 file per view; a teacher's inner feature maps (taps), where asked for, as int8 with one scale per
channel. Work proceeds in blocks and records each finished block, so an interrupted run goes on where it was.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from facelet.atomic import write_bytes_atomic, write_text_atomic
from facelet.data.row_file import RowFile
from facelet.data.transfer import TransferSet
from facelet.data.views import RECIPES, Matrix, ViewRecipe, view_inputs
from facelet.errors import DiskFullError, InputError
from facelet.lock import alone

CLEAN = (RECIPES["mixing"], 0)
"""Recipe and seed that name the folder where clean crops alone are asked for: they depend on neither, and the folder of
the shipped students' recipe holds them already where one was trained."""

BLOCK = 1024
BATCH = 16

ROOM = 1.5
"""Of a tap's int8 range above the largest value of the first block; larger ones of later blocks are clipped."""

Progress = Callable[[int, int], None]


class Teacher(Protocol):
    """What embeds crops; see `facelet.train.teachers`."""

    name: str
    key: str
    height: int
    width: int
    matrix: Matrix
    embedding_size: int
    taps: tuple[str, ...]

    def run(self, crops: NDArray[np.uint8]) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
        """Unit embeddings `(n, embedding_size)` and one `(n, c, h, w)` map per tap."""
        ...


@dataclass(frozen=True)
class Tap:
    """A cached inner feature map of the teacher.

    Attributes:
        name: tensor name in the teacher's file.
        values: one `(n, h, w, c)` int8 array per view.
        scale: multiply by this to get the teacher's values, `(c,)` float32.
    """

    name: str
    values: tuple[NDArray[np.int8], ...]
    scale: NDArray[np.float32]


@dataclass(frozen=True)
class EmbeddingCache:
    """A teacher's answers.

    Attributes:
        embeddings: one `(n, d)` float16 array per view, view 0 being the clean crop.
        taps: the cached feature maps.
    """

    embeddings: tuple[NDArray[np.float16], ...]
    taps: tuple[Tap, ...]


def cache_key(teacher: Teacher, transfer: TransferSet, recipe: ViewRecipe, seed: int) -> str:
    """Names the folder: teacher and its preprocessing, shard content, views."""
    parts = [teacher.key, transfer.key, recipe.key(seed)]
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:24]


def fill_cache(
    teacher: Teacher,
    transfer: TransferSet,
    recipe: ViewRecipe,
    seed: int,
    n_views: int,
    cache: Path,
    progress: Progress | None = None,
) -> EmbeddingCache:
    """Computes what is missing and opens the cache.

    Of several processes that want the same answers one computes them, while the others wait.

    Args:
        n_views: augmented views besides the clean one.
        progress: called with (done, total) images over all views.

    Raises:
        InputError: a file of the cache is damaged.
        DiskFullError: the disk has no room for a view; views before it stay.
    """
    if n_views == 0:
        recipe, seed = CLEAN
    folder = cache / "embeddings" / cache_key(teacher, transfer, recipe, seed)
    folder.mkdir(parents=True, exist_ok=True)
    n = transfer.n_images
    total = n * (n_views + 1)
    with alone(folder / "lock"):
        for view in range(n_views + 1):
            state = folder / f"view-{view}.json"
            files = (folder / f"view-{view}.npy", *(_tap_path(folder, view, t) for t in range(len(teacher.taps))))
            done = _read(state, _rows_done) if state.exists() and all(file.exists() for file in files) else 0
            while done < n:
                index = np.arange(done, min(done + BLOCK, n))
                try:
                    _fill_block(teacher, transfer, recipe, seed, view, index, folder)
                except DiskFullError:
                    for file in files if done == 0 else ():
                        file.unlink(missing_ok=True)
                    raise
                done = int(index[-1]) + 1
                write_text_atomic(state, json.dumps({"rows": done, "teacher": teacher.name}))
                if progress is not None:
                    progress(view * n + done, total)
    if progress is not None:
        progress(total, total)
    embeddings = tuple(_read(folder / f"view-{v}.npy", _mapped) for v in range(n_views + 1))
    taps = tuple(
        Tap(
            name,
            tuple(_read(_tap_path(folder, v, t), _mapped) for v in range(n_views + 1)),
            _read(_scale_path(folder, t), np.load),
        )
        for t, name in enumerate(teacher.taps)
    )
    return EmbeddingCache(embeddings, taps)


def _read(path: Path, read: Callable[[Path], Any]) -> Any:
    """Reads a file of the cache.

    Raises:
        InputError: it is damaged.
    """
    try:
        return read(path)
    except DiskFullError:
        raise
    except (ValueError, KeyError, TypeError, EOFError, OSError) as error:
        raise InputError(f"{path}: this part of the cache is damaged; delete {path.parent}") from error


def _rows_done(path: Path) -> int:
    return int(json.loads(path.read_text())["rows"])


def _mapped(path: Path) -> Any:
    return np.load(path, mmap_mode="r")


def _keep(path: Path, shape: tuple[int, ...], dtype: type, first: int, rows: NDArray[Any]) -> None:
    """Writes some rows of an array file, which the first call makes in full size."""
    _read(path, lambda file: RowFile(file, shape, dtype)).write(first, rows)


def _tap_path(folder: Path, view: int, tap: int) -> Path:
    return folder / f"view-{view}-tap-{tap}.npy"


def _scale_path(folder: Path, tap: int) -> Path:
    return folder / f"tap-{tap}-scale.npy"


def _fill_block(
    teacher: Teacher,
    transfer: TransferSet,
    recipe: ViewRecipe,
    seed: int,
    view: int,
    index: NDArray[np.int64],
    folder: Path,
) -> None:
    embeddings: list[NDArray[np.float32]] = []
    maps: list[list[NDArray[np.float32]]] = [[] for _ in teacher.taps]
    for start in range(0, len(index), BATCH):
        part = index[start : start + BATCH]
        pixels = view_inputs(
            transfer.crops, part, np.full(len(part), view), recipe, seed, teacher.matrix, teacher.height, teacher.width
        )
        vectors, tapped = teacher.run(pixels)
        embeddings.append(vectors)
        for kept, values in zip(maps, tapped, strict=True):
            kept.append(values.transpose(0, 2, 3, 1))
    n = transfer.n_images
    first = int(index[0])
    _keep(folder / f"view-{view}.npy", (n, teacher.embedding_size), np.float16, first, np.concatenate(embeddings))
    for tap, kept in enumerate(maps):
        values = np.concatenate(kept)
        scale_path = _scale_path(folder, tap)
        if not scale_path.exists():
            peak = np.abs(values).max(axis=(0, 1, 2)).clip(1e-6)
            stream = io.BytesIO()
            np.save(stream, (ROOM * peak / 127.0).astype(np.float32))
            write_bytes_atomic(scale_path, stream.getvalue())
        scale = np.load(scale_path)
        whole = np.rint(values / scale).clip(-127, 127)
        _keep(_tap_path(folder, view, tap), (n, *values.shape[1:]), np.int8, first, whole)

"""The packed `.bin` pairs of the insightface world: LFW, CFP-FP, AgeDB-30, CALFW, CPLFW.

Such a file is a pickle of `(encoded images, issame)`: two images a pair, aligned to "arcface" and 112 x 112. A
pickle can run any code, so it is read by an unpickler that knows lists, bytes, booleans and the few names that
stand for arrays of bytes, and refuses every other.
"""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from facelet.data.pairs import Pairs
from facelet.errors import MissingFileError, ProtocolError

N_FOLDS = 10
"""Consecutive, as even as can be: how the field evaluates these files."""


def load_packed(path: str | Path) -> tuple[Pairs, tuple[bytes, ...]]:
    """Returns the pairs of a packed file and its encoded images, each image once.

    Args:
        path: the `.bin` file.

    Returns:
        The pairs, with `images` the sha256 of each image's content, and the content of each: an encoded 112 x 112
        crop aligned to "arcface".

    Raises:
        MissingFileError: no file at `path`.
        ProtocolError: not such a pickle, names outside the short list, or counts that do not fit.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file; expected packed pairs (.bin)")
    try:
        with path.open("rb") as file:
            content = _PackedUnpickler(file, str(path)).load()
    except ProtocolError:
        raise
    except Exception as error:  # a damaged pickle raises whatever its operation codes run into
        reason = f"{type(error).__name__}: {error}"[:120]
        raise ProtocolError(f"{path}: not a pickle of packed pairs ({reason})") from error
    if not isinstance(content, tuple | list) or len(content) != 2:
        raise ProtocolError(f"{path}: holds a {type(content).__name__}; expected (encoded images, issame)")
    encoded, issame = ([*_items(part, str(path))] for part in content)
    if len(encoded) != 2 * len(issame) or not issame:
        raise ProtocolError(f"{path}: {len(encoded)} images for {len(issame)} pairs; expected two a pair")
    images = [_image_bytes(image, number, str(path)) for number, image in enumerate(encoded)]
    index: dict[str, int] = {}
    first: list[bytes] = []
    place = []
    for image in images:
        digest = hashlib.sha256(image).hexdigest()
        if digest not in index:
            index[digest] = len(index)
            first.append(image)
        place.append(index[digest])
    n_pairs = len(issame)
    folds = np.array_split(np.arange(n_pairs), min(N_FOLDS, n_pairs))
    pairs = Pairs(
        images=tuple(index),
        left=np.array(place[0::2], dtype=np.int64),
        right=np.array(place[1::2], dtype=np.int64),
        same=np.array([_truth(value, str(path)) for value in issame], dtype=np.bool_),
        fold=np.concatenate([np.full(len(part), fold, dtype=np.int64) for fold, part in enumerate(folds)]),
    )
    return pairs, tuple(first)


class _Dtype:
    """Stands for `numpy.dtype`: keeps the type's name, ignores the rest."""

    def __init__(self, name: str | bytes, *_flags: object) -> None:
        self.name = name.decode("latin1") if isinstance(name, bytes) else name

    def __setstate__(self, _state: object) -> None:
        """Byte order and the like mean nothing for bytes and booleans."""


class _Array:
    """Stands for `numpy.ndarray`: keeps type and raw content as the pickle gives them."""

    def __init__(self, *_arguments: object) -> None:
        self.name = ""
        self.raw: object = b""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, _shape, dtype, _fortran, raw = state
        self.name = dtype.name if isinstance(dtype, _Dtype) else ""
        self.raw = raw.encode("latin1") if isinstance(raw, str) else raw


class _ArrayType:
    """Stands for the class `numpy.ndarray` where a pickle only names it."""


def _scalar(_dtype: object, raw: object = b"\0") -> object:
    """Stands for `numpy.core.multiarray.scalar`, of booleans."""
    return raw if not isinstance(raw, bytes) else any(raw)


def _latin1(text: object, encoding: object = "latin1") -> bytes:
    """Stands for `_codecs.encode`, which is how protocol 2 writes bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1", b"latin1"):
        raise ValueError(f"encoding {encoding!r} of {type(text).__name__}")
    return text.encode("latin1")


_ADMITTED: dict[tuple[str, str], Any] = {
    ("_codecs", "encode"): _latin1,
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _ArrayType,
    **{
        (f"{module}.multiarray", name): stand_in
        for module in ("numpy.core", "numpy._core")
        for name, stand_in in (("_reconstruct", _Array), ("scalar", _scalar))
    },
}
"""Every global that a packed file may name, and what it becomes here; no foreign callable is reached."""


class _PackedUnpickler(pickle.Unpickler):
    """An unpickler to which only `_ADMITTED` exists."""

    def __init__(self, file: Any, where: str) -> None:
        super().__init__(file, encoding="bytes")
        self._where = where

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise ProtocolError(
                f"{self._where}: the pickle wants {module}.{name}, which packed pairs do not need; refused"
            )
        return _ADMITTED[module, name]

    def persistent_load(self, _pid: object) -> Any:
        raise ProtocolError(f"{self._where}: the pickle wants an object from outside; refused")


def _items(part: object, where: str) -> list[object]:
    """Returns one of the two lists of the pickle; `issame` may be an array of booleans."""
    if isinstance(part, list | tuple):
        return list(part)
    if isinstance(part, _Array) and part.name in ("b1", "?", "bool") and isinstance(part.raw, bytes):
        return [bool(value) for value in part.raw]
    raise ProtocolError(f"{where}: holds a {type(part).__name__} in place of a list")


def _image_bytes(image: object, number: int, where: str) -> bytes:
    """Returns the encoded image of one entry: bytes, or an array of bytes."""
    if isinstance(image, _Array) and image.name in ("u1", "uint8", "|u1"):
        image = image.raw
    if isinstance(image, bytes | bytearray) and len(image) > 0:
        return bytes(image)
    raise ProtocolError(f"{where}: image {number} is a {type(image).__name__}; expected encoded bytes")


def _truth(value: object, where: str) -> bool:
    """Returns one entry of `issame`."""
    if isinstance(value, bool) or (isinstance(value, int) and value in (0, 1)):
        return bool(value)
    raise ProtocolError(f"{where}: issame holds a {type(value).__name__}; expected booleans")

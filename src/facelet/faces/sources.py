"""Photos as callers hold them: a path, encoded bytes, an open file, a Pillow image or an array."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facelet.errors import ImageError, InputError, reason, shown
from facelet.faces.images import Photo, convert_image, decode_photo, read_photo

PhotoSource: TypeAlias = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Image.Image | NDArray[np.uint8]
)
"""What a photo may be given as; `load_photo` says how each is read."""

TAKEN = "a path, encoded bytes, a file opened with 'rb', a PIL image or a uint8 array (h, w, 3) RGB or (h, w) grey"
"""The same for messages."""


def load_photo(source: PhotoSource, name: str = "photo", *, bgr: bool = False) -> Photo:
    """Reads a photo in whatever form the caller holds it.

    Args:
        source: one of
            - a path: `str` or `os.PathLike`;
            - the content of an image file: `bytes`, `bytearray` or `memoryview`;
            - a file opened in binary mode: read from its beginning, or from where it is if it cannot go back;
            - a Pillow image: rotated by its EXIF; it stays as it is;
            - an array: `(h, w, 3)` RGB, `(h, w, 4)` RGB and opacity, laid over white, or `(h, w)` grey, all uint8.
        name: what messages call a photo that has no path.
        bgr: arrays have their colours in OpenCV's order, blue first. Other sources know their order.

    Raises:
        InputError: `source` is something else, or an array of another type or shape.
        MissingFileError: nothing is at the path.
        ImageError: not an image, damaged, cut short or too large.
    """
    if isinstance(source, str | os.PathLike):
        return read_photo(Path(source))
    if isinstance(source, Image.Image):
        return convert_image(source, _file_name(source, "filename", name))
    if isinstance(source, np.ndarray):
        return convert_image(_array_image(source, name, bgr), name)
    if isinstance(source, bytes | bytearray | memoryview):
        return _decode(bytes(source), name)
    if hasattr(source, "read"):
        name = _file_name(source, "name", name)
        return _decode(_content(source, name), name)
    raise InputError(f"{name}: cannot be a {type(source).__name__}; give {TAKEN}")


def one_or_many(photos: Any) -> list[Any]:
    """Photos as a list: one photo alone, in any form, is a list of one.

    Raises:
        InputError: neither a photo nor several.
    """
    several = isinstance(photos, np.ndarray) and photos.ndim > 3
    alone = isinstance(photos, str | os.PathLike | bytes | bytearray | memoryview | Image.Image | np.ndarray)
    if (alone and not several) or hasattr(photos, "read"):
        return [photos]
    try:
        return list(photos)
    except TypeError as error:
        raise InputError(f"photos: cannot be a {type(photos).__name__}; give {TAKEN}, or several") from error


def _decode(content: bytes, name: str) -> Photo:
    if not content:
        raise ImageError(f"{name}: is empty; expected the content of an image file")
    return decode_photo(io.BytesIO(content), name)


def _content(file: Any, name: str) -> bytes:
    """What an open file holds, from its beginning where it can go back; it is left where it was."""
    try:
        place = file.tell() if getattr(file, "seekable", lambda: False)() else None
        if place is not None:
            file.seek(0)
        try:
            content = file.read()
        finally:
            if place is not None:
                file.seek(place)
    except (OSError, ValueError) as error:  # closed, opened for writing, text that is not UTF-8
        raise ImageError(f"{name}: cannot be read ({reason(error)}); give a file opened with 'rb'") from error
    if not isinstance(content, bytes | bytearray | memoryview):
        raise InputError(f"{name}: its read() gives {type(content).__name__}, not bytes; open the file with 'rb'")
    return bytes(content)


def _array_image(pixels: NDArray[Any], name: str, bgr: bool) -> Image.Image:
    """An array as a Pillow image, its colours in the order red, green, blue.

    Raises:
        InputError: an array of another type or shape.
    """
    fits = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))
    if pixels.dtype != np.uint8 or not fits or not pixels.size:
        raise InputError(
            f"{name}: an array must be uint8 (h, w, 3) RGB, (h, w, 4) with opacity or (h, w) grey, 0 to 255; "
            f"found {pixels.dtype} {shown(pixels.shape)}"
        )
    if bgr and pixels.ndim == 3:
        pixels = pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]
    return Image.fromarray(np.ascontiguousarray(pixels))


def _file_name(holder: object, attribute: str, name: str) -> str:
    """The name of the file that an object came from, where it has one."""
    found = getattr(holder, attribute, None)
    return shown(found) if found and isinstance(found, str | os.PathLike) else name

"""Photos as arrays: whatever the file holds, the result is upright 8-bit RGB of a sane size, or one clear error.

The first step of `faces`; detection and alignment take what this module returns.
"""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from facelet.errors import ImageError, MissingFileError

MAX_SIDE = 4096
"""Longest side of a returned image in pixels; larger photos are shrunk with antialiasing."""

MAX_PIXELS = 178_956_970
"""Photos with more pixels than this are refused before they are decoded (a decompression bomb, or a map); Pillow's own
limit."""

_DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    OverflowError,
    ZeroDivisionError,
    struct.error,
    MemoryError,
)


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """Returns the photo at `path`, upright.

    EXIF rotation is applied; grey, palette, CMYK and 16-bit photos become 8-bit RGB; transparency is laid over
    white; of an animation the first frame is taken; a photo longer than `MAX_SIDE` is shrunk to it.

    Returns:
        `(height, width, 3)` uint8 RGB.

    Raises:
        MissingFileError: nothing is at `path`.
        ImageError: a folder, not an image, damaged, cut short or too large.
    """
    path = Path(path)
    try:
        if not path.exists():
            raise MissingFileError(f"{path}: no such file; give the path of a photo")
        if not path.is_file():
            what = "a folder" if path.is_dir() else "not a regular file"
            raise ImageError(f"{path}: {what}; expected a photo")
        if path.stat().st_size == 0:
            raise ImageError(f"{path}: the file is empty; expected a photo")
        with path.open("rb") as file:
            return _decode(file, str(path))
    except (OSError, ValueError) as error:
        if isinstance(error, ImageError | MissingFileError):
            raise
        raise ImageError(f"{str(path)!r}: cannot be read ({_reason(error)})") from error


def decode_image(data: bytes, where: str) -> NDArray[np.uint8]:
    """Returns an encoded photo as `read_image` does.

    Args:
        data: content of an image file.
        where: name of the source for the error message.

    Returns:
        `(height, width, 3)` uint8 RGB.

    Raises:
        ImageError: not an image, damaged, cut short or too large.
    """
    return _decode(io.BytesIO(data), where)


def _decode(file: BinaryIO, where: str) -> NDArray[np.uint8]:
    """Returns the photo in an open file as `(height, width, 3)` uint8 RGB."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(file) as photo:
                width, height = photo.size
                if width * height > MAX_PIXELS:
                    raise Image.DecompressionBombError(f"{width} x {height} pixels")
                photo.draft("RGB" if photo.mode in ("RGB", "YCbCr") else None, (MAX_SIDE, MAX_SIDE))
                photo.load()
                return _upright_rgb(photo)
        except Image.DecompressionBombError as error:
            raise ImageError(
                f"{where}: the photo has more than {MAX_PIXELS / 1e6:.0f} million pixels; shrink it first"
            ) from error
        except UnidentifiedImageError as error:
            raise ImageError(f"{where}: not an image that can be read; expected JPEG, PNG, WebP, ...") from error
        except _DECODE_ERRORS as error:
            raise ImageError(f"{where}: the image is damaged or cut short ({_reason(error)}); copy it again") from error


def _upright_rgb(photo: Image.Image) -> NDArray[np.uint8]:
    """Returns a decoded photo shrunk to `MAX_SIDE`, rotated by its EXIF, as 8-bit RGB."""
    if photo.mode == "F":
        raise ValueError("floating-point pixels have no known range")
    if photo.mode.startswith("I"):
        wide = np.asarray(photo).astype(np.int64)
        photo_8bit = Image.fromarray(np.clip((wide + 128) // 257, 0, 255).astype(np.uint8))
        photo_8bit.info, exif = photo.info, photo.getexif()
        photo_8bit.getexif().update(exif)
        photo = photo_8bit
    if max(photo.size) > MAX_SIDE:
        ratio = MAX_SIDE / max(photo.size)
        size = (max(1, round(photo.width * ratio)), max(1, round(photo.height * ratio)))
        exif = photo.getexif()
        if photo.mode in ("P", "1", "PA"):
            photo = photo.convert("RGBA")
        photo = photo.resize(size, Image.Resampling.BOX, reducing_gap=2.0)
        photo.getexif().update(exif)
    with contextlib.suppress(*_DECODE_ERRORS):  # unreadable EXIF says nothing against the pixels
        photo = ImageOps.exif_transpose(photo)
    if photo.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in photo.info:
        photo = photo.convert("RGBA")
        white = Image.new("RGBA", photo.size, (255, 255, 255, 255))
        photo = Image.alpha_composite(white, photo)
    return np.array(photo.convert("RGB"), dtype=np.uint8)


def _reason(error: BaseException) -> str:
    """Returns the error's own words on one line, or its kind where it has none."""
    text = " ".join(str(getattr(error, "strerror", None) or error).split())
    return text or type(error).__name__

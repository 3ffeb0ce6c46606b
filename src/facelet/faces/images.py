"""Photo files as arrays: whatever the file holds, the result is upright 8-bit RGB of a sane size, or one clear error.

The first step of `faces`; detection and alignment take what this module returns. Photos that are not files, such as
arrays and Pillow images, come in through `sources`.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from facelet.errors import FaceletError, ImageError, MissingFileError, reason, shown
from facelet.faces.formats import HEAD_BYTES, JPEG_HEAD, PNG_HEAD, formats_for, is_raw, unread_kind
from facelet.faces.repair import END_MISSING, bare, lacks_end, with_end

MAX_SIDE = 4096
"""Longest side of a returned image in pixels; larger photos are shrunk with antialiasing."""

MAX_PIXELS = 178_956_970
"""Photos with more pixels than this are refused before they are decoded (a decompression bomb, or a map); Pillow's own
limit."""


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo that was read.

    Attributes:
        pixels: `(height, width, 3)` uint8 RGB, upright.
        name: the path, or what else the photo is called in messages.
        notes: what the user should know about the file, one line each with its name.
    """

    pixels: NDArray[np.uint8]
    name: str
    notes: tuple[str, ...] = ()


def read_photo(path: str | Path) -> Photo:
    """Reads the photo at `path`.

    EXIF rotation is applied; grey, palette, CMYK and 16-bit photos become 8-bit RGB; transparency is laid over
    white; of an animation the first frame is taken; a photo longer than `MAX_SIDE` is shrunk to it.

    Raises:
        MissingFileError: nothing is at `path`.
        ImageError: a folder, not an image, damaged, cut short or too large.
    """
    path, name = Path(path), shown(path)
    try:
        if not path.exists():
            what = "a link to nothing" if path.is_symlink() else "no such file"
            raise MissingFileError(f"{name}: {what}; give the path of a photo")
        if not path.is_file():
            what = "a folder" if path.is_dir() else "not a regular file"
            raise ImageError(f"{name}: {what}; expected a photo")
        if path.stat().st_size == 0:
            raise ImageError(f"{name}: the file is empty; expected a photo")
        with path.open("rb") as file:
            return decode_photo(file, name, path.suffix)
    except FileNotFoundError as error:
        if isinstance(error, FaceletError):
            raise
        raise MissingFileError(f"{name}: is gone since it was found; give the path of a photo") from error
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, FaceletError):
            raise
        raise ImageError(f"{name}: cannot be read ({reason(error)}); give the path of a readable photo") from error


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """Returns the pixels of the photo at `path`, as `read_photo` does: `(height, width, 3)` uint8 RGB."""
    return read_photo(path).pixels


def decode_image(data: bytes, where: str) -> NDArray[np.uint8]:
    """Returns the pixels of an encoded photo, as `read_photo` does: `(height, width, 3)` uint8 RGB.

    Args:
        data: content of an image file.
        where: name of the source for the error message.

    Raises:
        ImageError: not an image, damaged, cut short or too large.
    """
    return decode_photo(io.BytesIO(data), where).pixels


def decode_photo(file: BinaryIO, name: str, suffix: str = "") -> Photo:
    """Reads the photo in an open file, as `read_photo` does.

    Args:
        file: at the beginning of the photo.
        name: of the photo for messages.
        suffix: ending of the file's name, where it has one.

    Raises:
        ImageError: not an image, of a format that is not read, damaged, cut short or too large.
    """
    head = file.read(HEAD_BYTES)
    file.seek(0)
    with _decoding(name, unread_kind(head, suffix)):
        if is_raw(head, suffix):
            raise UnidentifiedImageError
        formats = formats_for(head)
        try:
            return _decode(file, head, formats, name)
        except (FaceletError, Image.DecompressionBombError):
            raise
        except Exception:
            if not head.startswith((JPEG_HEAD, PNG_HEAD)):  # which might be a film of gigabytes
                raise
            file.seek(0)
            if (needed := bare(file.read())) is None:
                raise
        return _decode(io.BytesIO(needed), head, formats, name)


def _decode(file: BinaryIO, head: bytes, formats: tuple[str, ...], name: str) -> Photo:
    """An open file as a photo, a JPEG that lacks nothing but its end marker with a note; raises what decoders raise."""
    if not head.startswith(JPEG_HEAD):
        return Photo(_pixels(file, formats), name)
    content = file.read()
    if not lacks_end(content):
        return Photo(_pixels(io.BytesIO(content), formats), name)
    pixels = with_end(content, lambda jpeg: _pixels(io.BytesIO(jpeg), formats))
    if pixels is None:
        raise ImageError(f"{name}: the image is damaged or cut short (rows are missing); copy it again")
    return Photo(pixels, name, (f"{name}: {END_MISSING}",))


def _pixels(file: BinaryIO, formats: tuple[str, ...]) -> NDArray[np.uint8]:
    """Decodes an open file as one of some formats; raises whatever Pillow and its decoders raise."""
    with Image.open(file, formats=formats) as image:
        _check_size(image)
        image.draft("RGB" if image.mode in ("RGB", "YCbCr") else None, (MAX_SIDE, MAX_SIDE))
        image.load()
        return _upright_rgb(image)


def convert_image(image: Image.Image, name: str) -> Photo:
    """Returns a Pillow image as a photo, as `read_photo` does; `image` stays as it is.

    Raises:
        ImageError: it cannot be decoded, is closed, or is too large.
    """
    with _decoding(name):
        _check_size(image)
        image.load()
        return Photo(_upright_rgb(image), name)


@contextlib.contextmanager
def _decoding(name: str, unread: str | None = None) -> Iterator[None]:
    """Turns whatever a decoder raises in the body into one `ImageError`; its warnings are not shown.

    Args:
        name: of the photo for the message.
        unread: what the file is, if it is of a format that is not read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except FaceletError:
            raise
        except Image.DecompressionBombError as error:
            raise ImageError(
                f"{name}: the photo has more than {MAX_PIXELS / 1e6:.0f} million pixels; shrink it first"
            ) from error
        except UnidentifiedImageError as error:
            what = unread or "not an image that can be read; expected JPEG, PNG, WebP, ..."
            raise ImageError(f"{name}: {what}") from error
        except Exception as error:  # decoders raise nearly every kind there is
            raise ImageError(f"{name}: the image is damaged or cut short ({reason(error)}); copy it again") from error


def _check_size(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise Image.DecompressionBombError(f"{width} x {height} pixels")


def _upright_rgb(photo: Image.Image) -> NDArray[np.uint8]:
    """Returns a decoded photo shrunk to `MAX_SIDE`, rotated by its EXIF, as 8-bit RGB."""
    if photo.mode == "F":
        raise ValueError("floating-point pixels have no known range")
    if photo.mode.startswith("I"):
        wide = np.asarray(photo).astype(np.int64)
        photo_8bit = Image.fromarray(np.clip((wide + 128) // 257, 0, 255).astype(np.uint8))
        photo_8bit.info = photo.info
        _copy_exif(photo, photo_8bit)
        photo = photo_8bit
    if max(photo.size) > MAX_SIDE:
        ratio = MAX_SIDE / max(photo.size)
        size = (max(1, round(photo.width * ratio)), max(1, round(photo.height * ratio)))
        unpacked = photo.convert("RGBA") if photo.mode in ("P", "1", "PA") else photo
        smaller = unpacked.resize(size, Image.Resampling.BOX, reducing_gap=2.0)
        _copy_exif(photo, smaller)
        photo = smaller
    with contextlib.suppress(Exception):
        photo = ImageOps.exif_transpose(photo)
    if photo.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in photo.info:
        photo = photo.convert("RGBA")
        white = Image.new("RGBA", photo.size, (255, 255, 255, 255))
        photo = Image.alpha_composite(white, photo)
    return np.array(photo.convert("RGB"), dtype=np.uint8)


def _copy_exif(source: Image.Image, target: Image.Image) -> None:
    """Gives a photo the EXIF of another; unreadable EXIF says nothing against the pixels."""
    with contextlib.suppress(Exception):
        target.getexif().update(source.getexif())

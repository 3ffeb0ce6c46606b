"""Which files are photos: the formats that are opened, their names' endings, and names for what is not read.

Only these formats reach Pillow. Of the others some start a program (PostScript runs Ghostscript), some read further
files, and none comes out of a camera.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from PIL import Image

HEIF = "HEIF"
"""Pillow's name of the format that the extra `heic` brings."""

HEIC_HINT = "pip install 'facelet[heic]'"

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "DIB", "TIFF", "JPEG2000", "PPM", "MPO")
"""Pillow's names of the formats that are opened; HEIF comes with its extra. MPO is JPEG with further photos behind."""

_HEIC_SUFFIXES = (".heic", ".heif", ".hif")

_RAW_SUFFIXES = frozenset(
    (
        *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".k25", ".kdc", ".mef"),
        *(".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw"),
        ".x3f",
    )
)
"""Of raw files, as cameras write them."""

_TIFF_HEADS = (b"II*\0", b"MM\0*")

_OTHER_SUFFIXES = frozenset([".bpg", ".dds", ".eps", ".jls", ".jxl", ".jxr", ".psb", ".psd", ".qoi", ".tga", ".wdp"])
"""Of pictures that are not read."""

_HEIC_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"))

JPEG_HEAD = b"\xff\xd8\xff"
PNG_HEAD = b"\x89PNG\r\n\x1a\n"

_HEADS = (
    *(JPEG_HEAD, PNG_HEAD, b"GIF87a", b"GIF89a", *_TIFF_HEADS),
    *(b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"),
)

_BMP_SIZES = frozenset(size.to_bytes(4, "little") for size in (12, 40, 52, 56, 64, 108, 124))
"""Of the header in a BMP, whose first two letters alone many a text has."""

HEAD_BYTES = 64
"""Of a file, enough to tell its kind."""


@lru_cache(maxsize=1)
def photo_suffixes() -> frozenset[str]:
    """Endings, lower-case with their dot, of names that promise a photo, whether its format is read or not."""
    read = {suffix for suffix, kind in Image.registered_extensions().items() if kind in FORMATS}
    return frozenset(read | {*_HEIC_SUFFIXES} | _RAW_SUFFIXES | _OTHER_SUFFIXES)


def is_photo_name(name: str) -> bool:
    """Whether a file's name promises a photo."""
    return Path(name).suffix.lower() in photo_suffixes()


def is_photo_head(head: bytes) -> bool:
    """Whether a file's first `HEAD_BYTES` are those of a format that is read, or of HEIC."""
    if head.startswith(b"BM"):
        return head[14:18] in _BMP_SIZES
    if head.startswith(b"RIFF"):
        return head[8:12] == b"WEBP"
    if head[4:8] == b"ftyp":
        return bool(_brands(head) & ({b"avif", b"avis"} | _HEIC_BRANDS))
    return head.startswith(_HEADS)


def formats_for(head: bytes) -> tuple[str, ...]:
    """Pillow's names of the formats that a file with these first bytes may be opened as."""
    if is_heic(head):
        return (HEIF,) if _register_heif() else ()
    return _registered()


def is_heic(head: bytes) -> bool:
    """Whether a file's first bytes are those of HEIC."""
    return head[4:8] == b"ftyp" and bool(_brands(head) & _HEIC_BRANDS)


def is_raw(head: bytes, suffix: str) -> bool:
    """Whether a file is a camera's raw one that looks like a TIFF, of which Pillow would open the thumbnail."""
    return head.startswith(_TIFF_HEADS) and suffix.lower() in _RAW_SUFFIXES


def unread_kind(head: bytes, suffix: str) -> str | None:
    """What a file is that is not read, and what to do, for a message; None where that is not known.

    Args:
        head: its first `HEAD_BYTES`.
        suffix: ending of its name; empty where there is none.
    """
    if is_heic(head):
        return f"HEIC, which needs an extra: {HEIC_HINT}"
    if head.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL ")):
        return "JPEG XL, which is not read; convert it to JPEG"
    if head.startswith((b"%!PS", b"\xc5\xd0\xd3\xc6", b"%PDF")):
        return "a PostScript or PDF program, which is never run; convert it to JPEG"
    if suffix.lower() in _RAW_SUFFIXES:
        return "a raw file of a camera, which is not read; convert it to JPEG"
    if head.startswith(b"8BPS"):
        return "a Photoshop file, which is not read; convert it to JPEG"
    if head[4:8] == b"ftyp":
        return "a video, or another file in its container; give a photo"
    return None


def _brands(head: bytes) -> set[bytes]:
    """The brands in the head of an ISO media file: the main one and those that it is compatible with."""
    size = min(int.from_bytes(head[:4], "big"), len(head))
    return {head[8:12], *(head[start : start + 4] for start in range(16, size - 3, 4))}


@lru_cache(maxsize=1)
def _registered() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow opens by itself: MPO comes through JPEG, AVIF is missing in older ones."""
    Image.init()
    return tuple(kind for kind in FORMATS if kind in Image.OPEN)


@lru_cache(maxsize=1)
def _register_heif() -> bool:
    """Whether Pillow can open HEIC, for which the extra is loaded on the first such file."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True

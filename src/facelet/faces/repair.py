"""Files whose pixels are all there although something else about them is broken: told from those that lack rows.

Two kinds are common. Cameras that send over a network leave the end marker off their JPEGs. Programs put texts or
colour profiles into PNGs that are larger than Pillow takes, or change a chunk and not its checksum.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from facelet.faces.formats import JPEG_HEAD, PNG_HEAD

Decode = Callable[[bytes], NDArray[np.uint8]]

END_MISSING = "the JPEG's end marker is missing, every row is there"

_PNG_KEPT = (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"eXIf")
"""The chunks that say which pixels there are; texts, colour profiles, times and further frames are not among them."""

_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd8-\xdf\xe0-\xef\xfe])")
_END = b"\xff\xd9"
_SCAN = b"\xff\xda"
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
_FILLS = (
    *(bytes((byte,)) * 64 for byte in (0x00, 0x55, 0xAA, 0xA5, 0x7F)),
    *(bytes(range(1, 65)), b"\x93\x6c\x1b" * 21, b"\x28\xa2\x8a" * 21),
)
"""Ways in which coded data might go on; one alone may mean the very pixels that the decoder fills in by itself."""


def lacks_end(jpeg: bytes) -> bool:
    """Whether a JPEG has no end marker behind its last scan."""
    return jpeg.rfind(_END) < jpeg.rfind(_SCAN)


def with_end(jpeg: bytes, decode: Decode) -> NDArray[np.uint8] | None:
    """Decodes a JPEG without end marker if all its pixels are there; else returns None.

    The decoder itself fills what is missing and does not say so. So the file is continued in several ways: with the end
    alone, with other data, and with data behind the next restart marker. Where the decoder still waited for data, the
    pixels differ. Of a file in several scans, such as a progressive one, all must have begun besides.

    Args:
        jpeg: content of the file.
        decode: content to pixels `(h, w, 3)` uint8; raises what it likes.
    """
    data = jpeg.rstrip(b"\0")  # of a file that was made full-size before its content came
    if data.endswith(b"\xff"):  # half a marker; or a coded byte, which a zero follows
        data = data + b"\0" if len(data) < len(jpeg) else data[:-1]
    found = _complete(data, decode)
    few_zeros = 0 < len(jpeg) - len(data) <= 2  # which may be coded data
    return _complete(jpeg, decode) if found is None and few_zeros else found


def _complete(jpeg: bytes, decode: Decode) -> NDArray[np.uint8] | None:
    """The pixels of coded data without an end if it is whole, else None."""
    if not _has_all_scans(jpeg):
        return None
    restarts = _RESTART.findall(jpeg, jpeg.rfind(_SCAN))
    following = restarts[-1][0] - 0xD0 + 1 if restarts else 0
    marks = [bytes((0xFF, 0xD0 + (following + step) % 8)) for step in range(8)]
    tails = [*_FILLS, *(b"".join(mark + fill for mark in marks) for fill in _FILLS[1:4])]
    whole = decode(jpeg + _END)
    return whole if all(np.array_equal(whole, decode(jpeg + tail + _END)) for tail in tails) else None


def _has_all_scans(jpeg: bytes) -> bool:
    """Whether the scans that a JPEG names hold every coefficient of every colour to its last bit."""
    parts: set[int] = set()
    progressive = False
    missing: set[tuple[int, int]] = set()
    for code, body in _segments(jpeg):
        if code in (0xC0, 0xC1, 0xC2) and len(body) > 5:
            progressive = code == 0xC2
            parts = set(body[6 : 6 + 3 * body[5] : 3])
            missing = {(part, index) for part in parts for index in range(64 if progressive else 1)}
        elif code == 0xDA and body and len(body) >= 2 * body[0] + 4:
            seen = body[1 : 1 + 2 * body[0] : 2]
            first, last, low_bit = body[2 * body[0] + 1], body[2 * body[0] + 2], body[2 * body[0] + 3] & 15
            if not progressive:
                first, last, low_bit = 0, 0, 0
            if low_bit == 0:
                missing -= {(part, index) for part in seen for index in range(first, last + 1)}
    return bool(parts) and not missing


def _segments(jpeg: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker code and body of each segment of a JPEG; what stands between them, such as coded pixels, is skipped."""
    place = 2
    while (found := _MARKER.search(jpeg, place)) is not None:
        code, place = found[1][0], found.end()
        if 0xD0 <= code <= 0xD9:  # these have no body
            continue
        size = int.from_bytes(jpeg[place : place + 2], "big")
        yield code, jpeg[place + 2 : place + size]
        place += size


def bare(content: bytes) -> bytes | None:
    """A PNG or JPEG without what its upright pixels do not need; None for others, or if nothing can be left out."""
    if content.startswith(PNG_HEAD):
        parts = _needed_of_png(content)
    elif content.startswith(JPEG_HEAD):
        parts = _needed_of_jpeg(content)
    else:
        return None
    shorter = b"".join(parts)
    return shorter if len(shorter) < len(content) else None


def _needed_of_png(content: bytes) -> Iterator[bytes]:
    """The signature and the chunks that say which pixels there are; of the optional ones those that are not broken."""
    yield PNG_HEAD
    place = len(PNG_HEAD)
    while place < len(content):
        kind = content[place + 4 : place + 8]
        end = place + 12 + int.from_bytes(content[place : place + 4], "big")
        chunk = content[place:end]
        if kind in _PNG_KEPT and (kind.isupper() or _is_sound(chunk)):
            yield chunk
        place = end


def _needed_of_jpeg(content: bytes) -> Iterator[bytes]:
    """A JPEG's head without the segments of applications, but with EXIF and Adobe's, and all from its first scan on."""
    yield content[:2]
    place = 2
    while content[place : place + 1] == b"\xff" and content[place : place + 2] != _SCAN and place < len(content):
        code = content[place + 1]
        end = place + 2 + int.from_bytes(content[place + 2 : place + 4], "big")
        segment = content[place:end]
        if not 0xE1 <= code <= 0xEF or code == 0xEE or segment[4:8] == b"Exif":
            yield segment
        place = end
    yield content[place:]


def _is_sound(chunk: bytes) -> bool:
    """Whether a PNG's chunk has the checksum of its content."""
    return zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")

"""Hand-computed: photos that are whole in an odd file are read; what lacks rows or is not a photo is refused."""

from __future__ import annotations

import io
import os
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, PngImagePlugin

from drawn_faces import draw_face
from facelet.errors import ImageError, MissingFileError
from facelet.faces import formats
from facelet.faces.images import MAX_SIDE, Photo, decode_photo, read_photo

PIXELS = draw_face(3, 96)

JPEG_KINDS: dict[str, dict[str, Any]] = {
    "baseline": {"quality": 90},
    "coarse": {"quality": 30, "subsampling": 2},
    "own codes": {"quality": 60, "optimize": True},
    "progressive": {"quality": 85, "progressive": True},
    "restarts of rows": {"quality": 85, "restart_marker_rows": 1},
    "restarts of blocks": {"quality": 70, "restart_marker_blocks": 3},
}


def encoded(kind: str, pixels: NDArray[np.uint8] = PIXELS, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def decoded(content: bytes) -> Photo:
    return decode_photo(io.BytesIO(content), "photo.x")


@pytest.mark.parametrize("kind", JPEG_KINDS)
@pytest.mark.parametrize("cut", [1, 2])
@pytest.mark.parametrize("padding", [0, 3000])
def test_a_jpeg_that_lacks_its_end_marker_is_read_with_a_note(kind: str, cut: int, padding: int) -> None:
    whole = encoded("JPEG", **JPEG_KINDS[kind])
    photo = decoded(whole[:-cut] + bytes(padding))
    np.testing.assert_array_equal(photo.pixels, decoded(whole).pixels)
    assert photo.notes == ("photo.x: the JPEG's end marker is missing, every row is there",)
    assert decoded(whole).notes == ()
    assert decoded(whole + b"behind the end").notes == ()


@pytest.mark.parametrize("kind", JPEG_KINDS)
@pytest.mark.parametrize("grey", [False, True])
def test_a_jpeg_that_lacks_more_is_read_only_where_no_pixel_is_missing(kind: str, grey: bool) -> None:
    """Cuts near the end, at every marker, and elsewhere; with zeros behind, as a download leaves them, and without."""
    pixels = PIXELS[..., 0] if grey else PIXELS
    whole = encoded("JPEG", pixels, **JPEG_KINDS[kind])
    expected = decoded(whole).pixels
    markers = [found.start() for found in re.finditer(rb"\xff[\xd0-\xd7\xda]", whole)]
    near = [len(whole) - cut for cut in range(3, 12)]
    ends = {*near, *(i + step for i in markers[::7] for step in (0, 1, 2)), *range(700, len(whole) - 12, 400)}
    refused = 0
    for end in sorted(ends):
        for padding in (0, 100):
            try:
                photo = decoded(whole[:end] + bytes(padding))
            except ImageError as error:
                assert "damaged or cut short" in str(error)  # noqa: PT017
                refused += 1
            else:
                np.testing.assert_array_equal(photo.pixels, expected, err_msg=f"cut at {end} of {len(whole)}")
    assert refused > len(ends)  # of two each: nearly all


def chunk(kind: bytes, body: bytes, wrong: int = 0) -> bytes:
    return len(body).to_bytes(4, "big") + kind + body + (zlib.crc32(kind + body) ^ wrong).to_bytes(4, "big")


def with_chunk(kind: bytes, body: bytes, wrong: int = 0) -> bytes:
    png = encoded("PNG")
    return png[:33] + chunk(kind, body, wrong) + png[33:]


def long_text(size: int, **options: bool) -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("prompt", "x" * size, **options)
    return encoded("PNG", pnginfo=info)


WHOLE = {
    "long text, packed": long_text(3_000_000, zip=True),
    "long text": long_text(3_000_000),
    "many long texts": encoded("PNG")[:33]
    + b"".join(chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1_000_000))) for _ in range(80))
    + encoded("PNG")[33:],
    "long colour profile": encoded("PNG", icc_profile=bytes(3_000_000)),
    "broken colour profile": with_chunk(b"iCCP", b"name\0\0not packed"),
    "wrong checksum of a text": with_chunk(b"tEXt", b"a\0b", wrong=1),
    "wrong checksum of a time": with_chunk(b"tIME", bytes(7), wrong=1),
    "short palette of an unknown kind": with_chunk(b"xyZw", b"", wrong=5),
    "broken EXIF in a PNG": with_chunk(b"eXIf", b"no EXIF"),
    "PNG without its end": encoded("PNG")[:-12],
    "garbage behind a PNG": encoded("PNG") + b"garbage" * 9,
    "garbage behind a BMP": encoded("BMP") + b"garbage" * 9,
    "garbage behind a TIFF": encoded("TIFF") + b"garbage" * 9,
    "TIFF with odd tags": encoded("TIFF", tiffinfo={65000: "x" * 5000, 34665: 7, 274: 99, 34675: b"profile"}),
}


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_whole_is_read(name: str) -> None:
    np.testing.assert_array_equal(decoded(WHOLE[name]).pixels, PIXELS)


@pytest.mark.parametrize(
    "head", [b"Exif\0\0", b"ICC_PROFILE\0", b"MPF\0", b"Photoshop 3.0\0", b"http://ns.adobe.com/xap/1.0/\0"]
)
def test_broken_segments_of_applications_are_no_reason_to_refuse_a_jpeg(head: bytes) -> None:
    jpeg, random = encoded("JPEG"), np.random.default_rng(0)
    expected = decoded(jpeg).pixels
    for size in (0, 1, 2, 9, 40):
        for number in (1, 2, 13):
            body = head + random.bytes(size)
            segment = bytes((0xFF, 0xE0 + number)) + (len(body) + 2).to_bytes(2, "big") + body
            np.testing.assert_array_equal(decoded(jpeg[:2] + segment + jpeg[2:]).pixels, expected)


def test_broken_exif_of_a_large_or_deep_photo_is_no_reason_to_refuse_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_image: object) -> None:
        raise OverflowError("EXIF")

    deep = encoded("PNG", (PIXELS[..., 0].astype(np.uint16) * 257).astype(np.uint16))
    large = encoded("JPEG", np.zeros((8, MAX_SIDE + 2000, 3), np.uint8))
    whole = decoded(deep).pixels
    monkeypatch.setattr(Image.Image, "getexif", broken)
    assert decoded(large).pixels.shape[1] == MAX_SIDE
    np.testing.assert_array_equal(decoded(deep).pixels, whole)


def test_a_large_file_that_is_no_photo_is_not_read_whole(tmp_path: Path) -> None:
    class Film(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            assert size is not None
            assert 0 <= size < 1_000_000
            return super().read(size)

    for head in (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", b"RIFF\0\0\0\0AVI ", bytes(99)):
        with pytest.raises(ImageError):
            decode_photo(Film(head + bytes(2_000_000)), "film.jpg", ".jpg")


def test_orientation_survives_the_repair_of_a_png() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded("PNG", exif=exif, icc_profile=bytes(3_000_000))
    np.testing.assert_array_equal(decoded(turned).pixels, np.rot90(PIXELS, -1))


def test_a_gif_that_ends_behind_its_first_frame_is_read() -> None:
    random = np.random.default_rng(0)
    frames = [Image.fromarray(random.integers(0, 255, (40, 40, 3), np.uint8)) for _ in range(3)]
    stream = io.BytesIO()
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:])
    whole = stream.getvalue()
    for end in (len(whole) - 1, len(whole) - 50, len(whole) * 2 // 3, len(whole) // 2):
        np.testing.assert_array_equal(decoded(whole[:end]).pixels, decoded(whole).pixels)
    with pytest.raises(ImageError, match="cut short"):
        decoded(whole[: len(whole) // 4])


def eps() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, "EPS")
    return stream.getvalue()


NOT_READ: dict[str, tuple[bytes, str]] = {
    "eps.jpg": (eps(), "a PostScript or PDF program, which is never run"),
    "dos-eps.png": (b"\xc5\xd0\xd3\xc6" + bytes(8) + eps(), "a PostScript or PDF program"),
    "page.pdf": (b"%PDF-1.4\n", "a PostScript or PDF program"),
    "windows.wmf": (b"\xd7\xcd\xc6\x9a" + bytes(60), "not an image that can be read"),
    "list.xpm": (b"/* XPM */", "not an image that can be read"),
    "layers.jpg": (b"8BPS\0\1" + bytes(60), "a Photoshop file"),
    "texture.dds": (b"DDS |\0\0\0" + bytes(120), "not an image that can be read"),
    "game.blp": (b"BLP2" + bytes(200), "not an image that can be read"),
    "new.jxl": (b"\xff\x0a" + bytes(60), "JPEG XL"),
    "boxed.jxl": (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(60), "JPEG XL"),
    "film.jpg": (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(60), "a video, or another file in its container"),
    "camera.NEF": (encoded("TIFF"), "a raw file of a camera"),
    "camera.cr3": (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(60), "a raw file of a camera"),
}


@pytest.mark.parametrize("name", NOT_READ)
def test_only_formats_of_photos_are_opened(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*arguments: object, **_options: object) -> None:
        raise AssertionError(arguments)

    monkeypatch.setattr("subprocess.Popen.__init__", run)
    content, words = NOT_READ[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ImageError, match=words):
        read_photo(path)
    path.write_bytes(encoded("JPEG"))  # whatever the name says
    assert read_photo(path).pixels.shape == PIXELS.shape


@pytest.mark.parametrize(
    "error",
    [
        *(
            RuntimeError("x"),
            MemoryError(),
            RecursionError("deep"),
            zlib.error("z"),
            AttributeError("a"),
            SyntaxError("s"),
        ),
        *(NotImplementedError(), UnicodeDecodeError("ascii", b"x", 0, 1, "odd\nreason"), AssertionError()),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_decoder_raises_is_one_line(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(_image: object) -> None:
        raise error

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    for kind in ("PNG", "JPEG", "BMP"):
        with pytest.raises(ImageError, match=r"photo\.x: the image is damaged or cut short \(.+\); copy it again"):
            decoded(encoded(kind))


def test_places_that_are_no_files_are_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "dangling.png").symlink_to("nowhere.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    os.mkfifo(tmp_path / "pipe.png")
    for name, kind, words in (
        ("dangling.png", MissingFileError, "a link to nothing"),
        ("loop.png", (MissingFileError, ImageError), ""),
        ("pipe.png", ImageError, "not a regular file"),
    ):
        with pytest.raises(kind, match=rf"{name}: .*{words}"):
            read_photo(tmp_path / name)
    with pytest.raises(MissingFileError, match=r"a\\nb\.png: no such file") as caught:
        read_photo(tmp_path / "a\nb.png")
    assert str(caught.value).isprintable()


def test_heic_is_read_with_its_extra_and_named_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    path = tmp_path / "photo.HEIC"
    image = Image.fromarray(PIXELS)
    exif = Image.Exif()
    exif[0x0112] = 6
    pillow_heif.from_pillow(image).save(path, quality=95, exif=exif.tobytes())
    upright = read_photo(path).pixels
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(encoded("PNG", exif=exif)))), np.float64)
    assert upright.shape == expected.shape
    assert np.abs(upright - expected).mean() < 4
    path.with_suffix(".jpg").write_bytes(path.read_bytes())
    np.testing.assert_array_equal(read_photo(path.with_suffix(".jpg")).pixels, upright)
    monkeypatch.setattr(formats, "_register_heif", lambda: False)
    with pytest.raises(ImageError, match=r"photo\.HEIC: HEIC, which needs an extra: pip install 'facelet\[heic\]'"):
        read_photo(path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "JPEG2000", "PPM"])
def test_the_formats_are_known_by_name_and_by_content(kind: str, tmp_path: Path) -> None:
    content = encoded(kind)
    suffixes = [suffix for suffix, format_ in Image.registered_extensions().items() if format_ == kind]
    for suffix in suffixes:
        path = tmp_path / f"photo{suffix.upper()}"
        path.write_bytes(content)
        assert formats.is_photo_name(path.name)
        assert read_photo(path).pixels.shape == PIXELS.shape
    assert formats.is_photo_head(content[: formats.HEAD_BYTES]) == (kind != "PPM")  # two letters are too little
    assert not formats.is_photo_name("notes.txt")
    assert not formats.is_photo_head(b"BM, a text; P3 as well")
    assert not formats.is_photo_head(b"")


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(["JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "JPEG2000", "PPM"]),
    places=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=9),
    kept=st.floats(0, 1),
)
def test_any_damage_gives_a_photo_or_an_image_error(kind: str, places: list[tuple[float, int]], kept: float) -> None:
    content = bytearray(encoded(kind, PIXELS[::3, ::3].copy()))
    for where, value in places:
        content[int(where**3 * (len(content) - 1))] = value
    try:
        photo = decoded(bytes(content[: max(1, int(kept * len(content)))]))
    except ImageError as error:
        assert str(error).isprintable()  # noqa: PT017
    else:
        assert photo.pixels.dtype == np.uint8
        assert photo.pixels.ndim == 3

"""Hand-computed: what each kind of photo becomes; and every bad file one clear error."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from facelet.errors import FaceletError, ImageError, MissingFileError
from facelet.faces.images import MAX_PIXELS, MAX_SIDE, decode_image, read_image

UPRIGHT = np.array(
    [[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[10, 20, 30], [255, 255, 255], [0, 0, 0]]], dtype=np.uint8
)

# How pixels are stored for a camera's orientation tag, so that showing them by it gives UPRIGHT.
STORED_FOR_ORIENTATION = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.transpose(1, 0, 2),
    6: np.rot90(UPRIGHT),
    7: UPRIGHT[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(UPRIGHT, -1),
}


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    image = Image.fromarray(np.ascontiguousarray(STORED_FOR_ORIENTATION[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "photo.png", image, exif=exif)
    np.testing.assert_array_equal(read_image(path), UPRIGHT)


def test_orientation_survives_16_bit_and_shrinking(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    grey = Image.fromarray(np.array([[0, 65535, 257 * 9]], dtype=np.uint16))
    column = read_image(save(tmp_path / "deep.png", grey, exif=exif))
    assert column[..., 0].tolist() == [[0], [255], [9]]
    wide = save(tmp_path / "wide.png", Image.new("RGB", (MAX_SIDE * 2, 16), (7, 8, 9)), exif=exif)
    assert read_image(wide).shape == (MAX_SIDE, 8, 3)


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    image = read_image(save(tmp_path / "g.png", Image.fromarray(np.array([[0, 128, 255]], dtype=np.uint8))))
    assert image.tolist() == [[[0] * 3, [128] * 3, [255] * 3]]


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    # 51/255 = 1/5 of black over white is 204; fully transparent red is white
    pixels = np.array([[[0, 0, 0, 51], [255, 0, 0, 0], [1, 2, 3, 255]]], dtype=np.uint8)
    image = read_image(save(tmp_path / "t.png", Image.fromarray(pixels)))
    assert image.tolist() == [[[204, 204, 204], [255, 255, 255], [1, 2, 3]]]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I", "I;16"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = save(tmp_path / "m.tif", Image.new(mode, (5, 4)))
    image = read_image(path)
    assert image.shape == (4, 5, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert image.flags.writeable


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (3, 2), color) for color in ((255, 0, 0), (0, 255, 0))]
    path = save(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert read_image(path)[0, 0].tolist() == [255, 0, 0]


def test_a_huge_photo_is_shrunk(tmp_path: Path) -> None:
    path = save(tmp_path / "huge.jpg", Image.new("L", (12000, 9000), 77))
    image = read_image(path)
    assert max(image.shape) <= MAX_SIDE
    assert image.shape[1] / image.shape[0] == pytest.approx(4 / 3, rel=1e-3)
    assert np.abs(image.astype(int) - 77).max() <= 1


def test_shrinking_is_antialiased(tmp_path: Path) -> None:
    """Alternate black and white columns become grey, not stripes."""
    stripes = np.zeros((8, MAX_SIDE * 4), dtype=np.uint8)
    stripes[:, ::2] = 255
    image = read_image(save(tmp_path / "s.png", Image.fromarray(stripes)))
    assert image.shape[1] == MAX_SIDE
    assert np.abs(image[..., 0].astype(int) - 127).max() <= 2


def test_one_pixel_is_a_photo(tmp_path: Path) -> None:
    assert read_image(save(tmp_path / "p.png", Image.new("RGB", (1, 1), (1, 2, 3)))).tolist() == [[[1, 2, 3]]]


def encoded(kind: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_a_photo_cut_short_is_refused(tmp_path: Path, kind: str) -> None:
    content = encoded(kind)
    path = tmp_path / "cut"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ImageError, match=r"cut"):
        read_image(path)


def float_tiff() -> bytes:
    stream = io.BytesIO()
    Image.new("F", (4, 4)).save(stream, "TIFF")
    return stream.getvalue()


def bomb() -> bytes:
    """A PNG header that announces more pixels than are decoded."""
    stream = io.BytesIO()
    Image.new("L", (1, 1)).save(stream, "PNG")
    content = bytearray(stream.getvalue())
    side = int(MAX_PIXELS**0.5) + 1000
    content[16:24] = side.to_bytes(4, "big") * 2
    import zlib

    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


@pytest.mark.parametrize(
    "content",
    [b"", b"no photo at all", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", bytes(1000), float_tiff(), bomb()],
    ids=["empty", "text", "jpeg-head", "png-head", "gif-head", "zeros", "float", "bomb"],
)
def test_what_is_no_photo_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"file\.jpg: .*") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


def test_what_is_not_there_or_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no such file"):
        read_image(tmp_path / "absent.jpg")
    with pytest.raises(ImageError, match="a folder"):
        read_image(tmp_path)
    with pytest.raises(FaceletError):
        read_image("nul\0byte.jpg")
    with pytest.raises(FaceletError):
        read_image("x" * 5000)


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(["JPEG", "PNG", "WEBP"]), places=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255))))
def test_damaged_bytes_give_a_photo_or_an_image_error(kind: str, places: list[tuple[float, int]]) -> None:
    content = bytearray(encoded(kind))
    for where, value in places:
        content[int(where * (len(content) - 1))] = value
    try:
        image: NDArray[np.uint8] = decode_image(bytes(content), "damaged")
    except ImageError:
        return
    assert image.dtype == np.uint8
    assert image.ndim == 3


def test_a_photo_of_too_many_pixels_is_called_too_large_and_not_damaged() -> None:
    with pytest.raises(ImageError, match=r"big\.png: the photo has more than 179 million pixels; shrink it first"):
        decode_image(bomb(), "big.png")

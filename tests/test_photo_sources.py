"""Oracle: a photo in memory, in every form, against the same photo read from its file; messages stay one short line."""

from __future__ import annotations

import base64
import io
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

import facelet
from conftest import Ended
from drawn_faces import draw_face, write_photo
from facelet.embedder import Embedder
from facelet.errors import MAX_SHOWN, FaceletError, ImageError, InputError, MissingFileError, UnknownNameError
from facelet.faces.detectors import as_detector, default_detector
from facelet.faces.images import MAX_SIDE, read_image
from facelet.faces.sources import load_photo
from tiny_models import photo_model

Cli = Callable[..., Ended]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return write_photo(tmp_path / "a.png", draw_face(1, background=(200, 40, 90)))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return photo_model(tmp_path / "m.onnx")


def forms(photo: Path) -> dict[str, Any]:
    """The photo in every form that is read."""
    content, rgb = photo.read_bytes(), read_image(photo)
    at_end = io.BytesIO()
    Image.fromarray(rgb).save(at_end, "PNG")
    return {
        "str": str(photo),
        "bytes": content,
        "bytearray": bytearray(content),
        "memoryview": memoryview(content),
        "BytesIO": io.BytesIO(content),
        "BytesIO after writing": at_end,
        "Pillow": Image.open(photo),
        "array": rgb,
        "array that cannot be written": np.frombuffer(rgb.tobytes(), np.uint8).reshape(rgb.shape),
        "array in Fortran's order": np.asfortranarray(rgb),
        "mirrored view": np.ascontiguousarray(rgb[:, ::-1])[:, ::-1],
        "opaque array": np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)]),
    }


def test_every_form_is_the_same_photo(photo: Path, model: Path) -> None:
    embedder = Embedder.load(model, threads=1)
    expected = facelet.embed(photo, model=embedder)
    held = forms(photo)
    for name, form in held.items():
        np.testing.assert_array_equal(load_photo(form).pixels, read_image(photo), err_msg=name)
    for name in ("bytes", "BytesIO", "Pillow", "array"):
        np.testing.assert_allclose(facelet.embed(held[name], model=embedder), expected, atol=1e-6, err_msg=name)
        assert facelet.verify(held[name], photo, model=embedder).distance == pytest.approx(0, abs=1e-6), name
    several = embedder.embed_images([photo, read_image(photo), photo.read_bytes()])
    np.testing.assert_allclose(several, np.tile(expected, (3, 1)), atol=1e-6)
    np.testing.assert_array_equal(embedder.embed_images(np.stack([read_image(photo)] * 2)), several[:2])
    assert embedder.embed_images(read_image(photo)).shape == (1, embedder.card.embedding_size)
    assert embedder.embed_images([]).shape == (0, embedder.card.embedding_size)


def test_open_files_are_read_from_their_beginning_and_left_where_they_were(photo: Path) -> None:
    with photo.open("rb") as file, tempfile.SpooledTemporaryFile() as spooled:
        file.seek(7)
        spooled.write(photo.read_bytes())
        for _ in range(2):
            np.testing.assert_array_equal(load_photo(file).pixels, read_image(photo))
            np.testing.assert_array_equal(load_photo(spooled).pixels, read_image(photo))  # type: ignore[arg-type]
        assert file.tell() == 7

    class Stream(io.RawIOBase):  # a pipe, an answer of a server
        def read(self, size: int = -1) -> bytes:
            assert size == -1
            return photo.read_bytes()

    np.testing.assert_array_equal(load_photo(Stream()).pixels, read_image(photo))  # type: ignore[arg-type]


def test_opencvs_order_is_said_with_bgr(photo: Path, model: Path) -> None:
    bgr = np.asarray(cv2.imread(str(photo)), np.uint8)
    with_alpha = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2BGRA), np.uint8)
    for pixels in (bgr, with_alpha):
        np.testing.assert_array_equal(load_photo(pixels, bgr=True).pixels, read_image(photo))
    np.testing.assert_array_equal(load_photo(bgr[..., 0], bgr=True).pixels, load_photo(bgr[..., 0]).pixels)
    assert facelet.verify(photo, bgr, model=model, bgr=True).distance == pytest.approx(0, abs=1e-6)
    assert facelet.verify(photo, bgr, model=model).distance > 1e-3
    expected = facelet.embed(photo, model=model)
    np.testing.assert_allclose(facelet.embed(bgr, model=model, bgr=True), expected, atol=1e-6)


def test_arrays_and_pillow_images_are_treated_as_files_are(tmp_path: Path) -> None:
    grey = np.array([[0, 128, 255]], np.uint8)
    assert load_photo(grey).pixels.tolist() == [[[0] * 3, [128] * 3, [255] * 3]]
    # 51/255 = 1/5 of black over white is 204; what is fully transparent is white
    seen_through = np.array([[[0, 0, 0, 51], [255, 0, 0, 0], [1, 2, 3, 255]]], np.uint8)
    over_white = [[[204, 204, 204], [255, 255, 255], [1, 2, 3]]]
    assert load_photo(seen_through).pixels.tolist() == over_white
    assert load_photo(Image.fromarray(seen_through)).pixels.tolist() == over_white
    assert load_photo(np.zeros((16, MAX_SIDE * 2, 3), np.uint8)).pixels.shape == (8, MAX_SIDE, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    Image.new("RGB", (5, 3), (9, 8, 7)).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as turned:
        assert load_photo(turned).pixels.shape == (5, 3, 3)
        assert turned.size == (5, 3)
        np.testing.assert_array_equal(load_photo(turned).pixels, read_image(tmp_path / "turned.png"))
    for mode in ("1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "I", "I;16", "HSV", "LAB"):
        assert load_photo(Image.new(mode, (4, 3))).pixels.shape == (3, 4, 3), mode


WRONG: dict[str, tuple[Any, str]] = {
    "float": (np.zeros((9, 9, 3), np.float32), r"must be uint8 \(h, w, 3\).*found float32 \(9, 9, 3\)"),
    "bool": (np.zeros((9, 9), bool), "found bool"),
    "channels first": (np.zeros((3, 9, 9), np.uint8), r"found uint8 \(3, 9, 9\)"),
    "four dimensions": (np.zeros((1, 9, 9, 3), np.uint8), r"found uint8 \(1, 9, 9, 3\)"),
    "nothing in it": (np.zeros((0, 9, 3), np.uint8), r"found uint8 \(0, 9, 3\)"),
    "objects": (np.array([object()]), "found object"),
    "list": ([[0, 0, 0]], "cannot be a list; give a path, encoded bytes"),
    "None": (None, "cannot be a NoneType"),
    "number": (7, "cannot be a int"),
    "text file": (io.StringIO("x"), "gives str, not bytes; open the file with 'rb'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_photo_is_refused_with_what_is_taken(name: str, photo: Path, model: Path) -> None:
    wrong, words = WRONG[name]
    with pytest.raises(InputError, match=f"photo: .*{words}"):
        load_photo(wrong)
    with pytest.raises(InputError, match=f"photo b: .*{words}"):
        facelet.verify(photo, wrong, model=model)


def test_content_that_is_no_photo_is_an_image_error(photo: Path, model: Path) -> None:
    closed = photo.open("rb")
    closed.close()
    gone = Image.open(photo)
    gone.close()
    cut = Image.open(io.BytesIO(photo.read_bytes()[:2000]))
    cases = [(b"", "empty"), (b"text", "not an image"), (closed, "cannot be read"), (gone, "damaged"), (cut, "cut")]
    for wrong, words in cases:
        with pytest.raises(ImageError, match=words) as caught:
            facelet.embed(wrong, model=model)  # type: ignore[arg-type]
        assert str(caught.value).startswith(("photo 0: ", str(photo)[:20]))


def test_a_detector_may_be_named(photo: Path, model: Path) -> None:
    by_name = facelet.embed(photo, model=model, detector="dlib")
    np.testing.assert_allclose(by_name, facelet.embed(photo, model=model, detector=as_detector("dlib")), atol=1e-6)
    assert facelet.verify(photo, photo, model=model, detector="dlib_refined").same
    assert as_detector("dlib") is as_detector("dlib")
    assert as_detector(None) is as_detector("dlib_refined") is default_detector()
    with pytest.raises(UnknownNameError, match="did you mean 'yunet'"):
        facelet.verify(photo, photo, model=model, detector="yunt")
    with pytest.raises(InputError, match="detector: cannot be a int; give a name"):
        facelet.embed(photo, model=model, detector=3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no file behind the plus"):
        facelet.embed(photo, model=model, detector="dlib+")


@pytest.mark.usefixtures("clear_faces")
def test_a_threshold_of_ones_own(photo: Path, model: Path, cli: Cli) -> None:
    other = write_photo(photo.with_name("b.png"), draw_face(2, background=(20, 90, 20)))
    distance = facelet.verify(photo, other, model=model).distance
    below, above = (facelet.verify(photo, other, model=model, threshold=distance * f) for f in (0.9, 1.1))
    assert (below.same, above.same, above.far) == (False, True, None)
    assert above.threshold == pytest.approx(distance * 1.1)
    assert facelet.verify(photo, other, model=model).far == 1e-3
    for wrong in (0, -1, 4.01, float("nan"), "x"):
        with pytest.raises(InputError, match="threshold: "):
            facelet.verify(photo, other, model=model, threshold=wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="far, threshold: both"):
        facelet.verify(photo, other, model=model, threshold=1, far=1e-3)
    ended = cli("verify", photo, other, "--model", model, "--threshold", distance * 1.1)
    assert (ended.code, ended.err) == (0, "")
    assert "same person" in ended.out
    refused = cli("verify", photo, other, "--model", model, "--threshold", 1, "--far", "1e-3")
    assert refused.code == 2
    assert "--far: changes nothing beside --threshold" in refused.err
    assert "--threshold: 5 is not a squared distance" in cli("verify", photo, other, "--threshold", 5).err


LONG = base64.b64encode(np.random.default_rng(0).bytes(30_000)).decode()
ECHOES: dict[str, str] = {
    "base64": LONG,
    "data address": f"data:image/png;base64,{LONG}",
    "folders": f"{LONG[:200]}/{LONG[:200]}/photo.png",
    "words": "not a path but prose " * 900,
    "words with colons": "Dear all: here is: prose " * 900,
    "zero bytes": "a\0b" * 900,
    "lines": "a line\n" * 900,
    "terminal codes": "\x1b[31m" * 900,
    "short with a break": "a\nb.png",
}


def longest_echo(message: str, passed: str) -> int:
    """Length of the longest part of `passed` that `message` repeats."""
    size = 0
    for start in range(len(message)):
        while start + size < len(message) and message[start : start + size + 1] in passed:
            size += 1
    return size


@pytest.mark.parametrize("name", ECHOES)
def test_no_message_repeats_what_was_passed_as_a_path(name: str, photo: Path, model: Path, cli: Cli) -> None:
    text = ECHOES[name]
    calls: list[Callable[[], object]] = [
        lambda: facelet.embed(text, model=model),
        lambda: facelet.verify(photo, text, model=model),
        lambda: facelet.verify(photo, photo, model=text),
        lambda: Embedder.load(model, card=text),
        lambda: facelet.embed(photo, model=model, detector=text),
        lambda: facelet.embed(text.encode(), model=model),
    ]
    for call in calls:
        with pytest.raises(FaceletError) as caught:
            call()
        message = str(caught.value)
        assert message.isprintable()
        assert len(message) < 300
        assert longest_echo(message, text) <= MAX_SHOWN
    for arguments in (("verify", photo, text), ("cluster", text, "--out", "o"), ("embed", text), ("evaluate", text)):
        ended = cli(*arguments)
        assert ended.code in (1, 2)
        assert ended.err.count("\n") == 1
        assert longest_echo(ended.err, text) <= MAX_SHOWN


def test_a_message_keeps_the_end_of_a_long_path_and_survives_pickling(tmp_path: Path) -> None:
    folder = tmp_path / ("deep" * 20) / ("deeper" * 20)
    with pytest.raises(MissingFileError) as caught:
        read_image(folder / "photo.png")
    assert "deeper/photo.png: no such file; give the path of a photo" in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)

"""Oracle and invariant: drawn faces are found where they are; YuNet through OpenCV against its decoding by hand."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from drawn_faces import draw_face
from facelet.assets import packaged_dlib_file
from facelet.errors import InputError, MissingFileError, UnknownNameError
from facelet.faces.detect import (
    MIN_SIDE,
    DlibDetector,
    Face,
    YuNetDetector,
)
from facelet.faces.detectors import load_detector


@pytest.fixture(scope="module")
def dlib_detector() -> DlibDetector:
    return DlibDetector()


@pytest.fixture
def yunet_file(data_dir: Path) -> Path:
    return data_dir / "detectors" / "yunet_n_dynamic.onnx"


def on_canvas(face: NDArray[np.uint8], height: int, width: int, x: int, y: int) -> NDArray[np.uint8]:
    photo = np.full((height, width, 3), (90, 110, 130), dtype=np.uint8)
    photo[y : y + face.shape[0], x : x + face.shape[1]] = face
    return photo


def test_dlib_finds_a_drawn_face(dlib_detector: DlibDetector) -> None:
    (face,) = dlib_detector.detect(draw_face(0, 240))
    assert face.scheme == "dlib5"
    assert face.landmarks.shape == (5, 2)
    x0, y0, x1, y1 = face.box
    assert x0 < 120 < x1
    assert y0 < 120 < y1
    # the eyes are drawn at (92, 106) and (148, 106): dlib's corners lie around them
    np.testing.assert_allclose(face.landmarks[:2].mean(axis=0), [148, 106], atol=10)
    np.testing.assert_allclose(face.landmarks[2:4].mean(axis=0), [92, 106], atol=10)


def test_a_shrunk_photo_gives_its_own_pixels(dlib_detector: DlibDetector) -> None:
    """Invariant: a photo longer than the detector's limit gives the same landmarks, in its own pixels."""
    small = on_canvas(draw_face(0, 240), 500, 500, 120, 130)
    factor = 5
    large = small.repeat(factor, axis=0).repeat(factor, axis=1)
    assert max(large.shape) > dlib_detector.max_side
    (expected,), (found,) = dlib_detector.detect(small), dlib_detector.detect(large)
    np.testing.assert_allclose(found.landmarks / factor, expected.landmarks, atol=3)


def test_several_faces_come_largest_first(dlib_detector: DlibDetector) -> None:
    photo = on_canvas(draw_face(0, 160), 340, 640, 20, 90)
    photo[40:320, 300:580] = draw_face(1, 280)
    faces = dlib_detector.detect(photo)
    assert len(faces) == 2
    assert faces[0].area > faces[1].area
    assert faces[0].box[0] > 300


def test_a_face_that_fills_the_photo_is_found_by_the_second_look(dlib_detector: DlibDetector) -> None:
    tight = np.ascontiguousarray(draw_face(0, 240)[52:200, 50:190])
    (face,) = dlib_detector.detect(tight)
    np.testing.assert_allclose(face.landmarks[2:4].mean(axis=0), [92 - 50, 106 - 52], atol=12)


@pytest.mark.parametrize("shape", [(1, 1), (MIN_SIDE - 1, 500), (3000, 2), (64, 64), (16, 2000)])
def test_no_face_gives_an_empty_list(dlib_detector: DlibDetector, shape: tuple[int, int]) -> None:
    assert dlib_detector.detect(np.full((*shape, 3), 127, dtype=np.uint8)) == []


def test_a_face_that_is_hardly_one_is_guessed(dlib_detector: DlibDetector) -> None:
    """A face whose right side lies in the dark is not found; where one is known to be, it is."""
    half = draw_face(0, 240)
    half[:, 136:] = 20
    assert dlib_detector.detect(half) == []
    face = dlib_detector.guess(half)
    assert face is not None
    assert dlib_detector.GUESS <= face.score < 0
    x0, y0, x1, y1 = face.box
    assert x0 < 120 < x1
    assert y0 < 120 < y1
    assert dlib_detector.guess(np.full((200, 200, 3), 127, dtype=np.uint8)) is None


def test_a_reversed_view_is_a_photo_too(dlib_detector: DlibDetector) -> None:
    """Arrays need not be contiguous."""
    mirrored = draw_face(0, 240)[:, ::-1]
    assert len(dlib_detector.detect(mirrored)) == 1


def test_detectors_by_name(tmp_path: Path) -> None:
    assert load_detector("dlib").name == "dlib"
    with pytest.raises(UnknownNameError, match="did you mean 'yunet'"):
        load_detector("yunett")
    for name in ("dlib", "yunet"):
        with pytest.raises(MissingFileError, match="absent"):
            load_detector(name, tmp_path / "absent")


@pytest.mark.parametrize("name", ["dlib", "yunet"])
def test_a_file_of_something_else_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"not a model" * 100)
    with pytest.raises(InputError, match="model"):
        load_detector(name, path)


def test_the_landmark_model_of_68_points_is_refused() -> None:
    detector = DlibDetector(packaged_dlib_file("shape_predictor_68_face_landmarks.dat"))
    with pytest.raises(InputError, match="68 points"):
        detector.detect(draw_face(0, 240))


def test_versions_tell_detectors_apart(dlib_detector: DlibDetector) -> None:
    assert dlib_detector.version == DlibDetector().version
    assert "hog" in dlib_detector.version


@pytest.mark.data
def test_yunet_agrees_with_its_network_decoded_by_hand(yunet_file: Path) -> None:
    """Oracle: onnxruntime and the formulas of the paper's anchor-free head, best cell of each stride."""
    import onnxruntime

    photo = on_canvas(draw_face(0, 240), 320, 320, 30, 50)
    detector = YuNetDetector(yunet_file)
    face = detector.detect(photo)[0]
    session = onnxruntime.InferenceSession(str(yunet_file), providers=["CPUExecutionProvider"])
    planes = photo[..., ::-1].transpose(2, 0, 1)[None].astype(np.float32)
    names = [output.name for output in session.get_outputs()]
    outputs = dict(zip(names, session.run(None, {"input": planes}), strict=True))
    best: tuple[float, NDArray[np.float64], NDArray[np.float64]] | None = None
    for stride in (8, 16, 32):
        cls, obj, box, points = (outputs[f"{kind}_{stride}"][0] for kind in ("cls", "obj", "bbox", "kps"))
        scores = np.sqrt(np.clip(cls[:, 0], 0, 1) * np.clip(obj[:, 0], 0, 1))
        cell = int(scores.argmax())
        corner = np.array([cell % (320 // stride), cell // (320 // stride)])
        center = (corner + box[cell, :2]) * stride
        size = np.exp(box[cell, 2:]) * stride
        if best is None or scores[cell] > best[0]:
            landmarks = (corner + points[cell].reshape(5, 2)) * stride
            best = float(scores[cell]), np.concatenate([center - size / 2, center + size / 2]), landmarks
    assert best is not None
    assert face.score == pytest.approx(best[0], abs=1e-3)
    np.testing.assert_allclose(face.box, best[1], atol=0.2)
    np.testing.assert_allclose(face.landmarks, best[2], atol=0.2)
    assert face.landmarks[0, 0] < face.landmarks[1, 0]


@pytest.mark.data
@pytest.mark.parametrize("shape", [(1, 1), (20, 20), (16, 2000), (3000, 40), (97, 131)])
def test_yunet_takes_any_size(yunet_file: Path, shape: tuple[int, int]) -> None:
    assert YuNetDetector(yunet_file).detect(np.full((*shape, 3), 127, dtype=np.uint8)) == []


class Parts(YuNetDetector):
    """Sees every face that is 30 to 300 pixels high, and a part of a larger one; its photos hold white squares."""

    def __init__(self) -> None:
        self._threshold = 0.5

    def _detect_once(self, image: NDArray[np.uint8], threshold: float) -> list[Face]:
        _, _, boxes, _ = cv2.connectedComponentsWithStats((image[..., 0] > 127).astype(np.uint8))
        found = []
        for x, y, width, height, _ in boxes[1:].tolist():
            part = 1.0 if height <= 300 else 0.4
            if height >= 30:
                box = (float(x), float(y), x + part * width, y + part * height)
                found.append(Face(box, 0.9, np.zeros((5, 2)), "five"))
        return found


def test_yunet_looks_at_large_photos_twice() -> None:
    photo = np.zeros((2000, 2000, 3), np.uint8)
    photo[100:1000, 100:1000] = 255  # 576 pixels at 1280, where a part of it is seen, and 288 at 640
    photo[1500:1580, 1500:1580] = 255  # 51 pixels and 26
    large, small = Parts().detect(photo)
    assert large.box == pytest.approx((100, 100, 1000, 1000), abs=4)
    assert small.box == pytest.approx((1500, 1500, 1580, 1580), abs=4)
    assert Parts().guess(np.roll(photo, -200, axis=1)) is None, "none covers the centre"
    guessed = Parts().guess(np.roll(photo, 200, axis=(0, 1)))
    assert guessed is not None
    assert guessed.box == pytest.approx((300, 300, 1200, 1200), abs=4)

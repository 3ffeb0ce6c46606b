"""Faces in a photo, with five landmarks each, as the detectors themselves place them.

`DlibDetector` works right after installation; `YuNetDetector` is quicker and surer and needs its ONNX file. Both
return a list, largest face first, empty where no face is found.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from facelet.assets import packaged_dlib_file
from facelet.errors import InputError, MissingExtraError, MissingFileError

MIN_SIDE = 16
"""Photos with a shorter side than this hold no face that could be told from another."""


@dataclass(frozen=True, eq=False)
class Face:
    """One face in a photo.

    Attributes:
        box: `(x0, y0, x1, y1)` in photo pixels; may reach outside the photo.
        score: the detector's own certainty; larger is surer. Not comparable between detectors.
        landmarks: `(5, 2)` float64 photo pixels.
        scheme: what the landmarks are, in `templates.SCHEMES`.
        refined: the landmarks "five" as `refine` places them, `(5, 2)` float64 photo pixels; None where it was not
            asked.
        turn: degrees clockwise by which the photo has to be turned to show the face upright: 0, 90, 180 or 270; the box
            and the landmarks are those of the photo as it is given.
    """

    box: tuple[float, float, float, float]
    score: float
    landmarks: NDArray[np.float64]
    scheme: str
    refined: NDArray[np.float64] | None = None
    turn: int = 0

    @property
    def area(self) -> float:
        """Of the box in square pixels."""
        return max(0.0, self.box[2] - self.box[0]) * max(0.0, self.box[3] - self.box[1])


class Detector(Protocol):
    """What finds faces; one may be used from several threads, where they take turns.

    Attributes:
        name: key in `detectors.DETECTORS`.
        version: changes whenever the same photo could give another answer; part of cache keys.
    """

    name: str
    version: str

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        """Returns the faces of a photo `(h, w, 3)` uint8 RGB, largest first."""
        ...

    def guess(self, image: NDArray[np.uint8]) -> Face | None:
        """Returns the likeliest face at the centre of a photo that is known to show one there."""
        ...


class DlibDetector:
    """dlib's HOG detector and its five-point landmark model; nothing to download.

    Args:
        model_path: the five-point model; by default the CC0 one that the package `face_recognition_models` carries.

    Raises:
        MissingExtraError: dlib or `face_recognition_models` is not installed.
        MissingFileError: no file at `model_path`.
        InputError: the file is no landmark model of five points.
    """

    name = "dlib"
    max_side = 1000
    """Photos longer than this are shrunk to it for detection; one upsampling then finds faces from 4 % of it on."""

    GUESS = -1.0
    """Score down to which a face is guessed. Measured on LFW's View 1: of 4,992 photos dlib finds no face in 24 and
    only somebody in the background in 3; the guess is the face in 25 of them and a part of it in 2."""

    def __init__(self, model_path: Path | None = None) -> None:
        try:
            import dlib
        except ImportError as error:
            raise MissingExtraError("dlib", None) from error
        path = model_path or packaged_dlib_file("shape_predictor_5_face_landmarks.dat")
        if not path.is_file():
            raise MissingFileError(f"{path}: no such file; give dlib's five-point model or none for the installed one")
        self._find: Any = dlib.get_frontal_face_detector()
        try:
            self._place: Any = dlib.shape_predictor(str(path))
        except RuntimeError as error:
            raise InputError(f"{path}: not a landmark model of dlib ({error})") from error
        self._turn = threading.Lock()  # dlib's detector keeps its picture pyramid in itself
        self.version = f"hog-{dlib.__version__}-up1-{_file_hash(path)}-1"

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        """Returns the faces of a photo `(h, w, 3)` uint8 RGB, largest first; landmarks "dlib5"."""
        return _detect(image, self.max_side, self._detect_once)

    def guess(self, image: NDArray[np.uint8]) -> Face | None:
        """Returns the face of the highest score that covers the centre, down to `GUESS`."""
        return _surest(_detect(image, self.max_side, lambda small: self._detect_once(small, self.GUESS)), image)

    def _detect_once(self, image: NDArray[np.uint8], threshold: float = 0.0) -> list[Face]:
        with self._turn:
            boxes, scores, _ = self._find.run(image, 1, threshold)
            shapes = [self._place(image, box) for box in boxes]
        faces = []
        for box, score, shape in zip(boxes, scores, shapes, strict=True):
            if shape.num_parts != 5:
                raise InputError(
                    f"dlib: the landmark model has {shape.num_parts} points; expected the five-point model"
                )
            points = np.array([[shape.part(i).x, shape.part(i).y] for i in range(5)], dtype=np.float64)
            corners = (float(box.left()), float(box.top()), float(box.right() + 1), float(box.bottom() + 1))
            faces.append(Face(corners, float(score), points, "dlib5"))
        return faces


class YuNetDetector:
    """YuNet through OpenCV.

    Args:
        model_path: its ONNX file.
        score_threshold: faces below this certainty (0..1) are dropped.

    Raises:
        MissingFileError: no file at `model_path`.
        InputError: OpenCV cannot run the file as YuNet.

    Source: Wu, Peng, Yu, "YuNet: A Tiny Millisecond-level Face Detector", 2023.
    """

    name = "yunet"
    near_side, max_side = 640, 1280
    """Photos longer than the first are shrunk to it for a look at large faces, to the second for one at small faces:
    the net knows faces of about 10 to 300 pixels, and takes parts of larger ones for faces."""

    SMALL = 1 / 12
    """Of a photo's longer side: up to here a face may have been missed at the first size, where it has 53 pixels."""

    GUESS = 0.1
    """Score down to which a face is guessed."""

    def __init__(self, model_path: Path, score_threshold: float = 0.5) -> None:
        if not model_path.is_file():
            raise MissingFileError(f"{model_path}: no such file; give YuNet's ONNX file")
        # building the net warns of a missing back end each time
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
        try:
            self._net = cv2.FaceDetectorYN.create(str(model_path), "", (320, 320), score_threshold, 0.3, 5000)
            self._net.detect(np.zeros((320, 320, 3), np.uint8))
        except (cv2.error, AttributeError) as error:
            raise InputError(
                f"{model_path}: OpenCV {cv2.__version__} cannot run this file as YuNet; give its .onnx file"
            ) from error
        self._threshold = score_threshold
        self._turn = threading.Lock()  # the net is set to the size of one photo
        self.version = f"yunet-{_file_hash(model_path)}-{score_threshold:g}-2"

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        """Returns the faces of a photo `(h, w, 3)` uint8 RGB, largest first; landmarks "five"."""
        return self._look(image, self._threshold)

    def guess(self, image: NDArray[np.uint8]) -> Face | None:
        """Returns the face of the highest score that covers the centre, down to `GUESS`."""
        return _surest(self._look(image, self.GUESS), image)

    def _look(self, image: NDArray[np.uint8], threshold: float) -> list[Face]:
        """Large faces, and small ones that are no part of them, largest first."""
        look, longer = partial(self._detect_once, threshold=threshold), max(image.shape[:2])
        faces = _detect(image, self.near_side, look)
        if longer <= self.near_side:
            return faces
        small = [face for face in _detect(image, self.max_side, look) if face.area < (self.SMALL * longer) ** 2]
        apart = [face for face in small if not any(cover(face, known) for known in faces)]
        return sorted([*faces, *apart], key=lambda face: -face.area)

    def _detect_once(self, image: NDArray[np.uint8], threshold: float) -> list[Face]:
        bgr = np.ascontiguousarray(image[..., ::-1])
        with self._turn:
            self._net.setScoreThreshold(threshold)
            self._net.setInputSize((image.shape[1], image.shape[0]))
            _, rows = self._net.detect(bgr)
        faces = []
        for row in np.empty((0, 15)) if rows is None else np.asarray(rows, dtype=np.float64):
            x, y, width, height = (float(v) for v in row[:4])
            faces.append(Face((x, y, x + width, y + height), float(row[14]), row[4:14].reshape(5, 2), "five"))
        return faces


SHARED = 0.3
"""Of the smaller of two boxes: from here on they are one face."""


def cover(one: Face, other: Face) -> bool:
    """Whether two boxes share so much that they stand for one face, or for it and a part of it."""
    (x0, y0, x1, y1), (u0, v0, u1, v1) = one.box, other.box
    width, height = min(x1, u1) - max(x0, u0), min(y1, v1) - max(y0, v0)
    return width > 0 and height > 0 and width * height > SHARED * min(one.area, other.area)


def _detect(image: NDArray[np.uint8], max_side: int, detect_once: Any) -> list[Face]:
    """Runs a detector on the photo at a sane size; where it finds nothing, once more with a widened border.

    The second look finds faces that fill the photo, which detectors trained on faces with surroundings miss.
    """
    height, width = image.shape[:2]
    if min(height, width) < MIN_SIDE:
        return []
    ratio = min(1.0, max_side / max(height, width))
    size = (max(MIN_SIDE, round(width * ratio)), max(MIN_SIDE, round(height * ratio)))
    small = image if ratio == 1.0 else np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    small = np.ascontiguousarray(small)
    faces: list[Face] = detect_once(small)
    border = 0
    if not faces:
        border = max(size) // 4
        wide = cv2.copyMakeBorder(small, border, border, border, border, cv2.BORDER_REPLICATE)
        faces = detect_once(np.asarray(wide, dtype=np.uint8))
    scale = np.array([width / size[0], height / size[1]])
    faces = [_moved(face, border, scale) for face in faces]
    return sorted((face for face in faces if np.isfinite(face.landmarks).all()), key=lambda face: -face.area)


def covers_center(face: Face, height: int, width: int) -> bool:
    """Whether the centre of a photo lies in a face's box.

    Args:
        height: of the photo.
        width: of the photo.
    """
    x0, y0, x1, y1 = face.box
    return x0 <= width / 2 <= x1 and y0 <= height / 2 <= y1


def _surest(faces: list[Face], image: NDArray[np.uint8]) -> Face | None:
    """The face of the highest score among those at the photo's centre."""
    central = [face for face in faces if covers_center(face, *image.shape[:2])]
    return max(central, key=lambda face: face.score, default=None)


def _moved(face: Face, border: int, scale: NDArray[np.float64]) -> Face:
    """Returns a face found on a shrunk and bordered photo in the photo's own pixels."""
    if border == 0 and (scale == 1).all():
        return face
    corners = (np.array(face.box).reshape(2, 2) - border) * scale
    landmarks = (face.landmarks - border + 0.5) * scale - 0.5
    x0, y0, x1, y1 = (float(v) for v in corners.ravel())
    return replace(face, box=(x0, y0, x1, y1), landmarks=landmarks)


def _file_hash(path: Path) -> str:
    """Returns the first 16 hex digits of the file's sha256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]

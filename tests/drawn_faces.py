"""Drawn faces that dlib's detector takes for real ones, so that no test needs a photo of a person."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Color = tuple[int, int, int]


def draw_face(seed: int = 0, size: int = 240, background: Color = (90, 110, 130)) -> NDArray[np.uint8]:
    """A cartoon of a face, `(size, size, 3)` uint8 RGB; `seed` varies skin, hair and proportions a little."""
    random = np.random.default_rng(seed)

    def px(length: float) -> int:
        return max(1, round(length * size / 240 + random.normal(0, 1.0) * size / 240))

    def tint(color: Color) -> Color:
        red, green, blue = (int(v) for v in np.clip(np.array(color) + random.integers(-15, 16, 3), 0, 255))
        return red, green, blue

    image = np.full((size, size, 3), background, np.uint8)
    x, y = size // 2, size // 2
    cv2.ellipse(image, (x, y - px(8)), (px(78), px(98)), 0, 0, 360, tint((60, 45, 35)), -1)
    cv2.ellipse(image, (x, y + px(8)), (px(64), px(86)), 0, 0, 360, tint((205, 170, 145)), -1)
    for side in (-1, 1):
        eye = (x + side * px(28), y - px(14))
        cv2.ellipse(image, eye, (px(15), px(9)), 0, 0, 360, (170, 130, 110), -1)
        cv2.ellipse(image, eye, (px(12), px(6)), 0, 0, 360, (240, 240, 240), -1)
        cv2.circle(image, eye, px(6), (40, 30, 30), -1)
        cv2.ellipse(image, (eye[0], eye[1] - px(15)), (px(17), px(4)), 0, 180, 360, (60, 40, 30), px(4))
    cv2.ellipse(image, (x, y + px(20)), (px(11), px(7)), 0, 0, 180, (150, 110, 95), px(3))
    cv2.line(image, (x - px(4), y - px(5)), (x - px(8), y + px(20)), (180, 145, 125), px(2))
    cv2.ellipse(image, (x, y + px(50)), (px(24), px(7)), 0, 0, 360, (150, 70, 70), -1)
    cv2.line(image, (x - px(22), y + px(50)), (x + px(22), y + px(50)), (70, 30, 30), px(2))
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 2.0), np.uint8)


def write_photo(path: Path, image: NDArray[np.uint8]) -> Path:
    """Writes `(h, w, 3)` uint8 RGB as the kind of file that the name says; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _, encoded = cv2.imencode(path.suffix, image[..., ::-1])
    path.write_bytes(encoded.tobytes())
    return path

"""What a camera adds to a synthetic face: pose, light, background, things in front of it, blur and noise.

Every effect is explicit and drawn from the photo's own random stream. `synthetic` makes the face itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

_CENTER = (64.0, 74.0)
_OCCLUSIONS = ("glasses", "mask", "edge")


@dataclass(frozen=True)
class PhotoStyle:
    """One photo's conditions.

    Attributes:
        roll: degrees, in the image plane.
        zoom: factor on the face's size.
        shift: pixels (x, y).
        yaw: -1..1, turn of the head to the side; 1 moves the nose by 9 pixels.
        pitch: -1..1, nod; 1 moves the nose by 6 pixels.
        light: gain slope over the face (x, y); 0.3 is 30 % brighter on one side.
        gain: gain of each colour channel.
        gamma: exponent of the tone curve.
        background: 0 (the model's own surroundings) to 1 (replaced).
        sharpen: weight of the unsharp mask.
        blur: standard deviation in pixels; 0 for none.
        noise: standard deviation in grey levels.
        jpeg: quality, or 0 for none.
        occlusion: one of "glasses", "mask", "edge", or empty.
    """

    roll: float
    zoom: float
    shift: tuple[float, float]
    yaw: float
    pitch: float
    light: tuple[float, float]
    gain: tuple[float, float, float]
    gamma: float
    background: float
    sharpen: float
    blur: float
    noise: float
    jpeg: int
    occlusion: str


def draw_style(random: np.random.Generator) -> PhotoStyle:
    """Conditions of one photo; the same number of draws whatever comes out."""
    normal = np.clip(random.standard_normal(13), -2, 2)
    uniform = random.uniform(size=8)
    exposure = np.exp(0.13 * normal[7])
    warmth = 0.05 * normal[8]
    return PhotoStyle(
        roll=float(2.5 * normal[0]),
        zoom=float(np.exp(0.03 * normal[1])),
        shift=(float(1.2 * normal[2]), float(1.2 * normal[3])),
        yaw=float(0.4 * normal[4]),
        pitch=float(0.35 * normal[5]),
        light=(float(0.16 * normal[6]), float(0.08 * normal[9])),
        gain=(float(exposure * (1 + warmth)), float(exposure), float(exposure * (1 - warmth))),
        gamma=float(np.exp(0.12 * normal[10])),
        background=float(uniform[0]),
        sharpen=float(0.5 + 0.7 * uniform[1]),
        blur=float(1.4 * uniform[2]) if uniform[3] < 0.3 else 0.0,
        noise=float(1 + 5 * uniform[4] ** 2),
        jpeg=int(35 + 60 * uniform[5]) if uniform[6] < 0.3 else 0,
        occlusion=_OCCLUSIONS[int(uniform[7] / 0.12 * 3)] if uniform[7] < 0.12 else "",
    )


def pose_map(
    style: PhotoStyle, grid_x: NDArray[np.float32], grid_y: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Where each pixel of the posed photo lies in the upright one.

    A similarity, then a turn of a head whose depth is a bump over nose and cheeks: what is nearer moves further.

    Args:
        grid_x: column of every pixel, float32.
        grid_y: row of every pixel, float32.

    Returns:
        Columns and rows, float32, shaped like the grids.
    """
    angle = np.deg2rad(style.roll)
    cos, sin = np.float32(np.cos(angle) / style.zoom), np.float32(np.sin(angle) / style.zoom)
    x = grid_x - np.float32(_CENTER[0] + style.shift[0])
    y = grid_y - np.float32(_CENTER[1] + style.shift[1])
    across = cos * x + sin * y
    down = cos * y - sin * x
    head = np.exp(-(np.square(across / np.float32(34)) + np.square((down - 2) / np.float32(40))))
    nose = np.exp(-(np.square(across / np.float32(15)) + np.square((down - 6) / np.float32(18))))
    depth = 0.55 * head + 0.45 * nose
    return (
        (across + np.float32(_CENTER[0]) - np.float32(9 * style.yaw) * depth).astype(np.float32),
        (down + np.float32(_CENTER[1]) - np.float32(6 * style.pitch) * depth).astype(np.float32),
    )


def finish(
    image: NDArray[np.uint8],
    column: NDArray[np.float32],
    row: NDArray[np.float32],
    landmarks: NDArray[np.float32],
    style: PhotoStyle,
    random: np.random.Generator,
) -> NDArray[np.uint8]:
    """The photo after background, occlusion, light, blur, noise and compression.

    Args:
        image: painted face, `(128, 128, 3)` uint8 RGB.
        column: where each pixel lies in the face's common frame, `(128, 128)` float32.
        row: the same for rows.
        landmarks: `(5, 2)` float32, crop pixels.
        random: the photo's own stream.

    Returns:
        `(128, 128, 3)` uint8 RGB.
    """
    size = image.shape[0]
    if style.sharpen > 0:
        soft = cv2.GaussianBlur(image, (0, 0), 2.0)
        image = np.asarray(cv2.addWeighted(image, 1 + style.sharpen, soft, -style.sharpen, 0), np.uint8)
    blobs = random.uniform(0, 255, (4, 4, 3)).astype(np.float32)
    blobs = 0.35 * blobs + 0.65 * blobs.mean(2, keepdims=True)
    if style.background > 0.3:
        radius = np.square((column - 64) / 57) + np.square((row - 70) / 68)
        alpha = np.clip((radius - 0.85) * 2.5, 0, 1)[..., None] * np.float32(style.background)
        scene = np.asarray(cv2.resize(blobs, (size, size), interpolation=cv2.INTER_CUBIC), np.float32)
        pixels = image.astype(np.float32)
        pixels += (scene - pixels) * alpha
    else:
        pixels = image.astype(np.float32)
    if style.occlusion:
        pixels = _occlude(pixels, landmarks, style.occlusion, blobs[0, 0], random)
    pixels *= _light(style, size)[..., None] * np.asarray(style.gain, np.float32)
    pixels += random.standard_normal((size, size), np.float32)[..., None] * np.float32(style.noise)
    result = np.clip(pixels, 0, 255).astype(np.uint8)
    tone = np.rint(255 * np.power(np.arange(256) / 255, style.gamma)).astype(np.uint8)
    result = np.asarray(cv2.LUT(result, tone), np.uint8)
    if style.blur > 0:
        result = np.asarray(cv2.GaussianBlur(result, (0, 0), style.blur), np.uint8)
    if style.jpeg:
        _, encoded = cv2.imencode(".jpg", result, [cv2.IMWRITE_JPEG_QUALITY, style.jpeg])
        result = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
    return result


def _light(style: PhotoStyle, size: int) -> NDArray[np.float32]:
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    slope = np.float32(style.light[0]) * axis[None, :] + np.float32(style.light[1]) * axis[:, None]
    return np.asarray(1 + slope, np.float32)


def _occlude(
    pixels: NDArray[np.float32],
    landmarks: NDArray[np.float32],
    kind: str,
    color: NDArray[np.float32],
    random: np.random.Generator,
) -> NDArray[np.float32]:
    """Something in front of the face, with a soft rim; the colour is a background colour or nearly black."""
    cover = np.zeros(pixels.shape[:2], np.uint8)
    left, right, nose, mouth_left, mouth_right = np.rint(landmarks).astype(int)
    shade = tuple(float(v) for v in color)
    strength = 1.0
    if kind == "glasses":
        shade = (18.0, 18.0, 22.0)
        filled = bool(random.uniform() < 0.4)
        for eye in (left, right):
            cv2.ellipse(cover, tuple(map(int, eye)), (15, 11), 0, 0, 360, 255, -1 if filled else 2)
        bridge = (right - left) * 0.4
        middle = (left + right) / 2
        cv2.line(cover, tuple(map(int, middle - bridge / 4)), tuple(map(int, middle + bridge / 4)), 255, 2)
        strength = 0.9
    elif kind == "mask":
        middle = (mouth_left + mouth_right) / 2
        axes = (30, int(max(14, middle[1] - nose[1] + 2)))
        cv2.ellipse(cover, (int(middle[0]), int(middle[1]) + 4), axes, 0, 0, 360, 255, -1)
    else:
        width = int(random.integers(12, 34))
        if random.uniform() < 0.5:
            cover[:, :width] = 255
        else:
            cover[:, -width:] = 255
    alpha = np.asarray(cv2.GaussianBlur(cover, (0, 0), 1.0), np.float32)[..., None] * np.float32(strength / 255)
    return np.asarray(pixels + (np.asarray(shade, np.float32) - pixels) * alpha, np.float32)

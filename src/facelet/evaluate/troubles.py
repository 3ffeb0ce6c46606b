"""What goes wrong with photos, as functions of a photo: blurred, enlarged, noisy, dark, covered, turned.

NumPy in, NumPy out. Unlike `robustness`, whose degradations act on the aligned crop, these act on the photo before the
detector sees it, so that detection, alignment and quality are those of the degraded photo. Lengths are in pixels of
LFW's photos (250 pixels, a face of about 130); what covers a part of the face is drawn by the landmarks of the clean
photo.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

Photo = NDArray[np.uint8]
Points = NDArray[np.float64]

CROP_SIDE = 3.18
"""Side of the "arcface" crop over the distance of its eyes: 112 / 35.24."""


@dataclass(frozen=True)
class Trouble:
    """One way in which a photo is bad.

    Attributes:
        what: one line for a table.
        apply: `(photo, landmarks, random)` to the degraded photo; photo `(h, w, 3)` uint8 RGB, landmarks "five" of the
            clean photo, `(5, 2)` float64 photo pixels.
        fitted: the coefficients of `faces.quality` were fitted on photos degraded like this; the others were held out
            and only measured.
    """

    what: str
    apply: Callable[[Photo, Points, np.random.Generator], Photo]
    fitted: bool


def unchanged(photo: Photo, _points: Points, _random: np.random.Generator) -> Photo:
    """The photo as it is."""
    return photo


def turned(photo: Photo, _points: Points, _random: np.random.Generator, quarters: int) -> Photo:
    """Turned clockwise by so many quarter turns, with nothing that says so."""
    return np.ascontiguousarray(np.rot90(photo, -quarters))


def blurred(photo: Photo, _points: Points, _random: np.random.Generator, sigma: float) -> Photo:
    """Gaussian blur of standard deviation `sigma` pixels."""
    return _bytes(cv2.GaussianBlur(photo, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE))


def defocused(photo: Photo, _points: Points, _random: np.random.Generator, radius: int) -> Photo:
    """Mean over a disc of `radius` pixels, as a lens out of focus makes it."""
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disc = (x * x + y * y <= radius * radius).astype(np.float64)
    return _bytes(cv2.filter2D(photo, -1, disc / disc.sum(), borderType=cv2.BORDER_REPLICATE))


def shaken(photo: Photo, _points: Points, random: np.random.Generator, length: int) -> Photo:
    """Mean along a line of `length` pixels in a direction drawn at random: motion blur."""
    line = np.zeros((length, length), np.float32)
    line[length // 2] = 1
    turn = cv2.getRotationMatrix2D(((length - 1) / 2, (length - 1) / 2), random.uniform(0, 180), 1)
    line = np.asarray(cv2.warpAffine(line, turn, (length, length)), np.float32)
    return _bytes(cv2.filter2D(photo, -1, line / line.sum(), borderType=cv2.BORDER_REPLICATE))


def enlarged(
    photo: Photo, points: Points, _random: np.random.Generator, width: int, how: int = cv2.INTER_CUBIC
) -> Photo:
    """Shrunk until the crop of the face is `width` pixels wide, and enlarged to the old size."""
    rows, columns = photo.shape[:2]
    return _bytes(cv2.resize(tiny(photo, points, _random, width), (columns, rows), interpolation=how))


def tiny(photo: Photo, points: Points, _random: np.random.Generator, width: int) -> Photo:
    """Shrunk until the crop of the face is `width` pixels wide, and left so."""
    factor = min(1.0, width / (CROP_SIDE * float(np.linalg.norm(points[1] - points[0]))))
    rows, columns = photo.shape[:2]
    small = (max(1, round(columns * factor)), max(1, round(rows * factor)))
    return _bytes(cv2.resize(photo, small, interpolation=cv2.INTER_AREA))


def noisy(photo: Photo, _points: Points, random: np.random.Generator, sigma: float) -> Photo:
    """Normal noise of standard deviation `sigma` grey levels, each channel by itself."""
    return _bytes(photo + random.normal(0, sigma, photo.shape))


def speckled(photo: Photo, _points: Points, random: np.random.Generator, share: float) -> Photo:
    """Salt and pepper: a share of the pixels is white or black."""
    draw, worse = random.random(photo.shape[:2]), photo.copy()
    worse[draw < share] = 0
    worse[draw < share / 2] = 255
    return worse


def grainy(photo: Photo, _points: Points, random: np.random.Generator, sigma: float, grain: float) -> Photo:
    """Grey noise of `sigma` levels whose grains are `grain` pixels wide, as high ISO and denoising leave it."""
    noise = cv2.GaussianBlur(random.normal(0, 1, photo.shape[:2]), (0, 0), grain)
    return _bytes(photo + (noise * (sigma / noise.std()))[..., None])


def dark(photo: Photo, _points: Points, random: np.random.Generator, factor: float, noise: float) -> Photo:
    """Grey levels times `factor`, with normal noise of `noise` levels."""
    return _bytes(photo * factor + random.normal(0, noise, photo.shape))


def glaring(photo: Photo, _points: Points, _random: np.random.Generator, factor: float, lift: float = 0) -> Photo:
    """Grey levels times `factor` plus `lift`, cut off at 255."""
    return _bytes(photo.astype(np.float64) * factor + lift)


def foggy(photo: Photo, _points: Points, _random: np.random.Generator, contrast: float) -> Photo:
    """Contrast times `contrast` around light grey."""
    return _bytes(190 + (photo.astype(np.float64) - 128) * contrast)


def compressed(photo: Photo, _points: Points, _random: np.random.Generator, quality: int) -> Photo:
    """One JPEG round trip at a quality in 1..100."""
    _, encoded = cv2.imencode(".jpg", photo[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.ascontiguousarray(_bytes(cv2.imdecode(encoded, cv2.IMREAD_COLOR))[..., ::-1])


def dark_glasses(photo: Photo, points: Points, random: np.random.Generator) -> Photo:
    """Two dark lenses with a bridge and temples; size, shape and shade are drawn at random."""
    across, down, eyes = _axes(points)
    level, wide, high = random.integers(8, 45), random.uniform(0.36, 0.46), random.uniform(0.24, 0.34)
    power = random.uniform(2, 4)
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    shape = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** (2 / power), np.sin(angle)
    rims = [eye + np.outer(shape[0] * wide, across) + np.outer(shape[1] * high + 0.04, down) for eye in points[:2]]
    left, right = points[0] - across * wide, points[1] + across * wide
    bars = [
        _bar(points[0] + across * wide * 0.9, points[1] - across * wide * 0.9, down * 0.035),
        _bar(left, left - across * 0.35 - down * 0.05, down * 0.04),
        _bar(right, right + across * 0.35 - down * 0.05, down * 0.04),
    ]
    return _painted(photo, [*rims, *bars], np.full(3, level), eyes * 0.02)


def mask(photo: Photo, points: Points, random: np.random.Generator) -> Photo:
    """A face mask from the bridge of the nose to below the chin: white, light blue or black, with shading."""
    across, down, eyes = _axes(points)
    colours = np.array([[225, 228, 230], [150, 195, 215], [30, 30, 34], [90, 110, 150]])
    colour = colours[random.integers(len(colours))] * random.uniform(0.75, 1.05)
    nose, mouth = points[2], (points[3] + points[4]) / 2
    bridge, chin = (points[0] + points[1]) / 2 * 0.45 + nose * 0.55, mouth + down * random.uniform(0.72, 0.9)
    wide = random.uniform(0.82, 0.95)
    outline = np.array(
        [
            bridge - across * 0.12,
            bridge + across * 0.12,
            nose + across * wide - down * 0.1,
            mouth + across * wide * 0.9,
            chin + across * 0.35,
            chin - across * 0.35,
            mouth - across * wide * 0.9,
            nose - across * wide - down * 0.1,
        ]
    )
    return _painted(photo, [outline], colour, eyes * 0.03, keep=0.25)


def hand(photo: Photo, points: Points, random: np.random.Generator) -> Photo:
    """Four fingers of one skin colour before mouth and nose, or before one eye."""
    across, down, eyes = _axes(points)
    aim = (points[3] + points[4]) / 2 * 0.6 + points[2] * 0.4 if random.random() < 0.6 else points[random.integers(2)]
    colour = np.array([205, 160, 135]) * random.uniform(0.45, 1.1)
    along = across * random.choice((-1, 1)) + down * random.uniform(-0.2, 0.5)
    along, side = along * 1.3, down * 0.13
    fingers = [_bar(aim - along + side * 2 * k, aim + along * 0.45 + side * 2 * k, side * 0.92) for k in (-2, -1, 0, 1)]
    return _painted(photo, fingers, colour, eyes * 0.03, keep=0.1)


def patched(photo: Photo, points: Points, random: np.random.Generator) -> Photo:
    """An ellipse or a rectangle of one colour, drawn at random, before a part of the face."""
    across, down, eyes = _axes(points)
    middle = points[2] + across * random.uniform(-0.6, 0.6) + down * random.uniform(-0.6, 0.7)
    wide, high, turn = random.uniform(0.3, 0.75), random.uniform(0.25, 0.6), random.uniform(0, np.pi)
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    power = random.choice((1.0, 0.2))  # of an ellipse, of nearly a rectangle
    x, y = (wide * np.sign(f) * np.abs(f) ** power for f in (np.cos(angle), np.sin(angle) * (high / wide)))
    shape = (
        middle
        + np.outer(x * np.cos(turn) - y * np.sin(turn), across)
        + np.outer(x * np.sin(turn) + y * np.cos(turn), down)
    )
    skin = np.array([205, 160, 135]) * random.uniform(0.4, 1.15)
    colour = skin if random.random() < 0.5 else random.uniform(10, 240, 3)
    return _painted(photo, [shape], colour, eyes * 0.03, keep=random.uniform(0, 0.3))


def _axes(points: Points) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """From eye to eye, the same turned downwards, both of the length of that distance, and the distance."""
    across = points[1] - points[0]
    return across, np.array([-across[1], across[0]]), float(np.linalg.norm(across))


def _bar(start: Points, end: Points, half: NDArray[np.float64]) -> Points:
    """The corners of a bar from `start` to `end`, `(4, 2)`."""
    return np.array([start - half, end - half, end + half, start + half])


def _painted(photo: Photo, shapes: list[Points], colour: NDArray[np.float64], soft: float, keep: float = 0.0) -> Photo:
    """The photo with filled polygons of a colour, soft edges, and a share `keep` of the photo's coarse shading."""
    alpha = np.zeros(photo.shape[:2], np.float32)
    for shape in shapes:
        cv2.fillPoly(alpha, [np.rint(shape * 16).astype(np.int32)], 1.0, lineType=cv2.LINE_AA, shift=4)
    cover = cv2.GaussianBlur(alpha, (0, 0), max(soft, 0.5))[..., None]
    coarse = cv2.GaussianBlur(photo, (0, 0), max(soft * 6, 1.0)).astype(np.float64).mean(axis=2, keepdims=True)
    shade = np.clip(1 + keep * (coarse / max(float(coarse.mean()), 1.0) - 1), 0.3, 1.7)
    return _bytes(photo * (1 - cover) + colour * shade * cover)


def _bytes(pixels: object) -> Photo:
    """Rounded and cut to 0..255."""
    values = np.asarray(pixels)
    return values if values.dtype == np.uint8 else np.clip(np.rint(values), 0, 255).astype(np.uint8)


TROUBLES: dict[str, Trouble] = {
    "clean": Trouble("as it is", unchanged, True),
    **{
        f"turned {90 * n}": Trouble(f"turned by {90 * n} degrees", partial(turned, quarters=n), False)
        for n in (1, 2, 3)
    },
    **{
        f"blur {sigma}": Trouble(f"Gaussian blur of {sigma} pixels", partial(blurred, sigma=sigma), sigma != 3)
        for sigma in (2, 3, 4, 6, 8)
    },
    "shaken 11": Trouble("motion blur of 11 pixels", partial(shaken, length=11), True),
    "defocus 8": Trouble("out of focus by 8 pixels", partial(defocused, radius=8), False),
    "shaken 21": Trouble("motion blur of 21 pixels", partial(shaken, length=21), False),
    **{
        f"enlarged {width}": Trouble(f"enlarged from {width} pixels", partial(enlarged, width=width), True)
        for width in (32, 25, 18, 13, 9)
    },
    **{
        f"pixelated {width}": Trouble(
            f"squares, {width} to the face",
            partial(enlarged, width=width, how=cv2.INTER_NEAREST),
            width == 24,
        )
        for width in (32, 24, 16)
    },
    "tiny 32": Trouble("small: face of 32 pixels", partial(tiny, width=32), False),
    "tiny 20": Trouble("small: face of 20 pixels", partial(tiny, width=20), False),
    **{
        f"noise {sigma}": Trouble(f"noise of {sigma} levels", partial(noisy, sigma=sigma), sigma != 60)
        for sigma in (20, 40, 60)
    },
    "grain 15": Trouble("coarse grey noise of 15 levels", partial(grainy, sigma=15, grain=1.5), True),
    "grain 30": Trouble("coarse grey noise of 30 levels", partial(grainy, sigma=30, grain=2.0), False),
    "speckles 0.2": Trouble("a fifth black or white", partial(speckled, share=0.2), False),
    "dark 0.1": Trouble("a tenth of the light", partial(dark, factor=0.1, noise=1), True),
    "dark 0.05": Trouble("a twentieth of the light", partial(dark, factor=0.05, noise=0.5), True),
    "glaring 3": Trouble("three times the light", partial(glaring, factor=3), False),
    "glaring 2": Trouble("twice the light and lifted", partial(glaring, factor=2, lift=60), False),
    "fog 0.15": Trouble("fog: 15 % of the contrast", partial(foggy, contrast=0.15), False),
    "jpeg 5": Trouble("JPEG at quality 5", partial(compressed, quality=5), False),
    "dark glasses": Trouble("dark glasses", dark_glasses, True),
    "mask": Trouble("face mask", mask, True),
    "patch": Trouble("patch before a part of the face", patched, False),
    "hand": Trouble("hand before the face", hand, True),
}
"""The rows of the benchmark "trouble", by name."""

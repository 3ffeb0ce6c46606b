"""How much a face's picture tells of who it is: one figure, what it suffers from, and what that means for a verdict.

A model's threshold is measured on clear photos. Where photos are blurred, dark or covered alike, strangers come closer,
and more of them than promised lie below it. `face_quality` estimates how much closer, from what `quality_measures`
measures of the picture alone, so that it fits every model; `judge` asks for a distance smaller by as much, and calls
uncertain what it cannot decide.

The estimate is a sum: each measure counts as soon as it leaves the range of clear faces, on its bad side, in proportion
to how far; a small tolerance is taken off. No weight is negative, so nothing good makes up for something bad. The table
`quality.json` beside this file holds ranges and weights; `docs/benchmarks/quality_fit.py` makes it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facelet.faces.detect import Face
from facelet.faces.quality_measures import CANVAS, face_measures

TABLE = Path(__file__).with_name("quality.json")

FULL_SHIFT = 0.3
"""Rise of the cosine similarity of strangers at which the quality is 0."""

MIN_QUALITY = 0.45
"""Below it a face is too poor, and every verdict about it uncertain."""

NOTED = 0.9
"""Below it a face's causes are worth a note."""

SAMPLES_PER_EYES = 112 / 35.24
"""Width of the "arcface" crop over the distance of its eyes."""


@dataclass(frozen=True)
class Term:
    """One measure that lowers the quality.

    Attributes:
        measure: its name in `quality_measures`.
        low: whether it is bad below `edge`; else above.
        edge: where the range of clear faces ends.
        unit: what counts as one step outside.
        weight: rise of the cosine similarity of strangers for one step, at least 0.
        cause: what the user is told.
        most_steps: it counts for at most so many steps.
    """

    measure: str
    low: bool
    edge: float
    unit: float
    weight: float
    cause: str
    most_steps: float


@dataclass(frozen=True)
class Quality:
    """How much a face's picture tells.

    Attributes:
        score: in [0, 1]; 1 as clear as the photos that thresholds are measured on, below `MIN_QUALITY` too poor.
        causes: what lowers it, the worst first: "blurred", "noisy", "too dark", ...; empty where little does.
        resolution: estimated width in pixels of a sharp crop of the face with as much detail, in [1, 128].
    """

    score: float
    causes: tuple[str, ...]
    resolution: float

    @property
    def shift(self) -> float:
        """By how much strangers of this quality are more alike, in cosine similarity; from 0 to `FULL_SHIFT`."""
        return FULL_SHIFT * (1 - self.score)

    @property
    def poor(self) -> bool:
        """Whether it is below `MIN_QUALITY`."""
        return self.score < MIN_QUALITY

    def __str__(self) -> str:
        """Such as "quality 0.31: blurred (true resolution of about 14 pixels), noisy"."""
        detail = f"{BLURRED} (true resolution of about {self.resolution:.0f} pixels)"
        causes = [detail if cause == BLURRED else cause for cause in self.causes]
        return f"quality {self.score:.2f}" + (f": {', '.join(causes)}" if causes else "")


BLURRED = "blurred"


@dataclass(frozen=True)
class Judgement:
    """What a distance says.

    Attributes:
        same: the distance is below `threshold` and neither face is poor.
        uncertain: the pictures do not tell: a face is poor, or the distance lies between `threshold` and the model's.
        threshold: squared distance that faces of this quality have to stay below, at most the model's.
    """

    same: bool
    uncertain: bool
    threshold: float


def judge(distance: float, threshold: float, a: Quality, b: Quality) -> Judgement:
    """What the distance of two faces says, given how good their pictures are.

    Strangers come closer only where both pictures are bad, so the better of the two sets the threshold; a face that is
    too poor leaves every verdict open, as its own person may be far from it.

    Args:
        distance: squared Euclidean distance of the unit embeddings.
        threshold: of the model, measured on clear photos.
        a: quality of one face.
        b: of the other.
    """
    asked = max(0.0, threshold - 2 * min(a.shift, b.shift))  # a squared distance is 2 - 2 cos
    poor = a.poor or b.poor
    return Judgement(distance < asked and not poor, poor or asked <= distance < threshold, asked)


def face_quality(image: NDArray[np.uint8], face: Face) -> Quality:
    """How much the picture of a face tells; takes about 2 ms.

    Args:
        image: the photo, `(h, w, 3)` uint8 RGB.
        face: what a detector found in it.
    """
    return quality_of(face_measures(image, face))


def quality_of(measures: Mapping[str, float]) -> Quality:
    """The quality of a face of which everything is measured.

    Args:
        measures: as `quality_measures.face_measures` gives them.
    """
    terms, tolerance, sharpness = _table()
    by_cause: dict[str, float] = {}
    for term in terms:
        step = steps_outside(measures[term.measure], term.low, term.edge, term.unit, term.most_steps)
        by_cause[term.cause] = by_cause.get(term.cause, 0.0) + term.weight * step
    shift = sum(by_cause.values())
    score = float(np.clip(1 - (shift - tolerance) / FULL_SHIFT, 0, 1))
    noted = sorted((cause for cause, part in by_cause.items() if part > 0.25 * shift), key=lambda c: -by_cause[c])
    told = sum(factor * measures.get(name, 1.0) for name, factor in sharpness.items())
    width = min(math.exp(min(told, 10.0)), math.exp(measures["eyes_px"]) * SAMPLES_PER_EYES)
    return Quality(score, tuple(noted) if score < NOTED else (), float(np.clip(width, 1, CANVAS)))


def steps_outside(value: float, low: bool, edge: float, unit: float, most: float) -> float:
    """How many units a measure lies outside the range of clear faces, on its bad side; from 0 to `most`."""
    return float(np.clip((edge - value if low else value - edge) / unit, 0, most))


def quality_version() -> str:
    """Changes with the table; part of cache keys."""
    return hashlib.sha256(TABLE.read_bytes()).hexdigest()[:16]


@lru_cache(maxsize=1)
def _table() -> tuple[tuple[Term, ...], float, dict[str, float]]:
    """The terms, what is taken off their sum, and the factors that tell ln of the resolution ("1" is the offset)."""
    table = json.loads(TABLE.read_text(encoding="utf-8"))
    return tuple(Term(**term) for term in table["terms"]), table["tolerance"], table["ln_resolution"]

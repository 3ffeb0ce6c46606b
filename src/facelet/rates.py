"""What a card's thresholds promise for one comparison: under which settings, and for the best of several pairs.

Stands between the card, whose thresholds were measured on single pairs of aligned faces, and the verdict.
"""

from __future__ import annotations

from dataclasses import dataclass

from facelet.faces import DEFAULT_DETECTOR
from facelet.faces.detectors import DETECTORS
from facelet.model import Card


@dataclass(frozen=True)
class Limit:
    """A threshold of a card.

    Attributes:
        threshold: squared distance in [0, 4].
        far: false accept rate that it was measured for, of a single pair.
    """

    threshold: float
    far: float


def limit_of_best(card: Card, far: float, n_pairs: int) -> Limit:
    """The card's threshold for the nearest of several pairs of faces.

    Each pair is one more chance for strangers to match, so the threshold is that of a rate of at most `far / n_pairs`
    (Bonferroni's bound, which holds however the pairs depend on each other). Where the card has none so small, it is
    that of `far`; the rate of the nearest pair is then up to `n_pairs` times as high.

    Args:
        card: of the model.
        far: false accept rate in (0, 1) that is wanted of the nearest pair.
        n_pairs: that are compared, at least 1.

    Raises:
        ModelError: the card holds no threshold for `far`.
    """
    wanted = Limit(card.threshold_at(far), far)
    if n_pairs == 1:
        return wanted
    rates = (rate for key in card.thresholds if (rate := float(key)) <= far / n_pairs * (1 + 1e-6))
    enough = max(rates, default=None)
    return wanted if enough is None else Limit(card.threshold_at(enough), enough)


def unmeasured(card: Card, detector: str, align: bool) -> str:
    """Why the card's rates were not measured with these settings; empty where they were.

    The thresholds of the shipped models hold for each of `DETECTORS` (docs/evaluation.md#what-the-rates-hold-for).

    Args:
        card: of the model.
        detector: name of the detector.
        align: whether faces are aligned.
    """
    if align and not card.calibration_aligned:
        return "the thresholds of this model were measured without alignment"
    if not align and card.calibration_aligned:
        return "the thresholds of this model were measured with alignment, and strangers match more often without it"
    calibrated = card.calibration_detector or DEFAULT_DETECTOR
    if detector != calibrated and not (detector in DETECTORS and calibrated in DETECTORS):
        return f"the thresholds of this model were measured with the detector {calibrated}, not with {detector}"
    return ""

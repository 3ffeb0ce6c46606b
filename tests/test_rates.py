"""Hand-computed: what a card's thresholds promise for the nearest of several pairs, and under which settings."""

from __future__ import annotations

import dataclasses

import pytest

from facelet.errors import ModelError
from facelet.rates import Limit, limit_of_best, unmeasured
from tiny_models import tiny_card

CARD = dataclasses.replace(tiny_card(), thresholds={"1e-2": 1.5, "1e-3": 1.25, "1e-4": 1.0})


@pytest.mark.parametrize(
    ("far", "n_pairs", "threshold", "rate"),
    [
        (1e-2, 1, 1.5, 1e-2),
        (1e-2, 2, 1.25, 1e-3),  # 0.005 is wanted, 0.001 is the next smaller one
        (1e-2, 10, 1.25, 1e-3),  # 0.001 is wanted and there
        (1e-2, 11, 1.0, 1e-4),
        (1e-3, 4, 1.0, 1e-4),
        (1e-3, 11, 1.25, 1e-3),  # nothing so small: that of the rate itself
        (1e-4, 2, 1.0, 1e-4),
    ],
)
def test_the_nearest_of_several_pairs(far: float, n_pairs: int, threshold: float, rate: float) -> None:
    assert limit_of_best(CARD, far, n_pairs) == Limit(threshold, rate)


def test_a_rate_that_the_card_lacks_is_refused() -> None:
    with pytest.raises(ModelError, match=r"no threshold for FAR 0\.05"):
        limit_of_best(CARD, 0.05, 3)


@pytest.mark.parametrize(
    ("calibrated", "aligned", "detector", "align", "reason"),
    [
        ("", True, "dlib_refined", True, ""),
        ("", True, "yunet", True, ""),
        ("", True, "dlib_refined", False, "measured with alignment"),
        ("", True, "own", True, "measured with the detector dlib_refined, not with own"),
        ("own", True, "own", True, ""),
        ("own", True, "yunet", True, "measured with the detector own, not with yunet"),
        ("yunet", False, "yunet", False, ""),
        ("yunet", False, "yunet", True, "measured without alignment"),
    ],
)
def test_settings_that_the_rates_were_not_measured_with(
    calibrated: str, aligned: bool, detector: str, align: bool, reason: str
) -> None:
    card = dataclasses.replace(CARD, calibration_detector=calibrated, calibration_aligned=aligned)
    told = unmeasured(card, detector, align)
    assert reason in told
    assert bool(told) == bool(reason)

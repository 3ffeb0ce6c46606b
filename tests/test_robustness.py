"""Invariant and hand-computed: each degradation does what its strength says and leaves the shape alone."""

from __future__ import annotations

import numpy as np
import pytest

from drawn_faces import draw_face
from facelet.errors import UnknownNameError
from facelet.evaluate.robustness import DEGRADATIONS, GREY, degrade

CROPS = np.stack([draw_face(seed, 112) for seed in range(3)])


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_more_of_it_is_farther_from_the_clean_crop(name: str) -> None:
    how = DEGRADATIONS[name]
    assert degrade(CROPS, name, how.clean) is CROPS
    away = sorted(how.strengths, key=lambda strength: abs(strength - how.clean))
    away = [strength for strength in away if (strength > how.clean) == (away[-1] > how.clean)]
    losses = []
    for strength in away:
        worse = degrade(CROPS, name, strength)
        assert worse.shape == CROPS.shape
        assert worse.dtype.name == "uint8"
        losses.append(float(np.abs(worse.astype(int) - CROPS).mean()))
    assert losses == sorted(losses)
    assert losses[0] > 0


def test_the_axis_holds_the_clean_strength_once() -> None:
    assert list(DEGRADATIONS["brightness"].axis) == [0.1, 0.25, 0.5, 1, 1.75, 2.5]
    assert all(how.axis.count(how.clean) == 1 for how in DEGRADATIONS.values())


def test_brightness_by_hand() -> None:
    crop = np.full((1, 2, 2, 3), 100, np.uint8)
    assert np.unique(degrade(crop, "brightness", 0.1)).tolist() == [10]
    assert np.unique(degrade(crop, "brightness", 2.5)).tolist() == [250]
    assert np.unique(degrade(crop + 20, "brightness", 2.5)).tolist() == [255]


@pytest.mark.parametrize("share", [0.05, 0.2, 0.4])
def test_the_cover_has_its_share_and_the_same_place_each_time(share: float) -> None:
    white = np.full((4, 100, 100, 3), 255, np.uint8)
    worse = degrade(white, "occlusion", share, seed=3)
    for crop in worse:
        assert (crop == GREY).all(axis=2).mean() == pytest.approx(share, abs=0.01)
    np.testing.assert_array_equal(worse, degrade(white, "occlusion", share, seed=3))
    assert not np.array_equal(worse[0], worse[1])
    assert not np.array_equal(worse, degrade(white, "occlusion", share, seed=4))


def test_blur_is_in_pixels_of_112() -> None:
    """A crop of twice the width is blurred by twice the pixels: shrunk, the two agree."""
    small = degrade(CROPS[:1], "blur", 3)[0].astype(int)
    large = degrade(CROPS[:1].repeat(2, axis=1).repeat(2, axis=2), "blur", 3)[0].astype(int)
    halved = large.reshape(112, 2, 112, 2, 3).mean(axis=(1, 3))
    assert np.abs(halved - small).mean() < 0.5


def test_resolution_leaves_so_many_pixels() -> None:
    checker = np.indices((112, 112)).sum(axis=0) % 2 * 255
    crop = np.repeat(checker[None, :, :, None], 3, axis=3).astype(np.uint8)
    worse = degrade(crop, "resolution", 16)
    assert worse.min() > 120  # 7x7 pixels to one: the checker is grey
    assert worse.max() < 135


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'blur'"):
        degrade(CROPS, "blurr", 1)

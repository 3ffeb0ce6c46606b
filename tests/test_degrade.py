"""Invariant: what is spoilt depends on seed, crop and epoch alone; the teachers' answers stay those of the view."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from drawn_faces import draw_face
from facelet.train.degrade import WAYS, degrade_some
from test_training_loop import distill_task

FACES = np.stack([draw_face(seed, 96) for seed in range(4)])


@pytest.mark.parametrize("way", WAYS)
def test_every_way_keeps_the_shape_and_changes_the_picture(way: object) -> None:
    for seed in range(20):
        for size in (96, 48):
            crop = np.ascontiguousarray(FACES[seed % 4][:size, :size])
            worse = way(crop, np.random.default_rng(seed))  # type: ignore[operator]
            assert worse.shape == crop.shape
            assert worse.dtype.name == "uint8"
            assert not np.array_equal(worse, crop)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_share_is_what_is_asked_for(share: float) -> None:
    pixels = np.repeat(FACES[:1], 400, axis=0)
    degrade_some(pixels, np.arange(400), 0, 0, share)
    worse = (pixels != FACES[0]).any(axis=(1, 2, 3)).mean()
    assert worse == pytest.approx(share, abs=0.08 if 0 < share < 1 else 0)


def test_a_crop_is_spoilt_alike_in_any_batch_and_anew_in_each_epoch() -> None:
    whole, part, later = FACES.copy(), FACES[2:].copy(), FACES.copy()
    degrade_some(whole, np.array([5, 6, 7, 8]), 1, 0, 1.0)
    degrade_some(part, np.array([7, 8]), 1, 0, 1.0)
    degrade_some(later, np.array([5, 6, 7, 8]), 2, 0, 1.0)
    np.testing.assert_array_equal(whole[2:], part)
    assert not np.array_equal(whole, later)


def test_the_student_alone_sees_it(tmp_path: Path) -> None:
    clean, worse = distill_task(tmp_path).batch(3), distill_task(tmp_path, degrade=1.0).batch(3)
    assert (clean.target == worse.target).all()
    assert (clean.crop == worse.crop).all()
    assert (clean.pixels != worse.pixels).any(dim=(1, 2, 3)).all()

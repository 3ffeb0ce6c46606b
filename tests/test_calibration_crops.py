"""Crops that calibrate and crops that measure: enough of them, different, and never the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from conftest import Ended
from facelet.errors import InputError
from facelet.quantize.split import FEWEST, MEASURED, different_rows, split_rows
from tiny_models import tiny_card, tiny_onnx, write_tiny

NOISE = np.random.default_rng(0).integers(0, 256, (300, 8, 8, 3), np.uint8)


def repeated(*counts: int) -> np.ndarray:
    """Crops of which the first is there so many times, and so on."""
    return np.repeat(NOISE[: len(counts)], counts, axis=0)


REFUSED = {
    "one crop": (repeated(1), 1),
    "black crops": (np.zeros((16, 8, 8, 3), np.uint8), 1),
    "seven crops": (NOISE[:7], 7),
    "seven crops, one of them forty times": (repeated(1, 1, 1, 40, 1, 1, 1), 7),
    "none": (NOISE[:0], 0),
}


@pytest.mark.parametrize(("crops", "count"), REFUSED.values(), ids=REFUSED)
def test_fewer_than_eight_different_crops_are_refused(crops: np.ndarray, count: int) -> None:
    with pytest.raises(InputError, match=rf"faces: holds {count} different crops; give 8 or more"):
        different_rows(crops, 64, 0, "faces")


def test_equal_crops_count_once() -> None:
    rows = different_rows(repeated(*[3] * 20), 64, 0, "faces")
    assert len(rows) == 20
    assert len({int(row) // 3 for row in rows}) == 20


@pytest.mark.parametrize(
    ("n", "wanted", "seen", "unseen"),
    [(8, 64, 6, 2), (40, 64, 30, 10), (64, 64, 48, 16),
      (100, 64, 64, 36), (128, 64, 64, 64), (300, 64, 64, 64), (300, 8, 8, 64)],
)  # fmt: skip
def test_crops_that_measure_are_others(n: int, wanted: int, seen: int, unseen: int) -> None:
    rows = different_rows(NOISE[:n], wanted + MEASURED, 0, "faces")
    calibrating, measuring = split_rows(rows, wanted)
    assert (len(calibrating), len(measuring)) == (seen, unseen)
    assert not {*calibrating} & {*measuring}
    assert (np.diff(calibrating) > 0).all()
    assert (np.diff(measuring) > 0).all()
    assert n >= FEWEST


def test_a_large_set_calibrates_as_it_did_before_some_measured() -> None:
    rows = different_rows(NOISE, 64 + MEASURED, 3, "faces")
    np.testing.assert_array_equal(
        split_rows(rows, 64)[0], np.sort(np.random.default_rng(3).permutation(len(NOISE))[:64])
    )


def folder_of(crops: np.ndarray, folder: Path) -> Path:
    folder.mkdir()
    for number, crop in enumerate(crops):
        cv2.imwrite(str(folder / f"{number}.png"), crop)
    return folder


def test_the_command_refuses_one_crop_and_tells_what_was_measured(cli: Callable[..., Ended], tmp_path: Path) -> None:
    model = write_tiny(tmp_path / "m.onnx", tiny_card(height=16, width=16), tiny_onnx(16, 16))
    out = tmp_path / "q.onnx"
    for name, crops in (("one", NOISE[:1]), ("black", np.zeros((9, 8, 8, 3), np.uint8)), ("same", repeated(12))):
        folder = folder_of(crops, tmp_path / name)
        ended = cli("quantize", model, "--calibration", folder, "--aligned", "--out", out)
        assert (ended.code, ended.err.count("\n")) == (2, 1), ended.err
        assert f"{folder}: holds 1 different crops; give 8 or more" in ended.err
        assert not out.exists()
    folder = folder_of(NOISE[:20], tmp_path / "enough")
    ended = cli("quantize", model, "--calibration", folder, "--aligned", "--out", out, "--json")
    assert ended.code == 0, ended.err
    told = json.loads(ended.out)
    assert (told["calibration_crops"], told["measured_crops"]) == (15, 5)
    assert told["embedding_error"] != told["embedding_error_seen"]
    plain = cli("quantize", model, "--calibration", folder, "--aligned", "--out", out)
    assert "on 5 crops that the calibration on 15 others did not see" in " ".join(plain.out.split())


def test_pruned_channels_are_not_chosen_by_one_crop(cli: Callable[..., Ended], tmp_path: Path) -> None:
    folder = folder_of(NOISE[:3], tmp_path / "few")
    out = tmp_path / "p.onnx"
    ended = cli("prune", "facelet_xs", "--channels", "0.5", "--calibration", folder, "--aligned", "--out", out)
    assert ended.code == 2
    assert "holds 3 different crops; give 8 or more" in ended.err

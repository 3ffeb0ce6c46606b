"""Hand-computed and invariant: quality of faces, verdicts that depend on it, and the ways in which photos are bad."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import facelet
from drawn_faces import draw_face, write_photo
from facelet.data.synthetic import FaceModel
from facelet.embedder import Embedder
from facelet.evaluate import troubles
from facelet.evaluate.troubles import TROUBLES
from facelet.faces.detect import Face
from facelet.faces.detectors import default_detector
from facelet.faces.quality import (
    FULL_SHIFT,
    MIN_QUALITY,
    TABLE,
    Quality,
    face_quality,
    judge,
    quality_of,
    steps_outside,
)
from facelet.faces.quality_measures import CANVAS, crop_measures
from facelet.photo_clusters import SortOptions, sort_photos
from facelet.trouble_benchmark import judge_all
from tiny_models import photo_model

Photo = NDArray[np.uint8]
FRONTAL = {"misfit": 0.03, "eyes_px": 3.7}


def quality(score: float) -> Quality:
    return Quality(score, (), 64.0)


@pytest.fixture(scope="module")
def faces() -> list[tuple[Photo, Face]]:
    """Synthetic faces that are clear."""
    people, found = FaceModel.load(), []
    for index in range(40):
        picture, points = people.render(people.sample_identity(0, index), 0)
        x0, y0 = points.min(axis=0)
        face = Face((x0 - 20, y0 - 30, x0 + 56, y0 + 70), 1.0, np.asarray(points, np.float64), "five")
        if face_quality(picture, face).score > 0.85:
            found.append((picture, face))
    return found[:3]


@pytest.fixture(scope="module")
def photo(faces: list[tuple[Photo, Face]]) -> Photo:
    return faces[0][0]


@pytest.fixture(scope="module")
def face(faces: list[tuple[Photo, Face]]) -> Face:
    return faces[0][1]


def test_steps_count_outside_the_range_only() -> None:
    far = partial(steps_outside, edge=2.0, unit=0.5, most=3.0)
    assert [far(value, low=True) for value in (3.0, 2.0, 1.5, -9.0)] == [0, 0, 1, 3]
    assert [far(value, low=False) for value in (1.0, 2.0, 2.75, 9.0)] == [0, 0, 1.5, 3]


def test_table_is_sound() -> None:
    table = json.loads(TABLE.read_text(encoding="utf-8"))
    assert all(term["weight"] >= 0 and term["unit"] > 0 and term["most_steps"] > 0 for term in table["terms"])
    measured = crop_measures(np.full((CANVAS, CANVAS, 3), 128, np.uint8)).keys() | {"misfit", "eyes_px"}
    assert {term["measure"] for term in table["terms"]} <= measured


def test_clear_faces_keep_the_threshold() -> None:
    # 1.0 < 1.2; 1.2 is not below it
    assert judge(1.0, 1.2, quality(1.0), quality(1.0)) == judge(1.0, 1.2, quality(1.0), quality(0.8))
    assert judge(1.0, 1.2, quality(1.0), quality(1.0)).same
    away = judge(1.2, 1.2, quality(1.0), quality(1.0))
    assert (away.same, away.uncertain, away.threshold) == (False, False, 1.2)


def test_two_unclear_faces_have_to_be_nearer() -> None:
    # quality 0.75: strangers 0.25 * 0.3 = 0.075 more alike, so squared distances 0.15 smaller: 1.05 of 1.2
    found = judge(1.1, 1.2, quality(0.75), quality(0.75))
    assert found.threshold == pytest.approx(1.05)
    assert (found.same, found.uncertain) == (False, True)
    assert judge(1.0, 1.2, quality(0.75), quality(0.75)).same
    far = judge(1.3, 1.2, quality(0.75), quality(0.75))
    assert (far.same, far.uncertain) == (False, False)


@pytest.mark.parametrize("distance", [0.0, 0.9, 3.0])
def test_a_poor_face_leaves_every_verdict_open(distance: float) -> None:
    found = judge(distance, 1.2, quality(1.0), quality(MIN_QUALITY - 0.01))
    assert (found.same, found.uncertain) == (False, True)


def test_arrays_are_judged_as_single_pairs_are() -> None:
    random = np.random.default_rng(1)
    distances, a, b = random.uniform(0, 2, 200), random.random(200), random.random(200)
    verdicts = judge_all(distances, 1.2, a, b)
    single = [judge(d, 1.2, quality(x), quality(y)) for d, x, y in zip(distances, a, b, strict=True)]
    assert verdicts.same.tolist() == [one.same for one in single]
    assert verdicts.uncertain.tolist() == [one.uncertain for one in single]
    assert verdicts.near.tolist() == (distances < 1.2).tolist()


KINDS = ("blur 4", "enlarged 13", "pixelated 16", "noise 40", "grain 30", "dark 0.05", "fog 0.15", "shaken 21")


@pytest.mark.parametrize("name", KINDS)
def test_quality_falls_with_every_kind_of_trouble(faces: list[tuple[Photo, Face]], name: str) -> None:
    assert len(faces) == 3
    for number, (picture, face) in enumerate(faces):
        worse = TROUBLES[name].apply(picture, face.landmarks, np.random.default_rng(number))
        assert face_quality(worse, face).score < face_quality(picture, face).score - 0.1


def test_true_resolution_follows_the_width_a_face_was_enlarged_from(photo: Photo, face: Face) -> None:
    widths = (9, 13, 18)
    told = [
        face_quality(troubles.enlarged(photo, face.landmarks, np.random.default_rng(0), width), face).resolution
        for width in widths
    ]
    assert told == sorted(told)
    assert all(0.6 < one / width < 1.7 for one, width in zip(told, widths, strict=True))


def test_resolution_is_at_most_that_of_the_photo(photo: Photo, face: Face) -> None:
    small = np.asarray(cv2.resize(photo, None, fx=0.1, fy=0.1, interpolation=cv2.INTER_AREA), np.uint8)
    points = (face.landmarks + 0.5) * 0.1 - 0.5
    width = 3.18 * float(np.linalg.norm(points[1] - points[0]))
    assert face_quality(small, Face(face.box, 1.0, points, "five")).resolution <= width + 0.1


def test_the_worst_cause_comes_first(photo: Photo, face: Face) -> None:
    worse = troubles.blurred(photo, face.landmarks, np.random.default_rng(0), 6)
    found = face_quality(worse, face)
    assert found.causes[0] == "blurred"
    assert f"{found.resolution:.0f} pixels" in str(found)


def test_an_even_picture_is_poor() -> None:
    for level in (0, 128, 255):
        assert quality_of({**crop_measures(np.full((CANVAS, CANVAS, 3), level, np.uint8)), **FRONTAL}).poor


def test_shift_is_what_the_score_lacks() -> None:
    assert quality(1.0).shift == 0
    assert quality(0.0).shift == FULL_SHIFT
    assert (
        quality_of({**crop_measures(np.zeros((CANVAS, CANVAS, 3), np.uint8)), "misfit": 9.0, "eyes_px": 1.0}).score == 0
    )


@pytest.mark.parametrize("name", TROUBLES)
def test_troubles_give_photos_and_repeat(photo: Photo, face: Face, name: str) -> None:
    once, again = (TROUBLES[name].apply(photo.copy(), face.landmarks, np.random.default_rng(3)) for _ in range(2))
    assert once.dtype == np.uint8
    assert once.ndim == 3
    assert once.shape[2] == 3
    assert np.array_equal(once, again)
    assert (name == "clean") == (once.shape == photo.shape and np.array_equal(once, photo))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_blurred_photos_are_uncertain_and_say_why(tmp_path: Path, seed: int) -> None:
    model = photo_model(tmp_path / "m.onnx")
    clear = draw_face(seed)
    blurred = np.asarray(cv2.GaussianBlur(clear, (0, 0), 5), np.uint8)
    found = facelet.verify(blurred, blurred, model=model)
    assert (found.same, found.uncertain, found.verdict) == (False, True, "uncertain")
    assert any("blurred" in note for note in found.notes)
    assert all(face.quality is not None and face.quality.poor for face in found.faces)
    assert facelet.verify(clear, clear, model=model).verdict == "same person"


def test_unclear_faces_are_set_apart(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in (1, 2):
        write_photo(folder / f"clear{seed}.png", draw_face(seed))
        blurred = cv2.GaussianBlur(draw_face(seed), (0, 0), 5)
        write_photo(folder / f"blurred{seed}.png", np.asarray(blurred, np.uint8))
    embedder = Embedder.load(photo_model(tmp_path / "m.onnx"))
    record = sort_photos(SortOptions(folder, tmp_path / "out", 1.0), embedder, default_detector())
    apart = {entry["photo"] for entry in record["unclear"]}
    assert apart == {"blurred1.png", "blurred2.png"}
    assert all((tmp_path / "out" / entry["file"]).is_file() and entry["causes"] for entry in record["unclear"])
    sorted_ = {face["photo"] for person in record["people"] for face in person["faces"]}
    assert sorted_ == {"clear1.png", "clear2.png"}
    assert "too unclear to compare" in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")

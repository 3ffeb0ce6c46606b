"""Oracle and invariant: the similarity fit against known transforms and dlib's own chips; warps that keep places."""

from __future__ import annotations

import cv2
import dlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from drawn_faces import draw_face
from facelet.assets import packaged_dlib_file
from facelet.errors import InputError, UnknownNameError
from facelet.faces.align import align, box_crop, center_crop, reframe, square_crop
from facelet.faces.detect import Face
from facelet.faces.landmarks import five_of_dlib5
from facelet.faces.similarity import similarity
from facelet.faces.templates import SCHEMES, TEMPLATES, load_template

ARCFACE = TEMPLATES["arcface"].points["five"]


def smooth(height: int, width: int) -> NDArray[np.uint8]:
    """A photo of slow waves: sampling it between pixels is exact to about one grey level."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [128 + 100 * np.sin(x / a + y / b) for a, b in ((19, 31), (37, 17), (23, 29))]
    return np.stack(waves, axis=-1).round().astype(np.uint8)


def moved(points: NDArray[np.float64], scale: float, turn: float, x: float, y: float) -> NDArray[np.float64]:
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    return np.asarray(points @ np.array([[cos, sin], [-sin, cos]]) + [x, y])


@settings(max_examples=100, deadline=None)
@given(
    scale=st.floats(0.05, 20),
    turn=st.floats(-np.pi, np.pi),
    x=st.floats(-1000, 1000),
    y=st.floats(-1000, 1000),
)
def test_similarity_finds_the_transform_that_was_applied(scale: float, turn: float, x: float, y: float) -> None:
    matrix = similarity(ARCFACE, moved(ARCFACE, scale, turn, x, y))
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    np.testing.assert_allclose(matrix, [[cos, -sin, x], [sin, cos, y]], atol=1e-8 * max(scale, 1) * 1000)


def test_similarity_is_the_least_squares_fit() -> None:
    """Oracle: the same four unknowns by NumPy's general least squares."""
    random = np.random.default_rng(3)
    source, target = random.normal(0, 30, (5, 2)), random.normal(50, 30, (5, 2))
    rows, right = [], []
    for (x, y), (u, v) in zip(source, target, strict=True):
        rows += [[x, -y, 1, 0], [y, x, 0, 1]]
        right += [u, v]
    a, b, tx, ty = np.linalg.lstsq(np.array(rows), np.array(right), rcond=None)[0]
    np.testing.assert_allclose(similarity(source, target), [[a, -b, tx], [b, a, ty]], atol=1e-9)


@pytest.mark.parametrize(
    ("landmarks", "points"),
    [
        (np.zeros((5, 2)), ARCFACE),
        (np.full((5, 2), np.nan), ARCFACE),
        (np.zeros((4, 2)), ARCFACE),
        (np.zeros((1, 2)), np.zeros((1, 2))),
        (np.zeros((5, 3)), np.zeros((5, 3))),
    ],
)
def test_landmarks_that_tell_nothing_are_refused(landmarks: NDArray[np.float64], points: NDArray[np.float64]) -> None:
    with pytest.raises(InputError, match="similarity: "):
        similarity(landmarks, points)


@pytest.mark.parametrize(
    ("name", "scheme"), [("arcface", "five"), ("arcface_narrow", "five"), *(("dlib", scheme) for scheme in SCHEMES)]
)
def test_templates_look_like_a_face(name: str, scheme: str) -> None:
    template = load_template(name)
    points = template.points[scheme]
    assert points.shape == (5, 2)
    assert (points > 0).all()
    assert (points < template.canvas).all()


def test_eyes_lie_between_their_corners() -> None:
    template = load_template("dlib")
    five, dlib5 = template.points["five"], template.points["dlib5"]
    np.testing.assert_allclose(dlib5[2:4].mean(axis=0), five[0], atol=0.05 * template.canvas)
    np.testing.assert_allclose(dlib5[:2].mean(axis=0), five[1], atol=0.05 * template.canvas)


def test_five_points_are_told_from_those_of_dlib() -> None:
    """An upright face of dlib's mean shape has the eyes, nose and mouth of the template of the field."""
    upright = load_template("dlib").points["dlib5"]
    turned = upright @ np.array([[0.0, 0.5], [-0.5, 0.0]]) + [200, 30]  # half as large, by a quarter turn
    five = five_of_dlib5(upright)
    np.testing.assert_allclose(five_of_dlib5(turned), five @ np.array([[0.0, 0.5], [-0.5, 0.0]]) + [200, 30], atol=1e-9)
    matrix = similarity(five, ARCFACE)
    np.testing.assert_allclose(five @ matrix[:, :2].T + matrix[:, 2], ARCFACE, atol=3)
    assert (five[:2, 1] < five[2, 1]).all()
    assert (five[2, 1] < five[3:, 1]).all()


def test_the_nose_of_a_turned_head_leads_the_mouth() -> None:
    """Turning the head moves the base of the nose sideways between the eyes; tip of the nose and mouth go along."""
    upright = load_template("dlib").points["dlib5"]
    aside = upright + np.array([[0, 0]] * 4 + [[8, 0]])
    moved = (five_of_dlib5(aside) - five_of_dlib5(upright))[:, 0]
    assert moved[2] > 8
    assert (moved[3:] > 0).all()


def test_dlib_landmarks_align_to_a_template_of_five() -> None:
    photo, points = smooth(200, 200), load_template("dlib").points["dlib5"] + 20
    by_dlib = align(photo, Face((0, 0, 1, 1), 1.0, points, "dlib5"), "arcface", 96, 96)
    by_five = align(photo, Face((0, 0, 1, 1), 1.0, five_of_dlib5(points), "five"), "arcface", 96, 96)
    np.testing.assert_array_equal(by_dlib, by_five)


def test_unknown_template_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'arcface'"):
        load_template("arcfase")


@pytest.mark.parametrize(("size", "turn"), [(112, 0.0), (112, 0.6), (96, -0.3), (48, 0.2), (200, 2.0)])
def test_aligned_pixels_come_from_where_the_template_says(size: int, turn: float) -> None:
    """Oracle: each output pixel against the photo sampled by hand at its place."""
    photo = smooth(300, 320)
    landmarks = moved(ARCFACE, 1.3, turn, 0, 0)
    landmarks += np.array([160, 150]) - landmarks.mean(axis=0)
    face = Face((0, 0, 1, 1), 1.0, landmarks, "five")
    crop = align(photo, face, "arcface", size, size)
    inverse = np.linalg.inv(np.vstack([similarity(landmarks, ARCFACE), [0, 0, 1]]))
    for row in range(10, size - 10, size // 7):
        for column in range(10, size - 10, size // 7):
            canvas = (np.array([column, row]) + 0.5) * 112 / size - 0.5
            x, y = (inverse @ [*canvas, 1])[:2]
            expected = cv2.getRectSubPix(photo, (1, 1), (x, y))[0, 0]
            np.testing.assert_allclose(crop[row, column].astype(int), expected.astype(int), atol=4)


def test_narrow_template_is_the_middle_columns() -> None:
    photo = smooth(200, 200)
    face = Face((0, 0, 1, 1), 1.0, ARCFACE + 40, "five")
    whole = align(photo, face, "arcface", 112, 112)
    narrow = align(photo, face, "arcface_narrow", 112, 96)
    np.testing.assert_array_equal(narrow, whole[:, 8:104])
    np.testing.assert_array_equal(whole, photo[40:152, 40:152])


def test_shrinking_is_antialiased() -> None:
    """Noise of many pixels per output pixel averages out instead of flickering."""
    noise = np.random.default_rng(0).integers(0, 256, (2000, 2000, 3), dtype=np.uint8)
    face = Face((0, 0, 1, 1), 1.0, ARCFACE * 17, "five")
    crop = align(noise, face, "arcface", 112, 112)
    assert crop.std() < 8
    assert abs(crop.mean() - 127.5) < 2


def test_dlib_template_is_dlibs_own_chip() -> None:
    """Oracle: dlib's `get_face_chip`."""
    photo = draw_face(1, 300)
    predictor = dlib.shape_predictor(str(packaged_dlib_file("shape_predictor_5_face_landmarks.dat")))
    shape = predictor(photo, dlib.rectangle(70, 80, 230, 240))
    chip = dlib.get_face_chip(photo, shape, size=150, padding=0.25)
    landmarks = np.array([[part.x, part.y] for part in shape.parts()], dtype=np.float64)
    ours = align(photo, Face((0, 0, 1, 1), 1.0, landmarks, "dlib5"), "dlib", 150, 150)
    assert np.abs(chip.astype(int) - ours.astype(int)).mean() < 1.5


def test_border_pixels_are_repeated() -> None:
    photo = np.full((40, 40, 3), 200, dtype=np.uint8)
    crop = align(photo, Face((0, 0, 1, 1), 1.0, ARCFACE * 0.5 - 30, "five"), "arcface", 64, 64)
    assert (crop == 200).all()


def test_box_template_is_the_box_crop() -> None:
    photo = smooth(200, 200)
    face = Face((60, 50, 120, 140), 1.0, ARCFACE, "five")
    np.testing.assert_array_equal(align(photo, face, "box", 96, 96), box_crop(photo, face, 96, 96))


def test_square_and_center_crop_cut_what_they_say() -> None:
    photo = np.random.default_rng(1).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    # rows 5..14, columns 10..19: the centre of pixels 10..19 is 14.5
    np.testing.assert_array_equal(square_crop(photo, 14.5, 9.5, 10, 10, 10), photo[5:15, 10:20])
    np.testing.assert_array_equal(center_crop(photo, 30, 30, fraction=1.0), photo[:, 10:40])


def test_landmarks_of_no_known_scheme_are_refused() -> None:
    with pytest.raises(InputError, match="no way from landmarks 'sixty-eight' to the five"):
        align(smooth(50, 50), Face((0, 0, 9, 9), 1.0, ARCFACE, "sixty-eight"), "arcface", 112, 112)


def test_reframe_cuts_and_turns_the_canvas() -> None:
    crop = smooth(112, 112)
    np.testing.assert_array_equal(reframe(crop, "arcface", 112, 112), crop)
    np.testing.assert_array_equal(reframe(crop, "arcface_narrow", 112, 96), crop[:, 8:104])
    through_landmarks = align(crop, Face((0, 0, 1, 1), 1.0, ARCFACE, "five"), "dlib", 150, 150)
    np.testing.assert_array_equal(reframe(crop, "dlib", 150, 150), through_landmarks)

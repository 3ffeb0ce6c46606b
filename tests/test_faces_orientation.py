"""Invariant: a turned photo gives the faces of the upright one, in its own pixels; a face that is not clear, none."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from drawn_faces import draw_face
from facelet.faces.align import align
from facelet.faces.detect import DlibDetector, Face, YuNetDetector
from facelet.faces.landmarks import five_landmarks
from facelet.faces.orientation import find_faces
from facelet.faces.templates import TEMPLATES
from facelet.faces.turns import DIAGONALS, QUARTERS, moved_face, turned, turned_back, upright_square

POINTS = TEMPLATES["arcface"].points["five"]
RED, BLUE = (255, 0, 0), (0, 0, 255)


class Marked:
    """Finds faces whose upper half is red and lower half blue; those that are turned with a lower score.

    Args:
        scores: by how far the face is from upright: 0, 45, 90, 135 or 180 degrees; absent is not found.
    """

    name, version = "marked", "1"

    def __init__(self, scores: dict[int, float]) -> None:
        self.scores = scores
        self.looks = 0

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        self.looks += 1
        wide = image.astype(int)
        red = (wide[..., 0] - wide[..., 2] > 120).astype(np.uint8)
        blue = (wide[..., 2] - wide[..., 0] > 120).astype(np.uint8)
        count, _, stats, centers = cv2.connectedComponentsWithStats(red | blue)
        faces = []
        for number in range(1, count):
            x, y, width, height, area = (int(v) for v in stats[number])
            if area < 100:
                continue
            part = (slice(y, y + height), slice(x, x + width))
            rows, columns = np.mgrid[part]
            tops = np.array([np.average(grid, weights=red[part] + 1e-9) for grid in (columns, rows)])
            down = centers[number] - tops
            off = round(abs(np.degrees(np.arctan2(down[0], down[1]))) / 45) * 45
            if off in self.scores:
                box = (float(x), float(y), float(x + width), float(y + height))
                points = POINTS / 112 * [width, height] + [x, y]
                faces.append(Face(box, self.scores[off], points, "five"))
        return faces

    def guess(self, image: NDArray[np.uint8]) -> Face | None:
        raise AssertionError("photos may show nobody: nothing is guessed")


def photo_of(*places: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """A photo, 300 wide and 200 high, with marked faces at (x, y), of a side, turned counterclockwise by quarters."""
    photo = np.full((200, 300, 3), 90, np.uint8)
    for x, y, side, quarters in places:
        face = np.empty((side, side, 3), np.uint8)
        face[: side // 2], face[side // 2 :] = RED, BLUE
        photo[y : y + side, x : x + side] = np.rot90(face, quarters)
    return photo


@pytest.mark.parametrize("turn", QUARTERS)
@pytest.mark.parametrize("shape", [(200, 300), (31, 17), (64, 64)])
def test_points_of_a_turned_photo_are_brought_back(turn: int, shape: tuple[int, int]) -> None:
    """A white pixel is found where it is, whichever way the photo is turned."""
    photo = np.zeros((*shape, 3), np.uint8)
    photo[5, 11] = 255
    y, x = np.argwhere(turned(photo, turn)[..., 0])[0]
    seen = Face((x, y, x + 1, y + 1), 1.0, np.full((5, 2), [x, y], float), "five", np.full((5, 2), [x, y], float))
    back = turned_back(seen, turn, *shape)
    assert list(back.box) == [11, 5, 12, 6]
    np.testing.assert_array_equal(back.landmarks, np.full((5, 2), [11, 5]))
    np.testing.assert_array_equal(np.asarray(back.refined), back.landmarks)
    assert back.turn == turn


@pytest.mark.parametrize("turn", [*QUARTERS, *DIAGONALS])
def test_a_face_in_a_turned_square_is_brought_back(turn: int) -> None:
    matrix = upright_square((70.0, 40.0), 50.0, turn, 100)
    inside = np.full((5, 2), 49.5)
    back = moved_face(Face((40, 30, 60, 70), 1.0, inside, "five"), matrix, turn)
    np.testing.assert_allclose(back.landmarks, np.full((5, 2), [70.0, 40.0]))
    x0, y0, x1, y1 = back.box
    assert ((x0 + x1) / 2, (y0 + y1) / 2) == pytest.approx((70.5, 40.5))
    assert (x1 - x0) * (y1 - y0) == pytest.approx(10 * 20)
    assert ((x1 - x0) > (y1 - y0)) == (turn in (90, 270))
    # what is right of the square's centre lies, for a photo that needs a quarter turn clockwise, above it in the photo
    right = moved_face(Face((0, 0, 1, 1), 1.0, inside + np.array([10, 0]), "five"), matrix, turn).landmarks[0] - [
        70,
        40,
    ]
    angle = np.radians(-turn)
    np.testing.assert_allclose(right, 5 * np.array([np.cos(angle), np.sin(angle)]), atol=1e-9)


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
@pytest.mark.parametrize(
    "scores",
    [{0: 0.95}, {0: 0.95, 90: 0.8, 180: 0.88}, {0: 0.9, 180: 0.7}, {0: 0.95, 45: 0.9, 90: 0.91, 135: 0.8, 180: 0.91}],
    ids=["finds upright faces only", "finds turned ones with lower scores", "is nowhere certain", "finds all"],
)
def test_a_turned_photo_gives_the_face_of_the_upright_one(quarters: int, scores: dict[int, float]) -> None:
    upright = photo_of((60, 50, 80, 0))
    given = np.ascontiguousarray(np.rot90(upright, quarters))
    found = find_faces(given, Marked(scores))
    (face,) = found.faces
    assert face.turn == 90 * quarters  # rot90 turns counterclockwise
    expected = Marked(scores).detect(upright)[0]
    cut = align(upright, expected, "arcface", 64, 64).astype(int)
    assert np.abs(align(given, face, "arcface", 64, 64) - cut).mean() < 2
    box = align(upright, expected, "box", 64, 48).astype(int)
    assert np.abs(align(given, face, "box", 64, 48) - box).mean() < 6, "up to a pixel of shift"
    x0, y0, x1, y1 = face.box
    middle = given[round((y0 + y1) / 2) - 10, round((x0 + x1) / 2) - 10]
    assert middle.tolist() in [list(RED), list(BLUE)], "the box is in the given photo's pixels"


def test_a_certain_face_costs_one_look() -> None:
    detector = Marked({0: 0.95, 180: 0.9})
    assert len(find_faces(photo_of((20, 50, 80, 0), (200, 50, 60, 0)), detector).faces) == 2
    assert detector.looks == 1


@pytest.mark.parametrize(
    "scores",
    [
        {0: 0.7, 90: 0.55},  # not clear in any orientation
        {0: 0.85, 180: 0.845},  # two orientations alike
        {90: 0.87, 180: 0.7},  # found on its side alone
        {180: 0.75},  # found upside down alone
    ],
)
@pytest.mark.parametrize("quarters", [0, 1, 2])
def test_a_face_that_no_orientation_shows_for_certain_is_doubtful(scores: dict[int, float], quarters: int) -> None:
    found = find_faces(np.ascontiguousarray(np.rot90(photo_of((60, 50, 80, 0)), quarters)), Marked(scores))
    assert found.faces == ()


@pytest.mark.parametrize("score", [0.82, 0.85, 0.91])
def test_a_face_that_only_the_whole_photo_shows_is_taken(score: float) -> None:
    """The second look finds nothing, and no other orientation of the photo does: nothing speaks against it."""
    photo = photo_of((60, 50, 80, 0))

    class WholePhotos(Marked):
        def detect(self, image: NDArray[np.uint8]) -> list[Face]:
            return super().detect(image) if image.shape == photo.shape else []

    (face,) = find_faces(photo, WholePhotos({0: score})).faces
    assert face.turn == 0
    assert find_faces(photo, WholePhotos({0: score, 180: 0.6})).faces == (), "the photo turned by 180 shows one too"
    assert find_faces(photo, WholePhotos({0: 0.7})).faces == (), "not clear"


def test_somebody_who_lies_down_beside_others_is_turned_alone() -> None:
    detector = Marked({0: 0.95, 90: 0.8, 180: 0.8})
    standing, lying = find_faces(photo_of((40, 30, 90, 0), (200, 100, 70, 1)), detector).faces
    assert (standing.turn, lying.turn) == (0, 90)
    assert lying.box == pytest.approx((200, 100, 270, 170), abs=3)
    (main,) = find_faces(photo_of((40, 30, 90, 0), (200, 100, 70, 1)), detector, every=False).faces
    assert main.box == standing.box


def test_an_empty_photo_has_no_faces() -> None:
    found = find_faces(photo_of(), Marked({0: 0.95}))
    assert (found.faces, found.doubtful, found.n_found) == ((), (), 0)


@pytest.mark.parametrize("turn", [90, 180, 270])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_dlib_finds_drawn_faces_that_are_turned(turn: int, seed: int) -> None:
    detector = DlibDetector()
    upright = draw_face(seed, 240)[:, 10:]
    (expected,) = detector.detect(np.ascontiguousarray(upright))
    (face,) = find_faces(turned(np.ascontiguousarray(upright), 360 - turn), detector).faces
    assert face.turn == turn
    there = turned_back(expected, turn, *turned(upright, 360 - turn).shape[:2])
    np.testing.assert_allclose(five_landmarks(face), five_landmarks(there), atol=1e-6)
    assert face.box == pytest.approx(there.box)


@pytest.mark.data
@pytest.mark.parametrize("degrees", [45, 90, 135, 180, 225, 270, 315])
def test_yunet_brings_drawn_faces_upright(data_dir: Path, degrees: int) -> None:
    detector = YuNetDetector(data_dir / "detectors" / "yunet_n_dynamic.onnx")
    upright = draw_face(0, 240)
    (expected,) = find_faces(upright, detector).faces
    matrix = cv2.getRotationMatrix2D((119.5, 119.5), degrees, 1.0)  # counterclockwise
    (face,) = find_faces(
        np.asarray(cv2.warpAffine(upright, matrix, (240, 240), borderMode=1), np.uint8), detector
    ).faces
    assert face.turn == degrees
    there = expected.landmarks @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(face.landmarks, there, atol=12)

"""Hand-computed: which face of a photo is meant, whichever detector found them."""

from __future__ import annotations

import numpy as np
import pytest

from facelet.errors import InputError
from facelet.faces.detect import Face
from facelet.faces.selection import CLEAR, by_merit, certainty, main_face, visible_area

SURE = {"five": 0.93, "dlib5": 1.4}
UNSURE = {"five": 0.55, "dlib5": -0.4}


def face(box: tuple[float, float, float, float], score: float, scheme: str) -> Face:
    return Face(box, score, np.zeros((5, 2)), scheme)


def around(x: float, y: float, side: float, score: float, scheme: str) -> Face:
    return face((x - side / 2, y - side / 2, x + side / 2, y + side / 2), score, scheme)


def test_pixels_outside_the_photo_do_not_count() -> None:
    # 100 x 100, of which 40 x 70 lie in a photo 200 wide and 90 high
    assert visible_area(face((160, 20, 260, 120), 1.0, "five"), 90, 200) == 40 * 70
    assert visible_area(face((-30, -10, 20, 30), 1.0, "five"), 90, 200) == 20 * 30
    assert visible_area(face((-50, 0, -10, 40), 1.0, "five"), 90, 200) == 0


@pytest.mark.parametrize("scheme", ["five", "dlib5"])
@pytest.mark.parametrize(
    ("main", "other"),
    [
        ((300, 300, 200), (500, 300, 60)),  # a passer-by at the centre of a photo of 1000 x 600
        ((400, 250, 150), (950, 300, 260)),  # half a face that the border cuts
        ((500, 300, 120), (900, 100, 140)),  # a slightly larger one in a corner
        ((420, 300, 160), (500, 300, 100)),  # a small one in front of the middle
    ],
)
def test_the_main_face(scheme: str, main: tuple[int, int, int], other: tuple[int, int, int]) -> None:
    expected, beside = around(*main, SURE[scheme], scheme), around(*other, SURE[scheme], scheme)
    assert main_face([beside, expected], 600, 1000) is expected
    assert by_merit([beside, expected], 600, 1000) == [expected, beside]


@pytest.mark.parametrize("scheme", ["five", "dlib5"])
def test_a_large_box_of_low_score_is_not_the_main_face(scheme: str) -> None:
    false = around(500, 300, 330, UNSURE[scheme], scheme)
    real = around(350, 250, 120, SURE[scheme], scheme)
    assert certainty(false) < CLEAR
    assert main_face([false, real], 600, 1000) is real
    assert main_face([false], 600, 1000) is false


def test_certainty_compares_detectors() -> None:
    """1 from the score on that no turned face reached, 0 at the lower end; never outside."""
    for scheme, scores in {"five": (0.1, 0.5, 0.71, 0.92, 1.0), "dlib5": (-1.5, -1.0, -0.05, 0.9, 3.0)}.items():
        values = [certainty(around(0, 0, 10, score, scheme)) for score in scores]
        assert values == pytest.approx([0, 0, 0.5, 1, 1])


def test_no_faces_and_unknown_landmarks_are_refused() -> None:
    with pytest.raises(InputError, match="no faces"):
        main_face([], 200, 200)
    with pytest.raises(InputError, match="no scale of certainty; known: five, dlib5"):
        certainty(around(0, 0, 10, 1.0, "sixty_eight"))

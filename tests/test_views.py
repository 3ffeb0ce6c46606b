"""Views are functions of (seed, image, view): invariants, and geometry against hand-computed places."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facelet.data.views import (
    BOX_LOG_SCALE,
    BOX_SHIFT_X,
    BOX_SHIFT_Y,
    N_UNIFORMS,
    RECIPES,
    ViewRecipe,
    uniforms,
    view_inputs,
)
from facelet.faces.canvas import canvas_matrix
from facelet.faces.templates import TEMPLATES

CROPS = np.random.default_rng(0).integers(0, 256, (6, 128, 128, 3), dtype=np.uint8)
MATRIX = canvas_matrix("arcface", 96, 96)
STILL = ViewRecipe(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)


def draw(index: list[int], view: list[int], recipe: ViewRecipe = RECIPES["mixing"], seed: int = 3) -> np.ndarray:
    return view_inputs(CROPS, np.array(index), np.array(view), recipe, seed, MATRIX, 96, 96)


def test_a_view_does_not_depend_on_its_neighbours_or_their_order() -> None:
    together = draw([0, 1, 2, 3], [1, 2, 0, 5])
    for row, (index, view) in enumerate([(0, 1), (1, 2), (2, 0), (3, 5)]):
        np.testing.assert_array_equal(together[row], draw([index], [view])[0])
    np.testing.assert_array_equal(together[::-1], draw([3, 2, 1, 0], [5, 0, 2, 1]))


def test_views_differ_by_image_view_and_seed() -> None:
    first = draw([0], [1])
    assert not np.array_equal(first, draw([0], [2]))
    assert not np.array_equal(first, draw([0], [1], seed=4))
    assert not np.array_equal(uniforms(3, np.array([0]), np.array([1])), uniforms(3, np.array([1]), np.array([0])))


def test_strengths_are_scaled_apart_by_hand() -> None:
    recipe = RECIPES["mixing"]
    assert recipe.scaled(1, 1) == recipe
    assert recipe.scaled(0, 0) == ViewRecipe(0, 0, 0, 0.5, 0, 0, 0, 0, 0, mix=0.3)
    more = recipe.scaled(2, 6)
    assert (more.rotation_deg, more.log_scale, more.shift, more.bias) == (8.0, 0.1, 4.0, 120.0)
    assert more.blur == 1.0, "a probability ends at 1"
    assert more.grey == pytest.approx(0.6)
    still = RECIPES["standard"].scaled(0, 0)
    seen = [draw([0], [view], still)[0] for view in range(1, 9)]
    clean = draw([0], [0])[0]
    assert {np.array_equal(view, clean) for view in seen} == {True, False}, "only flips are left"


def test_views_are_the_same_in_another_process() -> None:
    code = (
        "import numpy as np;from facelet.data.views import uniforms;"
        "print(uniforms(7, np.arange(3), np.array([0, 1, 9])).tobytes().hex())"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert found == uniforms(7, np.arange(3), np.array([0, 1, 9])).tobytes().hex()


@given(st.integers(0, 2**63), st.integers(0, 2**40), st.integers(0, 2**20))
def test_uniforms_are_in_range(seed: int, index: int, view: int) -> None:
    drawn = uniforms(seed, np.array([index]), np.array([view]))
    assert drawn.shape == (1, N_UNIFORMS)
    assert (drawn >= 0).all()
    assert (drawn < 1).all()


def test_uniforms_are_uniform_and_uncorrelated() -> None:
    drawn = uniforms(0, np.arange(20000), np.full(20000, 1))
    assert np.abs(drawn.mean(0) - 0.5).max() < 0.01  # 0.289 / sqrt(20000) = 0.002 is one standard error
    assert np.abs(drawn.var(0) - 1 / 12).max() < 0.003
    correlation = np.corrcoef(drawn.T) - np.eye(N_UNIFORMS)
    assert np.abs(correlation).max() < 0.035


def test_keys_of_old_recipes_stay() -> None:
    # folders of embeddings that were computed before views could be loose
    keys = {name: RECIPES[name].key(0) for name in ("light", "standard", "mixing")}
    assert keys == {"light": "bb6042d36844c4f4", "standard": "9ec35b642cac4583", "mixing": "8a9e73641fb1a487"}
    assert len({RECIPES[name].key(0) for name in RECIPES}) == len(RECIPES)


def test_a_loose_view_is_turned_and_shifted_as_a_box_is() -> None:
    # a white cross on black, each arm 20 pixels long: where its middle and its tips land tells shift and turn
    crop = np.zeros((1, 128, 128, 3), np.uint8)
    crop[0, 62:66, 44:84] = crop[0, 44:84, 62:66] = 255
    still = replace(STILL, loose=1.0)
    matrix = np.eye(2, 3)
    n = 1500
    drawn = view_inputs(crop, np.zeros(n, np.int64), np.arange(1, n + 1), still, 0, matrix, 128, 128)[..., 0] / 255.0
    mass = drawn.sum((1, 2))
    x = (drawn.sum(1) * np.arange(128)).sum(1) / mass - 63.5
    y = (drawn.sum(2) * np.arange(128)).sum(1) / mass - 63.5
    assert x.std() == pytest.approx(BOX_SHIFT_X, rel=0.06)
    assert y.std() == pytest.approx(BOX_SHIFT_Y, rel=0.06)
    assert np.log(mass / mass.mean()).std() == pytest.approx(2 * BOX_LOG_SCALE, rel=0.1)


def test_a_coin_decides_which_views_are_loose() -> None:
    index, view = np.arange(6).repeat(50), np.tile(np.arange(1, 51), 6)
    drawn = {
        chance: view_inputs(CROPS, index, view, replace(STILL, loose=chance), 3, MATRIX, 96, 96)
        for chance in (0.0, 0.5, 1.0)
    }
    loose = (drawn[0.5] != drawn[0.0]).any((1, 2, 3))
    assert loose.mean() == pytest.approx(0.5, abs=0.1)
    np.testing.assert_array_equal(drawn[0.5][loose], drawn[1.0][loose])


def test_nets_of_loose_views_alone_ask_for_boxes() -> None:
    assert {name: recipe.template for name, recipe in RECIPES.items()} == {
        "light": "arcface",
        "standard": "arcface",
        "mixing": "arcface",
        "unaligned": "box",
        "both": "arcface",
    }


def test_view_zero_is_the_clean_crop() -> None:
    expected = cv2.warpAffine(CROPS[4], MATRIX, (96, 96), flags=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(draw([4], [0])[0], expected)


def test_a_recipe_that_changes_nothing_gives_the_clean_crop() -> None:
    # every range zero: views are the clean crop but for the border, which is replicated instead of black
    moved = draw([1], [3], STILL)
    clean = draw([1], [0], STILL)
    assert np.abs(moved.astype(int) - clean).max() <= 1


def test_flip_mirrors() -> None:
    flipped = draw([1], [3], ViewRecipe(0, 0, 0, 1.0, 0, 0, 0, 0, 0, 0, 0))
    clean = draw([1], [0])
    # the canvas's middle (63.5) is the input's middle (47.5), so the mirror image is the reversed row
    assert np.abs(flipped[0, :, ::-1].astype(int) - clean[0]).max() <= 1


@pytest.mark.parametrize("template", [name for name in TEMPLATES if TEMPLATES[name].points])
def test_canvas_points_land_on_every_template(template: str) -> None:
    # the arcface points, 8 pixels into the canvas, must land where the template has them, scaled to its input
    shape = TEMPLATES[template]
    x0, y0, x1, y1 = shape.box
    matrix = canvas_matrix(template, 64, 64)
    landed = (TEMPLATES["arcface"].points["five"] + 8) @ matrix[:, :2].T + matrix[:, 2]
    expected = (shape.points["five"] - [x0, y0] + 0.5) * [64 / (x1 - x0), 64 / (y1 - y0)] - 0.5
    tolerance = 1e-9 if shape.points["five"] is TEMPLATES["arcface"].points["five"] else 2.0
    assert np.abs(landed - expected).max() < tolerance

"""Oracle: OpenCV makes the same views and the same worse pictures one by one. Invariant: the seed names its views."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from drawn_faces import draw_face
from facelet.data.views import RECIPES, ViewRecipe, view_inputs
from facelet.evaluate.robustness import compress, lower_resolution
from facelet.faces.canvas import canvas_matrix
from facelet.train import device_degrade
from facelet.train.degrade import COARSE, COVER
from facelet.train.device_degrade import degrade_batch, jpeg
from facelet.train.device_views import SHARP, clean_views, draw_views, render

CROPS = np.stack([draw_face(seed, 128) for seed in range(12)])
STRONG = ViewRecipe(mix=0.5, blur=0.5, grey=0.3, loose=0.5)
SIZE = 80
MATRIX = canvas_matrix("arcface", SIZE, SIZE)
RANDOM = np.random.default_rng(0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rendered(views: object, size: int = SIZE) -> NDArray[np.float32]:
    matrix = torch.tensor(canvas_matrix("arcface", size, size), dtype=torch.float32)
    return render(torch.from_numpy(CROPS), views, matrix, size, size).permute(0, 2, 3, 1).numpy()  # type: ignore[arg-type]


def test_a_clean_view_is_the_one_of_the_other_way() -> None:
    index = np.arange(12)
    other = view_inputs(CROPS, index, np.zeros(12, np.int64), RECIPES["mixing"], 0, MATRIX, SIZE, SIZE)
    found = rendered(clean_views(torch.arange(12)))
    assert np.abs(found - other).max() <= 1
    assert np.abs(found - other).mean() < 0.05


def test_views_are_what_opencv_makes_of_the_same_numbers() -> None:
    views = draw_views(torch.arange(12).repeat(5), 12, STRONG, seeded())
    assert 15 < int((views.weight > 0).sum()) < 45
    assert 15 < int((views.sigma > SHARP).sum()) < 45
    found = rendered(views)
    for row in range(60):
        weight, sigma = float(views.weight[row]), float(views.sigma[row])
        one, two = CROPS[int(views.crop[row])], CROPS[int(views.partner[row])]
        crop = cv2.addWeighted(one, 1 - weight, two, weight, 0)
        if sigma > SHARP:
            crop = cv2.GaussianBlur(crop, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
        turn = np.vstack([MATRIX, [0, 0, 1]]) @ np.vstack([views.turn[row].numpy(), [0, 0, 1]])
        turned = cv2.warpAffine(crop, turn[:2], (SIZE, SIZE), borderMode=cv2.BORDER_REPLICATE)
        expected = cv2.transform(turned, views.colour[row].numpy())
        assert np.abs(found[row] - expected).mean() < 0.6, row


def test_views_spread_as_their_recipe_says() -> None:
    views = draw_views(torch.zeros(20000, dtype=torch.int64), 12, RECIPES["mixing"], seeded(1))
    determinant = torch.linalg.det(views.turn[:, :, :2])
    assert float((determinant < 0).float().mean()) == pytest.approx(0.5, abs=0.02)
    assert float(determinant.abs().log().std() / 2) == pytest.approx(0.05, rel=0.05)
    angle = torch.atan2(-views.turn[:, 0, 1], views.turn[:, 1, 1]).rad2deg()
    assert float(angle.std()) == pytest.approx(4, rel=0.05)
    centre = views.turn @ torch.tensor([63.5, 63.5, 1.0])
    assert float((centre - 63.5).std()) == pytest.approx(2, rel=0.05)
    assert float((views.weight > 0).float().mean()) == pytest.approx(0.3, abs=0.02)
    assert 0.3 <= float(views.weight[views.weight > 0].min()) < float(views.weight.max()) <= 0.7


def test_a_seed_names_its_views() -> None:
    one, same, other = (draw_views(torch.arange(12), 12, STRONG, seeded(seed)) for seed in (4, 4, 5))
    np.testing.assert_array_equal(rendered(one), rendered(same))
    assert not np.array_equal(rendered(one), rendered(other))


def pictures(n: int, size: int = 96) -> Tensor:
    views = draw_views(torch.arange(n) % 12, 12, RECIPES["standard"], seeded())
    return torch.from_numpy(rendered(views, size)).permute(0, 3, 1, 2).contiguous()


def as_bytes(image: Tensor) -> NDArray[np.uint8]:
    return image.round().clamp(0, 255).permute(1, 2, 0).numpy().astype(np.uint8)


@pytest.mark.parametrize(("quality", "size"), [(5, 96), (20, 96), (39, 96), (75, 96), (20, 52)])
def test_jpeg_is_nearly_libjpegs(quality: int, size: int) -> None:
    clean = (
        (pictures(6, size) + 6 * torch.randn(6, 3, size, size, generator=seeded())).round().clamp(0, 255)
    )  # no ties of flat areas
    found = jpeg(clean.clone(), torch.full((6, 1, 1, 1), float(quality)))
    for before, after in zip(clean, found, strict=True):
        file = compress(as_bytes(before), quality, RANDOM).astype(np.float64)
        lost = np.abs(file - as_bytes(before)).mean()
        assert np.abs(as_bytes(after) - file).mean() < 0.35 * lost + 0.2


def test_coarse_pictures_are_opencvs() -> None:
    clean = pictures(4)
    matrices = device_degrade._coarse_matrices(96, torch.device("cpu"))
    for width in range(round(COARSE[0] * 96 / 112), round(COARSE[1] * 96 / 112) + 1, 5):
        found = matrices[width] @ clean @ matrices[width].T
        for before, after in zip(clean, found, strict=True):
            expected = lower_resolution(as_bytes(before), width, RANDOM)
            assert np.abs(as_bytes(after) - expected.astype(np.float64)).mean() < 0.6


def test_covers_are_one_rectangle_of_one_colour_in_their_range() -> None:
    clean = torch.full((200, 3, 96, 96), -1.0)
    covered = device_degrade._cover(clean, seeded())
    for image in covered:
        inside = (image >= 0).all(0)
        rows, columns = inside.any(1).sum(), inside.any(0).sum()
        assert int(inside.sum()) == int(rows * columns)
        assert len(image[:, inside].unique(dim=1)[0]) == 1
        assert COVER[0] * 0.8 < float(inside.float().mean()) < COVER[1] * 1.1


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_share_of_the_pictures_is_made_worse(share: float) -> None:
    clean = pictures(40)
    worse = degrade_batch(clean.clone(), share, seeded())
    changed = (worse != clean).flatten(1).any(1)
    assert int(changed.sum()) == round(40 * share)
    assert not changed[round(40 * share) :].any()
    assert worse.min() >= 0
    assert worse.max() <= 255
    torch.testing.assert_close(worse, worse.round())

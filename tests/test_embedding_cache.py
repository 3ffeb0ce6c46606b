"""The embedding cache: the teacher is asked once, resumed where it stopped, and never for other data."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facelet.data import embedding_cache
from facelet.data.embedding_cache import cache_key, fill_cache
from facelet.data.views import RECIPES, view_inputs
from facelet.errors import InputError
from tiny_training import SIZE, TinyTeacher, tiny_set


def test_teacher_is_asked_once_and_answers_for_the_very_view(tmp_path: Path) -> None:
    transfer, teacher, recipe = tiny_set(), TinyTeacher(), RECIPES["mixing"]
    cache = fill_cache(teacher, transfer, recipe, 5, 2, tmp_path)
    assert teacher.seen == 3 * transfer.n_images
    fill_cache(teacher, transfer, recipe, 5, 2, tmp_path)
    assert teacher.seen == 3 * transfer.n_images
    for view in (0, 1, 2):
        pixels = view_inputs(transfer.crops, np.array([17]), np.array([view]), recipe, 5, teacher.matrix, SIZE, SIZE)
        vectors, (tap,) = TinyTeacher().run(pixels)
        np.testing.assert_allclose(cache.embeddings[view][17], vectors[0], atol=1e-3)  # float16
        stored = cache.taps[0].values[view][17] * cache.taps[0].scale
        np.testing.assert_allclose(stored, tap[0].transpose(1, 2, 0), atol=0.03)  # int8, or clipped a little


def test_an_interrupted_fill_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_cache, "BLOCK", 32)
    transfer, teacher = tiny_set(), TinyTeacher()

    def stop(done: int, _total: int) -> None:
        if done >= 64:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill_cache(teacher, transfer, RECIPES["standard"], 0, 0, tmp_path, stop)
    assert teacher.seen == 64
    resumed = fill_cache(teacher, transfer, RECIPES["standard"], 0, 0, tmp_path)
    assert teacher.seen == transfer.n_images
    whole = fill_cache(TinyTeacher(), transfer, RECIPES["standard"], 0, 0, tmp_path / "whole")
    np.testing.assert_array_equal(resumed.embeddings[0], whole.embeddings[0])


def test_clean_answers_serve_every_recipe_and_seed(tmp_path: Path) -> None:
    transfer, teacher = tiny_set(), TinyTeacher()
    views = fill_cache(teacher, transfer, RECIPES["mixing"], 0, 1, tmp_path)
    assert teacher.seen == 2 * transfer.n_images
    for recipe, seed in ((RECIPES["standard"], 0), (RECIPES["light"].scaled(2, 0.5), 5)):
        clean = fill_cache(teacher, transfer, recipe, seed, 0, tmp_path)
        assert teacher.seen == 2 * transfer.n_images
        np.testing.assert_array_equal(clean.embeddings[0], views.embeddings[0])


def test_two_that_want_the_same_answers_ask_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_cache, "BLOCK", 16)
    transfer, teachers = tiny_set(), [TinyTeacher(), TinyTeacher()]
    with ThreadPoolExecutor(2) as pool:
        caches = list(pool.map(lambda t: fill_cache(t, transfer, RECIPES["standard"], 0, 1, tmp_path), teachers))
    assert sorted(teacher.seen for teacher in teachers) == [0, 2 * transfer.n_images]
    for view in (0, 1):
        np.testing.assert_array_equal(caches[0].embeddings[view], caches[1].embeddings[view])


def test_key_follows_teacher_data_views_and_seed() -> None:
    transfer, teacher, recipe = tiny_set(), TinyTeacher(), RECIPES["standard"]
    key = cache_key(teacher, transfer, recipe, 0)
    assert key == cache_key(TinyTeacher(), transfer, recipe, 0)
    other = TinyTeacher()
    other.key = "tiny-2"
    different = {
        cache_key(other, transfer, recipe, 0),
        cache_key(teacher, replace(transfer, key="x"), recipe, 0),
        cache_key(teacher, transfer, replace(recipe, blur=0.9), 0),
        cache_key(teacher, transfer, recipe, 1),
    }
    assert key not in different
    assert len(different) == 4


def test_clean_crops_are_asked_once_whatever_the_recipe(tmp_path: Path) -> None:
    transfer, teacher = tiny_set(), TinyTeacher()
    caches = [fill_cache(teacher, transfer, recipe, seed, 0, tmp_path) for seed, recipe in enumerate(RECIPES.values())]
    assert teacher.seen == transfer.n_images
    for cache in caches:
        np.testing.assert_array_equal(cache.embeddings[0], caches[0].embeddings[0])


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    fill_cache(TinyTeacher(), tiny_set(), RECIPES["standard"], 0, 0, tmp_path)
    for name in ("view-0.npy", "tap-0-scale.npy", "view-0.json"):
        (path,) = tmp_path.rglob(name)
        whole = path.read_bytes()
        path.write_bytes(whole[:5])
        with pytest.raises(InputError, match=rf"{name}: this part of the cache is damaged; delete"):
            fill_cache(TinyTeacher(), tiny_set(), RECIPES["standard"], 0, 0, tmp_path)
        path.write_bytes(whole)


@pytest.mark.parametrize("name", ["view-1.npy", "view-1-tap-0.npy"])
def test_answers_that_are_gone_are_asked_again(tmp_path: Path, name: str) -> None:
    transfer, teacher = tiny_set(), TinyTeacher()
    whole = fill_cache(teacher, transfer, RECIPES["standard"], 0, 1, tmp_path / "whole")
    fill_cache(teacher, transfer, RECIPES["standard"], 0, 1, tmp_path / "torn")
    (path,) = (tmp_path / "torn").rglob(name)
    path.unlink()
    again = fill_cache(teacher, transfer, RECIPES["standard"], 0, 1, tmp_path / "torn")
    assert teacher.seen == 5 * transfer.n_images
    np.testing.assert_array_equal(again.embeddings[1], whole.embeddings[1])
    np.testing.assert_array_equal(again.taps[0].values[1], whole.taps[0].values[1])


def test_a_file_that_was_cut_off_as_it_began_is_named(tmp_path: Path) -> None:
    fill_cache(TinyTeacher(), tiny_set(), RECIPES["standard"], 0, 0, tmp_path)
    (path,) = tmp_path.rglob("view-0.npy")
    path.write_bytes(b"")
    path.with_suffix(".json").unlink()
    with pytest.raises(InputError, match=r"view-0\.npy: this part of the cache is damaged; delete"):
        fill_cache(TinyTeacher(), tiny_set(), RECIPES["standard"], 0, 0, tmp_path)

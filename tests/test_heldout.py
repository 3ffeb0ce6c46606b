"""Hand-computed and invariant: who is held out, which pairs are made of them, and trainings that leave them out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from conftest import Ended
from drawn_faces import write_photo
from facelet.data.heldout import HELDOUT_NOTE, heldout_identities
from facelet.data.heldout_people import MAX_PHOTOS, heldout_images, heldout_pairs, heldout_people
from facelet.data.people import People
from facelet.data.transfer import TransferSet, open_transfer_set
from facelet.errors import TransferSetError
from facelet.model_files import load_model


def names_by_hash(n: int, held: bool) -> list[str]:
    """The first n names of the kind, by the hash itself."""
    wanted = (f"p{number}" for number in range(100_000))
    return [name for name in wanted if (int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) < 429496729.6) == held][
        :n
    ]


def transfer_of(names: list[str], labels: list[int]) -> TransferSet:
    n = len(labels)
    crops = np.zeros((n, 128, 128, 3), np.uint8)
    return TransferSet(crops, np.array(labels), np.zeros(n, np.int64), ("s",), "k", identities=tuple(names))


def test_the_hash_alone_decides_and_is_the_published_one() -> None:
    names = [f"celeba/celeba-{number}" for number in range(1, 1001)]
    held = heldout_identities(names)
    assert 70 <= held.sum() <= 130
    np.testing.assert_array_equal(held[::-1], heldout_identities(names[::-1]))
    # golden: the numbers below 60 whose `printf celeba-N | sha256sum` begins below 0.1 * 2^32 = 0x19999999
    assert (np.flatnonzero(held[:59]) + 1).tolist() == [6, 12, 13, 18, 24, 35, 45, 47, 53, 59]
    assert heldout_identities(names, 0).sum() == 0
    assert heldout_identities(names, 1).all()


def test_tenths_share_nobody_and_leave_nobody_out() -> None:
    names = [f"celeba/celeba-{number}" for number in range(1, 1001)]
    tenths = np.array([heldout_identities(names, 0.1, tenth / 10) for tenth in range(10)])
    np.testing.assert_array_equal(tenths[0], heldout_identities(names))
    assert (tenths.sum(axis=0) == 1).all()


def test_one_person_in_two_sources_is_held_out_in_both() -> None:
    names = names_by_hash(5, True) + names_by_hash(5, False)
    first, second = (heldout_identities([f"{source}/{name}" for name in names]) for source in ("a", "b"))
    np.testing.assert_array_equal(first, second)
    assert first.tolist() == [True] * 5 + [False] * 5


def test_unlabelled_crops_are_not_held_out() -> None:
    held, free = names_by_hash(1, True)[0], names_by_hash(1, False)[0]
    assert heldout_images(transfer_of([free, held], [-1, 0, 1, -1, 1])).tolist() == [False, False, True, False, True]


def test_people_are_capped_and_counted_once() -> None:
    names = names_by_hash(11, True)
    listed = [f"a/{name}" for name in names] + [f"b/{names[0]}", "a/" + names_by_hash(1, False)[0]]
    # a/first: 2 crops, b/first: 3 crops of the same person, all others 2; the last is not held out; one has 40
    labels = [0, 0, 11, 11, 11, *(n for n in range(1, 11) for _ in range(2)), 12, 12, *[10] * 38]
    people, index = heldout_people(transfer_of(listed, labels))
    taken = np.array(labels)[index]
    assert 0 not in taken  # b/first has more crops
    assert 12 not in taken
    assert (taken == 11).sum() == 3
    assert (taken == 10).sum() == MAX_PHOTOS
    assert people.n_people == 11
    assert people.images == tuple(str(number) for number in index)
    with pytest.raises(TransferSetError, match="1 held-out people"):
        heldout_people(transfer_of(listed, labels[:5]))


def test_pairs_are_what_they_say_and_no_person_is_in_two_folds() -> None:
    person = np.concatenate([np.repeat(np.arange(25), 6), np.arange(25, 40)])
    people = People(tuple(map(str, range(len(person)))), person)
    pairs = heldout_pairs(people, seed=1)
    np.testing.assert_array_equal(pairs.same, person[pairs.left] == person[pairs.right])
    assert (pairs.left != pairs.right).all()
    couples = set(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True))
    assert len(couples) == pairs.n_pairs
    folds_of = [
        set(pairs.fold[(person[pairs.left] == who) | (person[pairs.right] == who)].tolist()) for who in range(40)
    ]
    assert all(len(folds) <= 1 for folds in folds_of)
    for fold in range(10):
        inside = pairs.same[pairs.fold == fold]
        assert inside.sum() * 2 == len(inside) > 0
    again = heldout_pairs(people, seed=1)
    np.testing.assert_array_equal(pairs.left, again.left)
    assert not np.array_equal(pairs.right, heldout_pairs(people, seed=2).right)


def test_a_set_without_names_is_named_by_its_numbers() -> None:
    plain = TransferSet(np.zeros((3, 128, 128, 3), np.uint8), np.array([0, 2, -1]), np.zeros(3, np.int64), ("s",), "k")
    assert plain.identities == ("0", "1", "2")


def write_people(folder: Path, names: list[str]) -> Path:
    for place, name in enumerate(names):
        for photo in range(2):
            write_photo(folder / name / f"{photo}.png", np.full((128, 128, 3), 20 * place + photo, np.uint8))
    return folder


def test_a_pack_without_them_has_none_of_their_pixels(tmp_path: Path) -> None:
    held, free = names_by_hash(2, True), names_by_hash(3, False)
    folder = write_people(tmp_path / "people", held + free)  # grey levels 0..21 are held out, 40..81 are not
    whole = open_transfer_set(folder, tmp_path / "cache")
    left = open_transfer_set(folder, tmp_path / "cache", exclude_heldout=True)
    again = open_transfer_set(folder, tmp_path / "cache", exclude_heldout=True)
    assert (whole.n_images, left.n_images, again.n_images) == (10, 6, 6)
    assert sorted({int(crop.max()) for crop in left.crops}) == [40, 41, 60, 61, 80, 81]
    assert set(left.identities) == set(free)
    assert (whole.without_heldout, left.without_heldout, again.without_heldout) == (False, True, True)
    assert (whole.n_skipped, left.n_skipped) == (0, 0)
    assert whole.key != left.key


@pytest.mark.slow
def test_the_card_says_so(tmp_path: Path, cli: Callable[..., Ended]) -> None:
    pytest.importorskip("torch")
    from tiny_models import photo_model

    folder = write_people(tmp_path / "people", names_by_hash(1, True) + names_by_hash(4, False))
    options = ["--data", folder, "--aligned", "--epochs", 0.5, "--batch", 4, "--threads", 1, "--quiet"]
    options += ["--teacher", photo_model(tmp_path / "t.onnx"), "--recipe", "mixing"]
    ended = cli("distill", "facelet_xs", *options, "--exclude-heldout", "--realign", "--out", tmp_path / "run")
    assert ended.code == 0, ended.err
    assert load_model(tmp_path / "run" / "model.onnx").card.data == f"people, {HELDOUT_NOTE}"
    refused = cli("distill", "facelet_xs", "--teacher", tmp_path / "t.onnx", "--exclude-heldout")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "--exclude-heldout" in refused.err

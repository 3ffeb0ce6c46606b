"""The held-out people of a transfer set: their crops, and verification pairs of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facelet.data.heldout import HELDOUT_FRACTION, heldout_identities
from facelet.data.pairs import Pairs
from facelet.data.people import People
from facelet.data.transfer import TransferSet
from facelet.errors import TransferSetError

MAX_PHOTOS = 30
"""Photos of one person that count; one with hundreds would outweigh all others in the couples."""

N_FOLDS = 10
PAIRS_PER_FOLD = 300
"""Genuine pairs in each fold, and as many impostor pairs: with ten folds the size of LFW's View 2."""


def heldout_images(transfer: TransferSet, fraction: float = HELDOUT_FRACTION, start: float = 0.0) -> NDArray[np.bool_]:
    """Whether each crop shows one of `heldout_identities`, `(n_images,)` bool; unlabelled crops do not."""
    chosen = np.append(heldout_identities(transfer.identities, fraction, start), False)
    return np.asarray(chosen[transfer.identity], dtype=np.bool_)  # -1, unlabelled, takes the last


def heldout_people(
    transfer: TransferSet, fraction: float = HELDOUT_FRACTION, start: float = 0.0
) -> tuple[People, NDArray[np.int64]]:
    """The crops of people of `heldout_identities`, in the order of the transfer set.

    At most the first `MAX_PHOTOS` crops of each person count. Of identities that share the last part of their name
    (one person in two sources) the one with most crops counts, and of equals the first.

    Returns:
        The people, with crop numbers as `images`, and those numbers, `(n,)` int64.

    Raises:
        TransferSetError: fewer than `N_FOLDS` held-out people with two crops.
    """
    held = np.flatnonzero(heldout_images(transfer, fraction, start))
    counts = np.bincount(transfer.identity[held], minlength=len(transfer.identities))
    best: dict[str, int] = {}
    for number in np.argsort(-counts, kind="stable"):
        best.setdefault(transfer.identities[number].rsplit("/", 1)[-1], int(number))
    kept = np.isin(transfer.identity[held], list(best.values()))
    index = held[kept]
    nth = _running_number(transfer.identity[index])
    index = index[nth < MAX_PHOTOS]
    _, person = np.unique(transfer.identity[index], return_inverse=True)
    people = People(tuple(str(number) for number in index), person.astype(np.int64))
    several = len(np.unique(person[people.at_least(2)]))
    if several < N_FOLDS:
        raise TransferSetError(
            f"transfer set: {several} held-out people with two crops; pairs in {N_FOLDS} folds need at least {N_FOLDS}"
        )
    return people, index


def heldout_pairs(people: People, seed: int = 0) -> Pairs:
    """Verification pairs in ten folds, no person in two folds.

    People go to folds in a random order, by turns. Each fold draws up to 300 of its couples of one person, without
    repetition, and as many of its couples of different people.

    Args:
        people: as `heldout_people` returns them.
        seed: of the draw.

    Raises:
        TransferSetError: a fold without a couple of one person.
    """
    random = np.random.default_rng([seed, 0x9E1D])
    several = np.unique(people.person[people.at_least(2)])
    single = np.setdiff1d(people.person, several)
    fold_of = np.empty(people.n_people, dtype=np.int64)
    for group in (several, single):
        fold_of[random.permutation(group)] = np.arange(len(group)) % N_FOLDS
    left, right, same, fold = [], [], [], []
    for number in range(N_FOLDS):
        images = np.flatnonzero(fold_of[people.person] == number)
        first, second = np.triu_indices(len(images), 1)
        genuine = people.person[images[first]] == people.person[images[second]]
        n = min(PAIRS_PER_FOLD, int(genuine.sum()), int((~genuine).sum()))
        if n == 0:
            raise TransferSetError(
                f"transfer set: too few held-out people: fold {number} of {N_FOLDS} has no pair of each kind; give two "
                "people or more to each fold"
            )
        for kind in (True, False):
            chosen = np.sort(random.choice(np.flatnonzero(genuine == kind), n, replace=False))
            left.append(images[first[chosen]])
            right.append(images[second[chosen]])
            same.append(np.full(n, kind))
            fold.append(np.full(n, number, dtype=np.int64))
    return Pairs(people.images, np.concatenate(left), np.concatenate(right), np.concatenate(same), np.concatenate(fold))


def _running_number(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many equal labels precede each, `(n,)` int64."""
    order = np.argsort(labels, kind="stable")
    ordered = labels[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])) if len(labels) else np.zeros(0, np.int64)
    lengths = np.diff(np.append(starts, len(labels)))
    nth = np.empty(len(labels), dtype=np.int64)
    nth[order] = np.arange(len(labels)) - np.repeat(starts, lengths)
    return nth

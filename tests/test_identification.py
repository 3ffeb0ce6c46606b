"""Hand-computed: ranks, DIR at FAR and thresholds on a handful of angles."""

from __future__ import annotations

import numpy as np
import pytest

from facelet.errors import InputError, ProtocolError
from facelet.evaluate.identification import identify_all
from test_linkage import on_circle

# people 0, 1, 2 have a gallery image (0, 30, 90 degrees) and probes; 3 and 4 are impostors
ANGLES = (0, 30, 90, 4, 20, 70, 32, 96, 300, 140)
PERSON = np.array([0, 1, 2, 0, 0, 1, 1, 2, 3, 4])


def test_ranks_worked_out_by_hand() -> None:
    # 4: nearest 0, its own. 20 of person 0: 30 is nearer than 0, rank 2. 70 of person 1: 90 (20 away) before 30 (40
    # away), rank 2. 32: rank 1. 96: rank 1.
    found = identify_all(on_circle(*ANGLES), PERSON)
    assert found.n_gallery == 3
    assert found.rank.tolist() == [1, 2, 2, 1, 1]
    assert found.rank_rate(1) == pytest.approx(3 / 5)
    assert found.rank_rate(2) == 1.0
    own = 2 - 2 * np.cos(np.radians([4, 20, 40, 2, 6]))
    np.testing.assert_allclose(found.distance, own, atol=1e-6)


def test_open_set_worked_out_by_hand() -> None:
    # impostors: 300 is 60 from 0 (distance 1), 140 is 50 from 90 (0.714)
    found = identify_all(on_circle(*ANGLES), PERSON)
    np.testing.assert_allclose(np.sort(found.impostor), [2 - 2 * np.cos(np.radians(50)), 1.0], atol=1e-6)
    # no false alarm: below 0.714 lie the three probes of rank 1; those of rank 2 count nowhere, however near
    assert found.threshold_at_far(0.1) == pytest.approx(2 - 2 * np.cos(np.radians(50)), abs=1e-6)
    assert found.dir_at_far(0.1) == pytest.approx(3 / 5)
    assert found.threshold_at_far(0.5) == pytest.approx(1.0, abs=1e-6)


def test_a_near_impostor_costs_the_farther_probes() -> None:
    # an impostor 5 degrees from the gallery's 0: only the probes at 4 and 2 degrees are below it, not the one at 6
    angles = (*ANGLES[:8], 355, 140)
    assert identify_all(on_circle(*angles), PERSON).dir_at_far(0.1) == pytest.approx(2 / 5)


def test_one_as_near_as_the_own_counts_as_nearer() -> None:
    # people 0 and 1 have the same gallery image, so neither is told from the other; person 2 is nearest at 45
    found = identify_all(on_circle(10, 10, 40, 12, 12, 45), np.array([0, 1, 2, 0, 1, 2]))
    assert found.rank.tolist() == [2, 2, 1]


def test_many_probes_in_blocks_equal_a_sort() -> None:
    """Oracle: the place of the own person in a stable sort, over more probes than one block holds."""
    random = np.random.default_rng(1)
    vectors = random.standard_normal((1300, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    person = np.concatenate([np.arange(100), random.integers(0, 100, 1200)])
    found = identify_all(vectors, person)
    expected = [
        int(np.flatnonzero(np.argsort(((vectors[:100] - vector) ** 2).sum(axis=1)) == own)[0]) + 1
        for vector, own in zip(vectors[100:], person[100:], strict=True)
    ]
    assert found.rank.tolist() == expected


def test_what_cannot_be_identified_is_refused() -> None:
    with pytest.raises(ProtocolError, match="none of 3 images"):
        identify_all(on_circle(0, 1, 2), np.array([0, 1, 2]))
    with pytest.raises(InputError, match="expected"):
        identify_all(on_circle(0, 1, 2), np.array([0, 1]))
    with pytest.raises(ProtocolError, match="impostors"):
        identify_all(on_circle(0, 1), np.array([0, 0])).dir_at_far(0.1)

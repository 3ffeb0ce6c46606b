"""Hand-computed and oracle: BCubed and pairwise F."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics.cluster import pair_confusion_matrix

from facelet.errors import InputError
from facelet.evaluate.clustering import best_clusters, score_clusters, sweep_clusters
from facelet.linkage import merge_tree
from test_linkage import on_circle


def test_scores_worked_out_by_hand() -> None:
    # people a a a b b, clusters 0 0 1 1 1
    # BCubed precision: a a in 0: 1, 1; a in 1: 1/3; b b: 2/3, 2/3 -> (1 + 1 + 1/3 + 2/3 + 2/3) / 5 = 11/15
    # BCubed recall: 2/3, 2/3, 1/3, 1, 1 -> 11/15
    # couples within clusters: 1 + 3 = 4, of one person: 3 + 1 = 4, both: aa in 0, bb in 1 = 2
    scores = score_clusters(np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 1]))
    assert scores.n_clusters == 2
    assert scores.bcubed_precision == pytest.approx(11 / 15)
    assert scores.bcubed_recall == pytest.approx(11 / 15)
    assert scores.bcubed_f == pytest.approx(11 / 15)
    assert (scores.pairwise_precision, scores.pairwise_recall, scores.pairwise_f) == (0.5, 0.5, 0.5)


def test_precision_and_recall_are_not_exchanged() -> None:
    # everyone in one cluster: recall 1; precision (3 * 3/5 + 2 * 2/5) / 5 = 13/25, pairwise 4/10
    scores = score_clusters(np.array([0, 0, 0, 1, 1]), np.zeros(5, np.int64))
    assert (scores.bcubed_recall, scores.pairwise_recall) == (1.0, 1.0)
    assert scores.bcubed_precision == pytest.approx(13 / 25)
    assert scores.pairwise_precision == pytest.approx(0.4)
    # everyone alone: precision 1; recall (3 * 1/3 + 2 * 1/2) / 5 = 2/5, pairwise 0
    scores = score_clusters(np.array([0, 0, 0, 1, 1]), np.arange(5))
    assert (scores.bcubed_precision, scores.pairwise_precision) == (1.0, 1.0)
    assert scores.bcubed_recall == pytest.approx(2 / 5)
    assert (scores.pairwise_recall, scores.pairwise_f) == (0.0, 0.0)


labels = st.integers(2, 40).flatmap(
    lambda n: st.tuples(*(st.lists(st.integers(0, 6), min_size=n, max_size=n) for _ in range(2)))
)


@given(labels)
def test_scores_equal_scikit_learn_and_a_double_loop(both: tuple[list[int], list[int]]) -> None:
    person, cluster = (np.array(part, dtype=np.int64) * 3 for part in both)
    scores = score_clusters(person, cluster)
    (_, false), (missed, true) = pair_confusion_matrix(person, cluster)  # every couple twice
    assert scores.pairwise_precision == pytest.approx(true / (true + false) if true + false else 1.0)
    assert scores.pairwise_recall == pytest.approx(true / (true + missed) if true + missed else 1.0)
    same_person, same_cluster = person[:, None] == person, cluster[:, None] == cluster
    hits = (same_person & same_cluster).sum(axis=1)
    assert scores.bcubed_precision == pytest.approx(np.mean(hits / same_cluster.sum(axis=1)))
    assert scores.bcubed_recall == pytest.approx(np.mean(hits / same_person.sum(axis=1)))


def test_the_sweep_finds_the_threshold_between_people() -> None:
    tree = merge_tree(on_circle(0, 5, 10, 90, 95, 100))
    person = np.array([0, 0, 0, 1, 1, 1])
    scores = sweep_clusters(tree, person, (0.001, 0.5, 3.0))
    assert [score.n_clusters for score in scores] == [6, 2, 1]
    best = best_clusters(scores)
    assert (best.threshold, best.bcubed_f, best.pairwise_f) == (0.5, 1.0, 1.0)


def test_nothing_to_score_is_refused() -> None:
    with pytest.raises(InputError, match="expected both"):
        score_clusters(np.empty(0, np.int64), np.empty(0, np.int64))
    with pytest.raises(InputError, match="expected both"):
        score_clusters(np.zeros(3, np.int64), np.zeros(2, np.int64))

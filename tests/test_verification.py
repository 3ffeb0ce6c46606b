"""Hand-computed and oracle: figures on a few numbers worked out below, and against scikit-learn and brute force."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from facelet.data.pairs import Pairs
from facelet.errors import InputError, ProtocolError
from facelet.evaluate.report import verify_pairs, write_report
from facelet.evaluate.verification import (
    accuracy_at,
    auc,
    best_threshold,
    eer,
    fold_accuracy,
    impostor_threshold,
    pair_distances,
    roc,
    tar_at_far,
    threshold_at_far,
)

# Genuine pairs at 0.1, 0.2, 0.6; impostor pairs at 0.4, 0.8.
# Sorted: G .1, G .2, I .4, G .6, I .8.
DISTANCES = np.array([0.1, 0.4, 0.2, 0.8, 0.6])
SAME = np.array([True, False, True, False, True])


def protocol(same: NDArray[np.bool_], fold: NDArray[np.int64], n_images: int = 2) -> Pairs:
    n = len(same)
    return Pairs(
        images=tuple(str(i) for i in range(n_images)),
        left=np.zeros(n, dtype=np.int64),
        right=np.ones(n, dtype=np.int64),
        same=same,
        fold=fold,
    )


def test_roc_by_hand() -> None:
    points = roc(DISTANCES, SAME)
    np.testing.assert_allclose(points.tar, [0, 1 / 3, 2 / 3, 2 / 3, 1, 1])
    np.testing.assert_allclose(points.far, [0, 0, 0, 1 / 2, 1 / 2, 1])
    np.testing.assert_allclose(points.thresholds, [0.1, 0.15, 0.3, 0.5, 0.7, 0.8])


def test_auc_by_hand() -> None:
    # of the six genuine-impostor couples only (.6, .4) is the wrong way round
    assert auc(DISTANCES, SAME) == pytest.approx(5 / 6)
    # a tie counts half
    assert auc(np.array([0.5, 0.5]), np.array([True, False])) == 0.5


def test_eer_by_hand() -> None:
    # FAR - FRR is -1/3 at (FAR 0, TAR 2/3) and +1/6 at (FAR 1/2, TAR 2/3): crossing 2/3 of the way, FAR 1/3
    assert eer(DISTANCES, SAME) == pytest.approx(1 / 3)
    assert eer(np.array([0.1, 0.9]), np.array([True, False])) == 0.0
    assert eer(np.array([0.9, 0.1]), np.array([True, False])) == 1.0


def test_tar_at_far_by_hand() -> None:
    assert tar_at_far(DISTANCES, SAME, 0.0) == pytest.approx(2 / 3)  # everything below the nearest impostor, .4
    assert tar_at_far(DISTANCES, SAME, 0.49) == pytest.approx(2 / 3)
    assert tar_at_far(DISTANCES, SAME, 0.5) == 1.0
    assert threshold_at_far(DISTANCES, SAME, 0.1) == 0.4
    assert threshold_at_far(DISTANCES, SAME, 0.5) == 0.8
    assert threshold_at_far(DISTANCES, SAME, 1.0) > 0.8


def test_best_threshold_by_hand() -> None:
    # four of five right between .2 and .4 (misses .6), or between .6 and .8 (accepts .4): the middle of the two ties
    threshold, accuracy = best_threshold(DISTANCES, SAME)
    assert accuracy == pytest.approx(4 / 5)
    assert threshold == pytest.approx(0.7)
    assert accuracy_at(DISTANCES, SAME, threshold) == pytest.approx(4 / 5)


def test_the_search_does_not_stop_at_the_first_dip() -> None:
    """Accuracy rises, dips and rises higher: G I I G G G G, thresholds after 1 and after 7 pairs."""
    distances = np.arange(1, 9) / 10
    same = np.array([True, False, False, True, True, True, True, False])
    threshold, accuracy = best_threshold(distances, same)
    assert threshold == pytest.approx(0.75)
    assert accuracy == pytest.approx(6 / 8)


def test_fold_accuracy_by_hand() -> None:
    # Fold 0 alone is best between .2 and .6; fold 1 alone between .5 and .9. Each judges the other.
    distances = np.array([0.2, 0.6, 0.5, 0.9])
    pairs = protocol(np.array([True, False, True, False]), np.array([0, 0, 1, 1]))
    folds = fold_accuracy(distances, pairs)
    np.testing.assert_allclose(folds.thresholds, [0.7, 0.4])
    np.testing.assert_allclose(folds.accuracies, [0.5, 0.5])
    assert folds.mean == 0.5
    assert folds.std == 0.0


def test_std_has_n_minus_one() -> None:
    # accuracies 1 and 1/2: mean 3/4, squares 1/16 + 1/16, over 1: sqrt(1/8)
    distances = np.array([0.1, 0.9, 0.1, 0.3])
    pairs = protocol(np.array([True, False, True, False]), np.array([0, 0, 1, 1]))
    folds = fold_accuracy(distances, pairs)
    np.testing.assert_allclose(folds.accuracies, [1.0, 0.5])
    assert folds.std == pytest.approx(np.sqrt(1 / 8))


def test_a_threshold_never_sees_its_own_fold() -> None:
    """Invariant: changing one fold's distances leaves that fold's threshold alone."""
    random = np.random.default_rng(0)
    same = np.tile([True, False], 50)
    fold = np.repeat(np.arange(5), 20)
    distances = random.uniform(0, 2, 100) + ~same
    before = fold_accuracy(distances, protocol(same, fold))
    distances[fold == 3] = random.uniform(0, 4, 20)
    after = fold_accuracy(distances, protocol(same, fold))
    assert before.thresholds[3] == after.thresholds[3]
    assert not np.array_equal(before.thresholds, after.thresholds)


labelled = st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=2, max_size=40).filter(
    lambda pairs: len({same for _, same in pairs}) == 2
)


@settings(max_examples=200, deadline=None)
@given(labelled)
def test_against_brute_force_and_scikit_learn(pairs: list[tuple[int, bool]]) -> None:
    distances = np.array([value for value, _ in pairs]) / 4
    same = np.array([same for _, same in pairs])
    assert auc(distances, same) == pytest.approx(roc_auc_score(same, -distances))
    threshold, accuracy = best_threshold(distances, same)
    everywhere = [np.mean((distances < t) == same) for t in np.arange(-1, 20) / 4 + 0.125]
    assert accuracy == pytest.approx(max(everywhere))
    assert accuracy_at(distances, same, threshold) == pytest.approx(accuracy)
    assert 0 <= eer(distances, same) <= 1
    for far in (0.0, 0.1, 0.5, 1.0):
        at = threshold_at_far(distances, same, far)
        assert np.mean(distances[~same] < at) <= far
        allowed = [np.mean(distances[same] < t) for t in (*distances, 99) if np.mean(distances[~same] < t) <= far]
        assert tar_at_far(distances, same, far) == pytest.approx(max([0, *allowed]))
    points = roc(distances, same)
    for t, far, tar in zip(points.thresholds, points.far, points.tar, strict=True):
        assert np.mean(distances[~same] < t) == pytest.approx(far)
        assert np.mean(distances[same] < t) == pytest.approx(tar)


def test_neighbouring_floats_are_told_apart() -> None:
    low = np.float64(1.0)
    distances = np.array([low, np.nextafter(low, 2)])
    threshold, accuracy = best_threshold(distances, np.array([True, False]))
    assert accuracy == 1.0
    assert accuracy_at(distances, np.array([True, False]), threshold) == 1.0


def test_impostor_threshold_counts_accepts() -> None:
    impostors = np.arange(1000, dtype=np.float32)[::-1]
    assert impostor_threshold(impostors, 1e-3) == 1.0  # below 1 lies one of a thousand
    assert impostor_threshold(impostors, 1e-2) == 10.0
    assert impostor_threshold(impostors, 0.0) == 0.0


@pytest.mark.parametrize(
    ("distances", "same"),
    [
        (np.array([0.1, 0.2]), np.array([True, True])),
        (np.array([0.1, 0.2]), np.array([False, False])),
        (np.array([]), np.array([], dtype=bool)),
        (np.array([0.1]), np.array([True, False])),
        (np.array([0.1, np.nan]), np.array([True, False])),
    ],
)
def test_what_is_no_protocol_is_refused(distances: NDArray[np.float64], same: NDArray[np.bool_]) -> None:
    for figure in (roc, auc, eer, best_threshold):
        with pytest.raises(ProtocolError):
            figure(distances, same)


def test_folds_without_both_kinds_are_refused() -> None:
    with pytest.raises(ProtocolError, match="at least 2"):
        fold_accuracy(DISTANCES, protocol(SAME, np.zeros(5, dtype=np.int64)))
    with pytest.raises(ProtocolError, match="fold 1: 0 genuine of 2"):
        fold_accuracy(
            np.array([0.1, 0.2, 0.3, 0.4]), protocol(np.array([True, False, False, False]), np.array([0, 0, 1, 1]))
        )
    with pytest.raises(InputError, match="not a rate"):
        tar_at_far(DISTANCES, SAME, 1.5)


def unit(n: int, seed: int = 0) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal((n, 16)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def test_pair_distances_by_hand() -> None:
    embeddings = np.array([[1, 0], [0, 1], [-1, 0]], dtype=np.float32)
    pairs = Pairs(
        ("a", "b", "c"), np.array([0, 0, 0]), np.array([0, 1, 2]), np.array([True] * 3), np.zeros(3, dtype=np.int64)
    )
    np.testing.assert_array_equal(pair_distances(embeddings, pairs), np.array([0, 2, 4], dtype=np.float32))


def test_pair_distances_refuse_what_is_no_unit_vector() -> None:
    pairs = protocol(np.array([True]), np.array([0]))
    with pytest.raises(InputError, match="one row for each of 2"):
        pair_distances(unit(3), pairs)
    with pytest.raises(InputError, match="row 1 has length 2"):
        pair_distances(unit(2) * np.array([[1], [2]], dtype=np.float32), pairs)
    with pytest.raises(InputError, match="row 0 has length nan"):
        pair_distances(unit(2) * np.array([[np.nan], [1]], dtype=np.float32), pairs)


def random_protocol(n_folds: int = 4, n: int = 40) -> tuple[NDArray[np.float32], Pairs]:
    random = np.random.default_rng(1)
    same = np.tile(np.repeat([True, False], n // 2), n_folds)
    left = random.integers(0, 60, len(same))
    right = np.where(same, left + 60, random.integers(60, 120, len(same)))
    base = unit(60)
    vectors = np.concatenate([base, base + 0.2 * unit(60, 2)])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = Pairs(tuple(map(str, range(120))), left, right, same, np.repeat(np.arange(n_folds), n))
    return vectors.astype(np.float32), pairs


def test_report_holds_what_the_figures_say(tmp_path: Path) -> None:
    embeddings, pairs = random_protocol()
    report = verify_pairs(embeddings, pairs, n_faces_not_found=3, setting={"model": "m"})
    assert report.accuracy == fold_accuracy(report.distances, pairs).mean
    assert report.accuracy_std == fold_accuracy(report.distances, pairs).std
    assert list(report.tar) == list(report.thresholds) == ["1e-1", "1e-2", "1e-3"]
    files = write_report(report, tmp_path / "out")
    content = json.loads(files["report"].read_text())
    assert content == report.to_dict()
    assert content["n_pairs"] == 160
    assert content["n_faces_not_found"] == 3
    assert content["model"] == "m"
    for plot in ("roc", "distances"):
        assert files[plot].read_bytes().startswith(b"\x89PNG")


def test_reported_folds_alone_make_the_figures() -> None:
    embeddings, pairs = random_protocol(2)
    both = verify_pairs(embeddings, pairs)
    one = verify_pairs(embeddings, pairs, report_folds=(1,))
    assert one.n_pairs == 40
    assert one.accuracy_std is None
    assert one.accuracy == both.fold_accuracies[1]
    assert one.fold_thresholds == both.fold_thresholds[1:]


def test_plots_repeat_byte_for_byte(tmp_path: Path) -> None:
    embeddings, pairs = random_protocol()
    report = verify_pairs(embeddings, pairs, setting={"model": "m"})
    first, second = (write_report(report, tmp_path / name) for name in ("a", "b"))
    for kind, path in first.items():
        assert path.read_bytes() == second[kind].read_bytes()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    embeddings, pairs = random_protocol()
    with pytest.raises(InputError, match="cannot be written"):
        write_report(verify_pairs(embeddings, pairs), tmp_path / "file" / "out")

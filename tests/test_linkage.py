"""Hand-computed and oracle: average linkage, its cut, and faces that must stay apart."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.cluster import AgglomerativeClustering

from facelet.errors import InputError
from facelet.linkage import merge_tree, squared_distances


def on_circle(*degrees: float) -> NDArray[np.float32]:
    """Unit vectors in the plane; two at an angle a have the squared distance 2 - 2 cos a."""
    angle = np.radians(degrees)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def test_heights_are_mean_squared_distances_worked_out_by_hand() -> None:
    # 0 and 10 join first: 2 - 2 cos 10. The third at 60 is 60 from one and 50 from the other:
    # (2 - 2 cos 60 + 2 - 2 cos 50) / 2 = (1 + 0.714425) / 2
    tree = merge_tree(on_circle(0, 10, 60))
    np.testing.assert_allclose(tree.heights, [2 - 2 * np.cos(np.radians(10)), 0.857212], atol=1e-5)
    assert tree.cut(0.03).tolist() == [0, 1, 2]
    assert tree.cut(0.04).tolist() == [0, 0, 1]
    assert tree.cut(0.85).tolist() == [0, 0, 1]
    assert tree.cut(0.86).tolist() == [0, 0, 0]
    assert tree.cut(float(tree.heights[0])).tolist() == [0, 1, 2]  # below the threshold, not at it


def test_clusters_are_numbered_by_their_first_face() -> None:
    assert merge_tree(on_circle(0, 90, 2, 180, 92)).cut(0.5).tolist() == [0, 1, 0, 2, 1]


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.8, 1.3, 1.9, 4.0])
def test_a_cut_is_what_scikit_learn_finds_at_the_threshold(threshold: float) -> None:
    random = np.random.default_rng(0)
    vectors = random.standard_normal((60, 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = AgglomerativeClustering(
        n_clusters=None, distance_threshold=threshold, metric="precomputed", linkage="average"
    ).fit_predict(squared_distances(vectors))
    found = merge_tree(vectors).cut(threshold)
    np.testing.assert_array_equal(found[:, None] == found, expected[:, None] == expected)


def test_faces_of_one_photo_stay_apart() -> None:
    same = on_circle(0, 0, 0.5)
    assert merge_tree(same).cut(1.0).tolist() == [0, 0, 0]
    assert len(set(merge_tree(same, apart=np.array([7, 7, 8])).cut(1.0).tolist())) == 2
    assert merge_tree(same, apart=np.array([-1, -1, -1])).cut(1.0).tolist() == [0, 0, 0]


def test_one_face_is_one_cluster_and_none_or_too_many_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert merge_tree(on_circle(5)).cut(1.0).tolist() == [0]
    with pytest.raises(InputError, match="0 faces"):
        merge_tree(np.empty((0, 2), np.float32))
    monkeypatch.setattr("facelet.linkage.MAX_FACES", 2)
    with pytest.raises(InputError, match="3 faces"):
        merge_tree(on_circle(0, 1, 2))

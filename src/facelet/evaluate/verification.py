"""How well distances tell genuine from impostor pairs: accuracy over folds, ROC, AUC, EER, TAR at FAR.

NumPy in, numbers out. Distances are squared Euclidean distances of unit embeddings, in [0, 4]; a pair is called
genuine where its distance is *below* the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facelet.data.pairs import Pairs
from facelet.errors import InputError, ProtocolError
from facelet.linkage import squared_distances

FARS: dict[str, float] = {"1e-1": 1e-1, "1e-2": 1e-2, "1e-3": 1e-3}
"""The false accept rates of every report, by the key that reports and cards use."""

Floats = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class FoldAccuracy:
    """Accuracy of each fold at the threshold that the other folds choose.

    Attributes:
        accuracies: `(n_folds,)` float64 in [0, 1].
        thresholds: `(n_folds,)` float64 in [0, 4].
    """

    accuracies: NDArray[np.float64]
    thresholds: NDArray[np.float64]

    @property
    def mean(self) -> float:
        """Of the folds' accuracies."""
        return float(self.accuracies.mean())

    @property
    def std(self) -> float:
        """Standard deviation of the folds' accuracies, with n - 1 in the denominator.

        Source: Huang et al., "Labeled Faces in the Wild", 2007, section 4.1.
        """
        return float(self.accuracies.std(ddof=1))


@dataclass(frozen=True, eq=False)
class Roc:
    """Every operating point that the distances allow, from accepting nothing to accepting everything.

    Attributes:
        thresholds: `(n,)` float64 ascending; the first accepts nothing, the last everything.
        far: `(n,)` float64, share of impostor pairs that are accepted.
        tar: `(n,)` float64, share of genuine pairs that are accepted.
    """

    thresholds: NDArray[np.float64]
    far: NDArray[np.float64]
    tar: NDArray[np.float64]


def pair_distances(embeddings: NDArray[np.float32], pairs: Pairs) -> NDArray[np.float32]:
    """Returns the squared Euclidean distance of each pair.

    Args:
        embeddings: unit vectors, one per `pairs.images`, `(n_images, d)` float32.
        pairs: the protocol.

    Returns:
        `(n_pairs,)` float32 in [0, 4].

    Raises:
        InputError: another number of embeddings, not of unit length, or not finite.
    """
    if embeddings.ndim != 2 or len(embeddings) != len(pairs.images):
        raise InputError(
            f"embeddings: shape {embeddings.shape}; expected one row for each of {len(pairs.images)} images"
        )
    lengths = np.linalg.norm(embeddings, axis=1)
    wrong = np.flatnonzero(~(np.abs(lengths - 1) < 1e-3))
    if len(wrong):
        raise InputError(f"embeddings: row {wrong[0]} has length {lengths[wrong[0]]:.4g}; expected unit vectors")
    differences = embeddings[pairs.left] - embeddings[pairs.right]
    distances = np.einsum("ij,ij->i", differences, differences)
    return np.asarray(np.clip(distances, 0.0, 4.0), dtype=np.float32)


def all_couples(
    embeddings: NDArray[np.float32], person: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Squared distances of all couples of n images, and which show one person, `(n (n - 1) / 2,)` each.

    Args:
        embeddings: unit vectors, `(n, d)` float32.
        person: in each image, `(n,)` int64.
    """
    first, second = np.triu_indices(len(person), 1)
    return squared_distances(embeddings)[first, second], person[first] == person[second]


def roc(distances: Floats, same: NDArray[np.bool_]) -> Roc:
    """Returns all operating points; thresholds lie midway between neighbouring distances.

    Args:
        distances: `(n_pairs,)`.
        same: `(n_pairs,)` bool.

    Raises:
        ProtocolError: lengths differ, a distance is not finite, or there is no genuine or no impostor pair.
    """
    distances = _checked(distances, same)
    values, inverse = np.unique(distances, return_inverse=True)
    genuine = np.bincount(inverse, weights=same, minlength=len(values))
    impostor = np.bincount(inverse, weights=~same, minlength=len(values))
    middles = (values[:-1] + values[1:]) / 2
    middles = np.where(middles > values[:-1], middles, values[1:])  # neighbours in float64 have no number between them
    return Roc(
        thresholds=np.concatenate([values[:1], middles, [np.nextafter(values[-1], np.inf)]]),
        far=np.concatenate([[0], np.cumsum(impostor)]) / impostor.sum(),
        tar=np.concatenate([[0], np.cumsum(genuine)]) / genuine.sum(),
    )


def best_threshold(distances: Floats, same: NDArray[np.bool_]) -> tuple[float, float]:
    """Returns the threshold of highest accuracy among all that differ, and that accuracy.

    Every gap between neighbouring distances is tried. Where several are equally good, the middle one of them is
    taken, which is the surest guess for pairs not seen.

    Raises:
        ProtocolError: as `roc`.
    """
    points = roc(distances, same)
    n_genuine = int(same.sum())
    n_impostor = len(same) - n_genuine
    correct = np.rint(points.tar * n_genuine) + n_impostor - np.rint(points.far * n_impostor)
    best = np.flatnonzero(correct == correct.max())
    return float(points.thresholds[best[len(best) // 2]]), float(correct.max() / len(same))


def fold_accuracy(distances: Floats, pairs: Pairs) -> FoldAccuracy:
    """Accuracy of each fold at the threshold that is best on the other folds.

    Args:
        distances: `(n_pairs,)` in [0, 4].
        pairs: the protocol; `pairs.same` `(n_pairs,)` bool, `pairs.fold` `(n_pairs,)` int.

    Raises:
        ProtocolError: fewer than two folds, or a fold has no genuine or no impostor pair.

    Source: Huang et al., "Labeled Faces in the Wild", 2007, section 4.1.
    """
    distances = _checked(distances, pairs.same)
    folds = np.unique(pairs.fold)
    if len(folds) < 2:
        raise ProtocolError(f"folds: found {len(folds)}; a threshold from the other folds needs at least 2")
    for fold in folds:
        inside = pairs.fold == fold
        n_genuine = int(pairs.same[inside].sum())
        if n_genuine in (0, int(inside.sum())):
            raise ProtocolError(
                f"fold {fold}: {n_genuine} genuine of {int(inside.sum())} pairs; each fold needs both kinds"
            )
    accuracies, thresholds = [], []
    for fold in folds:
        inside = pairs.fold == fold
        threshold, _ = best_threshold(distances[~inside], pairs.same[~inside])
        thresholds.append(threshold)
        accuracies.append(accuracy_at(distances[inside], pairs.same[inside], threshold))
    return FoldAccuracy(np.array(accuracies), np.array(thresholds))


def accuracy_at(distances: Floats, same: NDArray[np.bool_], threshold: float) -> float:
    """Returns the share of pairs that are told rightly at a threshold."""
    return float(np.mean((np.asarray(distances, dtype=np.float64) < threshold) == same))


def auc(distances: Floats, same: NDArray[np.bool_]) -> float:
    """Area under the ROC: the chance that a genuine pair is nearer than an impostor pair, ties counted half.

    Raises:
        ProtocolError: as `roc`.
    """
    distances = _checked(distances, same)
    genuine, impostor = distances[same], np.sort(distances[~same])
    below = np.searchsorted(impostor, genuine, side="left")
    up_to = np.searchsorted(impostor, genuine, side="right")
    return float(1 - np.mean((below + up_to) / 2) / len(impostor))


def eer(distances: Floats, same: NDArray[np.bool_]) -> float:
    """Equal error rate: where the line through the ROC's points crosses FAR = 1 - TAR.

    Raises:
        ProtocolError: as `roc`.
    """
    points = roc(distances, same)
    excess = points.far - (1 - points.tar)  # rises from -1 to 1
    after = int(np.argmax(excess >= 0))
    before = after - 1
    part = -excess[before] / (excess[after] - excess[before])
    return float(points.far[before] + part * (points.far[after] - points.far[before]))


def tar_at_far(distances: Floats, same: NDArray[np.bool_], far: float) -> float:
    """Share of genuine pairs accepted at `threshold_at_far`.

    Nothing is interpolated: with n impostor pairs, a FAR below 1 / n asks for no false accept at all.

    Raises:
        InputError: `far` is outside [0, 1].
        ProtocolError: as `roc`.
    """
    threshold = threshold_at_far(distances, same, far)
    return float(np.mean(np.asarray(distances, dtype=np.float64)[same] < threshold))


def threshold_at_far(distances: Floats, same: NDArray[np.bool_], far: float) -> float:
    """Highest threshold whose measured FAR is at most `far`.

    Raises:
        InputError: `far` is outside [0, 1].
        ProtocolError: as `roc`.
    """
    return impostor_threshold(_checked(distances, same)[~same], far)


def impostor_threshold(impostors: Floats, far: float) -> float:
    """Highest threshold below which at most the share `far` of impostor distances lies.

    With k = floor(far n) accepts allowed that is the distance number k in ascending order, counted from 0: those
    before it lie below, and it does not. Where all may be accepted, it is the least number above 4.

    Args:
        impostors: `(n,)`, n at least 1, finite.
        far: fraction in [0, 1].

    Raises:
        InputError: `far` is outside [0, 1].
    """
    if not 0 <= far <= 1:
        raise InputError(f"far: {far} is not a rate; expected a fraction in [0, 1]")
    allowed = int(far * len(impostors) + 1e-9)
    if allowed >= len(impostors):
        return float(np.nextafter(max(4.0, float(impostors.max())), np.inf))
    return float(np.partition(impostors, allowed)[allowed])


def _checked(distances: Floats, same: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Returns the distances as float64 where they fit a protocol."""
    if distances.ndim != 1 or distances.shape != same.shape:
        raise ProtocolError(f"distances {distances.shape} and same {same.shape}; expected both (n_pairs,)")
    if not np.isfinite(distances).all():
        raise ProtocolError(f"distances: number {int(np.argmin(np.isfinite(distances)))} is not finite")
    if same.all() or not same.any():
        raise ProtocolError(f"pairs: {int(same.sum())} genuine of {len(same)}; both kinds are needed")
    return distances.astype(np.float64)

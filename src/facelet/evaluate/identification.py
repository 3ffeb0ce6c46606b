"""Who is it: ranks of probes against a gallery (closed set), and detection and identification rate (open set).

NumPy in, numbers out. Protocol: the gallery holds the first image of every person with two images or more; the rest of
their images are the probes; the only image of everyone else is an impostor, whose person is not in the gallery.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facelet.errors import InputError, ProtocolError
from facelet.evaluate.verification import impostor_threshold
from facelet.linkage import squared_distances

RANKS = (1, 5)
"""Ranks of every report."""

IDENTIFICATION_FARS: dict[str, float] = {"1e-1": 1e-1, "1e-2": 1e-2}
"""False alarm rates of every report: share of impostors that are taken for someone in the gallery."""

BLOCK = 512
"""Probes whose distances to the gallery are held at once."""


@dataclass(frozen=True, eq=False)
class Identification:
    """What each probe met in the gallery.

    Attributes:
        rank: of each probe's own person, from 1, `(n_probes,)` int64; others as near as the own count as nearer.
        distance: of each probe to its own person's gallery image, `(n_probes,)` float32 in [0, 4].
        impostor: of each impostor to the nearest gallery image, `(n_impostors,)` float32 in [0, 4].
        n_gallery: people in the gallery.
    """

    rank: NDArray[np.int64]
    distance: NDArray[np.float32]
    impostor: NDArray[np.float32]
    n_gallery: int

    def rank_rate(self, rank: int) -> float:
        """Share of probes whose own person is among the `rank` nearest of the gallery.

        Source: Phillips, Grother, Micheals, "Evaluation methods in face recognition", in Handbook of Face
        Recognition, 2005 (cumulative match characteristic).
        """
        return float(np.mean(self.rank <= rank))

    def dir_at_far(self, far: float) -> float:
        """Detection and identification rate: share of probes whose own person is nearest and below the threshold.

        Raises:
            InputError: `far` is outside [0, 1].
            ProtocolError: there are no impostors.

        Source: as `rank_rate` (open-set watch list at rank 1).
        """
        return float(np.mean((self.rank == 1) & (self.distance < self.threshold_at_far(far))))

    def threshold_at_far(self, far: float) -> float:
        """Highest threshold at which at most the share `far` of impostors is taken for someone in the gallery.

        Raises:
            InputError: `far` is outside [0, 1].
            ProtocolError: there are no impostors.
        """
        if not len(self.impostor):
            raise ProtocolError("identification: nobody has one image only; an open set needs impostors")
        return impostor_threshold(self.impostor, far)


def identify_all(embeddings: NDArray[np.float32], person: NDArray[np.int64]) -> Identification:
    """Compares every probe and every impostor with the gallery.

    Args:
        embeddings: unit vectors, `(n_images, d)` float32.
        person: number of the person in each image, `(n_images,)` int64 from 0; the first image of each in this order
            is its gallery image.

    Raises:
        InputError: another number of embeddings than of people.
        ProtocolError: nobody has two images.
    """
    if embeddings.ndim != 2 or person.shape != embeddings.shape[:1]:
        raise InputError(f"embeddings {embeddings.shape} and person {person.shape}; expected (n, d) and (n,)")
    count = np.bincount(person)[person]
    is_gallery = np.zeros(len(person), dtype=np.bool_)
    is_gallery[np.unique(person, return_index=True)[1]] = True
    is_gallery &= count > 1
    gallery = np.flatnonzero(is_gallery)
    probes, impostors = np.flatnonzero(~is_gallery & (count > 1)), np.flatnonzero(count == 1)
    if not len(gallery):
        raise ProtocolError(f"identification: none of {len(person)} images is a second one of its person")
    place = np.empty(int(person.max()) + 1, dtype=np.int64)
    place[person[gallery]] = np.arange(len(gallery))
    ranks, own, nearest = [], [], []
    for index in _blocks(probes):
        distances = squared_distances(embeddings[index], embeddings[gallery])
        mine = distances[np.arange(len(index)), place[person[index]]]
        ranks.append((distances <= mine[:, None]).sum(axis=1))
        own.append(mine)
    for index in _blocks(impostors):
        nearest.append(squared_distances(embeddings[index], embeddings[gallery]).min(axis=1))
    empty = np.empty(0, np.float32)
    return Identification(np.concatenate(ranks), np.concatenate(own), np.concatenate([empty, *nearest]), len(gallery))


def _blocks(index: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Parts of at most `BLOCK`; none of nothing."""
    return [index[start : start + BLOCK] for start in range(0, len(index), BLOCK)]

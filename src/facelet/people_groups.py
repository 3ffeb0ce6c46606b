"""Groups of faces as people: named, ordered, each with its distances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facelet.linkage import squared_distances


@dataclass(frozen=True)
class Person:
    """One group of faces.

    Attributes:
        name: of its folder.
        faces: their numbers, nearest to the group's mean direction first.
        distances: squared distance of each to the mean direction.
        widest: largest squared distance of two faces of the group; 0 for one face.
        nearest: name of the group at the smallest mean squared distance, None where there is no other.
        nearest_distance: that distance, of the embeddings alone: it does not know which faces share a photo.
    """

    name: str
    faces: tuple[int, ...]
    distances: tuple[float, ...]
    widest: float
    nearest: str | None
    nearest_distance: float | None


def group_people(embeddings: NDArray[np.float32], label: NDArray[np.int64], photo: Sequence[int]) -> list[Person]:
    """The groups, those with most photos first, and of equals the one whose first face comes first.

    Args:
        embeddings: unit vectors, `(n, d)` float32.
        label: `(n,)` int64, the group of each face, from 0.
        photo: number of the photo that each face is in.
    """
    members = [np.flatnonzero(label == number) for number in range(int(label.max()) + 1)]
    members.sort(key=lambda faces: (-len({photo[int(face)] for face in faces}), int(faces[0])))
    digits = max(3, len(str(len(members))))
    names = [f"person-{number:0{digits}d}" for number in range(1, len(members) + 1)]
    means = np.stack([embeddings[faces].mean(axis=0) for faces in members])
    between = np.clip(2 - 2 * (means @ means.T), 0.0, 4.0)  # of unit vectors this is the mean over all couples
    np.fill_diagonal(between, np.inf)
    people = []
    for number, faces in enumerate(members):
        direction = means[number] / max(float(np.linalg.norm(means[number])), 1e-9)
        distance = squared_distances(embeddings[faces], direction[None])[:, 0]
        order = np.argsort(distance, kind="stable")
        within = squared_distances(embeddings[faces])
        other = int(np.argmin(between[number]))
        alone = len(members) == 1
        people.append(
            Person(
                names[number],
                tuple(int(face) for face in faces[order]),
                tuple(round(float(value), 4) for value in distance[order]),
                round(float(np.triu(within, 1).max()), 4),
                None if alone else names[other],
                None if alone else round(float(between[number, other]), 4),
            )
        )
    return people

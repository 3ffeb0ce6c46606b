"""`People`, the noun of identification and clustering: images, and who is in each. LFW's by its published lists."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facelet.data.lfw import load_lfw


@dataclass(frozen=True)
class People:
    """Images with the person that each shows.

    Attributes:
        images: one key per image, `(n_images,)`; a path below the data folder or a running number.
        person: number of the person in each image, `(n_images,)` int64 from 0.
    """

    images: tuple[str, ...]
    person: NDArray[np.int64]

    @property
    def n_people(self) -> int:
        """Number of different people."""
        return len(np.unique(self.person))

    def at_least(self, n_images: int) -> NDArray[np.int64]:
        """Indices of the images whose person has at least `n_images` of them, `(m,)` int64, ascending."""
        return np.flatnonzero(np.bincount(self.person)[self.person] >= n_images)


def load_lfw_people(data_dir: str | Path, cache_dir: Path | None = None) -> tuple[People, Path]:
    """Returns every image that LFW's lists of pairs name, sorted by name and number, with its person.

    With the published `pairs.txt`, `pairsDevTrain.txt` and `pairsDevTest.txt` these are 9,056 images of 4,911 people,
    of whom 1,650 have two images or more (5,795 images) and 3,261 have one. Images of a folder that no list names are
    left out, so that the figures are the same on the whole of LFW and on the named part.

    Args:
        data_dir: as for `load_lfw`.
        cache_dir: as for `load_lfw`.

    Returns:
        The people, with `images` as `Name/Name_0001.jpg`, and the image folder.

    Raises:
        MissingFileError: the folder, a list, the images or one image is not there.
        ProtocolError: a list is not as published, or the archive is damaged.
    """
    views = [load_lfw(data_dir, view=view, cache_dir=cache_dir) for view in (1, 2)]
    images = tuple(sorted({key for pairs, _ in views for key in pairs.images}))
    _, person = np.unique([key.split("/")[0] for key in images], return_inverse=True)
    return People(images, person.astype(np.int64)), views[0][1]

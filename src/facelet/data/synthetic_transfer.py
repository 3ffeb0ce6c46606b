"""Synthetic faces as a transfer set: labelled, free of real people, there without any download."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np

from facelet.data.synthetic import synthetic_faces
from facelet.data.transfer import TransferSet

SYNTHETIC_SOURCES = ("synthetic faces",)
"""The sources of such a set, which tell it from one of real crops."""


def synthetic_transfer_set(
    n_identities: int, photos_per_identity: int, seed: int, progress: Callable[[int, int], None] | None = None
) -> TransferSet:
    """A transfer set of people who do not exist.

    Args:
        progress: called with (done, total) faces.

    Raises:
        InputError: a count below 1, or a negative seed.
    """
    total = n_identities * photos_per_identity
    done = 0

    def tell(made: int) -> None:
        nonlocal done
        done += made
        if progress is not None:
            progress(done, total)

    crops, identity, _ = synthetic_faces(n_identities, photos_per_identity, seed, tell)
    key = hashlib.sha256(crops.tobytes()).hexdigest()[:24]
    return TransferSet(crops, identity, np.zeros(total, np.int64), SYNTHETIC_SOURCES, key)

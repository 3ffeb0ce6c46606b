"""Which labelled people measure instead of teaching: a hash of the name decides.

The choice depends on nothing but the name, so it is the same on every machine, in every order of the shards and
whatever is added later. `transfer.open_transfer_set` can leave these people out; `heldout_people` measures on them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

HELDOUT_FRACTION = 0.1
"""Share of the names that are held out."""

HELDOUT_NOTE = "without the held-out people"
"""In a card's `data` where the weights were trained without them."""


def heldout_identities(
    names: Sequence[str], fraction: float = HELDOUT_FRACTION, start: float = 0.0
) -> NDArray[np.bool_]:
    """Whether each identity is held out.

    The first 32 bits of the sha256 of the name, as a fraction of 2^32, lie in `[start, start + fraction)`. Of a name
    such as "celeba/celeba-6809" only what follows the last slash counts, so that one person in two sources is held out
    in both.

    Args:
        names: of the identities.
        fraction: expected share, in [0, 1].
        start: 0 for those that the commands hold out; elsewhere for as many others, in [0, 1].

    Returns:
        `(n_identities,)` bool.
    """
    digests = [hashlib.sha256(name.rsplit("/", 1)[-1].encode("utf-8", "surrogateescape")).digest() for name in names]
    place = np.array([int.from_bytes(digest[:4]) for digest in digests], dtype=np.float64) / 2**32
    return np.asarray((start <= place) & (place < start + fraction), dtype=np.bool_)

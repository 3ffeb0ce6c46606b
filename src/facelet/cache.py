"""Where this package keeps what it downloaded, computed or compiled."""

from __future__ import annotations

import os
from pathlib import Path

from facelet.errors import InputError

CACHE_VARIABLE = "FACELET_CACHE"

MEND = f"set {CACHE_VARIABLE} to a folder that can be written"
"""What to do where the cache cannot be used."""


def is_cached(path: str | Path) -> bool:
    """Whether a path lies in the cache, or is a folder that holds it, such as a home that cannot be written."""
    try:
        cache, place = cache_dir().absolute(), Path(path).absolute()
    except InputError:
        return False
    return place.is_relative_to(cache) or cache.is_relative_to(place)


def cache_dir() -> Path:
    """The folder of the cache: `FACELET_CACHE`, else `facelet` below the user's cache folder.

    Raises:
        InputError: the user has no home folder, and the variable names none that does without.
    """
    chosen, system = os.environ.get(CACHE_VARIABLE), os.environ.get("XDG_CACHE_HOME")
    try:
        if chosen:
            return Path(chosen).expanduser()
        return (Path(system) if system else Path.home() / ".cache") / "facelet"
    except RuntimeError as error:
        raise InputError(f"cache: no home folder; {MEND}") from error

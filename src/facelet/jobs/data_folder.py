"""The folder of measuring data that is taken where none is given."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "FACELET_DATA"


def data_folder(given: Path | None) -> Path | None:
    """The given folder, else the one that the environment variable `FACELET_DATA` names, else None."""
    named = os.environ.get(VARIABLE)
    return given if given is not None or not named else Path(named)

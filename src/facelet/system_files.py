"""Files that a system leaves beside people's own: nobody packed them as pictures, shards or archives."""

from __future__ import annotations

from pathlib import PurePath

SYSTEM_NAMES = frozenset(
    ("__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "thumbs.db", "desktop.ini")
)
"""Files and folders of macOS archives, Synology and Windows, in lower case; all other systems hide theirs by a dot."""


def is_system_file(path: PurePath) -> bool:
    """Whether a path leads to a hidden file (`._photo.jpg` of macOS, `.DS_Store`) or to one that a system keeps.

    Args:
        path: relative to the folder or archive that was given, whose own name does not count.
    """
    return any(part.startswith(".") or part.lower() in SYSTEM_NAMES for part in path.parts)

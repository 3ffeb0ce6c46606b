"""The photos in a folder and below it, and the folders there that are not looked into."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from facelet.errors import InputError, MissingFileError, reason, shown
from facelet.faces.formats import HEAD_BYTES, is_photo_head, is_photo_name
from facelet.system_files import is_system_file

LINK = "a link to a folder, which is not followed"


@dataclass(frozen=True)
class PhotoFolder:
    """What a folder holds.

    Attributes:
        folder: where the photos are, in it and below it.
        photos: every file whose name or content promises a photo, readable or not, in the order of their paths.
        not_entered: folders below it that are not looked into, with the reason: links, and those that are closed.
    """

    folder: Path
    photos: tuple[Path, ...]
    not_entered: tuple[tuple[Path, str], ...]


def list_photos(folder: Path) -> PhotoFolder:
    """Looks for photos in a folder and below it, without what `is_system_file` names.

    A file counts by the ending of its name, in any case, or by its first bytes where the ending is not that of a photo.
    Files that look like photos and cannot be read count too: links to nothing, formats that are not read.

    Raises:
        MissingFileError: no such folder.
        InputError: not a folder, one that cannot be read, or nothing in it that promises a photo.
    """
    name = shown(folder)
    try:
        if not folder.exists():
            raise MissingFileError(f"{name}: no such folder; give a folder of photos")
    except (OSError, ValueError) as error:  # a name that is too long, a zero byte
        if isinstance(error, MissingFileError):
            raise
        raise InputError(f"{name}: cannot be read ({reason(error)}); give a folder of photos") from error
    if not folder.is_dir():
        raise InputError(f"{name}: not a folder; give a folder of photos")
    photos: list[Path] = []
    not_entered: list[tuple[Path, str]] = []

    def closed(error: OSError) -> None:
        not_entered.append((Path(error.filename), error.strerror or "cannot be read"))

    for here, folders, files in os.walk(folder, onerror=closed):
        place = Path(here)
        folders[:] = [below for below in folders if not is_system_file(Path(below))]
        not_entered += [(place / below, LINK) for below in folders if (place / below).is_symlink()]
        photos += [place / file for file in files if not is_system_file(Path(file)) and _is_photo(place / file)]
    if (first := next((why for path, why in not_entered if path == folder), None)) is not None:
        raise InputError(f"{name}: cannot be read ({first}); give a folder of photos")
    if not photos:
        left = f"; {len(not_entered)} folders in it are links or closed" if not_entered else ""
        raise InputError(f"{name}: holds no photos{left}; expected files such as .jpg, .png, .webp, .avif")
    return PhotoFolder(folder, tuple(sorted(photos)), tuple(sorted(not_entered)))


def _is_photo(path: Path) -> bool:
    """Whether a file promises a photo; pipes and devices are not opened, as they might never answer."""
    if is_photo_name(path.name):
        return True
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        with path.open("rb") as file:
            return is_photo_head(file.read(HEAD_BYTES))
    except OSError:
        return False

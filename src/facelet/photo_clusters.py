"""A folder of photos sorted by person: finds every face, clusters the embeddings, writes folders and a page."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facelet.atomic import check_new_folder, new_folder
from facelet.benchmark import Progress, embed_crops, no_progress
from facelet.cluster_record import (
    UNCLEAR,
    UNSORTED,
    contact_sheet,
    file_names,
    people_entries,
    place_photos,
    unclear_entries,
)
from facelet.embedder import Embedder
from facelet.errors import FaceNotFoundError, InputError, shown
from facelet.faces.detect import Detector
from facelet.found_faces import FoundFace, find_faces
from facelet.linkage import merge_tree
from facelet.model import checked_threshold
from facelet.people_groups import Person, group_people
from facelet.photo_folder import list_photos

SHEET_FILE, RECORD_FILE = "index.html", "clusters.json"

PRINTS = 1 / 8
"""Of the threshold: two faces of one photo that are nearer are prints of one picture. With `facelet_s` and
`mobilenet_v2_035` that is 0.16; prints of synthetic faces at 0.4 to 1.3 times their size, as JPEG of quality 40 or
better, are at most 0.09 from the original, other photos of that person 0.8 to 1.2."""


@dataclass(frozen=True)
class SortOptions:
    """How photos are sorted.

    Attributes:
        folder: where the photos are, in it and below it.
        out: the new folder; not there yet, or empty.
        threshold: squared distance in (0, 4] below which groups of faces are joined.
        min_face: shorter side in pixels of the smallest detector's box that counts as a face.
        align: False cuts the detector's box in place of alignment.
        link: symbolic links to the photos in place of copies.
    """

    folder: Path
    out: Path
    threshold: float
    min_face: int = 24
    align: bool = True
    link: bool = False


def check_options(options: SortOptions) -> None:
    """Refuses options that cannot be meant, before any model is loaded.

    Raises:
        InputError: a threshold outside (0, 4], a negative size, or an `out` that is in use or inside the photos.
    """
    checked_threshold("--threshold", options.threshold)
    if options.min_face < 0:
        raise InputError(f"--min-face: must be 0 pixels or more, found {options.min_face}")
    out = options.out
    check_new_folder(out)
    if out.resolve().is_relative_to(options.folder.resolve()):
        raise InputError(f"{out}: lies inside the photos of {options.folder}; give a folder outside")


def sort_photos(
    options: SortOptions, embedder: Embedder, detector: Detector, progress: Progress = no_progress
) -> dict[str, Any]:
    """Sorts photos by person into a new folder, which appears whole or not at all.

    Every face of every photo counts, so a photo with several people goes into each one's folder. Two faces of one photo
    count as far apart, unless they are prints of one picture; many other couples of a large group can outvote that.
    Faces are joined by average linkage (`linkage.merge_tree`). Faces that are too unclear to compare (`faces.quality`)
    join nobody; their photos go to a folder of their own.

    Returns:
        What `clusters.json` holds: model, threshold, people with their faces, unclear faces, photos without a face,
        unreadable ones, folders that were not looked into, notes.

    Raises:
        MissingFileError: no such folder.
        InputError: options that cannot be used, too many faces, or a place that cannot be written.
        FaceNotFoundError: none of the photos shows a face.
    """
    listing = list_photos(options.folder)
    photos, card = listing.photos, embedder.card
    check_options(options)
    with new_folder(options.out) as folder:
        template = card.template if options.align else "box"
        found = find_faces(photos, template, (card.height, card.width), options.min_face, detector, progress)
        unreadable = found.unreadable
        faces = [face for face in found.faces if not face.quality.poor]
        unclear = [face for face in found.faces if face.quality.poor]
        if not found.faces:
            raise FaceNotFoundError(
                f"{shown(options.folder)}: no face found by {detector.name} in {len(photos)} photos "
                f"({len(unreadable)} of them unreadable); try another --detector or a smaller --min-face"
            )
        people = _people(faces, embedder, options.threshold, progress) if faces else []
        names = [photo.relative_to(options.folder).as_posix() for photo in photos]
        known = {*(face.photo for face in found.faces), *unreadable}
        without = [number for number in range(len(photos)) if number not in known]
        unsorted = file_names(names, without, UNSORTED)
        record = {
            "model": card.name,
            "model_sha256": embedder.model.sha256,
            "detector": detector.name,
            "aligned": options.align,
            "threshold": options.threshold,
            "min_face": options.min_face,
            "n_photos": len(photos),
            "n_faces": len(found.faces),
            "n_people": len(people),
            "people": people_entries(people, faces, names),
            UNCLEAR: unclear_entries(unclear, names),
            UNSORTED: [{"photo": names[number], "file": unsorted[number]} for number in without],
            "unreadable": [{"photo": names[number], "reason": reason} for number, reason in unreadable.items()],
            "not_entered": [
                {"folder": path.relative_to(options.folder).as_posix(), "reason": reason}
                for path, reason in listing.not_entered
            ],
            "notes": [
                {"photo": names[number], "note": note} for number, notes in found.notes.items() for note in notes
            ],
        }
        with progress("photos") as advance:
            place_photos(folder, record, options.folder, options.link, advance)
        (folder / RECORD_FILE).write_text(json.dumps(record, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        (folder / SHEET_FILE).write_text(contact_sheet(record, faces, people, unclear), encoding="utf-8")
    return record


def _people(faces: list[FoundFace], embedder: Embedder, threshold: float, progress: Progress) -> list[Person]:
    """The people whose faces these are."""
    with progress("embeddings") as advance:
        embeddings = embed_crops(embedder, np.stack([face.crop for face in faces]), False, advance)
    photo_of = [face.photo for face in faces]
    tree = merge_tree(embeddings, np.array(photo_of, dtype=np.int64), PRINTS * threshold)
    return group_people(embeddings, tree.cut(threshold), photo_of)

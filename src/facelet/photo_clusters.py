"""A folder of photos sorted by person: finds every face, clusters the embeddings, writes folders and a page."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facelet.atomic import check_new_folder, new_folder
from facelet.benchmark import Progress, embed_crops, no_progress
from facelet.contact_sheet import Group, Tile, contact_sheet_page
from facelet.embedder import Embedder
from facelet.errors import FaceNotFoundError, ImageError, InputError, MissingFileError
from facelet.faces.detect import Detector, Face
from facelet.linkage import merge_tree, squared_distances
from facelet.model import checked_threshold
from facelet.photo import face_crops
from facelet.system_files import is_system_file

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
UNSORTED = "unsorted"
SHEET_FILE, RECORD_FILE = "index.html", "clusters.json"


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


@dataclass(frozen=True, eq=False)
class FoundFace:
    """One face of one photo.

    Attributes:
        photo: number of the photo.
        face: where it is.
        crop: `(height, width, 3)` uint8 RGB.
    """

    photo: int
    face: Face
    crop: NDArray[np.uint8]


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


def list_photos(folder: Path) -> list[Path]:
    """Returns the image files in a folder and below it, in the order of their paths, without `is_system_file`s.

    Raises:
        MissingFileError: no such folder.
        InputError: not a folder, or no image file in it.
    """
    if not folder.exists():
        raise MissingFileError(f"{folder}: no such folder; give a folder of photos")
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder; give a folder of photos")
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in PHOTO_SUFFIXES and path.is_file() and not is_system_file(path.relative_to(folder))
    )
    if not found:
        raise InputError(f"{folder}: holds no photos; expected files such as {', '.join(PHOTO_SUFFIXES[:4])}")
    return found


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
    count as far apart, which many other couples of a large group can outvote. Faces are joined by average linkage
    (`linkage.merge_tree`).

    Returns:
        What `clusters.json` holds: model, threshold, people with their faces, photos without a face, unreadable ones.

    Raises:
        MissingFileError: no such folder, or a photo that is gone before it is copied.
        InputError: options that cannot be used, too many faces, or a place that cannot be written.
        FaceNotFoundError: none of the photos shows a face.
    """
    photos = list_photos(options.folder)
    check_options(options)
    with new_folder(options.out) as folder:
        faces, unreadable = _find_faces(options, photos, embedder, detector, progress)
        if not faces:
            raise FaceNotFoundError(
                f"{options.folder}: no face found by {detector.name} in {len(photos)} photos "
                f"({len(unreadable)} of them unreadable); try another --detector or a smaller --min-face"
            )
        with progress("embeddings") as advance:
            embeddings = embed_crops(embedder, np.stack([face.crop for face in faces]), False, advance)
        tree = merge_tree(embeddings, apart=np.array([face.photo for face in faces], dtype=np.int64))
        people = _people(embeddings, tree.cut(options.threshold), [face.photo for face in faces])
        record = _record(options, photos, faces, people, unreadable, embedder, detector)
        with progress("photos") as advance:
            _place_photos(folder, record, options, advance)
        (folder / RECORD_FILE).write_text(json.dumps(record, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        (folder / SHEET_FILE).write_text(_sheet(record, faces, people), encoding="utf-8")
    return record


def _find_faces(
    options: SortOptions, photos: Sequence[Path], embedder: Embedder, detector: Detector, progress: Progress
) -> tuple[list[FoundFace], dict[int, str]]:
    """Every face that is large enough, and why photos could not be read, by number."""
    card = embedder.card
    template = card.template if options.align else "box"
    faces: list[FoundFace] = []
    unreadable: dict[int, str] = {}
    with progress("faces") as advance:
        for number, photo in enumerate(photos):
            try:
                for found in face_crops(photo, template, card.height, card.width, detector):
                    x0, y0, x1, y1 = found.face.box
                    if min(x1 - x0, y1 - y0) >= options.min_face:
                        faces.append(FoundFace(number, found.face, found.crop))
            except FaceNotFoundError:
                pass  # it goes to the unsorted
            except (ImageError, MissingFileError) as error:  # some photos go while the others are looked at
                unreadable[number] = str(error)
            advance(number + 1, len(photos))
    return faces, unreadable


def _people(embeddings: NDArray[np.float32], label: NDArray[np.int64], photo: Sequence[int]) -> list[Person]:
    """The groups, those with most photos first, and of equals the one whose first face comes first."""
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


def _record(
    options: SortOptions,
    photos: Sequence[Path],
    faces: Sequence[FoundFace],
    people: Sequence[Person],
    unreadable: dict[int, str],
    embedder: Embedder,
    detector: Detector,
) -> dict[str, Any]:
    """The content of `clusters.json`; every `file` is relative to the new folder, every `photo` to the old one."""
    shown = [photo.relative_to(options.folder).as_posix() for photo in photos]
    groups = []
    for person in people:
        places = _file_names(shown, dict.fromkeys(faces[face].photo for face in person.faces), person.name)
        groups.append(
            {
                "name": person.name,
                "n_photos": len(places),
                "n_faces": len(person.faces),
                "widest": person.widest,
                "nearest": person.nearest,
                "nearest_distance": person.nearest_distance,
                "faces": [
                    {
                        "photo": shown[faces[face].photo],
                        "file": places[faces[face].photo],
                        "box": [round(edge, 1) for edge in faces[face].face.box],
                        "score": round(faces[face].face.score, 4),
                        "distance": distance,
                    }
                    for face, distance in zip(person.faces, person.distances, strict=True)
                ],
            }
        )
    with_face = {face.photo for face in faces}
    left = [number for number in range(len(photos)) if number not in with_face and number not in unreadable]
    places = _file_names(shown, dict.fromkeys(left), UNSORTED)
    return {
        "model": embedder.card.name,
        "model_sha256": embedder.model.sha256,
        "detector": detector.name,
        "aligned": options.align,
        "threshold": options.threshold,
        "min_face": options.min_face,
        "n_photos": len(photos),
        "n_faces": len(faces),
        "n_people": len(people),
        "people": groups,
        UNSORTED: [{"photo": shown[number], "file": places[number]} for number in left],
        "unreadable": [{"photo": shown[number], "reason": reason} for number, reason in unreadable.items()],
    }


def _file_names(shown: Sequence[str], numbers: dict[int, None], folder: str) -> dict[int, str]:
    """A file in `folder` for each photo: its own name, with a number behind it where that is taken."""
    taken: set[str] = set()
    places = {}
    for number in numbers:
        path = Path(shown[number])
        name, copy = path.name, 2
        while name.lower() in taken:
            name, copy = f"{path.stem}-{copy}{path.suffix}", copy + 1
        taken.add(name.lower())
        places[number] = f"{folder}/{name}"
    return places


def _place_photos(target: Path, record: dict[str, Any], options: SortOptions, advance: Any) -> None:
    """Copies or links every photo to its places."""
    entries = [*(face for person in record["people"] for face in person["faces"]), *record[UNSORTED]]
    places = {entry["file"]: entry["photo"] for entry in entries}
    for done, (file, photo) in enumerate(places.items(), start=1):
        place, source = target / file, options.folder / photo
        place.parent.mkdir(exist_ok=True)
        _place_photo(source, place, options.link)
        advance(done, len(places))


def _place_photo(source: Path, place: Path, link: bool) -> None:
    """Copies or links a photo.

    Raises:
        MissingFileError: it is gone; any other error is that of the place.
    """
    try:
        if link:
            place.symlink_to(source.resolve(strict=True))
        else:
            shutil.copy2(source, place)
    except FileNotFoundError as error:
        if source.exists():
            raise
        raise MissingFileError(f"{source}: is gone since it was read; run again") from error


def _sheet(record: dict[str, Any], faces: Sequence[FoundFace], people: Sequence[Person]) -> str:
    """The contact sheet."""
    groups = []
    for person, entry in zip(people, record["people"], strict=True):
        note = f"{_count(entry['n_photos'], 'photo')}, {_count(entry['n_faces'], 'face')}"
        if entry["n_faces"] > 1:
            note += f"; widest pair {person.widest:.2f}"
        if person.nearest is not None:
            note += f"; nearest other {person.nearest} at {person.nearest_distance:.2f}"
        tiles = [
            Tile(faces[face].crop, shown["file"], shown["photo"], f"to the mean {shown['distance']:.2f}")
            for face, shown in zip(person.faces, entry["faces"], strict=True)
        ]
        groups.append(Group(person.name, note, tuple(tiles)))
    note = (
        f"{_count(record['n_faces'], 'face')} in {_count(record['n_photos'], 'photo')}, "
        f"{_count(record['n_people'], 'group')}. Model {record['model']}, detector {record['detector']}, groups joined "
        f"below {record['threshold']:.4f}. Distances are squared and lie in 0 to 4."
    )
    unsorted = [(entry["photo"], entry["file"]) for entry in record[UNSORTED]]
    unreadable = [(entry["reason"], None) for entry in record["unreadable"]]
    return contact_sheet_page(
        "Photos by person", note, groups, [("No face found", unsorted), ("Not readable", unreadable)]
    )


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"

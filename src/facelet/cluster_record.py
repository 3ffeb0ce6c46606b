"""What `clusters.json` and the contact sheet say about sorted photos, and the photos' places beside them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from facelet.contact_sheet import Group, Tile, contact_sheet_page
from facelet.errors import shown
from facelet.found_faces import FoundFace
from facelet.people_groups import Person

UNSORTED = "unsorted"
UNCLEAR = "unclear"
"""Folder, and key, of photos of faces that are too unclear to compare."""

NEARER = ", nearer than the threshold, but kept apart by photos that show both"

GONE = "is gone since it was looked at, or may not be read"


def people_entries(people: Sequence[Person], faces: Sequence[FoundFace], names: Sequence[str]) -> list[dict[str, Any]]:
    """The people as `clusters.json` has them; every `file` is relative to the new folder, every `photo` to the old one.

    Args:
        people: in their order.
        faces: all faces, by number.
        names: of the photos, by number.
    """
    entries = []
    for person in people:
        places = file_names(names, dict.fromkeys(faces[face].photo for face in person.faces), person.name)
        entries.append(
            {
                "name": person.name,
                "n_photos": len(places),
                "n_faces": len(person.faces),
                "widest": person.widest,
                "nearest": person.nearest,
                "nearest_distance": person.nearest_distance,
                "faces": [
                    {
                        "photo": names[faces[face].photo],
                        "file": places[faces[face].photo],
                        "box": [round(edge, 1) for edge in faces[face].face.box],
                        "turn": faces[face].face.turn,
                        "score": round(faces[face].face.score, 4),
                        "distance": distance,
                    }
                    for face, distance in zip(person.faces, person.distances, strict=True)
                ],
            }
        )
    return entries


def unclear_entries(faces: Sequence[FoundFace], names: Sequence[str]) -> list[dict[str, Any]]:
    """The faces that are too unclear to compare, with the reason, as `clusters.json` has them.

    Args:
        faces: those faces.
        names: of all photos, by number.
    """
    places = file_names(names, dict.fromkeys(face.photo for face in faces), UNCLEAR)
    return [
        {
            "photo": names[face.photo],
            "file": places[face.photo],
            "box": [round(edge, 1) for edge in face.face.box],
            "score": round(face.face.score, 4),
            "quality": round(face.quality.score, 4),
            "causes": list(face.quality.causes),
            "resolution": round(face.quality.resolution, 1),
        }
        for face in faces
    ]


def is_nearer(person: dict[str, Any], threshold: float) -> bool:
    """Whether a person of a record is nearer to another than the threshold, so that only shared photos part them."""
    return person["nearest_distance"] is not None and person["nearest_distance"] < threshold


def file_names(names: Sequence[str], numbers: Iterable[int], folder: str) -> dict[int, str]:
    """A file in `folder` for each photo: its own name, with a number behind it where that is taken.

    Args:
        names: of all photos, with folders.
        numbers: of those that go there, each once.
        folder: their folder.
    """
    taken: set[str] = set()
    places = {}
    for number in numbers:
        path = Path(names[number])
        name, copy = path.name, 2
        while name.lower() in taken:
            name, copy = f"{path.stem}-{copy}{path.suffix}", copy + 1
        taken.add(name.lower())
        places[number] = f"{folder}/{name}"
    return places


def place_photos(
    target: Path, record: dict[str, Any], source: Path, link: bool, advance: Callable[[int, int], None]
) -> None:
    """Copies or links every photo of a record to its places.

    A photo that went since it was looked at has none: its `file` becomes None, and it joins the unreadable ones.

    Args:
        target: the new folder.
        record: of the photos.
        source: folder of the photos.
        link: symbolic links in place of copies.
        advance: told how many of how many are placed.

    Raises:
        OSError: a place cannot be written.
    """
    entries = [*(face for person in record["people"] for face in person["faces"]), *record[UNCLEAR], *record[UNSORTED]]
    places = {entry["file"]: entry["photo"] for entry in entries}
    gone: dict[str, str] = {}
    for done, (file, photo) in enumerate(places.items(), start=1):
        place = target / file
        place.parent.mkdir(exist_ok=True)
        if not _place_photo(source / photo, place, link):
            gone[file] = photo
        advance(done, len(places))
    for entry in entries:
        if entry["file"] in gone:
            entry["file"] = None
    record["unreadable"] += [
        {"photo": photo, "reason": f"{shown(source / photo)}: {GONE}"} for photo in dict.fromkeys(gone.values())
    ]


def _place_photo(source: Path, place: Path, link: bool) -> bool:
    """Copies or links a photo; returns whether it is still there. Raises the errors of the place."""
    try:
        if link:
            place.symlink_to(source.resolve(strict=True))
        else:
            shutil.copy2(source, place)
    except OSError:
        if os.access(source, os.R_OK):
            raise
        return False
    return True


def contact_sheet(
    record: dict[str, Any], faces: Sequence[FoundFace], people: Sequence[Person], unclear: Sequence[FoundFace] = ()
) -> str:
    """The page of a record with its faces, those that are too unclear to compare last."""
    groups = []
    for person, entry in zip(people, record["people"], strict=True):
        note = f"{_count(entry['n_photos'], 'photo')}, {_count(entry['n_faces'], 'face')}"
        if entry["n_faces"] > 1:
            note += f"; widest pair {person.widest:.2f}"
        if person.nearest is not None:
            note += f"; nearest other {person.nearest} at {person.nearest_distance:.2f}"
            note += NEARER if is_nearer(entry, record["threshold"]) else ""
        tiles = [
            Tile(faces[face].crop, shown["file"], shown["photo"], f"to the mean {shown['distance']:.2f}")
            for face, shown in zip(person.faces, entry["faces"], strict=True)
        ]
        groups.append(Group(person.name, note, tuple(tiles)))
    if unclear:
        tiles = [
            Tile(face.crop, shown["file"], shown["photo"], str(face.quality))
            for face, shown in zip(unclear, record[UNCLEAR], strict=True)
        ]
        note = f"{_count(len(unclear), 'face')} too unclear to compare, so not sorted"
        groups.append(Group(UNCLEAR, note, tuple(tiles)))
    note = (
        f"{_count(record['n_faces'], 'face')} in {_count(record['n_photos'], 'photo')}, "
        f"{_count(record['n_people'], 'group')}. Model {record['model']}, detector {record['detector']}, groups joined "
        f"below {record['threshold']:.4f}. Distances are squared and lie in 0 to 4."
    )
    unsorted = [(entry["photo"], entry["file"]) for entry in record[UNSORTED]]
    lists: list[tuple[str, list[tuple[str, str | None]]]] = [
        ("No face found", unsorted),
        ("Not readable", [(entry["reason"], None) for entry in record["unreadable"]]),
        ("Folders not looked into", [(f"{e['folder']} ({e['reason']})", None) for e in record["not_entered"]]),
        ("Notes", [(entry["note"], None) for entry in record["notes"]]),
    ]
    return contact_sheet_page("Photos by person", note, groups, lists)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"

"""A very small LFW: four drawn people in the published layout, View 1 and View 2."""

from __future__ import annotations

from pathlib import Path

from drawn_faces import draw_face, write_photo

PEOPLE = ("Ada_Lovelace", "Alan_Turing", "Emmy_Noether", "Grace_Hopper")

PAIRS = """2\t2
Ada_Lovelace\t1\t2
Alan_Turing\t1\t2
Ada_Lovelace\t1\tAlan_Turing\t1
Ada_Lovelace\t2\tAlan_Turing\t2
Emmy_Noether\t1\t2
Grace_Hopper\t1\t2
Emmy_Noether\t1\tGrace_Hopper\t1
Emmy_Noether\t2\tGrace_Hopper\t2
"""
DEV_TRAIN = """1
Ada_Lovelace\t1\t2
Ada_Lovelace\t1\tAlan_Turing\t1
"""
DEV_TEST = """2
Emmy_Noether\t1\t2
Grace_Hopper\t1\t2
Emmy_Noether\t1\tGrace_Hopper\t1
Emmy_Noether\t1\tGrace_Hopper\t2
"""


def write_lists(folder: Path) -> Path:
    """Writes the three lists of pairs; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (("pairs", PAIRS), ("pairsDevTrain", DEV_TRAIN), ("pairsDevTest", DEV_TEST)):
        (folder / f"{name}.txt").write_text(content)
    return folder


def write_images(folder: Path, suffix: str = ".jpg") -> Path:
    """Writes two photos of each person as `Name/Name_0001.jpg`; returns the folder."""
    for number, name in enumerate(PEOPLE):
        for photo in (1, 2):
            write_photo(folder / name / f"{name}_{photo:04d}{suffix}", draw_face(10 * number + photo, 160))
    return folder


def write_lfw(folder: Path) -> Path:
    """Writes lists and images in one folder; returns it."""
    write_images(folder / "lfw")
    return write_lists(folder)

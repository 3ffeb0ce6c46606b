"""Invariant: a folder or a list of photos is worked through whatever lies among them, and what is left out is named."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conftest import Ended
from drawn_faces import draw_face, write_photo
from facelet.errors import InputError, shown
from facelet.faces import formats
from facelet.photo_folder import LINK, list_photos
from tiny_models import photo_model

Cli = Callable[..., Ended]

FACE = draw_face(1, 150, background=(230, 30, 30))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return photo_model(tmp_path / "m.onnx")


def as_kind(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(FACE).save(stream, kind)
    return stream.getvalue()


READ = {
    "a.jpg": "JPEG",
    "b.avif": "AVIF",
    "c.jp2": "JPEG2000",
    "d.jfif": "JPEG",
    "e.JPE": "JPEG",
    "f.TIF": "TIFF",
    "g.pnm": "PPM",
    "h.apng": "PNG",
    "IMG_0001": "JPEG",
    "no suffix.": "PNG",
    "misnamed.txt": "WEBP",
    "photo.png.part": "PNG",
    "wrong.png": "JPEG",
    "two\nlines.png": "PNG",
}
"""Names of files that are read, and what they hold."""


def fill(folder: Path) -> list[str]:
    """Makes files that are read and others that are not; returns the names of those that look like photos."""
    folder.mkdir(exist_ok=True)
    for name, kind in READ.items():
        (folder / name).write_bytes(as_kind(kind))
    for name in ("photo.heic", "photo.jxl", "photo.CR2", "photo.eps", "broken.avif"):
        (folder / name).write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" if name.endswith("heic") else b"not a photo")
    (folder / "dangling.png").symlink_to("nowhere.png")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / "empty.jfif").write_bytes(b"")
    os.mkfifo(folder / "pipe.jpeg")
    os.mkfifo(folder / "pipe")  # never opened, which would wait for a writer
    for name in ("notes.txt", "film.mp4", "list.json", "BM", ".hidden.jpg"):
        (folder / name).write_bytes(b"BM is not a photo" if not name.startswith(".") else as_kind("JPEG"))
    (folder / "dead").symlink_to("nowhere")
    left = [
        "photo.heic",
        "photo.jxl",
        "photo.CR2",
        "photo.eps",
        "broken.avif",
        "dangling.png",
        "loop.jpg",
        "empty.jfif",
    ]
    return [*left, "pipe.jpeg"]


@pytest.mark.usefixtures("clear_faces")
def test_every_file_that_is_read_is_sorted_and_the_others_are_named(
    cli: Cli, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "_register_heif", lambda: False)
    left = fill(tmp_path / "photos")
    out = tmp_path / "out"
    ended = cli("cluster", tmp_path / "photos", "--out", out, "--model", model, "--threshold", 0.3, "--threads", 1)
    assert ended.code == 0, ended.err
    record = json.loads((out / "clusters.json").read_text())
    found = [face["photo"] for person in record["people"] for face in person["faces"]]
    assert sorted(found) == sorted(READ)
    assert record["n_photos"] == len(READ) + len(left)
    assert sorted(entry["photo"] for entry in record["unreadable"]) == sorted(left)
    assert f"0 photos without a face, {len(left)} not readable" in ended.err
    page = (out / "index.html").read_text()
    for name in left:
        assert f"photos/{name}: " in ended.err
        assert f"{name}: " in page
    assert "HEIC, which needs an extra: pip install" in ended.err
    assert all("\n" not in entry["reason"] for entry in record["unreadable"])
    assert "two\\nlines.png" not in ended.err
    assert (out / "person-001" / "two\nlines.png").is_file()


@pytest.mark.parametrize("command", ["embed", "align"])
def test_skip_goes_on_behind_whatever_cannot_be_used(
    command: str, cli: Cli, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    left = fill(tmp_path / "photos")
    wall = write_photo(tmp_path / "wall.png", np.full((90, 90, 3), 120, np.uint8))
    broken = [tmp_path / "photos" / name for name in left if name != "photo.heic"]
    odd = [
        wall,
        tmp_path,
        tmp_path / "gone.png",
        tmp_path / ("x" * 300),
        Path("two\nlines/of.png"),
        *broken,
    ]
    good = tmp_path / "photos" / "a.jpg"
    named = ("--model", model, "--threads", 1) if command == "embed" else ()
    given = [*odd[:4], good, *odd[4:]]
    ended = cli(command, *given, "--skip", *named, "--out", tmp_path / "out.npz", "--json")
    assert ended.code == 0, ended.err
    said = json.loads(ended.out)
    assert [face["image"] for face in said["faces"]] == [str(good)]
    assert said["skipped"] == [str(path) for path in odd]
    lines = ended.err.splitlines()
    assert (
        sum(line.startswith("left out: ") for line in lines) == len(odd) == len([x for x in lines if "left out" in x])
    )
    assert "two\\nlines/of.png: no such file" in ended.err


def test_folders_that_are_not_looked_into_are_named(cli: Cli, model: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    write_photo(photos / "a.png", FACE)
    write_photo(photos / "below" / "b.png", FACE)
    write_photo(tmp_path / "elsewhere" / "c.png", FACE)
    (photos / "album").symlink_to(tmp_path / "elsewhere")
    (photos / "below" / "round").symlink_to(photos)
    (photos / "named.jpg").symlink_to(tmp_path / "elsewhere")
    (photos / ".hidden").symlink_to(tmp_path / "elsewhere")
    listing = list_photos(photos)
    assert listing.photos == (photos / "a.png", photos / "below" / "b.png")
    linked = [photos / "album", photos / "below" / "round", photos / "named.jpg"]
    assert listing.not_entered == tuple((path, LINK) for path in linked)
    out = tmp_path / "out"
    ended = cli("cluster", photos, "--out", out, "--model", model, "--threshold", 1, "--threads", 1)
    assert ended.code == 0, ended.err
    assert "not looked into: album (a link to a folder, which is not followed)" in ended.err
    record = json.loads((out / "clusters.json").read_text())
    assert [entry["folder"] for entry in record["not_entered"]] == ["album", "below/round", "named.jpg"]
    assert "below/round" in (out / "index.html").read_text()
    (tmp_path / "link").symlink_to(photos)
    assert len(list_photos(tmp_path / "link").photos) == 2  # the folder itself may be one


def test_a_closed_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_photo(tmp_path / "p" / "a.png", FACE)
    write_photo(tmp_path / "p" / "closed" / "b.png", FACE)
    scandir = os.scandir

    def refuse(path: Any) -> Any:  # as root, permissions refuse nothing
        if Path(path).name == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr("os.scandir", refuse)
    closed = "closed"
    listing = list_photos(tmp_path / "p")
    assert (listing.photos, listing.not_entered) == (
        (tmp_path / "p" / "a.png",),
        ((tmp_path / "p" / "closed", "Permission denied"),),
    )
    closed = "p"
    with pytest.raises(InputError, match=r"p: cannot be read \(Permission denied\)"):
        list_photos(tmp_path / "p")


def test_a_note_reaches_the_user(cli: Cli, model: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "cut.jpg").write_bytes(as_kind("JPEG")[:-2])
    (photos / "whole.jpg").write_bytes(as_kind("JPEG"))
    note = f"{shown(photos / 'cut.jpg')}: the JPEG's end marker is missing, every row is there"
    shared = ("--model", model, "--threads", 1)
    pair = (photos / "whole.jpg", photos / "cut.jpg")
    said = cli("verify", *pair, *shared)
    assert (said.code, said.err.strip()) == (0, note)
    assert json.loads(cli("verify", *pair, *shared, "--json").out)["notes"] == [note]
    assert note in cli("embed", *pair, *shared, "--out", tmp_path / "v.npz").err
    assert note in cli("align", *pair, "--out", tmp_path / "crops").err
    ended = cli("cluster", photos, "--out", tmp_path / "out", *shared, "--threshold", 1)
    assert note in ended.err
    assert json.loads((tmp_path / "out" / "clusters.json").read_text())["notes"] == [{"photo": "cut.jpg", "note": note}]
    assert "every row is there" in (tmp_path / "out" / "index.html").read_text()

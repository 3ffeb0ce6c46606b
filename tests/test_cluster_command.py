"""Invariant: `facelet cluster` on drawn faces: who goes where, the page, the record, and its refusals."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import Ended
from drawn_faces import draw_face, write_photo
from tiny_models import photo_model

Cli = Callable[..., Ended]

RED, BLUE = (230, 30, 30), (30, 30, 230)
THRESHOLD = 0.1


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return photo_model(tmp_path / "m.onnx")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three photos of one, two of another, one of both, one of nobody, one broken, one hidden, one text."""
    folder = tmp_path / "photos"
    red, blue = draw_face(1, background=RED), draw_face(2, background=BLUE)
    for name in ("a.png", "b.png", "more/a.png"):
        write_photo(folder / name, red)
    for name in ("c <x>.png", "d.png"):
        write_photo(folder / name, blue)
    write_photo(folder / "both.png", np.asarray(np.hstack([red, blue]), np.uint8))
    write_photo(folder / "wall.png", np.full((200, 200, 3), 120, np.uint8))
    write_photo(folder / ".hidden.png", red)
    (folder / "broken.jpg").write_bytes(b"not a photo")
    (folder / "notes.txt").write_text("x")
    return folder


def cluster(cli: Cli, model: Path, photos: Path, out: Path, *more: object) -> Ended:
    return cli("cluster", photos, "--out", out, "--model", model, "--threshold", THRESHOLD, "--threads", 1, *more)


def listing(folder: Path) -> dict[str, list[str]]:
    return {part.name: sorted(path.name for path in part.iterdir()) for part in folder.iterdir() if part.is_dir()}


def test_photos_go_to_their_people(cli: Cli, model: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "sorted"
    ended = cluster(cli, model, photos, out, "--json")
    assert ended.code == 0, ended.err
    assert listing(out) == {
        "person-001": ["a-2.png", "a.png", "b.png", "both.png"],
        "person-002": ["both.png", "c <x>.png", "d.png"],
        "unsorted": ["wall.png"],
    }
    assert (out / "person-001" / "a.png").read_bytes() == (photos / "a.png").read_bytes()
    assert not (out / "person-001" / "a.png").is_symlink()
    record = json.loads((out / "clusters.json").read_text())
    assert json.loads(ended.out) == {**record, "out": str(out)}
    assert (record["n_photos"], record["n_faces"], record["n_people"]) == (8, 7, 2)
    assert (record["threshold"], record["model"], record["detector"]) == (THRESHOLD, "photo", "dlib_refined")
    first, second = record["people"]
    assert (first["name"], first["n_photos"], first["n_faces"], first["nearest"]) == ("person-001", 4, 4, "person-002")
    assert second["nearest"] == "person-001"
    assert first["nearest_distance"] == second["nearest_distance"] > THRESHOLD
    distances = [face["distance"] for face in first["faces"]]
    assert distances == sorted(distances)
    assert {(face["photo"], face["file"]) for face in first["faces"]} >= {("more/a.png", "person-001/a-2.png")}
    assert record["unsorted"] == [{"photo": "wall.png", "file": "unsorted/wall.png"}]
    assert [entry["photo"] for entry in record["unreadable"]] == ["broken.jpg"]
    assert [path.name for path in out.parent.iterdir()] == ["sorted"]  # nothing half-made is left


def test_the_distances_are_those_of_the_embeddings(cli: Cli, model: Path, photos: Path, tmp_path: Path) -> None:
    """Oracle: the same figures from the embedder, by their definitions."""
    from facelet.embedder import Embedder

    record = json.loads(cluster(cli, model, photos, tmp_path / "out", "--json").out)
    vectors = Embedder.load(model, threads=1).embed_images([photos / name for name in ("a.png", "d.png")])
    first, second = record["people"]
    # three equal photos and the face of the joined one, so the widest pair is between those
    assert 0 <= first["widest"] < THRESHOLD
    assert first["nearest_distance"] == pytest.approx(float(np.square(vectors[0] - vectors[1]).sum()), abs=0.1)
    assert second["n_faces"] == 3


def test_the_page_stands_alone_and_its_links_lead_on(cli: Cli, model: Path, photos: Path, tmp_path: Path) -> None:
    from urllib.parse import unquote

    out = tmp_path / "sorted"
    cluster(cli, model, photos, out)
    page = (out / "index.html").read_text()
    opened: list[str] = []

    class Balance(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag not in ("meta", "img", "br"):
                opened.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert opened.pop() == tag

    Balance().feed(page)
    assert opened == []
    pictures = re.findall(r'<img [^>]*src="([^"]+)"', page)
    assert len(pictures) == 7
    assert all(picture.startswith("data:image/jpeg;base64,") for picture in pictures)
    assert "http" not in page.replace("http-equiv", "")
    links = re.findall(r'href="([^"]+)"', page)
    assert len(links) == 8
    assert all((out / unquote(link)).is_file() for link in links)
    assert "c &lt;x&gt;.png" in page
    assert "c <x>.png" not in page


def test_links_lead_to_the_photos(cli: Cli, model: Path, photos: Path, tmp_path: Path) -> None:
    assert cluster(cli, model, photos, tmp_path / "out", "--link").code == 0
    place = tmp_path / "out" / "person-001" / "b.png"
    assert place.is_symlink()
    assert place.resolve() == (photos / "b.png").resolve()


def test_the_cards_threshold_is_taken_and_small_faces_can_be_left_out(
    cli: Cli, model: Path, photos: Path, tmp_path: Path
) -> None:
    ended = cli("cluster", photos, "--out", tmp_path / "a", "--model", model, "--json", "--far", "1e-2")
    assert json.loads(ended.out)["threshold"] == 1.2
    ended = cli("cluster", photos, "--out", tmp_path / "b", "--model", model, "--min-face", 1000)
    assert ended.code == 2
    assert "no face found by dlib_refined in 8 photos (1 of them unreadable)" in ended.err
    assert not (tmp_path / "b").exists()


def test_two_faces_of_one_photo_are_two_people_unless_they_are_prints_of_one_picture(
    cli: Cli, model: Path, tmp_path: Path
) -> None:
    red, blue = draw_face(1, background=RED), draw_face(2, background=BLUE)
    for name, faces, people in (("both", [red, blue], 2), ("prints", [red] * 4, 1), ("mixed", [red, blue, red], 2)):
        write_photo(tmp_path / name / "sheet.png", np.asarray(np.hstack(faces), np.uint8))
        out = tmp_path / f"{name}-out"
        ended = cli("cluster", tmp_path / name, "--out", out, "--model", model, "--threshold", 1, "--json")
        said = json.loads(ended.out)
        assert (said["n_faces"], said["n_people"]) == (len(faces), people), name
        nearer = "nearer than the threshold, but kept apart by photos that show both"
        assert (nearer in (out / "index.html").read_text()) == (people == 2)


def test_an_empty_folder_may_be_filled_and_nothing_else(cli: Cli, model: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    assert cluster(cli, model, photos, out).code == 0
    before = (out / "clusters.json").read_text()
    again = cluster(cli, model, photos, out, "--quiet")
    assert again.code == 2
    assert "nothing is overwritten" in again.err
    assert (out / "clusters.json").read_text() == before


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["absent", "--out", "o"], "absent: no such folder"),
        (["m.onnx", "--out", "o"], "not a folder"),
        (["empty", "--out", "o"], "holds no photos"),
        (["photos", "--out", "photos/sorted"], "lies inside the photos"),
        (["photos", "--out", "photos"], "nothing is overwritten"),
        (["photos", "--out", "m.onnx"], "nothing is overwritten"),
        (["photos", "--out", "m.onnx/deeper"], "cannot be written"),
        (["photos", "--out", "o", "--threshold", "0"], "--threshold: 0"),
        (["photos", "--out", "o", "--threshold", "nan"], "--threshold: nan"),
        (["photos", "--out", "o", "--min-face", "-1"], "--min-face"),
        (["photos", "--out", "o", "--far", "0.5"], "no threshold for FAR 0.5"),
        (["photos", "--out", "o", "--detector", "dlip"], "did you mean 'dlib'"),
        (["photos"], "--out"),
    ],
)
def test_bad_arguments_end_in_one_line(
    arguments: list[str],
    complaint: str,
    cli: Cli,
    model: Path,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    ended = cli("cluster", *arguments, "--model", model, "--quiet")
    assert ended.code == 2
    assert complaint in ended.err
    assert (ended.err.count("\n"), ended.out) == (1, "")
    assert not (tmp_path / "o").exists()


def test_a_name_that_is_no_utf8_is_sorted_and_shown(cli: Cli, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    write_photo(folder / "a.png", draw_face(1, background=RED))
    try:
        (folder / "a.png").rename(os.fsdecode(bytes(folder) + b"/caf\xe9.png"))
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    out = tmp_path / "out"
    ended = cluster(cli, model, folder, out)
    assert ended.code == 0, ended.err
    assert [os.fsencode(path.name) for path in (out / "person-001").iterdir()] == [b"caf\xe9.png"]
    page = (out / "index.html").read_text()
    assert "caf\\xe9.png" in page
    assert 'href="person-001/caf%E9.png"' in page


@pytest.mark.parametrize("more", [(), ("--link",)])
def test_photos_may_vanish_while_they_are_sorted(
    cli: Cli, model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    from facelet.linkage import merge_tree
    from facelet.photo import photo_faces

    def vanish_before_it_is_read(path: Path, *arguments: Any) -> Any:
        (photos / "d.png").unlink(missing_ok=True)
        return photo_faces(path, *arguments)

    def vanish_before_it_is_copied(*arguments: Any, **options: Any) -> Any:
        (photos / "b.png").unlink()
        return merge_tree(*arguments, **options)

    monkeypatch.setattr("facelet.found_faces.photo_faces", vanish_before_it_is_read)
    ended = cluster(cli, model, photos, tmp_path / "out", "--json", *more)
    assert ended.code == 0, ended.err
    assert [entry["photo"] for entry in json.loads(ended.out)["unreadable"]] == ["broken.jpg", "d.png"]
    monkeypatch.setattr("facelet.photo_clusters.merge_tree", vanish_before_it_is_copied)
    ended = cluster(cli, model, photos, tmp_path / "again", "--quiet", *more)
    assert (ended.code, ended.err) == (0, "")
    record = json.loads((tmp_path / "again" / "clusters.json").read_text())
    assert [entry["photo"] for entry in record["unreadable"]] == ["broken.jpg", "b.png"]
    files = {face["photo"]: face["file"] for person in record["people"] for face in person["faces"]}
    assert files["b.png"] is None
    assert all((tmp_path / "again" / file).is_file() for photo, file in files.items() if photo != "b.png")
    assert "person-001/b.png" not in (tmp_path / "again" / "index.html").read_text()


def test_a_place_that_cannot_be_written_is_refused_before_a_face_is_searched(
    cli: Cli, model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def search(*_arguments: object) -> None:
        raise AssertionError("searched")

    monkeypatch.setattr("facelet.photo_clusters.find_faces", search)
    (tmp_path / "file").write_text("x")
    ended = cluster(cli, model, photos, tmp_path / "file" / "out")
    assert ended.code == 2
    assert "cannot be written" in ended.err
    monkeypatch.chdir(tmp_path / "photos" / "more")
    ended = cluster(cli, model, photos, Path())
    assert ended.code == 2
    assert "--out .: give the name of a new folder" in ended.err

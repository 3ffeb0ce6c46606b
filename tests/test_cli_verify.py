"""Oracle: `verify`, `embed` and `align` against the Python calls, on drawn faces and a tiny model."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

import facelet
from conftest import Ended
from drawn_faces import draw_face, write_photo
from facelet.embedder import Embedder
from facelet.faces.align import align
from facelet.faces.detectors import default_detector
from facelet.faces.images import read_image
from tiny_models import photo_model

Cli = Callable[..., Ended]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return photo_model(tmp_path / "m.onnx")


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    return [write_photo(tmp_path / f"face{seed}.png", draw_face(seed)) for seed in (1, 2)]


@pytest.fixture
def two_faces(tmp_path: Path) -> Path:
    """A photo with a large face on the left and a smaller one on the right."""
    small = cv2.copyMakeBorder(draw_face(2, 160), 40, 40, 0, 0, cv2.BORDER_REPLICATE)
    return write_photo(tmp_path / "two.png", np.asarray(np.hstack([draw_face(1, 240), small]), np.uint8))


def test_verify_says_what_python_says(cli: Cli, model: Path, photos: list[Path]) -> None:
    ended = cli("verify", *photos, "--model", model, "--far", "1e-2", "--json")
    assert (ended.code, ended.err) == (0, "")
    said = json.loads(ended.out)
    expected = facelet.verify(*photos, model=model, far=1e-2)
    assert said["distance"] == pytest.approx(expected.distance, abs=1e-6)
    assert (said["threshold"], said["same"]) == (expected.threshold, expected.same)
    assert (said["model"], said["detector"], said["aligned"], said["far"]) == ("photo", "dlib_refined", True, 0.01)


def test_verify_for_people(cli: Cli, model: Path, photos: list[Path]) -> None:
    ended = cli("verify", photos[0], photos[0], "--model", model)
    assert ended.code == 0
    assert "same person" in ended.out
    assert "0.0000" in ended.out
    assert "1.0000" in ended.out


def test_no_align_takes_another_crop(cli: Cli, model: Path, photos: list[Path]) -> None:
    aligned, boxed = (
        json.loads(cli("verify", *photos, "--model", model, "--json", *options).out) for options in ([], ["--no-align"])
    )
    assert aligned["distance"] != boxed["distance"]
    assert boxed["aligned"] is False


def test_a_rate_without_alignment_is_not_claimed(cli: Cli, model: Path, photos: list[Path]) -> None:
    said = json.loads(cli("verify", *photos, "--model", model, "--json", "--no-align").out)
    assert (said["far_measured"], said["aligned"]) == (False, False)
    assert any("measured with alignment" in note for note in said["notes"])
    table = cli("verify", *photos, "--model", model, "--no-align").out
    assert "not measured" in table
    assert "aligned" in table
    assert json.loads(cli("verify", *photos, "--model", model, "--json").out)["far_measured"] is True
    own = json.loads(cli("verify", *photos, "--model", model, "--json", "--no-align", "--threshold", "1.2").out)
    assert (own["far"], own["far_measured"]) == (None, False)


def test_a_calibration_without_alignment_counts_without_it(model: Path, photos: list[Path]) -> None:
    card = dataclasses.replace(Embedder.load(model).card, calibration_aligned=False)
    embedder = Embedder.load(model, card=card)
    assert facelet.verify(*photos, model=embedder, align=False).far_measured
    assert not facelet.verify(*photos, model=embedder).far_measured


def test_the_face_that_was_compared_is_named(cli: Cli, model: Path, photos: list[Path], two_faces: Path) -> None:
    ended = cli("verify", photos[1], two_faces, "--model", model)
    assert "two.png: 2 faces; only the main one, at (" in ended.err
    assert "--all" in ended.err
    said = json.loads(cli("verify", photos[1], two_faces, "--model", model, "--json").out)
    alone, group = said["faces"]
    assert (alone["n_faces"], group["n_faces"], said["n_pairs"]) == (1, 2, 1)
    assert group["box"][2] < 240, "the large face is on the left"
    result = facelet.verify(photos[1], two_faces, model=model)
    assert result.faces[1].box == pytest.approx(group["box"], abs=0.06)
    assert (result.faces[1].n_faces, result.faces[1].turn, result.aligned) == (2, 0, True)
    assert "two.png" in ended.out


@pytest.mark.usefixtures("clear_faces")
@pytest.mark.parametrize("swapped", [False, True])
def test_all_faces_are_compared(cli: Cli, model: Path, tmp_path: Path, two_faces: Path, swapped: bool) -> None:
    """The nearest pair is found among the smaller faces; the rate grows with the number of pairs."""
    right = write_photo(tmp_path / "right.png", np.ascontiguousarray(read_image(two_faces)[:, 240:]))
    pair = [two_faces, right] if swapped else [right, two_faces]
    main, best = (json.loads(cli("verify", *pair, "--model", model, "--json", *more).out) for more in ([], ["--all"]))
    assert best["distance"] < 2e-4 < 1e-3 < main["distance"]
    (group,) = (face for face in best["faces"] if face["n_faces"] == 2)
    assert group["box"][0] > 240
    assert best["n_pairs"] == 2
    assert best["far"] == pytest.approx(2e-3)
    assert any("nearest of 2 pairs" in note and "0.002" in note for note in best["notes"])
    wide = json.loads(cli("verify", *pair, "--model", model, "--json", "--all", "--far", "1e-2").out)
    assert wide["far"] == pytest.approx(2e-3), "the card's threshold for 1e-3 keeps the nearest of two below 1e-2"


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_turned_photo_gives_the_same_verdict(cli: Cli, model: Path, tmp_path: Path, turn: int) -> None:
    upright = draw_face(4)
    photos = [
        write_photo(tmp_path / "upright.png", upright),
        write_photo(tmp_path / "turned.png", np.ascontiguousarray(np.rot90(upright, turn // 90))),
    ]
    said = json.loads(cli("verify", *photos, "--model", model, "--json").out)
    assert said["distance"] < 1e-4, "other drawn faces are at 2e-3"
    assert [face["turn"] for face in said["faces"]] == [0, turn]
    assert any(f"turned clockwise by {turn} degrees" in note for note in said["notes"])


@pytest.mark.parametrize("blank", [(96, 96), (300, 200), (40, 500)])
def test_no_face_in_any_orientation_says_what_to_do(
    cli: Cli, model: Path, tmp_path: Path, photos: list[Path], blank: tuple[int, int]
) -> None:
    empty = write_photo(tmp_path / "empty.png", np.full((*blank, 3), 120, np.uint8))
    ended = cli("verify", photos[0], empty, "--model", model)
    assert ended.code == 2
    assert "empty.png: no face found by dlib_refined, nor with the photo turned" in ended.err
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize("kind", ["npz", "npy", "json"])
def test_embed_writes_unit_vectors(cli: Cli, model: Path, photos: list[Path], tmp_path: Path, kind: str) -> None:
    target = tmp_path / "made" / f"vectors.{kind}"
    ended = cli("embed", *photos, "--model", model, "--out", target)
    assert ended.code == 0
    if kind == "json":
        vectors = np.array([face["embedding"] for face in json.loads(target.read_text())["faces"]], np.float32)
    elif kind == "npy":
        vectors = np.load(target)
    else:
        content = np.load(target)
        vectors = content["embeddings"]
        assert content["images"].tolist() == [str(photo) for photo in photos]
        assert content["boxes"].shape == (2, 4)
    expected = Embedder.load(model).embed_images(photos)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected, atol=1e-6)


def test_embed_to_standard_output(cli: Cli, model: Path, photos: list[Path]) -> None:
    ended = cli("embed", photos[0], "--model", model, "--json")
    said = json.loads(ended.out)
    assert (said["out"], said["embedding_size"], len(said["faces"])) == (None, 128, 1)
    np.testing.assert_allclose(said["faces"][0]["embedding"], facelet.embed(photos[0], model=model), atol=1e-6)


def test_embed_names_its_default_file(
    cli: Cli, model: Path, photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = cli("embed", photos[0], "--model", model)
    assert ended.code == 0
    assert ended.err == "embeddings.npz: 1 unit vectors of 128 numbers\n"
    assert np.load("embeddings.npz")["embeddings"].shape == (1, 128)


def test_all_faces_or_the_main_one(cli: Cli, model: Path, two_faces: Path) -> None:
    largest = json.loads(cli("embed", two_faces, "--model", model, "--json").out)["faces"]
    every = json.loads(cli("embed", two_faces, "--model", model, "--json", "--all").out)["faces"]
    assert (len(largest), len(every)) == (1, 2)
    assert largest[0] == every[0]
    assert every[0]["box"][0] < 240 < every[1]["box"][0]


@pytest.mark.parametrize("command", ["embed", "align"])
def test_photos_without_a_face_are_left_out_if_wished(
    cli: Cli, model: Path, photos: list[Path], tmp_path: Path, command: str
) -> None:
    blank, torn = tmp_path / "blank.png", tmp_path / "torn.jpg"
    write_photo(blank, np.full((96, 96, 3), 120, np.uint8))
    torn.write_bytes(b"no photo")
    given = [photos[0], blank, torn, photos[1]]
    named = ["--model", model] if command == "embed" else []
    out = tmp_path / ("vectors.npz" if command == "embed" else "crops")
    refused = cli(command, *given, *named, "--out", out)
    assert refused.code == 2
    assert "blank.png" in refused.err
    assert not out.exists()
    ended = cli(command, *given, *named, "--out", out, "--skip", "--json")
    assert ended.code == 0
    said = json.loads(ended.out)
    assert [face["image"] for face in said["faces"]] == [str(photos[0]), str(photos[1])]
    assert said["skipped"] == [str(blank), str(torn)]
    assert [line.split(":")[0] for line in ended.err.splitlines()[:2]] == ["left out", "left out"]
    none = cli(command, blank, torn, *named, "--out", tmp_path / "none.npz", "--skip")
    assert none.code == 2
    assert "none of 2 photos has a face" in none.err


def test_align_writes_the_crop_that_the_model_would_eat(cli: Cli, photos: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "crops"
    ended = cli("align", *photos, "--out", folder, "--size", 96, "--template", "dlib", "--json")
    assert [Path(face["crop"]).name for face in json.loads(ended.out)["faces"]] == ["face1.png", "face2.png"]
    image = draw_face(1)
    expected = align(image, default_detector().detect(image)[0], "dlib", 96, 96)
    written = cv2.imread(str(folder / "face1.png"))
    np.testing.assert_array_equal(np.asarray(written)[..., ::-1], expected)


def test_align_numbers_all_faces(cli: Cli, two_faces: Path, tmp_path: Path) -> None:
    assert cli("align", two_faces, "--out", tmp_path / "crops", "--all").code == 0
    assert sorted(path.name for path in (tmp_path / "crops").iterdir()) == ["two_0.png", "two_1.png"]


def test_no_photo_is_written_over(cli: Cli, model: Path, photos: list[Path]) -> None:
    before = photos[0].read_bytes()
    ended = cli("align", photos[0], "--out", photos[0].parent)
    assert (ended.code, photos[0].read_bytes()) == (2, before)
    assert "face1.png: is one of the photos, which would be lost" in ended.err
    written = photos[0].rename(photos[0].with_suffix(".json"))
    ended = cli("embed", written, "--out", written, "--model", model)
    assert (ended.code, written.read_bytes()) == (2, before)
    assert "face1.json: is one of the photos, which would be lost" in ended.err

"""Oracle: `verify`, `embed` and `align` against the Python calls, on drawn faces and a tiny model."""

from __future__ import annotations

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


def test_all_faces_or_the_largest(cli: Cli, model: Path, two_faces: Path) -> None:
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

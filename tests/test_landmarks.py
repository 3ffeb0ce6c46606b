"""Invariant: the net of landmarks learns from moved crops where points lie; refined faces lie nearer their template."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from conftest import Ended
from drawn_faces import draw_face, write_photo
from facelet.data.synthetic import synthetic_faces
from facelet.data.synthetic_transfer import synthetic_transfer_set
from facelet.data.transfer import TransferSet
from facelet.embedder import Embedder
from facelet.errors import FaceletError, InputError, MissingFileError, ModelError, UnknownNameError
from facelet.faces.align import align, warp_to
from facelet.faces.canvas import realigned
from facelet.faces.crops import CropCache, benchmark_faces
from facelet.faces.detect import DlibDetector, Face
from facelet.faces.detectors import load_detector
from facelet.faces.landmarks import five_landmarks
from facelet.faces.refine import LandmarkRefiner, RefinedDetector, face_in_box, landmark_refiner
from facelet.faces.similarity import moved, moved_back, similarity
from facelet.faces.templates import TEMPLATES
from facelet.graph.onnx_io import read_graph
from facelet.graph.reference import run
from facelet.model_files import LANDMARKS, WEIGHTS, load_model
from facelet.nets.landmark_net import LandmarkNet
from facelet.nets.size import count_macs, count_parameters
from facelet.train.landmark_run import train_landmarks
from facelet.train.landmarks import LandmarkTask, held_distance, moved_crops
from facelet.train.options import LandmarkOptions

POINTS = TEMPLATES["arcface"].points["five"]


@pytest.fixture(scope="module")
def transfer() -> TransferSet:
    return synthetic_transfer_set(60, 4, seed=3)


def test_points_are_moved_as_a_photo_is_and_back() -> None:
    matrix = similarity(POINTS, POINTS[::-1] * 0.7 + 4)
    there = moved(POINTS, matrix)
    np.testing.assert_allclose(there, cv2.transform(POINTS[None], matrix)[0], atol=1e-9)
    np.testing.assert_allclose(moved_back(there, matrix), POINTS, atol=1e-9)


def test_a_moved_crop_has_its_points_where_the_offset_says() -> None:
    """Five dots on the template are found again where the points are told to be."""
    canvas = np.zeros((1, 128, 128, 3), np.uint8)
    for x, y in np.rint(POINTS + 8).astype(int):
        canvas[0, y - 1 : y + 2, x - 1 : x + 2] = 255
    crops = moved_crops(canvas, np.zeros(32, np.int64), 112, np.random.default_rng(0))
    lit = 0
    for pixels, offset in zip(crops.pixels.numpy(), crops.offset.numpy().reshape(-1, 5, 2), strict=True):
        grey = pixels.astype(float).mean(2) - np.median(pixels)
        for x, y in POINTS + offset:
            if 4 < x < 107 and 4 < y < 107:
                column, row = round(x), round(y)
                window = grey[row - 3 : row + 4, column - 3 : column + 4]
                rows, columns = np.mgrid[row - 3 : row + 4, column - 3 : column + 4]
                weight = window.clip(0) + 1e-9
                place = (np.array([(columns * weight).sum(), (rows * weight).sum()])) / weight.sum()
                assert np.abs(place - [x, y]).max() < 1.5
                lit += 1
    assert lit > 100


def test_a_batch_depends_on_nothing_but_its_step(transfer: TransferSet) -> None:
    first, second = (
        LandmarkTask(LandmarkNet(), transfer, np.arange(100), batch_size=6, seed=1).batch(4) for _ in range(2)
    )
    torch.testing.assert_close(first.pixels, second.pixels, rtol=0, atol=0)
    torch.testing.assert_close(first.offset, second.offset, rtol=0, atol=0)


def test_a_run_learns_and_its_file_refines(transfer: TransferSet, tmp_path: Path) -> None:
    fresh = held_distance(LandmarkNet(), transfer, np.arange(40), 0)(LandmarkNet().eval())["held_px"]
    options = LandmarkOptions(
        out=tmp_path, epochs=10, batch_size=16, learning_rate=3e-3, optimizer="adamw", threads=1, ema=0.9
    )
    trained = train_landmarks(options, transfer, command="facelet train landmarks")
    assert trained.history["held_px"] < 0.8 * fresh
    card = load_model(trained.model).card
    assert (card.output, card.embedding_size, card.recipe) == ("landmarks", 10, "facelet train landmarks")
    assert LandmarkRefiner(trained.model).version != landmark_refiner().version
    with pytest.raises(ModelError, match="gives landmarks, not embeddings"):
        Embedder.load(trained.model)


def test_the_command_trains_on_a_folder_of_crops(tmp_path: Path, cli: Callable[..., Ended]) -> None:
    for number, crop in enumerate(synthetic_faces(24, 1, seed=1)[0]):
        write_photo(tmp_path / "crops" / f"{number}.png", crop)
    options = ["--data", tmp_path / "crops", "--aligned", "--out", tmp_path / "run", "--batch", 8, "--json"]
    ended = cli("train", "landmarks", *options, "--epochs", 1)
    assert ended.code == 0, ended.err
    said = json.loads(ended.out)
    assert said["held_px"] > 0
    assert LandmarkRefiner(Path(said["model"])).version
    again = cli("train", "landmarks", *options)
    assert (again.code, again.err.count("\n")) == (2, 1)
    assert "holds a run already" in again.err


def test_a_face_recognition_net_is_no_net_of_landmarks() -> None:
    with pytest.raises(ModelError, match="gives no five landmarks"):
        LandmarkRefiner(load_model("facelet_xs").path)


def test_the_shipped_card_is_true() -> None:
    card, net = load_model(LANDMARKS).card, LandmarkNet()
    assert (card.parameters, card.macs) == (count_parameters(net), count_macs(net, 64))
    assert "without the held-out people" in card.data
    assert card.licence
    assert card.recipe


def off(face: Face, truth: NDArray[np.float64]) -> float:
    """Mean distance between the template's points laid by a face and by its true landmarks, template pixels."""
    laid, true = similarity(five_landmarks(face), POINTS), similarity(truth, POINTS)
    return float(np.linalg.norm(moved(moved_back(POINTS, laid), true) - POINTS, axis=1).mean())


def test_the_shipped_net_brings_synthetic_faces_nearer_to_their_template() -> None:
    crops, _, landmarks = synthetic_faces(40, 1, seed=5)
    rng = np.random.default_rng(0)
    before, after = [], []
    for crop, true in zip(crops, landmarks.astype(np.float64), strict=True):
        guess = true + rng.normal(size=2) * 5
        face = Face((20.0, 20.0, 108.0, 108.0), 1.0, guess, "five")
        refined = landmark_refiner()(crop, face)
        np.testing.assert_array_equal(refined.landmarks, guess)
        before.append(off(face, true))
        after.append(off(refined, true))
    assert np.mean(after) < 0.7 * np.mean(before)


def test_a_moved_canvas_is_laid_back() -> None:
    crops, _, landmarks = synthetic_faces(12, 1, seed=7)
    before, after = [], []
    for crop, true in zip(crops, landmarks.astype(np.float64), strict=True):
        shift = np.array([[1.0, 0.0, 5.0], [0.0, 1.0, -4.0]])
        shifted = np.asarray(cv2.warpAffine(crop, shift, (128, 128), borderMode=cv2.BORDER_REPLICATE), np.uint8)
        laid = realigned(shifted, landmark_refiner())
        assert laid.shape == crop.shape
        straight = align(crop, Face((0, 0, 1, 1), 1.0, true, "five"), "canvas", 128, 128).astype(float)
        before.append(np.abs(shifted - straight).mean())
        after.append(np.abs(laid - straight).mean())
    assert np.mean(after) < 0.7 * np.mean(before)


def test_onnxruntime_and_our_reference_tell_the_same() -> None:
    graph = read_graph(LANDMARKS)
    refiner = landmark_refiner()
    crop = draw_face(0, 112)
    identity = np.eye(2, 3)
    told = refiner._offsets(crop, identity)
    pixels = (warp_to(crop, identity, TEMPLATES["arcface"].box, 64, 64).astype(np.float32) - 127.5) / 127.5
    (expected,) = run(graph, {graph.inputs[0]: pixels.transpose(2, 0, 1)[None]}).values()
    assert np.abs(told - expected.reshape(5, 2)).max() <= 1 / 32 + 1e-3


def test_a_net_of_ones_own_refines_behind_a_plus(tmp_path: Path) -> None:
    path = Path(shutil.copy(LANDMARKS, tmp_path / "own.onnx"))
    own, shipped = load_detector(f"dlib+{path}"), load_detector("dlib_refined")
    assert own.name == f"dlib+landmarks-{load_model(LANDMARKS).sha256[:8]}"  # no folder: reports are named by it
    assert own.version == shipped.version  # of the weights, wherever they lie
    photo = draw_face(0)
    (mine,), (theirs,) = own.detect(photo), shipped.detect(photo)
    np.testing.assert_array_equal(mine.refined, theirs.refined)


def test_a_net_of_ones_own_may_lie_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(LANDMARKS, tmp_path / "own.onnx")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_detector("dlib+~/own.onnx").version == load_detector("dlib_refined").version  # no shell expands this ~


@pytest.mark.parametrize(
    ("name", "error", "told"),
    [
        ("dlib_refined+own.onnx", InputError, r"refines landmarks already; write dlib\+own.onnx"),
        ("dlib+", InputError, r"write dlib\+FILE or dlib_refined"),
        ("dlip+own.onnx", UnknownNameError, "did you mean 'dlib'"),
        ("dlib+absent.onnx", MissingFileError, "absent.onnx"),
        (f"dlib+{WEIGHTS / 'facelet_xs.onnx'}", ModelError, "gives no five landmarks"),
    ],
)
def test_what_cannot_refine_is_one_line(name: str, error: type[FaceletError], told: str) -> None:
    with pytest.raises(error, match=told):
        load_detector(name)


def test_a_box_alone_is_enough() -> None:
    """From boxes a tenth too small and a fifth too large the points end where a detector's own do."""
    for seed in range(3):
        photo = draw_face(seed)
        (face,) = load_detector("dlib_refined").detect(photo)
        five = five_landmarks(face)
        x, y, side = (face.box[0] + face.box[2]) / 2, (face.box[1] + face.box[3]) / 2, face.box[2] - face.box[0]
        for factor in (0.9, 1.0, 1.2):
            half = factor * side / 2
            found = face_in_box(photo, (x - half, y - half, x + half, y + half))
            eyes = float(np.linalg.norm(five[0] - five[1]))
            apart = np.linalg.norm(five_landmarks(found) - five, axis=1).mean()
            started = np.linalg.norm(found.landmarks - five, axis=1).mean()
            assert apart < min(0.08 * eyes, started)


@pytest.mark.parametrize("box", [(10, 10, 10, 20), (20, 10, 10, 30), (0, 0, float("nan"), 9), (0, 0, 9, float("inf"))])
def test_a_box_without_area_is_one_line(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(InputError, match=r"^box \(.*: has no area; give x0 < x1"):
        face_in_box(draw_face(0), box)


def test_every_face_of_a_detector_is_refined_and_kept_so(tmp_path: Path) -> None:
    photo, raw = draw_face(0), DlibDetector()
    refined = load_detector("dlib_refined")
    assert isinstance(refined, RefinedDetector)
    assert (refined.name, load_detector("dlib").name) == ("dlib_refined", "dlib")
    assert raw.version in refined.version
    (plain,), (face,) = raw.detect(photo), refined.detect(photo)
    assert plain.refined is None
    assert face.refined is not None
    assert (face.box, face.scheme) == (plain.box, plain.scheme)
    assert np.abs(align(photo, face, "arcface", 96, 96).astype(int) - align(photo, plain, "arcface", 96, 96)).max() > 10
    np.testing.assert_array_equal(align(photo, face, "dlib", 96, 96), align(photo, plain, "dlib", 96, 96))
    np.testing.assert_array_equal(align(photo, face, "box", 96, 96), align(photo, plain, "box", 96, 96))
    path = write_photo(tmp_path / "a.png", photo)
    for _ in range(2):  # the second time from the table
        (kept,) = benchmark_faces([path], refined, CropCache(tmp_path / "cache"))
        assert kept is not None
        assert kept.refined is not None
        np.testing.assert_array_equal(kept.refined, face.refined)

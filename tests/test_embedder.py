"""Oracle: the embedder against NumPy and onnxruntime called directly; refusals of what does not fit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import facelet
from drawn_faces import draw_face, write_photo
from facelet.backends import network_input
from facelet.embedder import BACKENDS, Embedder
from facelet.errors import FaceNotFoundError, InputError, ModelError, UnknownNameError
from facelet.faces.detectors import default_detector
from facelet.model_files import load_model, save_card
from tiny_models import GRID, photo_model, tiny_card, tiny_onnx, weights, write_tiny


def crops(n: int, seed: int = 0, height: int = 16, width: int = 12) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), np.uint8)


def by_hand(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """What `tiny_onnx` with `tiny_card` must give: BGR, (pixel - mean) * scale, 4x4 means, matrix, length 1."""
    planes = (pixels[..., ::-1].astype(np.float64) - (10, 20, 30)) * (0.5, 0.25, 0.125)
    n, height, width, _ = planes.shape
    blocks = planes.reshape(n, GRID, height // GRID, GRID, width // GRID, 3).mean(axis=(2, 4))
    raw = blocks.transpose(0, 3, 1, 2).reshape(n, -1) @ weights(8).astype(np.float64)
    return np.asarray(raw / np.linalg.norm(raw, axis=1, keepdims=True))


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_every_backend_agrees_with_numpy(tmp_path: Path, backend: str) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino")
    embedder = Embedder.load(write_tiny(tmp_path / "m.onnx", tiny_card()), backend=backend, threads=1)
    found = embedder.embed(crops(5))
    assert found.dtype == np.float32
    assert found.shape == (5, 8)
    np.testing.assert_allclose(found, by_hand(crops(5)), atol=1e-5)


def test_onnxruntime_called_directly_agrees(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "m.onnx", tiny_card())
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    planes = crops(3)[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32)
    mean, scale = (np.array(v, np.float32).reshape(3, 1, 1) for v in ((10, 20, 30), (0.5, 0.25, 0.125)))
    planes = (planes - mean) * scale
    raw = session.run(None, {"pixels": planes})[0]
    expected = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    np.testing.assert_allclose(Embedder.load(path).embed(crops(3)), expected, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(n=st.integers(0, 9), batch_size=st.integers(1, 5), fixed=st.sampled_from(["n", 1, 3]))
def test_a_batch_equals_its_items(
    tmp_path_factory: pytest.TempPathFactory, n: int, batch_size: int, fixed: int | str
) -> None:
    path = write_tiny(tmp_path_factory.mktemp("m") / "m.onnx", tiny_card(), tiny_onnx(batch=fixed))
    embedder = Embedder.load(path, threads=1)
    together = embedder.embed(crops(n), batch_size=batch_size)
    assert together.shape == (n, 8)
    for index in range(n):
        np.testing.assert_allclose(together[index : index + 1], embedder.embed(crops(n)[index : index + 1]), atol=1e-6)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("constant", [False, True])
def test_openvino_opens_a_fixed_batch_or_keeps_it(tmp_path: Path, batch: int, constant: bool) -> None:
    pytest.importorskip("openvino")
    path = write_tiny(tmp_path / "m.onnx", tiny_card(), tiny_onnx(batch=batch, constant_reshape=constant))
    found = Embedder.load(path, backend="openvino", threads=1).embed(crops(4))
    np.testing.assert_allclose(found, by_hand(crops(4)), atol=1e-5)


def test_the_input_is_left_alone_and_needs_no_order(tmp_path: Path) -> None:
    embedder = Embedder.load(write_tiny(tmp_path / "m.onnx", tiny_card()))
    pixels = crops(4)
    kept = pixels.copy()
    backwards = embedder.embed(pixels[::-1])
    np.testing.assert_array_equal(pixels, kept)
    np.testing.assert_allclose(backwards[::-1], embedder.embed(pixels), atol=1e-6)


def test_network_input_by_hand() -> None:
    pixel = np.array([[[[100, 50, 20]]]], np.uint8)
    rgb = tiny_card(color="rgb", height=1, width=1)
    bgr = tiny_card(color="bgr", height=1, width=1)
    # rgb: (100-10)/2, (50-20)/4, (20-30)/8;  bgr: (20-10)/2, (50-20)/4, (100-30)/8
    np.testing.assert_allclose(network_input(pixel, rgb).ravel(), [45, 7.5, -1.25])
    np.testing.assert_allclose(network_input(pixel, bgr).ravel(), [5, 7.5, 8.75])
    plain = tiny_card(mean=(0.0, 0.0, 0.0), scale=(1.0, 1.0, 1.0))
    np.testing.assert_array_equal(network_input(pixel, plain).ravel(), [20, 50, 100])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"height": 20}, "input is nx3x16x12.*card of tiny says nx3x20x12"),
        ({"embedding_size": 9}, "embedding has 8 numbers, the card of tiny says 9"),
    ],
)
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_card_that_does_not_fit_is_refused_at_load(
    tmp_path: Path, changes: dict[str, object], words: str, backend: str
) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino")
        words = words.replace("is nx", r"is \?x")
    path = write_tiny(tmp_path / "m.onnx", tiny_card(**changes))
    with pytest.raises(ModelError, match=words):
        Embedder.load(path, backend=backend)


def test_openvino_is_not_asked_for_integers_that_it_rounds_otherwise() -> None:
    pytest.importorskip("openvino")
    with pytest.raises(ModelError, match=r"is int8.*onnxruntime or opencl"):
        Embedder.load("facelet_xs_int8", backend="openvino")


def network(
    nodes: list[onnx.NodeProto], inputs: list[tuple[str, int]], output: list[str | int | None]
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "odd",
        [helper.make_tensor_value_info(name, kind, ["n", 3, 16, 12]) for name, kind in inputs],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(
    ("proto", "words"),
    [
        (
            network(
                [helper.make_node("Add", ["a", "b"], ["y"])], [("a", TensorProto.FLOAT), ("b", TensorProto.FLOAT)], []
            ),
            "has 2 inputs",
        ),
        (
            network([helper.make_node("Cast", ["a"], ["y"], to=TensorProto.FLOAT)], [("a", TensorProto.DOUBLE)], []),
            "tensor\\(double\\); expected float32",
        ),
        (network([helper.make_node("NoSuchOp", ["a"], ["y"])], [("a", TensorProto.FLOAT)], []), "refuses it"),
    ],
)
def test_odd_networks_are_refused_at_load(tmp_path: Path, proto: onnx.ModelProto, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        Embedder.load(write_tiny(tmp_path / "m.onnx", tiny_card(), proto))


def test_an_undeclared_output_size_is_checked_when_run(tmp_path: Path) -> None:
    keep = np.arange(3 * 16 * 12) < 5  # Compress: its output size is known only when it has run
    nodes = [
        helper.make_node("Constant", [], ["keep"], value=numpy_helper.from_array(keep)),
        helper.make_node("Flatten", ["a"], ["flat"]),
        helper.make_node("Compress", ["flat", "keep"], ["y"], axis=1),
    ]
    path = write_tiny(tmp_path / "m.onnx", tiny_card(), network(nodes, [("a", TensorProto.FLOAT)], ["n", "c"]))
    with pytest.raises(ModelError, match=r"gives \(2, 5\) for 2 crops.* says 8 numbers each"):
        Embedder.load(path).embed(crops(2))


def test_a_vector_without_direction_is_refused(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "m.onnx", tiny_card(mean=(0.0, 0.0, 0.0)))
    pixels = crops(3)
    pixels[1] = 0
    with pytest.raises(ModelError, match="crop 1 has length 0"):
        Embedder.load(path).embed(pixels)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((2, 12, 16, 3), np.uint8),
        np.zeros((2, 16, 12, 3), np.float32),
        np.zeros((16, 12, 3), np.uint8),
        np.zeros((2, 16, 12, 1), np.uint8),
    ],
)
def test_crops_of_another_shape_are_refused(tmp_path: Path, wrong: NDArray[np.uint8]) -> None:
    embedder = Embedder.load(write_tiny(tmp_path / "m.onnx", tiny_card()))
    with pytest.raises(InputError, match=r"must be uint8 \(n, 16, 12, 3\), found"):
        embedder.embed(wrong)


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "m.onnx", tiny_card())
    with pytest.raises(UnknownNameError, match="did you mean 'onnxruntime'"):
        Embedder.load(path, backend="onnxruntim")
    with pytest.raises(InputError, match="threads: must be 1 or more, found 0"):
        Embedder.load(path, threads=0)
    with pytest.raises(InputError, match=r"reads its own \.dat files only"):
        Embedder.load(path, backend="dlib")
    with pytest.raises(InputError, match="batch_size: must be 1 or more, found 0"):
        Embedder.load(path).embed(crops(1), batch_size=0)
    assert set(BACKENDS) >= {"onnxruntime", "openvino", "dlib"}


def test_dlib_resnet_runs_from_the_installed_package() -> None:
    embedder = Embedder.load("dlib_resnet")
    found = embedder.embed(np.stack([draw_face(seed, 150) for seed in (1, 2)]))
    assert found.shape == (2, 128)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    assert 0 < embedder.card.threshold_at(1e-3) < embedder.card.threshold_at(1e-2) < 0.25
    with pytest.raises(InputError, match=r"reads \.onnx files only"):
        Embedder.load("dlib_resnet", backend="onnxruntime")


def test_photos_to_vectors(tmp_path: Path) -> None:
    embedder = Embedder.load(photo_model(tmp_path / "m.onnx"))
    photos = [write_photo(tmp_path / f"{seed}.png", draw_face(seed)) for seed in (1, 2)]
    vectors = embedder.embed_images(photos)
    assert vectors.shape == (2, 128)
    assert embedder.embed_images([]).shape == (0, 128)
    np.testing.assert_allclose(facelet.embed(photos[1], model=embedder), vectors[1], atol=1e-6)
    unaligned = embedder.embed_images(photos, align=False)
    assert np.abs(unaligned - vectors).max() > 1e-3
    blank = write_photo(tmp_path / "blank.png", np.full((90, 90, 3), 128, np.uint8))
    with pytest.raises(FaceNotFoundError, match=r"blank\.png: no face found by dlib"):
        embedder.embed_images([blank])


def test_verify_by_hand(tmp_path: Path) -> None:
    path = photo_model(tmp_path / "m.onnx")
    one, other = (write_photo(tmp_path / f"{seed}.png", draw_face(seed)) for seed in (1, 2))
    same = facelet.verify(one, one, model=path)
    assert (same.distance, same.threshold, same.same) == (0.0, 1.0, True)
    vectors = Embedder.load(path).embed_images([one, other])
    result = facelet.verify(one, other, model=path, far=1e-2)
    # squared distance of unit vectors: 2 - 2 cos
    assert result.distance == pytest.approx(2 - 2 * float(vectors[0] @ vectors[1]), abs=1e-5)
    assert result.threshold == 1.2
    assert result.same == (result.distance < 1.2)
    for far in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="far: must be a rate between 0 and 1"):
            facelet.verify(one, other, model=path, far=far)


@pytest.mark.data
@pytest.mark.parametrize(
    ("file", "size"),
    [
        ("face-reidentification-retail-0095/face-reidentification-retail-0095.xml", 256),
        ("mobilefacenet-foamliu/mobilefacenet.onnx", 128),
    ],
)
def test_known_teachers_load_without_a_card(data_dir: Path, file: str, size: int) -> None:
    if file.endswith(".xml"):
        pytest.importorskip("openvino")
    embedder = Embedder.load(data_dir / "teachers" / file, threads=1)
    side = embedder.card.height
    pixels = np.stack([draw_face(seed, side) for seed in (1, 2, 3)])
    vectors = embedder.embed(pixels)
    assert vectors.shape == (3, size)
    np.testing.assert_allclose(vectors[1:2], embedder.embed(pixels[1:2]), atol=1e-5)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_threads_that_share_an_embedder_get_their_own_vectors(tmp_path: Path, backend: str) -> None:
    pytest.importorskip(backend)
    embedder = Embedder.load(write_tiny(tmp_path / "m.onnx", tiny_card()), backend=backend, threads=1)
    batches = [crops(3, seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(embedder.embed, batches * 40))
    for vectors, batch in zip(found, batches * 40, strict=True):
        np.testing.assert_allclose(vectors, by_hand(batch), atol=1e-5)


def test_threads_that_share_the_detector_get_their_own_faces(tmp_path: Path) -> None:
    images = [draw_face(seed) for seed in range(4)]
    detector = default_detector()
    alone = [detector.detect(image)[0].box for image in images]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda image: detector.detect(image)[0].box, images * 4))
    assert found == alone * 4


def test_a_list_of_crops_is_as_good_as_an_array(tmp_path: Path) -> None:
    embedder = Embedder.load(write_tiny(tmp_path / "m.onnx", tiny_card()))
    np.testing.assert_array_equal(embedder.embed(list(crops(3))), embedder.embed(crops(3)))
    assert embedder.embed([]).shape == (0, 8)
    with pytest.raises(InputError, match="arrays of one shape"):
        embedder.embed([crops(1)[0], crops(1)[0, 1:]])
    with pytest.raises(InputError, match="must be uint8"):
        embedder.embed([crops(1)[0, 1:]])


def test_one_path_is_one_photo(tmp_path: Path) -> None:
    write_photo(tmp_path / "a.png", draw_face(1))
    embedder = Embedder.load(photo_model(tmp_path / "photo.onnx"))
    one = embedder.embed_images(tmp_path / "a.png")
    assert one.shape == (1, embedder.card.embedding_size)
    np.testing.assert_array_equal(embedder.embed_images(str(tmp_path / "a.png")), one)


def test_a_model_that_changed_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.png", "b.png"):
        write_photo(tmp_path / name, draw_face(1))
    photos = (tmp_path / "a.png", tmp_path / "b.png")
    for folder, threshold in (("one", 0.5), ("two", 1.0)):
        (tmp_path / folder).mkdir()
        path = photo_model(tmp_path / folder / "m.onnx")
        save_card(path, replace(load_model(path).card, thresholds={"1e-3": threshold}))
        monkeypatch.chdir(tmp_path / folder)
        assert facelet.verify(*photos, model="m.onnx").threshold == threshold
    save_card(path, replace(load_model(path).card, thresholds={"1e-3": 2.0}))
    assert facelet.verify(*photos, model="m.onnx").threshold == 2.0

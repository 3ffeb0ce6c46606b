"""Oracle: every op and every shipped model on an OpenCL device, against NumPy and onnxruntime."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from conftest import Ended
from facelet.embedder import Embedder
from facelet.errors import GraphError
from facelet.graph.ir import Graph, Node
from facelet.graph.onnx_io import read_graph
from facelet.graph.passes import optimise
from facelet.graph.reference import run
from facelet.model_files import SHIPPED_MODELS, find_model
from facelet.opencl.check import open_session
from facelet.opencl.lower import lower
from facelet.opencl.program import Tuning
from test_graph_ops import CASES, f
from test_opencl_check import working_device

FOREIGN = {
    "mobilefacenet": ("teachers/mobilefacenet-foamliu/mobilefacenet.onnx", 0.0, 1.0),
    "yunet": ("detectors/yunet_n_320_320.onnx", 120.0, 60.0),
}

WITHOUT_KERNEL = {("Pad", ""), ("PRelu", "2d"), ("BatchNormalization", "2d")}
"""Cases that are refused: padding of channels, and slopes and norms of what is no image."""


@pytest.fixture(scope="module")
def device() -> Any:
    return working_device()


def relative(found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> float:
    return float(np.abs(found - expected).max() / (np.abs(expected).max() or 1.0))


@pytest.mark.parametrize(("op", "case"), [(op, case) for op, cases in CASES.items() for case in cases])
def test_an_op_agrees_with_numpy(op: str, case: str, device: Any) -> None:
    rng = np.random.default_rng(zlib.crc32(f"{op} {case}".encode()))
    model, shape = CASES[op][case](rng)
    graph = read_graph(model, batch=shape[0])
    x = f(rng, *shape)
    expected = run(graph, {"x": x})
    try:
        program = lower(graph, Tuning(vector=device.vector))
    except GraphError as error:
        if "has no OpenCL kernel" not in str(error) or (op, case) not in WITHOUT_KERNEL:
            raise
        return
    assert (op, case) not in WITHOUT_KERNEL
    found = device.load(program).run({"x": x})
    for name in graph.outputs:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("vector", [4, 8, 16])
@pytest.mark.parametrize("single", [False, True])
def test_widths_and_single_launch_agree(vector: int, single: bool, device: Any) -> None:
    graph = read_graph(find_model("facelet_xs"))
    x = np.random.default_rng(vector).standard_normal(graph.shapes["pixels"]).astype(np.float32)
    program = lower(graph, Tuning(vector=vector, pixels=4, blocks=2, single=single))
    found = device.load(program).run({"pixels": x})["embedding"]
    assert relative(found, run(graph, {"pixels": x})["embedding"]) < 1e-4


def residual_graph(activation: str, extra: dict[str, Any]) -> Graph:
    """A convolution in groups with residual and activation, and a depthwise one, whose kernels no shipped net has."""
    rng = np.random.default_rng(3)
    window = {"dilations": (1, 1), "pads": (1, 1, 1, 1), "strides": (1, 1), "activation": activation, **extra}
    constants = {
        "w": rng.standard_normal((20, 5, 3, 3)).astype(np.float32),
        "d": rng.standard_normal((20, 1, 5, 5)).astype(np.float32),
        "b": rng.standard_normal(20).astype(np.float32),
        "s": rng.random(20).astype(np.float32),
    }
    slope = ("s",) if activation == "PRelu" else ()
    nodes = (
        Node("FusedConv", ("x", "w", "b", *slope, "x"), "a", {**window, "groups": 4, "residual": True}),
        Node(
            "FusedConv",
            ("a", "d", "b", *slope, "x"),
            "y",
            {**window, "groups": 20, "residual": True, "pads": (2, 2, 2, 2)},
        ),
    )
    shape = (2, 20, 7, 9)
    shapes = {"x": shape, "a": shape, "y": shape, **{name: array.shape for name, array in constants.items()}}
    return Graph("residual", ("x",), ("y",), nodes, constants, shapes).check()


@pytest.mark.parametrize(
    ("activation", "extra"),
    [
        ("", {}),
        ("Relu", {}),
        ("PRelu", {}),
        ("LeakyRelu", {"alpha": 0.2}),
        ("Clip", {"min": -0.5, "max": 6.0}),
        ("Sigmoid", {}),
        ("HardSwish", {}),
    ],
)
def test_what_convolutions_take_along(activation: str, extra: dict[str, Any], device: Any) -> None:
    graph = residual_graph(activation, extra)
    x = np.random.default_rng(4).standard_normal(graph.shapes["x"]).astype(np.float32)
    found = device.load(lower(graph, Tuning(vector=8))).run({"x": x})["y"]
    assert relative(found, run(graph, {"x": x})["y"]) < 1e-5


@pytest.mark.parametrize("name", SHIPPED_MODELS)
def test_shipped_models_agree_with_onnxruntime(name: str, device: Any) -> None:
    session = onnxruntime.InferenceSession(str(find_model(name)), providers=["CPUExecutionProvider"])
    for batch in (1, 8):
        x = np.random.default_rng(batch).standard_normal((batch, 3, 96, 96)).astype(np.float32)
        found = open_session(read_graph(find_model(name), batch), device).run({"pixels": x})["embedding"]
        assert relative(found, session.run(None, {"pixels": x})[0]) < 1e-4


@pytest.mark.data
@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_models_agree_with_numpy(name: str, device: Any, data_dir: Path) -> None:
    path, mean, spread = FOREIGN[name]
    for batch in (1, 8):
        graph = optimise(read_graph(data_dir / path, batch))
        (entry,) = graph.inputs
        x = (mean + spread * np.random.default_rng(batch).standard_normal(graph.shapes[entry])).astype(np.float32)
        found = device.load(lower(graph, Tuning(vector=device.vector))).run({entry: x})
        expected = run(graph, {entry: x})  # itself within 1e-4 of onnxruntime: test_graph_onnx
        assert max(relative(found[output], expected[output]) for output in graph.outputs) < 1e-4


def test_the_backend_embeds_any_number_of_crops(device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACELET_OPENCL_DEVICE", device.name)
    crops = np.random.default_rng(0).integers(0, 255, (11, 96, 96, 3), np.uint8)
    ours = Embedder.load("facelet_xs", backend="opencl").embed(crops)
    theirs = Embedder.load("facelet_xs").embed(crops)
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_devices_are_listed_with_what_works(device: Any, cli: Callable[..., Ended]) -> None:
    said = json.loads(cli("devices", "--json").out)
    assert next(row for row in said if row["name"] == device.name)["works"]
    assert device.name in cli("devices").out


def test_a_damaged_binary_is_built_anew(device: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from facelet.opencl import runtime
    from facelet.opencl.trial import trial_graph

    monkeypatch.setenv("FACELET_CACHE", str(tmp_path))
    graph = trial_graph()
    program = replace(lower(graph, Tuning(vector=8)), name="damaged")
    device.load(program)
    (binary,) = (tmp_path / "opencl").glob("*.bin")
    binary.write_bytes(b"no program")
    monkeypatch.setitem(runtime._started, "builds", {})
    x = {"x": np.ones((1, 3, 12, 12), np.float32)}
    assert relative(device.load(program).run(x)["y"], run(graph, x)["y"]) < 1e-4

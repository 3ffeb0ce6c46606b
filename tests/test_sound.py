"""Weights that are not numbers, ops in training form, limits the wrong way round: refused, or the same everywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from conftest import Ended
from facelet.embedder import Embedder
from facelet.errors import FaceletError, GraphError, ModelError, shown
from facelet.graph import reference
from facelet.graph.onnx_io import read_graph
from facelet.graph.passes import optimise
from facelet.model_files import load_model
from facelet.onnx_session import open_session
from tiny_models import tiny_card, tiny_onnx, write_tiny

if TYPE_CHECKING:
    from facelet.graph.ir import Array

SHAPE = (2, 3, 5, 7)


def model(nodes: list[Any], constants: Mapping[str, Any] | None = None, opset: int = 17) -> onnx.ModelProto:
    """A model from x to y."""
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in "xy"]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def floats(*shape: int, seed: int = 0, bad: float | None = None) -> Array:
    values = np.abs(np.random.default_rng(seed).standard_normal(shape).astype(np.float32)) + np.float32(0.1)
    if bad is not None:
        values.reshape(-1)[-1] = bad
    return values


STATISTICS = {"s": floats(3, seed=1), "b": floats(3, seed=2), "m": floats(3, seed=3), "v": floats(3, seed=4)}


def norm(*outputs: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node("BatchNormalization", list("xsbmv"), list(outputs), "norm", **attributes)


def dropout(*inputs: str) -> onnx.NodeProto:
    return helper.make_node("Dropout", ["x", *inputs], ["y"], "drop")


FIVE = ("y", "mean", "var", "saved_mean", "saved_var")
HALF, ON, OFF = np.float32(0.5), np.array(True), np.array(False)

TRAINING: dict[str, onnx.ModelProto] = {
    **{f"five outputs, opset {n}": model([norm(*FIVE)], STATISTICS, n) for n in (7, 8, 9, 11, 12, 13)},
    "empty outputs": model([norm("y", "", "", "", "")], STATISTICS, 13),  # onnxruntime crashes on it
    "two outputs": model([norm("y", "mean")], STATISTICS, 9),
    "training_mode": model([norm("y", "mean", "var", training_mode=1)], STATISTICS, 15),
    "training_mode, one output": model([norm("y", training_mode=1)], STATISTICS, 14),
    "spatial=0": model([norm("y", spatial=0)], STATISTICS, 8),
    "dropout": model([dropout("r", "t")], {"r": HALF, "t": ON}, 13),
    "dropout, computed": model([helper.make_node("Not", ["t"], ["u"]), dropout("r", "u")], {"r": HALF, "t": OFF}, 13),
    "dropout, a Constant": model(
        [helper.make_node("Constant", [], ["t"], value=numpy_helper.from_array(ON)), dropout("", "t")], opset=12
    ),
}


def check(proto: onnx.ModelProto, path: Path) -> str:
    """The line with which a model file is refused."""
    with pytest.raises(ModelError) as error:
        load_model(write_tiny(path, tiny_card(), proto))
    assert str(error.value).startswith(shown(path))
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("proto", TRAINING.values(), ids=TRAINING)
def test_training_forms_are_refused_by_every_reader(proto: onnx.ModelProto, tmp_path: Path) -> None:
    assert ": is in training mode" in (line := check(proto, tmp_path / "m.onnx")) or "set it to 1" in line
    assert "'norm'" in line or "'drop'" in line
    with pytest.raises(GraphError):
        read_graph(proto)


INFERENCE: dict[str, onnx.ModelProto] = {
    "one output": model([norm("y")], STATISTICS, 9),
    "training_mode=0": model([norm("y", training_mode=0)], STATISTICS, 15),
    "spatial=1": model([norm("y", spatial=1)], STATISTICS, 8),
    "dropout": model([dropout()], opset=11),
    "dropout with ratio": model([dropout("r")], {"r": HALF}, 13),
    "dropout, off": model([dropout("r", "t")], {"r": HALF, "t": OFF}, 13),
}


@pytest.mark.parametrize("proto", INFERENCE.values(), ids=INFERENCE)
def test_inference_forms_are_read(proto: onnx.ModelProto, tmp_path: Path) -> None:
    load_model(write_tiny(tmp_path / "m.onnx", tiny_card(), proto))
    if proto.opset_import[0].version >= 11:
        x = floats(*SHAPE)
        wanted = open_session(proto.SerializeToString()).run(["y"], {"x": x})[0]
        np.testing.assert_allclose(reference.run(read_graph(proto, 2), {"x": x})["y"], wanted, rtol=1e-5)


def conv(weight: Array, bias: Array) -> onnx.ModelProto:
    return model([helper.make_node("Conv", ["x", "w", "c"], ["y"])], {"w": weight, "c": bias})


def constant_node(value: Array) -> onnx.ModelProto:
    node = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(value))
    return model([node, helper.make_node("Mul", ["x", "c"], ["y"])])


BAD: dict[str, Callable[[float], onnx.ModelProto]] = {
    "weight": lambda bad: conv(floats(3, 3, 1, 1, bad=bad), floats(3)),
    "bias": lambda bad: conv(floats(3, 3, 1, 1), floats(3, bad=bad)),
    "variance": lambda bad: model([norm("y")], {**STATISTICS, "v": floats(3, bad=bad)}),
    "slope": lambda bad: model([helper.make_node("PRelu", ["x", "s"], ["y"])], {"s": floats(3, 1, 1, bad=bad)}),
    "operand": lambda bad: model([helper.make_node("Add", ["x", "c"], ["y"])], {"c": floats(1, 7, bad=bad)}),
    "constant node": lambda bad: constant_node(floats(3, 1, 1, bad=bad)),
}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("make", BAD.values(), ids=BAD)
def test_weights_that_are_not_numbers_are_refused_by_every_reader(
    make: Callable[[float], onnx.ModelProto], bad: float, tmp_path: Path
) -> None:
    proto = make(bad)
    assert "NaN or infinite; train or export the network again" in check(proto, tmp_path / "m.onnx")
    with pytest.raises(GraphError, match=r"1 of the \d+ numbers of its constant '.*' are NaN or infinite"):
        read_graph(proto)
    load_model(write_tiny(tmp_path / "good.onnx", tiny_card(), make(0.5)))
    read_graph(make(0.5))


@pytest.mark.parametrize("position", [0, 1])
def test_a_limit_may_be_infinite_and_not_nan(position: int) -> None:
    clip = [helper.make_node("Clip", ["x", "lo", "hi"], ["y"])]
    open_, closed = (-np.inf, np.inf)[position], (1.0, -1.0)[position]
    for value, right in ((open_, True), (closed, True), (np.nan, False)):
        limits = {"lo": np.float32(-0.5), "hi": np.float32(0.5)} | {("lo", "hi")[position]: np.float32(value)}
        proto = model(clip, limits)
        if right:
            read_graph(proto)
        else:
            with pytest.raises(GraphError, match=r"its (min|max) is NaN"):
                read_graph(proto)


@pytest.mark.parametrize("backend", ["onnxruntime", "opencl", "openvino", None])
def test_no_backend_embeds_with_a_weight_that_is_not_a_number(backend: str | None, tmp_path: Path) -> None:
    proto = tiny_onnx()
    matrix = numpy_helper.to_array(proto.graph.initializer[0]).copy()
    matrix[0, 0] = np.nan
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(matrix, "matrix"))
    path = write_tiny(tmp_path / "m.onnx", tiny_card(), proto)
    with pytest.raises(FaceletError, match="its constant 'matrix' are NaN or infinite"):
        Embedder.load(path, backend=backend)


def test_quantize_refuses_a_weight_that_is_not_a_number_in_one_line(tmp_path: Path, cli: Callable[..., Ended]) -> None:
    path = write_tiny(tmp_path / "m.onnx", tiny_card(), conv(floats(3, 3, 1, 1, bad=np.nan), floats(3)))
    ended = cli("quantize", path, "--out", tmp_path / "q.onnx")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "its constant 'w' are NaN or infinite" in ended.err
    assert not (tmp_path / "q.onnx").exists()


LIMITS = [(1.0, -1.0), (2.0, 0.5), (0.5, 0.25), (6.0, 0.0), (np.inf, 1.0), (-0.5, -np.inf)]


@pytest.mark.parametrize(("low", "high"), LIMITS)
def test_limits_the_wrong_way_round_give_the_upper_one(low: float, high: float) -> None:
    limits = {"lo": np.float32(low), "hi": np.float32(high)}
    clip = helper.make_node("Clip", ["c", "lo", "hi"], ["y"])
    weight = floats(3, 3, 1, 1) - np.float32(0.5)
    proto = model([helper.make_node("Conv", ["x", "w"], ["c"]), clip], {"w": weight, **limits})
    x = floats(*SHAPE) - np.float32(1)
    wanted = open_session(proto.SerializeToString()).run(["y"], {"x": x})[0]
    assert (wanted == high).all()
    graph = read_graph(proto, 2)
    for each in (graph, optimise(graph)):
        np.testing.assert_array_equal(reference.run(each, {"x": x})["y"], wanted)


def test_an_average_behind_such_limits_is_not_taken_for_positive() -> None:
    """An LpPool or a folded border would count on numbers that are never negative."""
    from facelet.graph.passes.fold import _never_negative

    clip = helper.make_node("Clip", ["x", "lo", "hi"], ["y"])
    for low, high, never in ((0.0, 6.0, True), (1.0, -1.0, False), (2.0, 0.5, True), (-1.0, 1.0, False)):
        graph = read_graph(model([clip], {"lo": np.float32(low), "hi": np.float32(high)}))
        assert _never_negative(graph, "y") is never

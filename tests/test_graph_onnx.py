"""Oracle and invariant: whole models through the graph and back; what is refused, and how it is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from facelet.errors import GraphError, InputError, MissingFileError
from facelet.graph.ir import Graph
from facelet.graph.onnx_io import read_graph, write_graph
from facelet.graph.reference import run
from facelet.graph.size import largest_live_bytes, layers
from facelet.model_files import SHIPPED_MODELS, find_model, load_model

FOREIGN = {
    "mobilefacenet": ("teachers/mobilefacenet-foamliu/mobilefacenet.onnx", None, (0.0, 1.0)),
    "yunet": ("detectors/yunet_n_320_320.onnx", None, (120.0, 60.0)),
    "yunet, open size": ("detectors/yunet_n_dynamic.onnx", (3, 160, 192), (120.0, 60.0)),
}


def relative(found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def check_whole(path: Path, batch: int, size: tuple[int, ...] | None, mean: float, spread: float) -> None:
    graph = read_graph(path, batch, input_shape=size)
    x = (mean + spread * np.random.default_rng(batch).standard_normal(graph.shapes[graph.inputs[0]])).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    # image by image, as files of a fixed batch can run no other way
    rows = [session.run(None, {graph.inputs[0]: x[i : i + 1]}) for i in range(batch)]
    expected = [np.concatenate(parts) for parts in zip(*rows, strict=True)]
    found = run(graph, {graph.inputs[0]: x})
    for name, wanted in zip(graph.outputs, expected, strict=True):
        assert relative(found[name], wanted) < 1e-4
    again = read_graph(write_graph(graph), batch)
    assert [node.op for node in again.nodes] == [node.op for node in graph.nodes]
    assert again.metadata == graph.metadata
    for name, wanted in zip(graph.outputs, run(again, {graph.inputs[0]: x}).values(), strict=True):
        np.testing.assert_array_equal(found[name], wanted)


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("name", SHIPPED_MODELS)
def test_shipped_models_agree_with_onnxruntime(name: str, batch: int) -> None:
    check_whole(find_model(name), batch, None, 0.0, 0.5)


@pytest.mark.data
@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_models_agree_with_onnxruntime(name: str, batch: int, data_dir: Path) -> None:
    path, size, (mean, spread) = FOREIGN[name]
    check_whole(data_dir / path, batch, size, mean, spread)


def model_of(
    nodes: list[onnx.NodeProto],
    weights: dict[str, np.ndarray[Any, Any]] | None = None,
    shape: tuple[Any, ...] = ("n", 3, 8, 8),
    opset: int = 18,
    kind: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def node(op: str, *inputs: str, output: str = "y", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, list(inputs), [output], name=f"the_{op}", **attributes)


KERNEL = np.ones((4, 3, 3, 3), np.float32)

REFUSED: dict[str, tuple[onnx.ModelProto, str]] = {
    "op": (
        model_of([node("Einsum", "x")]),
        r"net: Einsum 'the_Einsum': op not supported; export without it, or name the last .*; supported are Abs, ",
    ),
    "domain": (model_of([node("Conv", "x", "w", domain="com.microsoft")], {"w": KERNEL}), "op not supported"),
    "old": (model_of([node("Relu", "x")], opset=6), "opset 6 is too old"),
    "order": (model_of([node("Relu", "z"), node("Relu", "x", output="z")]), "reads 'z', which nothing before it"),
    "twice": (model_of([node("Relu", "x"), node("Sigmoid", "x")]), "writes 'y', which is written already"),
    "no output": (model_of([node("Relu", "x", output="z")]), "output 'y' is written by no node"),
    "int input": (model_of([node("Relu", "x")], kind=TensorProto.INT32), "input 'x' is not float32"),
    "open size": (model_of([node("Relu", "x")], shape=("n", 3, "h", "w")), "leaves its size open"),
    "big": (model_of([node("Relu", "x")], shape=("n", 3, 10**6, 10**6)), r"is 1 x \[3, 1000000, 1000000\]"),
    "stride 0": (model_of([node("Conv", "x", "w", strides=[0, 1])], {"w": KERNEL}), "must be 1 or more"),
    "kernel": (model_of([node("Conv", "x", "w")], {"w": np.ones((4, 5, 3, 3), np.float32)}), "does not fit 3 channels"),
    "1d": (model_of([node("Conv", "x", "w")], {"w": np.ones((4, 3, 3), np.float32)}), "two-dimensional"),
    "wide": (model_of([node("Conv", "x", "w")], {"w": np.ones((4, 3, 9, 9), np.float32)}), "does not fit into 8"),
    "huge pad": (
        model_of([node("Pad", "x", "p")], {"p": np.array([0, 0, 0, 0, 0, 0, 10**9, 10**9])}),
        "gives a tensor of",
    ),
    "reshape": (model_of([node("Reshape", "x", "s")], {"s": np.array([5, -1])}), "does not fit"),
    "reflect": (
        model_of([node("Pad", "x", "p", mode="reflect")], {"p": np.array([0, 0, 1, 8, 0, 0, 1, 1])}),
        "pads of 8 and 1 around 8 are too wide for the mode reflect",
    ),
    "cubic": (
        model_of([node("Resize", "x", "", "s", mode="cubic")], {"s": np.array([1, 1, 2, 2], np.float32)}),
        "mode cubic of 4 axes; supported are nearest and linear of images",
    ),
    "antialias": (
        model_of([node("Resize", "x", "", "s", mode="linear", antialias=1)], {"s": np.array([1, 1, 2, 2], np.float32)}),
        "antialias is not supported; export it without",
    ),
    "resized channels": (
        model_of([node("Resize", "x", "", "s")], {"s": np.array([1, 2, 2, 2], np.float32)}),
        "change the batch or the channels",
    ),
    "training": (
        model_of([node("BatchNormalization", "x", "a", "a", "a", "a", training_mode=1)], {"a": np.ones(3, np.float32)}),
        "in training mode",
    ),
    "slopes": (model_of([node("PRelu", "x", "s")], {"s": np.ones(5, np.float32)}), r"slopes of shape \(5,\) cannot be"),
    "attribute": (model_of([node("Conv", "x", "w", strides="two")], {"w": KERNEL}), "Conv 'the_Conv': damaged or"),
    "axis": (model_of([node("Concat", "x", "x", axis=7)]), "axis 7 is none of 4"),
    "axis twice": (model_of([node("Unsqueeze", "x", "a")], {"a": np.array([0, 0])}), "name one twice"),
    "whole weights": (model_of([node("Conv", "x", "w")], {"w": KERNEL.astype(np.int64)}), "'w' holds int64; float32"),
    "double weights": (model_of([node("Conv", "x", "w")], {"w": KERNEL.astype(np.float64)}), "'w' holds float64"),
    "whole operand": (model_of([node("Add", "x", "c")], {"c": np.array(3)}), "'c' holds int64"),
    "kernel_shape": (model_of([node("Conv", "x", "w", kernel_shape=[1, 1])], {"w": KERNEL}), "not that of its weights"),
    "dropout": (
        model_of([node("Dropout", "x", "r", "t")], {"r": np.array(0.5, np.float32), "t": np.array(True)}),
        "in training mode",
    ),
    "aspect": (
        model_of(
            [
                node(
                    "Resize",
                    *("x", "", "", "s"),
                    mode="nearest",
                    coordinate_transformation_mode="asymmetric",
                    nearest_mode="floor",
                    keep_aspect_ratio_policy="not_larger",
                )
            ],
            {"s": np.array([1, 3, 16, 24])},
        ),
        "keep_aspect_ratio_policy",
    ),
    "inputs": (model_of([node("Relu", "x", "x")]), "has 2 inputs"),
    "lacks": (model_of([node("LRN", "x")]), "lacks its attribute 'size'"),
    "no such attribute": (model_of([node("Relu", "x", alpha=1.0)]), "knows no 'alpha'"),
    "too new an op": (model_of([node("HardSwish", "x")], opset=13), "opset 13 has no such op"),
    "too new": (model_of([node("Relu", "x")], opset=99), "opset 99 is newer than"),
    "wide pads": (model_of([node("Conv", "x", "w", pads=[2**31] * 4, strides=[2**31] * 2)], {"w": KERNEL}), "an image"),
    "wide window": (
        model_of([node("MaxPool", "x", kernel_shape=[2**20] * 2, pads=[2**20 - 1] * 4, strides=[2**21] * 2)]),
        "make an image of",
    ),
    "work": (
        model_of([node("LpPool", "x", kernel_shape=[2000, 2000])], shape=("n", 1, 4000, 4000)),
        "net: LpPool 'the_LpPool': needs 16016004000000 products",
    ),
    "memory": (
        model_of(
            [node("Relu", "x", output="a"), node("Relu", "a", output="b"), node("Add", "a", "b")],
            shape=("n", 1, 11000, 11000),
        ),
        "MiB of tensors at once",
    ),
    "same": (
        model_of([node("MaxPool", "x", kernel_shape=[1, 1], strides=[3, 3], auto_pad="SAME_UPPER")]),
        "strides wider than the window",
    ),
    "gather": (
        model_of(
            [node("ConstantOfShape", "s", output="z"), node("Gather", "t", "z", output="q"), node("Add", "x", "q")],
            {"s": np.array([2**20]), "t": np.ones((2, 2**14), np.float32)},
        ),
        "too large to compute while reading",
    ),
    "folded": (
        model_of(
            [
                *(node("ConstantOfShape", "s", output=f"z{i}") for i in range(70)),
                node("Sum", "x", *(f"z{i}" for i in range(70))),
            ],
            {"s": np.array([2**20])},
        ),
        "too large to compute while reading",
    ),
    "text": (model_of([node("Add", "x", "w")], {"w": np.array(["a"])}), "not numbers|damaged"),
    "whole by zero": (
        model_of([node("Div", "a", "b", output="s"), node("Reshape", "x", "s")], {"a": np.arange(2), "b": np.array(0)}),
        "Div 'the_Div': divides a whole number by zero",
    ),
    "whole too large": (
        model_of(
            [node("Mul", "a", "b", output="s"), node("Reshape", "x", "s")],
            {"a": np.ones((2**20, 1), np.int64), "b": np.ones((1, 2**20), np.int64)},
        ),
        "gives a tensor of|too large to compute while reading",
    ),
    "whole of other shapes": (
        model_of(
            [node("Mul", "a", "b", output="s"), node("Reshape", "x", "s")], {"a": np.arange(2), "b": np.arange(3)}
        ),
        "cannot be broadcast together",
    ),
    "constant": (model_of([node("Relu", "w")], {"w": KERNEL}), "is a constant|no node"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_says_where_and_why(name: str) -> None:
    model, reason = REFUSED[name]
    with pytest.raises(GraphError, match=reason) as caught:
        read_graph(model)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_onnx_are_refused(tmp_path: Path) -> None:
    for content in (b"", b"no model", find_model("facelet_xs").read_bytes()[:5000]):
        path = tmp_path / "x.onnx"
        path.write_bytes(content)
        with pytest.raises(GraphError, match=r"x\.onnx|facelet|graph"):
            read_graph(path)


def test_shapes_are_worked_out_while_reading() -> None:
    nodes = [
        node("Shape", "x", output="shape"),
        node("Gather", "shape", "zero", output="batch"),
        node("Unsqueeze", "batch", "axis", output="batch1"),
        node("Concat", "batch1", "rest", output="target", axis=0),
        node("Reshape", "x", "target"),
    ]
    weights = {"zero": np.array(0), "axis": np.array([0]), "rest": np.array([-1])}
    graph = read_graph(model_of(nodes, weights), batch=5)
    assert [n.op for n in graph.nodes] == ["Reshape"]
    assert graph.shapes["y"] == (5, 192)


WHOLE: dict[str, tuple[list[onnx.NodeProto], dict[str, np.ndarray[Any, Any]]]] = {
    # x is n x 3 x 8 x 8; the nodes make the target "t" of a Reshape
    "towards zero": (
        # 3 x 8 x 8 / (-5 / 2 + 5) = 192 / 3, not 192 / 2 as -5 / 2 rounded down would have it
        [
            node("Div", "minus", "two", output="a"),
            node("Add", "a", "five", output="b"),
            node("Concat", "zero", "b", "rest", output="t", axis=0),
        ],
        {"minus": np.array([-5]), "two": np.array([2]), "five": np.array([5])},
    ),
    "half of a width": (
        [
            node("Shape", "x", output="shape"),
            node("Slice", "shape", "three", "four", output="width"),
            node("Div", "width", "five", output="a"),  # 8 / 5 = 1
            node("Mul", "a", "six", output="b"),
            node("Concat", "zero", "rest", "b", output="t", axis=0),
        ],
        {"three": np.array([3]), "four": np.array([4]), "five": np.array([5]), "six": np.array([6])},
    ),
    "beyond 2^24": (
        # (2^24 + 1) x 3 - 3 x 2^24 + 1 = 4; in float32 2^24 + 1 is 2^24
        [
            node("Add", "large", "one", output="a"),
            node("Mul", "a", "three", output="b"),
            node("Sub", "b", "thrice", output="c"),
            node("Add", "c", "one", output="d"),
            node("Concat", "zero", "d", "rest", output="t", axis=0),
        ],
        {"large": np.array([2**24]), "one": np.array([1]), "three": np.array([3]), "thrice": np.array([3 * 2**24])},
    ),
    "moved before": (
        [
            node("Shape", "x", output="shape"),
            node("Reshape", "shape", "two_rows", output="rows"),
            node("Div", "rows", "five", output="a"),  # n x 3 and 8 x 8: 0, 0, 1, 1
            node("Mul", "a", "two", output="b"),
            node("Reshape", "b", "rest", output="flat"),
            node("Slice", "flat", "two", "four", output="twos"),
            node("Concat", "zero", "twos", "rest", output="t", axis=0),
        ],
        {"two_rows": np.array([2, 2]), "five": np.array(5), "two": np.array([2]), "four": np.array([4])},
    ),
    "numbers without axes": (
        # what torch writes for x.reshape(x.shape[0], x.shape[1] * x.shape[2], -1)
        [
            node("Shape", "x", output="shape"),
            node("Gather", "shape", "one", output="channels"),
            node("Gather", "shape", "two", output="height"),
            node("Mul", "channels", "height", output="a"),
            node("Unsqueeze", "a", "zero", output="b"),
            node("Concat", "zero", "b", "rest", output="t", axis=0),
        ],
        {"one": np.array(1), "two": np.array(2)},
    ),
}


@pytest.mark.parametrize("name", WHOLE)
def test_shapes_are_whole_numbers(name: str) -> None:
    nodes, weights = WHOLE[name]
    model = model_of([*nodes, node("Reshape", "x", "t")], {"zero": np.array([0]), "rest": np.array([-1]), **weights})
    for made in model.graph.node:
        made.name = made.output[0]  # onnxruntime wants no name twice
    x = np.random.default_rng(1).standard_normal((2, 3, 8, 8)).astype(np.float32)
    np.testing.assert_array_equal(run(read_graph(model, 2), {"x": x})["y"], by_onnxruntime(model, x))


def test_a_number_keeps_its_shape() -> None:
    graph = read_graph(model_of([node("Mul", "x", "c")], {"c": np.array(2, np.float32)}))
    assert graph.shapes["c"] == graph.constants["c"].shape == ()


def test_a_part_of_a_shape_is_a_part() -> None:
    nodes = [
        node("Shape", "x", output="batch", start=0, end=1),
        node("Concat", "batch", "rest", output="target", axis=0),
        node("Reshape", "x", "target"),
    ]
    assert read_graph(model_of(nodes, {"rest": np.array([-1])}), batch=5).shapes["y"] == (5, 192)


def by_onnxruntime(model: onnx.ModelProto, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


R = np.random.default_rng(7)
NAMES: dict[str, onnx.ModelProto] = {
    # what reading or writing adds for a node has a name made of its output's; the file may have it already
    "bias": model_of(
        [node("Conv", "x", "w", output="a"), node("Mul", "a", "a.bias")],
        {"w": KERNEL, "a.bias": R.standard_normal((4, 1, 1)).astype(np.float32)},
    ),
    "weight": model_of(
        [
            node("Flatten", "x", output="f"),
            helper.make_node("Gemm", ["f", "a.weight"], ["a"], name="one"),
            helper.make_node("Gemm", ["a", "a.weight"], ["y"], name="two", transB=1),
        ],
        {"a.weight": R.standard_normal((192, 192)).astype(np.float32) / 14},
    ),
    "numbers": model_of(
        [node("Flatten", "x", output="f"), node("Add", "f", "f.numbers")],
        {"f.numbers": R.standard_normal(192).astype(np.float32)},
    ),
    "slope": model_of(
        [node("PRelu", "x", "y.slope"), node("Mul", "x", "y.slope", output="z")],
        {"y.slope": R.standard_normal((3, 1, 1)).astype(np.float32)},
    ),
    # an op that does nothing before the output must not take its name away
    "identity": model_of([node("Relu", "x", output="a"), node("Identity", "a")]),
    "identity alone": model_of([node("Identity", "x")]),
    "sum": model_of([node("Sum", "x", "x", "x")]),
    "cast": model_of([node("Cast", "x", output="a", to=1), node("Relu", "a")]),
}


@pytest.mark.parametrize("name", NAMES)
def test_names_in_a_file_are_kept_apart(name: str) -> None:
    model = NAMES[name]
    graph = read_graph(model, batch=2)
    x = np.random.default_rng(1).standard_normal((2, 3, 8, 8)).astype(np.float32)
    wanted = by_onnxruntime(model, x)
    assert graph.outputs == ("y",)
    written = write_graph(graph)
    onnx.checker.check_model(written, full_check=True)
    for found in (run(graph, {"x": x})["y"], by_onnxruntime(written, x)):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("nodes", "is_open"),
    [
        ([node("Relu", "x")], True),
        ([node("Flatten", "x")], True),
        ([node("Add", "x", "c")], False),
        ([node("Transpose", "x", perm=[1, 0, 2, 3])], False),
        ([node("Concat", "x", "c", axis=1)], False),
        ([node("LpNormalization", "x", axis=0)], False),
    ],
)
def test_the_batch_is_open_where_images_are_apart(nodes: list[onnx.NodeProto], is_open: bool) -> None:
    graph = read_graph(model_of(nodes, {"c": np.ones((3, 3, 8, 8), np.float32)}), batch=3)
    dimension = write_graph(graph).graph.input[0].type.tensor_type.shape.dim[0]
    assert (dimension.dim_param, dimension.dim_value) == (("n", 0) if is_open else ("", 3))


def test_a_length_over_the_batch_keeps_it_closed() -> None:
    graph = read_graph(model_of([node("ReduceL2", "x", "a")], {"a": np.array([0])}), batch=1)
    assert graph.shapes["y"][0] == 1  # as if it were the batch
    assert write_graph(graph).graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Pow"])
def test_operands_of_other_ranks_keep_the_batch_closed(op: str) -> None:
    nodes = [node("ReduceL2", "x", "a", output="length", keepdims=0), node(op, "x", "length")]
    model = model_of(nodes, {"a": np.array([1])}, shape=("n", 4))  # with 4 images not a row but an image its length
    written = write_graph(read_graph(model, batch=1))
    assert [d.dim_value for d in written.graph.input[0].type.tensor_type.shape.dim] == [1, 4]
    x = np.random.default_rng(1).uniform(0.5, 1, (1, 4)).astype(np.float32)
    np.testing.assert_allclose(by_onnxruntime(written, x), by_onnxruntime(model, x), rtol=1e-6)


def test_a_batch_that_the_file_fixes_can_be_another() -> None:
    model = model_of([node("Reshape", "x", "s")], {"s": np.array([1, -1])}, shape=(1, 3, 8, 8))
    x = np.random.default_rng(1).standard_normal((4, 3, 8, 8)).astype(np.float32)
    np.testing.assert_array_equal(run(read_graph(model, 4), {"x": x})["y"], x.reshape(4, -1))
    mixed = model_of(
        [node("Transpose", "x", output="t", perm=[1, 0, 2, 3]), node("Reshape", "t", "s")],
        {"s": np.array([1, 192])},
        shape=(1, 3, 8, 8),
    )
    assert read_graph(mixed, 1).shapes["y"] == (1, 192)
    with pytest.raises(GraphError, match="cannot take the shape 1x192"):
        read_graph(mixed, 4)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no such model file"):
        read_graph(tmp_path / "none.onnx")


def test_feeds_are_checked() -> None:
    graph = read_graph(model_of([node("Relu", "x")]))
    with pytest.raises(InputError, match="nothing is fed"):
        run(graph, {})
    with pytest.raises(InputError, match=r"shape \(1, 3, 8, 9\); expected \(1, 3, 8, 8\)"):
        run(graph, {"x": np.zeros((1, 3, 8, 9), np.float32)})
    for wrong in (np.array("a"), [[1.0], [1.0, 2.0]]):
        with pytest.raises(InputError, match="feed float32 numbers"):
            run(graph, {"x": wrong})  # type: ignore[dict-item]


def test_a_graph_cannot_be_changed() -> None:
    graph: Graph = read_graph(model_of([node("Conv", "x", "w")], {"w": KERNEL}))
    with pytest.raises(ValueError, match="read-only"):
        graph.constants["w"][0] = 1
    with pytest.raises(TypeError):
        graph.shapes["w"] = (1,)  # type: ignore[index]
    with pytest.raises(TypeError):
        graph.nodes[0].attributes["groups"] = 2  # type: ignore[index]


@pytest.mark.parametrize("name", SHIPPED_MODELS)
def test_layers_add_up_to_the_card(name: str) -> None:
    model = load_model(name)
    graph = read_graph(model.path)
    rows = layers(graph)
    assert sum(row.macs for row in rows) == model.card.macs  # the card's were counted in torch
    assert sum(row.parameters for row in rows) < model.card.parameters  # batch norm is folded into the file
    assert max(row.activation_bytes for row in rows) <= largest_live_bytes(graph)


def test_live_memory_by_hand() -> None:
    # x 192 numbers, a = conv(x) 144, b = relu(a) 144, y = a + b 144: at b and at y three of 144 or x + a = 336 live
    nodes = [node("Conv", "x", "w", output="a"), node("Relu", "a", output="b"), node("Add", "a", "b")]
    assert largest_live_bytes(read_graph(model_of(nodes, {"w": KERNEL}))) == 4 * 3 * 144

"""Oracle: every op of the graph, read from ONNX and run by NumPy, against onnxruntime."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from facelet.errors import GraphError
from facelet.graph.ir import ACTIVATIONS, Graph, Node, Shape
from facelet.graph.onnx_io import read_graph, write_graph
from facelet.graph.ops import OPS, output_shape
from facelet.graph.reference import KERNELS, run

Weights = dict[str, np.ndarray[Any, Any]]


def one_node(
    op: str,
    x: tuple[int, ...],
    weights: Weights | None = None,
    inputs: tuple[str, ...] = ("x",),
    opset: int = 18,
    **attributes: Any,
) -> onnx.ModelProto:
    """A model of one node; `weights` are its constants, named in `inputs`."""
    node = helper.make_node(op, list(inputs), ["y"], name=f"the_{op}", **attributes)
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *x[1:]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def f(rng: np.random.Generator, *shape: int) -> np.ndarray[Any, Any]:
    return rng.standard_normal(shape).astype(np.float32)


def conv(x: tuple[int, ...], kernel: tuple[int, ...], *, bias: bool = True, **attributes: Any) -> Any:
    def make(rng: np.random.Generator) -> tuple[onnx.ModelProto, tuple[int, ...]]:
        weights = {"w": f(rng, *kernel)} | ({"b": f(rng, kernel[0])} if bias else {})
        return one_node("Conv", x, weights, ("x", *weights), **attributes), x

    return make


def plain(op: str, x: tuple[int, ...] = (2, 5, 6, 7), opset: int = 18, **attributes: Any) -> Any:
    return lambda rng: (one_node(op, x, opset=opset, **attributes), x)


def with_constants(
    op: str, x: tuple[int, ...], make: Callable[[np.random.Generator], Weights], **attributes: Any
) -> Any:
    def made(rng: np.random.Generator) -> tuple[onnx.ModelProto, tuple[int, ...]]:
        weights = make(rng)
        return one_node(op, x, weights, ("x", *weights), **attributes), x

    return made


def number(value: float) -> np.ndarray[Any, Any]:
    return np.array(value, np.float32)


def ints(*values: int) -> np.ndarray[Any, Any]:
    return np.array(values, np.int64)


def enlarged(scale: int) -> Callable[[np.random.Generator], Weights]:
    return lambda rng: {"roi": np.zeros(0, np.float32), "s": np.array([1, 1, scale, 2], np.float32)}


def resampled(scale: float) -> Callable[[np.random.Generator], Weights]:
    return lambda rng: {"roi": np.zeros(0, np.float32), "s": np.array([1, 1, scale, scale * 1.25], np.float32)}


IMAGE = (2, 6, 9, 8)
CASES: dict[str, dict[str, Any]] = {
    "Conv": {
        "1x1": conv(IMAGE, (4, 6, 1, 1)),
        "3x3": conv(IMAGE, (4, 6, 3, 3), pads=[1, 1, 1, 1]),
        "no bias, uneven pads, stride": conv(IMAGE, (4, 6, 3, 2), bias=False, pads=[0, 1, 2, 0], strides=[2, 1]),
        "depthwise": conv(IMAGE, (6, 1, 3, 3), group=6, pads=[1, 1, 1, 1], strides=[2, 2]),
        "depthwise, two each": conv(IMAGE, (12, 1, 3, 3), group=6),
        "groups": conv(IMAGE, (4, 3, 3, 3), group=2),
        "dilated": conv(IMAGE, (4, 6, 3, 3), dilations=[2, 3], pads=[2, 3, 2, 3]),
        "same upper": conv(IMAGE, (4, 6, 3, 4), auto_pad="SAME_UPPER", strides=[2, 2]),
        "same lower": conv(IMAGE, (4, 6, 3, 4), auto_pad="SAME_LOWER", strides=[2, 2]),
        "global": conv(IMAGE, (6, 1, 9, 8), group=6),
    },
    "BatchNormalization": {
        "4d": with_constants(
            "BatchNormalization",
            IMAGE,
            lambda r: {"s": f(r, 6), "b": f(r, 6), "m": f(r, 6), "v": abs(f(r, 6)) + np.float32(0.1)},
            epsilon=0.1,
        ),
        "2d": with_constants(
            "BatchNormalization",
            (3, 6),
            lambda r: {"s": f(r, 6), "b": f(r, 6), "m": f(r, 6), "v": abs(f(r, 6)) + np.float32(0.1)},
        ),
    },
    "Relu": {"": plain("Relu")},
    "LeakyRelu": {"": plain("LeakyRelu", alpha=0.3), "default": plain("LeakyRelu")},
    "Sigmoid": {"": plain("Sigmoid")},
    "HardSwish": {"": plain("HardSwish")},
    "Sqrt": {"": plain("Sqrt")},
    "Tanh": {"": plain("Tanh"), "Mish": plain("Mish"), "Gelu": plain("Gelu", opset=20, approximate="tanh")},
    "Abs": {"": plain("Abs"), "Softsign": plain("Softsign"), "ReduceL1": plain("ReduceL1", opset=13, axes=[1])},
    "Exp": {"": plain("Exp"), "Elu": plain("Elu", alpha=0.7), "Selu": plain("Selu"), "Softplus": plain("Softplus")},
    "Log": {"Softplus": plain("Softplus"), "LogSoftmax": plain("LogSoftmax", axis=1)},
    "Erf": {"": plain("Erf"), "Gelu": plain("Gelu", opset=20)},
    "Clip": {
        "both": with_constants("Clip", IMAGE, lambda r: {"a": number(-0.5), "b": number(0.7)}),
        "low": with_constants("Clip", IMAGE, lambda r: {"a": number(-0.5)}),
        "none": plain("Clip"),
        "HardSigmoid": plain("HardSigmoid", alpha=0.25, beta=0.4),
    },
    "PRelu": {
        "per channel": with_constants("PRelu", IMAGE, lambda r: {"s": f(r, 6, 1, 1)}),
        "one": with_constants("PRelu", IMAGE, lambda r: {"s": f(r, 1)}),
        "2d": with_constants("PRelu", (3, 6), lambda r: {"s": f(r, 6)}),
    },
    **{
        op: {
            "two tensors": (lambda o: lambda r: (one_node(o, IMAGE, None, ("x", "x")), IMAGE))(op),
            "number": with_constants(op, IMAGE, lambda r: {"c": number(1.7)}),
            "channels": with_constants(op, IMAGE, lambda r: {"c": abs(f(r, 1, 6, 1, 1)) + np.float32(0.5)}),
            "rows": with_constants(op, IMAGE, lambda r: {"c": abs(f(r, 8)) + np.float32(0.5)}),
        }
        for op in ("Add", "Sub", "Mul", "Div")
    },
    "Pow": {"square": with_constants("Pow", IMAGE, lambda r: {"c": number(2)})},
    **{
        op: {
            "two tensors": (lambda o: lambda r: (one_node(o, IMAGE, None, ("x", "x")), IMAGE))(op),
            "channels": with_constants(op, IMAGE, lambda r: {"c": f(r, 1, 6, 1, 1)}),
        }
        for op in ("Max", "Min")
    },
    "Concat": {
        axis: (lambda a: lambda r: (one_node("Concat", IMAGE, None, ("x", "x", "x"), axis=a), IMAGE))(int(axis))
        for axis in ("1", "-1", "2")
    },
    "MaxPool": {
        "": plain("MaxPool", kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1]),
        "ceil": plain("MaxPool", (2, 5, 8, 9), kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
        "global": plain("GlobalMaxPool"),
    },
    "AveragePool": {
        "": plain("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        "pads counted": plain("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
        "same": plain("AveragePool", kernel_shape=[2, 2], auto_pad="SAME_UPPER", strides=[2, 2]),
    },
    "LpPool": {
        "2": plain("LpPool", kernel_shape=[3, 3], strides=[2, 2]),
        "3": plain("LpPool", kernel_shape=[2, 2], p=3, pads=[1, 1, 0, 0]),
    },
    "GlobalAveragePool": {
        "": plain("GlobalAveragePool"),
        "mean": with_constants("ReduceMean", IMAGE, lambda r: {"axes": ints(2, 3)}),
        "mean, flat": with_constants("ReduceMean", IMAGE, lambda r: {"axes": ints(-1, -2)}, keepdims=0),
    },
    "LRN": {
        "odd": plain("LRN", size=5, alpha=0.3, beta=0.6, bias=2.0),
        "wide": plain("LRN", size=11, alpha=0.2),
    },
    "Gemm": {
        "transB": with_constants("Gemm", (3, 6), lambda r: {"w": f(r, 4, 6), "b": f(r, 4)}, transB=1),
        "scaled": with_constants("Gemm", (3, 6), lambda r: {"w": f(r, 6, 4), "b": f(r, 1, 4)}, alpha=0.5, beta=2.0),
        "no bias": with_constants("Gemm", (3, 6), lambda r: {"w": f(r, 6, 4)}),
        "transA": with_constants("Gemm", (6, 3), lambda r: {"w": f(r, 6, 4)}, transA=1),
        "MatMul": with_constants("MatMul", (3, 6), lambda r: {"w": f(r, 6, 4)}),
    },
    "Reshape": {
        "infer": with_constants("Reshape", IMAGE, lambda r: {"s": ints(0, -1)}),
        "split": with_constants("Reshape", IMAGE, lambda r: {"s": ints(-1, 2, 3, 72)}),
        "Flatten": plain("Flatten"),
        "Flatten 2": plain("Flatten", axis=-2),
        "Squeeze": with_constants("Squeeze", (2, 5, 1, 1), lambda r: {"a": ints(2, -1)}),
        "Unsqueeze": with_constants("Unsqueeze", IMAGE, lambda r: {"a": ints(-1, 0)}),
    },
    "Transpose": {"": plain("Transpose", perm=[0, 2, 3, 1]), "default": plain("Transpose")},
    "Pad": {
        "": with_constants("Pad", IMAGE, lambda r: {"p": ints(0, 1, 2, 0, 0, 0, 1, 3), "v": number(1.5)}),
        "axes": lambda r: (
            one_node("Pad", IMAGE, {"p": ints(2, 1), "a": ints(-1)}, ("x", "p", "", "a")),
            IMAGE,
        ),
    },
    "Resize": {
        f"{way} {nearest} {scale}": with_constants(
            "Resize",
            IMAGE,
            enlarged(scale),
            coordinate_transformation_mode=way,
            nearest_mode=nearest,
        )
        for way, nearest, scale in (
            ("asymmetric", "floor", 3),
            ("asymmetric", "round_prefer_floor", 2),
            ("half_pixel", "round_prefer_floor", 3),
            ("half_pixel", "round_prefer_ceil", 4),
            ("pytorch_half_pixel", "round_prefer_floor", 2),
        )
    },
    "Slice": {
        "channels": with_constants("Slice", IMAGE, lambda r: {"s": ints(1), "e": ints(-1), "a": ints(1)}),
        "backwards": with_constants(
            "Slice", IMAGE, lambda r: {"s": ints(-1, 7), "e": ints(-99, 0), "a": ints(1, 3), "t": ints(-1, -3)}
        ),
        "Gather": lambda r: (one_node("Gather", IMAGE, {"i": ints(2, 1, 0, 5, 5)}, ("x", "i"), axis=1), IMAGE),
        "Pad": with_constants("Pad", IMAGE, lambda r: {"p": ints(0, 0, -1, 2, 0, -1, 0, -3)}),
    },
    "Resample": {
        f"{mode} {way} {nearest} {scale}": with_constants(
            "Resize",
            IMAGE,
            resampled(scale),
            mode=mode,
            coordinate_transformation_mode=way,
            **({"nearest_mode": nearest} if nearest else {}),
        )
        for mode, way, nearest, scale in (
            ("nearest", "align_corners", "round_prefer_floor", 2.0),
            ("nearest", "asymmetric", "ceil", 1.5),
            ("nearest", "tf_half_pixel_for_nn", "floor", 0.6),
            ("linear", "half_pixel", "", 2.0),
            ("linear", "asymmetric", "", 0.7),
            ("linear", "align_corners", "", 1.9),
            ("linear", "pytorch_half_pixel", "", 0.12),
        )
    },
    **{
        op: {
            "": with_constants(op, IMAGE, lambda r: {"a": ints(1)}, keepdims=0),
            "two": with_constants(op, IMAGE, lambda r: {"a": ints(-1, 1)}),
            "attribute": plain(op, opset=11, axes=[1, 2]),
        }
        for op in ("ReduceMean", "ReduceMax", "ReduceMin")
    },
    "ReduceSum": {
        "": with_constants("ReduceSum", IMAGE, lambda r: {"a": ints(1)}, keepdims=0),
        "squares": plain("ReduceSumSquare", opset=13, axes=[1, 2]),
        "LpNormalization": plain("LpNormalization", axis=1, p=1),
    },
    "Softmax": {"": plain("Softmax"), "channels": plain("Softmax", axis=1), "old": plain("Softmax", opset=11, axis=2)},
    "ReduceL2": {
        "": with_constants("ReduceL2", IMAGE, lambda r: {"a": ints(1)}),
        "flat": with_constants("ReduceL2", IMAGE, lambda r: {"a": ints(-1, 1)}, keepdims=0),
        "attribute": plain("ReduceL2", opset=13, axes=[1, 2]),
    },
    "LpNormalization": {"": plain("LpNormalization", (3, 7), axis=1), "image": plain("LpNormalization", axis=1)},
}
"""Per op of the graph, named cases: what makes the model and the shape of its input."""

NOT_FROM_ONNX = {
    "FusedConv": "made by the pass `fuse`; its own test is below",
    "Int8Conv": "made by the pass `integers`; see test_int8",
    **dict.fromkeys(("Int8Table", "Int8Mul", "Table", "Channels"), "see test_int8_maps"),
    "QuantizeLinear": "see test_int8",
    "DequantizeLinear": "see test_int8",
}


def by_onnxruntime(model: onnx.ModelProto, x: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [np.asarray(out) for out in session.run(None, {session.get_inputs()[0].name: x})]


@pytest.mark.parametrize(("op", "case"), [(op, case) for op, cases in CASES.items() for case in cases])
def test_an_op_agrees_with_onnxruntime(op: str, case: str) -> None:
    rng = np.random.default_rng(zlib.crc32(f"{op} {case}".encode()))
    model, shape = CASES[op][case](rng)
    x = f(rng, *shape)
    graph = read_graph(model, batch=shape[0])
    assert op in {node.op for node in graph.nodes}
    expected = by_onnxruntime(model, x)[0]
    found = run(graph, {"x": x})[graph.outputs[0]]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)
    written = write_graph(graph)
    onnx.checker.check_model(written, full_check=True)
    np.testing.assert_allclose(by_onnxruntime(written, x)[0], expected, rtol=2e-5, atol=2e-5)


def test_every_op_has_a_case_and_every_table_every_op() -> None:
    assert set(OPS) - set(NOT_FROM_ONNX) == set(CASES)
    assert set(KERNELS) == set(OPS)


def test_macs_are_products_of_the_field() -> None:
    # 4 filters of 6x3x3 at 9x8 places, twice: 4 * 54 * 72 * 2
    model, _ = conv(IMAGE, (4, 6, 3, 3), pads=[1, 1, 1, 1])(np.random.default_rng(0))
    graph = read_graph(model, batch=2)
    node: Node = graph.nodes[0]
    assert OPS["Conv"].macs(node, [graph.shapes[name] for name in node.inputs], graph.shapes[node.output]) == 31_104


@pytest.mark.parametrize("op", ["Conv", "MaxPool", "AveragePool", "LpPool"])
def test_random_windows_agree_with_onnxruntime(op: str) -> None:
    rng = np.random.default_rng(zlib.crc32(op.encode()))
    for _ in range(80):
        batch, groups = (int(v) for v in rng.integers(1, 4, 2))
        size = [int(v) for v in rng.integers(1, 13, 2)]
        kernel = [int(rng.integers(1, min(6, edge) + 1)) for edge in size]
        shape = (batch, groups * int(rng.integers(1, 4)), *size)
        way = str(rng.choice(["SAME_UPPER", "SAME_LOWER", "VALID", "", ""]))
        # strides wider than a window that is padded to the same size are refused, or done in several ways
        strides = [int(rng.integers(1, (k if way.startswith("SAME") else 3) + 1)) for k in kernel]
        attributes: dict[str, Any] = {"strides": strides, "kernel_shape": kernel}
        attributes |= {"auto_pad": way} if way else {"pads": [int(rng.integers(0, kernel[i % 2])) for i in range(4)]}
        weights: Weights = {}
        if op == "Conv":
            dilations = [
                int(rng.integers(1, 3)) if 2 * k - 1 <= edge and not way else 1
                for k, edge in zip(kernel, size, strict=True)
            ]
            attributes |= {"group": groups, "dilations": dilations}
            out = groups * int(rng.integers(1, 4))
            weights = {"w": f(rng, out, shape[1] // groups, *kernel), "b": f(rng, out)}
        elif op == "AveragePool" and rng.random() < 0.5:
            attributes["count_include_pad"] = 1
        elif rng.random() < 0.5:
            attributes["ceil_mode"] = 1
        if op == "LpPool":
            attributes["p"] = int(rng.integers(1, 4))
        model = one_node(op, shape, weights, ("x", *weights), opset=22, **attributes)
        x = f(rng, *shape)
        found, wanted = run(read_graph(model, batch), {"x": x})["y"], by_onnxruntime(model, x)[0]
        assert found.shape == wanted.shape, attributes
        np.testing.assert_allclose(found, wanted, rtol=5e-5, atol=5e-5, err_msg=str(attributes))


def test_a_convolution_in_pieces_is_the_whole_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    model, shape = conv(IMAGE, (4, 3, 3, 2), group=2, pads=[1, 0, 1, 1], strides=[1, 2])(rng)
    graph, x = read_graph(model, 2), f(rng, *shape)
    whole = run(graph, {"x": x})["y"]
    for largest in (1, 18, 40, 200):
        monkeypatch.setattr("facelet.graph.reference.LARGEST_COLUMNS", largest)
        np.testing.assert_allclose(run(graph, {"x": x})["y"], whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("activation", ["", *ACTIVATIONS])
def test_a_fused_convolution_is_its_parts(activation: str, residual: bool) -> None:
    rng = np.random.default_rng(zlib.crc32(f"{activation} {residual}".encode()))
    constants = {"w": f(rng, 6, 6, 3, 3), "b": f(rng, 6)}
    inputs = ["x", "w", "b"]
    if activation == "PRelu":
        constants["s"] = f(rng, 6)
        inputs.append("s")
    if residual:
        inputs.append("x")
    window = {"strides": (1, 1), "dilations": (1, 1), "pads": (1, 1, 1, 1), "groups": 1}
    own = {"Clip": {"min": -0.5, "max": 2.0}, "LeakyRelu": {"alpha": 0.2}}.get(activation, {})
    fused = Node("FusedConv", tuple(inputs), "y", {**window, **own, "activation": activation, "residual": residual})
    shapes: dict[str, Shape] = {"x": IMAGE, **{name: array.shape for name, array in constants.items()}}
    shapes["y"] = output_shape(fused, [shapes[name] for name in inputs])
    graph = Graph("fused", ("x",), ("y",), (fused,), constants, shapes).check()
    x = f(rng, *IMAGE)
    written = write_graph(graph)
    onnx.checker.check_model(written, full_check=True)
    parts = ["Conv", *(["Add"] if residual else []), *([activation] if activation else [])]
    assert [part.op_type for part in written.graph.node] == parts
    read = {name for part in written.graph.node for name in part.input}
    assert {tensor.name for tensor in written.graph.initializer} <= read
    np.testing.assert_allclose(run(graph, {"x": x})["y"], by_onnxruntime(written, x)[0], rtol=2e-5, atol=2e-5)
    with pytest.raises(GraphError, match="inputs, found"):
        output_shape(fused, [shapes[name] for name in (*inputs, "b")])


def test_lengths_of_zero_and_sums_after_a_large_value() -> None:
    zero = np.zeros((2, 5, 6, 7), np.float32)
    model, shape = CASES["LpNormalization"]["image"](np.random.default_rng(0))
    graph = read_graph(model, shape[0])
    np.testing.assert_array_equal(run(graph, {"x": zero})["y"], by_onnxruntime(model, zero)[0])
    # onnxruntime's moving sum in float32 is 0 or below it after 1e9; each sum made anew is 1 and 2 squares
    x = np.array([1e9, 1, 1, 1, 1], np.float32).reshape(1, 5, 1, 1)
    spread = read_graph(one_node("LRN", x.shape, size=3, alpha=3.0, beta=0.5, bias=1.0))
    found = run(spread, {"x": x})["y"].reshape(-1)
    np.testing.assert_allclose(found, [1, 1e-9, 0.5, 0.5, 3**-0.5], rtol=1e-6)

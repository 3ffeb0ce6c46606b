"""Oracle: tables, products, moves and dense layers of int8 give the same integers in every executor; forms by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import onnx
import pytest

from facelet.errors import GraphError
from facelet.graph import reference
from facelet.graph.int8 import MADE, check_int8, tensor_fractions
from facelet.graph.int8_maps import mul_shift, run_int8_mul, table_of
from facelet.graph.ir import Graph, Node
from facelet.graph.onnx_io import read_graph, write_graph
from facelet.graph.ops import OPS
from facelet.graph.passes import difference, optimise
from facelet.quantize.calibrate import calibrate
from facelet.quantize.prepare import prepare
from facelet.quantize.roles import KEPT
from test_int8 import images, run
from tiny_graphs import Builder
from tiny_int8 import every_map, int8_graph

SIDE = 8
BORDER = (1, 1, 1, 1)


def start(channels: int = 6, seed: int = 0) -> tuple[Builder, str]:
    b = Builder({"image": (1, 3, SIDE, SIDE)}, seed)
    return b, b.conv("image", channels, (3, 3), (1, 1), BORDER)


def squeeze_and_excite(activation: str) -> Graph:
    b, x = start()
    scale = b.conv(b.conv(b.add("GlobalAveragePool", x), 4, activation="Relu"), 6, activation=activation)
    return ended(b, b.add("Mul", scale, x) if activation == "Sigmoid" else b.add("Mul", x, scale))


def ended(b: Builder, x: str, size: int = 5) -> Graph:
    """Ends in a dense layer of the whole image."""
    flat = b.add("Reshape", x, shape=(1, int(np.prod(b.shapes[x]))))
    return b.graph([b.add("Gemm", flat, b.constant(size, b.shapes[flat][1]), b.constant(size))])


def function(op: str) -> Graph:
    b, x = start()
    return ended(b, b.add(op, x))


def swish() -> Graph:
    b, x = start()
    return ended(b, b.add("Mul", x, b.add("Sigmoid", x)))


def spelled_hard_swish() -> Graph:
    b, x = start()
    gate = b.add("Clip", b.add("Add", x, b.number(3)), min=0.0, max=6.0)
    return ended(b, b.add("Div", b.add("Mul", x, gate), b.number(6)))


def square_of_the_input() -> Graph:
    b = Builder({"image": (1, 3, SIDE, SIDE)})
    return ended(b, b.conv(b.add("Mul", "image", "image"), 4))


def one_over() -> Graph:
    b, x = start()
    return ended(b, b.add("Div", b.number(1), b.add("Clip", x, min=0.5, max=4.0)))


def product_of_branches() -> Graph:
    b, x = start()
    return ended(b, b.add("Mul", x, b.conv("image", 6)))


def upsampled() -> Graph:
    b, x = start()
    up = b.add("Resize", b.conv(x, 6, (3, 3), (2, 2), BORDER), scale_h=2, scale_w=2)
    return ended(b, b.add("Add", up, x))


def shuffled(groups: int) -> Graph:
    b, x = start(12)
    parts = b.add("Reshape", x, shape=(1, groups, 12 // groups, SIDE, SIDE))
    turned = b.add("Transpose", parts, perm=(0, 2, 1, 3, 4))
    return ended(b, b.conv(b.add("Reshape", turned, shape=(1, 12, SIDE, SIDE)), 7, groups=1))


def sliced(starts: tuple[int, ...], steps: tuple[int, ...], sizes: tuple[int, ...]) -> Graph:
    b, x = start(12)
    return ended(b, b.add("Slice", x, starts=(0, *starts), steps=(1, *steps), sizes=(1, *sizes)))


def focus() -> Graph:
    """Four pixels become the channels of one, as YOLO's first layer does."""
    b = Builder({"image": (1, 3, SIDE, SIDE)})
    corners = [
        b.add("Slice", "image", starts=(0, 0, down, across), steps=(1, 1, 2, 2), sizes=(1, 3, SIDE // 2, SIDE // 2))
        for across in (0, 1)
        for down in (0, 1)
    ]
    return ended(b, b.conv(b.add("Concat", *corners, axis=1), 5))


def larger_half(op: str) -> Graph:
    b, x = start(12)
    halves = [
        b.add("Slice", x, starts=(0, half, 0, 0), steps=(1, 1, 1, 1), sizes=(1, 6, SIDE, SIDE)) for half in (0, 6)
    ]
    return ended(b, b.conv(b.add(op, *halves), 5))


def more_channels() -> Graph:
    b, x = start()
    wide = b.add("Pad", x, pads=(0, 2, 0, 0, 0, 5, 0, 0), value=0.0)
    return ended(b, b.add("Add", wide, b.conv(x, 13)))


def in_groups(groups: int, outputs: int, dilations: tuple[int, int] = (1, 1)) -> Graph:
    b, x = start(12)
    return ended(b, b.conv(x, outputs, (3, 3), (1, 1), (2, 2, 2, 2), groups, dilations, "PRelu", ""))


def on_the_image(op: str) -> Graph:
    b = Builder({"image": (1, 3, SIDE, SIDE)})
    window: dict[str, Any] = {"kernel": (2, 2), "strides": (1, 1), "pads": (0, 0, 0, 0)}
    made: dict[str, Callable[[], str]] = {
        "Sub": lambda: b.add("Sub", "image", b.constant(3, 1, 1)),
        "Mul": lambda: b.add("Mul", "image", b.number(0.7)),
        "BatchNormalization": lambda: b.add(
            "BatchNormalization",
            "image",
            b.constant(3),
            b.constant(3),
            b.constant(3),
            b.constant(3, positive=True),
            epsilon=0.1,
        ),
        "depthwise": lambda: b.conv("image", 3, (3, 3), (1, 1), BORDER, 3),
        "grouped": lambda: b.conv("image", 6, (3, 3), (2, 2), BORDER, 3),
        "dilated": lambda: b.conv("image", 5, (3, 3), (1, 1), (2, 2, 2, 2), 1, (2, 2)),
        "MaxPool": lambda: b.add("MaxPool", "image", **window),
        "Pad": lambda: b.add("Pad", "image", pads=(0, 0, 1, 0, 0, 0, 0, 2), value=0.0),
        "Concat": lambda: b.add("Concat", "image", b.conv("image", 5), "image", axis=1),
        "HardSwish": lambda: b.add("HardSwish", "image"),
        "Resize": lambda: b.add("Resize", "image", scale_h=1, scale_w=2),
        "residual": lambda: b.conv(b.conv("image", 5), 3, residual="image"),
    }
    x = made[op]()
    stopped = b.add("MaxPool", x, **window)  # keeps affine maps from being folded into what follows
    return ended(b, b.conv(stopped, 4, activation="Relu"))


def dense_behind_dense(between: str) -> Graph:
    b, x = start()
    row = b.add("Reshape", b.add("GlobalAveragePool", x), shape=(1, 6))
    row = b.add("Gemm", row, b.constant(9, 6), b.constant(9))
    if between == "PRelu":
        row = b.add("PRelu", row, b.constant(9))
    elif between == "BatchNormalization":
        numbers = [b.constant(9), b.constant(9), b.constant(9), b.constant(9, positive=True)]
        row = b.add("BatchNormalization", b.add("Relu", row), *numbers, epsilon=0.1)
    elif between:
        row = b.add(between, row)
    return b.graph([b.add("Gemm", row, b.constant(5, 9), b.constant(5))])


def dense_behind_concat() -> Graph:
    b, x = start()
    first = b.add("Reshape", b.add("GlobalAveragePool", x), shape=(1, 6))
    second = b.add("Reshape", b.conv(x, 4, (SIDE, SIDE)), shape=(1, 4))
    row = b.add("Concat", first, second, first, axis=1)
    return b.graph([b.add("Gemm", row, b.constant(5, 16), b.constant(5))])


def row_to_image_and_back() -> Graph:
    b, x = start()
    row = b.add("Reshape", b.add("GlobalAveragePool", x), shape=(1, 6))
    image = b.add("Reshape", b.add("Gemm", row, b.constant(7, 6), b.constant(7)), shape=(1, 7, 1, 1))
    again = b.add("Reshape", b.conv(image, 6, activation="Relu"), shape=(1, 6))
    return b.graph([b.add("Gemm", again, b.constant(5, 6), b.constant(5))])


def sum_of_rows() -> Graph:
    b, x = start()
    row = b.add("Reshape", b.add("GlobalAveragePool", x), shape=(1, 6))
    other = b.add("Reshape", b.conv(x, 6, (SIDE, SIDE)), shape=(1, 6))
    total = b.add("Add", b.add("Sub", row, other), b.constant(6))
    return b.graph([b.add("Gemm", total, b.constant(5, 6), b.constant(5))])


def several_outputs() -> Graph:
    b, x = start()
    small = b.conv(x, 8, (3, 3), (2, 2), BORDER, activation="Relu")
    scores = b.add("Sigmoid", b.conv(small, 2))
    boxes = b.add("Reshape", b.add("Transpose", b.conv(small, 4), perm=(0, 2, 3, 1)), shape=(1, 16, 4))
    row = b.add("Reshape", b.conv(x, 5, (SIDE, SIDE)), shape=(1, 5))
    return b.graph([scores, boxes, b.add("LpNormalization", row, axis=1, epsilon=1e-12)])


CASES: dict[str, Callable[[], Graph]] = {
    **{f"excite {name}": partial(squeeze_and_excite, name) for name in ("Sigmoid", "HardSwish", "Relu")},
    **{op: partial(function, op) for op in ("Sigmoid", "HardSwish")},
    "swish": swish,
    "spelled hard swish": spelled_hard_swish,
    "square of the input": square_of_the_input,
    "one over": one_over,
    "product of branches": product_of_branches,
    "upsampled": upsampled,
    **{f"shuffle {groups}": partial(shuffled, groups) for groups in (2, 3, 4)},
    "slice of channels": lambda: sliced((3, 0, 0), (2, 1, 1), (4, SIDE, SIDE)),
    "slice of pixels": lambda: sliced((0, 1, 2), (1, 1, 1), (12, 5, 6)),
    "slice of both": lambda: sliced((2, 1, 0), (1, 3, 2), (7, 2, 4)),
    "one pixel": lambda: sliced((0, 4, 7), (1, 1, 1), (12, 1, 1)),
    "focus": focus,
    **{f"half {op}": partial(larger_half, op) for op in ("Max", "Min")},
    "more channels": more_channels,
    "groups": lambda: in_groups(3, 6),
    "multiplier": lambda: in_groups(12, 24),
    "dilated": lambda: in_groups(1, 5, (2, 1)),
    "dilated depthwise": lambda: in_groups(12, 12, (2, 2)),
    **{
        f"image {op}": partial(on_the_image, op)
        for op in (
            *("Sub", "Mul", "BatchNormalization", "depthwise", "grouped", "dilated", "MaxPool", "Pad", "Concat"),
            *("HardSwish", "Resize", "residual"),
        )
    },
    **{
        f"dense {between or 'dense'}": partial(dense_behind_dense, between)
        for between in ("", "Relu", "PRelu", "BatchNormalization", "Sigmoid")
    },
    "dense behind concat": dense_behind_concat,
    "row to image and back": row_to_image_and_back,
    "sum of rows": sum_of_rows,
    "several outputs": several_outputs,
}


@pytest.mark.parametrize("name", CASES)
def test_every_form_is_quantized_and_exact(name: str) -> None:
    graph = CASES[name]()
    assert difference(graph, prepare(graph)) < 1e-5
    x, quantized = images(graph, 5), int8_graph(graph, len(name))
    wanted = run_reference(quantized, x)
    again = optimise(read_graph(write_graph(quantized)))
    assert [node.op for node in again.nodes] == [node.op for node in quantized.nodes]
    for found in (run_reference(again, x), every_output(quantized, x), every_output(quantized, x, optimised=False)):
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=0 if exact(quantized) else 1e-6)


@pytest.mark.parametrize("name", ["excite Sigmoid", "spelled hard swish", "dense behind concat", "several outputs"])
def test_calibration_comes_near(name: str) -> None:
    graph = CASES[name]()
    result = calibrate(graph, images(graph, 8), lambda quantized, planes: run_reference(quantized, planes)[0])
    assert result.error < 0.02
    assert result.quantized.outputs == result.prepared.outputs == graph.outputs
    both = (run_reference(made, images(graph, 8)) for made in (result.quantized, graph))
    for found, wanted in zip(*both, strict=True):
        rows = [numbers.reshape(len(numbers), -1) for numbers in (found, wanted)]
        cosine = (rows[0] * rows[1]).sum(1) / np.prod([np.linalg.norm(row, axis=1) for row in rows], axis=0)
        assert cosine.min() > 0.98


def exact(graph: Graph) -> bool:
    """Whether the float tail does not compute: its numbers are then those of the integers."""
    return {node.op for node in graph.nodes} <= {*INTEGER_OPS, "DequantizeLinear", "Reshape", "Transpose"}


INTEGER_OPS = (*MADE, *KEPT)


def run_reference(graph: Graph, x: Any) -> list[Any]:
    rows = [reference.run(graph, {graph.inputs[0]: part[None]}) for part in x]
    return [np.concatenate([row[name] for row in rows]) for name in graph.outputs]


def every_output(graph: Graph, x: Any, optimised: bool = True) -> list[Any]:
    """All outputs by onnxruntime, image by image."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.x64quantprecision", "1")
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    data = write_graph(graph).SerializeToString()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    rows = [session.run(None, {graph.inputs[0]: part[None]}) for part in x]
    return [np.concatenate(found) for found in zip(*rows, strict=True)]


@pytest.mark.parametrize(
    ("name", "block"), [("every map", 16), ("every map", 8), ("several outputs", 16), ("image Concat", 8)]
)
def test_opencl_computes_every_integer(name: str, block: int) -> None:
    pytest.importorskip("pyopencl", reason="pyopencl is not installed; mend with: pip install 'facelet[opencl]'")
    from facelet.opencl.config import AVX2, AVX512
    from facelet.opencl.lower import lower
    from facelet.opencl.runtime import OpenCLRuntime

    made = {"every map": every_map, **CASES}[name]()
    graph = optimise(int8_graph(made, 3))
    executable = OpenCLRuntime("pocl", 1).load(
        lower(graph, replace(AVX512 if block == 16 else AVX2, vnni=False)), whole=True
    )
    x = images(graph, 3, 7)
    feeds = {graph.inputs[0]: x[:1]}
    values, fractions, seen = reference.run(graph, feeds, every=True), tensor_fractions(graph), set()
    for launch, integers in executable.trace(feeds):
        target = launch.target.name if launch.target else ""
        if target in fractions:
            np.testing.assert_array_equal(integers, values[target], err_msg=launch.node)
            seen.add(target)
    assert {node.output for node in graph.nodes if node.op in INTEGER_OPS and node.op != "Concat"} <= seen
    found = executable.run({graph.inputs[0]: x})
    for output, wanted in zip(graph.outputs, run_reference(graph, x), strict=True):
        np.testing.assert_allclose(found[output], wanted, atol=1e-5)


def test_torch_computes_the_same() -> None:
    import torch

    from facelet.train.graph_net import GraphNet
    from facelet.train.int8_net import Int8Net

    graph = every_map()
    x = images(graph, 8)
    result = calibrate(graph, x, lambda quantized, planes: run_reference(quantized, planes)[0])
    wanted = run_reference(result.quantized, x)[0]
    batch = torch.from_numpy(x)
    found = torch.cat([GraphNet(result.quantized)(part[None]) for part in batch]).detach().numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    net = Int8Net(result)
    trained = torch.cat([net(part[None]) for part in batch])
    np.testing.assert_allclose(trained.detach().numpy(), wanted, atol=1e-6)
    trained.square().sum().backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is not None for parameter in net.parameters())


@pytest.mark.parametrize(
    ("fractions", "a", "b", "wanted"),
    [
        ((3, 2, 4), 5, 3, 8),  # 15 / 2 = 7.5 to the even one
        ((3, 2, 4), 5, -1, -2),  # -2.5 to the even one
        ((3, 2, 3), -128, -128, 127),  # 16384 / 4, cut off
        ((0, 0, 2), 3, 5, 60),  # shifted to the left
    ],
)
def test_products_by_hand(fractions: tuple[int, int, int], a: float, b: float, wanted: float) -> None:
    names = ("a_fraction", "b_fraction", "fraction")
    node = Node("Int8Mul", ("a", "b"), "y", dict(zip(names, fractions, strict=True)))
    found = run_int8_mul(node, np.full((1, 1, 1, 1), a, np.float32), np.full((1, 1, 1, 1), b, np.float32))
    assert float(found.reshape(())) == wanted


def test_tables_by_hand() -> None:
    # 0.5 and 1.5 go to the even integer, what is not a number becomes 0, what is too large is cut off
    values = np.array([0.5, 1.5, np.nan, 1e9, -np.inf, *np.zeros(251)])
    assert table_of(values, 0)[:5].tolist() == [0, 2, 0, 127, -128]


def changed(graph: Graph, op: str, **attributes: Any) -> Graph:
    nodes = [replace(n, attributes={**n.attributes, **attributes}) if n.op == op else n for n in graph.nodes]
    return graph.with_nodes(nodes)


def test_maps_that_are_not_exact_are_refused() -> None:
    graph = int8_graph(every_map())
    table = next(node.inputs[1] for node in graph.nodes if node.op == "Int8Table")
    for entry in (0.5, 128, -129):
        entries = graph.constants[table].copy()
        entries[7] = entry
        with pytest.raises(GraphError, match="its table holds numbers that are not integers of 8 bits"):
            check_int8(graph.with_nodes(graph.nodes, constants={table: entries}))
    with pytest.raises(GraphError, match="expects the fraction 9, '"):
        check_int8(changed(graph, "Int8Mul", a_fraction=9))
    product = next(node for node in graph.nodes if node.op == "Int8Mul")
    with pytest.raises(GraphError, match="would shift by -10 bits; from -9 to 30 are exact everywhere"):
        check_int8(changed(graph, "Int8Mul", fraction=product["fraction"] + mul_shift(product) + 10))


def test_a_table_of_another_size_is_refused() -> None:
    model = write_graph(int8_graph(function("Sigmoid")))
    table = next(tensor for tensor in model.graph.initializer if tensor.name.endswith(".numbers"))
    table.CopyFrom(onnx.numpy_helper.from_array(np.zeros(17, np.float32), table.name))
    with pytest.raises(GraphError, match=r"a table of \(17,\) numbers; one of 256 is supported"):
        read_graph(model)


def of_op(op: str) -> Graph | None:
    """A network in which an op stands between convolutions; None where no small network shows it."""
    b, x = start()
    one: dict[str, Any] = {"kernel": (2, 2), "strides": (1, 1), "pads": (0, 0, 0, 0)}
    made: dict[str, Callable[[], str]] = {
        "LeakyRelu": lambda: b.add(op, x, alpha=0.1),
        "Clip": lambda: b.add(op, x, min=-1.0, max=1.0),
        "PRelu": lambda: b.add(op, x, b.constant(6)),
        "BatchNormalization": lambda: b.add(
            op, x, b.constant(6), b.constant(6), b.constant(6), b.constant(6, positive=True), epsilon=0.1
        ),
        **dict.fromkeys(("MaxPool", "LpPool"), lambda: b.add(op, x, **one, **({"p": 2} if op == "LpPool" else {}))),
        "AveragePool": lambda: b.add(op, x, **one, count_include_pad=False),
        "LRN": lambda: b.add(op, x, size=3, alpha=0.1, beta=0.5, bias=1.0),
        "Concat": lambda: b.add(op, x, x, axis=1),
        "Reshape": lambda: b.add("Reshape", b.add("Reshape", x, shape=(1, SIDE, SIDE, 6)), shape=(1, 6, SIDE, SIDE)),
        "Transpose": lambda: b.add(op, x, perm=(0, 1, 3, 2)),
        "Pad": lambda: b.add(op, x, pads=(0, 0, 1, 0, 0, 0, 0, 1), value=0.5),
        "Resize": lambda: b.add(op, x, scale_h=2, scale_w=1),
        "Slice": lambda: b.add(op, x, starts=(0, 1, 0, 0), steps=(1, 2, 1, 1), sizes=(1, 3, SIDE, SIDE)),
        "Channels": lambda: b.add(op, x, order=(5, 0, 3)),
        "Softmax": lambda: b.add(op, x, axis=1),
        "LpNormalization": lambda: b.add(op, x, axis=1, epsilon=1e-12),
        "Conv": lambda: b.conv(x, 4),
        "FusedConv": lambda: b.conv(x, 4, activation="Relu"),
        "Gemm": lambda: b.add(
            "Reshape",
            b.add(op, b.add("Reshape", x, shape=(1, 384)), b.constant(7, 384), b.constant(7)),
            shape=(1, 7, 1, 1),
        ),
        "Resample": lambda: b.add(
            op,
            x,
            height=16,
            width=16,
            scale_h=2.0,
            scale_w=2.0,
            mode="linear",
            coordinates="half_pixel",
            nearest="floor",
        ),
        **dict.fromkeys(("Add", "Sub", "Mul", "Max", "Min"), lambda: b.add(op, x, b.conv("image", 6))),
        **dict.fromkeys(("Div", "Pow"), lambda: b.add(op, x, b.number(2.0))),
    }
    if op.startswith("Reduce"):
        return ended(b, b.conv(b.add(op, x, axes=(1,), keepdims=True), 4))
    if op in ("QuantizeLinear", "DequantizeLinear", "Int8Conv", "Int8Table", "Int8Mul", "Table"):
        return None
    found = made[op]() if op in made else b.add(op, x)
    return ended(b, b.conv(found, 4))


def refusal_of(graph: Graph) -> str:
    try:
        prepare(graph)
    except GraphError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("op", sorted(OPS))
def test_every_op_is_quantized_or_refused_in_one_line(op: str) -> None:
    graph = of_op(op)
    if graph is None:
        assert "nt8" in op or "Linear" in op or op == "Table"  # what int8 is made of
        return
    said = refusal_of(graph)
    if said:
        assert f"{op} '" in said  # the node, by name
        assert "int8 has no form of" in said
        assert "; " in said  # what to do
        assert "\n" not in said
        return
    x, quantized = images(graph, 5), int8_graph(graph)
    np.testing.assert_array_equal(every_output(quantized, x)[0], run(quantized, x))


def test_a_function_that_gives_no_number_is_named() -> None:
    graph = function("Sqrt")
    with pytest.raises(GraphError, match="Sqrt 'Sqrt_1' gives what is not a number on crop 0; give crops as"):
        calibrate(graph, images(graph, 8), lambda quantized, planes: run_reference(quantized, planes)[0])

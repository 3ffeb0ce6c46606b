"""Invariant: passes keep the output where they say so; each refusal has its reason; pruning removes what it names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from facelet.errors import GraphError
from facelet.graph.ir import Graph
from facelet.graph.onnx_io import read_graph, write_graph
from facelet.graph.ops import output_shape
from facelet.graph.passes import PASSES, checked, difference, optimise
from facelet.graph.passes.fold import AFFINE
from facelet.graph.passes.prune import pruned_with_savings
from facelet.graph.passes.result import PassResult
from facelet.graph.reference import run
from facelet.model_files import SHIPPED_MODELS, find_model

N = onnx.NodeProto
CHANNELS = 6


def node(op: str, inputs: str, output: str, **attributes: Any) -> N:
    return helper.make_node(op, inputs.split(), [output], name=f"the_{output}", **attributes)


def graph_of(*nodes: N, outputs: str = "y", shape: tuple[int, ...] = (CHANNELS, 8, 8), batch: int = 2) -> Graph:
    """A graph whose constants are random, in the shapes that their names say: w (kernel), v (vector), s (number)."""
    rng = np.random.default_rng(7)
    weights = {
        "w3": rng.standard_normal((CHANNELS, CHANNELS, 3, 3)),
        "w1": rng.standard_normal((CHANNELS, CHANNELS, 1, 1)),
        "dw": rng.standard_normal((CHANNELS, 1, 3, 3)),
        "grouped": rng.standard_normal((CHANNELS, 2, 3, 3)),
        "bias": rng.standard_normal(CHANNELS),
        "v": rng.standard_normal(CHANNELS),
        "v2": rng.standard_normal(CHANNELS),
        "v3": rng.standard_normal(CHANNELS),
        "positive": 0.5 + rng.random(CHANNELS),
        "channels": rng.standard_normal((1, CHANNELS, 1, 1)),
        "slopes": rng.standard_normal((CHANNELS, 1, 1)),
        "rows": rng.standard_normal((8,)),
        "s": np.array(1.7),
        "minus": np.array(-2.0),
        "two": np.array(2.0),
        "nine": np.array(9.0),
        "low": np.array(1e-6),
        "six": np.array(6.0),
        "zero": np.array(0.0),
        "half": np.array(0.5),
        "deep": np.array(1.5).reshape(1, 1, 1, 1),
        "dense": rng.standard_normal((CHANNELS, CHANNELS)),
    }
    model = helper.make_model(
        helper.make_graph(
            list(nodes),
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *shape])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs.split()],
            [numpy_helper.from_array(np.asarray(a, np.float32), n) for n, a in weights.items()]
            + [
                numpy_helper.from_array(np.array([0, 0, 1, 2, 0, 0, 2, 1]), "pads"),
                numpy_helper.from_array(np.array([0, 1, 1, 2, 0, 0, 2, 1]), "channel_pads"),
                numpy_helper.from_array(np.array([0, 0, 1, 2, 0, 0, 0, 1]), "pool_pads"),
                numpy_helper.from_array(np.array(-np.inf, np.float32), "lowest"),
                numpy_helper.from_array(np.array([-1, 1]), "column_shape"),
                numpy_helper.from_array(np.array([2, 2, 192]), "square"),
                numpy_helper.from_array(np.array([1]), "axis"),
                numpy_helper.from_array(np.array([0, -1]), "flat"),
                numpy_helper.from_array(np.array([0, 3, -1]), "three"),
            ],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    return read_graph(model, batch)


BN = {"epsilon": 0.1}
SAME: dict[str, Any] = {"pads": [1, 1, 1, 1]}

FOLDS: dict[str, tuple[tuple[N, ...], list[str]]] = {
    "norm after": (
        (node("Conv", "x w3 bias", "a", **SAME), node("BatchNormalization", "a v v2 v3 positive", "y", **BN)),
        ["Conv"],
    ),
    "norm after, depthwise": (
        (node("Conv", "x dw bias", "a", group=6, **SAME), node("BatchNormalization", "a v v2 v3 positive", "y", **BN)),
        ["Conv"],
    ),
    "norm after, groups": (
        (node("Conv", "x grouped bias", "a", group=3), node("BatchNormalization", "a v v2 v3 positive", "y", **BN)),
        ["Conv"],
    ),
    "norm before": ((node("BatchNormalization", "x v v2 v3 positive", "a", **BN), node("Conv", "a w3", "y")), ["Conv"]),
    "norm before, groups": (
        (node("BatchNormalization", "x v v2 v3 positive", "a", **BN), node("Conv", "a grouped", "y", group=3)),
        ["Conv"],
    ),
    "norm before, depthwise": (
        (node("BatchNormalization", "x v v2 v3 positive", "a", **BN), node("Conv", "a dw", "y", group=6)),
        ["Conv"],
    ),
    "chain": (
        (
            node("Mul", "x s", "a"),
            node("Sub", "a channels", "b"),
            node("Conv", "b w1", "c"),
            node("Div", "c s", "d"),
            node("Add", "channels d", "y"),
        ),
        ["Conv"],
    ),
    "scale before a border": ((node("Mul", "s x", "a"), node("Conv", "a w3", "y", **SAME)), ["Conv"]),
    "shift before a border": ((node("Add", "x s", "a"), node("Conv", "a w3", "y", **SAME)), ["Add", "Conv"]),
    "pad": ((node("Pad", "x pads", "a"), node("Conv", "a w3", "y", **SAME)), ["Conv"]),
    "pad of channels": (
        (node("Pad", "x channel_pads", "a"), node("MaxPool", "a", "y", kernel_shape=[2, 2])),
        ["Pad", "MaxPool"],
    ),
    "shared convolution": (
        (node("Conv", "x w3", "a"), node("Mul", "a s", "b"), node("Add", "a b", "y")),
        ["Conv", "Mul", "Add"],
    ),
    "shared norm": (
        (
            node("Mul", "x s", "a"),
            node("Conv", "a w1", "b"),
            node("Conv", "a w3", "c", **SAME),
            node("Add", "b c", "y"),
        ),
        ["Mul", "Conv", "Conv", "Add"],
    ),
    "two convolutions": (
        (node("Conv", "x w1", "a"), node("Mul", "a s", "b"), node("Conv", "b w1", "y")),
        ["Conv", "Conv"],
    ),
    "constant per row": ((node("Conv", "x w1", "a"), node("Add", "a rows", "y")), ["Conv", "Add"]),
    "constant on the left": ((node("Conv", "x w1", "a"), node("Sub", "channels a", "y")), ["Conv"]),
    "constant divided": ((node("Conv", "x w1", "a"), node("Div", "s a", "y")), ["Conv", "Div"]),
    "division by zero": ((node("Conv", "x w1", "a"), node("Div", "a zero", "y")), ["Conv", "Div"]),
    "products in a row": (
        (node("Relu", "x", "a"), node("Mul", "a s", "b"), node("Div", "b channels", "c"), node("Relu", "c", "y")),
        ["Relu", "Mul", "Relu"],
    ),
    "sums in a row": (
        (node("Relu", "x", "a"), node("Add", "a s", "b"), node("Sub", "b channels", "c"), node("Relu", "c", "y")),
        ["Relu", "Add", "Relu"],
    ),
    "maps in a row": (
        (
            node("Relu", "x", "a"),
            node("Mul", "a channels", "b"),
            node("BatchNormalization", "b v v2 v3 positive", "c", **BN),
            node("Sub", "s c", "d"),
            node("Relu", "d", "y"),
        ),
        ["Relu", "BatchNormalization", "Relu"],
    ),
    "maps in a row, one read twice": (
        (node("Relu", "x", "a"), node("Mul", "a s", "b"), node("Add", "b channels", "c"), node("Add", "b c", "y")),
        ["Relu", "Mul", "Add", "Add"],
    ),
    "pad before an average": (
        (node("Pad", "x pool_pads", "a"), node("AveragePool", "a", "y", kernel_shape=[3, 3], strides=[2, 2])),
        ["AveragePool"],
    ),
    "pad before an average with a border of its own": (
        (node("Pad", "x pool_pads", "a"), node("AveragePool", "a", "y", kernel_shape=[4, 4], pads=[1, 1, 1, 1])),
        ["Pad", "AveragePool"],
    ),
    "pad wider than the window": (
        (node("Pad", "x pool_pads", "a"), node("AveragePool", "a", "y", kernel_shape=[2, 2])),
        ["Pad", "AveragePool"],
    ),
    "zeros before a maximum": (
        (node("Pad", "x pool_pads", "a"), node("MaxPool", "a", "y", kernel_shape=[3, 3])),
        ["Pad", "MaxPool"],
    ),
    "zeros before a maximum of what is not negative": (
        (
            node("Relu", "x", "a"),
            node("Concat", "a a", "b", axis=1),
            node("Pad", "b pool_pads", "c"),
            node("MaxPool", "c", "y", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 0, 1, 0]),
        ),
        ["Relu", "Concat", "MaxPool"],
    ),
    "nothing before a maximum": (
        (node("Pad", "x pool_pads lowest", "a"), node("MaxPool", "a", "y", kernel_shape=[3, 3])),
        ["MaxPool"],
    ),
    "numbers before a convolution": ((node("Pad", "x pads six", "a"), node("Conv", "a w3", "y")), ["Pad", "Conv"]),
    "no neighbour": (
        (node("Relu", "x", "a"), node("Mul", "a s", "b"), node("Relu", "b", "y")),
        ["Relu", "Mul", "Relu"],
    ),
}


@pytest.mark.parametrize("case", FOLDS)
def test_fold_keeps_the_output(case: str) -> None:
    nodes, expected = FOLDS[case]
    graph = graph_of(*nodes)
    result = checked(graph, "fold")
    assert [n.op for n in result.graph.nodes] == expected
    left = {str(n) for n in result.graph.nodes if n.op in (*AFFINE, "Pad")}
    assert {note.node for note in result.notes if not note.applied} == left
    for n in result.graph.nodes:
        assert output_shape(n, [result.graph.shapes[name] for name in n.inputs]) == result.graph.shapes[n.output]
    assert all(note.reason for note in result.notes)


SPREADS: dict[str, tuple[tuple[int, ...], tuple[N, ...]]] = {
    "one channel to six": ((1, 8, 8), (node("Mul", "x channels", "a"), node("Conv", "a w3", "y"))),
    "then depthwise": ((1, 8, 8), (node("Add", "x channels", "a"), node("Conv", "a dw", "y", group=6))),
    "more axes": (
        (CHANNELS,),
        (node("Gemm", "x dense", "a", transB=1), node("Mul", "a deep", "b"), node("Relu", "b", "y")),
    ),
}


@pytest.mark.parametrize("case", SPREADS)
def test_a_constant_that_spreads_its_input_is_not_folded(case: str) -> None:
    shape, nodes = SPREADS[case]
    graph = graph_of(*nodes, shape=shape)
    result = checked(graph, "fold")
    assert [n.op for n in result.graph.nodes] == [n.op for n in graph.nodes]
    assert any("spreads" in note.reason for note in result.notes)
    assert pruned_with_savings(graph)[2] == ()


def test_a_convolution_that_is_an_output_is_not_folded() -> None:
    graph = graph_of(node("Conv", "x w3", "a"), node("Mul", "a s", "y"), outputs="a y")
    assert [n.op for n in checked(graph, "fold").graph.nodes] == ["Conv", "Mul"]


ACTIVATION_NODES: dict[str, Callable[[str, str], N]] = {
    "Relu": lambda a, b: node("Relu", a, b),
    "Clip": lambda a, b: node("Clip", f"{a} zero six", b),
    "PRelu": lambda a, b: node("PRelu", f"{a} slopes", b),
    "LeakyRelu": lambda a, b: node("LeakyRelu", a, b, alpha=0.3),
    "Sigmoid": lambda a, b: node("Sigmoid", a, b),
    "HardSwish": lambda a, b: node("HardSwish", a, b),
}


@pytest.mark.parametrize("op", ACTIVATION_NODES)
@pytest.mark.parametrize("residual", [False, True])
def test_fuse_takes_along_residual_and_activation(op: str, residual: bool) -> None:
    nodes = [node("Conv", "x w3 bias", "a", **SAME)]
    if residual:
        nodes.append(node("Add", "x a", "b"))
    nodes.append(ACTIVATION_NODES[op]("b" if residual else "a", "y"))
    graph = graph_of(*nodes)
    fused = checked(graph, "fuse").graph
    (only,) = fused.nodes
    assert (only.op, only["activation"], only["residual"]) == ("FusedConv", op, residual)
    again = read_graph(write_graph(fused), batch=2)
    assert [n.op for n in again.nodes] == [n.op for n in graph.nodes]
    assert difference(graph, again) == 0


FUSES: dict[str, tuple[tuple[N, ...], str, list[str]]] = {
    "two readers": (
        (node("Conv", "x w1", "a"), node("Relu", "a", "b"), node("Add", "a b", "y")),
        "y",
        ["Conv", "Relu", "Add"],
    ),
    "twice itself": ((node("Conv", "x w1", "a"), node("Add", "a a", "y")), "y", ["Conv", "Add"]),
    "two convolutions meet": (
        (node("Conv", "x w1", "a"), node("Conv", "x w3", "b", **SAME), node("Add", "a b", "c"), node("Relu", "c", "y")),
        "y",
        ["Conv", "FusedConv"],
    ),
    "an output": ((node("Conv", "x w1", "a"), node("Relu", "a", "y")), "a y", ["Conv", "Relu"]),
    "broadcast": ((node("Conv", "x w1", "a"), node("Add", "a rows", "y")), "y", ["Conv", "Add"]),
    "norm": (
        (
            node("Reshape", "x flat", "a"),
            node("ReduceL2", "a axis", "b"),
            node("Clip", "b low", "c"),
            node("Div", "a c", "y"),
        ),
        "y",
        ["Reshape", "LpNormalization"],
    ),
    "norm without a limit": (
        (node("Reshape", "x flat", "a"), node("ReduceL2", "a axis", "b"), node("Div", "a b", "y")),
        "y",
        ["Reshape", "LpNormalization"],
    ),
    "norm whose axis comes back": (
        (
            node("Reshape", "x flat", "a"),
            node("ReduceL2", "a axis", "b", keepdims=0),
            node("Reshape", "b column_shape", "c"),
            node("Clip", "c low", "d"),
            node("Div", "a d", "y"),
        ),
        "y",
        ["Reshape", "LpNormalization"],
    ),
    "norm along the other axis": (
        (node("Reshape", "x square", "a"), node("ReduceL2", "a axis", "b", keepdims=0), node("Div", "a b", "y")),
        "y",
        ["Reshape", "ReduceL2", "Div"],
    ),
    "norm with an upper limit": (
        (
            node("Reshape", "x flat", "a"),
            node("ReduceL2", "a axis", "b"),
            node("Clip", "b low six", "c"),
            node("Div", "a c", "y"),
        ),
        "y",
        ["Reshape", "ReduceL2", "Clip", "Div"],
    ),
    "length is an output": (
        (node("Reshape", "x flat", "a"), node("ReduceL2", "a axis", "b"), node("Div", "a b", "y")),
        "y b",
        ["Reshape", "ReduceL2", "Div"],
    ),
    "another length": (
        (
            node("Reshape", "x flat", "a"),
            node("Sigmoid", "a", "d"),
            node("ReduceL2", "d axis", "b"),
            node("Div", "a b", "y"),
        ),
        "y",
        ["Reshape", "Sigmoid", "ReduceL2", "Div"],
    ),
}


@pytest.mark.parametrize("case", FUSES)
def test_fuse_keeps_the_output(case: str) -> None:
    nodes, outputs, expected = FUSES[case]
    assert [n.op for n in checked(graph_of(*nodes, outputs=outputs), "fuse").graph.nodes] == expected


CLEANS: dict[str, tuple[tuple[N, ...], list[str]]] = {
    "dead": ((node("Relu", "x", "y"), node("Sigmoid", "x", "a"), node("Relu", "a", "b")), ["Relu"]),
    "reshapes": ((node("Reshape", "x three", "a"), node("Reshape", "a flat", "y")), ["Reshape"]),
    "transposes": (
        (
            node("Transpose", "x", "a", perm=[0, 2, 3, 1]),
            node("Transpose", "a", "b", perm=[0, 3, 1, 2]),
            node("Relu", "b", "y"),
        ),
        ["Relu"],
    ),
    "transposes that differ": (
        (node("Transpose", "x", "a", perm=[0, 2, 3, 1]), node("Transpose", "a", "y", perm=[0, 2, 1, 3])),
        ["Transpose"],
    ),
    "nothing": ((node("Clip", "x", "a"), node("Concat", "a", "b", axis=1), node("Relu", "b", "y")), ["Relu"]),
    "an output stays": ((node("Clip", "x", "y"),), ["Clip"]),
}


@pytest.mark.parametrize("case", CLEANS)
def test_clean_keeps_the_output_to_the_bit(case: str) -> None:
    nodes, expected = CLEANS[case]
    graph = graph_of(*nodes)
    result = checked(graph, "clean").graph
    assert [n.op for n in result.nodes] == expected
    assert difference(graph, result) == 0


def test_a_pass_that_changes_the_output_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = graph_of(node("Conv", "x w3 bias", "a"), node("Relu", "a", "y"))

    def wrong(before: Graph) -> Any:
        return replace(
            PASSES["fuse"](before), graph=before.with_nodes([before.nodes[0], replace(before.nodes[1], op="Sigmoid")])
        )

    monkeypatch.setitem(PASSES, "fold", wrong)
    with pytest.raises(GraphError, match="the pass fold changed the output"):
        checked(graph, "fold")


def test_a_pass_that_spoils_the_second_of_two_outputs_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = graph_of(node("Relu", "x", "a"), node("Relu", "x", "y"), outputs="a y")

    def wrong(before: Graph) -> PassResult:
        return PassResult(before.with_nodes([before.nodes[0], replace(before.nodes[1], op="Sqrt")]), ())

    monkeypatch.setitem(PASSES, "fold", wrong)
    with pytest.raises(GraphError, match="the pass fold changed the output"):
        checked(graph, "fold")


def test_prune_reports_by_how_much_the_output_changed() -> None:
    graph = graph_of(node("Conv", "x w3", "a"), node("LRN", "a", "b", size=3, alpha=1.0), node("Relu", "b", "y"))
    result = checked(graph, "prune")
    assert difference(graph, result.graph) > 1e-3
    assert "the output changed by" in result.notes[-1].reason


def test_prune_removes_each_kind_and_folds_the_constant() -> None:
    graph = graph_of(
        node("Conv", "x w3 bias", "a", **SAME),
        node("LRN", "a", "b", size=5),
        node("Pow", "b two", "c"),
        node("AveragePool", "c", "d", kernel_shape=[3, 3], strides=[3, 3]),
        node("Mul", "d nine", "e"),
        node("Sqrt", "e", "f"),
        node("Conv", "f w1", "g"),
        node("Relu", "g", "h"),
        node("Mul", "h s", "i"),
        node("LpPool", "i", "y", kernel_shape=[2, 2]),
    )
    pruned, notes, savings = pruned_with_savings(graph)
    assert [n.op for n in pruned.nodes] == ["Conv", "AveragePool", "Conv", "Relu", "AveragePool", "Mul"]
    assert sum(note.applied for note in notes) == 4
    assert [s.kernels for s in savings[:2]] == [1, 3]
    assert all(s.traffic_bytes > 0 and s.macs == 0 for s in savings[:3])


def test_a_power_pool_of_a_flat_positive_image_is_kept_exactly() -> None:
    graph = graph_of(
        node("Pow", "x two", "c"),
        node("AveragePool", "c", "d", kernel_shape=[3, 3]),
        node("Mul", "d nine", "e"),
        node("Sqrt", "e", "f"),
        node("Conv", "f w1", "y"),
    )
    pruned = pruned_with_savings(graph)[0]
    flat = np.full(graph.shapes["x"], 0.7, np.float32)
    np.testing.assert_allclose(run(pruned, {"x": flat})["y"], run(graph, {"x": flat})["y"], rtol=1e-5)


POOL = {"kernel_shape": [3, 3]}
POWER_POOLS: dict[str, tuple[N, ...]] = {
    "x x": (node("Mul", "x x", "a"), node("AveragePool", "a", "b", **POOL), node("Sqrt", "b", "c")),
    "half": (node("Pow", "x two", "a"), node("AveragePool", "a", "b", **POOL), node("Pow", "b half", "c")),
    "global": (node("Pow", "x two", "a"), node("GlobalAveragePool", "a", "b"), node("Sqrt", "b", "c")),
    "divided": (
        node("Pow", "x two", "a"),
        node("AveragePool", "a", "b", **POOL),
        node("Div", "b nine", "d"),
        node("Sqrt", "d", "c"),
    ),
    "constant first": (
        node("Pow", "x two", "a"),
        node("AveragePool", "a", "b", **POOL),
        node("Mul", "nine b", "d"),
        node("Sqrt", "d", "c"),
    ),
}


@pytest.mark.parametrize("case", POWER_POOLS)
@pytest.mark.parametrize("behind", ["Relu", "Conv"])
def test_every_form_of_a_power_pool_keeps_its_constant(case: str, behind: str) -> None:
    last = node("Relu", "c", "y") if behind == "Relu" else node("Conv", "c w1", "y")
    graph = graph_of(*POWER_POOLS[case], last)
    pruned, _, savings = pruned_with_savings(graph)
    assert len(savings) == 1
    scaled = ["Mul"] if case in ("divided", "constant first") and behind == "Relu" else []
    assert [n.op for n in pruned.nodes] == ["GlobalAveragePool" if case == "global" else "AveragePool", *scaled, behind]
    flat = np.full(graph.shapes["x"], 0.7, np.float32)
    np.testing.assert_allclose(run(pruned, {"x": flat})["y"], run(graph, {"x": flat})["y"], rtol=1e-5)


def test_a_removal_is_not_credited_with_what_folding_saves() -> None:
    graph = graph_of(
        node("Conv", "x w3", "a"),
        node("BatchNormalization", "a v v2 v3 positive", "b", **BN),
        node("Mul", "s b", "c"),
        node("Relu", "c", "d"),
        node("LRN", "d", "e", size=3),
        node("Relu", "e", "f"),
        node("Mul", "s f", "g"),
        node("Relu", "g", "y"),
    )
    pruned, notes, savings = pruned_with_savings(graph)
    assert [n.op for n in pruned.nodes] == ["Conv", "Relu", "Relu", "Relu"]
    assert [note.applied for note in notes] == [True, True]
    image = 4 * 2 * CHANNELS * 6 * 6  # bytes of a tensor of two images
    assert [(s.kernels, s.macs, s.traffic_bytes) for s in savings] == [(1, 0, 2 * image), (1, 0, 2 * image + 4)]


PRUNE_REFUSALS: dict[str, tuple[tuple[N, ...], str]] = {
    "no square": ((node("Pow", "x six", "a"), node("Relu", "a", "y")), "is no square"),
    "no pool": ((node("Pow", "x two", "a"), node("Relu", "a", "y")), "no average pool alone reads the square"),
    "no root": (
        (node("Pow", "x two", "a"), node("AveragePool", "a", "b", kernel_shape=[2, 2]), node("Relu", "b", "y")),
        "no root follows",
    ),
    "root alone": ((node("Sqrt", "x", "y"),), "no square and average pool lie before it"),
    "cubes": ((node("LpPool", "x", "y", kernel_shape=[2, 2], p=3),), "p is 3, not 2"),
    "negative": ((node("Relu", "x", "a"), node("Mul", "a minus", "b"), node("Relu", "b", "y")), "is not positive"),
    "output": ((node("LRN", "x", "y", size=3),), "is an output"),
    "square read twice": (
        (
            node("Mul", "x x", "a"),
            node("AveragePool", "a", "b", kernel_shape=[1, 1]),
            node("Sqrt", "b", "c"),
            node("Add", "a c", "y"),
        ),
        "no average pool alone reads the square",
    ),
    "per channel": (
        (node("Relu", "x", "a"), node("Mul", "a channels", "b"), node("Relu", "b", "y")),
        "is no product with one number",
    ),
    "negative pool": (
        (
            node("Pow", "x two", "a"),
            node("AveragePool", "a", "b", kernel_shape=[2, 2]),
            node("Mul", "b minus", "c"),
            node("Sqrt", "c", "y"),
        ),
        "something else than a positive number",
    ),
}


@pytest.mark.parametrize("case", PRUNE_REFUSALS)
def test_prune_says_why_it_leaves_a_layer(case: str) -> None:
    nodes, reason = PRUNE_REFUSALS[case]
    graph = graph_of(*nodes)
    pruned, notes, savings = pruned_with_savings(graph)
    assert not savings
    assert len(pruned.nodes) == len(graph.nodes)
    assert {note.applied for note in notes} == {False}
    assert any(reason in note.reason for note in notes)


@pytest.mark.parametrize("name", SHIPPED_MODELS)
def test_shipped_models_optimise_without_a_change(name: str) -> None:
    graph = read_graph(find_model(name))
    best = optimise(graph)
    assert optimise(best).nodes == best.nodes
    assert difference(graph, best) < 1e-5
    assert {n.op for n in best.nodes} & {"BatchNormalization", "Relu", "PRelu", "Clip", "ReduceL2"} == set()
    onnx.checker.check_model(write_graph(best), full_check=True)

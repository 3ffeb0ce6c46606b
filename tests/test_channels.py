"""Invariant: fewer hidden channels, the rest fitted to make up for them; what a block can spare costs nothing."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from facelet.backends import run_graph
from facelet.errors import GraphError, InputError
from facelet.graph.ir import Graph
from facelet.graph.onnx_io import read_graph
from facelet.graph.passes import difference, optimise
from facelet.graph.passes.channels import channels, fitted_choice, inverted_residuals, kept_channels
from facelet.graph.reference import run
from facelet.graph.size import layers
from facelet.model_files import find_model

INPUTS, HIDDEN, SIDE = 6, 32, 9
Arrays = dict[str, np.ndarray[Any, Any]]
BLOCK = [
    ("Conv", "x w1 b1", "expanded", {}),
    ("PRelu", "expanded s1", "a", {}),
    ("Conv", "a w2 b2", "filtered", {"group": HIDDEN, "pads": [1, 1, 1, 1]}),
    ("PRelu", "filtered s2", "b", {}),
    ("Conv", "b w3 b3", "projected", {}),
    ("Add", "projected x", "c", {}),
]
"""One block with its residual, from `x` to `c`."""
SECOND = [
    ("Conv", "c w4 b4", "d", {}),
    ("Clip", "d low high", "e", {}),
    ("Conv", "e w5 b5", "f", {"group": HIDDEN, "strides": [2, 2]}),
    ("Clip", "f low high", "g", {}),
    ("Conv", "g w6 b6", "y", {}),
]
"""Another with ReLU6 and a stride, from `c` to `y`."""


def weights(seed: int = 0) -> Arrays:
    rng = np.random.default_rng(seed)
    found: Arrays = {"low": np.array(0.0), "high": np.array(6.0)}
    for first in (1, 4):
        found[f"w{first}"] = rng.standard_normal((HIDDEN, INPUTS, 1, 1))
        found[f"w{first + 1}"] = rng.standard_normal((HIDDEN, 1, 3, 3))
        found[f"w{first + 2}"] = rng.standard_normal((INPUTS, HIDDEN, 1, 1)) / 6
        found[f"b{first}"], found[f"b{first + 1}"] = rng.standard_normal((2, HIDDEN))
        found[f"b{first + 2}"] = rng.standard_normal(INPUTS)
    found["s1"], found["s2"] = rng.random((2, HIDDEN, 1, 1))
    return found


def graph_of(nodes: list[tuple[str, str, str, dict[str, Any]]], own: Arrays, outputs: str = "y") -> Graph:
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node(op, inputs.split(), [output], **more) for op, inputs, output, more in nodes],
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", INPUTS, SIDE, SIDE])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs.split()],
            [numpy_helper.from_array(np.asarray(array, np.float32), name) for name, array in own.items()],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    return read_graph(model)


def images(count: int = 40, seed: int = 1) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).standard_normal((count, INPUTS, SIDE, SIDE)).astype(np.float32)


def outputs(graph: Graph, fed: np.ndarray[Any, np.dtype[np.float32]]) -> np.ndarray[Any, Any]:
    return np.concatenate([run(graph, {"x": image[None]})[graph.outputs[0]] for image in fed])


def test_all_channels_kept_change_nothing() -> None:
    graph = graph_of(BLOCK + SECOND, weights())
    kept = channels(graph, images(4), 1.0)
    assert kept.notes == ()
    assert difference(graph, kept.graph) == 0


@pytest.mark.parametrize("spare", ["doubled", "dead", "constant"])
def test_what_a_block_can_spare_costs_nothing(spare: str) -> None:
    own, half = weights(), slice(HIDDEN // 2, HIDDEN)
    for first in (1, 4):
        names = (f"w{first}", f"b{first}", f"w{first + 1}", f"b{first + 1}", *(("s1", "s2") if first == 1 else ()))
        for name in names:
            if spare == "doubled":  # each spare channel computes what another one does; only its projection differs
                own[name][half] = own[name][: HIDDEN // 2]
            elif spare == "dead" or name != f"b{first + 1}":
                own[name][half] = 0
    graph = graph_of(BLOCK + SECOND, own)
    result = channels(graph, images(), 0.5)
    assert difference(graph, result.graph) < 1e-4
    assert [result.graph.constants[n.inputs[1]].shape[0] for n in result.graph.nodes] == [16, 16, 6, 16, 16, 6]
    if spare == "constant":  # cutting alone loses nothing of it either, as the bias takes it
        assert difference(graph, channels(graph, images(), 0.5, fit=False).graph) < 1e-4


def test_the_fit_makes_up_for_what_goes_and_for_blocks_before() -> None:
    graph, seen, new = graph_of(BLOCK + SECOND, weights()), images(), images(seed=2)
    wanted = outputs(graph, new)

    def lost(narrowed: Graph) -> float:
        return float(np.square(outputs(narrowed, new) - wanted).mean() / wanted.var())

    fitted, cut = channels(graph, seen, 0.75), channels(graph, seen, 0.75, fit=False)
    assert lost(fitted.graph) < 0.8 * lost(cut.graph)
    assert len(fitted.notes) == 2
    assert "24 of 32 hidden channels stay" in fitted.notes[0].reason
    # the mean of what a block gives stays on the images that it was fitted to
    for narrowed in (fitted, cut):
        np.testing.assert_allclose(
            outputs(narrowed.graph, seen).mean(axis=(0, 2, 3)), outputs(graph, seen).mean(axis=(0, 2, 3)), atol=1e-4
        )


def test_the_channel_that_goes_is_the_one_whose_loss_is_least() -> None:
    rng = np.random.default_rng(0)
    z = rng.standard_normal((6, 300)) * np.arange(1, 7)[:, None] + 2 * rng.standard_normal(300)
    weight, covariance = rng.standard_normal((3, 6)), z @ z.T / 300

    def loss(stay: tuple[int, ...]) -> float:
        kept = z[list(stay)]
        fitted = np.linalg.lstsq(kept.T, (weight @ z).T, rcond=None)[0].T
        return float(np.square(weight @ z - fitted @ kept).sum())

    best = min(combinations(range(6), 5), key=loss)
    assert tuple(fitted_choice(weight, covariance, 5)) == best
    greedy = min((stay for stay in combinations(best, 4)), key=loss)
    assert tuple(fitted_choice(weight, covariance, 4)) == greedy


def test_parameters_and_macs_by_hand() -> None:
    graph = optimise(graph_of(BLOCK + SECOND, weights()))
    narrowed = channels(graph, images(4), 0.75).graph
    old, new = layers(graph), layers(narrowed)
    # a hidden channel has 6 + 1 numbers in the expansion, 9 + 1 in its filter and 6 in the projection; 2 slopes in one
    assert sum(r.parameters for r in old) - sum(r.parameters for r in new) == 8 * (7 + 10 + 6) * 2 + 8 * 2
    # places: 81 before and behind the first filter; 81 before the second one and 16 behind it
    saved = 8 * (81 * (6 + 9 + 6) + 81 * 6 + 16 * (9 + 6))
    assert sum(r.macs for r in old) - sum(r.macs for r in new) == saved


@pytest.mark.parametrize(
    ("width", "keep", "kept"),
    [(64, 0.75, 48), (64, 0.9, 56), (64, 1.0, 64), (480, 0.01, 8), (12, 1.0, 12), (12, 0.9, 8), (6, 0.5, 6)],
)
def test_widths_stay_multiples_of_eight(width: int, keep: float, kept: int) -> None:
    assert kept_channels(width, keep) == kept


@pytest.mark.parametrize(
    ("name", "blocks"), [("facelet_s", 12), ("facelet_xs", 11), ("mobilenet_v2_050", 16), ("mobilenet_v2_035", 16)]
)
def test_shipped_nets_are_narrowed_and_agree_with_onnxruntime(name: str, blocks: int) -> None:
    graph = read_graph(find_model(name))
    assert len(inverted_residuals(graph)[1]) == blocks
    seen = np.random.default_rng(0).uniform(0, 255, (2, *graph.shapes[graph.inputs[0]][1:])).astype(np.float32)
    narrowed = channels(graph, seen, 0.5)
    assert len(narrowed.notes) == blocks
    numpy_says = run(narrowed.graph, {graph.inputs[0]: seen[:1]})[graph.outputs[0]]
    np.testing.assert_allclose(run_graph(narrowed.graph, seen[:1], 1), numpy_says, atol=1e-4)


NO_BLOCKS: dict[str, tuple[list[tuple[str, str, str, dict[str, Any]]], str]] = {
    "hidden channels are an output": ([*BLOCK[:5], ("Relu", "projected", "y", {})], "y b"),
    "no depthwise": ([BLOCK[0], BLOCK[1], ("Conv", "a w3 b3", "y", {})], "y"),
    "a sum in between": ([*BLOCK[:4], ("Add", "b a", "d", {}), ("Conv", "d w3 b3", "y", {})], "y"),
    "a stride of the projection": ([*BLOCK[:4], ("Conv", "b w3 b3", "y", {"strides": [2, 2]})], "y"),
    "a border of the projection": ([*BLOCK[:4], ("Conv", "b w3 b3", "y", {"pads": [1, 1, 1, 1]})], "y"),
}


@pytest.mark.parametrize("case", NO_BLOCKS)
def test_a_net_without_blocks_is_refused(case: str) -> None:
    nodes, named = NO_BLOCKS[case]
    with pytest.raises(GraphError, match="net: has no inverted residual"):
        channels(graph_of(nodes, weights(), named), images(2), 0.5)


@pytest.mark.parametrize("keep", [0.0, -1.0, 1.1, float("nan")])
def test_a_share_that_is_none_is_refused(keep: float) -> None:
    with pytest.raises(InputError, match="above 0 and at most 1"):
        channels(graph_of(BLOCK + SECOND, weights()), images(2), keep)

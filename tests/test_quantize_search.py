"""Invariant: a suffix of the network is the network, and the search finds what running the whole each time finds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from facelet.backends import run_graph
from facelet.errors import GraphError
from facelet.graph import reference
from facelet.graph.ir import Array, Graph
from facelet.quantize import search as module
from facelet.quantize.build import build
from facelet.quantize.calibrate import _best_fraction, _groups, calibrate, correct_biases, embedding_error, every_tensor
from facelet.quantize.prepare import prepare
from facelet.quantize.search import find_cuts, search, suffix
from test_int8 import float_net, images, run
from tiny_graphs import Builder


def by_onnxruntime(graph: Graph, x: Array) -> Array:
    return run_graph(graph, x, 1)


def chain(seed: int) -> Graph:
    """Layers of which each hangs on the one before, two of them with a shortcut."""
    b = Builder({"image": (1, 3, 13, 12)}, seed)
    last = b.conv("image", 16, (3, 3), (2, 2), (1, 1, 1, 1), activation="PRelu")
    for _ in range(2):
        inner = b.conv(b.conv(last, 24, activation="Relu"), 24, (3, 3), (1, 1), (1, 1, 1, 1), 24, activation="PRelu")
        last = b.conv(inner, 16, residual=last)
    pooled = b.add("MaxPool", last, kernel=(2, 2), strides=(2, 2), pads=(0, 0, 0, 0))
    return b.graph([b.conv(pooled, 8, b.shapes[pooled][2:])])


def started(graph: Graph, x: Array) -> tuple[Graph, dict[str, int], list[list[str]], Array]:
    """A prepared network with its first fractions, groups and embeddings."""
    prepared = prepare(graph)
    values = every_tensor(prepared, x)
    groups = _groups(prepared)
    fractions = {name: _best_fraction([values[n] for n in group]) for group in groups for name in group}
    return prepared, fractions, groups, values[prepared.outputs[0]]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("make", [chain, float_net])
def test_what_lies_behind_a_cut_is_the_network(make: object, seed: int) -> None:
    graph = make(seed)  # type: ignore[operator]
    x = images(graph, 8)
    prepared, fractions, _, _ = started(graph, x)
    whole = build(prepared, fractions)
    cuts = find_cuts(prepared, fractions)
    assert len(cuts) >= 3
    wanted = run(whole, x)
    for cut in cuts[1:]:
        values = run(build(suffix(prepared, cuts[0], cut), fractions), x)
        np.testing.assert_array_equal(run(build(suffix(prepared, cut), fractions), values), wanted)


def exhaustive(
    graph: Graph, fractions: dict[str, int], groups: Sequence[Sequence[str]], x: Array, wanted: Array
) -> tuple[dict[str, int], float]:
    """One pass with the whole network and all images at each trial."""
    best = embedding_error(run(build(graph, fractions), x), wanted)
    place = {node.output: position for position, node in enumerate(graph.nodes)}
    for group in sorted(groups, key=lambda names: min(place.get(name, 0) for name in names)):
        for step in (-1, 1):
            tried = {**fractions, **{name: fractions[name] + step for name in group}}
            try:
                found = embedding_error(run(build(graph, tried), x), wanted)
            except GraphError:
                continue
            if found < best * (1 - module.LEAST_GAIN):
                best, fractions = found, tried
                break
    return fractions, best


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("make", [chain, float_net])
def test_the_search_finds_what_running_the_whole_finds(
    make: object, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PASSES", 1)
    graph = make(seed)  # type: ignore[operator]
    x = images(graph, module.FEWEST_IMAGES)  # no part of them is tried alone
    prepared, fractions, groups, wanted = started(graph, x)
    found, error = search(prepared, fractions, groups, x, wanted, by_onnxruntime, lambda *_: None)
    expected, best = exhaustive(prepared, fractions, groups, x, wanted)
    assert found == expected
    assert error == pytest.approx(best, rel=1e-5)
    assert error == pytest.approx(embedding_error(run(build(prepared, found), x), wanted), rel=1e-5)


def test_the_search_gains_and_tells_how_far_it_is() -> None:
    graph = chain(3)
    x = images(graph, 40)
    prepared, fractions, groups, wanted = started(graph, x)
    fractions = {name: bits + (-2 if name.startswith("FusedConv_2") else 0) for name, bits in fractions.items()}
    before = embedding_error(run(build(prepared, fractions), x), wanted)
    told: list[tuple[int, int]] = []
    found, error = search(
        prepared, fractions, groups, x, wanted, by_onnxruntime, lambda done, total, _: told.append((done, total))
    )
    assert error < before
    assert error == pytest.approx(embedding_error(run(build(prepared, found), x), wanted), rel=1e-5)
    done = [d for d, _ in told]
    assert done == sorted(done)
    assert all(d <= t for d, t in told)
    assert told[-1][0] == told[-1][1]


def test_the_mean_of_the_sums_is_that_of_float64() -> None:
    graph = float_net(1)
    x = images(graph, 9)
    prepared, fractions, _, _ = started(graph, x)
    quantized = build(prepared, fractions)
    values = every_tensor(prepared, x)
    corrected = correct_biases(prepared, quantized, x, values)
    # layer by layer: what the biases are to reach, in float64 over all images
    node = next(node for node in quantized.nodes if node.op == "Int8Conv")
    source = prepared.nodes[0]
    rounded = reference.run(quantized, {quantized.inputs[0]: x[:1]}, every=True)
    assert rounded[node.inputs[0]].dtype == np.float32
    ints = np.concatenate(
        [reference.run(quantized, {"image": x[i : i + 1]}, every=True)[node.inputs[0]] for i in range(9)]
    )
    constants = quantized.constants
    have = reference.sums(node, [a.astype(np.float64) for a in (ints, *(constants[n] for n in node.inputs[1:3]))])
    floats = (values[source.inputs[0]], *(prepared.constants[n] for n in source.inputs[1:3]))
    want = reference.sums(source, [a.astype(np.float64) for a in floats])
    scale = np.ldexp(1.0, constants[node.inputs[3]].astype(np.int64) + node["x_fraction"])
    move = np.rint(want.mean((0, 2, 3)) * scale - have.mean((0, 2, 3)))
    np.testing.assert_array_equal(corrected.constants[node.inputs[2]], constants[node.inputs[2]] + move)


def test_calibration_ends_no_farther_than_its_first_fractions() -> None:
    graph = float_net(2)
    x = images(graph, 24)
    result = calibrate(graph, x, by_onnxruntime)
    assert result.error == pytest.approx(embedding_error(run(result.quantized, x), run(graph, x)), rel=1e-3)

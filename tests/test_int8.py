"""Oracle: integers agree to the bit between NumPy, onnxruntime on the written file, torch and OpenCL; rules by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import Ended
from facelet.backends import run_graph
from facelet.errors import GraphError
from facelet.graph import reference
from facelet.graph.int8 import check_int8, largest_sum, run_int8_conv, tensor_fractions
from facelet.graph.ir import Array, Graph, Node
from facelet.graph.onnx_io import read_graph, write_graph
from facelet.graph.passes import difference, optimise
from facelet.graph.size import largest_live_bytes, layers
from facelet.model_files import find_model, load_model, with_card
from facelet.quantize.build import build, rounded_slopes, weight_fractions
from facelet.quantize.calibrate import calibrate, embedding_error
from facelet.quantize.equalise import equalise
from facelet.quantize.prepare import prepare
from facelet.quantize.report import FLOAT32_DB, layer_noise
from facelet.quantize.search import unit
from tiny_graphs import Builder
from tiny_models import tiny_card


def by_onnxruntime(graph: Graph, x: Array, optimised: bool = True) -> Array:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.x64quantprecision", "1")  # without VNNI pairs of products overflow else
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        write_graph(graph).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run(None, {graph.inputs[0]: x})[0])


def float_net(seed: int, batch: int = 1) -> Graph:
    """All forms: slopes, residuals, windows, pools, borders, a concatenation off the blocks, a dense tail."""
    b = Builder({"image": (batch, 3, 13, 12)}, seed)
    stem = b.conv("image", 24, (3, 3), (2, 2), (1, 1, 1, 1), activation="PRelu")  # 7 x 6
    wide = b.conv(stem, 40, activation="PRelu")
    deep = b.conv(wide, 40, (3, 3), (1, 1), (1, 1, 1, 1), 40, activation="PRelu")
    back = b.conv(deep, 24, residual=stem)
    if seed % 2:
        small = b.conv(wide, 40, (5, 5), (2, 2), (2, 2, 2, 2), 40, activation="Relu")
    else:
        small = b.conv(back, 40, (3, 3), (2, 2), (1, 1, 1, 1), activation="Clip", min=-0.5, max=1.5)
    pooled = b.add("MaxPool", back, kernel=(3, 3), strides=(2, 2), pads=(1, 1, 1, 1))
    mean = b.add("AveragePool", back, kernel=(3, 3), strides=(2, 2), pads=(1, 1, 1, 1), count_include_pad=True)
    joined = b.add("Concat", pooled, small, b.conv(mean, 10, activation="LeakyRelu", alpha=0.1), axis=1)
    framed = b.add("Pad", b.conv(joined, 16, (3, 3), (2, 2)), pads=(0, 0, 1, 1, 0, 0, 1, 1), value=0.0)
    last = b.conv(framed, 20, (3, 3), activation="PRelu")
    total = b.add("Add", last, b.conv(framed, 20, (3, 3)))
    flat = b.add("Reshape", b.add("GlobalAveragePool", b.add("Relu", total)), shape=(batch, 20))
    dense = b.add("Gemm", flat, b.constant(8, 20), b.constant(8))
    return b.graph([b.add("LpNormalization", dense, axis=1, epsilon=1e-12)])


def quantized(seed: int, batch: int = 1) -> Graph:
    """The same as int8, its fractions from a few random images."""
    graph = float_net(seed, batch)
    return calibrate(graph, images(graph, 8), by_onnxruntime).quantized


def run(graph: Graph, x: Array) -> Array:
    """The first output, batch by batch."""
    n = graph.batch
    parts = [reference.run(graph, {graph.inputs[0]: x[i : i + n]})[graph.outputs[0]] for i in range(0, len(x), n)]
    return np.concatenate(parts)


def images(graph: Graph, n: int, seed: int = 1) -> Array:
    shape = graph.shapes[graph.inputs[0]][1:]
    return np.random.default_rng(seed).uniform(-1, 1, (n, *shape)).astype(np.float32)


CONV: dict[str, Any] = {"strides": (1, 1), "dilations": (1, 1), "pads": (0, 0, 0, 0), "groups": 1}
BASE: dict[str, Any] = {
    **CONV,
    "x_fraction": 2,
    "fraction": 1,
    "slopes": False,
    "residual": False,
    "residual_fraction": 0,
    "low": -128,
    "high": 127,
}


@pytest.mark.parametrize(
    ("acc", "wanted"),
    # fractions 2 + 1 - 1: two bits go; half to even: 2 / 4 = 0.5 -> 0, 6 / 4 = 1.5 -> 2, -2 / 4 -> 0, -6 / 4 -> -2
    [(2, 0), (6, 2), (-2, 0), (-6, -2), (7, 2), (9, 2), (10, 2), (11, 3), (508, 127), (-520, -128)],
)
def test_rounding_by_hand(acc: float, wanted: float) -> None:
    node = Node("Int8Conv", ("x", "w", "b", "f"), "y", BASE)
    out = run_int8_conv(node, np.full((1, 1, 1, 1), float(acc)), [np.array([1], np.float32)], None)
    assert float(out.reshape(())) == wanted


def test_slopes_and_residual_by_hand() -> None:
    # residual 3 at fraction 0 becomes 3 * 2^3 = 24 at fraction 3: -104 + 24 = -80; slope 3 / 2^3: -240 / 2^(2+3) = -7.5
    attributes = {**BASE, "slopes": True, "residual": True}
    node = Node("Int8Conv", ("x", "w", "b", "f", "s", "e", "r"), "y", attributes)
    constants = [np.array([n], np.float32) for n in (1, 3, 3)]
    shape = (1, 1, 1, 1)
    out = run_int8_conv(node, np.full(shape, -104.0), constants, np.full(shape, 3, np.float32))
    assert float(out.reshape(())) == -8  # -7.5 to the even one
    out = run_int8_conv(node, np.full(shape, 8.0), constants, np.full(shape, -1, np.float32))
    assert float(out.reshape(())) == 0  # 8 - 8: not negative, no slope


def test_weight_fractions_by_hand() -> None:
    # 0.5 fits 7 bits (64); 1.0 would be 128 at 7, so 6; ones that lose little by clipping take one more bit
    weight = np.array([0.5, 1.0]).reshape(2, 1, 1, 1).astype(np.float32)
    assert weight_fractions(weight).tolist() == [7, 6]
    many = np.concatenate([[1.0], np.linspace(-0.11, 0.113, 4000)]).reshape(1, -1, 1, 1).astype(np.float32)
    assert weight_fractions(many).tolist() == [7]


def test_slopes_keep_products_exact() -> None:
    sums = np.array([2.0**21, 2.0**17, 100.0])
    integers, exponents = rounded_slopes(np.array([0.3, 0.25, -1.5], np.float32), sums, np.full(3, 20))
    values = integers / 2.0**exponents
    np.testing.assert_allclose(values, [0.3125, 0.25, -1.5], rtol=0.05)
    assert (np.abs(integers) * sums < 2**24).all()
    assert integers[1] == 1  # lowest terms


@pytest.mark.parametrize("seed", [0, 1])
def test_preparing_and_equalising_keep_the_output(seed: int) -> None:
    graph = float_net(seed)
    prepared = prepare(graph)
    assert {node.op for node in prepared.nodes} <= {
        "FusedConv",
        "MaxPool",
        "Concat",
        "Pad",
        "Reshape",
        "LpNormalization",
    }
    assert difference(graph, prepared) < 1e-5
    values = reference.run(prepared, {"image": images(graph, 1)}, every=True)
    ranges = {name: np.abs(v).max(axis=(0, 2, 3)) for name, v in values.items() if v.ndim == 4}
    assert difference(prepared, equalise(prepared, ranges)) < 1e-5


@pytest.mark.parametrize("seed", [0, 1])
def test_every_executor_gives_the_same_integers(seed: int) -> None:
    import torch

    from facelet.train.graph_net import GraphNet

    graph = quantized(seed)
    x = images(graph, 40, 7)
    wanted = run(graph, x)
    assert len(np.unique(wanted)) > 40
    np.testing.assert_array_equal(by_onnxruntime(graph, x), wanted)
    np.testing.assert_array_equal(by_onnxruntime(graph, x, optimised=False), wanted)
    np.testing.assert_array_equal(GraphNet(graph)(torch.from_numpy(x)).detach().numpy(), wanted)
    again = optimise(read_graph(write_graph(graph)))
    assert [node.op for node in again.nodes] == [node.op for node in graph.nodes]
    np.testing.assert_array_equal(run(again, x), wanted)


@pytest.mark.parametrize("vnni", [True, False])
@pytest.mark.parametrize("block", [16, 8])
def test_opencl_gives_the_same_integers(vnni: bool, block: int) -> None:
    pytest.importorskip("pyopencl", reason="pyopencl is not installed; mend with: pip install 'facelet[opencl]'")
    from facelet.opencl.check import compare
    from facelet.opencl.config import AVX2, AVX512
    from facelet.opencl.lower import lower
    from facelet.opencl.runtime import OpenCLRuntime

    runtime = OpenCLRuntime("pocl", 1)
    if vnni and not (runtime.device.config.vnni and block == 16):
        pytest.skip("the processor or its driver has no AVX512-VNNI, or not for vectors of this width")
    config = replace(AVX512 if block == 16 else AVX2, vnni=vnni)
    graph = quantized(1, 2)
    program = lower(graph, config)
    executable = runtime.load(program, whole=True)
    x = images(graph, 20, 7)
    values = reference.run(graph, {"image": x[:2]}, every=True)
    fractions, seen = tensor_fractions(graph), set()
    for launch, found in executable.trace({"image": x[:2]}):
        name = launch.target.name if launch.target else ""
        if name in fractions:
            np.testing.assert_array_equal(found, values[name], err_msg=launch.node)
            seen.add(name)
    joined = {node.output for node in graph.nodes if node.op == "Concat"}  # may be whole without a launch of its own
    assert set(fractions) - joined <= seen
    assert compare(executable, program, "pocl") < 1e-6
    found = executable.run({"image": x})[program.outputs[0].name]
    np.testing.assert_allclose(found, run(graph, x), atol=1e-6)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31), st.integers(1, 40), st.integers(1, 24), st.sampled_from([1, 3]), st.booleans())
def test_random_convolutions_agree_with_onnxruntime(
    seed: int, channels: int, outputs: int, kernel: int, residual: bool
) -> None:
    b = Builder({"image": (2, channels, 5, 6)}, seed)
    pads = (kernel // 2,) * 4
    first = b.conv("image", outputs, (kernel, kernel), (1, 1), pads, activation="PRelu")
    last = b.conv(first, outputs, (kernel, kernel), (1, 1), pads, activation="Relu", residual=first if residual else "")
    graph = prepare(b.graph([last]))
    made = build(graph, {"image": 7, first: 4, last: 3})
    x = images(made, 6, seed % 1000)
    np.testing.assert_array_equal(by_onnxruntime(made, x), run(made, x))


def test_largest_sum_is_a_bound() -> None:
    graph = quantized(0)
    for node in graph.nodes:
        if node.op == "Int8Conv":
            assert largest_sum(node, graph.constants) < 2**24
    assert check_int8(graph) is graph


def test_what_is_not_exact_is_refused() -> None:
    graph = quantized(0)
    node = next(node for node in graph.nodes if node.op == "Int8Conv")
    for position, value, words in (
        (1, np.full_like(graph.constants[node.inputs[1]], 0.5), "no integers"),
        (1, np.full_like(graph.constants[node.inputs[1]], 200), "no integers in"),
        (2, np.full_like(graph.constants[node.inputs[2]], 2**24), "only below 2\\^24"),
        (3, np.full_like(graph.constants[node.inputs[3]], -40), "would shift by -"),
        (3, np.full_like(graph.constants[node.inputs[3]], 40), "would shift by"),
    ):
        changed = graph.with_nodes(graph.nodes, constants={node.inputs[position]: value})
        with pytest.raises(GraphError, match=words):
            check_int8(changed)
    with pytest.raises(GraphError, match="int8 has no form of LRN; remove it with: facelet prune"):
        prepare(read_graph(find_model("nn4_small2")))


def test_a_reshape_of_integers_is_written() -> None:
    shapes: dict[str, tuple[int, ...]] = {"x": (2, 4, 1, 1), "q": (2, 4, 1, 1), "flat": (2, 4), "y": (2, 4)}
    nodes = (
        Node("QuantizeLinear", ("x",), "q", {"fraction": 5}),
        Node("Reshape", ("q",), "flat", {"shape": (2, 4)}),
        Node("DequantizeLinear", ("flat",), "y", {"fraction": 5}),
    )
    graph = Graph("g", ("x",), ("y",), nodes, {}, shapes).check()
    x = images(graph, 6)
    np.testing.assert_array_equal(by_onnxruntime(graph, x), run(graph, x))


def test_integers_weigh_a_byte() -> None:
    graph = quantized(0)
    rows = {row.name: row for row in layers(graph)}
    # 3 x 13 x 12 floats in, as many bytes out
    assert (rows["image.int8"].traffic_bytes, rows["image.int8"].activation_bytes) == (5 * 468, 468)
    assert largest_live_bytes(graph) < largest_live_bytes(prepare(float_net(0))) / 2


def test_foreign_scales_are_refused() -> None:
    from onnx import numpy_helper

    model = write_graph(quantized(0))
    scale = next(t for t in model.graph.initializer if t.name == "image.int8.scale")
    scale.CopyFrom(numpy_helper.from_array(np.array(0.01, np.float32), scale.name))
    with pytest.raises(GraphError, match=r"its scale 0.01 is no power of two; use facelet quantize"):
        read_graph(model)


def small_net(seed: int = 0) -> Builder:
    """A convolution and a pool, of 4 x 8 x 8; the builder's last output is what follows can read."""
    b = Builder({"image": (1, 3, 8, 8)}, seed)
    b.add("MaxPool", b.conv("image", 4, activation="Relu"), kernel=(1, 1), strides=(1, 1), pads=(0, 0, 0, 0))
    return b


@pytest.mark.parametrize(
    ("low", "high", "fractions"),
    # 2.64 at 5 bits is 84 and at 6 bits 169, 255 at -1 bits 127.5; in [-1, 1] 7 bits, though 1 becomes 127
    [(-1, 1, {7}), (0, 1, {7}), (-0.1, 0.1, {7}), (-2.1, 2.64, {5}), (0, 255, {-2, -1}), (0, 0, {7})],
)
def test_an_input_of_any_range_is_calibrated(low: float, high: float, fractions: set[int]) -> None:
    b = Builder({"image": (1, 3, 8, 8)})
    graph = b.graph([b.conv(b.conv("image", 8, (3, 3), activation="Relu"), 6, (6, 6))])
    x = np.random.default_rng(0).uniform(low, high, (12, 3, 8, 8)).astype(np.float32)
    x[:, 0] = high  # at the end of the range, where 6 bits would be exact for 1
    result = calibrate(graph, x, by_onnxruntime)
    assert result.fractions["image"] in fractions
    assert result.error < 0.002
    np.testing.assert_array_equal(run_graph(result.quantized, x, 1), run(result.quantized, x))


@pytest.mark.parametrize("high", [1.0, 2.5])
@pytest.mark.parametrize("op", ["Concat", "MaxPool", "residual"])
def test_an_input_may_be_read_by_more_than_convolutions(op: str, high: float) -> None:
    b = Builder({"image": (1, 3, 8, 8)})
    if op == "Concat":
        last = b.add("Concat", "image", b.conv("image", 5), axis=1)
    elif op == "MaxPool":
        last = b.add("MaxPool", "image", kernel=(2, 2), strides=(1, 1), pads=(0, 0, 0, 0))
    else:
        last = b.conv(b.conv("image", 5), 3, residual="image")
    graph = b.graph([b.conv(last, 6, b.shapes[last][2:])])
    x = np.random.default_rng(0).uniform(-high, high, (12, 3, 8, 8)).astype(np.float32)
    result = calibrate(graph, x, by_onnxruntime)
    assert result.error < 0.002
    np.testing.assert_array_equal(by_onnxruntime(result.quantized, x), run(result.quantized, x))


def test_a_layer_that_is_zero_on_every_image_is_quantized() -> None:
    b = Builder({"image": (1, 3, 8, 8)})
    dead = b.conv("image", 8, activation="Relu")
    b.constants[b.nodes[-1].inputs[2]] -= np.float32(100)
    joined = b.add("Concat", b.conv(dead, 4, activation="Relu"), b.conv("image", 4), axis=1)
    graph = b.graph([b.conv(joined, 6, (8, 8))])
    x = images(graph, 8)
    result = calibrate(graph, x, by_onnxruntime)
    assert result.error < 0.002
    assert layer_noise(result, x)[-1].snr_db == FLOAT32_DB  # the command writes it as JSON, which has no infinity


def test_layers_that_share_their_weights_are_scaled_apart() -> None:
    b = Builder({"image": (1, 3, 8, 8)})
    first = b.conv("image", 3, (3, 3), (1, 1), (1, 1, 1, 1), activation="Relu")
    weight, bias = b.nodes[-1].inputs[1:3]
    b.constants[weight] *= np.array([0.01, 1, 20], np.float32).reshape(-1, 1, 1, 1)  # ranges that equalisation changes
    second = b.conv(first, 3, (3, 3), (1, 1), (1, 1, 1, 1), activation="Relu")
    b.nodes[-1] = replace(b.nodes[-1], inputs=(first, weight, bias))
    graph = b.graph([b.conv(second, 6, (8, 8))])
    x = images(graph, 12)
    result = calibrate(graph, x, by_onnxruntime)
    assert result.error < 0.02
    assert result.error == pytest.approx(embedding_error(run(result.quantized, x), run(graph, x)), rel=1e-3)


def test_an_embedding_of_length_0_is_refused() -> None:
    b = Builder({"image": (1, 3, 8, 8)})
    b.conv("image", 6, (8, 8), activation="Relu")
    b.constants[b.nodes[-1].inputs[2]] -= np.float32(100)
    graph = b.graph([b.nodes[-1].output])
    with pytest.raises(GraphError, match="its embedding of crop 0 has length 0"):
        calibrate(graph, images(graph, 8), by_onnxruntime)


@pytest.mark.parametrize("op", ["Add", "Mul", "Sub"])
@pytest.mark.parametrize("shape", [(), (1,), (4, 1, 1), (1, 1, 1, 1), (1, 4, 1, 1)])
def test_a_constant_may_stand_first(op: str, shape: tuple[int, ...]) -> None:
    b = small_net()
    graph = b.graph([b.add(op, b.constant(*shape), b.nodes[-1].output)])
    prepared = prepare(graph)
    assert [node.op for node in prepared.nodes] == ["FusedConv", "MaxPool", "FusedConv"]
    assert difference(graph, prepared) < 1e-5


def ended(b: Builder, x: str) -> Graph:
    """The network with a convolution behind: what stands before it must be integers."""
    return b.graph([b.conv(x, 5, b.shapes[x][2:])])


def concat_of_a_constant() -> Graph:
    b = small_net()
    return ended(b, b.add("Concat", b.nodes[-1].output, b.constant(1, 2, 8, 8), axis=1))


def dense_of_rows() -> Graph:
    b = small_net()
    rows = b.add("Reshape", b.nodes[-1].output, shape=(4, 64))
    return b.graph([b.add("Gemm", rows, b.constant(5, 64), b.constant(5))])


def constant_of_higher_rank() -> Graph:
    b = small_net()
    image = b.add("Reshape", b.add("Mul", b.nodes[-1].output, b.constant(1, 1, 1, 1, 1)), shape=(1, 4, 8, 8))
    return ended(b, image)


def constant_per_pixel() -> Graph:
    b = small_net()
    return ended(b, b.add("Mul", b.nodes[-1].output, b.constant(1, 1, 8, 8)))


def normalised_inside() -> Graph:
    b = small_net()
    return ended(b, b.add("LRN", b.nodes[-1].output, size=3, alpha=0.1, beta=0.5, bias=1.0))


def turned_inside() -> Graph:
    b = small_net()
    turned = b.add("Transpose", b.nodes[-1].output, perm=(0, 2, 3, 1))
    return ended(b, b.add("Reshape", turned, shape=(1, 4, 8, 8)))


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        (concat_of_a_constant(), "Concat 'Concat_2': int8 has no form of a constant operand; leave it out"),
        (dense_of_rows(), r"int8 has no form of Reshape from \(1, 4, 8, 8\) to \(4, 64\); .* \(Gemm 'Gemm_3' computes"),
        (constant_of_higher_rank(), "Mul 'Mul_2': int8 has no form of it with these operands; it has one of"),
        (constant_per_pixel(), "Mul 'Mul_2': int8 has no form of it with these operands; it has one of"),
        (normalised_inside(), "LRN 'LRN_2': int8 has no form of LRN; remove it with: facelet prune"),
        (turned_inside(), r"Transpose 'Transpose_2': int8 has no form of Transpose from \(1, 4, 8, 8\) to"),
    ],
    ids=["concat", "rows", "rank", "pixel", "lrn", "turned"],
)
def test_what_has_no_int8_form_is_named(graph: Graph, words: str) -> None:
    with pytest.raises(GraphError, match=words):
        calibrate(graph, images(graph, 8), by_onnxruntime)


def test_a_constant_among_integers_is_kept() -> None:
    shapes: dict[str, tuple[int, ...]] = {"x": (1, 2, 3, 3), "q": (1, 2, 3, 3), "d": (1, 2, 3, 3)}
    shapes |= dict.fromkeys(("joined", "whole", "y"), (1, 4, 3, 3))
    nodes = (
        Node("QuantizeLinear", ("x",), "q", {"fraction": 5}),
        Node("DequantizeLinear", ("q",), "d", {"fraction": 5}),
        Node("Concat", ("d", "c"), "joined", {"axis": 1}),
        Node("QuantizeLinear", ("joined",), "whole", {"fraction": 5}),
        Node("DequantizeLinear", ("whole",), "y", {"fraction": 5}),
    )
    constant = np.full((1, 2, 3, 3), 0.4, np.float32)  # between two integers
    graph = Graph("g", ("x",), ("y",), nodes, {"c": constant}, {**shapes, "c": constant.shape}).check()
    x, optimised = images(graph, 1), optimise(graph)
    np.testing.assert_array_equal(run(optimised, x), by_onnxruntime(graph, x))
    np.testing.assert_array_equal(by_onnxruntime(optimised, x), by_onnxruntime(graph, x))


def test_calibration_comes_near_and_tells_the_noise() -> None:
    graph = float_net(2)
    x = images(graph, 16)
    result = calibrate(graph, x, by_onnxruntime)
    apart = unit(run(result.quantized, x)) - unit(run(graph, x))
    assert result.error == pytest.approx(float((apart**2).sum(1).mean()), abs=1e-6)
    assert result.error < 0.02
    rows = layer_noise(result, x)
    assert [row.snr_db for row in rows] == sorted(row.snr_db for row in rows)
    assert 10 < rows[0].snr_db < 60


def test_the_command_writes_a_model_that_embeds_alike(cli: Callable[..., Ended], tmp_path: Path) -> None:
    from facelet.embedder import Embedder

    card = tiny_card(height=13, width=12, color="rgb", mean=(127.5,) * 3, scale=(1 / 127.5,) * 3, normalized=True)
    path, out = tmp_path / "float.onnx", tmp_path / "m.onnx"
    path.write_bytes(with_card(write_graph(float_net(0)), card).SerializeToString())
    ended = cli("quantize", path, "--images", "8", "--out", out, "--report", tmp_path / "r", "--json")
    assert ended.code == 0, ended.err
    told = json.loads(ended.out)
    assert told["bytes"] < told["float_bytes"]
    assert told["embedding_error"] < 0.02
    assert json.loads((tmp_path / "r" / "quantization.json").read_text()) == told
    assert (tmp_path / "r" / "quantization.png").read_bytes().startswith(b"\x89PNG")
    made = load_model(out).card
    assert (made.name, made.thresholds) == ("tiny_int8", {})
    crops = np.random.default_rng(0).integers(0, 256, (6, 13, 12, 3), np.uint8)
    vectors = [Embedder.load(name, threads=1).embed(crops) for name in (out, path)]
    assert (vectors[0] * vectors[1]).sum(axis=1).min() > 0.95


def test_distillation_is_the_integer_network_to_the_bit(tmp_path: Path) -> None:
    import torch

    from facelet.train.int8_net import Int8Net

    graph = float_net(0)
    x = images(graph, 12)
    result = calibrate(graph, x, by_onnxruntime)
    net = Int8Net(result)
    np.testing.assert_array_equal(net(torch.from_numpy(x)).detach().numpy(), run(result.quantized, x))
    torch.set_num_threads(1)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    target = torch.from_numpy(np.roll(unit(run(graph, x)), 1, axis=0))
    losses: list[float] = []
    for _ in range(40):
        loss = (net(torch.from_numpy(x)) - target).square().sum(1).mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.7 * losses[0]
    trained = net.trained()
    np.testing.assert_array_equal(net(torch.from_numpy(x)).detach().numpy(), run(trained, x))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("facelet_sx",), "facelet_s"),
        (("nn4_small2",), "remove it with: facelet prune"),
        (("facelet_s_int8",), "computes with integers already; quantize the float model"),
        (("facelet_xs", "--out", "x.txt"), "--out x.txt"),
        (("facelet_xs", "--images", "2"), "--images"),
        (("facelet_xs", "--images", "1000000000"), "--images"),
        (("facelet_xs", "--distil", "inf"), "--distil: must be a number of minutes, found inf"),
        (("facelet_xs", "--report", __file__), "is a file; give a folder"),
        (("facelet_xs", "--calibration", "nowhere"), "nowhere"),
    ],
)
def test_bad_input_is_one_line(cli: Callable[..., Ended], arguments: tuple[str, ...], said: str) -> None:
    ended = cli("quantize", *arguments)
    assert ended.code == 2
    assert said in ended.err
    assert "Traceback" not in ended.err

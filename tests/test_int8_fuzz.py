"""Invariant: a damaged int8 file ends in a clear error or in onnxruntime's own result, in every executor's reader."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from facelet.cexport.layers import read_net
from facelet.cexport.place import place
from facelet.errors import FaceletError
from facelet.fpga.engine import EngineConfig
from facelet.fpga.lower import layer_table
from facelet.graph.ir import Graph
from facelet.graph.onnx_io import read_graph, write_graph
from facelet.graph.passes import optimise
from facelet.graph.reference import run
from facelet.opencl.config import AVX2
from facelet.opencl.lower import lower
from test_graph_fuzz import mutated
from tiny_graphs import Builder
from tiny_int8 import int8_graph

SIDE = 8


@cache
def small_int8(seed: int) -> onnx.ModelProto:
    """An int8 net with every integer op in a few nodes."""
    b = Builder({"x": (1, 3, SIDE, SIDE)}, seed)
    stem = b.conv("x", 6, (3, 3), (2, 2), (1, 1, 1, 1), activation="PRelu")
    gate = b.conv(b.add("GlobalAveragePool", stem), 6, activation="Sigmoid")
    thin = b.conv(b.add("Mul", stem, gate), 6, (3, 3), (1, 1), (1, 1, 1, 1), 6, activation="Clip", min=-1.0, max=2.0)
    halves = [b.add("Slice", thin, starts=(0, c, 0, 0), steps=(1, 1, 1, 1), sizes=(1, 3, 4, 4)) for c in (0, 3)]
    joined = b.add("Concat", b.add("Max", *halves), b.add("HardSwish", thin), axis=1)
    pooled = b.add("MaxPool", b.conv(joined, 4, residual=""), kernel=(2, 2), strides=(2, 2), pads=(0, 0, 0, 0))
    up = b.add("Resize", pooled, scale_h=2, scale_w=2)
    total = b.add("Add", up, b.conv(stem, 4, (3, 3), (1, 1), (2, 2, 2, 2), 2, (2, 2), activation="Relu"))
    flat = b.add("Reshape", total, shape=(1, 64))
    row = b.add("Gemm", flat, b.constant(5, 64), b.constant(5))
    graph = b.graph([b.add("LpNormalization", row, axis=1, epsilon=1e-12), b.add("Reshape", stem, shape=(1, 96))])
    return write_graph(int8_graph(graph, seed))


def mistaken(model: onnx.ModelProto, rng: np.random.Generator) -> bytes:
    """The file with one to three changes that only an int8 file can have: scales, zero points, integers, tables."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    tensors = model.graph.initializer
    for _ in range(rng.integers(1, 3)):
        tensor = tensors[rng.integers(len(tensors))]
        values = numpy_helper.to_array(tensor).copy()
        kind = rng.choice([0, 1, 2, 2, 2, 2, 3, 4, 5])  # most often one number, which leaves a file that runs
        if kind == 0 and tensor.name.endswith((".scale", ".scale_")):
            values = values * np.float32(rng.choice([0.5, 2, 4, 2**-20, 2.0**30, 0.3, 0, -1, np.nan, np.inf]))
        elif kind == 1:
            values = values + values.dtype.type(1)
        elif kind == 2 and values.size:
            flat = values.reshape(-1)
            if values.dtype.kind == "f":
                flat[rng.integers(values.size)] = rng.choice([0, 1e9, -1e9, np.nan, np.inf, 0.123])
            else:
                limits = np.iinfo(values.dtype)
                flat[rng.integers(values.size)] = rng.choice([limits.min, limits.max, 0, 1])
        elif kind == 3:
            values = values.astype(rng.choice(["int8", "uint8", "int32", "float32", "int64", "float16"]))
        elif kind == 4 and values.ndim:
            values = values[: rng.integers(len(values) + 1)]
        else:
            other = tensors[rng.integers(len(tensors))]
            values = numpy_helper.to_array(other)
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values).reshape(values.shape), tensor.name))
    return bytes(model.SerializeToString())


READERS: tuple[Callable[[Graph], object], ...] = (
    lambda graph: lower(graph, AVX2),
    lambda graph: place(read_net(graph)),
    lambda graph: layer_table(graph, EngineConfig(16, 16)),
    write_graph,
)


def by_onnxruntime(data: bytes, x: Any) -> list[Any] | None:
    """All outputs; None where onnxruntime refuses the file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.x64quantprecision", "1")
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        return list(session.run(None, {i.name: x for i in session.get_inputs()}))
    except Exception:  # its own exceptions have no public parent
        return None


def check(data: bytes) -> str:
    """Reads and runs a damaged file in every way; returns how it ended."""
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError:
        return "not protobuf"
    try:
        graph = read_graph(model, batch=1)
        x = np.random.default_rng(1).uniform(-1, 1, graph.shapes[graph.inputs[0]]).astype(np.float32)
        best = optimise(graph)
        found = [run(made, dict.fromkeys(graph.inputs, x)) for made in (graph, best)]
    except FaceletError as error:
        return refused(error)
    for reader in READERS:
        said = refusal_of(reader, best)
        if said not in ("", "refused"):
            return said
    wanted = by_onnxruntime(data, x)
    if wanted is None:
        return "ran alone"
    for outputs in found:
        for name, right in zip(graph.outputs, wanted, strict=True):
            if not np.isfinite(right).all() or not np.isfinite(outputs[name]).all():
                return "not numbers"
            np.testing.assert_allclose(outputs[name], right, rtol=1e-3, atol=1e-4)
    return "agreed"


def refusal_of(reader: Callable[[Graph], object], graph: Graph) -> str:
    try:
        reader(graph)
    except FaceletError as error:
        return refused(error)
    return ""


def refused(error: FaceletError) -> str:
    return "refused" if str(error) and "\n" not in str(error) else f"refused badly: {error!r}"


@pytest.mark.parametrize("count", [100, pytest.param(2_000, marks=pytest.mark.slow)])
def test_damaged_int8_files_end_in_a_clear_error_or_the_right_result(count: int) -> None:
    ends: Counter[str] = Counter()
    for seed in range(count):
        rng = np.random.default_rng(seed)
        data = (mutated if seed % 2 else mistaken)(small_int8(seed % 5), rng)
        try:
            end = check(data)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {type(error).__name__} {error}") from error
        ends[end] += 1
    print(dict(ends))  # noqa: T201  shown by -s: the split that the documents quote
    assert set(ends) <= {"not protobuf", "refused", "ran alone", "agreed", "not numbers"}
    assert ends["refused"] > count / 10
    assert ends["agreed"] > count / 20
    assert ends["not numbers"] < count / 20

"""Graph -> Program: `LOWERINGS` has one function per op, which writes its launches into a `Build`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from facelet.errors import GraphError
from facelet.graph.int8 import tensor_fractions
from facelet.graph.ir import Graph, Node
from facelet.opencl import convolutions, int8, int8_maps, layout, maps, reductions, resizing
from facelet.opencl.build import Build
from facelet.opencl.config import Config
from facelet.opencl.layout import View
from facelet.opencl.program import Program

LOWERINGS: dict[str, Callable[[Build, Node], None]] = {
    "Conv": convolutions.conv,
    "FusedConv": convolutions.conv,
    "BatchNormalization": maps.batch_normalization,
    **dict.fromkeys(maps.UNARY, maps.unary),
    **dict.fromkeys(maps.BINARY, maps.binary),
    "Concat": maps.concat,
    **dict.fromkeys(("MaxPool", "AveragePool", "LpPool", "GlobalAveragePool"), convolutions.pool),
    "LRN": convolutions.lrn,
    "Gemm": convolutions.gemm,
    "Reshape": maps.reshape,
    "Transpose": maps.transpose,
    "Pad": convolutions.pad,
    "Slice": maps.slice_,
    "Resize": resizing.resize,
    "Resample": resizing.resample,
    **dict.fromkeys(reductions.REDUCED, reductions.reduce),
    "LpNormalization": reductions.lp_normalization,
    "Softmax": reductions.softmax,
    "QuantizeLinear": int8.quantize,
    "DequantizeLinear": int8.dequantize,
    "Int8Conv": int8.conv,
    "Int8Table": int8_maps.table,
    "Int8Mul": int8_maps.pair,
    **dict.fromkeys(("Table", "Channels"), int8_maps.needs_integers),
}

IMAGE_OPS = {
    *("Conv", "FusedConv", "MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "LRN", "Resize", "Resample"),
    "Int8Conv",
    "Int8Table",
    "Int8Mul",
    "Channels",
}
"""Ops whose output is always a blocked image, wherever that lies."""


def lower(graph: Graph, config: Config | None = None, *, outputs: Sequence[str] | None = None) -> Program:
    """Makes the program of a graph at its batch size.

    Args:
        config: what it is made for; AVX-512 without it.
        outputs: tensors to return instead of the graph's outputs, for checks.

    Raises:
        GraphError: an op that has no lowering, or a form of one that no kernel covers.
    """
    build = Build(graph, config or Config())
    wanted = tuple(outputs or graph.outputs)
    _place_inputs(build)
    _find_slices(build, wanted)
    integers = tensor_fractions(graph)
    for node in graph.nodes:
        if node.op not in LOWERINGS:
            raise GraphError(f"{node}: op {node.op} is not supported; supported are {', '.join(sorted(LOWERINGS))}")
        build.node = str(node)
        moved = int8_maps.MOVED.get(node.op) if node.inputs[0] in integers else None
        (moved or LOWERINGS[node.op])(build, node)
    for name in wanted:
        _make_output(build, name, wanted)
    return build.finish(graph.inputs, wanted)


def _place_inputs(build: Build) -> None:
    """Inputs that a first convolution reads get the border that it needs; the host leaves it zero."""
    for name in build.graph.inputs:
        shape = build.graph.shapes[name]
        pads = [n["pads"] for n in build.graph.readers(name) if convolutions.reads_planes(build, n)]
        border = tuple(max(sides) for sides in zip(*pads, strict=True)) if pads else (0, 0, 0, 0)
        view = layout.planes(0, shape, border) if len(shape) == 4 else layout.plain(0, shape)
        size = shape[0] * view.strides[0] if len(shape) == 4 else layout.floats(view)
        build.views[name] = View(build.buffer(size), view.offset, shape, view.strides)


def _find_slices(build: Build, wanted: Sequence[str]) -> None:
    """Finds tensors that can be written straight into the concatenation that reads them."""
    graph = build.graph
    for node in graph.nodes:
        if node.op != "Concat" or not maps.in_whole_blocks(build, node) or node.output in build.slices:
            continue
        start = 0
        for name in node.inputs:
            maker = graph.producer(name)
            once = node.inputs.count(name) == 1 and name not in build.slices and name not in wanted
            if maker is not None and maker.op in IMAGE_OPS and once:
                build.slices[name] = (node.output, start)
            start += graph.shapes[name][1]


def _make_output(build: Build, name: str, wanted: Sequence[str]) -> None:
    """Sees to it that an output fills a buffer of its own, in plain layout."""
    view = build.views[name]
    buffer = build.buffers[view.buffer]
    inputs = {build.views[other].buffer for other in build.graph.inputs}
    taken = {build.views[other].buffer for other in wanted if other != name}
    alone = view.buffer not in inputs | taken and view.offset == 0 and buffer.size == layout.floats(view)
    if not (view.contiguous and alone):
        build.node = f"output '{name}'"
        view = maps.to_plain(build, view)
    build.ends[name] = view

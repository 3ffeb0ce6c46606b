"""int8 graph -> layer table: `layer_table` places the maps, packs the weights and makes the rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from facelet.errors import GraphError
from facelet.fpga.cost import (
    DENSE,
    DEPTHWISE,
    POOL,
    LayerShape,
    iterations_per_output,
    lane_groups,
    weights_stay,
    window_columns,
    window_vectors,
)
from facelet.fpga.engine import EngineConfig
from facelet.fpga.pack import IDENTITY, pack_dense, pack_depthwise, pack_params
from facelet.fpga.placement import COPY, Placement, is_depthwise, place, with_copies
from facelet.fpga.schedule import OTHERWISE
from facelet.fpga.table import FIELDS, KINDS, Layer, LayerTable
from facelet.graph.int8 import is_int8
from facelet.graph.ir import Graph, Node


def layer_table(graph: Graph, config: EngineConfig) -> LayerTable:
    """The table of an optimised int8 graph.

    Args:
        graph: of one image.
        config: of the engine; window buffers of size 0 are made as large as the net needs.

    Raises:
        GraphError: the graph is no int8 net of one input, or has a layer that the engine does not run.
    """
    nodes, source, output = _integer_part(graph)
    nodes = with_copies(nodes, graph)
    placement = place(graph, nodes, output, config.vec_size)
    made = _Maker(graph, placement, config)
    for node in nodes:
        made.add(node)
    sized = made.sized()
    last = next(node for node in graph.nodes if node.op == "DequantizeLinear")
    return LayerTable(
        name=graph.name,
        config=sized,
        layers=made.layers(sized),
        placement=placement,
        input=source.output,
        output=output,
        input_fraction=source["fraction"],
        output_fraction=last["fraction"],
        dense_weights=_joined(made.dense, (0, config.lane_num, config.vec_size)),
        narrow_weights=_joined(made.narrow, (0, config.dw_lanes)),
        params=np.concatenate(made.params) if made.params else np.zeros(0, np.int32),
    )


def _joined(parts: Sequence[NDArray[np.int8]], empty: tuple[int, ...]) -> NDArray[np.int8]:
    return np.concatenate(parts) if parts else np.zeros(empty, np.int8)


def _integer_part(graph: Graph) -> tuple[tuple[Node, ...], Node, str]:
    """The nodes that compute with integers, the one that quantizes the image, and the name of the last integers."""
    if not is_int8(graph):
        raise GraphError(f"{graph.name}: is no int8 network; make one with: facelet quantize")
    if len(graph.inputs) != 1 or graph.batch != 1:
        raise GraphError(f"{graph.name}: the engine takes one image; found {len(graph.inputs)} inputs of {graph.batch}")
    first = [node for node in graph.nodes if node.op == "QuantizeLinear"]
    last = [node for node in graph.nodes if node.op == "DequantizeLinear"]
    if len(first) != 1 or first[0].inputs != graph.inputs:
        raise GraphError(f"{graph.name}: part of it computes with floats; the engine takes integers from end to end")
    if len(last) != 1:
        raise GraphError(f"{graph.name}: has {len(last)} outputs of integers; the engine gives one; {OTHERWISE}")
    known = {first[0].output}
    nodes = []
    for node in graph.nodes:
        if node is first[0] or node.inputs[0] in known:
            if node is last[0]:
                continue
            known.add(node.output)
            nodes.append(node)
    return tuple(nodes), first[0], last[0].inputs[0]


class _Maker:
    """Rows, weights and params so far."""

    def __init__(self, graph: Graph, placement: Placement, config: EngineConfig) -> None:
        self.graph, self.places, self.config = graph, placement.places, config
        self.dense: list[NDArray[np.int8]] = []
        self.narrow: list[NDArray[np.int8]] = []
        self.params: list[NDArray[np.int32]] = []
        self.made: list[Layer] = []

    def add(self, node: Node) -> None:
        """Makes a layer of a node, where it is one."""
        if node.op in ("QuantizeLinear", "Concat", "Reshape"):
            return
        if node.op == "Int8Conv":
            self._convolution(node)
        elif node.op == "MaxPool":
            row = {**_window(node["kernel"], node["strides"], node["pads"]), "low": 0, "high": 0}
            self._put(node, self._shape(node, POOL, node["kernel"], node["strides"][1]), row)
        elif node.op == COPY or (node.op == "Pad" and len(node["pads"]) == 8 and not node["value"]):
            self._copy(node)
        else:
            raise GraphError(f"{self.graph.name}: {node} is not a layer of the engine; {OTHERWISE}")

    def _convolution(self, node: Node) -> None:
        graph, config = self.graph, self.config
        weight, bias, fractions = (graph.constants[name] for name in node.inputs[1:4])
        if max(node["dilations"]) > 1:
            raise GraphError(f"{graph.name}: {node} is dilated; the engine's windows are not; {OTHERWISE}")
        slopes = tuple(graph.constants[name] for name in node.inputs[4:6]) if node["slopes"] else None
        into, out = self.places[node.inputs[0]], self.places[node.output]
        row = {
            **_window(weight.shape[2:], node["strides"], node["pads"]),
            "low": node["low"],
            "high": node["high"],
            "residual": int(node["residual"]),
            "residual_offset": self.places[node.inputs[-1]].offset if node["residual"] else 0,
        }
        kind = DEPTHWISE if is_depthwise(graph, node) else DENSE
        shape = self._shape(node, kind, weight.shape[2:], node["strides"][1])
        shape = replace(shape, residual=bool(node["residual"]))
        lanes = config.lane_num if kind == DENSE else config.dw_lanes
        places = lane_groups(shape, config) * lanes
        row |= {"weights": self._weights_so_far(kind), "params": sum(map(len, self.params))}
        if kind == DENSE:
            deep = into.blocks * config.vec_size
            self.dense.append(
                pack_dense(weight, node["groups"], into.layout, out.layout, (deep, places), config).reshape(
                    -1, config.lane_num, config.vec_size
                )
            )
        else:
            self.narrow.append(pack_depthwise(weight, out.layout, places, lanes))
        self.params.append(pack_params(node, bias, fractions, slopes, out.layout, places, lanes))
        self._put(node, shape, row)

    def _copy(self, node: Node) -> None:
        """A border of zeros, or a map moved: a depthwise convolution of one tap with weights of 1."""
        pads, lanes = node.attributes.get("pads", (0,) * 8), self.config.dw_lanes
        if any(pads[axis] for axis in (0, 1, 4, 5)):
            raise GraphError(f"{self.graph.name}: {node} adds channels; the engine adds rows and columns")
        shape = self._shape(node, DEPTHWISE, (1, 1), 1)
        layout = self.places[node.output].layout
        channels = len(layout)
        places = lane_groups(shape, self.config) * lanes
        row = {
            **_window((1, 1), (1, 1), (pads[2], pads[3])),
            "low": -128,
            "high": 127,
            "weights": self._weights_so_far(DEPTHWISE),
            "params": sum(map(len, self.params)),
        }
        self.narrow.append(pack_depthwise(np.ones((channels, 1, 1, 1), np.float32), layout, places, lanes))
        identity = np.zeros(channels, np.float32)
        self.params.append(pack_params(IDENTITY, identity, identity, None, layout, places, lanes))
        self._put(node, shape, row)

    def _weights_so_far(self, kind: str) -> int:
        return sum(map(len, self.dense if kind == DENSE else self.narrow))

    def _shape(self, node: Node, kind: str, kernel: Sequence[int], stride_w: int) -> LayerShape:
        """The layer as it lies in memory: places of channels instead of channels, all groups in one."""
        into, out = self.places[node.inputs[0]], self.places[node.output]
        return LayerShape(
            name=node.output,
            kind=kind,
            in_channels=int(into.layout.max()) + 1,
            out_channels=int(out.layout.max()) + 1,
            out_h=out.height,
            out_w=out.width,
            kernel_h=kernel[0],
            kernel_w=kernel[1],
            stride_w=stride_w,
        )

    def _put(self, node: Node, shape: LayerShape, row: Mapping[str, int]) -> None:
        into, out = self.places[node.inputs[0]], self.places[node.output]
        places = {
            "kind": KINDS.index(shape.kind),
            "in_offset": into.offset,
            "in_h": into.height,
            "in_w": into.width,
            "out_offset": out.offset,
            "out_blocks": out.blocks,
            "out_h": out.height,
            "out_w": out.width,
            "deep": iterations_per_output(shape, self.config) // shape.taps,
            "groups": lane_groups(shape, self.config),
            "stay": int(weights_stay(shape, self.config)),
        }
        tensor = node.inputs[0] if node.op == COPY else node.output
        self.made.append(Layer(shape, {**dict.fromkeys(FIELDS, 0), **places, **row}, tensor))

    def sized(self) -> EngineConfig:
        """The configuration with window buffers that hold a window of each layer, in a power of two of vectors."""
        shapes = [layer.shape for layer in self.made]
        dense = _depth([s for s in shapes if s.kind == DENSE], self.config)
        narrow = _depth([s for s in shapes if s.kind != DENSE], self.config)
        widest = max(self.config.lane_num, self.config.dw_lanes)
        return replace(
            self.config,
            window_buffer=self.config.window_buffer or dense * self.config.vec_size,
            dw_window_buffer=self.config.dw_window_buffer or narrow * widest,
        )

    def layers(self, config: EngineConfig) -> tuple[Layer, ...]:
        """The rows with as many columns to a window as fit the buffers."""
        return tuple(
            replace(layer, row={**layer.row, "columns": self._columns(layer.shape, config)}) for layer in self.made
        )

    def _columns(self, shape: LayerShape, config: EngineConfig) -> int:
        dense = shape.kind == DENSE
        room = config.window_buffer if dense else config.dw_window_buffer
        width = config.vec_size if dense else max(config.lane_num, config.dw_lanes)
        for columns in range(window_columns(shape, config), 0, -1):
            if window_vectors(shape, config, columns) * width <= room:
                return columns
        needed = window_vectors(shape, config, 1) * width
        raise GraphError(
            f"{self.graph.name}: {shape.name}: its window takes {needed} bytes, the engine holds {room}; "
            "build the engine with a larger window buffer"
        )


def _window(kernel: Sequence[int], strides: Sequence[int], pads: Sequence[int]) -> dict[str, int]:
    return {
        "kernel_h": kernel[0],
        "kernel_w": kernel[1],
        "stride_h": strides[0],
        "stride_w": strides[1],
        "pad_top": pads[0],
        "pad_left": pads[1],
    }


def _depth(shapes: Sequence[LayerShape], config: EngineConfig) -> int:
    """Vectors of the largest window, the next power of two."""
    most = max((window_vectors(shape, config, window_columns(shape, config)) for shape in shapes), default=1)
    return int(2 ** math.ceil(math.log2(most)))

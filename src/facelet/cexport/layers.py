"""Graph -> Net: the layers that the C code knows, on one image, and the tensors between them.

Concatenations leave no layer behind: what they join is written where it belongs, in pixels as wide as the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from facelet.errors import GraphError
from facelet.graph.int8 import check_int8, is_int8, residual_shifts, shifts
from facelet.graph.ir import Graph, Node, Shape

TAIL = ("DequantizeLinear", "Reshape", "LpNormalization")
"""Ops behind the last integers; the C code takes their place with integers over their length."""

WIDEST_SHIFT = 30
"""From 26 bits on every sum below 2^24 is rounded to zero, and 2^30 is still an int32."""

LARGEST_SIDE = 255
"""Of a kernel, a stride or a border: the C code keeps them in bytes."""

LARGEST_TENSOR_SIDE = 2**16 - 1
"""Height, width or channels: the C code keeps them in two bytes."""

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Tensor:
    """An int8 image, rows of pixels of channels.

    Attributes:
        root: name of the tensor in whose memory it lies; its own where it is no part of a concatenation.
        start: its first channel there.
    """

    name: str
    height: int
    width: int
    channels: int
    root: str
    start: int = 0

    @property
    def size(self) -> int:
        """Bytes, alone."""
        return self.height * self.width * self.channels


@dataclass(frozen=True)
class Layer:
    """What makes each row of one tensor.

    Attributes:
        kind: as `facelet_kind` of the C code, without its prefix.
        x: name of the tensor that it reads; empty for the image.
        out: name of the tensor that it writes.
        residual: name of the tensor that is added; empty for none.
        kernel: height and width of its window.
        strides: down and across.
        corner: rows above and columns to the left that its first window reaches over the border; of a COPY, those that
            it puts there.
        low: smallest integer that it writes.
        high: largest integer that it writes.
        weights: `(m, kh, kw, c)`, of a DEPTHWISE `(kh, kw, c)`.
        vectors: by the C code's name, one number per output channel: bias, shift, slope, slope_shift, residual_shift.
    """

    kind: str
    x: str
    out: str
    residual: str = ""
    kernel: Shape = (1, 1)
    strides: Shape = (1, 1)
    corner: Shape = (0, 0)
    low: int = 0
    high: int = 0
    weights: Integers | None = None
    vectors: Mapping[str, Integers] = field(default_factory=dict)

    def reads(self, row: int) -> range:
        """Rows of its input that a row of its output is made of; some may lie outside."""
        first = row * self.strides[0] - self.corner[0]
        return range(first, first + self.kernel[0])

    def __str__(self) -> str:
        return f"{self.kind} '{self.out}'"


@dataclass(frozen=True)
class Net:
    """Layers in an order in which they can run.

    Attributes:
        output: name of the tensor of the last integers, of one pixel.
    """

    tensors: Mapping[str, Tensor]
    layers: tuple[Layer, ...]
    output: str

    def readers(self, name: str) -> list[Layer]:
        """The layers that read a tensor, those that read a concatenation of it included."""
        root = self.tensors[name].root
        return [layer for layer in self.layers if any(self.root(x) == root for x in (layer.x, layer.residual) if x)]

    def root(self, name: str) -> str:
        """The tensor in whose memory another lies."""
        return self.tensors[name].root


def read_net(graph: Graph) -> Net:
    """Reads an optimised int8 graph of one image.

    Raises:
        GraphError: it is not int8, holds something that the C code has no form of, or may overflow.
    """
    if not is_int8(graph):
        raise GraphError(f"{graph.name}: computes with floats; make integers of it first with: facelet quantize")
    check_int8(graph)
    work = _Work(graph)
    last = work.behind_tail()
    for node in graph.nodes:
        if node.output in work.tail:
            continue
        if node.op not in FORMS:
            raise GraphError(f"{graph.name}: {node}: the C code has no form of {node.op} among the integers")
        FORMS[node.op](work, node)
    return Net(work.tensors, tuple(work.layers), last)


class _Work:
    """The layers so far."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.layers: list[Layer] = []
        self.tail: set[str] = set()
        self.parts = _parts(graph)
        self.tensors: dict[str, Tensor] = {}

    def refuse(self, node: Node, what: str) -> GraphError:
        """What is raised for a form of an op that there is no C for."""
        return GraphError(f"{self.graph.name}: {node}: the C code has no form of {what}")

    def behind_tail(self) -> str:
        """The name of the last integers; notes what comes after them.

        Raises:
            GraphError: they are not one pixel, or there are several outputs.
        """
        graph = self.graph
        if len(graph.inputs) != 1 or len(graph.outputs) != 1 or graph.batch != 1:
            raise GraphError(f"{graph.name}: the C code needs one input of one image and one output")
        name = graph.outputs[0]
        while (node := graph.producer(name)) is not None and node.op in TAIL:
            if node.op == "LpNormalization" and node["axis"] not in (1, -1):
                raise self.refuse(node, f"a length along axis {node['axis']}")
            self.tail.add(name)
            name = node.inputs[0]
        if len(graph.shapes[name]) != 4 or graph.shapes[name][2:] != (1, 1):
            raise GraphError(f"{graph.name}: its last integers '{name}' are {graph.shapes[name]}; expected one pixel")
        return name

    def tensor(self, name: str) -> str:
        """Notes a tensor; returns its name."""
        shape = self.graph.shapes[name]
        if len(shape) != 4 or max(shape) > LARGEST_TENSOR_SIDE:
            raise GraphError(f"{self.graph.name}: '{name}' has the shape {shape}; the C code has no form of it")
        root, start = name, 0
        while root in self.parts:
            root, first = self.parts[root]
            start += first
        self.tensors[name] = Tensor(name, shape[2], shape[3], shape[1], root, start)
        return name

    def add(self, node: Node, layer: Layer) -> None:
        """Adds a layer.

        Raises:
            GraphError: its window is too large.
        """
        if not all(0 <= side <= LARGEST_SIDE for side in (*layer.kernel, *layer.strides, *layer.corner)):
            raise self.refuse(node, f"windows or borders outside 0..{LARGEST_SIDE}")
        self.tensor(layer.out)
        self.layers.append(layer)


def _parts(graph: Graph) -> dict[str, tuple[str, int]]:
    """Where tensors lie in the concatenation that joins them: its output and their first channel there."""
    found: dict[str, tuple[str, int]] = {}
    for node in graph.nodes:
        start = 0
        for name in node.inputs if node.op == "Concat" else ():
            if name not in found and graph.producer(name) is not None and name not in graph.outputs:
                found[name] = (node.output, start)
            start += graph.shapes[name][1]
    return found


def _input(work: _Work, node: Node) -> None:
    if node.inputs[0] not in work.graph.inputs or len(work.graph.shapes[node.output]) != 4:
        raise work.refuse(node, "floats that become integers behind the input")
    work.add(node, Layer("INPUT", "", node.output))


def _conv(work: _Work, node: Node) -> None:
    known = work.graph.constants
    weight, bias = (known[name].astype(np.int64) for name in node.inputs[1:3])
    channels = work.graph.shapes[node.inputs[0]][1]
    if tuple(node["dilations"]) != (1, 1):
        raise work.refuse(node, "dilations")
    if node["groups"] == 1:
        pointwise = weight.shape[2:] == (1, 1) and not any(node["pads"])
        kind, weights = "POINTWISE" if pointwise else "DENSE", weight.transpose(0, 2, 3, 1)
    elif node["groups"] == channels == len(weight):
        kind, weights = "DEPTHWISE", weight[:, 0].transpose(1, 2, 0)
    else:
        groups = f"{node['groups']} groups of {channels} to {len(weight)} channels"
        raise work.refuse(node, f"{groups}; only 1, or as many as it takes and gives")
    shift = shifts(node, known[node.inputs[3]])
    vectors = {"bias": bias, "shift": np.minimum(shift, WIDEST_SHIFT)}
    if node["slopes"]:
        slopes, own = (known[name].astype(np.int64) for name in node.inputs[4:6])
        if np.abs(slopes).max(initial=0) > np.iinfo(np.int16).max:
            raise work.refuse(node, "slopes of more than 16 bits")
        vectors |= {"slope": slopes, "slope_shift": np.minimum(shift + own, WIDEST_SHIFT)}
    if node["residual"]:
        vectors["residual_shift"] = residual_shifts(node, known[node.inputs[3]])
    work.add(
        node,
        Layer(
            kind,
            node.inputs[0],
            node.output,
            node.inputs[-1] if node["residual"] else "",
            (weight.shape[2], weight.shape[3]),
            tuple(node["strides"]),
            tuple(node["pads"][:2]),
            node["low"],
            node["high"],
            np.ascontiguousarray(weights),
            vectors,
        ),
    )


def _max_pool(work: _Work, node: Node) -> None:
    corner = tuple(node["pads"][:2])
    kernel, strides = tuple(node["kernel"]), tuple(node["strides"])
    work.add(node, Layer("MAXPOOL", node.inputs[0], node.output, "", kernel, strides, corner))


def _pad(work: _Work, node: Node) -> None:
    pads = node["pads"]
    if len(pads) != 8 or any(pads[axis] for axis in (0, 1, 4, 5)) or min(pads) < 0 or node["value"]:
        raise work.refuse(node, "a border that is not of zeros around height and width")
    work.add(node, Layer("COPY", node.inputs[0], node.output, corner=(pads[2], pads[3])))


def _concat(work: _Work, node: Node) -> None:
    if node["axis"] not in (1, -3):
        raise work.refuse(node, f"joining along axis {node['axis']}")
    whole, start = work.tensor(node.output), 0
    for position, name in enumerate(node.inputs):
        if work.parts.get(name) != (whole, start):
            part = f"{whole}.{position}"
            root = work.tensors[whole]
            shape = work.graph.shapes[name]
            work.tensors[part] = Tensor(part, shape[2], shape[3], shape[1], root.root, root.start + start)
            work.layers.append(Layer("COPY", name, part))
        start += work.graph.shapes[name][1]


FORMS: dict[str, Callable[[_Work, Node], None]] = {
    "QuantizeLinear": _input,
    "Int8Conv": _conv,
    "MaxPool": _max_pool,
    "Pad": _pad,
    "Concat": _concat,
}

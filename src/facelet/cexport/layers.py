"""Graph -> Net: the layers that the C code knows, on one image, and the tensors between them.

Concatenations leave no layer behind: what they join is written where it belongs, in pixels as wide as the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from facelet.cexport.net import Layer, Net, Tensor
from facelet.errors import GraphError
from facelet.graph.int8 import check_int8, is_int8, residual_shifts, shifts, tensor_fractions
from facelet.graph.int8_maps import mul_shift
from facelet.graph.ir import Graph, Node

TAIL = ("DequantizeLinear", "Reshape", "LpNormalization")
"""Ops behind an embedder's integers; the C code takes their place with integers over their length."""

WIDEST_SHIFT = 30
"""From 26 bits on every sum below 2^24 is rounded to zero, and 2^30 is still an int32."""

LARGEST_SIDE = 255
"""Of a kernel, a stride or a border: the C code keeps them in bytes."""

LARGEST_TENSOR_SIDE = 2**16 - 1
"""Height, width or channels: the C code keeps them in two bytes."""


def read_net(graph: Graph) -> Net:
    """Reads an optimised int8 graph of one image.

    Raises:
        GraphError: it is not int8, holds something that the C code has no form of, or may overflow.
    """
    if not is_int8(graph):
        raise GraphError(f"{graph.name}: computes with floats; make integers of it first with: facelet quantize")
    check_int8(graph)
    if len(graph.inputs) != 1 or graph.batch != 1:
        raise GraphError(f"{graph.name}: the C code needs one input of one image")
    work, fractions = _Work(graph), tensor_fractions(graph)
    for node in graph.nodes:
        if node.output not in fractions:
            continue
        if node.op not in FORMS:
            raise GraphError(f"{graph.name}: {node}: the C code has no form of {node.op} among the integers")
        FORMS[node.op](work, node)
    tail = [node for node in graph.nodes if node.output not in fractions]
    last = tuple(dict.fromkeys(node.inputs[0] for node in tail if node.op == "DequantizeLinear"))
    if not last:
        raise GraphError(f"{graph.name}: its outputs are integers; the C code starts from a file of: facelet quantize")
    named = tuple(dict.fromkeys(node.op for node in tail if node.op != "DequantizeLinear"))
    fractions_of = tuple(fractions[name] for name in last)
    return Net(work.tensors, tuple(work.layers), last, fractions_of, _embeds(graph, last, tail), named)


def _embeds(graph: Graph, last: Sequence[str], tail: Sequence[Node]) -> bool:
    """Whether the network gives one vector whose direction alone counts: what follows its integers keeps it."""
    lengths = [node["axis"] in (1, -1) for node in tail if node.op == "LpNormalization"]
    plain = all(node.op in TAIL for node in tail) and all(lengths)
    return len(graph.outputs) == len(last) == 1 and plain and graph.shapes[last[0]][2:] == (1, 1)


class _Work:
    """The layers so far."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.layers: list[Layer] = []
        self.parts = _parts(graph)
        self.tensors: dict[str, Tensor] = {}

    def refuse(self, node: Node, what: str) -> GraphError:
        """What is raised for a form of an op that there is no C for."""
        return GraphError(f"{self.graph.name}: {node}: the C code has no form of {what}")

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
        sides = (*layer.kernel, *layer.strides, *layer.corner, *layer.dilations, *layer.repeat)
        if not all(0 <= side <= LARGEST_SIDE for side in sides):
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
    if node["groups"] == channels == len(weight) and channels > 1:
        kind, weights = "DEPTHWISE", weight[:, 0].transpose(1, 2, 0)
    else:
        pointwise = weight.shape[2:] == (1, 1) and not any(node["pads"])
        kind, weights = "POINTWISE" if pointwise else "DENSE", weight.transpose(0, 2, 3, 1)
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
            tuple(node["dilations"]),
            groups=node["groups"],
            corner=tuple(node["pads"][:2]),
            low=node["low"],
            high=node["high"],
            weights=np.ascontiguousarray(weights),
            vectors=vectors,
        ),
    )


def _max_pool(work: _Work, node: Node) -> None:
    corner = tuple(node["pads"][:2])
    kernel, strides = tuple(node["kernel"]), tuple(node["strides"])
    work.add(node, Layer("MAXPOOL", node.inputs[0], node.output, "", kernel, strides, corner=corner))


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


def _table(work: _Work, node: Node) -> None:
    entries = work.graph.constants[node.inputs[1]].astype(np.int64)
    work.add(node, Layer("TABLE", node.inputs[0], node.output, weights=entries))


def _pair(work: _Work, node: Node) -> None:
    kind, vectors = {"Int8Mul": "MULTIPLY", "Max": "LARGER", "Min": "SMALLER"}[node.op], {}
    if kind == "MULTIPLY":
        shift = mul_shift(node)
        vectors = {"shift": np.array([max(0, shift)]), "residual_shift": np.array([max(0, -shift)])}
    work.add(node, Layer(kind, node.inputs[0], node.output, node.inputs[1], vectors=vectors))


def _repeat(work: _Work, node: Node) -> None:
    repeat = (node["scale_h"], node["scale_w"])
    work.add(node, Layer("REPEAT", node.inputs[0], node.output, repeat=repeat))


def _channels(work: _Work, node: Node) -> None:
    vectors = {"order": np.asarray(node["order"], np.int64)}
    work.add(node, Layer("CHANNELS", node.inputs[0], node.output, vectors=vectors))


FORMS: dict[str, Callable[[_Work, Node], None]] = {
    "QuantizeLinear": _input,
    "Int8Conv": _conv,
    "MaxPool": _max_pool,
    "Pad": _pad,
    "Concat": _concat,
    "Int8Table": _table,
    **dict.fromkeys(("Int8Mul", "Max", "Min"), _pair),
    "Resize": _repeat,
    "Channels": _channels,
}

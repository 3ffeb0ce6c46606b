"""A network in the few forms that int8 knows: convolutions, max pools, concatenations, borders, and a float tail.

dense layer of a flattened image               becomes a convolution with a kernel as large as the image
average pool, global or with its border        becomes a depthwise convolution with equal weights
activation, batch norm, product or sum alone   becomes a depthwise 1x1 convolution that takes it along

so that an accelerator needs a convolution array, a depthwise array and a max pool, and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from facelet.errors import GraphError
from facelet.graph.int8 import is_int8
from facelet.graph.ir import Array, Graph, Node
from facelet.graph.passes import optimise

KEPT = ("MaxPool", "Concat", "Pad")
TAIL = ("Reshape", "LpNormalization")
"""Ops that may follow the last integers, in float."""

SAME_WINDOW: dict[str, Any] = {"strides": (1, 1), "dilations": (1, 1), "pads": (0, 0, 0, 0)}


def prepare(graph: Graph) -> Graph:
    """The same network in the forms that int8 knows, its output unchanged.

    Raises:
        GraphError: a node has no such form; the message says which and what helps.
    """
    graph = optimise(graph)
    bad = next((name for name, array in graph.constants.items() if not np.isfinite(array).all()), None)
    if bad is not None:
        raise GraphError(f"{graph.name}: its constant '{bad}' holds what is no number; train or export it again")
    if is_int8(graph):
        raise GraphError(f"{graph.name}: computes with integers already; quantize the float model")
    work = _Work(graph)
    for node in graph.nodes:
        if node.op in KEPT or node.op in TAIL:
            if any(name in graph.constants for name in node.inputs):
                raise GraphError(
                    f"{graph.name}: {node}: int8 has no form of a constant operand; leave it out and train again"
                )
            work.nodes.append(node)
        elif node.op in FORMS:
            FORMS[node.op](work, node)
        else:
            raise GraphError(f"{graph.name}: {node}: int8 has no form of {node.op}; {_advice(node)}")
    return _without_unread(graph.with_nodes(work.nodes, constants=work.constants, shapes=work.shapes))


def _advice(node: Node) -> str:
    if node.op in ("LRN", "LpPool", "Pow", "Sqrt"):
        return "remove it with: facelet prune"
    return f"known are {', '.join(sorted({*FORMS, *KEPT, *TAIL}))}"


def _without_unread(graph: Graph) -> Graph:
    """The graph without nodes whose output nobody reads."""
    while True:
        read = {name for node in graph.nodes for name in node.inputs} | set(graph.outputs)
        kept = [node for node in graph.nodes if node.output in read]
        if len(kept) == len(graph.nodes):
            return graph
        graph = graph.with_nodes(kept)


class _Work:
    """The new nodes so far."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[Node] = []
        self.constants: dict[str, Array] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}

    def constant(self, name: str, values: Any) -> str:
        """Adds a constant; returns its name."""
        self.constants[name] = np.asarray(values, np.float32)
        return name

    def depthwise(self, node: Node, x: str, weight: Array, bias: Array, window: dict[str, Any], **fused: Any) -> None:
        """Adds a depthwise convolution in the place of a node.

        Args:
            window: strides, dilations and pads.
            fused: activation, its own attributes, its slopes as `slopes`, and the name of a residual.
        """
        slopes, residual = fused.pop("slopes", None), fused.pop("residual", "")
        names = [x, self.constant(f"{node.output}.weight", weight), self.constant(f"{node.output}.bias", bias)]
        if slopes is not None:
            names.append(self.constant(f"{node.output}.slopes", slopes))
        if residual:
            names.append(residual)
        attributes = {"activation": "", **fused, **window, "groups": len(weight), "residual": bool(residual)}
        self.nodes.append(Node("FusedConv", tuple(names), node.output, attributes, node.name))


def _channels(work: _Work, node: Node) -> int:
    shape = work.graph.shapes[node.inputs[0]]
    if len(shape) != 4:
        raise GraphError(f"{work.graph.name}: {node}: int8 has a form of it for images (n, c, h, w) only")
    return shape[1]


def _conv(work: _Work, node: Node) -> None:
    attributes = {"activation": "", "residual": False, **node.attributes}
    inputs = list(node.inputs)
    if attributes["activation"] in ("Sigmoid", "HardSwish"):
        raise GraphError(f"{work.graph.name}: {node}: int8 has no form of the activation {attributes['activation']}")
    if attributes["activation"] == "LeakyRelu":
        channels = work.graph.shapes[node.output][1]
        slopes = np.full(channels, attributes.pop("alpha"), np.float32)
        inputs.insert(3, work.constant(f"{node.output}.slopes", slopes))
        attributes["activation"] = "PRelu"
    for place, what in ((1, "weight"), (2, "bias")):
        if sum(reader.inputs.count(inputs[place]) for reader in work.graph.nodes) > 1:  # each reader scales its own
            inputs[place] = work.constant(f"{node.output}.{what}", work.graph.constants[inputs[place]])
    work.nodes.append(Node("FusedConv", tuple(inputs), node.output, attributes, node.name))


def _gemm(work: _Work, node: Node) -> None:
    graph = work.graph
    weight, bias = (graph.constants[name] for name in node.inputs[1:3])
    flat = graph.producer(node.inputs[0])
    source = flat.inputs[0] if flat is not None and flat.op == "Reshape" else ""
    if len(graph.shapes.get(source, ())) != 4:
        raise GraphError(f"{graph.name}: {node}: int8 has a form of it behind a flattened image only")
    n, channels, height, width = graph.shapes[source]
    if weight.shape[1] != channels * height * width:
        raise GraphError(f"{graph.name}: {node}: int8 has a form of it where each image is one row, not several")
    image = f"{node.output}.image"
    names = (
        source,
        work.constant(f"{node.output}.weight", weight.reshape(-1, channels, height, width)),
        work.constant(f"{node.output}.bias", bias),
    )
    attributes = {"activation": "", "residual": False, "groups": 1, **SAME_WINDOW}
    work.nodes.append(Node("FusedConv", names, image, attributes, node.name))
    work.shapes[image] = (n, len(weight), 1, 1)
    work.nodes.append(Node("Reshape", (image,), node.output, {"shape": (n, len(weight))}, node.name))


def _average(work: _Work, node: Node) -> None:
    channels = _channels(work, node)
    if node.op == "GlobalAveragePool":
        kernel, window = work.graph.shapes[node.inputs[0]][2:], SAME_WINDOW
    else:
        kernel, window = node["kernel"], {"strides": node["strides"], "dilations": (1, 1), "pads": node["pads"]}
        if any(node["pads"]) and not node["count_include_pad"]:
            raise GraphError(f"{work.graph.name}: {node}: int8 has no form of a mean that leaves its border out")
    weight = np.full((channels, 1, *kernel), 1 / math.prod(kernel), np.float32)
    work.depthwise(node, node.inputs[0], weight, np.zeros(channels, np.float32), window)


def _identity(work: _Work, node: Node, x: str, **fused: Any) -> None:
    channels = _channels(work, node)
    ones, zeros = np.ones((channels, 1, 1, 1), np.float32), np.zeros(channels, np.float32)
    work.depthwise(node, x, ones, zeros, SAME_WINDOW, **fused)


def _activation(work: _Work, node: Node) -> None:
    fused: dict[str, Any] = {"activation": node.op, **node.attributes}
    if node.op == "PRelu":
        fused["slopes"] = work.graph.constants[node.inputs[1]]
    if node.op == "LeakyRelu":
        fused = {"activation": "PRelu", "slopes": np.full(_channels(work, node), node["alpha"], np.float32)}
    _identity(work, node, node.inputs[0], **fused)


def _batch_normalization(work: _Work, node: Node) -> None:
    scale, bias, mean, variance = (work.graph.constants[name] for name in node.inputs[1:])
    factor = scale / np.sqrt(variance + np.float32(node["epsilon"]))
    weight = factor.reshape(_channels(work, node), 1, 1, 1)
    work.depthwise(node, node.inputs[0], weight, bias - mean * factor, SAME_WINDOW)


def _binary(work: _Work, node: Node) -> None:
    graph = work.graph
    first, second = node.inputs
    if first in graph.constants and node.op in ("Add", "Mul"):
        first, second = second, first
    node = replace(node, inputs=(first, second))
    if second in graph.constants:
        values, channels = graph.constants[second], _channels(work, node)
        alike = graph.shapes[first] == graph.shapes[node.output]
        if alike and (values.size == 1 or values.shape in ((channels, 1, 1), (1, channels, 1, 1))):
            numbers = np.broadcast_to(values.reshape(-1), (channels,))
            ones, zeros = np.ones(channels, np.float32), np.zeros(channels, np.float32)
            pairs: dict[str, tuple[Array, Array]] = {
                "Add": (ones, numbers),
                "Sub": (ones, -numbers),
                "Mul": (numbers, zeros),
                "Div": (np.reciprocal(numbers), zeros),
            }
            weight, bias = pairs[node.op]
            work.depthwise(node, first, weight.reshape(channels, 1, 1, 1), bias, SAME_WINDOW)
            return
    elif node.op == "Add" and graph.shapes[first] == graph.shapes[second]:
        _identity(work, replace(node, inputs=(first,)), first, residual=second)
        return
    raise GraphError(f"{graph.name}: {node}: int8 has no form of it with these operands")


FORMS: dict[str, Callable[[_Work, Node], None]] = {
    "Conv": _conv,
    "FusedConv": _conv,
    "Gemm": _gemm,
    "AveragePool": _average,
    "GlobalAveragePool": _average,
    **dict.fromkeys(("Relu", "Clip", "PRelu", "LeakyRelu"), _activation),
    "BatchNormalization": _batch_normalization,
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), _binary),
}
"""How each op comes to one of the forms."""

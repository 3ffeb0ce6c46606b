"""A network in the few forms that int8 knows: convolutions, moves, tables, products, and a float tail.

dense layer                                    becomes a convolution (see `images`)
average pool, global or with its border        becomes a depthwise convolution with equal weights
batch norm, sum, affine map, activation alone  becomes a depthwise 1x1 convolution that takes it along
Sigmoid, HardSwish and other functions         become tables (see `roles`)
channel shuffle, slice of channels             becomes one move of channels
slice of rows and columns                      becomes a depthwise convolution whose kernel holds a single 1

so that an accelerator needs a convolution array, a depthwise array and a max pool, and little else.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from facelet.errors import GraphError
from facelet.graph.int8 import is_int8
from facelet.graph.ir import Array, Graph, Node, Shape
from facelet.graph.passes import optimise
from facelet.quantize.images import rows_to_images
from facelet.quantize.roles import KEPT, TABLED, images_of, is_product, late, moves, of_prepared, tables
from facelet.quantize.shuffle import join_shuffles

COMPUTES = ("Conv", "FusedConv", "Gemm")
"""Ops that are never float in an int8 network: they are what int8 is for."""

SAME_WINDOW: dict[str, Any] = {"strides": (1, 1), "dilations": (1, 1), "pads": (0, 0, 0, 0)}


def prepare(graph: Graph) -> Graph:
    """The same network in the forms that int8 knows, its output unchanged.

    Raises:
        GraphError: a convolution or dense layer follows a node without such a form; the message says which and what
            helps.
    """
    graph = optimise(graph)
    bad = next((name for name, array in graph.constants.items() if not np.isfinite(array).all()), None)
    if bad is not None:
        raise GraphError(f"{graph.name}: its constant '{bad}' holds what is no number; train or export it again")
    if is_int8(graph):
        raise GraphError(f"{graph.name}: computes with integers already; quantize the float model")
    graph = _split(unread_gone(optimise(join_shuffles(rows_to_images(graph)))))
    work, floats = _Work(graph), _Floats(graph)
    kept = tables(graph)
    ends = late(graph)
    for node in graph.nodes:
        if (reason := floats.reason(node)) is not None:
            if node.op in COMPUTES:
                raise GraphError(f"{reason} ({node} computes with what follows it)")
            work.nodes.append(node)
            floats.add(node, reason)
        elif node.output in ends:
            work.nodes.append(node)
            floats.add(node, _no_form(graph, node))
        elif node.output in kept or moves(graph, node) or is_product(graph, node):
            work.nodes.append(node)
        else:
            try:
                _form(work, node)
            except GraphError as error:
                if node.op in COMPUTES:
                    raise
                work.nodes.append(node)
                floats.add(node, error)
    made = unread_gone(graph.with_nodes(work.nodes, constants=work.constants, shapes=work.shapes))
    if "conv" not in of_prepared(made).values():
        why = next(iter(floats.found.values()), None)
        raise why or GraphError(f"{graph.name}: has no convolution or dense layer that int8 has a form of")
    return made


class _Floats:
    """The tensors that stay float so far, each with the reason of the first node that has no int8 form."""

    def __init__(self, graph: Graph) -> None:
        self.found: dict[str, GraphError] = {}
        self.graph = graph
        for name in graph.inputs:
            if len(graph.shapes[name]) != 4:
                self.found[name] = GraphError(
                    f"{graph.name}: its input '{name}' is {graph.shapes[name]}; int8 takes images (n, c, h, w)"
                )

    def reason(self, node: Node) -> GraphError | None:
        """Why an input of a node is float."""
        return next((self.found[name] for name in images_of(self.graph, node) if name in self.found), None)

    def add(self, node: Node, reason: GraphError) -> None:
        """Notes that a node's output is float."""
        self.found[node.output] = reason


def _no_form(graph: Graph, node: Node) -> GraphError:
    return GraphError(f"{graph.name}: {node}: int8 has no form of {_what(graph, node)}; {_advice(node)}")


def _what(graph: Graph, node: Node) -> str:
    """The op, and for one that moves numbers the shapes between which it does."""
    if node.op == "Pad":
        return "a border that is not of zeros"
    if node.op == "Concat":
        return f"a concatenation along axis {node['axis']}"
    if node.op not in ("Reshape", "Transpose"):
        return node.op
    return f"{node.op} from {graph.shapes[node.inputs[0]]} to {graph.shapes[node.output]}"


def _form(work: _Work, node: Node) -> None:
    """Adds the form of a node.

    Raises:
        GraphError: there is none.
    """
    if node.op not in FORMS and node.op not in KEPT:
        raise _no_form(work.graph, node)
    if node.op not in CONSTANT_OPERANDS and len(images_of(work.graph, node)) != len(node.inputs):
        raise GraphError(
            f"{work.graph.name}: {node}: int8 has no form of a constant operand; leave it out and train again"
        )
    if node.op not in FORMS:
        raise _no_form(work.graph, node)
    FORMS[node.op](work, node)


def _advice(node: Node) -> str:
    if node.op in ("LRN", "LpPool", "Pow", "Sqrt"):
        return "remove it with: facelet prune"
    known = ", ".join(sorted({*FORMS, *TABLED}))
    return f"it may follow the last convolution, or leave it out and train again; known are {known}"


def unread_gone(graph: Graph) -> Graph:
    """The graph without nodes whose output nobody reads."""
    while True:
        read = {name for node in graph.nodes for name in node.inputs} | set(graph.outputs)
        kept = [node for node in graph.nodes if node.output in read]
        if len(kept) == len(graph.nodes):
            return graph
        graph = graph.with_nodes(kept)


def _split(graph: Graph) -> Graph:
    """Convolutions without the activations that are tables, which follow as nodes of their own; factors in order."""
    nodes: list[Node] = []
    shapes: dict[str, Shape] = {}
    for node in graph.nodes:
        if node.op == "Mul" and not is_product(graph, node):  # the image first, its factors second
            turned = replace(node, inputs=node.inputs[::-1])
            node = turned if is_product(graph, turned) else node
        if node.op != "FusedConv" or node["activation"] not in TABLED:
            nodes.append(node)
            continue
        inner = f"{node.output}.linear"
        shapes[inner] = graph.shapes[node.output]
        nodes.append(replace(node, output=inner, attributes={**node.attributes, "activation": ""}))
        nodes.append(Node(node["activation"], (inner,), node.output, {}, node.name))
    return graph.with_nodes(nodes, shapes=shapes)


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
    """What `images` has left: rows that are not flattened images."""
    shape = work.graph.shapes[node.inputs[0]]
    raise GraphError(
        f"{work.graph.name}: {node}: int8 has a form of it where each image is one row, not {shape}; flatten the image "
        "into (n, c * h * w) before it"
    )


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


def _identity(work: _Work, node: Node, x: str, factor: int = 1, **fused: Any) -> None:
    channels = _channels(work, node)
    weight, zeros = np.full((channels, 1, 1, 1), factor, np.float32), np.zeros(channels, np.float32)
    work.depthwise(node, x, weight, zeros, SAME_WINDOW, **fused)


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


def _affine(work: _Work, node: Node) -> tuple[str, Array, Array] | None:
    """The image, factor and shift per channel of a map with a constant; None where the node is none."""
    graph, (first, second) = work.graph, node.inputs
    constant, image = (first, second) if first in graph.constants else (second, first)
    if constant not in graph.constants or graph.shapes[image] != graph.shapes[node.output]:
        return None
    values, channels = graph.constants[constant], _channels(work, replace(node, inputs=(image,)))
    if values.ndim > 4 or (values.size != 1 and values.shape not in ((channels, 1, 1), (1, channels, 1, 1))):
        return None
    if node.op == "Div" and constant == first:
        return None
    numbers = np.broadcast_to(values.reshape(-1), (channels,))
    ones, zeros = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    with np.errstate(divide="ignore"):
        maps: dict[str, tuple[Array, Array]] = {
            "Add": (ones, numbers),
            "Sub": (-ones, numbers) if constant == first else (ones, -numbers),
            "Mul": (numbers, zeros),
            "Div": (np.reciprocal(numbers), zeros),
        }
    return (image, *maps[node.op])


def _binary(work: _Work, node: Node) -> None:
    graph = work.graph
    first, second = node.inputs
    if (found := _affine(work, node)) is not None:
        image, factor, shift = found
        if not np.isfinite(factor).all():
            raise GraphError(f"{graph.name}: {node}: divides by zero; export it without")
        work.depthwise(node, image, factor.reshape(-1, 1, 1, 1), shift, SAME_WINDOW)
    elif node.op in ("Add", "Sub") and graph.shapes[first] == graph.shapes[second] and len(graph.shapes[first]) == 4:
        summand, image = (second, first) if node.op == "Add" else (first, second)  # a - b is -1 times b, plus a
        _identity(work, replace(node, inputs=(image,)), image, 1 if node.op == "Add" else -1, residual=summand)
    else:
        raise GraphError(
            f"{graph.name}: {node}: int8 has no form of it with these operands; it has one of two images of one shape, "
            "and of an image with a constant of one number or one per channel"
        )


def _slice(work: _Work, node: Node) -> None:
    """Channels move; of rows and columns a kernel that is 1 at one place takes those that are wanted."""
    graph, channels = work.graph, _channels(work, node)
    starts, steps, sizes = (tuple(node[name]) for name in ("starts", "steps", "sizes"))
    shape = graph.shapes[node.inputs[0]]
    if starts[0] or steps[0] != 1 or sizes[0] != shape[0] or min(steps[2:]) < 1:
        raise GraphError(f"{graph.name}: {node}: int8 has a form of it along channels, and forwards along rows")
    order = tuple(starts[1] + steps[1] * i for i in range(sizes[1]))
    spatial = any(starts[2:]) or steps[2:] != (1, 1) or sizes[2:] != shape[2:]
    name = f"{node.output}.channels" if spatial else node.output
    source = node.inputs[0]
    if order != tuple(range(channels)) or not spatial:
        work.nodes.append(Node("Channels", (source,), name, {"order": order}, node.name))
        work.shapes[name] = (shape[0], sizes[1], *shape[2:])
        source = name
    if spatial:
        kernel = [
            max(starts[axis] + 1, shape[axis] - sizes[axis] * steps[axis] + 1) if sizes[axis] > 1 else shape[axis]
            for axis in (2, 3)
        ]
        weight = np.zeros((sizes[1], 1, *kernel), np.float32)
        weight[:, :, starts[2], starts[3]] = 1
        window = {**SAME_WINDOW, "strides": steps[2:]}
        work.depthwise(node, source, weight, np.zeros(sizes[1], np.float32), window)


def _more_channels(work: _Work, node: Node) -> None:
    """Channels of zeros, and a border, become a 1x1 convolution whose weights are 1 and 0."""
    pads, channels = node["pads"], _channels(work, node)
    if node["value"] or pads[0] or pads[4]:
        raise _no_form(work.graph, node)
    weight = np.zeros((pads[1] + channels + pads[5], channels, 1, 1), np.float32)
    weight[pads[1] + np.arange(channels), np.arange(channels)] = 1
    names = (
        node.inputs[0],
        work.constant(f"{node.output}.weight", weight),
        work.constant(f"{node.output}.bias", np.zeros(len(weight))),
    )
    window = {**SAME_WINDOW, "pads": (pads[2], pads[3], pads[6], pads[7]), "groups": 1}
    attributes = {"activation": "", "residual": False, **window}
    work.nodes.append(Node("FusedConv", names, node.output, attributes, node.name))


FORMS: dict[str, Callable[[_Work, Node], None]] = {
    "Conv": _conv,
    "FusedConv": _conv,
    "Gemm": _gemm,
    "AveragePool": _average,
    "GlobalAveragePool": _average,
    **dict.fromkeys(("Relu", "Clip", "PRelu", "LeakyRelu"), _activation),
    "BatchNormalization": _batch_normalization,
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), _binary),
    "Slice": _slice,
    "Pad": _more_channels,
}
"""How each op comes to one of the forms."""

CONSTANT_OPERANDS = ("Conv", "FusedConv", "Gemm", "PRelu", "BatchNormalization", "Add", "Sub", "Mul", "Div")
"""Ops of which an operand may be, or is, a constant."""

"""The unit length at the end of a net, in the ways that exporters spell it, as one LpNormalization.

x / length   or   x * (1 / length)
length       ReduceL2, or the root of a sum of squares; of squares: x * x, or x ^ 2; the root: Sqrt, or ^ 0.5
             at least a small number, before the root or behind it; reshaped, or made as wide as x
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from facelet.graph.ir import Graph, Node, Shape
from facelet.graph.passes.result import Note, only_reader

NO_NORM = "is no division by the length along one axis"


@dataclass
class _Length:
    """What was found so far on the way back from a division.

    Attributes:
        gone: nodes that go, the last one found last; each is read by the one before it alone.
        shape: of the length as the division reads it, before it was made wide.
        epsilon: what the length is at least.
        squared: whether the root was passed, so that what follows is a square.
        x: what the length is of.
        axes: along which it is.
    """

    gone: list[Node]
    shape: Shape
    epsilon: float = 0.0
    squared: bool = False
    x: str = ""
    axes: Shape = ()


def fuse_norm(graph: Graph, node: Node) -> tuple[Graph, Note] | None:
    """The graph with a division by a length as one node, and what was done; None where a node is no division."""
    if node.op == "Div":
        x, length = node.inputs
        gone = [node]
    elif node.op == "Mul" and (found := _reciprocal(graph, node)) is not None:
        x, length = found[0], found[1].inputs[1]
        gone = [node, found[1]]
    else:
        return None
    walked = _Length(gone, graph.shapes[length])
    reason = _walk(graph, length, walked)
    if not reason and walked.x != x:
        reason = NO_NORM
    wanted = tuple(1 if axis in walked.axes else size for axis, size in enumerate(graph.shapes[x]))
    if not reason and (len(walked.axes) != 1 or walked.shape != wanted):
        reason = NO_NORM
    if reason:
        return (graph, Note(str(node), False, reason)) if node.op == "Div" else None
    attributes = {"axis": walked.axes[0], "epsilon": walked.epsilon}
    joined = Node("LpNormalization", (x,), node.output, attributes, node.name)
    nodes = [joined if other is node else other for other in graph.nodes if other is node or other not in walked.gone]
    return graph.with_nodes(nodes), Note(str(node), True, "became one normalisation")


def _reciprocal(graph: Graph, product: Node) -> tuple[str, Node] | None:
    """The other operand of a product, and the node that is 1 over something."""
    for x, name in (product.inputs, product.inputs[::-1]):
        maker = graph.producer(name)
        if maker is not None and maker.op == "Div" and _is(graph, maker.inputs[0], 1.0):
            return (x, maker) if only_reader(graph, name) is product else None
    return None


def _walk(graph: Graph, name: str, found: _Length) -> str:
    """Goes back to what the length is of; returns why that cannot be, empty where it can."""
    while True:
        node = graph.producer(name)
        if node is None:
            return NO_NORM
        if only_reader(graph, name) is not found.gone[-1]:
            return f"the length {node} is read elsewhere, too"
        found.gone.append(node)
        if node.op == "ReduceL2" and not found.squared:
            found.x, found.axes = node.inputs[0], tuple(node["axes"])
            return ""
        if node.op == "ReduceSum" and found.squared:
            return _squares(graph, node, found)
        following = _passed(graph, node, found)
        if not following:
            return NO_NORM
        name = following


def _passed(graph: Graph, node: Node, found: _Length) -> str:
    """The tensor before a node that leaves a length one, or a square one; empty where a node does something else."""
    if node.op == "Reshape":
        return node.inputs[0]
    if node.op == "Clip" and node["max"] == math.inf and node["min"] > 0:
        found.epsilon = max(found.epsilon, math.sqrt(node["min"]) if found.squared else node["min"])
        return node.inputs[0]
    root = node.op == "Sqrt" or (node.op == "Pow" and _is(graph, node.inputs[1], 0.5))
    if root and not found.squared:
        found.squared = True
        return node.inputs[0]
    if node.op == "Mul":  # by ones: made wide
        for narrow, ones in (node.inputs, node.inputs[::-1]):
            if _is(graph, ones, 1.0) and graph.shapes[node.output] == found.shape:
                found.shape = graph.shapes[narrow]
                return narrow
    return ""


def _squares(graph: Graph, total: Node, found: _Length) -> str:
    """Reads a sum of squares."""
    square = graph.producer(total.inputs[0])
    if square is None or only_reader(graph, square.output) is not total:
        return NO_NORM
    product = square.op == "Mul" and square.inputs[0] == square.inputs[1]
    if not product and not (square.op == "Pow" and _is(graph, square.inputs[1], 2.0)):
        return NO_NORM
    found.gone.append(square)
    found.x, found.axes = square.inputs[0], tuple(total["axes"])
    return ""


def _is(graph: Graph, name: str, value: float) -> bool:
    """Whether a constant holds one value and no other."""
    array = graph.constants.get(name)
    return array is not None and bool((array == value).all())

"""Channel shuffles: a Reshape, a Transpose and a Reshape become one move of channels.

(n, c, h, w) -> (n, g, c / g, h, w) -> (n, c / g, g, h, w) -> (n, c, h, w)
"""

from __future__ import annotations

import numpy as np

from facelet.graph.ir import Graph, Node
from facelet.graph.passes.result import only_reader


def join_shuffles(graph: Graph) -> Graph:
    """The same network with a Channels in the place of each shuffle."""
    nodes: list[Node] = []
    for node in graph.nodes:
        order = _order(graph, node)
        if order is None:
            nodes.append(node)
            continue
        first = _source(graph, node)
        nodes.append(Node("Channels", (first,), node.output, {"order": order}, node.name))
    return graph.with_nodes(nodes)


def _chain(graph: Graph, last: Node) -> tuple[Node, Node] | None:
    """The Reshape and the Transpose before a Reshape, where nothing else reads what they give."""
    if last.op != "Reshape":
        return None
    turn = graph.producer(last.inputs[0])
    if turn is None or turn.op != "Transpose" or only_reader(graph, turn.output) is not last:
        return None
    first = graph.producer(turn.inputs[0])
    if first is None or first.op != "Reshape" or only_reader(graph, first.output) is not turn:
        return None
    return first, turn


def _source(graph: Graph, last: Node) -> str:
    found = _chain(graph, last)
    assert found is not None  # `_order` has found it
    return found[0].inputs[0]


def _order(graph: Graph, last: Node) -> tuple[int, ...] | None:
    """Which channel each channel of a shuffle's output was; None where a node is not the end of a shuffle.

    It is found by shuffling numbers: the chain is a shuffle where every channel arrives whole.
    """
    found = _chain(graph, last)
    if found is None:
        return None
    first, turn = found
    shape = graph.shapes[first.inputs[0]]
    if len(shape) != 4 or graph.shapes[last.output] != shape:
        return None
    pixels = shape[2] * shape[3]
    numbers = np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)
    moved = numbers.reshape(first["shape"]).transpose(turn["perm"]).reshape(shape)
    order = moved[0, :, 0, 0] // pixels
    if not np.array_equal(moved, numbers[:, order]):
        return None
    return tuple(int(channel) for channel in order)

"""Several outputs as one, so that one number tells how near an int8 network comes to the float one."""

from __future__ import annotations

import math
from dataclasses import replace

from facelet.errors import GraphError
from facelet.graph.ir import Graph, Node, Shape


def joined(graph: Graph) -> Graph:
    """The network; of several outputs with one more before them: all side by side, each flattened and of unit length.

    Each output then counts alike, whatever its size and range: the squared distance of two rows is the sum of those of
    the outputs' directions.

    Raises:
        GraphError: an output mixes the images of a batch.
    """
    if len(graph.outputs) == 1:
        return graph
    nodes, rows = list(graph.nodes), []
    shapes: dict[str, Shape] = {}

    def add(op: str, inputs: tuple[str, ...], size: int, **attributes: object) -> str:
        name = f"joined.{len(nodes)}"
        nodes.append(Node(op, inputs, name, attributes))
        shapes[name] = (graph.batch, size)
        return name

    for name in graph.outputs:
        size, rest = divmod(math.prod(graph.shapes[name]), graph.batch)
        if rest:
            raise GraphError(f"{graph.name}: the output '{name}' mixes the images of a batch; use a batch of 1")
        row = add("Reshape", (name,), size, shape=(graph.batch, size))
        rows.append(add("LpNormalization", (row,), size, axis=1, epsilon=1e-12))
    whole = add("Concat", tuple(rows), sum(shapes[row][1] for row in rows), axis=1)
    return replace(
        graph, nodes=tuple(nodes), outputs=(whole, *graph.outputs), shapes={**graph.shapes, **shapes}
    ).check()


def parted(graph: Graph, outputs: tuple[str, ...]) -> Graph:
    """A network that was joined, or one made of it, with its own outputs again."""
    own = replace(graph, outputs=outputs)
    added = {node.output for node in graph.nodes if node.output.startswith("joined.")}
    return own.with_nodes(node for node in graph.nodes if node.output not in added)

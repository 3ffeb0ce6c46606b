"""What a graph weighs, layer by layer: shapes, parameters, multiply-accumulates, memory of its tensors."""

from __future__ import annotations

import math
from dataclasses import dataclass

from facelet.graph.int8 import tensor_fractions
from facelet.graph.ir import Graph, Shape
from facelet.graph.ops import node_macs

FLOAT_BYTES = 4


@dataclass(frozen=True)
class Layer:
    """One node in numbers.

    Attributes:
        op: of the node.
        name: of the tensor that it writes.
        shape: of that tensor.
        parameters: numbers in its constants; those that several nodes share count with the first.
        macs: multiply-accumulates.
        traffic_bytes: read and written: its inputs, its output and its constants.
        activation_bytes: size of the tensor that it writes.

    Numbers take four bytes, integers of an int8 network one.
    """

    op: str
    name: str
    shape: Shape
    parameters: int
    macs: int
    traffic_bytes: int
    activation_bytes: int


def layers(graph: Graph) -> tuple[Layer, ...]:
    """Every node of a graph in numbers, in order."""
    counted: set[str] = set()
    rows = []
    size = _sizes(graph)
    for node in graph.nodes:
        own = [name for name in node.inputs if name in graph.constants and name not in counted]
        counted.update(own)
        rows.append(
            Layer(
                op=node.op,
                name=node.output,
                shape=graph.shapes[node.output],
                parameters=sum(graph.constants[name].size for name in own),
                macs=node_macs(graph, node),
                traffic_bytes=sum(size[name] for name in (*node.inputs, node.output)),
                activation_bytes=size[node.output],
            )
        )
    return tuple(rows)


def _sizes(graph: Graph) -> dict[str, int]:
    """Bytes of every tensor: integers, and the weights of integer convolutions, take one each."""
    narrow = {*tensor_fractions(graph), *(node.inputs[1] for node in graph.nodes if node.op == "Int8Conv")}
    return {name: math.prod(shape) * (1 if name in narrow else FLOAT_BYTES) for name, shape in graph.shapes.items()}


def largest_live_bytes(graph: Graph) -> int:
    """The most activation memory that is needed at one moment when nodes run in order.

    A tensor lives from the node that writes it to the last that reads it; a Reshape shares its input's memory.
    """
    home: dict[str, str] = {}
    for node in graph.nodes:
        home[node.output] = home.get(node.inputs[0], node.inputs[0]) if node.op == "Reshape" else node.output
    last: dict[str, int] = {}
    for position, node in enumerate(graph.nodes):
        for name in (*node.inputs, node.output):
            last[home.get(name, name)] = position
    for name in graph.outputs:
        last[home.get(name, name)] = len(graph.nodes)
    every = _sizes(graph)
    size = {name: every[name] for name in (*graph.inputs, *home.values())}
    ends: dict[int, list[str]] = {}
    for name in size:
        ends.setdefault(last.get(name, 0), []).append(name)
    live = largest = sum(size[name] for name in graph.inputs)
    for position, node in enumerate(graph.nodes):
        if home[node.output] == node.output:
            live += size[node.output]
        largest = max(largest, live)
        live -= sum(size[name] for name in ends.get(position, ()))
    return largest

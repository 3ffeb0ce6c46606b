"""Where the engine's feature maps lie in memory: channels in blocks of VEC_SIZE, concatenation by address.

A map lies as `[blocks][row][column][VEC_SIZE]`. Which place of a block a channel has is its layout: the parts of a
concatenation each begin with a block of their own, so a part is written where the whole will be read, whatever its
number of channels; the places between are read with weights of zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from facelet.errors import GraphError
from facelet.graph.ir import Graph, Node
from facelet.opencl.memory import Lifetime, plan

Layout = NDArray[np.int64]
"""`(c,)` place of each channel."""

COPY = "Copy"
"""Op of a node that `with_copies` adds: its input moved to a place of its own."""


@dataclass(frozen=True, eq=False)
class Place:
    """Where one map lies.

    Attributes:
        offset: of its first vector in the arena, in vectors of VEC_SIZE bytes.
        layout: place of each channel.
        blocks: of VEC_SIZE channels.
        height: rows.
        width: columns.
    """

    offset: int
    layout: Layout
    blocks: int
    height: int
    width: int

    @property
    def vectors(self) -> int:
        """Its size."""
        return self.blocks * self.height * self.width


@dataclass(frozen=True)
class Placement:
    """Every map of a net.

    Attributes:
        places: by name of the tensor.
        vectors: size of the arena.
    """

    places: Mapping[str, Place]
    vectors: int


def with_copies(nodes: Sequence[Node], graph: Graph) -> tuple[Node, ...]:
    """The nodes, and a copy where a map would have to lie in two places, or is the net's input inside a concatenation.

    Args:
        nodes: of the integer part of the graph.
    """
    taken: set[str] = set(graph.inputs) | {node.output for node in nodes if node.op in ("QuantizeLinear", "Reshape")}
    made: list[Node] = []
    for node in nodes:
        if node.op != "Concat":
            made.append(node)
            continue
        inputs = []
        for index, name in enumerate(node.inputs):
            inside = name
            if name in taken:
                inside = f"{node.output}.{index}"
                made.append(Node(COPY, (name,), inside, {}, node.name))
            taken.add(inside)
            inputs.append(inside)
        made.append(replace(node, inputs=tuple(inputs)))
    return tuple(made)


def place(graph: Graph, nodes: Sequence[Node], output: str, vec_size: int) -> Placement:
    """Gives every map its place; two that are never needed at once may share theirs.

    Args:
        nodes: from `with_copies`.
        output: the map that the host reads at the end.

    Raises:
        GraphError: maps that the engine cannot lay out.
    """
    shapes = {**graph.shapes, **{node.output: graph.shapes[node.inputs[0]] for node in nodes if node.op == COPY}}
    layouts = _layouts(graph, nodes, shapes, vec_size)
    homes = _homes(nodes, layouts)
    steps: dict[str, list[int]] = {}
    for step, node in enumerate(nodes):
        for name in (node.output, *node.inputs):
            if name in layouts:
                steps.setdefault(_root(homes, name)[0], []).append(step)
    steps[_root(homes, output)[0]].append(len(nodes))
    sizes = {name: layouts[name][1] * math.prod(_size(shapes[name])) for name in steps}
    planned = plan([Lifetime(sizes[name], min(used), max(used)) for name, used in steps.items()])
    offsets = dict(zip(steps, planned.offsets, strict=True))
    places = {}
    for name, (layout, blocks) in layouts.items():
        root, first = _root(homes, name)
        height, width = _size(shapes[name])
        places[name] = Place(offsets[root] + first * height * width, layout, blocks, height, width)
    return Placement(places, planned.size)


def _size(shape: Sequence[int]) -> tuple[int, int]:
    return (shape[2], shape[3]) if len(shape) == 4 else (1, 1)


def _layouts(
    graph: Graph, nodes: Sequence[Node], shapes: Mapping[str, Sequence[int]], vec_size: int
) -> dict[str, tuple[Layout, int]]:
    """Layout and number of blocks of every map."""
    found: dict[str, tuple[Layout, int]] = {}
    for node in nodes:
        shape = shapes[node.output]
        where = f"{graph.name}: {node}"
        if node.op == "Concat":
            if node["axis"] != 1 or len(shape) != 4:
                raise GraphError(f"{where} joins along axis {node['axis']} of {len(shape)}; the engine joins channels")
            parts, blocks = [], 0
            for name in node.inputs:
                layout, own = found[name]
                parts.append(layout + blocks * vec_size)
                blocks += own
            found[node.output] = (np.concatenate(parts), blocks)
        elif node.op == "Reshape":
            if math.prod(_size(shapes[node.inputs[0]])) * math.prod(_size(shape)) != 1:
                raise GraphError(f"{where} moves pixels; the engine flattens only maps of one pixel")
            found[node.output] = found[node.inputs[0]]
        elif node.op == "Int8Conv" and not is_depthwise(graph, node):
            fresh = (np.arange(shape[1]), -(-shape[1] // vec_size))
            found[node.output] = found[node.inputs[-1]] if node["residual"] else fresh
        elif node.op == "QuantizeLinear":
            found[node.output] = (np.arange(shape[1]), -(-shape[1] // vec_size))
        else:
            found[node.output] = found[node.inputs[0]]
            if node.op == "Int8Conv" and node["residual"]:
                added = found[node.inputs[-1]]
                if not np.array_equal(added[0], found[node.output][0]):
                    raise GraphError(f"{where}: its residual is a concatenation of other parts than its input")
    return found


def is_depthwise(graph: Graph, node: Node) -> bool:
    """Whether an Int8Conv has one input channel for each output channel, and more than one of them."""
    channels = graph.shapes[node.inputs[0]][1]
    return bool(node["groups"] == channels == graph.shapes[node.output][1] and channels > 1)


def _homes(nodes: Sequence[Node], layouts: Mapping[str, tuple[Layout, int]]) -> dict[str, tuple[str, int]]:
    """What each map is a part of, and the block of that where it begins."""
    homes: dict[str, tuple[str, int]] = {}
    for node in nodes:
        if node.op == "Reshape":
            homes[node.output] = (node.inputs[0], 0)
        if node.op != "Concat":
            continue
        first = 0
        for name in node.inputs:
            homes[name] = (node.output, first)
            first += layouts[name][1]
    return homes


def _root(homes: Mapping[str, tuple[str, int]], name: str) -> tuple[str, int]:
    """The map that holds this one and is part of no other, and the block where this one begins."""
    first = 0
    while name in homes:
        name, block = homes[name]
        first += block
    return name, first

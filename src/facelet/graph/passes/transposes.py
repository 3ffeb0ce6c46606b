"""An order of axes moves past what treats every number alike, towards another one that undoes it.

f(transpose(x))       ->   transpose(f(x))          f of one tensor: an activation, a root
transpose(x) + c      ->   transpose(x + c')        c' is c in the order of x; and likewise -, *, /, ^, max, min
mean(transpose(x))    ->   mean(x)                  over height and width, which go
transpose(x) W        ->   x W'                     of a flattened image; W' is W in the order of x
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from facelet.graph.ir import Array, Graph, Node, Shape
from facelet.graph.passes.result import only_reader

ALIKE = {"Relu", "LeakyRelu", "Clip", "Sigmoid", "HardSwish", "Sqrt", "Tanh", "Abs", "Exp", "Log", "Erf"}
OF_TWO = {"Add", "Sub", "Mul", "Div", "Pow", "Max", "Min"}


def moved_past(graph: Graph, node: Node) -> Graph | None:
    """The graph with the Transpose before a node behind it; None where there is none that can move."""
    if node.op not in ALIKE | OF_TWO:
        return None
    makers = [graph.producer(name) for name in node.inputs]
    turned = next((maker for maker in makers if maker is not None and maker.op == "Transpose"), None)
    if turned is None or only_reader(graph, turned.output) is not node:
        return None
    shape = graph.shapes[turned.output]
    others = [name for name in node.inputs if name != turned.output]
    if any(name not in graph.constants for name in others) or graph.shapes[node.output] != shape:
        return None
    back = np.argsort(turned["perm"])
    constants, renamed = {}, {turned.output: turned.inputs[0]}
    for name in others:
        values = graph.constants[name]
        renamed[name] = f"{name}.before.{turned.output}"
        wide = values.reshape((1,) * (len(shape) - values.ndim) + values.shape)
        constants[renamed[name]] = np.ascontiguousarray(wide.transpose(back))
    inner = f"{node.output}.before.{turned.output}"
    done = replace(node, inputs=tuple(renamed[name] for name in node.inputs), output=inner)
    last = replace(turned, inputs=(inner,), output=node.output)
    shapes = {inner: graph.shapes[turned.inputs[0]]}
    return _replaced(graph, {turned.output: (), node.output: (done, last)}, constants=constants, shapes=shapes)


def without_order(graph: Graph, node: Node) -> Graph | None:
    """The graph without a Transpose whose order a mean or a dense layer does not need; None where there is none."""
    if node.op == "ReduceMean" and not node["keepdims"]:
        return _mean(graph, node)
    return _dense(graph, node) if node.op == "Gemm" else None


def _turned(graph: Graph, name: str, reader: Node) -> Node | None:
    """The Transpose of an image that writes a tensor for one reader."""
    turned = graph.producer(name)
    if turned is None or turned.op != "Transpose" or only_reader(graph, name) is not reader:
        return None
    return turned if len(turned["perm"]) == 4 and turned["perm"][0] == 0 else None


def _mean(graph: Graph, node: Node) -> Graph | None:
    turned = _turned(graph, node.inputs[0], node)
    if turned is None or sorted(turned["perm"][axis] for axis in node["axes"]) != [2, 3]:
        return None
    x, mean = turned.inputs[0], f"{node.output}.mean"
    pooled = Node("GlobalAveragePool", (x,), mean, {}, node.name)
    flat = Node("Reshape", (mean,), node.output, {"shape": graph.shapes[node.output]}, node.name)
    return _replaced(
        graph, {turned.output: (), node.output: (pooled, flat)}, shapes={mean: (*graph.shapes[x][:2], 1, 1)}
    )


def _dense(graph: Graph, node: Node) -> Graph | None:
    flat = graph.producer(node.inputs[0])
    if flat is None or flat.op != "Reshape" or only_reader(graph, flat.output) is not node:
        return None
    turned = _turned(graph, flat.inputs[0], flat)
    weight = graph.constants.get(node.inputs[1])
    if turned is None or weight is None or graph.shapes[turned.output][0] != graph.shapes[flat.output][0]:
        return None
    sides = graph.shapes[turned.output][1:]  # the order in which the weight counts
    back = [0, *(1 + int(axis) for axis in np.argsort([axis - 1 for axis in turned["perm"][1:]]))]
    ordered = np.ascontiguousarray(weight.reshape(len(weight), *sides).transpose(back)).reshape(weight.shape)
    name = f"{node.inputs[1]}.of.{turned.inputs[0]}"
    dense = replace(node, inputs=(flat.output, name, *node.inputs[2:]))
    plain = replace(flat, inputs=(turned.inputs[0],))
    return _replaced(
        graph, {turned.output: (), flat.output: (plain,), node.output: (dense,)}, constants={name: ordered}
    )


def _replaced(
    graph: Graph,
    instead: Mapping[str, Sequence[Node]],
    *,
    constants: Mapping[str, Array] | None = None,
    shapes: Mapping[str, Shape] | None = None,
) -> Graph:
    """The graph with other nodes where some were.

    Args:
        instead: by the output of what goes.
    """
    nodes = [part for node in graph.nodes for part in instead.get(node.output, (node,))]
    return graph.with_nodes(nodes, constants=constants, shapes=shapes)

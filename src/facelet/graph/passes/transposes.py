"""An order of axes moves past what treats every number alike, towards another one that undoes it.

f(transpose(x))       ->   transpose(f(x))          f of one tensor: an activation, a root
transpose(x) + c      ->   transpose(x + c')        c' is c in the order of x; and likewise -, *, /, ^, max, min
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from facelet.graph.ir import Graph, Node
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
    nodes = [
        part for other in graph.nodes if other is not turned for part in ((done, last) if other is node else (other,))
    ]
    return graph.with_nodes(nodes, constants=constants, shapes={inner: graph.shapes[turned.inputs[0]]})

"""What each node of a network becomes in int8, and why where it stays float.

A node is float where int8 has no form of it, and where an input of it is float; a convolution must not be. A function
of one number, such as Sigmoid, or a chain of them, is a table of the tensor that it starts from (its root):

    x -> Add 3 -> Clip 0..6 -> Mul with x -> Div 6         is one table of x, and so is x times Sigmoid(x)

unless all that follows it is float: then it stays float too, which rounds less.
"""

from __future__ import annotations

from collections.abc import Mapping

from facelet.graph.ir import Graph, Node

KEPT = ("MaxPool", "Concat", "Pad", "Resize", "Channels", "Max", "Min")
"""Ops that move integers; all their tensors have one fraction."""

ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min")
TABLED = ("Sigmoid", "HardSwish", "Tanh", "Exp", "Log", "Abs", "Erf", "Sqrt", "Pow")
"""Functions that int8 has no other form of than a table."""

FUNCTIONS = (*TABLED, *ARITHMETIC, "Relu", "LeakyRelu", "Clip")
"""Ops that may be part of a table."""


def images_of(graph: Graph, node: Node) -> tuple[str, ...]:
    """The inputs of a node that are computed."""
    return tuple(name for name in node.inputs if name not in graph.constants)


def moves(graph: Graph, node: Node) -> bool:
    """Whether a node only moves the numbers of images, in a form that every executor has for integers."""
    shapes = [graph.shapes[name] for name in node.inputs]
    if node.op not in KEPT or len(images_of(graph, node)) != len(node.inputs) or any(len(s) != 4 for s in shapes):
        return False
    if node.op == "Concat":
        return bool(node["axis"] == 1)
    if node.op == "Pad":
        return not node["value"] and not any(node["pads"][axis] for axis in (0, 1, 4, 5))
    return node.op not in ("Max", "Min") or (len(shapes) == 2 and shapes[0] == shapes[1])


def is_product(graph: Graph, node: Node) -> bool:
    """Whether a node multiplies two images, or an image with one number per channel of another."""
    if node.op != "Mul" or len(images_of(graph, node)) != 2:
        return False
    first, second = (graph.shapes[name] for name in node.inputs)
    return len(first) == 4 and second in (first, (*first[:2], 1, 1))


def roots(graph: Graph) -> dict[str, str]:
    """The tensor of which each function's output is a table, by output; of nothing else."""
    found: dict[str, str] = {}
    for node in graph.nodes:
        images = images_of(graph, node)
        starts = {found.get(name, name) for name in images}
        scalars = all(graph.constants[name].size == 1 for name in node.inputs if name in graph.constants)
        alike = bool(images) and graph.shapes[images[0]] == graph.shapes[node.output]
        if moves(graph, node):
            continue
        if node.op in FUNCTIONS and len(starts) == 1 and scalars and alike and len(graph.shapes[node.output]) == 4:
            found[node.output] = starts.pop()
    return found


def tables(graph: Graph) -> set[str]:
    """Outputs that become tables: functions without another form, what joins two functions, and the chains of both."""
    of = roots(graph)
    needed = {
        node.output
        for node in graph.nodes
        if node.output in of and (node.op in TABLED or len(images_of(graph, node)) > 1 or _divides(graph, node))
    } - late(graph)
    for node in reversed(graph.nodes):
        if node.output in needed:
            needed |= {name for name in images_of(graph, node) if name in of}
    for node in graph.nodes:
        if node.output in of and any(name in needed for name in images_of(graph, node)):
            needed.add(node.output)
    return needed - late(graph)


def _divides(graph: Graph, node: Node) -> bool:
    """Whether a node divides a constant by its input."""
    return node.op == "Div" and node.inputs[0] in graph.constants


def late(graph: Graph) -> set[str]:
    """Outputs of functions that nothing but float ops follow."""
    found: set[str] = set()
    product = {node.output for node in graph.nodes if is_product(graph, node)}
    for node in reversed(graph.nodes):
        readers = graph.readers(node.output)
        ends = all(reader.output in found or _is_float(reader) for reader in readers)
        if ends and (node.op in TABLED or node.output in product):
            found.add(node.output)
    return found


def _is_float(node: Node) -> bool:
    """Whether int8 has no form of an op, whatever its inputs."""
    return node.op in ("Reshape", "Transpose", "Softmax", "LpNormalization", "LRN", "LpPool") or node.op.startswith(
        "Reduce"
    )


def float_tensors(graph: Graph) -> set[str]:
    """The tensors of a prepared graph that are float: those of its tail."""
    found: set[str] = set()
    integers = of_prepared(graph)
    for node in graph.nodes:
        if node.output not in integers:
            found.add(node.output)
    return found


def of_prepared(graph: Graph) -> Mapping[str, str]:
    """Which integer op each node of a prepared graph becomes, by output: conv, moved, table or product.

    What is not there is float.
    """
    found: dict[str, str] = {}
    whole = {*graph.inputs}
    ends, of = late(graph), roots(graph)
    for node in graph.nodes:
        kind = ""
        if all(name in whole for name in images_of(graph, node)):
            if node.op == "FusedConv":
                kind = "conv"
            elif moves(graph, node):
                kind = "moved"
            elif node.output in of and node.output not in ends:
                kind = "table"
            elif is_product(graph, node) and node.output not in ends:
                kind = "product"
        if kind:
            found[node.output] = kind
            whole.add(node.output)
    return found

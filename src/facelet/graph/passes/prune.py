"""Layers that a face net can do without: what they compute is changed, and little is lost.

LRN                                       x / (k + a / n sum of x squared)^b   ->   x
power pool      sqrt(c mean of x squared), or an LpPool of p = 2               ->   sqrt(c) mean of x, meant for x >= 0
constant product                          c x, where no convolution can fold it ->   x

The constant sqrt(c), exact where a window is flat, is a product that `fold` puts into the next convolution; where
there is none, it stays.

Source: the observation that local response normalization and layers of a constant or a power can be left out of
FaceNet's Inception network at negligible cost is the original work's; Simonyan and Zisserman, ICLR 2015, section 4,
found the same of LRN for VGG.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import numpy as np

from facelet.graph.ir import Graph, Node
from facelet.graph.passes.clean import bypass
from facelet.graph.passes.fold import fold
from facelet.graph.passes.fuse import fuse
from facelet.graph.passes.result import Note, PassResult, only_reader
from facelet.graph.size import layers

KINDS = ("LRN", "constant", "power")
"""Of layers that can be removed."""


@dataclass(frozen=True)
class Saving:
    """What one removal, or all of them, saved; counted on the graphs as they are run, folded and fused.

    Attributes:
        what: the removed layer.
        kernels: nodes fewer.
        parameters: numbers in constants fewer.
        macs: multiply-accumulates fewer.
        traffic_bytes: bytes read and written fewer.
    """

    what: str
    kernels: int
    parameters: int
    macs: int
    traffic_bytes: int


def saving(before: Graph, after: Graph, what: str) -> Saving:
    """What a change of a graph saved."""
    old, new = (layers(fuse(fold(graph).graph).graph) for graph in (before, after))
    return Saving(
        what=what,
        kernels=len(old) - len(new),
        parameters=sum(row.parameters for row in old) - sum(row.parameters for row in new),
        macs=sum(row.macs for row in old) - sum(row.macs for row in new),
        traffic_bytes=sum(row.traffic_bytes for row in old) - sum(row.traffic_bytes for row in new),
    )


def prune(graph: Graph) -> PassResult:
    """Removes LRN, power and constant layers; the output changes."""
    return PassResult(*pruned_with_savings(graph)[:2])


def pruned_with_savings(
    graph: Graph, kinds: Collection[str] = KINDS
) -> tuple[Graph, tuple[Note, ...], tuple[Saving, ...]]:
    """The pruned graph, folded; a note of each layer looked at; and what each removal saved.

    Args:
        kinds: of `KINDS`; the constant of a power pool goes with the pool.
    """
    notes: list[Note] = []
    savings: list[Saving] = []
    graph = fold(graph).graph  # what can be folded exactly is no layer to remove
    for candidate in graph.nodes:
        node = graph.producer(candidate.output)
        if node is None or node.op != candidate.op or not _is_candidate(graph, node):
            continue  # gone with a layer before it
        if _kind(graph, node) not in kinds:
            continue
        new, reason = RULES[node.op](graph, node)
        notes.append(Note(str(node), new is not None, reason))
        if new is not None:
            new = fold(new).graph
            savings.append(saving(graph, new, f"{node}: {reason}"))
            graph = new
    return graph, tuple(notes), tuple(savings)


def _is_candidate(graph: Graph, node: Node) -> bool:
    """Whether a node is a layer to look at; a product or quotient of two tensors, unless a square, is none."""
    if node.op in ("Mul", "Div"):
        return any(name in graph.constants for name in node.inputs) or _is_square(graph, node)
    return node.op in RULES


def _kind(graph: Graph, node: Node) -> str:
    """Of `KINDS`, which a layer to look at is."""
    if node.op == "LRN":
        return "LRN"
    return "constant" if node.op in ("Mul", "Div") and not _is_square(graph, node) else "power"


def _number(graph: Graph, name: str) -> float | None:
    """The value of a constant that is one number."""
    array = graph.constants.get(name)
    return float(array.reshape(())) if array is not None and array.size == 1 else None


def _is_square(graph: Graph, node: Node) -> bool:
    """Whether a node is x * x or x ** 2."""
    if node.op == "Mul":
        return node.inputs[0] == node.inputs[1]
    return node.op == "Pow" and _number(graph, node.inputs[1]) == 2


def _is_root(graph: Graph, node: Node) -> bool:
    return node.op == "Sqrt" or (node.op == "Pow" and _number(graph, node.inputs[1]) == 0.5)


def _factor(graph: Graph, node: Node) -> tuple[str, float] | None:
    """What a node multiplies by one number, and that number; None where it does no such thing."""
    first, second = node.inputs
    if node.op == "Mul" and first in graph.constants:
        first, second = second, first
    number = _number(graph, second)
    if number is None or first in graph.constants or graph.shapes[first] != graph.shapes[node.output]:
        return None
    if node.op == "Mul":
        return first, number
    return (first, 1 / number) if number else None


def _lrn(graph: Graph, node: Node) -> tuple[Graph | None, str]:
    if node.output in graph.outputs:
        return None, "is an output of the graph"
    return bypass(graph, node), "local response normalization removed"


def _power_pool(graph: Graph, power: Node) -> tuple[Graph | None, str]:
    if not _is_square(graph, power):
        return None, "is no square"
    pool = only_reader(graph, power.output)
    if pool is None or pool.op not in ("AveragePool", "GlobalAveragePool"):
        return None, "no average pool alone reads the square"
    root, factor, gone = only_reader(graph, pool.output), 1.0, [power, pool]
    if root is not None and root.op in ("Mul", "Div"):
        found = _factor(graph, root)
        if found is None or found[1] <= 0:
            return None, "the pool is multiplied by something else than a positive number"
        factor = found[1]
        gone.append(root)
        root = only_reader(graph, root.output)
    if root is None or not _is_root(graph, root):
        return None, "no root follows the pool of squares"
    gone.append(root)
    plain = Node(pool.op, power.inputs[:1], root.output, pool.attributes, pool.name)
    return _scaled(graph, plain, root, gone, math.sqrt(factor)), "square, pool and root became one average pool"


def _lp_pool(graph: Graph, pool: Node) -> tuple[Graph | None, str]:
    if pool["p"] != 2:
        return None, f"p is {pool['p']}, not 2"
    attributes = {name: pool[name] for name in ("kernel", "strides", "pads")}
    plain = Node("AveragePool", pool.inputs, pool.output, {**attributes, "count_include_pad": True}, pool.name)
    factor = math.sqrt(math.prod(pool["kernel"]))
    return _scaled(graph, plain, pool, [pool], factor), "L2 pool became an average pool"


def _scaled(graph: Graph, plain: Node, last: Node, gone: list[Node], factor: float) -> Graph:
    """The graph with `plain`, times a factor, in the place of the nodes `gone`, of which `last` is the last."""
    new = [plain]
    constants = {}
    if factor != 1:
        mean, name = f"{last.output}.mean", f"{last.output}.factor"
        constants[name] = np.array(factor, np.float32)
        new = [replace(plain, output=mean), Node("Mul", (mean, name), last.output, {}, last.name)]
    nodes: list[Node] = []
    for node in graph.nodes:
        if node is last:
            nodes += new
        elif node not in gone:
            nodes.append(node)
    shapes = {new[0].output: graph.shapes[last.output]}
    return graph.with_nodes(nodes, constants=constants, shapes=shapes)


def _product(graph: Graph, node: Node) -> tuple[Graph | None, str]:
    if _is_square(graph, node):
        return _power_pool(graph, node)
    found = _factor(graph, node)
    if found is None:
        return None, "is no product with one number that keeps the shape"
    source, constant = found
    if constant <= 0:
        return None, f"its constant {constant:g} is not positive"
    if node.output in graph.outputs:
        return None, "is an output of the graph"
    return bypass(graph, node, source), f"product with the constant {constant:g} removed"


def _root(graph: Graph, node: Node) -> tuple[Graph | None, str]:
    return None, "no square and average pool lie before it"


RULES: dict[str, Callable[[Graph, Node], tuple[Graph | None, str]]] = {
    "LRN": _lrn,
    "Pow": _power_pool,
    "LpPool": _lp_pool,
    "Mul": _product,
    "Div": _product,
    "Sqrt": _root,
}
"""What is looked at: a function per op, in the order of the graph."""

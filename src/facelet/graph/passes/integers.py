"""Float ops between a DequantizeLinear and a QuantizeLinear become integer ops with the same results.

QuantizeLinear(FusedConv(DequantizeLinear(x), w, b ...))   becomes Int8Conv(x, integers of w and b ...)
QuantizeLinear(MaxPool(DequantizeLinear(x)))               becomes MaxPool(x); likewise the other ops of `int8.MOVERS`
QuantizeLinear(Mul(DequantizeLinear(x), DequantizeLinear(s)))  becomes Int8Mul(x, s)
QuantizeLinear(Table(x, numbers))                          becomes Int8Table(x, integers)

Weights are integers over a power of two per output channel; the smallest such power that makes whole numbers of
weights and bias is taken, which computes the same as any larger one.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from facelet.errors import GraphError
from facelet.graph.int8 import HIGHEST, LOWEST, MOVERS, check_int8, tensor_fractions
from facelet.graph.int8_maps import table_of
from facelet.graph.ir import Array, Graph, Node
from facelet.graph.passes.result import Note, PassResult, only_reader

WIDEST = 40
"""Bits behind the point that are looked for."""


def integers(graph: Graph) -> PassResult:
    """Makes integer ops of what lies between integers."""
    notes: list[Note] = []
    for last in graph.nodes:
        if last.op != "QuantizeLinear":
            continue
        node = graph.producer(last.inputs[0])
        if node is None or only_reader(graph, node.output) is not last:
            continue
        try:
            new = _integer(graph, node, last)
        except GraphError as error:
            notes.append(Note(str(node), False, str(error)))
            continue
        if new is None:
            continue
        made, constants = new
        nodes = [made if other is last else other for other in graph.nodes if other is not node]
        graph = graph.with_nodes(nodes, constants=constants)
        notes.append(Note(str(node), True, "computes with integers"))
    read = {name for node in graph.nodes for name in node.inputs} | set(graph.outputs)
    kept = [node for node in graph.nodes if node.op != "DequantizeLinear" or node.output in read]
    graph = graph.with_nodes(kept)
    return PassResult(check_int8(graph) if notes else graph, tuple(notes))


def _integer(graph: Graph, node: Node, last: Node) -> tuple[Node, dict[str, Array]] | None:
    """The integer form of a node and its constants; None where an input is no integers."""
    if node.op == "Table":
        return _int8_table(graph, node, last)
    images = [name for name in node.inputs if name not in graph.constants]
    sources = [graph.producer(name) for name in images]
    if not sources or any(source is None or source.op != "DequantizeLinear" for source in sources):
        return None
    before = [source for source in sources if source is not None]
    if node.op in MOVERS:
        if any(name in graph.constants for name in node.inputs):
            return None
        if {source["fraction"] for source in before} != {last["fraction"]} or node.attributes.get("value"):
            raise GraphError("the fractions around it differ")
        return replace(node, inputs=tuple(source.inputs[0] for source in before), output=last.output), {}
    if node.op == "Mul":
        return _int8_mul(graph, node, last, before), {}
    if node.op not in ("Conv", "FusedConv"):
        return None
    return _int8_conv(graph, node, last, before)


def _int8_table(graph: Graph, node: Node, last: Node) -> tuple[Node, dict[str, Array]] | None:
    if node.inputs[0] not in tensor_fractions(graph) or node.inputs[1] not in graph.constants:
        return None
    name = f"{last.output}.table"
    table = table_of(graph.constants[node.inputs[1]].astype(np.float64), last["fraction"])
    made = Node("Int8Table", (node.inputs[0], name), last.output, {"fraction": last["fraction"]}, node.name)
    return made, {name: table}


def _int8_mul(graph: Graph, node: Node, last: Node, before: list[Node]) -> Node:
    if len(before) != 2:
        raise GraphError("one factor is a constant")
    first, second = sorted(before, key=lambda source: graph.shapes[source.output][2:] == (1, 1))
    shapes = [graph.shapes[source.output] for source in (first, second)]
    if len(shapes[0]) != 4 or shapes[1] not in (shapes[0], (*shapes[0][:2], 1, 1)):
        raise GraphError("its factors have neither one shape nor is the second one number per channel")
    attributes = {"a_fraction": first["fraction"], "b_fraction": second["fraction"], "fraction": last["fraction"]}
    return Node("Int8Mul", (first.inputs[0], second.inputs[0]), last.output, attributes, node.name)


def _int8_conv(graph: Graph, node: Node, last: Node, before: list[Node]) -> tuple[Node, dict[str, Array]]:
    x_fraction, fraction = before[0]["fraction"], last["fraction"]
    activation, residual = node.attributes.get("activation", ""), bool(node.attributes.get("residual"))
    weight, bias = (graph.constants[name] for name in node.inputs[1:3])
    residual_fraction = before[-1]["fraction"] if residual else 0
    slopes = _slopes(graph, node, activation)
    least = max(fraction - x_fraction, residual_fraction - x_fraction if residual else -WIDEST)
    fractions = _fractions(weight, bias, x_fraction, least)
    low, high = _limits(node, activation, fraction)
    name = last.output
    constants = {
        f"{name}.weight": np.ldexp(weight, fractions.reshape(-1, 1, 1, 1)).astype(np.float32),
        f"{name}.bias": np.ldexp(bias, fractions + x_fraction).astype(np.float32),
        f"{name}.fractions": fractions.astype(np.float32),
        **({f"{name}.slopes": slopes[0], f"{name}.slope_fractions": slopes[1]} if slopes is not None else {}),
    }
    more = (before[-1].inputs[0],) if residual else ()
    return (
        Node(
            "Int8Conv",
            (before[0].inputs[0], *constants, *more),
            name,
            {
                **{key: node[key] for key in ("strides", "dilations", "pads", "groups")},
                "x_fraction": x_fraction,
                "fraction": fraction,
                "slopes": slopes is not None,
                "residual": residual,
                "residual_fraction": residual_fraction,
                "low": low,
                "high": high,
            },
            node.name,
        ),
        constants,
    )


def _slopes(graph: Graph, node: Node, activation: str) -> tuple[Array, Array] | None:
    """Slopes as integers, and the smallest fractions that make them such."""
    if activation == "LeakyRelu":
        values = np.full(len(graph.constants[node.inputs[1]]), node["alpha"], np.float32)
    elif activation == "PRelu":
        values = graph.constants[node.inputs[3]]
    else:
        return None
    found = np.full(len(values), WIDEST + 1)
    for bits in range(WIDEST, -1, -1):
        found[_whole(np.ldexp(values, bits))] = bits
    if (found > WIDEST).any():
        raise GraphError("its slopes are no integers over a power of two")
    return np.ldexp(values, found).astype(np.float32), found.astype(np.float32)


def _fractions(weight: Array, bias: Array, x_fraction: int, least: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The smallest fraction of each channel that makes integers of its weights and bias."""
    found = np.full(len(weight), WIDEST + 1, np.int64)
    for bits in range(WIDEST, least - 1, -1):
        whole = _whole(np.ldexp(weight, bits)).all(axis=(1, 2, 3)) & _whole(np.ldexp(bias, bits + x_fraction))
        found[whole] = bits
    if (found > WIDEST).any():
        raise GraphError("its weights or bias are no integers over a power of two")
    if np.abs(np.ldexp(weight, found.reshape(-1, 1, 1, 1))).max() > HIGHEST:
        raise GraphError("its weights take more than 8 bits")
    return found


def _whole(values: Array) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    return np.asarray(values == np.rint(values))


def _limits(node: Node, activation: str, fraction: int) -> tuple[int, int]:
    """The integers that an output is held between."""
    if activation == "Relu":
        return 0, HIGHEST
    if activation != "Clip":
        if activation not in ("", "PRelu", "LeakyRelu"):
            raise GraphError(f"{activation} has no integer form")
        return LOWEST, HIGHEST
    ends = [math.ldexp(node[name], fraction) if math.isfinite(node[name]) else node[name] for name in ("min", "max")]
    if any(math.isfinite(end) and end != round(end) for end in ends):
        raise GraphError("its limits are no integers of its output's fraction")
    if ends[0] > ends[1]:
        raise GraphError("its lower limit is above its upper one")
    return int(max(LOWEST, ends[0])), int(min(HIGHEST, ends[1]))

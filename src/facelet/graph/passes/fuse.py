"""What a convolution can take along, and the unit length at the end of a net.

conv -> [+ residual] -> [activation]                    becomes one FusedConv
x / clip(sqrt(sum of x squared along an axis), eps)      becomes one LpNormalization; the clip may be missing, and
                                                         a Reshape may bring the axis back
"""

from __future__ import annotations

import math

from facelet.graph.ir import ACTIVATIONS, Graph, Node
from facelet.graph.passes.result import Note, PassResult, only_reader


def fuse(graph: Graph) -> PassResult:
    """Joins convolutions with what follows them, and the nodes of a normalisation; the output stays the same."""
    notes: list[Note] = []
    for node in graph.nodes:
        if node.op == "Conv" and node in graph.nodes:
            graph, note = _fuse_conv(graph, node)
            notes.append(note)
    for node in graph.nodes:
        if node.op == "Div":
            graph, note = _fuse_norm(graph, node)
            notes.append(note)
    return PassResult(graph, tuple(notes))


def _fuse_conv(graph: Graph, conv: Node) -> tuple[Graph, Note]:
    chain, residual, activation = [conv], "", None
    following = only_reader(graph, conv.output)
    if following is not None and following.op == "Add":
        other = next((name for name in following.inputs if name != conv.output), conv.output)
        same = graph.shapes[other] == graph.shapes[conv.output] and other not in graph.constants
        if same and other != conv.output:
            residual = other
            chain.append(following)
            following = only_reader(graph, following.output)
    if following is not None and following.op in ACTIVATIONS:
        activation = following
        chain.append(following)
    if len(chain) == 1:
        return graph, Note(str(conv), False, _why_not(graph, conv))
    last = chain[-1]
    extra = dict(activation.attributes) if activation else {}
    slope = activation.inputs[1:] if activation and activation.op == "PRelu" else ()
    fused = Node(
        op="FusedConv",
        inputs=(*conv.inputs, *slope, *([residual] if residual else [])),
        output=last.output,
        attributes={
            **conv.attributes,
            **extra,
            "activation": activation.op if activation else "",
            "residual": bool(residual),
        },
        name=conv.name,
    )
    nodes = [fused if node is last else node for node in graph.nodes if node is last or node not in chain]
    told = " and ".join(str(node) for node in chain[1:])
    return graph.with_nodes(nodes), Note(str(conv), True, f"took along {told}")


def _why_not(graph: Graph, conv: Node) -> str:
    readers = graph.readers(conv.output)
    if conv.output in graph.outputs:
        return "is an output of the graph"
    if len(readers) != 1:
        return f"is read by {len(readers)} nodes"
    return f"is followed by {readers[0]}, which it cannot take along"


def _fuse_norm(graph: Graph, division: Node) -> tuple[Graph, Note]:
    refused = Note(str(division), False, "is no division by the length along one axis")
    x, length = division.inputs
    epsilon, gone = 0.0, [division]
    node = graph.producer(length)
    while node is not None and node.op in ("Clip", "Reshape"):
        if only_reader(graph, node.output) is not gone[-1]:
            return graph, refused
        if node.op == "Clip":
            if node["max"] < math.inf or node["min"] <= 0:
                return graph, refused
            epsilon = max(epsilon, node["min"])
        gone.append(node)
        node = graph.producer(node.inputs[0])
    if node is None or node.op != "ReduceL2" or node.inputs[0] != x or len(node["axes"]) != 1:
        return graph, refused
    if graph.shapes[length] != tuple(1 if i == node["axes"][0] else size for i, size in enumerate(graph.shapes[x])):
        return graph, refused
    if only_reader(graph, node.output) is not gone[-1]:
        return graph, Note(str(division), False, f"the length {node} is read elsewhere, too")
    gone.append(node)
    joined = Node(
        "LpNormalization", (x,), division.output, {"axis": node["axes"][0], "epsilon": epsilon}, division.name
    )
    nodes = [joined if other is division else other for other in graph.nodes if other is division or other not in gone]
    return graph.with_nodes(nodes), Note(str(division), True, "became one normalisation")

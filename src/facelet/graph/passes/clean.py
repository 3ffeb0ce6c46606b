"""What does nothing goes.

Nodes that no output needs; a Reshape, Transpose, Pad, Clip, Concat or Resize that changes nothing; two Reshapes or
two Transposes in a row, also where arithmetic stands between them (`transposes`).
"""

from __future__ import annotations

import math
from dataclasses import replace

from facelet.graph.ir import Graph, Node
from facelet.graph.passes.result import Note, PassResult
from facelet.graph.passes.transposes import moved_past, without_order


def clean(graph: Graph) -> PassResult:
    """Removes what does nothing; the output stays exactly the same."""
    notes: list[Note] = []
    changed = True
    while changed:
        changed = False
        for node in graph.nodes:
            new, reason = _cleaned(graph, node)
            if new is not None:
                notes.append(Note(str(node), True, reason))
                graph, changed = new, True
                break
    return PassResult(graph, tuple(notes))


def bypass(graph: Graph, node: Node, source: str = "") -> Graph:
    """The graph without a node: whoever read its output reads `source`, by default its first input."""
    source = source or node.inputs[0]
    nodes = []
    for other in graph.nodes:
        if other is not node:
            inputs = tuple(source if name == node.output else name for name in other.inputs)
            nodes.append(replace(other, inputs=inputs))
    return graph.with_nodes(nodes)


def _does_nothing(graph: Graph, node: Node) -> bool:
    if node.op == "Reshape":
        return graph.shapes[node.inputs[0]] == graph.shapes[node.output]
    if node.op == "Transpose":
        return tuple(node["perm"]) == tuple(range(len(node["perm"])))
    if node.op == "Pad":
        return not any(node["pads"])
    if node.op == "Clip":
        return bool(node["min"] == -math.inf and node["max"] == math.inf)
    if node.op == "Slice":
        return graph.shapes[node.inputs[0]] == graph.shapes[node.output] and set(node["steps"]) == {1}
    if node.op == "Resize":
        return bool(node["scale_h"] == node["scale_w"] == 1)
    return node.op == "Concat" and len(node.inputs) == 1


def _cleaned(graph: Graph, node: Node) -> tuple[Graph | None, str]:
    if node.output not in graph.outputs:
        if not graph.readers(node.output):
            return graph.with_nodes(other for other in graph.nodes if other is not node), "nothing reads it"
        if _does_nothing(graph, node):
            return bypass(graph, node), "changes nothing"
    if (moved := moved_past(graph, node) or without_order(graph, node)) is not None:
        return moved, "an order of axes before it moved or went"
    before = graph.producer(node.inputs[0])
    if before is None or before.op != node.op or node.op not in ("Reshape", "Transpose"):
        return None, ""
    if node.op == "Reshape":
        merged = replace(node, inputs=before.inputs)
    else:
        perm = tuple(before["perm"][axis] for axis in node["perm"])
        merged = replace(node, inputs=before.inputs, attributes={"perm": perm})
    return graph.with_nodes(merged if other is node else other for other in graph.nodes), f"joined with {before}"

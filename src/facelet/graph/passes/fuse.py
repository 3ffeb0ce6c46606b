"""What a convolution can take along, and the unit length at the end of a net (`norms`).

conv -> [+ residual] -> [activation]                    becomes one FusedConv
"""

from __future__ import annotations

from facelet.graph.ir import ACTIVATIONS, Graph, Node
from facelet.graph.passes.norms import fuse_norm
from facelet.graph.passes.result import Note, PassResult, only_reader


def fuse(graph: Graph) -> PassResult:
    """Joins convolutions with what follows them, and the nodes of a normalisation; the output stays the same."""
    notes: list[Note] = []
    for node in graph.nodes:
        if node.op == "Conv" and node in graph.nodes:
            graph, note = _fuse_conv(graph, node)
            notes.append(note)
    for node in graph.nodes:
        if (fused := fuse_norm(graph, node)) is not None:
            graph = fused[0]
            notes.append(fused[1])
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

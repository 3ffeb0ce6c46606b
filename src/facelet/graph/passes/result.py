"""What a pass says of what it did and of what it left alone."""

from __future__ import annotations

from dataclasses import dataclass

from facelet.graph.ir import Graph, Node


@dataclass(frozen=True)
class Note:
    """One place that a pass looked at.

    Attributes:
        node: the node in words.
        applied: whether the pass changed it.
        reason: what was done, or why it was not.
    """

    node: str
    applied: bool
    reason: str


@dataclass(frozen=True)
class PassResult:
    """A changed graph and the notes of the pass."""

    graph: Graph
    notes: tuple[Note, ...]


def only_reader(graph: Graph, tensor: str) -> Node | None:
    """The one node that reads a tensor; None where there are several, none, or it is an output of the graph."""
    readers = graph.readers(tensor)
    return readers[0] if len(readers) == 1 and tensor not in graph.outputs else None

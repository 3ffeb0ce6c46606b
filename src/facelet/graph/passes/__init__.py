"""Graph -> Graph, output unchanged unless the pass says so: clean, fold, fuse, integers, prune; channels, by images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from facelet.errors import GraphError
from facelet.graph.ir import Array, Graph
from facelet.graph.passes.clean import clean
from facelet.graph.passes.fold import fold
from facelet.graph.passes.fuse import fuse
from facelet.graph.passes.integers import integers
from facelet.graph.passes.prune import prune
from facelet.graph.passes.result import Note, PassResult
from facelet.graph.reference import run

PASSES: dict[str, Callable[[Graph], PassResult]] = {
    "clean": clean,
    "fold": fold,
    "fuse": fuse,
    "integers": integers,
    "prune": prune,
}

EXACT = ("clean", "fold", "fuse", "integers")
"""The passes that keep the output; `optimise` runs them in this order."""

TOLERANCE = 1e-4


def optimise(graph: Graph) -> Graph:
    """The graph as the executors like it best: cleaned, folded and fused until nothing changes any more."""
    before = None
    while before is None or before.nodes != graph.nodes:
        before = graph
        for name in EXACT:
            graph = PASSES[name](graph).graph
    return graph


def difference(before: Graph, after: Graph, seed: int = 0) -> float:
    """How far the outputs of two graphs are apart on one random input, relative to the largest number of each.

    Outputs of different shapes are infinitely far apart; one that is no number where the other is one gives NaN.
    """
    rng = np.random.default_rng(seed)
    feeds = {name: rng.standard_normal(before.shapes[name]).astype(np.float32) for name in before.inputs}
    old, new = run(before, feeds), run(after, feeds)
    gaps = [_gap(old[a], new[b]) for a, b in zip(before.outputs, after.outputs, strict=True)]
    return float(np.max(gaps))  # unlike Python's max, keeps NaN


def _gap(old: Array, new: Array) -> float:
    if old.shape != new.shape:
        return float("inf")
    alike = (old == new) | (np.isnan(old) & np.isnan(new))  # equal infinities are no difference
    with np.errstate(invalid="ignore"):
        apart = np.where(alike, 0, np.abs(old - new))
    largest = np.abs(old, where=np.isfinite(old), out=np.zeros_like(old)).max()
    return float(apart.max() / max(float(largest), 1e-30))


def checked(graph: Graph, name: str) -> PassResult:
    """Runs a pass of `PASSES` and compares the outputs before and after.

    Returns:
        What the pass gives; where it may change the output (prune), one more note tells by how much.

    Raises:
        GraphError: the pass changed what the graph computes.
    """
    result = PASSES[name](graph)
    apart = difference(graph, result.graph)
    if name in EXACT and not apart < TOLERANCE:
        raise GraphError(f"{graph.name}: the pass {name} changed the output by {apart:.1e}; please report it")
    if name in EXACT:
        return result
    told = Note(f"{graph.name}, all of it", True, f"the output changed by {apart:.1e} of its largest number")
    return replace(result, notes=(*result.notes, told))

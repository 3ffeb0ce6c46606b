"""Fractions by the embedding: one tensor after another gets a bit more or less where the embedding comes nearer.

A trial changes a few tensors, so that only the nodes from the first of them on are run. Where the rest of the network
hangs on one tensor alone, a cut, that tensor's values are kept. A first part of the images tells most trials that make
it worse; only the others are run on all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from facelet.errors import GraphError
from facelet.graph.ir import Array, Graph
from facelet.quantize.build import build, integer

Run = Callable[[Graph, Array], Array]
"""Runs a graph on images `(n, c, h, w)`: the first output."""

Advance = Callable[[int, int, str], None]
"""Told what is done, of how much, and what it is."""

PASSES = 2
"""Times that tensors are tried with a bit more or less; the second time those alone that came near to a gain."""

LEAST_GAIN = 1e-3
"""Of the error; less is not worth a change, as it would follow the images at hand."""

NEAR = 1.003
"""Ratio of errors, as far as a trial was run, up to which it is repeated in a later pass, as others have changed."""

PARTS = (8, 3, 1)
"""A trial is run on one in so many images, then on more where it is better so far, at last on all."""

FEWEST_IMAGES = 8
"""Of the first part."""


@dataclass(frozen=True)
class Cut:
    """A place in the network where all that follows hangs on one tensor.

    Attributes:
        position: of the first node behind it.
        tensor: name in the float network.
    """

    position: int
    tensor: str


def find_cuts(graph: Graph, fractions: Mapping[str, int]) -> tuple[Cut, ...]:
    """Every cut of a prepared network, from its input on; behind each, the int8 network is what it is in the whole."""
    whole = build(graph, fractions)
    made = {node.output: node for node in whole.nodes}
    last = {name: position for position, node in enumerate(graph.nodes) for name in node.inputs}
    last |= dict.fromkeys(graph.outputs, len(graph.nodes))
    cuts, live = [Cut(0, graph.inputs[0])], {graph.inputs[0]}
    for position, node in enumerate(graph.nodes):
        live = {name for name in {*live, node.output} if last.get(name, -1) > position}
        name = next(iter(live), "")
        if len(live) != 1 or name in graph.outputs or name not in fractions or integer(name) not in made:
            continue
        cut = Cut(position + 1, name)
        behind = build(suffix(graph, cut), fractions)
        alike = all(made.get(n.output) == n for n in behind.nodes if n.op != "QuantizeLinear")
        if alike and all(np.array_equal(a, whole.constants[c]) for c, a in behind.constants.items()):
            cuts.append(cut)
    return tuple(cuts)


def suffix(graph: Graph, cut: Cut, stop: Cut | None = None) -> Graph:
    """The nodes behind a cut as a network of its own, up to another cut where one is given."""
    nodes = graph.nodes[cut.position : None if stop is None else stop.position]
    outputs = graph.outputs if stop is None else (stop.tensor,)
    return replace(graph, inputs=(cut.tensor,), outputs=outputs).with_nodes(nodes)


def unit(embeddings: Array) -> Array:
    """Rows of unit length; those of length 0 stay."""
    flat = embeddings.reshape(len(embeddings), -1)
    lengths = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.asarray(flat / np.where(lengths > 0, lengths, 1))


class _Trials:
    """What is known of the best network so far: errors image by image, and the values at the last cut."""

    def __init__(self, graph: Graph, fractions: dict[str, int], images: Array, wanted: Array, run: Run) -> None:
        self.graph, self.fractions, self.run = graph, fractions, run
        self.wanted = unit(wanted)
        order = np.random.default_rng(0).permutation(len(images))  # sets often come person by person
        self.wanted, self.images = self.wanted[order], images[order]
        self.stops = sorted({min(len(images), max(FEWEST_IMAGES, len(images) // part)) for part in PARTS})
        self.cuts = find_cuts(graph, fractions)
        self.cut, self.values = self.cuts[0], self.images
        self.errors = self._errors(build(graph, fractions), self.images, self.wanted)

    @property
    def best(self) -> float:
        """Mean squared distance of the embeddings of the best network so far."""
        return float(self.errors.mean())

    def rewind(self) -> None:
        """Goes back to the input."""
        self.cut, self.values = self.cuts[0], self.images

    def advance(self, position: int) -> None:
        """Goes on to the last cut before a node, and keeps the best network's values there."""
        ahead = [cut for cut in self.cuts if self.cut.position < cut.position <= position]
        if ahead:
            segment = build(suffix(self.graph, self.cut, ahead[-1]), self.fractions)
            self.values = self.run(segment, self.values)
            self.cut = ahead[-1]

    def attempt(self, group: Sequence[str], step: int) -> float:
        """Changes the fractions of a group by some bits if that is better; the ratio of errors as far as it was run."""
        tried = {**self.fractions, **{name: self.fractions[name] + step for name in group}}
        try:
            made = build(suffix(self.graph, self.cut), tried)
        except GraphError:  # a fraction that no shift can reach
            return np.inf
        found, ratio = np.zeros(0), np.inf
        for start, stop in zip([0, *self.stops], self.stops, strict=False):
            more = self._errors(made, self.values[start:stop], self.wanted[start:stop])
            found = np.concatenate([found, more])
            ratio = float(found.sum() / max(self.errors[:stop].sum(), np.finfo(np.float32).tiny))
            if ratio >= 1:
                return ratio
        if ratio < 1 - LEAST_GAIN:
            self.fractions, self.errors = tried, found
        return ratio

    def _errors(self, quantized: Graph, values: Array, wanted: Array) -> NDArray[np.float64]:
        apart = unit(self.run(quantized, values)) - wanted
        return np.asarray(np.square(apart, dtype=np.float64).sum(axis=1), np.float64)


def search(
    graph: Graph,
    fractions: dict[str, int],
    groups: Sequence[Sequence[str]],
    images: Array,
    wanted: Array,
    run: Run,
    advance: Advance,
    passes: int = PASSES,
) -> tuple[dict[str, int], float]:
    """Tries each group of tensors with a bit more or less.

    Args:
        graph: prepared and equalised.
        fractions: to begin with.
        groups: tensors that share a fraction.
        images: `(n, c, h, w)` float32.
        wanted: embeddings of the float network on the images.
        run: runs an int8 graph.
        advance: told of the progress.
        passes: times that tensors are tried; 0 changes nothing.

    Returns:
        The fractions, and the mean squared distance of the embeddings on the images.
    """
    place = {node.output: position for position, node in enumerate(graph.nodes)}
    firsts = [min(place.get(name, 0) for name in group) for group in groups]
    trials = _Trials(graph, fractions, images, wanted, run)
    todo = sorted((first, number, step) for number, first in enumerate(firsts) for step in (-1, 1))
    size = len(graph.nodes)
    done, total = 0, int(sum(size - first for first, _, _ in todo) * 1.25)  # nodes that are run, with the later pass
    for _ in range(passes):
        trials.rewind()
        again: set[tuple[int, int, int]] = set()
        changed: set[int] = set()
        for first, number, step in todo:
            advance(done, total, groups[number][0])
            done += size - first
            if number in changed:  # the other way led here
                continue
            trials.advance(first)
            before = trials.fractions
            ratio = trials.attempt(groups[number], step)
            if trials.fractions is not before:
                changed.add(number)
                again |= {(first, number, -1), (first, number, 1)}
            elif ratio < NEAR:
                again.add((first, number, step))
        todo = sorted(again)
        total = done + sum(size - first for first, _, _ in todo)
    advance(total, total, "biases")
    return trials.fractions, trials.best

"""Fewer hidden channels in inverted residuals: the least needed go, the projection is fitted to those that stay.

A block expands x by a 1x1 convolution, filters each channel for itself to z, and projects to y = W z + b. Nothing else
reads its hidden channels, so one is removed by cutting a filter, a depthwise filter and a column of W. Where C is the
covariance of z on images and P its inverse, leaving channel j out costs, all other columns fitted anew,

    |W_j|^2 / P_jj     and makes     W <- W - W_j P_j / P_jj,     P <- P - P_j^T P_j / P_jj

The cheapest goes, one after another. Blocks are narrowed in order, and each is fitted to what the whole net has there,
so that it mends what those before it spoiled. Without the fit a channel costs |W_j|^2 C_jj and W stays; the bias keeps
the mean of y either way.

Source: Hassibi and Stork, "Second order derivatives for network pruning: optimal brain surgeon", NIPS 1992 (cost and
step); of channels, by a fit to the block's output: Luo et al., "ThiNet", ICCV 2017, and He et al., "Channel pruning
for accelerating very deep neural networks", ICCV 2017.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from facelet.errors import GraphError, InputError
from facelet.graph import reference
from facelet.graph.ir import Array, Graph, Node
from facelet.graph.passes.clean import clean
from facelet.graph.passes.fold import fold
from facelet.graph.passes.fuse import fuse
from facelet.graph.passes.result import Note, PassResult, only_reader

MULTIPLE = 8
"""Of channels that stay, as engines compute in lanes of so many."""

RIDGE = 1e-6
"""Of the mean variance of a block's channels: with it, dead and doubled channels have an inverse, too."""

TINY = 1e-30
"""Keeps the variance of a block that is dead altogether above zero."""

CHUNK = 16
"""Images whose places are summed at once."""

Matrix = NDArray[np.float64]
Values = dict[str, Array]


@dataclass(frozen=True)
class Block:
    """The three convolutions of an inverted residual.

    Attributes:
        expand: 1x1, to the hidden channels.
        depthwise: of a hidden channel each.
        project: 1x1, from them.
    """

    expand: Node
    depthwise: Node
    project: Node


@dataclass(frozen=True)
class Moments:
    """Hidden channels z and what a projection should make of them, y, over all images and places; float64.

    Attributes:
        mean_z: `(c,)`.
        mean_y: `(m,)`.
        zz: covariance of z, `(c, c)`.
        yz: of y and z, `(m, c)`.
        yy: variance of y, summed over its channels.
    """

    mean_z: Matrix
    mean_y: Matrix
    zz: Matrix
    yz: Matrix
    yy: float


@dataclass(frozen=True)
class Choice:
    """What becomes of a block.

    Attributes:
        stay: hidden channels, ascending, `(k,)` int64.
        weight: of the projection from them, `(m, k)`.
        bias: of the projection, `(m,)`.
        told: what is lost, for the note.
    """

    stay: NDArray[np.int64]
    weight: Array
    bias: Array
    told: str


def channels(graph: Graph, images: Array, keep: float, *, fit: bool = True) -> PassResult:
    """Removes hidden channels of every inverted residual; the output changes.

    Args:
        graph: float, one input.
        images: `(n, c, h, w)` float32 as the network eats them; some hundred, all of which are computed at once.
        keep: share of the channels that stay, above 0, at most 1; rounded to a multiple of `MULTIPLE`.
        fit: whether the projections are fitted to what stays.

    Raises:
        InputError: another share.
        GraphError: there is no such block, or more than one input.
    """
    if not 0 < keep <= 1:
        raise InputError(f"channels: the share that stays must be above 0 and at most 1, found {keep:g}")
    if len(graph.inputs) != 1:
        raise GraphError(f"{graph.name}: has {len(graph.inputs)} inputs; channels are chosen in nets of one")
    graph, found = inverted_residuals(graph)
    blocks = {block.project.output: block for block in found}
    last = max(place for place, node in enumerate(graph.nodes) if node.output in blocks)
    original = graph
    whole: Values = {graph.inputs[0]: images}
    thin = dict(whole)
    notes = []
    for place, node in enumerate(original.nodes[: last + 1]):
        whole[node.output] = _run(original, node, whole)
        block = blocks.get(node.output)
        width = graph.shapes[block.expand.output][1] if block is not None else 0
        if block is not None and kept_channels(width, keep) < width:
            choice = _choice(original, node, whole, thin, kept_channels(width, keep), fit)
            graph = _narrowed(graph, block, choice)
            notes.append(Note(str(node), True, f"{len(choice.stay)} of {width} hidden channels stay: {choice.told}"))
            thin[node.output] = _run(original, node, thin, choice)
        elif all(thin[name] is whole[name] for name in node.inputs if name in whole):
            thin[node.output] = whole[node.output]
        else:
            thin[node.output] = _run(original, node, thin)
        later = {name for other in original.nodes[place + 1 : last + 1] for name in other.inputs}
        for values in (whole, thin):
            for name in {*values} - later:
                del values[name]
    return PassResult(graph, tuple(notes))


def kept_channels(width: int, keep: float) -> int:
    """How many of so many channels stay: the multiple of `MULTIPLE` nearest to the share, at least one of them."""
    return min(width, max(MULTIPLE, MULTIPLE * round(keep * width / MULTIPLE)))


def inverted_residuals(graph: Graph) -> tuple[Graph, tuple[Block, ...]]:
    """A graph, cleaned, folded and fused, and its blocks in order.

    Raises:
        GraphError: there is none.
    """
    graph = fuse(fold(clean(graph).graph).graph).graph
    found = []
    for expand in graph.nodes:
        depthwise = only_reader(graph, expand.output)
        project = only_reader(graph, depthwise.output) if depthwise is not None else None
        if depthwise is not None and project is not None and _is_block(graph, expand, depthwise, project):
            found.append(Block(expand, depthwise, project))
    if not found:
        raise GraphError(
            f"{graph.name}: has no inverted residual (1x1 to hidden channels, depthwise, 1x1), so no channels to remove"
        )
    return graph, tuple(found)


def _is_block(graph: Graph, expand: Node, depthwise: Node, project: Node) -> bool:
    if any(node.op not in ("Conv", "FusedConv") for node in (expand, depthwise, project)):
        return False
    width = graph.shapes[expand.output][1]
    pointwise = all(node["groups"] == 1 and graph.shapes[node.inputs[1]][2:] == (1, 1) for node in (expand, project))
    filtered = depthwise["groups"] == width == graph.shapes[depthwise.output][1]
    adding = any(node.op == "FusedConv" and node["residual"] for node in (expand, depthwise))
    chained = (depthwise.inputs[0], project.inputs[0]) == (expand.output, depthwise.output)
    dense = not any(project["pads"]) and tuple(project["strides"]) == (1, 1)
    return pointwise and filtered and chained and not adding and dense


def _run(graph: Graph, node: Node, values: Values, choice: Choice | None = None) -> Array:
    """A node's output for any number of images; a projection's from the channels that stay."""
    inputs = [graph.constants[name] if name in graph.constants else values[name] for name in node.inputs]
    if choice is not None:
        inputs[:3] = values[node.inputs[0]][:, choice.stay], choice.weight[:, :, None, None], choice.bias
    if node.op == "Reshape":
        return inputs[0].reshape(len(inputs[0]), *node["shape"][1:])
    return reference.run_node(node, inputs)


def _choice(graph: Graph, project: Node, whole: Values, thin: Values, width: int, fit: bool) -> Choice:
    """Which of a block's channels stay, and the projection of them."""
    weight = graph.constants[project.inputs[1]][:, :, 0, 0].astype(np.float64)
    seen = _moments(graph, project, whole, thin)
    if fit:
        ridge = RIDGE * np.trace(seen.zz) / len(seen.zz) + TINY
        zz, yz = seen.zz + ridge * np.eye(len(seen.zz)), seen.yz + ridge * weight
        stay = fitted_choice(np.linalg.solve(zz, yz.T).T, zz, width)
        new = np.linalg.solve(zz[np.ix_(stay, stay)], yz[:, stay].T).T
    else:
        cost = np.square(weight).sum(axis=0) * np.diag(seen.zz)
        stay = np.sort(np.argsort(-cost, kind="stable")[:width])
        new = weight[:, stay]
    left = seen.yy - 2 * (new * seen.yz[:, stay]).sum() + (new @ seen.zz[np.ix_(stay, stay)] * new).sum()
    told = f"{100 * max(0.0, left) / max(seen.yy, TINY):.2g} % of the variance of what it adds is missed"
    bias = seen.mean_y - new @ seen.mean_z[stay]
    return Choice(stay, np.asarray(new, np.float32), np.asarray(bias, np.float32), told)


def fitted_choice(weight: Matrix, covariance: Matrix, width: int) -> NDArray[np.int64]:
    """The channels that stay, ascending, where each one that goes is the cheapest at its turn.

    Args:
        weight: of the projection, fitted to all channels, `(m, c)`.
        covariance: of the channels, `(c, c)`, positive definite.
        width: how many stay.
    """
    left = np.arange(len(covariance))
    inverse = np.linalg.inv(covariance)
    for _ in range(len(covariance) - width):
        worst = int(np.argmin(np.square(weight).sum(axis=0) / np.diag(inverse)))
        row = inverse[worst] / inverse[worst, worst]
        weight = np.delete(weight - np.outer(weight[:, worst], row), worst, axis=1)
        inverse = inverse - np.outer(inverse[:, worst], row)
        inverse = np.delete(np.delete(inverse, worst, axis=0), worst, axis=1)
        left = np.delete(left, worst)
    return left


def _moments(graph: Graph, project: Node, whole: Values, thin: Values) -> Moments:
    """Moments of the thin net's hidden channels, and of what brings its sum to that of the whole net."""
    parameters = [graph.constants[name] for name in project.inputs[1:3]]
    residual = project.inputs[-1] if project.op == "FusedConv" and project["residual"] else ""
    hidden = project.inputs[0]
    n_hidden = graph.shapes[hidden][1]
    size = n_hidden + graph.shapes[project.output][1]
    total, products, rows = np.zeros(size), np.zeros((size, size)), 0
    for start in range(0, len(thin[hidden]), CHUNK):
        part = slice(start, start + CHUNK)
        y = reference.sums(project, [whole[hidden][part], *parameters])
        if residual:
            y = y + whole[residual][part] - thin[residual][part]
        both = np.concatenate([_rows(thin[hidden][part]), _rows(y)])
        rows += both.shape[1]
        total += both.sum(axis=1)
        products += both @ both.T
    mean = total / rows
    covariance = products / rows - np.outer(mean, mean)
    return Moments(
        mean_z=mean[:n_hidden],
        mean_y=mean[n_hidden:],
        zz=covariance[:n_hidden, :n_hidden],
        yz=covariance[n_hidden:, :n_hidden],
        yy=float(np.trace(covariance[n_hidden:, n_hidden:])),
    )


def _rows(x: Array) -> Matrix:
    """`(n, c, h, w)` as `(c, n h w)` float64."""
    return np.asarray(x.transpose(1, 0, 2, 3).reshape(x.shape[1], -1), np.float64)


def _narrowed(graph: Graph, block: Block, choice: Choice) -> Graph:
    """The graph with fewer hidden channels in one block."""
    own = {
        block.expand.output: _per_channel(graph, block.expand, choice.stay),
        block.depthwise.output: _per_channel(graph, block.depthwise, choice.stay),
        block.project.output: {1: choice.weight[:, :, None, None], 2: choice.bias},
    }
    nodes, constants = [], {}
    for node in graph.nodes:
        names = {place: f"{node.output}.{place}'" for place in own.get(node.output, {})}
        constants.update({name: own[node.output][place] for place, name in names.items()})
        inputs = tuple(names.get(place, name) for place, name in enumerate(node.inputs))
        groups = {"groups": len(choice.stay)} if node.output == block.depthwise.output else {}
        nodes.append(replace(node, inputs=inputs, attributes={**node.attributes, **groups}))
    shapes = {
        name: (graph.shapes[name][0], len(choice.stay), *graph.shapes[name][2:])
        for name in (block.expand.output, block.depthwise.output)
    }
    return graph.with_nodes(nodes, constants=constants, shapes=shapes)


def _per_channel(graph: Graph, node: Node, stay: NDArray[np.int64]) -> dict[int, Array]:
    """Filters, biases and slopes of a convolution for the channels that stay, by place among its inputs."""
    return {
        place: graph.constants[name][stay]
        for place, name in enumerate(node.inputs)
        if place and name in graph.constants
    }

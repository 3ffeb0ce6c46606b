"""Affine maps into the convolution or dense layer beside them.

After it:   s (W x + b) + t = (s W) x + (s b + t)
Before it:  W (s x + t) + b = (W s) x + (W t + b), where no border of zeros lies between
In a row:   s (r x + u) + t = (s r) x + (s u + t), one map in place of two

A batch norm is the affine map s = scale / sqrt(variance + epsilon), t = bias - mean s. A Pad becomes the border of
the convolution or pool that reads it, where that border holds the same numbers. Constants that are computed from
constants are gone before a pass sees them: `onnx_io` computes them while it reads.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from facelet.graph.ir import Array, Graph, Node
from facelet.graph.passes.result import Note, PassResult, only_reader

LINEAR = ("Conv", "Gemm")
AFFINE = ("BatchNormalization", "Add", "Sub", "Mul", "Div")
NEVER_NEGATIVE = ("Relu", "Sigmoid")
KEEPS_SIGN = ("MaxPool", "AveragePool", "GlobalAveragePool", "LRN", "Concat", "Reshape", "Transpose", "Resize")


def fold(graph: Graph) -> PassResult:
    """Folds every affine map that can be folded exactly; the output stays the same up to rounding."""
    notes: dict[str, Note] = {}
    changed = True
    while changed:
        changed = False
        for node in graph.nodes:
            if node.op not in (*AFFINE, "Pad"):
                continue
            folded, reason = _fold_pad(graph, node) if node.op == "Pad" else _fold_affine(graph, node)
            if folded is None:
                notes[str(node)] = Note(str(node), False, reason)
                continue
            notes[str(node)] = Note(str(node), True, reason)
            graph, changed = folded, True
            break
    left = {str(node) for node in graph.nodes}  # a map that waited for the next one is gone with it
    return PassResult(graph, tuple(note for note in notes.values() if note.applied or note.node in left))


def _affine(graph: Graph, node: Node) -> tuple[Array, Array] | str:
    """Scale and shift per channel of a node, `(c,)` each, or why it is no such map."""
    shape = graph.shapes[node.output]
    if len(shape) < 2:
        return "has no channels"
    channels = shape[1]
    if node.op == "BatchNormalization":
        scale, bias, mean, variance = (graph.constants[name].astype(np.float64) for name in node.inputs[1:])
        factor = scale / np.sqrt(variance + node["epsilon"])
        return np.asarray(factor, np.float32), np.asarray(bias - mean * factor, np.float32)
    first, second = node.inputs
    left = first in graph.constants
    if left == (second in graph.constants):
        return "joins two tensors"
    if left and node.op == "Div":
        return "divides a constant by its input"
    value = graph.constants[first if left else second]
    lined = value.reshape((1,) * (len(shape) - value.ndim) + value.shape)
    if value.ndim > len(shape) or (value.size != 1 and lined.shape != (1, channels, *([1] * (len(shape) - 2)))):
        return "its constant is neither one number nor one per channel"
    numbers = np.broadcast_to(lined.reshape(-1), (channels,)).astype(np.float32)
    one, zero = np.ones_like(numbers), np.zeros_like(numbers)
    with np.errstate(divide="ignore"):
        maps: dict[str, tuple[Array, Array]] = {
            "Add": (one, numbers),
            "Sub": (-one, numbers) if left else (one, -numbers),
            "Mul": (numbers, zero),
            "Div": (np.asarray(1 / numbers, np.float32), zero),
        }
    return maps[node.op]


def _moving_input(graph: Graph, node: Node) -> str:
    """The input of an affine node that is not its constant."""
    return node.inputs[1] if node.inputs[0] in graph.constants else node.inputs[0]


def _fold_affine(graph: Graph, node: Node) -> tuple[Graph | None, str]:
    found = _affine(graph, node)
    if isinstance(found, str):
        return None, found
    scale, shift = found
    if not (np.isfinite(scale).all() and np.isfinite(shift).all()):
        return None, "its numbers are not finite"
    source = _moving_input(graph, node)
    if graph.shapes[source] != graph.shapes[node.output]:
        return None, f"spreads {graph.shapes[source]} to {graph.shapes[node.output]}"
    before = graph.producer(source)
    if before is not None and before.op in LINEAR:
        if only_reader(graph, source) is not node:
            return None, f"{before} is read elsewhere, too"
        weight, bias = graph.constants[before.inputs[1]], graph.constants[before.inputs[2]]
        new_weight = weight * scale.reshape(-1, *([1] * (weight.ndim - 1)))
        return _with_linear(graph, before, new_weight, bias * scale + shift, node), f"into {before} before it"
    after = only_reader(graph, node.output)
    if after is not None and after.op in LINEAR and after.inputs[0] == node.output:
        weight, bias = graph.constants[after.inputs[1]], graph.constants[after.inputs[2]]
        if after.op == "Conv" and any(after["pads"]) and shift.any():
            return None, f"{after} has a border of zeros, which its shift would reach"
        spread, moved = _before(after, weight, scale, shift)
        return _with_linear(graph, after, spread, bias + moved, node), f"into {after} behind it"
    if before is not None and before.op in AFFINE and only_reader(graph, source) is node:
        earlier = _affine(graph, before)
        if not isinstance(earlier, str) and graph.shapes[_moving_input(graph, before)] == graph.shapes[source]:
            return _joined(graph, before, node, earlier[0] * scale, earlier[1] * scale + shift), f"joined with {before}"
    return None, "no convolution or dense layer is beside it"


def _joined(graph: Graph, before: Node, node: Node, scale: Array, shift: Array) -> Graph:
    """The graph with one map, per channel, in the place of two in a row."""
    x, rank = _moving_input(graph, before), len(graph.shapes[node.output])
    per_channel = (1, -1, *([1] * (rank - 2)))
    names = tuple(f"{node.output}.{part}'" for part in ("scale", "shift", "mean", "variance"))
    if not shift.any():
        new = Node("Mul", (x, names[0]), node.output, {}, node.name)
        constants = {names[0]: scale.reshape(per_channel)}
    elif (scale == 1).all():
        new = Node("Add", (x, names[1]), node.output, {}, node.name)
        constants = {names[1]: shift.reshape(per_channel)}
    else:
        new = Node("BatchNormalization", (x, *names), node.output, {"epsilon": 0.0}, node.name)
        constants = dict(zip(names, (scale, shift, np.zeros_like(scale), np.ones_like(scale)), strict=True))
    nodes = [new if other is node else other for other in graph.nodes if other is not before]
    return graph.with_nodes(nodes, constants=constants)


def _before(linear: Node, weight: Array, scale: Array, shift: Array) -> tuple[Array, Array]:
    """Weights and shift of a linear node that takes an affine map's input instead of its output."""
    if linear.op == "Gemm":
        return weight * scale, weight @ shift
    groups = linear["groups"]
    per_filter = np.repeat(scale.reshape(groups, -1), len(weight) // groups, axis=0)[:, :, None, None]
    moved = np.repeat(shift.reshape(groups, -1), len(weight) // groups, axis=0)[:, :, None, None]
    return weight * per_filter, (weight * moved).sum(axis=(1, 2, 3))


def _with_linear(graph: Graph, linear: Node, weight: Array, bias: Array, gone: Node) -> Graph:
    """The graph without the node `gone`, which is next to `linear`, whose constants change."""
    follows = gone.inputs and linear.output in gone.inputs
    x = linear.inputs[0] if follows else _moving_input(graph, gone)
    output = gone.output if follows else linear.output
    names = f"{output}.weight'", f"{output}.bias'"
    new = replace(linear, inputs=(x, *names), output=output)
    constants = dict(zip(names, (np.asarray(weight, np.float32), np.asarray(bias, np.float32)), strict=True))
    nodes = [new if node is linear else node for node in graph.nodes if node is not gone]
    return graph.with_nodes(nodes, constants=constants)


def _fold_pad(graph: Graph, node: Node) -> tuple[Graph | None, str]:
    after, pads = only_reader(graph, node.output), node["pads"]
    if len(pads) != 8 or any(pads[axis] for axis in (0, 1, 4, 5)):
        return None, "adds more than a border around images"
    if after is None or after.op not in ("Conv", "MaxPool", "AveragePool"):
        return None, "is not read by one convolution or pool alone"
    border = tuple(a + b for a, b in zip(after["pads"], (pads[2], pads[3], pads[6], pads[7]), strict=True))
    attributes = {**after.attributes, "pads": border}
    if reason := _not_the_border_of(graph, node, after, border):
        return None, reason
    if after.op == "AveragePool":
        attributes["count_include_pad"] = True
    new = replace(after, inputs=(node.inputs[0], *after.inputs[1:]), attributes=attributes)
    nodes = [new if other is after else other for other in graph.nodes if other is not node]
    return graph.with_nodes(nodes), f"into the border of {after}"


def _not_the_border_of(graph: Graph, pad: Node, after: Node, border: tuple[int, ...]) -> str:
    """Why a Pad's numbers are not those of the border of `after`; empty where they are.

    The border of a convolution is zeros, that of an average pool is zeros that count, and that of a max pool is
    minus infinity, which zeros are as good as where nothing is negative.
    """
    if after.op != "Conv" and (
        max(border[0], border[2]) >= after["kernel"][0] or max(border[1], border[3]) >= after["kernel"][1]
    ):
        return f"is wider than the window of {after}"
    if after.op == "MaxPool":
        if pad["value"] == -math.inf or (pad["value"] <= 0 and _never_negative(graph, pad.inputs[0])):
            return ""
        return f"adds {pad['value']:g}, which the maximum of {after} may be"
    if pad["value"] != 0:
        return f"adds {pad['value']:g}, not zeros"
    if after.op == "AveragePool" and any(after["pads"]) and not after["count_include_pad"]:
        return f"{after} counts what the Pad adds, but not its own border"
    return ""


def _never_negative(graph: Graph, tensor: str) -> bool:
    """Whether a tensor holds no number below zero, as far as the ops before it tell."""
    node = graph.producer(tensor)
    if node is None:
        return False
    if node.op == "Clip":
        return bool(min(node["min"], node["max"]) >= 0)  # limits the wrong way round give the upper one
    return node.op in NEVER_NEGATIVE or (
        node.op in KEEPS_SIGN and all(_never_negative(graph, name) for name in node.inputs)
    )

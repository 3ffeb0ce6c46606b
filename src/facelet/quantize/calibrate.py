"""The fraction of each tensor, and biases, from images: what keeps the embedding nearest to the float network's.

1. Ranges of every channel on the images; equalisation (`equalise`).
2. Per tensor the fraction of the smallest squared error of rounding and clipping, tensors that a concatenation or a
   pool joins together; an input in [-1, 1] keeps `INPUT_FRACTION`.
3. One tensor after another: one bit more or less, kept where the mean squared error of the embedding falls (`search`).
4. Bias correction: the mean of each sum, over the images, becomes what it is in float.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facelet.errors import GraphError
from facelet.graph import reference
from facelet.graph.int8 import HIGHEST, LOWEST, check_int8, residual_shifts, run_int8_conv
from facelet.graph.ir import Array, Graph, Node
from facelet.quantize.build import INPUT_FRACTION, build, integer
from facelet.quantize.equalise import equalised
from facelet.quantize.outputs import joined, parted
from facelet.quantize.prepare import prepare
from facelet.quantize.roles import of_prepared
from facelet.quantize.search import PASSES, Advance, Run, search, unit

PART = 4
"""Images whose sums are made and rounded at once: few, so that they stay in the processor's cache."""

OWN_FRACTION = ("conv", "table", "product")
"""Kinds of nodes whose output has a fraction of its own."""

TRIED_BITS = 3
"""Above the fraction that clips nothing."""


@dataclass(frozen=True)
class Calibration:
    """What calibration found.

    Attributes:
        prepared: the float network that was quantized, prepared and equalised.
        quantized: the int8 network.
        fractions: by tensor of `prepared`.
        error: mean squared distance of the unit embeddings from the float network's, on the images.
    """

    prepared: Graph
    quantized: Graph
    fractions: Mapping[str, int]
    error: float


def calibrate(
    graph: Graph, images: Array, run: Run, advance: Advance | None = None, passes: int = PASSES
) -> Calibration:
    """Quantizes a network.

    Args:
        graph: float, one input; of several outputs each counts alike (see `outputs.joined`).
        images: `(n, c, h, w)` float32 as the network eats them; some hundred.
        run: runs an int8 graph on images; the executors agree to the bit, so the fastest will do.
        advance: told of the progress.
        passes: times that every tensor is tried with a bit more or less; 0 keeps what its own rounding asks for.

    Raises:
        GraphError: the network has no int8 form, or an embedding of length 0.
    """
    tell = advance or (lambda done, total, what: None)
    prepared = prepare(joined(graph))
    tell(0, 1, "ranges")
    values = every_tensor(prepared, images)
    wanted = values[prepared.outputs[0]]
    _check_finite(prepared, values)
    _check_lengths(wanted, graph.name)
    prepared, scales = equalised(prepared, _ranges(values))
    for name, scale in scales.items():
        values[name] /= scale.reshape(1, -1, 1, 1)
    groups: list[list[str]] = []
    fractions: dict[str, int] = {}
    for group in _groups(prepared):
        tensors = [values[name] for name in group]
        if {*group} & {*prepared.inputs} and all(_within_one(tensor) for tensor in tensors):
            fractions |= dict.fromkeys(group, INPUT_FRACTION)
        else:
            groups.append(group)
            fractions |= dict.fromkeys(group, _best_fraction(tensors))

    made = {node.output for node in build(prepared, fractions).nodes}
    groups = [group for group in groups if any(integer(name) in made for name in group)]  # others lie within a table
    fractions, best = search(prepared, fractions, groups, images, wanted, run, tell, passes)
    quantized = build(prepared, fractions)
    try:
        corrected = check_int8(correct_biases(prepared, quantized, images, values))
    except GraphError:  # biases beyond what the sums allow
        corrected = quantized
    if (found := embedding_error(run(corrected, images), wanted)) < best:
        quantized, best = corrected, found
    return Calibration(parted(prepared, graph.outputs), parted(quantized, graph.outputs), fractions, best)


def _check_finite(prepared: Graph, values: Mapping[str, Array]) -> None:
    for node in prepared.nodes:
        bad = ~np.isfinite(values[node.output]).reshape(len(values[node.output]), -1).all(axis=1)
        if bad.any():
            raise GraphError(
                f"{prepared.name}: {node} gives what is not a number on crop {int(bad.argmax())}; give crops as the "
                "network was trained on, or train it again"
            )


def _check_lengths(embeddings: Array, name: str) -> None:
    lengths = np.linalg.norm(embeddings.reshape(len(embeddings), -1), axis=1)
    if not lengths.all():
        raise GraphError(
            f"{name}: its embedding of crop {int(lengths.argmin())} has length 0 and points nowhere; train it"
        )


def embedding_error(found: Array, wanted: Array) -> float:
    """Mean squared distance of embeddings from others, brought to unit length first."""
    return float(((unit(found) - unit(wanted)) ** 2).sum(axis=1).mean())


def every_tensor(graph: Graph, images: Array) -> dict[str, Array]:
    """Every tensor of a graph on images, of whatever batch the graph is; the input among them."""
    batch = graph.batch
    parts: dict[str, list[Array]] = {name: [] for name in graph.inputs}
    for start in range(0, len(images) - batch + 1, batch):
        part = images[start : start + batch]
        parts[graph.inputs[0]].append(part)
        for name, value in reference.run(graph, {graph.inputs[0]: part}, every=True).items():
            parts.setdefault(name, []).append(value)
    return {name: np.concatenate(found) for name, found in parts.items()}


def _ranges(values: Mapping[str, Array]) -> dict[str, Array]:
    return {name: np.abs(value).max(axis=(0, 2, 3)) for name, value in values.items() if value.ndim == 4}


def _groups(graph: Graph) -> list[list[str]]:
    """Tensors that must share a fraction: those that a pool, a border or a concatenation joins."""
    home: dict[str, str] = {}

    def root(name: str) -> str:
        while home.setdefault(name, name) != name:
            name = home[name]
        return name

    for name in graph.inputs:
        root(name)
    kinds = of_prepared(graph)
    for node in graph.nodes:
        kind = kinds.get(node.output)
        if kind in OWN_FRACTION:
            root(node.output)
        elif kind == "moved":
            for name in node.inputs:
                home[root(name)] = root(node.output)
    found: dict[str, list[str]] = {}
    for name in home:
        found.setdefault(root(name), []).append(name)
    return list(found.values())


def _within_one(tensor: Array) -> bool:
    """Whether a tensor lies in [-1, 1], give or take a rounding: at `INPUT_FRACTION` only 1 itself is clipped."""
    return bool(np.rint(np.ldexp(np.abs(tensor).max(), INPUT_FRACTION)) <= -LOWEST)


def _best_fraction(tensors: list[Array]) -> int:
    """The fraction of the smallest squared error over all tensors of a group."""
    flat = np.concatenate([tensor.reshape(-1)[:: max(1, tensor.size // 200_000)] for tensor in tensors])
    largest = max(float(np.abs(tensor).max()) for tensor in tensors)
    if not largest:  # zero on every image: any will do that weights and biases can reach
        return INPUT_FRACTION
    safe = int(np.floor(np.log2(HIGHEST / max(largest, 1e-6))))

    def error(bits: int) -> float:
        scaled = np.ldexp(flat, bits)
        return float(np.square(np.ldexp(np.clip(np.rint(scaled), LOWEST, HIGHEST) - scaled, -bits)).sum())

    return min(range(safe, safe + TRIED_BITS + 1), key=error)


def correct_biases(prepared: Graph, quantized: Graph, images: Array, wanted: Mapping[str, Array]) -> Graph:
    """The int8 network with biases that bring the mean of each channel's sums to that of the float network.

    Args:
        wanted: every tensor of the float network on the images.

    Source: Nagel et al., ICCV 2019, section 4.2, with images in place of batch norm's statistics.
    """
    constants = dict(quantized.constants)
    values: dict[str, Array] = {quantized.inputs[0]: images}
    floats = {integer(node.output): node for node in prepared.nodes}
    for node in quantized.nodes:
        if node.op == "DequantizeLinear" or any(n not in values and n not in constants for n in node.inputs):
            continue  # the float tail has no biases of ours
        if node.op != "Int8Conv":
            known = [constants[n] if n in constants else values[n] for n in node.inputs]
            values[node.output] = reference.run_node(node, known)
            continue
        source, residual = floats[node.output], bool(node["residual"])
        fractions = constants[node.inputs[3]]
        scale = np.ldexp(1.0, fractions.astype(np.int64) + node["x_fraction"])
        x, own = values[node.inputs[0]], [constants[n] for n in node.inputs[1:3]]
        parts = range(0, len(x), PART)  # sums below 2^24, which float32 holds exactly
        have = np.concatenate([reference.sums(node, [x[i : i + PART], *own]) for i in parts])
        mean_have = have.mean(axis=(0, 2, 3), dtype=np.float64)
        mean_want = _mean_sums(source, wanted[source.inputs[0]], prepared) * scale
        if residual:
            mean_have += np.ldexp(values[node.inputs[-1]].mean(axis=(0, 2, 3)), residual_shifts(node, fractions))
            mean_want += wanted[source.inputs[-1]].mean(axis=(0, 2, 3)) * scale
        move = np.rint(mean_want - mean_have)
        constants[node.inputs[2]] = (constants[node.inputs[2]] + move).astype(np.float32)
        more = [constants[n] for n in node.inputs[3:6] if n in constants]
        have += move.reshape(1, -1, 1, 1).astype(np.float32)
        values[node.output] = np.concatenate([_rounded(node, have, more, values, i) for i in parts])
    return quantized.with_nodes(quantized.nodes, constants=constants)


def _mean_sums(node: Node, x: Array, graph: Graph) -> NDArray[np.float64]:
    """The mean of each channel's bias and products: those of the mean image, as they are linear."""
    mean = x.mean(axis=0, keepdims=True, dtype=np.float64)
    constants = [graph.constants[name].astype(np.float64) for name in node.inputs[1:3]]
    found: NDArray[np.float64] = reference.sums(node, [mean, *constants]).mean(axis=(0, 2, 3))
    return found


def _rounded(node: Node, sums: Array, constants: list[Array], values: Mapping[str, Array], start: int) -> Array:
    """What follows the sums of some images."""
    rows = slice(start, start + PART)
    residual = values[node.inputs[-1]][rows] if node["residual"] else None
    return run_int8_conv(node, sums[rows].astype(np.float64), constants, residual)

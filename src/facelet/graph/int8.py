"""Integer arithmetic of an int8 network: what `Int8Conv` computes, to the bit, on every executor.

An integer q of a tensor with fraction f stands for the number q / 2^f; weights and slopes have a fraction per output
channel. With x, w, b, r, s the integers of input, weights, bias, residual and slopes, c an output channel, and f_x,
f_w[c], f_r, f_s[c], f_y the fractions:

    acc = b[c] + sum of w[c] x                                     bias at fraction f_x + f_w[c]
    acc = acc + r 2^(f_x + f_w[c] - f_r)                           with a residual
    y   = clip(round(acc / 2^shift[c]), low, high)                 shift = f_x + f_w[c] - f_y, 0 or more
    y   = clip(round(acc s[c] / 2^(shift[c] + f_s[c])), low, high) where acc < 0, with slopes (PRelu, LeakyRelu)

`round` goes to the nearest integer, and to the even one of two that are equally near: what IEEE floats, ONNX's
QuantizeLinear and onnxruntime do. Relu is low = 0; Clip is low and high.

Tables, products and moves of integers are in `int8_maps`.

No intermediate sum reaches 2^24, whatever the image: `largest_sum` proves it from the weights, and `check_int8` refuses
a network where it does not hold. So the same numbers come out of int32 and of float32 arithmetic in any order, and the
float kernels of onnxruntime, of a GPU or of torch are exact.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from facelet.errors import GraphError
from facelet.graph.int8_maps import check_map
from facelet.graph.ir import Array, Graph, Node

LOWEST, HIGHEST = -128, 127
EXACT = 2**24
"""Below it float32 holds every integer."""

WIDEST_SHIFT = 30
"""Bits of a shift that 32-bit integers can round."""

MOVERS = ("MaxPool", "Concat", "Pad", "Reshape", "Resize", "Channels", "Max", "Min")
"""Ops that move integers unchanged."""

MADE = ("QuantizeLinear", "Int8Conv", "Int8Table", "Int8Mul")
"""Ops that make integers of a fraction of their own."""

TO_NUMBERS = ("DequantizeLinear", "Table")
"""Ops that make numbers of integers."""


def shifts(node: Node, fractions: Array) -> NDArray[np.int64]:
    """`(m,)` bits that an Int8Conv shifts its sums to the right.

    Args:
        fractions: of the weights, its fourth input.
    """
    extra: int = node["x_fraction"] - node["fraction"]
    return np.asarray(fractions.astype(np.int64) + extra)


def residual_shifts(node: Node, fractions: Array) -> NDArray[np.int64]:
    """`(m,)` bits that an Int8Conv shifts its residual to the left."""
    extra: int = node["x_fraction"] - node["residual_fraction"]
    return np.asarray(fractions.astype(np.int64) + extra)


def rounded(acc: NDArray[np.float64], shift: NDArray[np.int64]) -> NDArray[np.float64]:
    """Integers over 2^shift, rounded half to even; exact, as float64 divides by powers of two without error."""
    return np.rint(np.ldexp(acc, -shift))


def run_int8_conv(node: Node, acc: NDArray[np.float64], constants: list[Array], residual: Array | None) -> Array:
    """What follows the sums of products.

    Args:
        acc: bias and products, `(n, m, h, w)`.
        constants: weight fractions, then slopes and their fractions where there are any.
        residual: integers, `(n, m, h, w)`.
    """
    fractions, shape = constants[0], (1, -1, 1, 1)
    if residual is not None:
        acc = acc + np.ldexp(residual.astype(np.float64), residual_shifts(node, fractions).reshape(shape))
    shift = shifts(node, fractions).reshape(shape)
    if node["slopes"]:
        slopes, own = constants[1].reshape(shape), constants[2].astype(np.int64).reshape(shape)
        acc, shift = np.where(acc < 0, acc * slopes, acc), np.where(acc < 0, shift + own, shift)
    out = rounded(acc, shift)
    return np.asarray(np.clip(out, node["low"], node["high"]), np.float32)


def tensor_fractions(graph: Graph) -> Mapping[str, int]:
    """The fraction of every tensor of integers.

    Raises:
        GraphError: tensors of different fractions are joined, or integers go where numbers are wanted.
    """
    found: dict[str, int] = {}
    for node in graph.nodes:
        if node.op in MADE:
            found[node.output] = node["fraction"]
        elif node.op in MOVERS and node.inputs[0] in found:
            of_inputs = {found.get(name) for name in node.inputs}
            if len(of_inputs) > 1:
                raise GraphError(f"{graph.name}: {node} joins tensors of the fractions {of_inputs}; they must be one")
            found[node.output] = found[node.inputs[0]]
        elif node.op not in TO_NUMBERS and any(name in found for name in node.inputs):
            raise GraphError(f"{graph.name}: {node} cannot read integers")
    return found


def is_int8(graph: Graph) -> bool:
    """Whether a graph computes with integers."""
    return any(node.op == "Int8Conv" for node in graph.nodes)


def largest_sum(node: Node, constants: Mapping[str, Array]) -> float:
    """A bound of every intermediate sum of an Int8Conv, over all images."""
    weight, bias, fractions = (constants[name].astype(np.float64) for name in node.inputs[1:4])
    total = np.abs(weight).sum(axis=(1, 2, 3)) * -LOWEST + np.abs(bias)
    if node["residual"]:
        total += np.ldexp(float(-LOWEST), residual_shifts(node, fractions.astype(np.float32)))
    if node["slopes"]:
        total *= np.maximum(1, np.abs(constants[node.inputs[4]]))
    return float(total.max())


def check_int8(graph: Graph) -> Graph:
    """Returns a graph whose integer arithmetic is exact everywhere.

    Raises:
        GraphError: a constant is no integer of its width, a shift is negative, or a sum may reach 2^24.
    """
    fractions = tensor_fractions(graph)
    for node in graph.nodes:
        where = f"{graph.name}: {node}"
        if node.op in ("Int8Table", "Int8Mul"):
            check_map(node, fractions, graph.constants, where)
        if node.op != "Int8Conv":
            continue
        weight, bias, own = (graph.constants[name] for name in node.inputs[1:4])
        if not (np.array_equal(weight, np.rint(weight)) and np.abs(weight).max(initial=0) <= HIGHEST):
            raise GraphError(f"{where}: its weights are no integers in [-127, 127]")
        if not np.array_equal(bias, np.rint(bias)):
            raise GraphError(f"{where}: its bias holds numbers that are no integers")
        if (found := fractions.get(node.inputs[0])) != node["x_fraction"]:
            raise GraphError(f"{where}: expects the fraction {node['x_fraction']}, its input has {found}")
        if node["residual"] and fractions.get(node.inputs[-1]) != node["residual_fraction"]:
            raise GraphError(f"{where}: its residual has another fraction than {node['residual_fraction']}")
        bits = [shifts(node, own), residual_shifts(node, own) if node["residual"] else 0]
        if node["slopes"]:
            bits.append(shifts(node, own) + graph.constants[node.inputs[5]].astype(np.int64))
        if (most := max(int(np.max(of)) for of in bits)) > WIDEST_SHIFT:
            raise GraphError(f"{where}: would shift by {most} bits; at most {WIDEST_SHIFT} fit into 32")
        least = min(int(np.min(of)) for of in bits)
        if least < 0:
            raise GraphError(f"{where}: would shift by {least} bits; give its output a smaller fraction")
        if (largest := largest_sum(node, graph.constants)) >= EXACT:
            raise GraphError(f"{where}: its sums may reach {largest:.0f}; only below 2^24 are they exact everywhere")
    return graph

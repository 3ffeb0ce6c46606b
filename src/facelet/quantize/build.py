"""An int8 network from a prepared float network and a fraction for each tensor."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facelet.errors import GraphError
from facelet.graph.int8 import EXACT, HIGHEST, LOWEST, check_int8
from facelet.graph.int8_maps import table_of
from facelet.graph.ir import Array, Graph, Node
from facelet.graph.reference import KERNELS
from facelet.quantize.prepare import COMPUTES, unread_gone
from facelet.quantize.roles import images_of, of_prepared, roots

Numbers = NDArray[np.float64]

INPUT_FRACTION = 7
"""Of the network's input where it lies in [-1, 1]."""

SLOPE_BITS = 7
"""Most bits of a slope."""

MOST_SHIFT = 24
"""Bits of a shift; a sum is below 2^24, so that nothing is left of it beyond."""


def build(graph: Graph, fractions: Mapping[str, int], own: Mapping[str, Array] | None = None) -> Graph:
    """Rounds weights and biases and makes integer ops of everything but the tail.

    Args:
        graph: from `prepare`, perhaps equalised.
        fractions: of each input and of each tensor that a node before the tail writes.
        own: weight fractions by output tensor, `(m,)`; those of the smallest error without them.

    Raises:
        GraphError: fractions that make a shift negative, or sums that may reach 2^24.
    """
    work = _Build(graph, fractions, own or {})
    for name in graph.inputs:
        work.quantize_input(name)
    kinds = of_prepared(graph)
    for node in graph.nodes:
        kind = kinds.get(node.output)
        if kind == "conv":
            work.conv(node)
        elif kind == "moved":
            work.put(Node(node.op, tuple(integer(name) for name in node.inputs), "", node.attributes, node.name), node)
        elif kind == "table":
            work.table(node)
        elif kind == "product":
            work.product(node)
        else:
            work.tail(node)
    for name in graph.outputs:
        work.floats(name)
    return check_int8(unread_gone(graph.with_nodes(work.nodes, constants=work.constants, shapes=work.shapes)))


def integer(name: str) -> str:
    """The name of a tensor's integers."""
    return f"{name}.int8"


class _Build:
    """The new nodes so far."""

    def __init__(self, graph: Graph, fractions: Mapping[str, int], own: Mapping[str, Array]) -> None:
        self.graph, self.fractions, self.own = graph, fractions, own
        self.nodes: list[Node] = []
        self.constants: dict[str, Array] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._floats = {*graph.inputs}
        self._roots = roots(graph)
        self._values: dict[str, Numbers] = {}

    def put(self, node: Node, old: Node) -> None:
        """Adds an integer node in the place of an old one."""
        made = Node(node.op, node.inputs, integer(old.output), node.attributes, old.name)
        self.shapes[made.output] = self.graph.shapes[old.output]
        self.nodes.append(made)

    def quantize_input(self, name: str) -> None:
        """Adds the rounding of an input."""
        attributes = {"fraction": self.fractions[name]}
        self.nodes.append(Node("QuantizeLinear", (name,), integer(name), attributes))
        self.shapes[integer(name)] = self.graph.shapes[name]

    def floats(self, name: str) -> None:
        """Sees to it that a tensor is there as floats."""
        if name not in self._floats:
            attributes = {"fraction": self.fractions[name]}
            self.nodes.append(Node("DequantizeLinear", (integer(name),), name, attributes))
            self._floats.add(name)

    def table(self, node: Node) -> None:
        """Adds a table: the function's values, from its root's integers on, rounded once."""
        root, fraction = self._roots[node.output], self.fractions[node.output]
        start = np.ldexp(np.arange(LOWEST, HIGHEST + 1, dtype=np.float64), -self.fractions[root])
        known: list[Any] = [
            self.graph.constants[name].astype(np.float64)
            if name in self.graph.constants
            else self._values.get(name, start)
            for name in node.inputs
        ]
        with np.errstate(all="ignore"):
            self._values[node.output] = np.asarray(KERNELS[node.op](node, known), np.float64).reshape(-1)
        name = f"{integer(node.output)}.table"
        self.constants[name] = table_of(self._values[node.output], fraction)
        self.put(Node("Int8Table", (integer(root), name), "", {"fraction": fraction}, node.name), node)

    def product(self, node: Node) -> None:
        """Adds the product of two images."""
        first, second = (self.fractions[name] for name in node.inputs)
        attributes = {"a_fraction": first, "b_fraction": second, "fraction": self.fractions[node.output]}
        self.put(Node("Int8Mul", tuple(integer(name) for name in node.inputs), "", attributes, node.name), node)

    def tail(self, node: Node) -> None:
        """Adds a float node behind the integers."""
        if node.op in COMPUTES:
            raise GraphError(f"{self.graph.name}: {node}: would compute with floats; prepare the graph first")
        self.constants |= {name: self.graph.constants[name] for name in node.inputs if name in self.graph.constants}
        for name in images_of(self.graph, node):
            self.floats(name)
        self.nodes.append(node)
        self._floats.add(node.output)

    def conv(self, node: Node) -> None:
        """Adds a convolution."""
        x_fraction, fraction = self.fractions[node.inputs[0]], self.fractions[node.output]
        residual, activation = bool(node["residual"]), node["activation"]
        residual_fraction = self.fractions[node.inputs[-1]] if residual else 0
        weight, bias = (self.graph.constants[name] for name in node.inputs[1:3])
        least = max(fraction - x_fraction, residual_fraction - x_fraction if residual else -EXACT)
        given = self.own.get(node.output)
        own = weight_fractions(weight) if given is None else given.astype(np.int64)
        own = np.minimum(own, fraction - x_fraction + MOST_SHIFT)
        while True:
            own = np.maximum(own, least)
            integers = np.rint(np.ldexp(weight, own.reshape(-1, 1, 1, 1)))
            rounded = np.rint(np.ldexp(bias, own + x_fraction))
            sums = np.abs(integers).sum(axis=(1, 2, 3), dtype=np.float64) * -LOWEST + np.abs(rounded)
            if residual:
                sums += np.ldexp(float(-LOWEST), own + x_fraction - residual_fraction)
            wide = (sums >= EXACT) & (own > least)
            if not wide.any():
                break
            own = own - wide
        integers = np.clip(integers, -HIGHEST, HIGHEST)
        name = integer(node.output)
        constants = {
            f"{name}.weight": integers.astype(np.float32),
            f"{name}.bias": rounded.astype(np.float32),
            f"{name}.fractions": own.astype(np.float32),
        }
        if activation == "PRelu":
            room = MOST_SHIFT + 6 - (own + x_fraction - fraction)
            slopes, slope_fractions = rounded_slopes(self.graph.constants[node.inputs[3]], sums, room)
            constants |= {f"{name}.slopes": slopes, f"{name}.slope_fractions": slope_fractions}
        low, high = _limits(self.graph, node, fraction)
        self.constants |= constants
        more = (integer(node.inputs[-1]),) if residual else ()
        attributes = {
            **{key: node[key] for key in ("strides", "dilations", "pads", "groups")},
            "x_fraction": x_fraction,
            "fraction": fraction,
            "slopes": activation == "PRelu",
            "residual": residual,
            "residual_fraction": residual_fraction,
            "low": low,
            "high": high,
        }
        self.put(Node("Int8Conv", (integer(node.inputs[0]), *constants, *more), "", attributes), node)


def weight_fractions(weight: Array) -> NDArray[np.int64]:
    """The fraction of each output channel's weights, `(m,)`: that of the smallest squared error of rounding.

    The largest fraction that clips nothing, or one more, which clips the largest weights and halves the step.
    """
    flat = weight.reshape(len(weight), -1).astype(np.float64)
    largest = np.abs(flat).max(axis=1)
    safe = np.floor(np.log2(HIGHEST / np.maximum(largest, 2.0**-20))).astype(np.int64)
    errors = []
    for bits in (safe, safe + 1):
        scaled = np.ldexp(flat, bits.reshape(-1, 1))
        wrong = np.clip(np.rint(scaled), -HIGHEST, HIGHEST) - scaled
        errors.append((np.ldexp(wrong, -bits.reshape(-1, 1)) ** 2).sum(axis=1))
    return np.asarray(np.where(errors[1] < errors[0], safe + 1, safe), np.int64)


def rounded_slopes(slopes: Array, sums: NDArray[np.float64], room: NDArray[np.int64]) -> tuple[Array, Array]:
    """Slopes as integers of as many bits as keep the product with the largest sum exact, and their fractions.

    Args:
        slopes: `(m,)`.
        sums: largest absolute sum of each channel, `(m,)`.
        room: largest fraction of each, so that it fits a shift of 31 bits together with the sum's own.
    """
    limit = np.clip(np.floor((EXACT - 1) / np.maximum(sums, 1)), 1, 2**SLOPE_BITS - 1)
    exponent = np.floor(np.log2(limit / np.maximum(np.abs(slopes), 2.0**-10))).astype(np.int64)
    exponent = np.clip(exponent, 0, np.maximum(room, 0))
    integers = np.clip(np.rint(np.ldexp(slopes, exponent)), -limit, limit)
    even = (integers % 2 == 0) & (exponent > 0)
    while even.any():  # lowest terms: the same number with fewer bits
        integers, exponent = np.where(even, integers / 2, integers), np.where(even, exponent - 1, exponent)
        even = (integers % 2 == 0) & (exponent > 0)
    return integers.astype(np.float32), exponent.astype(np.float32)


def _limits(graph: Graph, node: Node, fraction: int) -> tuple[int, int]:
    if node["activation"] == "Relu":
        return 0, HIGHEST
    if node["activation"] != "Clip":
        return LOWEST, HIGHEST
    low, high = (
        math.ldexp(node[name], fraction) if math.isfinite(node[name]) else math.copysign(math.inf, node[name])
        for name in ("min", "max")
    )
    ends = max(low, LOWEST), min(high, HIGHEST)
    if ends[0] >= ends[1]:
        raise GraphError(f"{graph.name}: {node}: nothing lies between its limits at fraction {fraction}")
    return round(ends[0]), round(ends[1])

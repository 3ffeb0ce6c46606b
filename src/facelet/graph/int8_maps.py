"""Integer ops beside the convolutions: tables, products, and moves of channels; what they compute, to the bit.

Int8Table: y = table[x], an entry for each of the 256 integers. Any function of one number is exact this way: the table
is made once, when the network is quantized, and travels in the file.

Int8Mul: y = clip(round(a b / 2^shift)), shift = f_a + f_b - f_y. The second operand has the shape of the first, or is
one number per channel `(n, c, 1, 1)` (squeeze-and-excite). A product is at most 2^14; where the shift is below 0 it
is multiplied instead, and stays below 2^24.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from facelet.errors import GraphError
from facelet.graph.ir import Array, Node, Shape

ENTRIES = 256
"""Of a table: those of the integers -128 to 127, in this order."""

MOST_LEFT = 9
"""Bits that a product, at most 2^14, can be shifted to the left below 2^24."""


def mul_shift(node: Node) -> int:
    """Bits that the product of an Int8Mul is shifted to the right; to the left where it is below 0."""
    return int(node["a_fraction"] + node["b_fraction"] - node["fraction"])


def run_int8_mul(node: Node, first: Array, second: Array) -> Array:
    """The product of two tensors of integers as integers."""
    products = first.astype(np.float64) * second.astype(np.float64)
    return np.asarray(np.clip(np.rint(np.ldexp(products, -mul_shift(node))), -128, 127), np.float32)


def run_table(x: Array, table: Array) -> Array:
    """The entry of each integer.

    Args:
        x: integers in [-128, 127]; what is not a number counts as 0.
        table: `(256,)`.
    """
    place = np.clip(np.nan_to_num(x).astype(np.int64) + ENTRIES // 2, 0, ENTRIES - 1)
    return np.asarray(table[place])


def table_of(values: NDArray[np.float64], fraction: int) -> Array:
    """The integers of a function's values, `(256,)` each; what is no number, such as the root of -1, becomes 0."""
    with np.errstate(all="ignore"):
        rounded = np.clip(np.rint(np.ldexp(values, fraction)), -128, 127)
    return np.asarray(np.nan_to_num(rounded), np.float32)


def table_shape(node: Node, shapes: Sequence[Shape]) -> Shape:
    """Of a Table or an Int8Table."""
    if len(shapes) != 2 or shapes[1] != (ENTRIES,):
        raise GraphError(f"{node}: needs integers and a table of {ENTRIES} entries, found {shapes}")
    return shapes[0]


def mul_shape(node: Node, shapes: Sequence[Shape]) -> Shape:
    """Of an Int8Mul."""
    first, second = shapes
    if len(first) != 4 or second not in (first, (*first[:2], 1, 1)):
        raise GraphError(
            f"{node}: {first} and {second} do not fit; the second has the same shape or is one per channel"
        )
    return first


def channels_shape(node: Node, shapes: Sequence[Shape]) -> Shape:
    """Of a Channels."""
    (x,) = shapes
    order = node["order"]
    if len(x) != 4 or not order or not all(0 <= channel < x[1] for channel in order):
        raise GraphError(f"{node}: needs an image (n, c, h, w) and channels that it has, found {x} and {order[:8]}")
    return (x[0], len(order), *x[2:])


def check_map(node: Node, fractions: Mapping[str, int], constants: Mapping[str, Array], where: str) -> None:
    """Refuses an Int8Table or Int8Mul whose integers would not be exact.

    Raises:
        GraphError: an entry is not an integer of 8 bits, a fraction is another than that of the operand, or a shift is
            too wide.
    """
    if node.op == "Int8Table":
        if node.inputs[1] not in constants:
            raise GraphError(f"{where}: its table is computed; it must be a constant of the file")
        table = constants[node.inputs[1]]
        if not (np.array_equal(table, np.rint(table)) and np.abs(table + 0.5).max(initial=0) <= 127.5):
            raise GraphError(f"{where}: its table holds numbers that are not integers of 8 bits")
        return
    for name, attribute in zip(node.inputs, ("a_fraction", "b_fraction"), strict=True):
        if fractions.get(name) != node[attribute]:
            raise GraphError(f"{where}: expects the fraction {node[attribute]}, '{name}' has {fractions.get(name)}")
    if not -MOST_LEFT <= mul_shift(node) <= 30:
        raise GraphError(
            f"{where}: would shift by {mul_shift(node)} bits; from {-MOST_LEFT} to 30 are exact everywhere"
        )

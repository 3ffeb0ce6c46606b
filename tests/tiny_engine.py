"""Small int8 graphs of random integers, with every layer that the FPGA engine runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from facelet.graph.int8 import check_int8
from facelet.graph.ir import Array, Graph, Node, Shape
from facelet.graph.ops import output_shape

FRACTION = 4
"""Of every map behind the input."""


class Int8Builder:
    """Adds integer nodes to a graph; every method returns the name of its output."""

    def __init__(self, height: int, width: int, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.shapes: dict[str, Shape] = {"image": (1, 3, height, width)}
        self.constants: dict[str, Array] = {}
        self.nodes: list[Node] = []
        self.fractions = {"image.int8": 7}
        self.add("QuantizeLinear", ["image"], "image.int8", fraction=7)

    def add(self, op: str, inputs: Sequence[str], name: str = "", **attributes: Any) -> str:
        node = Node(op, tuple(inputs), name or f"{op}_{len(self.nodes)}", attributes)
        self.nodes.append(node)
        self.shapes[node.output] = output_shape(node, [self.shapes[i] for i in inputs])
        self.fractions.setdefault(node.output, self.fractions.get(inputs[0], 0))
        return node.output

    def constant(self, values: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(values, np.float32)
        self.shapes[name] = self.constants[name].shape
        return name

    def conv(
        self,
        x: str,
        out: int,
        kernel: Shape = (1, 1),
        strides: Shape = (1, 1),
        pads: Shape = (0, 0, 0, 0),
        groups: int = 1,
        slopes: bool = False,
        residual: str = "",
        limits: tuple[int, int] = (-128, 127),
        dilations: Shape = (1, 1),
    ) -> str:
        depth = self.shapes[x][1] // groups * kernel[0] * kernel[1]
        most = max(1, min(127, 2000 // depth))
        weight = self.rng.integers(-most, most + 1, (out, self.shapes[x][1] // groups, *kernel))
        shift = self.rng.integers(5, 9, out)
        names = [x, self.constant(weight), self.constant(self.rng.integers(-2000, 2000, out))]
        names.append(self.constant(shift + FRACTION - self.fractions[x]))
        if slopes:
            names += [self.constant(self.rng.integers(-60, 61, out)), self.constant(self.rng.integers(4, 22, out))]
        name = f"conv_{len(self.nodes)}"
        self.fractions[name] = FRACTION
        return self.add(
            "Int8Conv",
            [*names, *([residual] if residual else [])],
            name,
            strides=strides,
            dilations=dilations,
            pads=pads,
            groups=groups,
            x_fraction=self.fractions[x],
            fraction=FRACTION,
            slopes=slopes,
            residual=bool(residual),
            residual_fraction=FRACTION if residual else 0,
            low=limits[0],
            high=limits[1],
        )

    def embedding(self, x: str) -> Graph:
        """The graph that ends in this map, as numbers of length 1."""
        size = self.shapes[x][1]
        numbers = self.add("DequantizeLinear", [x], fraction=FRACTION)
        flat = self.add("Reshape", [numbers], shape=(1, size))
        last = self.add("LpNormalization", [flat], "embedding", axis=1, epsilon=1e-12)
        return check_int8(
            Graph("tiny", ("image",), (last,), tuple(self.nodes), self.constants, self.shapes, {}).check()
        )


def tiny_int8(seed: int = 0) -> Graph:
    """Every kind of layer on awkward sizes: 13 x 11 pixels, channels that fill no block."""
    b = Int8Builder(13, 11, seed)
    around = (1, 1, 1, 1)
    stem = b.conv("image.int8", 20, (3, 3), (2, 2), around, slopes=True)  # 7 x 6
    same = b.conv(stem, 20, (3, 3), (1, 1), around, 20, slopes=True)
    joined = b.conv(same, 20, residual=stem)
    deep = b.conv(joined, 20, (3, 3), (1, 1), around, 20, residual=same, limits=(-40, 90))
    half = b.conv(deep, 20, (3, 3), (2, 2), around, 20, slopes=True)  # 4 x 3
    five = b.conv(half, 12, (5, 5), (1, 1), (2, 2, 2, 2), slopes=True)
    pool = b.add("MaxPool", [joined], kernel=(3, 3), strides=(2, 2), pads=around)  # 4 x 3
    nine = b.conv(half, 9, limits=(0, 127))
    small = b.conv(half, 7, (3, 3), (2, 2), around)  # 2 x 2
    border = b.add("Pad", [small], pads=(0, 0, 1, 0, 0, 0, 1, 1), value=0.0)
    first = b.add("Concat", [five, pool, nine, border], axis=1)  # 48
    second = b.add("Concat", [pool, first, nine], axis=1)  # pool and nine lie in two places
    wide = b.conv(second, 33, (3, 3), (1, 1), around, limits=(0, 100))
    grouped = b.conv(wide, 12, (1, 3), (1, 1), (0, 1, 0, 1), 3, slopes=True)
    mean = b.conv(grouped, 12, (4, 3), groups=12)
    return b.embedding(b.conv(b.add("Reshape", [mean], shape=(1, 12, 1, 1)), 10))


def one_layer() -> Graph:
    """A convolution of 3 to 10 channels, 3 x 3, stride 2, on 8 x 8, and its mean."""
    b = Int8Builder(8, 8)
    stem = b.conv("image.int8", 10, (3, 3), (2, 2), (1, 1, 1, 1), slopes=True)
    return b.embedding(b.conv(stem, 10, (4, 4), groups=10))


def plain_int8() -> Graph:
    """No depthwise layer: a convolution, a pool, and a convolution of the whole map."""
    b = Int8Builder(10, 8)
    pool = b.add("MaxPool", [b.conv("image.int8", 9, (3, 3))], kernel=(2, 2), strides=(2, 2), pads=(0, 0, 0, 0))
    return b.embedding(b.conv(pool, 6, (4, 3)))


def ties() -> Graph:
    """All 256 integers shifted by 0 to 3 bits, negative ones with slopes: every way to be equally near to two."""
    b = Int8Builder(16, 16)
    ones = np.zeros((8, 3, 1, 1))
    ones[:, 0] = 1
    shift = np.array([0, 1, 2, 3, 0, 1, 2, 3])
    names = ["image.int8", b.constant(ones), b.constant(np.zeros(8)), b.constant(shift)]
    names += [b.constant([1, 1, 1, 1, 3, -3, 5, 7]), b.constant([0, 0, 0, 0, 1, 2, 3, 4])]
    fields = {"strides": (1, 1), "dilations": (1, 1), "pads": (0, 0, 0, 0), "groups": 1, "x_fraction": 7, "fraction": 7}
    limits = {"low": -128, "high": 127, "slopes": True, "residual": False, "residual_fraction": 0}
    b.fractions["ties"] = 7
    rounded = b.add("Int8Conv", names, "ties", **fields, **limits)
    return b.embedding(b.conv(rounded, 8, (16, 16), groups=8))

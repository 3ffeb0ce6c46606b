"""Small int8 networks with random weights, in files with a card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from facelet.atomic import write_bytes_atomic
from facelet.graph.ir import Graph
from facelet.graph.onnx_write import write_graph
from facelet.model_files import with_card
from facelet.quantize.build import build
from facelet.quantize.prepare import prepare
from facelet.quantize.roles import of_prepared
from tiny_graphs import Builder
from tiny_models import tiny_card

CARD = tiny_card(height=22, width=18, embedding_size=10)


def embedder(b: Builder, x: str) -> Graph:
    """Ends a network: a depthwise convolution of the whole image, a matrix, unit length."""
    channels, height, width = b.shapes[x][1:]
    pooled = b.conv(x, channels, (height, width), groups=channels)
    flat = b.add("Reshape", pooled, shape=(1, channels))
    dense = b.add("Gemm", flat, b.constant(10, channels), b.constant(10))
    return b.graph([b.add("LpNormalization", dense, axis=1, epsilon=1e-12)])


def every_form(seed: int = 0) -> Graph:
    """A float network with every op and form that int8 knows, on channels that fill no vector."""
    b = Builder({"pixels": (1, 3, CARD.height, CARD.width)}, seed)
    border = (1, 1, 1, 1)
    stem = b.conv("pixels", 16, (3, 3), (2, 2), border, activation="PRelu")  # 11 x 9
    wide = b.conv(stem, 35, activation="PRelu")
    down = b.conv(wide, 35, (3, 3), (2, 2), border, 35, activation="Relu")  # 6 x 5
    thin = b.conv(down, 16)
    block = b.conv(thin, 40, activation="Clip", min=0.0, max=6.0)
    block = b.conv(block, 40, (5, 5), (1, 1), (2, 2, 2, 2), 40, activation="LeakyRelu", alpha=0.25)
    thin = b.conv(block, 16, residual=thin, activation="PRelu")
    near = b.conv(b.conv(thin, 8, (3, 3), (1, 1), border), 16, residual=thin)  # reads rows above what is written
    later = b.conv(b.conv(near, 20), 16, residual=near)
    deep = b.conv(later, 16, (3, 3), (1, 1), border, 16, residual=near)
    padded = b.add("Pad", deep, pads=(0, 0, 1, 0, 0, 0, 2, 1), value=0.0)  # 9 x 6
    pooled = b.add("MaxPool", padded, kernel=(3, 3), strides=(2, 1), pads=(1, 0, 1, 2))  # 5 x 6
    loud = b.conv(pooled, 7)
    b.constants[b.nodes[-1].inputs[1]] *= np.float32(300)  # sums that are shifted by nothing
    bent = b.conv(pooled, 6, (2, 3), (1, 1), (0, 1, 1, 1), activation="Relu")
    joined = b.add("Concat", loud, pooled, bent, loud, axis=1)
    again = b.add("Concat", b.conv(joined, 5), joined, axis=1)
    rows = b.conv(again, 9, (1, 1), (2, 2), (1, 0, 0, 1))
    return embedder(b, b.add("Concat", rows, rows, axis=1))


def every_map(seed: int = 0) -> Graph:
    """A float network of what stands beside the convolutions: tables, products, shuffles, upsampling, groups, rows."""
    b = Builder({"pixels": (1, 3, CARD.height, CARD.width)}, seed)
    border = (1, 1, 1, 1)
    gray = b.conv("pixels", 3, (3, 3), (1, 1), border, 3, activation="HardSwish")
    stem = b.conv(b.conv(gray, 24, (3, 3), (2, 2), border), 24, (3, 3), (1, 1), (2, 2, 2, 2), 4, (2, 2), "PRelu")
    squeezed = b.conv(b.add("GlobalAveragePool", stem), 7, activation="Relu")
    excited = b.add("Mul", stem, b.conv(squeezed, 24, activation="Sigmoid"))
    small = b.conv(excited, 24, (3, 3), (2, 2), (2, 2, 2, 2), 24, (2, 2))  # 6 x 5
    swish = b.add("Mul", small, b.add("Sigmoid", small))
    shifted = b.add("Clip", b.add("Add", swish, b.number(3.0)), min=0.0, max=6.0)
    hard = b.add("Div", b.add("Mul", swish, shifted), b.number(6.0))
    in_groups = b.add("Reshape", b.conv(hard, 20, groups=2), shape=(1, 2, 10, 6, 5))
    turned = b.add("Transpose", in_groups, perm=(0, 2, 1, 3, 4))
    mixed = b.add("Reshape", turned, shape=(1, 20, 6, 5))
    up = b.add("Resize", b.conv(mixed, 24), scale_h=2, scale_w=2)  # 12 x 10
    halves = [b.add("Slice", excited, starts=(0, c, 0, 0), steps=(1, 1, 1, 1), sizes=(1, 12, 11, 9)) for c in (0, 12)]
    excited = b.add("Concat", b.add("Max", *halves), b.add("Min", *halves), axis=1)
    wide = b.add("Pad", excited, pads=(0, 0, 1, 0, 0, 0, 0, 1), value=0.0)
    total = b.add("Sub", b.add("Add", up, wide), b.conv(wide, 24, (3, 3), (1, 1), border))
    product = b.add("Mul", total, b.conv(wide, 24))
    first = b.add("Reshape", b.add("GlobalAveragePool", product), shape=(1, 24))
    second = b.add("Reshape", b.add("GlobalAveragePool", b.conv(mixed, 9)), shape=(1, 9))
    row = b.add("Concat", first, second, axis=1)
    for size in (13, 11):
        row = b.add("PRelu", b.add("Gemm", row, b.constant(size, b.shapes[row][1]), b.constant(size)), b.constant(size))
    pixel = b.add("Reshape", row, shape=(1, 11, 1, 1))
    last = b.add("Reshape", b.conv(pixel, 10), shape=(1, 10))
    return b.graph([b.add("LpNormalization", last, axis=1, epsilon=1e-12)])


def drawn(seed: int) -> Graph:
    """A float network of ops drawn by chance."""
    rng = np.random.default_rng(seed)
    b = Builder({"pixels": (1, 3, CARD.height, CARD.width)}, seed)
    known = [b.conv("pixels", int(rng.integers(1, 40)), (3, 3), (2, 2), (1, 1, 1, 1), activation="PRelu")]
    for _ in range(int(rng.integers(3, 12))):
        x = known[int(rng.integers(max(0, len(known) - 3), len(known)))]
        channels = b.shapes[x][1]
        side = int(rng.integers(1, 4))
        window: dict[str, Any] = {"strides": (int(rng.integers(1, 3)),) * 2, "pads": (side // 2,) * 4}
        activation = str(rng.choice(["", "Relu", "PRelu"]))
        alike = [name for name in known if b.shapes[name] == b.shapes[x]]
        kind = int(rng.integers(6))
        if kind == 0:
            known.append(b.conv(x, int(rng.integers(1, 70)), activation=activation))
        elif kind == 1:
            known.append(b.conv(x, int(rng.integers(1, 12)), (side, side), activation=activation, **window))
        elif kind == 2:
            known.append(b.conv(x, channels, (side, side), groups=channels, activation=activation, **window))
        elif kind == 3:
            around = (*((side - 1) // 2,) * 2, *(side // 2,) * 2)
            inner = b.conv(x, 20, (side, side), (1, 1), around, activation="PRelu")
            inner = b.conv(inner, 20, (3, 3), (1, 1), (1, 1, 1, 1), 20)
            residual = alike[int(rng.integers(len(alike)))]
            known.append(b.conv(inner, channels, residual=residual, activation=activation))
        elif kind == 4:
            known.append(b.add("MaxPool", x, kernel=(side, side), **window))
        else:
            height, width = b.shapes[x][2:]
            same = [name for name in known if b.shapes[name][2:] == (height, width)]
            known.append(b.add("Concat", x, same[int(rng.integers(len(same)))], axis=1))
    return embedder(b, known[-1])


def int8_graph(graph: Graph, seed: int = 0) -> Graph:
    """The int8 form of a float network, tensors that are moved at one fraction and others at fractions near it."""
    rng = np.random.default_rng(seed)
    ready = prepare(graph)
    kinds = of_prepared(ready)
    names = [*ready.inputs, *kinds]
    moved = {n for node in ready.nodes if kinds.get(node.output) == "moved" for n in (*node.inputs, node.output)}
    return build(ready, {name: 4 if name in moved else int(rng.integers(3, 6)) for name in names})


def int8_file(graph: Graph, path: Path) -> Path:
    """Writes an int8 network with its card; returns its place."""
    write_bytes_atomic(path, with_card(write_graph(graph), CARD).SerializeToString())
    return path

"""Graphs that hold every op of the table, in forms that are awkward for blocks of channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from facelet.graph.ir import Array, Graph, Node, Shape
from facelet.graph.ops import output_shape


class Builder:
    """Adds nodes to a graph; every method returns the name of its output."""

    def __init__(self, inputs: dict[str, Shape], seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.inputs = tuple(inputs)
        self.shapes: dict[str, Shape] = dict(inputs)
        self.constants: dict[str, Array] = {}
        self.nodes: list[Node] = []

    def constant(self, *shape: int, positive: bool = False) -> str:
        name = f"c{len(self.constants)}"
        values = self.rng.standard_normal(shape).astype(np.float32)
        self.constants[name] = np.asarray(np.abs(values) + 0.1 if positive else values, np.float32)
        self.shapes[name] = tuple(shape)
        return name

    def number(self, value: float) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.array(value, np.float32)
        self.shapes[name] = ()
        return name

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = f"{op}_{len(self.nodes)}"
        node = Node(op, inputs, name, attributes)
        self.shapes[name] = output_shape(node, [self.shapes[i] for i in inputs])
        self.nodes.append(node)
        return name

    def conv(
        self,
        x: str,
        out: int,
        kernel: Shape = (1, 1),
        strides: Shape = (1, 1),
        pads: Shape = (0, 0, 0, 0),
        groups: int = 1,
        dilations: Shape = (1, 1),
        activation: str | None = None,
        residual: str = "",
        **more: Any,
    ) -> str:
        into = self.shapes[x][1] // groups
        weight = self.constant(out, into, *kernel)
        self.constants[weight] /= np.float32(np.sqrt(into * kernel[0] * kernel[1]))
        fields = {"strides": strides, "pads": pads, "groups": groups, "dilations": dilations, **more}
        names = [x, weight, self.constant(out)]
        if activation is None and not residual:
            return self.add("Conv", *names, **fields)
        names += [self.constant(out)] if activation == "PRelu" else []
        names += [residual] if residual else []
        return self.add("FusedConv", *names, activation=activation or "", residual=bool(residual), **fields)

    def graph(self, outputs: Sequence[str] = ()) -> Graph:
        read = {name for node in self.nodes for name in node.inputs}
        ends = tuple(outputs) or tuple(node.output for node in self.nodes if node.output not in read)
        return Graph("tiny", self.inputs, ends, tuple(self.nodes), self.constants, self.shapes).check()


def every_op(batch: int) -> Graph:
    """One graph with all ops, on channels 1, 3, 4, 10, 16, 24 and 40."""
    b = Builder({"image": (batch, 3, 13, 11), "rows": (batch, 7)})
    window = {"strides": (2, 1), "pads": (1, 0, 1, 2)}
    tall: dict[str, Any] = {"kernel": (2, 1), "strides": (1, 1), "pads": (0, 0, 0, 0)}
    stem = b.conv("image", 24, (3, 3), (2, 2), (1, 1, 1, 1), activation="PRelu")  # 7 x 6
    other = b.conv("image", 16, (5, 4), (2, 2), (2, 1, 2, 2), activation="Clip", min=-0.5, max=1.0)
    wide = b.conv(stem, 40, activation="LeakyRelu", alpha=0.1)
    same = b.conv(wide, 24, residual=stem)
    b.conv(wide, 24, activation="Relu", residual=stem)
    b.conv(same, 10, (3, 3), (1, 1), (1, 1, 1, 1), activation="HardSwish")
    b.conv(same, 5, (3, 2), (2, 2), (0, 1, 1, 0), activation="Sigmoid")
    one = b.conv(same, 1)
    b.conv(one, 1, (3, 3), (1, 1), (1, 1, 1, 1))
    deep = b.conv(wide, 40, (3, 3), (1, 1), (1, 1, 1, 1), 40, activation="PRelu", residual=wide)
    b.conv(wide, 40, (3, 3), (2, 2), (1, 1, 1, 1), 40)
    b.conv(wide, 40, (5, 5), (2, 1), (2, 2, 2, 2), 40, activation="Clip", min=0.0, max=6.0)
    b.conv(b.conv(same, 4), 4, (3, 3), (1, 1), (1, 1, 1, 1), 4)
    b.conv(wide, 40, (7, 6), groups=40)  # the whole image
    b.conv(wide, 20, (3, 3), (1, 1), (1, 1, 1, 1), 4, activation="PRelu")
    b.conv(same, 8, (3, 3), (1, 2), (2, 2, 2, 2), dilations=(2, 2), activation="Relu", residual="")
    b.conv("image", 6, (3, 3), (1, 1), (1, 1, 1, 1), 3)
    for op, attributes in (
        ("MaxPool", {}),
        ("AveragePool", {"count_include_pad": True}),
        ("AveragePool", {"count_include_pad": False}),
        ("LpPool", {"p": 2}),
        ("LpPool", {"p": 3}),
    ):
        b.add(op, wide, kernel=(3, 3), **window, **attributes)
    b.add("MaxPool", "image", kernel=(2, 2), strides=(2, 2), pads=(0, 0, 0, 0))
    mean = b.add("GlobalAveragePool", wide)
    b.add("LRN", wide, size=5, alpha=0.3, beta=0.75, bias=1.5)
    b.add("LRN", other, size=3, alpha=0.3, beta=0.6, bias=1.0)
    flat = b.add("Reshape", mean, shape=(batch, 40))
    dense = b.add("Gemm", flat, b.constant(37, 40), b.constant(37))
    b.add("Gemm", "rows", b.constant(5, 7), b.constant(5))
    b.add("LpNormalization", dense, axis=1, epsilon=1e-12)
    b.add("LpNormalization", wide, axis=1, epsilon=0.5)
    b.add("ReduceL2", wide, axes=(1, 3), keepdims=True)
    b.add("ReduceL2", dense, axes=(1,), keepdims=False)
    b.add("Relu", wide)
    b.add("Relu", dense)
    b.add("PRelu", wide, b.constant(40))
    b.add("PRelu", dense, b.constant(37))
    b.add("Clip", wide, min=-0.25, max=float("inf"))
    b.add("LeakyRelu", dense, alpha=0.2)
    b.add("Sigmoid", wide)
    b.add("HardSwish", "rows")
    b.add("BatchNormalization", wide, *(b.constant(40, positive=True) for _ in range(4)), epsilon=0.1)
    b.add("BatchNormalization", "rows", *(b.constant(7, positive=True) for _ in range(4)), epsilon=0.1)
    square = b.add("Pow", wide, b.number(2.0))
    b.add("Sqrt", square)
    b.add("Pow", square, b.number(0.3))
    b.add("Add", wide, deep)
    b.add("Sub", b.constant(40, 1, 1), wide)
    b.add("Mul", wide, b.constant(7, 6))
    b.add("Div", wide, b.constant(1, 40, 7, 1, positive=True))
    b.add("Mul", wide, mean)
    b.add("Mul", mean, wide)
    b.add("Add", same, one)
    b.add("Sub", dense, b.constant(37))
    b.add("Div", b.number(2.0), b.add("Add", b.add("Relu", "rows"), b.number(1.0)))
    b.add("Mul", "rows", b.add("ReduceL2", "rows", axes=(1,), keepdims=True))
    b.add("Concat", b.conv(wide, 16), b.add("MaxPool", other, kernel=(1, 1), strides=(1, 1), pads=(0, 0, 0, 0)), axis=1)
    b.conv(b.add("Concat", other, wide, same, axis=1), 12)
    b.add("Concat", stem, one, b.conv(wide, 10), axis=1)
    b.add("Concat", "rows", "rows", axis=1)
    b.add("Concat", wide, deep, axis=2)
    b.add("Concat", other, b.constant(batch, 3, 7, 6), axis=1)
    b.add("Concat", b.constant(batch, 2), "rows", b.constant(batch, 1), axis=1)
    moved = b.add("Transpose", wide, perm=(0, 2, 3, 1))
    b.add("Sigmoid", b.add("Reshape", moved, shape=(batch, 42, 40)))
    b.add("Reshape", b.add("Transpose", one, perm=(0, 2, 3, 1)), shape=(batch, 42, 1))
    b.add("Reshape", wide, shape=(batch, 40 * 42))
    b.add("Transpose", "rows", perm=(1, 0))
    b.add("Pad", wide, pads=(0, 0, 1, 2, 0, 0, 0, 1), value=0.5)
    b.add("Pad", "rows", pads=(0, 2, 0, 1), value=-1.0)
    b.add("Pad", wide, pads=(0, 1, 1, 0, 0, 1, 0, 2), value=float("-inf"))
    b.add("Resize", wide, scale_h=2, scale_w=3)
    for op in ("Tanh", "Abs", "Exp", "Erf"):
        b.add(op, wide)
        b.add(op, dense)
    b.add("Log", b.add("Exp", one))
    b.add("Max", wide, deep)
    b.add("Max", b.constant(37), dense)
    b.add("Min", same, one)
    b.conv(b.add("Slice", wide, starts=(0, 16, 1, 0), steps=(1, 1, 1, 1), sizes=(batch, 24, 5, 6)), 4, (3, 3))
    b.add("Relu", b.add("Slice", wide, starts=(0, 39, 6, 5), steps=(1, -3, -2, -1), sizes=(batch, 13, 3, 6)))
    b.add("MaxPool", b.add("Slice", same, starts=(0, 0, 0, 1), steps=(1, 1, 2, 2), sizes=(batch, 10, 3, 2)), **tall)
    b.add("Slice", "rows", starts=(0, 5), steps=(1, -2), sizes=(batch, 3))
    for mode, coordinates in (("nearest", "align_corners"), ("linear", "half_pixel")):
        how = {"mode": mode, "coordinates": coordinates, "nearest": "ceil"}
        b.add("Resample", wide, height=9, width=4, scale_h=9 / 7, scale_w=4 / 6, **how)
    for op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin"):
        b.add(op, wide, axes=(1, 3), keepdims=True)
        b.add(op, dense, axes=(1,), keepdims=False)
    b.add("Softmax", dense, axis=1)
    b.add("Softmax", wide, axis=1)
    b.add("Softmax", wide, axis=3)
    return b.graph()

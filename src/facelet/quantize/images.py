"""Rows as images: dense layers, and what is done between them, become convolutions on images of one pixel.

A row `(n, k)` that comes from an image `(n, c, h, w)` by flattening it is that image; int8 knows images only. So

dense layer of a flattened image       becomes a convolution with a kernel as large as the image
dense layer of a row                   becomes a 1x1 convolution
activation, batch norm, sum of rows    becomes the same on images of one pixel
concatenation of rows                  becomes one of channels
Reshape of a row to an image and back  does nothing

A Reshape behind each keeps the row for whoever reads it as one, such as a float tail; those that nothing reads are
dropped by `prepare`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from facelet.graph.ir import Array, Graph, Node, Shape
from facelet.graph.ops import output_shape

ONE_BY_ONE = (
    *("Relu", "LeakyRelu", "Clip", "PRelu", "Sigmoid", "HardSwish", "Tanh", "Exp", "Log", "Abs", "Erf", "Sqrt"),
    *("BatchNormalization", "Add", "Sub", "Mul", "Div", "Max", "Min"),
)
"""Ops that do the same to each number of a row, or of each of its channels."""

WINDOW = {"strides": (1, 1), "dilations": (1, 1), "pads": (0, 0, 0, 0), "groups": 1}


def rows_to_images(graph: Graph) -> Graph:
    """The same network with images in place of rows wherever a row is a flattened image."""
    work = _Rows(graph)
    for node in graph.nodes:
        work.add(node)
    return graph.with_nodes(work.nodes, constants=work.constants, shapes=work.shapes)


class _Rows:
    """The new nodes so far, and the image that each row is."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[Node] = []
        self.constants: dict[str, Array] = {}
        self.shapes: dict[str, Shape] = {}
        self.images: dict[str, str] = {}
        self.same: dict[str, str] = {}

    def shape(self, name: str) -> Shape:
        return self.shapes.get(name) or self.graph.shapes[name]

    def add(self, node: Node) -> None:
        """Adds a node, on images where its rows are some."""
        node = replace(node, inputs=tuple(self.same.get(name, name) for name in node.inputs))
        if node.op == "Reshape":
            self._reshape(node)
        elif node.op == "Gemm" and node.inputs[0] in self.images and not self._computed(node.inputs[1:]):
            self._dense(node)
        elif not self._on_images(node):
            self.nodes.append(node)

    def _computed(self, names: Sequence[str]) -> bool:
        return any(name not in self.graph.constants for name in names)

    def _reshape(self, node: Node) -> None:
        """Notes which image a Reshape's output is; one that only adds or removes axes of a pixel is passed by."""
        source, target = node.inputs[0], tuple(node["shape"])
        shape = self.shape(source)
        image = self.images.get(source, source if len(shape) == 4 else "")
        self.nodes.append(node)
        if not image or source in self.graph.constants:
            return
        of = self.shape(image)
        if len(target) == 4 and target == of:
            self.same[node.output] = image
        elif len(target) != 4 and target[0] == of[0] and max(target[1:], default=0) == np.prod(of[1:]):
            self.images[node.output] = image

    def _put(self, node: Node, made: Node) -> None:
        """Adds an image node in the place of one of rows."""
        self.shapes[made.output] = output_shape(made, [self._size(name) for name in made.inputs])
        self.nodes.append(made)
        shape = self.graph.shapes[node.output]
        self.nodes.append(Node("Reshape", (made.output,), node.output, {"shape": shape}, node.name))
        self.images[node.output] = made.output

    def _size(self, name: str) -> Shape:
        return self.constants[name].shape if name in self.constants else self.shape(name)

    def _dense(self, node: Node) -> None:
        image = self.images[node.inputs[0]]
        weight, of = self.graph.constants[node.inputs[1]], self.shape(image)
        name = f"{node.output}.weight"
        self.constants[name] = np.ascontiguousarray(weight.reshape(len(weight), *of[1:]))
        self._put(node, Node("Conv", (image, name, node.inputs[2]), f"{node.output}.image", WINDOW, node.name))

    def _on_images(self, node: Node) -> bool:
        """Adds an op of rows as one of images of one pixel, where all its rows are such; whether it was one."""
        rows = [name for name in node.inputs if name not in self.graph.constants]
        shape = self.graph.shapes[node.output]
        if not rows or not all(name in self.images for name in rows) or len(shape) != len(self.shape(rows[0])):
            return False
        if any(self.shape(self.images[name])[2:] != (1, 1) for name in rows):
            return False
        width = max(range(1, len(shape)), key=lambda axis: shape[axis])
        if node.op == "Concat" and len(rows) == len(node.inputs) and node["axis"] == width:
            attributes = {"axis": 1}
        elif node.op in ONE_BY_ONE and all(self._fits(node, name, len(shape), width) for name in node.inputs):
            attributes = dict(node.attributes)
        else:
            return False
        inputs = tuple(self._operand(node, name) for name in node.inputs)
        self._put(node, Node(node.op, inputs, f"{node.output}.image", attributes, node.name))
        return True

    def _fits(self, node: Node, name: str, rank: int, width: int) -> bool:
        """Whether an operand is a row of the output's form, or a constant of one number or one for each of a row."""
        if name not in self.graph.constants:
            return True
        array = self.graph.constants[name]
        if array.size == 1 or node.op in ("BatchNormalization", "PRelu"):
            return len(array.shape) <= 1
        place = width - rank + array.ndim
        return place >= 0 and array.shape[place] == array.size

    def _operand(self, node: Node, name: str) -> str:
        """The image of a row, or a constant in the form that images take."""
        if name not in self.graph.constants:
            return self.images[name]
        array = self.graph.constants[name]
        if node.op in ("BatchNormalization", "PRelu"):
            return name
        made = f"{node.output}.{name}"
        self.constants[made] = array.reshape(-1, 1, 1) if array.size > 1 else array.reshape(())
        return made

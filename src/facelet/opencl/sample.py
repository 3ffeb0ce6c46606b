"""A small network that touches the kernels which most networks need: to try a device with."""

from __future__ import annotations

import numpy as np

from facelet.graph.ir import Array, Graph, Node, Shape
from facelet.graph.ops import output_shape


def sample_graph(seed: int = 0) -> Graph:
    """Convolution, depthwise convolution, residual, pool, dense layer and unit length, with random weights."""
    rng = np.random.default_rng(seed)
    constants: dict[str, Array] = {}
    nodes: list[Node] = []
    shapes: dict[str, Shape] = {"x": (1, 3, 16, 16)}

    def add(op: str, inputs: tuple[str, ...], output: str, **attributes: object) -> None:
        node = Node(op, inputs, output, attributes)
        shapes.update({name: constants[name].shape for name in inputs if name in constants})
        shapes[output] = output_shape(node, [shapes[name] for name in inputs])
        nodes.append(node)

    def conv(x: str, output: str, weight: Shape, groups: int, stride: int, residual: str = "") -> None:
        constants[f"{output}.w"] = rng.standard_normal(weight).astype(np.float32) / np.sqrt(np.prod(weight[1:]))
        constants[f"{output}.b"] = rng.standard_normal(weight[0]).astype(np.float32)
        constants[f"{output}.s"] = rng.random(weight[0]).astype(np.float32)
        side = weight[2] // 2
        add(
            "FusedConv",
            (x, f"{output}.w", f"{output}.b", f"{output}.s", *([residual] if residual else [])),
            output,
            strides=(stride, stride),
            dilations=(1, 1),
            pads=(side, side, side, side),
            groups=groups,
            activation="PRelu",
            residual=bool(residual),
        )

    conv("x", "stem", (24, 3, 3, 3), 1, 2)
    conv("stem", "wide", (40, 24, 1, 1), 1, 1)
    conv("wide", "deep", (40, 1, 3, 3), 40, 1)
    conv("deep", "back", (24, 40, 1, 1), 1, 1, residual="stem")
    conv("back", "full", (16, 24, 3, 3), 1, 1)
    add("GlobalAveragePool", ("full",), "mean")
    add("Reshape", ("mean",), "flat", shape=(1, 16))
    constants["w"] = rng.standard_normal((20, 16)).astype(np.float32)
    constants["b"] = rng.standard_normal(20).astype(np.float32)
    add("Gemm", ("flat", "w", "b"), "dense")
    add("LpNormalization", ("dense",), "y", axis=1, epsilon=1e-12)
    return Graph("sample", ("x",), ("y",), tuple(nodes), constants, shapes).check()

"""A small network with one of each kind of kernel, to try a device with."""

from __future__ import annotations

import numpy as np

from facelet.graph.ir import Graph, Node
from facelet.graph.ops import output_shape


def trial_graph() -> Graph:
    """Convolutions, a pool, a residual, a dense layer and a normalisation, on a 12x12 image; seeded."""
    rng = np.random.default_rng(0)
    window = {"dilations": (1, 1), "groups": 1, "pads": (1, 1, 1, 1), "strides": (1, 1)}
    constants = {
        "w1": rng.standard_normal((16, 3, 3, 3)),
        "w2": rng.standard_normal((16, 1, 3, 3)),
        "w3": rng.standard_normal((16, 16, 1, 1)),
        "w4": rng.standard_normal((8, 16)),
        "b": rng.standard_normal(16),
        "b4": rng.standard_normal(8),
        "slope": rng.random(16),
    }
    nodes = (
        Node("Conv", ("x", "w1", "b"), "a", {**window, "strides": (2, 2)}),
        Node("PRelu", ("a", "slope"), "a2"),
        Node("Conv", ("a2", "w2", "b"), "c", {**window, "groups": 16}),
        Node("Relu", ("c",), "c2"),
        Node("Conv", ("c2", "w3", "b"), "d", {**window, "pads": (0, 0, 0, 0)}),
        Node("Add", ("a2", "d"), "e"),
        Node("LRN", ("e",), "f", {"size": 5, "alpha": 0.1, "beta": 0.75, "bias": 1.0}),
        Node("MaxPool", ("f",), "g", {"kernel": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1)}),
        Node("GlobalAveragePool", ("g",), "h"),
        Node("Reshape", ("h",), "i", {"shape": (1, 16)}),
        Node("Gemm", ("i", "w4", "b4"), "j"),
        Node("LpNormalization", ("j",), "y", {"axis": 1, "epsilon": 1e-12}),
    )
    shapes: dict[str, tuple[int, ...]] = {"x": (1, 3, 12, 12), **{name: a.shape for name, a in constants.items()}}
    for node in nodes:
        shapes[node.output] = output_shape(node, [shapes[name] for name in node.inputs])
    floats = {name: np.asarray(array, np.float32) for name, array in constants.items()}
    return Graph("trial", ("x",), ("y",), nodes, floats, shapes).check()

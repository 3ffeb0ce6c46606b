"""Cross-layer equalisation: channels of a tensor get alike ranges, which one scale for all of them then serves.

A channel of a convolution's output may be divided by any s > 0 where the next convolution's weights for it are
multiplied by s, as long as the activation between them is positively homogeneous (none, Relu, PRelu):

    y[c] / s[c]  with  w1[c] / s[c], b1[c] / s[c];   w2[:, c] s[c]

s[c] balances the range r[c] of the activation, seen on images, against the largest weight v[c] that reads it:
s = r^a / v^(1 - a), with a = 1 before a depthwise convolution, whose weights have scales of their own. One factor for
all channels then makes the range fill the int8 range of a power of two.

Source: Nagel et al., "Data-free quantization through weight equalization and bias correction", ICCV 2019; the exponent
after Xiao et al., "SmoothQuant", ICML 2023.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from facelet.graph.int8 import HIGHEST
from facelet.graph.ir import Array, Graph, Node
from facelet.graph.passes.result import only_reader

BALANCE = 0.5
SMALLEST_SHARE = 1 / 64
"""Of the largest range: channels below it are not blown up further, as nothing reads much from them."""


def equalise(graph: Graph, ranges: Mapping[str, Array]) -> Graph:
    """The same function with equalised channels; see `equalised`."""
    return equalised(graph, ranges)[0]


def equalised(graph: Graph, ranges: Mapping[str, Array]) -> tuple[Graph, dict[str, Array]]:
    """The same function with equalised channels, and by what the channels of some tensors were divided.

    Args:
        graph: from `prepare`.
        ranges: largest absolute value of each channel by tensor, `(c,)`, seen on images.
    """
    constants = {name: array.copy() for name, array in graph.constants.items()}
    scales: dict[str, Array] = {}
    for node in graph.nodes:
        following = only_reader(graph, node.output)
        if not _may_scale(node) or following is None or following.op != "FusedConv":
            continue
        if following.inputs[0] != node.output or node.output in following.inputs[3:]:
            continue
        scale = scales[node.output] = _scale(ranges[node.output], constants[following.inputs[1]], following)
        _divide(constants, node, scale)
        _multiply(constants, following, scale)
    return graph.with_nodes(graph.nodes, constants=constants), scales


def _may_scale(node: Node) -> bool:
    return node.op == "FusedConv" and node["activation"] in ("", "Relu", "PRelu") and not node["residual"]


def _scale(seen: Array, weight: Array, following: Node) -> Array:
    if not seen.any():  # zero on every image: no range to balance
        return np.ones_like(seen)
    share = np.maximum(seen, seen.max() * SMALLEST_SHARE) + 1e-12
    if following["groups"] == 1:
        reading = np.abs(weight).max(axis=(0, 2, 3))
        reading = np.maximum(reading, reading.max() * SMALLEST_SHARE) + 1e-12
        scale = share**BALANCE / reading ** (1 - BALANCE)
    else:
        scale = share
    fitted = (seen / scale).max()
    whole = 2.0 ** np.ceil(np.log2(max(float(fitted), 1e-12))) * HIGHEST / (HIGHEST + 1)
    return np.asarray(scale * fitted / whole, np.float32)


def _divide(constants: dict[str, Array], node: Node, scale: Array) -> None:
    weight, bias = node.inputs[1:3]
    constants[weight] = constants[weight] / scale.reshape(-1, 1, 1, 1)
    constants[bias] = constants[bias] / scale


def _multiply(constants: dict[str, Array], node: Node, scale: Array) -> None:
    weight = constants[node.inputs[1]]
    if node["groups"] == 1:
        constants[node.inputs[1]] = weight * scale.reshape(1, -1, 1, 1)
        return
    per_group = scale.reshape(node["groups"], -1)  # (groups, channels a group)
    outputs = len(weight) // node["groups"]
    constants[node.inputs[1]] = weight * np.repeat(per_group, outputs, axis=0).reshape(len(weight), -1, 1, 1)

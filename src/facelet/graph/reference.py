"""Runs a graph with NumPy: slow, plain, and the oracle for everything faster.

`KERNELS` has one function per op of `ops.OPS`; each takes the node and its inputs and returns its output, float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from facelet.errors import GraphError, InputError
from facelet.graph.ir import Array, Graph, Node, Shape


def run(graph: Graph, feeds: Mapping[str, Array], *, every: bool = False) -> dict[str, Array]:
    """The outputs of a graph.

    Args:
        feeds: one array per input, of the graph's shape; anything that NumPy can turn into float32.
        every: return all tensors that nodes write instead of the outputs alone.

    Raises:
        InputError: an input is missing or of another shape.
    """
    values: dict[str, Array] = dict(graph.constants)
    for name in graph.inputs:
        if name not in feeds:
            raise InputError(f"{graph.name}: nothing is fed to its input '{name}'")
        array = np.asarray(feeds[name], np.float32)
        if array.shape != graph.shapes[name]:
            raise InputError(f"{graph.name}: input '{name}' has shape {array.shape}; expected {graph.shapes[name]}")
        values[name] = array
    last = {name: position for position, node in enumerate(graph.nodes) for name in node.inputs}
    with np.errstate(all="ignore"):  # a graph may well divide by zero or overflow; that is in its output
        for position, node in enumerate(graph.nodes):
            values[node.output] = run_node(node, [values[name] for name in node.inputs])
            if not every:
                for name in set(node.inputs):
                    if last[name] == position and name not in graph.outputs:
                        del values[name]
    wanted = [node.output for node in graph.nodes] if every else graph.outputs
    return {name: values[name] for name in wanted}


def run_node(node: Node, inputs: Sequence[Array]) -> Array:
    """The output of one node.

    Raises:
        GraphError: unknown op.
    """
    if node.op not in KERNELS:
        raise GraphError(f"{node}: op not supported; supported are {', '.join(sorted(KERNELS))}")
    return np.asarray(KERNELS[node.op](node, inputs), np.float32)


def _padded(x: Array, pads: Sequence[int], value: float = 0.0) -> Array:
    """An image `(n, c, h, w)` with a border (top, left, bottom, right)."""
    if not any(pads):
        return x
    top, left, bottom, right = pads
    return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=value)


def _windows(x: Array, kernel: Shape, strides: Shape, dilations: Shape = (1, 1)) -> Array:
    """All windows of an image: `(n, c, out_h, out_w, kernel_h, kernel_w)`, a view."""
    reach = tuple(d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True))
    view = sliding_window_view(x, reach, axis=(2, 3))
    found: Array = view[:, :, :: strides[0], :: strides[1], :: dilations[0], :: dilations[1]]
    return found


def _conv(node: Node, inputs: Sequence[Array]) -> Array:
    x, weight, bias = inputs[:3]
    groups, out_channels = node["groups"], len(weight)
    windows = _windows(_padded(x, node["pads"]), weight.shape[2:], node["strides"], node["dilations"])
    n, _, height, width = windows.shape[:4]
    if groups == x.shape[1] == out_channels:
        out = np.einsum("nchwij,cij->nchw", windows, weight[:, 0])
    else:
        parts = []
        step = x.shape[1] // groups
        kernels = weight.reshape(groups, out_channels // groups, -1)
        for group in range(groups):
            part = windows[:, group * step : (group + 1) * step].transpose(0, 1, 4, 5, 2, 3)
            columns = part.reshape(n, kernels.shape[2], height * width)
            parts.append(kernels[group] @ columns)
        out = np.concatenate(parts, axis=1).reshape(n, out_channels, height, width)
    return np.asarray(out + bias.reshape(1, -1, 1, 1), np.float32)


def _fused_conv(node: Node, inputs: Sequence[Array]) -> Array:
    out = _conv(node, inputs)
    if node["residual"]:
        out = out + inputs[-1]
    activation = node["activation"]
    if not activation:
        return out
    return KERNELS[activation](node, [out, *inputs[3:4]])


def _batch_normalization(node: Node, inputs: Sequence[Array]) -> Array:
    x, scale, bias, mean, variance = inputs
    factor = scale / np.sqrt(variance + np.float32(node["epsilon"]))
    shape = (1, -1, *([1] * (x.ndim - 2)))
    return np.asarray(x * factor.reshape(shape) + (bias - mean * factor).reshape(shape))


def _prelu(node: Node, inputs: Sequence[Array]) -> Array:
    x, slope = inputs
    return np.where(x < 0, x * slope.reshape(1, -1, *([1] * (x.ndim - 2))), x)


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)), np.float32)


def _max_pool(node: Node, inputs: Sequence[Array]) -> Array:
    x = _padded(inputs[0], node["pads"], -np.inf)
    return np.asarray(_windows(x, node["kernel"], node["strides"]).max(axis=(4, 5)))


def _average_pool(node: Node, inputs: Sequence[Array]) -> Array:
    windows = _windows(_padded(inputs[0], node["pads"]), node["kernel"], node["strides"])
    total = windows.sum(axis=(4, 5), dtype=np.float64)
    if node["count_include_pad"]:
        return np.asarray(total / float(np.prod(node["kernel"])), np.float32)
    ones = _padded(np.ones((1, 1, *inputs[0].shape[2:]), np.float32), node["pads"])
    count = _windows(ones, node["kernel"], node["strides"]).sum(axis=(4, 5))
    return np.asarray(total / count, np.float32)


def _lp_pool(node: Node, inputs: Sequence[Array]) -> Array:
    windows = np.abs(_windows(_padded(inputs[0], node["pads"]), node["kernel"], node["strides"])).astype(np.float64)
    power = node["p"]
    return np.asarray((windows**power).sum(axis=(4, 5)) ** (1 / power), np.float32)


def _lrn(node: Node, inputs: Sequence[Array]) -> Array:
    """Source: Krizhevsky et al., 2012, section 3.3, with ONNX's constants: alpha is divided by the size."""
    x = inputs[0]
    size = node["size"]
    reach = min((size - 1) // 2, x.shape[1])  # beyond the channels there is nothing to add
    squares = np.pad(x.astype(np.float64) ** 2, ((0, 0), (reach, reach), (0, 0), (0, 0)))
    total = sliding_window_view(squares, 2 * reach + 1, axis=1).sum(axis=-1)
    return np.asarray(x / (node["bias"] + node["alpha"] / size * total) ** node["beta"], np.float32)


def _pad(node: Node, inputs: Sequence[Array]) -> Array:
    pads, rank = node["pads"], inputs[0].ndim
    return np.pad(inputs[0], [(pads[i], pads[i + rank]) for i in range(rank)], constant_values=node["value"])


def _length(x: Array, axes: Sequence[int], keepdims: bool) -> Array:
    return np.asarray(np.sqrt((x * x).sum(axis=tuple(axes), keepdims=keepdims)), np.float32)


def _lp_normalization(node: Node, inputs: Sequence[Array]) -> Array:
    x = inputs[0]
    return np.asarray(x / np.maximum(_length(x, (node["axis"],), True), np.float32(node["epsilon"])))


KERNELS: dict[str, Callable[[Node, Sequence[Array]], Array]] = {
    "Conv": _conv,
    "FusedConv": _fused_conv,
    "BatchNormalization": _batch_normalization,
    "Relu": lambda node, inputs: np.maximum(inputs[0], 0),
    "LeakyRelu": lambda node, inputs: np.where(inputs[0] < 0, inputs[0] * np.float32(node["alpha"]), inputs[0]),
    "Clip": lambda node, inputs: np.clip(inputs[0], np.float32(node["min"]), np.float32(node["max"])),
    "PRelu": _prelu,
    "Sigmoid": lambda node, inputs: _sigmoid(inputs[0]),
    "HardSwish": lambda node, inputs: inputs[0] * np.clip(inputs[0] / 6 + np.float32(0.5), 0, 1),
    "Sqrt": lambda node, inputs: np.sqrt(inputs[0]),
    "Add": lambda node, inputs: inputs[0] + inputs[1],
    "Sub": lambda node, inputs: inputs[0] - inputs[1],
    "Mul": lambda node, inputs: inputs[0] * inputs[1],
    "Div": lambda node, inputs: inputs[0] / inputs[1],
    "Pow": lambda node, inputs: np.power(inputs[0], inputs[1]),
    "Concat": lambda node, inputs: np.concatenate(inputs, axis=node["axis"]),
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "LpPool": _lp_pool,
    "GlobalAveragePool": lambda node, inputs: inputs[0].mean(axis=(2, 3), keepdims=True, dtype=np.float64),
    "LRN": _lrn,
    "Gemm": lambda node, inputs: inputs[0] @ inputs[1].T + inputs[2],
    "Reshape": lambda node, inputs: inputs[0].reshape(node["shape"]),
    "Transpose": lambda node, inputs: inputs[0].transpose(node["perm"]),
    "Pad": _pad,
    "Resize": lambda node, inputs: inputs[0].repeat(node["scale_h"], axis=2).repeat(node["scale_w"], axis=3),
    "ReduceL2": lambda node, inputs: _length(inputs[0], node["axes"], node["keepdims"]),
    "LpNormalization": _lp_normalization,
}

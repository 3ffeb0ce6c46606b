"""Runs a graph with NumPy: slow, plain, and the oracle for everything faster.

`KERNELS` has one function per op of `ops.OPS`; each takes the node and its inputs and returns its output, float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from facelet.errors import GraphError, InputError
from facelet.graph.int8 import HIGHEST, LOWEST, run_int8_conv
from facelet.graph.int8_maps import run_int8_mul, run_table
from facelet.graph.ir import Array, Graph, Node, Shape
from facelet.graph.resample import node_taps

LARGEST_COLUMNS = 2**22
"""Numbers that a convolution copies side by side at once: 16 MiB, whatever the kernel and the image."""


def run(graph: Graph, feeds: Mapping[str, Array], *, every: bool = False) -> dict[str, Array]:
    """The outputs of a graph.

    Args:
        feeds: one array per input, of the graph's shape; anything that NumPy can turn into float32.
        every: return all tensors that nodes write instead of the outputs alone.

    Raises:
        InputError: an input is missing, of another shape, or not of numbers.
    """
    values: dict[str, Array] = dict(graph.constants)
    for name in graph.inputs:
        if name not in feeds:
            raise InputError(f"{graph.name}: nothing is fed to its input '{name}'")
        array = _fed(feeds[name], f"{graph.name}: input '{name}'")
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


def _fed(value: Any, where: str) -> Array:
    """An input as float32."""
    try:
        array = np.asarray(value)
    except ValueError as error:  # rows of different lengths
        raise InputError(f"{where} is no array; feed float32 numbers") from error
    if array.dtype.kind not in "fiub":
        raise InputError(f"{where} holds {array.dtype}; feed float32 numbers")
    return array.astype(np.float32, copy=False)


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


def _place(node: Node, x: Array, kernel: Shape, dilations: Shape = (1, 1)) -> Shape:
    """Output height and width of a window on a padded image."""
    reach = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    return tuple((x.shape[axis + 2] - reach[axis]) // node["strides"][axis] + 1 for axis in (0, 1))


def _taps(node: Node, x: Array, kernel: Shape, size: Shape, dilations: Shape = (1, 1)) -> Iterator[tuple[Shape, Array]]:
    """For each place (i, j) in a window, what all windows see there: `(n, c, out_h, out_w)`, a view."""
    (down, across), (height, width) = node["strides"], size
    for i, j in np.ndindex(*kernel):
        top, left = i * dilations[0], j * dilations[1]
        yield (
            (i, j),
            x[:, :, top : top + down * (height - 1) + 1 : down, left : left + across * (width - 1) + 1 : across],
        )


def _conv(node: Node, inputs: Sequence[Array]) -> Array:
    image, weight, bias = inputs[:3]
    x, kernel, dilations = _padded(image, node["pads"]), weight.shape[2:], node["dilations"]
    size = _place(node, x, kernel, dilations)
    if node["groups"] == x.shape[1] == len(weight) and math.prod(kernel) <= math.prod(size):
        out = np.broadcast_to(bias.reshape(1, -1, 1, 1), (len(x), len(weight), *size)).copy()
        for (i, j), seen in _taps(node, x, kernel, size, dilations):
            out += weight[:, 0, i, j].reshape(1, -1, 1, 1) * seen
        return out
    return _columns_conv(node, x, weight, size) + bias.reshape(1, -1, 1, 1)


def _columns_conv(node: Node, x: Array, weight: Array, size: Shape) -> Array:
    """Convolution of a padded image as matrix products, in pieces of at most `LARGEST_COLUMNS` numbers."""
    (down, across), dilations, groups = node["strides"], node["dilations"], node["groups"]
    kernels = weight.reshape(groups, len(weight) // groups, -1)
    reach = tuple(d * (k - 1) + 1 for d, k in zip(dilations, weight.shape[2:], strict=True))
    windows = sliding_window_view(x, reach, axis=(2, 3))
    windows = windows[:, :, ::down, ::across, :: dilations[0], :: dilations[1]]
    height, width = size
    wide = min(width, max(1, LARGEST_COLUMNS // kernels.shape[2]))
    high = max(1, LARGEST_COLUMNS // (kernels.shape[2] * wide))
    out = np.empty((len(x), groups, kernels.shape[1], height, width), weight.dtype)
    channels = weight.shape[1]
    for n, group, top, left in np.ndindex(len(x), groups, -(-height // high), -(-width // wide)):
        rows, places = slice(top * high, (top + 1) * high), slice(left * wide, (left + 1) * wide)
        part = windows[n, group * channels : (group + 1) * channels, rows, places]
        columns = part.transpose(0, 3, 4, 1, 2).reshape(kernels.shape[2], -1)
        out[n, group, :, rows, places] = (kernels[group] @ columns).reshape(-1, *part.shape[1:3])
    return out.reshape(len(x), len(weight), height, width)


def _fused_conv(node: Node, inputs: Sequence[Array]) -> Array:
    out = _conv(node, inputs)
    if node["residual"]:
        out = out + inputs[-1]
    activation = node["activation"]
    if not activation:
        return out
    return KERNELS[activation](node, [out, *inputs[3:4]])


def sums(node: Node, inputs: Sequence[Any]) -> Any:
    """Bias and products of a convolution, in the precision of its inputs: x, weight and bias."""
    return _conv(node, inputs)


def _int8_conv(node: Node, inputs: Sequence[Array]) -> Array:
    acc = sums(node, [array.astype(np.float64) for array in inputs[:3]])  # float64 holds every sum
    return run_int8_conv(node, acc, list(inputs[3:6]), inputs[-1] if node["residual"] else None)


def _quantize(node: Node, inputs: Sequence[Array]) -> Array:
    return np.asarray(np.clip(np.rint(np.ldexp(inputs[0], node["fraction"])), LOWEST, HIGHEST))


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


def _pooled(node: Node, x: Array, ufunc: np.ufunc, start: float) -> np.ndarray[Any, Any]:
    """Every window of a padded image drawn together; by the shorter of two loops: places in a window, or windows."""
    kernel, (down, across) = node["kernel"], node["strides"]
    size = _place(node, x, kernel)
    out = np.full((*x.shape[:2], *size), start, x.dtype)
    if math.prod(kernel) <= math.prod(size):
        for _, seen in _taps(node, x, kernel, size):
            ufunc(out, seen, out=out)
        return out
    for row, column in np.ndindex(*size):
        top, left = row * down, column * across
        out[:, :, row, column] = ufunc.reduce(x[:, :, top : top + kernel[0], left : left + kernel[1]], axis=(2, 3))
    return out


def _max_pool(node: Node, inputs: Sequence[Array]) -> Array:
    return _pooled(node, _padded(inputs[0], node["pads"], -np.inf), np.maximum, -np.inf)


def _average_pool(node: Node, inputs: Sequence[Array]) -> Array:
    total = _pooled(node, _padded(inputs[0], node["pads"]).astype(np.float64), np.add, 0.0)
    if node["count_include_pad"]:
        return np.asarray(total / float(np.prod(node["kernel"])), np.float32)
    ones = _padded(np.ones((1, 1, *inputs[0].shape[2:]), np.float32), node["pads"])
    return np.asarray(total / _pooled(node, ones, np.add, 0.0), np.float32)


def _lp_pool(node: Node, inputs: Sequence[Array]) -> Array:
    powers = np.abs(_padded(inputs[0], node["pads"]).astype(np.float64)) ** node["p"]
    return np.asarray(_pooled(node, powers, np.add, 0.0) ** (1 / node["p"]), np.float32)


def _lrn(node: Node, inputs: Sequence[Array]) -> Array:
    """Source: Krizhevsky et al., 2012, section 3.3, with ONNX's constants: alpha is divided by the size.

    Each sum is made anew: one that moves along the channels, adding and taking away, is wrong after a large value.
    """
    out, channels = np.empty_like(inputs[0]), inputs[0].shape[1]
    reach = min((node["size"] - 1) // 2, channels - 1)  # beyond the channels there is nothing to add
    for n, x in enumerate(inputs[0]):
        squares = x.astype(np.float64) ** 2
        total = squares.copy()
        for away in range(1, reach + 1):
            total[away:] += squares[:-away]
            total[:-away] += squares[away:]
        out[n] = x / (node["bias"] + node["alpha"] / node["size"] * total) ** node["beta"]
    return out


def _pad(node: Node, inputs: Sequence[Array]) -> Array:
    pads, rank = node["pads"], inputs[0].ndim
    return np.pad(inputs[0], [(pads[i], pads[i + rank]) for i in range(rank)], constant_values=node["value"])


def _slice(node: Node, inputs: Sequence[Array]) -> Array:
    parts = zip(node["starts"], node["steps"], node["sizes"], strict=True)
    return inputs[0][np.ix_(*(start + step * np.arange(size) for start, step, size in parts))]


def _resample(node: Node, inputs: Sequence[Array]) -> Array:
    x = inputs[0]
    rows, columns = node_taps(node, *x.shape[2:])
    down, across = rows.weight[:, None], columns.weight
    upper, lower = x[:, :, rows.first], x[:, :, rows.second]
    tall = upper if not rows.weight.any() else upper * (1 - down) + lower * down
    left, right = tall[..., columns.first], tall[..., columns.second]
    return np.asarray(left if not columns.weight.any() else left * (1 - across) + right * across)


def _softmax(node: Node, inputs: Sequence[Array]) -> Array:
    power = np.exp(inputs[0] - inputs[0].max(axis=node["axis"], keepdims=True))
    return np.asarray(power / power.sum(axis=node["axis"], keepdims=True))


def _reduced(function: Callable[..., Any]) -> Callable[[Node, Sequence[Array]], Array]:
    def run_it(node: Node, inputs: Sequence[Array]) -> Array:
        return np.asarray(function(inputs[0], axis=tuple(node["axes"]), keepdims=node["keepdims"]), np.float32)

    return run_it


def _erf(x: Array) -> Array:
    values = [math.erf(v) for v in x.reshape(-1).tolist()]
    return np.array(values, np.float32).reshape(x.shape)


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
    "Tanh": lambda node, inputs: np.tanh(inputs[0]),
    "Abs": lambda node, inputs: np.abs(inputs[0]),
    "Exp": lambda node, inputs: np.exp(inputs[0]),
    "Log": lambda node, inputs: np.log(inputs[0]),
    "Erf": lambda node, inputs: _erf(inputs[0]),
    "Add": lambda node, inputs: inputs[0] + inputs[1],
    "Sub": lambda node, inputs: inputs[0] - inputs[1],
    "Mul": lambda node, inputs: inputs[0] * inputs[1],
    "Div": lambda node, inputs: inputs[0] / inputs[1],
    "Pow": lambda node, inputs: np.power(inputs[0], inputs[1]),
    "Max": lambda node, inputs: np.maximum(inputs[0], inputs[1]),
    "Min": lambda node, inputs: np.minimum(inputs[0], inputs[1]),
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
    "Slice": _slice,
    "Resample": _resample,
    "Resize": lambda node, inputs: inputs[0].repeat(node["scale_h"], axis=2).repeat(node["scale_w"], axis=3),
    "ReduceL2": lambda node, inputs: _length(inputs[0], node["axes"], node["keepdims"]),
    "ReduceSum": _reduced(lambda x, **over: x.sum(dtype=np.float64, **over)),
    "ReduceMean": _reduced(lambda x, **over: x.mean(dtype=np.float64, **over)),
    "ReduceMax": _reduced(np.max),
    "ReduceMin": _reduced(np.min),
    "LpNormalization": _lp_normalization,
    "Softmax": _softmax,
    "QuantizeLinear": _quantize,
    "DequantizeLinear": lambda node, inputs: np.ldexp(inputs[0], -node["fraction"]),
    "Int8Conv": _int8_conv,
    "Int8Table": lambda node, inputs: run_table(*inputs),
    "Int8Mul": lambda node, inputs: run_int8_mul(node, *inputs),
    "Table": lambda node, inputs: run_table(*inputs),
    "Channels": lambda node, inputs: inputs[0][:, list(node["order"])],
}

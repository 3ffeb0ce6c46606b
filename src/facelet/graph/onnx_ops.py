"""How each ONNX op becomes ops of `ir`: one function per form, `IMPORTERS` by op."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx

from facelet.graph.ir import Array
from facelet.graph.onnx_fold import WHOLE, are_whole, fold_whole
from facelet.graph.onnx_import import LARGEST_FOLDED, Import, attributes, axis_of, refusal
from facelet.graph.onnx_int8 import read_dequantize, read_quantize


def _whole(values: Any, count: int, into: Import, node: onnx.NodeProto) -> tuple[int, ...]:
    found = tuple(int(v) for v in values)
    if len(found) != count:
        raise refusal(into, node, f"needs {count} numbers, found {found}; only two-dimensional images are supported")
    return found


def _window(into: Import, node: onnx.NodeProto, kernel: tuple[int, ...]) -> dict[str, Any]:
    """Strides, dilations and pads, `auto_pad` and `ceil_mode` worked out."""
    given = attributes(node)
    strides = _whole(given.get("strides", (1, 1)), 2, into, node)
    dilations = _whole(given.get("dilations", (1, 1)), 2, into, node)
    pads = list(_whole(given.get("pads", (0, 0, 0, 0)), 4, into, node))
    auto, size = given.get("auto_pad", "NOTSET"), into.shape(node)[2:]
    if len(size) != 2:
        raise refusal(into, node, "only two-dimensional images are supported")
    if min(strides) < 1 or min(dilations) < 1 or min(kernel) < 1:
        raise refusal(into, node, "kernel, strides and dilations must be 1 or more")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        for axis in (0, 1):
            reach = dilations[axis] * (kernel[axis] - 1) + 1
            total = (-(-size[axis] // strides[axis]) - 1) * strides[axis] + reach - size[axis]
            if total < 0 and node.op_type != "Conv":  # onnxruntime refuses it or crops, by op; others do not crop
                raise refusal(into, node, f"auto_pad {auto} with strides wider than the window is not supported")
            total = max(0, total)
            before = total // 2 if auto == "SAME_UPPER" else total - total // 2
            pads[axis], pads[axis + 2] = before, total - before
    elif auto == "VALID":
        pads = [0, 0, 0, 0]
    elif auto not in ("NOTSET", ""):
        raise refusal(into, node, f"auto_pad {auto} is not known")
    if given.get("ceil_mode"):
        if given.get("count_include_pad"):
            raise refusal(into, node, "ceil_mode together with count_include_pad is not supported")
        for axis in (0, 1):
            reach = dilations[axis] * (kernel[axis] - 1) + 1
            room = size[axis] + pads[axis] + pads[axis + 2] - reach
            steps = -(-room // strides[axis])
            if steps * strides[axis] >= size[axis] + pads[axis]:  # a window must begin inside the image
                steps -= 1
            pads[axis + 2] += max(0, steps * strides[axis] - room)
    return {"strides": strides, "dilations": dilations, "pads": tuple(pads)}


def _conv(into: Import, node: onnx.NodeProto) -> None:
    x, weight, given = into.tensor(node), into.weights(node, 1), attributes(node)
    if weight.ndim != 4:
        raise refusal(into, node, f"a kernel of {weight.ndim} dimensions; only two-dimensional images are supported")
    if tuple(given.get("kernel_shape", weight.shape[2:])) != weight.shape[2:]:
        raise refusal(into, node, f"kernel_shape {given['kernel_shape']} is not that of its weights {weight.shape}")
    window = _window(into, node, tuple(weight.shape[2:]))
    bias = into.tensor(node, 2) if into.has(node, 2) else ""
    if not bias:
        bias = into.constant(into.fresh(f"{node.output[0]}.bias"), np.zeros(len(weight), np.float32))
    elif bias not in into.constants:
        raise refusal(into, node, "its bias must be constant")
    into.emit(node, "Conv", (x, into.tensor(node, 1), bias), groups=int(given.get("group", 1)), **window)


def _batch_normalization(into: Import, node: onnx.NodeProto) -> None:
    given = attributes(node)
    names = [into.tensor(node, position) for position in range(5)]
    for name in names[1:]:
        if name not in into.constants:
            raise refusal(into, node, "its statistics must be constant")
    into.emit(node, "BatchNormalization", names, epsilon=float(given.get("epsilon", 1e-5)))


def _plain(op: str, **defaults: float) -> Callable[[Import, onnx.NodeProto], None]:
    """An op of one input whose float attributes have the same names."""

    def read(into: Import, node: onnx.NodeProto) -> None:
        given = attributes(node)
        values: dict[str, Any] = {name: float(given.get(name, value)) for name, value in defaults.items()}
        into.emit(node, op, (into.tensor(node),), **values)

    return read


def _clip(into: Import, node: onnx.NodeProto) -> None:
    limits = [-math.inf, math.inf]
    for position in (0, 1):
        if into.has(node, position + 1):
            limits[position] = float(into.weights(node, position + 1).reshape(()))
    into.emit(node, "Clip", (into.tensor(node),), min=limits[0], max=limits[1])


def _prelu(into: Import, node: onnx.NodeProto) -> None:
    x, slope = into.tensor(node), into.weights(node, 1)
    shape = into.shapes[x]
    if len(shape) < 2:
        raise refusal(into, node, "needs channels")
    channels = shape[1]
    lined = (1,) * (len(shape) - slope.ndim) + slope.shape
    if slope.size != 1 and lined != (1, channels, *([1] * (len(shape) - 2))):
        raise refusal(into, node, f"slopes of shape {slope.shape}; supported are one, or one per channel ({channels})")
    values = np.broadcast_to(slope.reshape(-1), (channels,))
    into.emit(node, "PRelu", (x, into.constant(into.fresh(f"{node.output[0]}.slope"), values)))


def _hard_sigmoid(into: Import, node: onnx.NodeProto) -> None:
    """clip(alpha x + beta, 0, 1)."""
    given, out = attributes(node), node.output[0]
    scale = into.constant(into.fresh(f"{out}.alpha"), np.array(given.get("alpha", 0.2)))
    shift = into.constant(into.fresh(f"{out}.beta"), np.array(given.get("beta", 0.5)))
    scaled = into.emit(node, "Mul", (into.tensor(node), scale), into.fresh(f"{out}.scaled"))
    shifted = into.emit(node, "Add", (scaled, shift), into.fresh(f"{out}.shifted"))
    into.emit(node, "Clip", (shifted,), min=0.0, max=1.0)


def _binary(op: str) -> Callable[[Import, onnx.NodeProto], None]:
    def read(into: Import, node: onnx.NodeProto) -> None:
        if op in WHOLE and are_whole(into, node):
            into.fold(node, fold_whole(into, node))
        else:
            into.emit(node, op, (into.tensor(node, 0), into.tensor(node, 1)))

    return read


def _sum(into: Import, node: onnx.NodeProto) -> None:
    names = [into.tensor(node, position) for position in range(len(node.input))]
    if len(names) == 1:
        into.alias(node)
        return
    total = names[0]
    for name in names[1:-1]:
        total = into.emit(node, "Add", (total, name), into.fresh(f"{node.output[0]}.part"))
    into.emit(node, "Add", (total, names[-1]))


def _cast(into: Import, node: onnx.NodeProto) -> None:
    into.shape(node)
    if attributes(node)["to"] != onnx.TensorProto.FLOAT:
        raise refusal(into, node, "only constants are cast to other kinds than float32")
    into.alias(node)


def _concat(into: Import, node: onnx.NodeProto) -> None:
    names = [into.tensor(node, position) for position in range(len(node.input))]
    axis = axis_of(into, node, int(attributes(node)["axis"]), len(into.shapes[names[0]]))
    into.emit(node, "Concat", names, axis=axis)


def _pool(op: str) -> Callable[[Import, onnx.NodeProto], None]:
    def read(into: Import, node: onnx.NodeProto) -> None:
        given = attributes(node)
        kernel = _whole(given["kernel_shape"], 2, into, node)
        window = _window(into, node, kernel)
        if window.pop("dilations") != (1, 1):
            raise refusal(into, node, "dilations are not supported in pools")
        if given.get("storage_order"):
            raise refusal(into, node, "storage_order is not supported")
        if op == "AveragePool":
            window["count_include_pad"] = bool(given.get("count_include_pad", 0))
        if op == "LpPool":
            window["p"] = int(given.get("p", 2))
            if window["p"] < 1:
                raise refusal(into, node, "p must be 1 or more")
        into.emit(node, op, (into.tensor(node),), kernel=kernel, **window)

    return read


def _global_max_pool(into: Import, node: onnx.NodeProto) -> None:
    size = into.shape(node)[2:]
    into.emit(node, "MaxPool", (into.tensor(node),), kernel=size, strides=(1, 1), pads=(0, 0, 0, 0))


def _lrn(into: Import, node: onnx.NodeProto) -> None:
    given = attributes(node)
    alpha, beta, bias = (float(given.get(name, v)) for name, v in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0)))
    into.emit(node, "LRN", (into.tensor(node),), size=int(given["size"]), alpha=alpha, beta=beta, bias=bias)


def _gemm(into: Import, node: onnx.NodeProto) -> None:
    given, x, weight = attributes(node), into.tensor(node), into.weights(node, 1)
    if weight.ndim != 2:
        raise refusal(into, node, f"a weight of {weight.ndim} dimensions")
    if given.get("transA"):
        x = into.emit(node, "Transpose", (x,), into.fresh(f"{node.output[0]}.turned"), perm=(1, 0))
    weight = (weight if given.get("transB") else weight.T) * np.float32(given.get("alpha", 1.0))
    bias = np.zeros(len(weight), np.float32)
    if into.has(node, 2):
        bias = np.broadcast_to(into.weights(node, 2) * np.float32(given.get("beta", 1.0)), (1, len(weight)))[0]
    _dense(into, node, x, weight, bias)


def _matmul(into: Import, node: onnx.NodeProto) -> None:
    x, weight = into.tensor(node), into.weights(node, 1)
    if weight.ndim != 2 or len(into.shapes[x]) != 2:
        raise refusal(into, node, "only (n, k) times a constant (k, m) is supported")
    _dense(into, node, x, weight.T, np.zeros(weight.shape[1], np.float32))


def _dense(into: Import, node: onnx.NodeProto, x: str, weight: Array, bias: Array) -> None:
    out = node.output[0]
    names = into.constant(into.fresh(f"{out}.weight"), weight), into.constant(into.fresh(f"{out}.bias"), bias)
    into.emit(node, "Gemm", (x, *names))


def _reshaped(into: Import, node: onnx.NodeProto, shape: Sequence[int]) -> None:
    name = into.resolve(node.input[0])
    if name in into.known and into.known[name].dtype.kind in "iu":
        into.fold(node, into.known[name].reshape(shape))
    else:
        into.emit(node, "Reshape", (into.tensor(node),), shape=tuple(shape))


def _reshape(into: Import, node: onnx.NodeProto) -> None:
    source, target = into.shape(node), [int(v) for v in into.value(node, 1).reshape(-1)]
    if not attributes(node).get("allowzero"):
        target = [source[axis] if size == 0 else size for axis, size in enumerate(target)]
    # a file made for one batch size says it in its Reshapes: the graph's own batch takes its place
    if (
        target
        and into.file_batch not in (None, into.batch)
        and source[0] == into.batch
        and target[0] == into.file_batch
    ):
        target[0] = into.batch
    if target.count(-1) > 1 or any(size < -1 for size in target):
        raise refusal(into, node, f"{target} is no shape")
    if -1 in target:
        rest = math.prod(size for size in target if size != -1)
        if rest < 1 or math.prod(source) % rest:
            raise refusal(into, node, f"{target} does not fit {list(source)}")
        target[target.index(-1)] = math.prod(source) // rest
    _reshaped(into, node, target)


def _flatten(into: Import, node: onnx.NodeProto) -> None:
    shape, axis = into.shape(node), int(attributes(node).get("axis", 1))
    axis = axis_of(into, node, axis, len(shape) + (axis > 0)) if axis != len(shape) else axis
    _reshaped(into, node, (math.prod(shape[:axis]), math.prod(shape[axis:])))


def _squeeze(into: Import, node: onnx.NodeProto) -> None:
    shape, axes = into.shape(node), into.ints(node, 1, "axes")
    chosen = {a for a, s in enumerate(shape) if s == 1}
    if axes is not None:
        chosen = {axis_of(into, node, axis, len(shape)) for axis in axes}
    if any(shape[axis] != 1 for axis in chosen):
        raise refusal(into, node, f"axes {sorted(chosen)} of {list(shape)} are not all 1")
    _reshaped(into, node, [size for axis, size in enumerate(shape) if axis not in chosen])


def _unsqueeze(into: Import, node: onnx.NodeProto) -> None:
    shape, axes = list(into.shape(node)), into.ints(node, 1, "axes") or []
    rank = len(shape) + len(axes)
    chosen = sorted(axis_of(into, node, axis, rank) for axis in axes)
    if len(set(chosen)) != len(chosen):
        raise refusal(into, node, f"axes {axes} name one twice")
    for axis in chosen:
        shape.insert(axis, 1)
    _reshaped(into, node, shape)


def _transpose(into: Import, node: onnx.NodeProto) -> None:
    perm = attributes(node).get("perm") or range(len(into.shape(node)))[::-1]
    into.emit(node, "Transpose", (into.tensor(node),), perm=tuple(int(axis) for axis in perm))


def _pad(into: Import, node: onnx.NodeProto) -> None:
    given, rank = attributes(node), len(into.shape(node))
    if given.get("mode", "constant") != "constant":
        raise refusal(into, node, f"mode {given['mode']} is not supported; constant is")
    pads = into.ints(node, 1, "pads") or []
    value = float(into.weights(node, 2).reshape(())) if into.has(node, 2) else float(given.get("value", 0.0))
    if into.has(node, 3):
        axes = [axis_of(into, node, int(axis), rank) for axis in into.value(node, 3).reshape(-1)]
        whole = [0] * (2 * rank)
        for position, axis in enumerate(axes):
            whole[axis], whole[axis + rank] = pads[position], pads[position + len(axes)]
        pads = whole
    into.emit(node, "Pad", (into.tensor(node),), pads=tuple(pads), value=value)


REPEATS = {
    ("asymmetric", "floor"): math.inf,
    ("asymmetric", "round_prefer_floor"): 2,
    ("half_pixel", "round_prefer_floor"): math.inf,
    ("half_pixel", "round_prefer_ceil"): math.inf,
    ("pytorch_half_pixel", "round_prefer_floor"): math.inf,
    ("pytorch_half_pixel", "round_prefer_ceil"): math.inf,
}
"""Up to which whole-number scale each way of choosing the nearest pixel repeats every pixel alike."""


def _resize(into: Import, node: onnx.NodeProto) -> None:
    given, shape = attributes(node), into.shape(node)
    way = (given.get("coordinate_transformation_mode", "half_pixel"), given.get("nearest_mode", "round_prefer_floor"))
    if len(shape) != 4 or given.get("mode", "nearest") != "nearest" or way not in REPEATS or given.get("axes"):
        raise refusal(into, node, "only nearest-neighbour enlargement of images is supported")
    if given.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise refusal(into, node, "only the keep_aspect_ratio_policy stretch is supported")
    if into.has(node, 2) and into.value(node, 2).size:
        scales = [float(v) for v in into.value(node, 2).reshape(-1)]
    else:
        scales = [int(v) / size for v, size in zip(into.value(node, 3).reshape(-1), shape, strict=True)]
    if len(scales) != 4 or scales[:2] != [1, 1] or any(s != int(s) or not 1 <= s <= REPEATS[way] for s in scales):
        raise refusal(into, node, f"scales {scales} are not supported; whole numbers for height and width are")
    into.emit(node, "Resize", (into.tensor(node),), scale_h=int(scales[2]), scale_w=int(scales[3]))


def _axes(into: Import, node: onnx.NodeProto) -> tuple[tuple[int, ...], bool]:
    rank, given = len(into.shape(node)), attributes(node)
    axes = into.ints(node, 1, "axes")
    if not axes and given.get("noop_with_empty_axes"):
        raise refusal(into, node, "noop_with_empty_axes is not supported")
    chosen = tuple(sorted({axis_of(into, node, axis, rank) for axis in axes})) if axes else tuple(range(rank))
    return chosen, bool(given.get("keepdims", 1))


def _reduce_l2(into: Import, node: onnx.NodeProto) -> None:
    axes, keepdims = _axes(into, node)
    into.emit(node, "ReduceL2", (into.tensor(node),), axes=axes, keepdims=keepdims)


def _reduce_mean(into: Import, node: onnx.NodeProto) -> None:
    axes, keepdims = _axes(into, node)
    shape = into.shape(node)
    if len(shape) != 4 or axes != (2, 3):
        raise refusal(into, node, f"over axes {axes} is not supported; over height and width of images it is")
    if keepdims:
        into.emit(node, "GlobalAveragePool", (into.tensor(node),))
        return
    mean = into.emit(node, "GlobalAveragePool", (into.tensor(node),), into.fresh(f"{node.output[0]}.mean"))
    into.emit(node, "Reshape", (mean,), shape=shape[:2])


SMALLEST = float(np.finfo(np.float32).tiny)
"""Below every length but zero, so that a vector of zeros stays one, as onnxruntime has it."""


def _lp_normalization(into: Import, node: onnx.NodeProto) -> None:
    given = attributes(node)
    if given.get("p", 2) != 2:
        raise refusal(into, node, "only p = 2 is supported")
    axis = axis_of(into, node, int(given.get("axis", -1)), len(into.shape(node)))
    into.emit(node, "LpNormalization", (into.tensor(node),), axis=axis, epsilon=SMALLEST)


def _expand(into: Import, node: onnx.NodeProto) -> None:
    shape = [int(v) for v in into.value(node, 1).reshape(-1)]
    source = into.shape(node)
    if math.prod(max(size, 1) for size in shape) > LARGEST_FOLDED or any(size < 1 for size in shape):
        raise refusal(into, node, f"to {shape} is not supported")
    if tuple(np.broadcast_shapes(source, tuple(shape))) == source:
        into.alias(node)
        return
    into.spend(node, math.prod(shape))
    ones = into.constant(into.fresh(f"{node.output[0]}.ones"), np.ones(shape, np.float32))
    into.emit(node, "Mul", (into.tensor(node), ones))


IMPORTERS: dict[str, Callable[[Import, onnx.NodeProto], None]] = {
    "Add": _binary("Add"),
    "AveragePool": _pool("AveragePool"),
    "BatchNormalization": _batch_normalization,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "DequantizeLinear": read_dequantize,
    "Div": _binary("Div"),
    "Dropout": lambda into, node: into.alias(node),
    "Expand": _expand,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": _plain("GlobalAveragePool"),
    "GlobalMaxPool": _global_max_pool,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _plain("HardSwish"),
    "Identity": lambda into, node: into.alias(node),
    "LRN": _lrn,
    "LeakyRelu": _plain("LeakyRelu", alpha=0.01),
    "LpNormalization": _lp_normalization,
    "LpPool": _pool("LpPool"),
    "MatMul": _matmul,
    "MaxPool": _pool("MaxPool"),
    "Mul": _binary("Mul"),
    "PRelu": _prelu,
    "Pad": _pad,
    "Pow": _binary("Pow"),
    "QuantizeLinear": read_quantize,
    "ReduceL2": _reduce_l2,
    "ReduceMean": _reduce_mean,
    "Relu": _plain("Relu"),
    "Reshape": _reshape,
    "Resize": _resize,
    "Sigmoid": _plain("Sigmoid"),
    "Sqrt": _plain("Sqrt"),
    "Squeeze": _squeeze,
    "Sub": _binary("Sub"),
    "Sum": _sum,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}

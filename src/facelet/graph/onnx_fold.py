"""What is computed while an ONNX file is read: the arithmetic of shapes; `FOLDED` by op."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from facelet.graph.ir import Node
from facelet.graph.onnx_import import LARGEST_FOLDED, Import, Known, attributes, axis_of, refusal
from facelet.graph.onnx_int8 import fold_dequantize
from facelet.graph.shapes import broadcast


def _folded_constant(into: Import, node: onnx.NodeProto) -> Known:
    given = attributes(node)
    if "value" in given:
        return np.asarray(numpy_helper.to_array(given["value"]))
    for name in ("value_float", "value_floats", "value_int", "value_ints"):
        if name in given:
            return np.asarray(given[name], np.float32 if "float" in name else np.int64)
    raise refusal(into, node, "holds neither a tensor nor numbers")


def of_shape(into: Import, node: onnx.NodeProto, shape: Sequence[int]) -> Known:
    """What Shape gives of a tensor; newer opsets may ask for a part of it."""
    given = attributes(node)
    return np.array(tuple(shape)[slice(given.get("start", 0), given.get("end"))], np.int64)


def sliced(into: Import, node: onnx.NodeProto, rank: int) -> list[slice]:
    """What a Slice takes of each axis; opsets before 10 say it in attributes."""
    starts, ends = into.ints(node, 1, "starts") or [], into.ints(node, 2, "ends") or []
    axes = into.ints(node, 3, "axes") or list(range(len(starts)))
    steps = into.ints(node, 4, "steps") or [1] * len(starts)
    chosen = [slice(None)] * rank
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        chosen[axis_of(into, node, axis, rank)] = slice(start, end, step)
    return chosen


def _folded_slice(into: Import, node: onnx.NodeProto) -> Known:
    x = into.value(node, 0)
    return np.asarray(x[tuple(sliced(into, node, x.ndim))])


def _folded_fill(into: Import, node: onnx.NodeProto) -> Known:
    shape = [int(v) for v in into.value(node, 0).reshape(-1)]
    if any(size < 0 for size in shape) or math.prod(shape) > LARGEST_FOLDED:
        raise refusal(into, node, f"of shape {shape} is not supported")
    given = attributes(node)
    value = numpy_helper.to_array(given["value"]) if "value" in given else np.zeros(1, np.float32)
    return np.full(shape, value.reshape(-1)[0])


def _folded_unsqueeze(into: Import, node: onnx.NodeProto) -> Known:
    return np.expand_dims(into.value(node, 0), tuple(into.ints(node, 1, "axes") or ()))


def _folded_squeeze(into: Import, node: onnx.NodeProto) -> Known:
    axes = into.ints(node, 1, "axes")
    return np.squeeze(into.value(node, 0), None if axes is None else tuple(axes))


def _folded_cast(into: Import, node: onnx.NodeProto) -> Known:
    return into.value(node, 0).astype(helper.tensor_dtype_to_np_dtype(int(attributes(node)["to"])))


def _folded_gather(into: Import, node: onnx.NodeProto) -> Known:
    table, chosen = into.value(node, 0), into.value(node, 1).astype(np.int64)
    axis = axis_of(into, node, int(attributes(node).get("axis", 0)), table.ndim)
    into.spend(node, table.size // max(1, table.shape[axis]) * chosen.size)
    return np.asarray(np.take(table, chosen, axis=axis))


def _folded_concat(into: Import, node: onnx.NodeProto) -> Known:
    into.spend(node, sum(into.value(node, i).size for i in range(len(node.input))))
    return np.concatenate([into.value(node, i) for i in range(len(node.input))], axis=int(attributes(node)["axis"]))


WHOLE: dict[str, Callable[[Known, Known], Known]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": lambda a, b: (a - np.fmod(a, b)) // b,  # towards zero, where NumPy's // rounds down
    "Max": np.maximum,
    "Min": np.minimum,
    "Mod": np.mod,
    "Abs": lambda a, _: np.abs(a),
    "Neg": lambda a, _: np.negative(a),
}
"""Arithmetic of whole numbers, which float32 would neither truncate nor hold beyond 2^24."""


def are_whole(into: Import, node: onnx.NodeProto) -> bool:
    """Whether all inputs of a node are known whole numbers."""
    found = [into.known.get(into.resolve(name)) for name in node.input]
    return all(value is not None and value.dtype.kind in "iu" for value in found)


def fold_whole(into: Import, node: onnx.NodeProto) -> Known:
    """What an op of `WHOLE` makes of known whole numbers, one input after another."""
    result = into.value(node, 0)
    for position in range(min(1, len(node.input) - 1), len(node.input)):
        other = into.value(node, position)
        into.spend(node, math.prod(broadcast(Node(node.op_type, (), node.output[0]), [result.shape, other.shape])))
        if node.op_type in ("Div", "Mod") and not other.all():
            raise refusal(into, node, "divides a whole number by zero")
        if attributes(node).get("fmod"):
            raise refusal(into, node, "fmod is not supported")
        with np.errstate(over="ignore"):  # what is too large wraps, as onnxruntime has it
            result = np.asarray(WHOLE[node.op_type](result, other))
    return result


def _spend_broadcast(into: Import, node: onnx.NodeProto) -> None:
    shapes = [into.value(node, position).shape for position in range(len(node.input))]
    into.spend(node, math.prod(broadcast(Node(node.op_type, (), node.output[0]), shapes)))


def _compared(function: Callable[[Known, Known], Known]) -> Callable[[Import, onnx.NodeProto], Known]:
    def fold(into: Import, node: onnx.NodeProto) -> Known:
        _spend_broadcast(into, node)
        return np.asarray(function(into.value(node, 0), into.value(node, 1)))

    return fold


def _each(function: Callable[[Known], Known]) -> Callable[[Import, onnx.NodeProto], Known]:
    def fold(into: Import, node: onnx.NodeProto) -> Known:
        return np.asarray(function(into.value(node, 0)))

    return fold


def _along_axes(function: Callable[..., Known]) -> Callable[[Import, onnx.NodeProto], Known]:
    def fold(into: Import, node: onnx.NodeProto) -> Known:
        axes, x = into.ints(node, 1, "axes"), into.value(node, 0)
        if not axes and attributes(node).get("noop_with_empty_axes"):
            return x
        keepdims = bool(attributes(node).get("keepdims", 1))
        return np.asarray(function(x, axis=tuple(axes) if axes else None, keepdims=keepdims), x.dtype)

    return fold


def _folded_where(into: Import, node: onnx.NodeProto) -> Known:
    _spend_broadcast(into, node)
    return np.where(into.value(node, 0), into.value(node, 1), into.value(node, 2))


def _folded_range(into: Import, node: onnx.NodeProto) -> Known:
    start, limit, step = (into.value(node, position).reshape(()) for position in range(3))
    if not step:
        raise refusal(into, node, "has a step of 0")
    count = max(0, math.ceil((limit - start) / step))
    into.spend(node, count)
    return np.asarray(start + step * np.arange(count), start.dtype)


def _folded_expand(into: Import, node: onnx.NodeProto) -> Known:
    x, shape = into.value(node, 0), tuple(int(v) for v in into.value(node, 1).reshape(-1))
    wide = np.broadcast_shapes(x.shape, shape)
    into.spend(node, math.prod(wide))
    return np.broadcast_to(x, wide)


FOLDED: dict[str, Callable[[Import, onnx.NodeProto], Known]] = {
    "And": _compared(np.logical_and),
    "Cast": _folded_cast,
    "Ceil": _each(np.ceil),
    "Concat": _folded_concat,
    "Constant": _folded_constant,
    "ConstantOfShape": _folded_fill,
    "DequantizeLinear": fold_dequantize,
    "Equal": _compared(np.equal),
    "Expand": _folded_expand,
    "Floor": _each(np.floor),
    "Gather": _folded_gather,
    "Greater": _compared(np.greater),
    "Identity": lambda into, node: into.value(node, 0),
    "Less": _compared(np.less),
    "Mod": fold_whole,
    "Not": _each(np.logical_not),
    "Or": _compared(np.logical_or),
    "Range": _folded_range,
    "ReduceMax": _along_axes(np.max),
    "ReduceMin": _along_axes(np.min),
    "ReduceProd": _along_axes(np.prod),
    "ReduceSum": _along_axes(np.sum),
    "Round": _each(np.rint),
    "Shape": lambda into, node: of_shape(into, node, into.value(node, 0).shape),
    "Slice": _folded_slice,
    "Squeeze": _folded_squeeze,
    "Unsqueeze": _folded_unsqueeze,
    "Where": _folded_where,
}
"""What is computed while reading, where all inputs are known: the arithmetic of shapes."""

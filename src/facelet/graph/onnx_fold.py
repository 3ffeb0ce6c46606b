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
from facelet.graph.ops import broadcast


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


def _folded_slice(into: Import, node: onnx.NodeProto) -> Known:
    x = into.value(node, 0)
    starts, ends = into.value(node, 1).reshape(-1), into.value(node, 2).reshape(-1)
    axes = into.value(node, 3).reshape(-1) if into.has(node, 3) else np.arange(len(starts))
    steps = into.value(node, 4).reshape(-1) if into.has(node, 4) else np.ones(len(starts), np.int64)
    chosen = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        chosen[int(axis)] = slice(int(start), int(end), int(step))
    return np.asarray(x[tuple(chosen)])


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
}
"""Arithmetic of whole numbers, which float32 would neither truncate nor hold beyond 2^24."""


def are_whole(into: Import, node: onnx.NodeProto) -> bool:
    """Whether all inputs of a node are known whole numbers."""
    found = [into.known.get(into.resolve(name)) for name in node.input]
    return all(value is not None and value.dtype.kind in "iu" for value in found)


def fold_whole(into: Import, node: onnx.NodeProto) -> Known:
    """What an op of `WHOLE` makes of known whole numbers."""
    a, b = into.value(node, 0), into.value(node, 1)
    into.spend(node, math.prod(broadcast(Node(node.op_type, (), node.output[0]), [a.shape, b.shape])))
    if node.op_type == "Div" and not b.all():
        raise refusal(into, node, "divides a whole number by zero")
    with np.errstate(over="ignore"):  # what is too large wraps, as onnxruntime has it
        return np.asarray(WHOLE[node.op_type](a, b))


FOLDED: dict[str, Callable[[Import, onnx.NodeProto], Known]] = {
    "Cast": _folded_cast,
    "Concat": _folded_concat,
    "Constant": _folded_constant,
    "ConstantOfShape": _folded_fill,
    "DequantizeLinear": fold_dequantize,
    "Gather": _folded_gather,
    "Identity": lambda into, node: into.value(node, 0),
    "Shape": lambda into, node: of_shape(into, node, into.value(node, 0).shape),
    "Slice": _folded_slice,
    "Squeeze": _folded_squeeze,
    "Unsqueeze": _folded_unsqueeze,
}
"""What is computed while reading, where all inputs are known: the arithmetic of shapes."""

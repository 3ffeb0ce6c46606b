"""How ONNX's reductions along axes, and what is made of them, become ops of `ir`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

from facelet.graph.onnx_import import Import, attributes, axis_of, refusal

SMALLEST = float(np.finfo(np.float32).tiny)
"""Below every length but zero, so that a vector of zeros stays one, as onnxruntime has it."""

FLATTENING = 13
"""The opset before which Softmax ran over all axes from its own on."""


def _axes(into: Import, node: onnx.NodeProto) -> tuple[tuple[int, ...], bool]:
    rank, given = len(into.shape(node)), attributes(node)
    axes = into.ints(node, 1, "axes")
    chosen = tuple(sorted({axis_of(into, node, axis, rank) for axis in axes})) if axes else tuple(range(rank))
    if not axes and given.get("noop_with_empty_axes"):
        chosen = ()
    return chosen, bool(given.get("keepdims", 1))


def reduced(op: str) -> Callable[[Import, onnx.NodeProto], None]:
    """A reduction as it is."""

    def read(into: Import, node: onnx.NodeProto) -> None:
        _emit(into, node, op, into.tensor(node), *_axes(into, node))

    return read


ALL_AXES = "over all axes leaves no batch; give it the axes of one image"


def _emit(
    into: Import, node: onnx.NodeProto, op: str, x: str, axes: tuple[int, ...], keepdims: bool, output: str = ""
) -> str:
    if not axes:
        into.alias(node)
        return x
    if len(axes) == len(into.shapes[x]) and not keepdims:
        raise refusal(into, node, ALL_AXES)
    return into.emit(node, op, (x,), output, axes=axes, keepdims=keepdims)


def read_mean(into: Import, node: onnx.NodeProto) -> None:
    """A mean; over height and width of an image, at once or one after the other, it is a global average pool."""
    axes, keepdims = _axes(into, node)
    x = into.tensor(node)
    before = into.producer(x)
    if not axes or (before is None or before.op != "ReduceMean"):
        _mean(into, node, x, axes, keepdims)
        return
    left = [size if axis not in axes else 1 for axis, size in enumerate(into.shapes[x])]
    shape = left if keepdims else [size for axis, size in enumerate(left) if axis not in axes]
    source = before.inputs[0]
    joined = _joined(len(into.shapes[source]), before["axes"], before["keepdims"], axes)
    if len(joined) == len(into.shapes[source]):
        raise refusal(into, node, ALL_AXES)
    mean = _mean(into, node, source, joined, True, into.fresh(f"{node.output[0]}.mean"))
    into.emit(node, "Reshape", (mean,), shape=tuple(shape))


def _mean(into: Import, node: onnx.NodeProto, x: str, axes: tuple[int, ...], keepdims: bool, output: str = "") -> str:
    shape = into.shapes[x]
    if len(shape) != 4 or axes != (2, 3):
        return _emit(into, node, "ReduceMean", x, axes, keepdims, output)
    if keepdims:
        return into.emit(node, "GlobalAveragePool", (x,), output)
    return into.emit(node, "Reshape", (into.part(node, "mean", "GlobalAveragePool", (x,)),), output, shape=shape[:2])


def read_max(into: Import, node: onnx.NodeProto) -> None:
    """A maximum; over height and width of an image it is a max pool with a window of that size."""
    axes, keepdims = _axes(into, node)
    x, shape = into.tensor(node), into.shape(node)
    if len(shape) != 4 or axes != (2, 3):
        _emit(into, node, "ReduceMax", x, axes, keepdims)
        return
    window: dict[str, Any] = {"kernel": shape[2:], "strides": (1, 1), "pads": (0, 0, 0, 0)}
    if keepdims:
        into.emit(node, "MaxPool", (x,), **window)
    else:
        into.emit(node, "Reshape", (into.part(node, "largest", "MaxPool", (x,), **window),), shape=shape[:2])


def _joined(rank: int, first: tuple[int, ...], kept: bool, second: tuple[int, ...]) -> tuple[int, ...]:
    """The axes that two means in a row go over, counted in what the first one reads."""
    left = [axis for axis in range(rank) if kept or axis not in first]
    return tuple(sorted({*first, *(left[axis] for axis in second)}))


def read_sum_square(into: Import, node: onnx.NodeProto) -> None:
    """The sum of squares."""
    axes, keepdims = _axes(into, node)
    x = into.tensor(node)
    _emit(into, node, "ReduceSum", into.part(node, "square", "Mul", (x, x)), axes, keepdims)


def read_l1(into: Import, node: onnx.NodeProto) -> None:
    """The sum of sizes."""
    axes, keepdims = _axes(into, node)
    _emit(into, node, "ReduceSum", into.part(node, "size", "Abs", (into.tensor(node),)), axes, keepdims)


def read_lp_normalization(into: Import, node: onnx.NodeProto) -> None:
    """A vector over its length, or over the sum of its sizes."""
    x, given = into.tensor(node), attributes(node)
    axis = axis_of(into, node, int(given.get("axis", -1)), len(into.shape(node)))
    if (power := given.get("p", 2)) == 2:
        into.emit(node, "LpNormalization", (x,), axis=axis, epsilon=SMALLEST)
    elif power == 1:
        size = into.part(node, "size", "Abs", (x,))
        whole = into.part(node, "whole", "ReduceSum", (size,), axes=(axis,), keepdims=True)
        some = into.part(node, "some", "Clip", (whole,), min=SMALLEST, max=math.inf)
        into.emit(node, "Div", (x, some))
    else:
        raise refusal(into, node, f"p = {power} is not supported; 1 and 2 are")


def read_softmax(into: Import, node: onnx.NodeProto) -> None:
    """Softmax: e^x over its sum along an axis; before opset 13 along all axes from that one on."""
    _along(into, node, lambda x, axis, output: into.emit(node, "Softmax", (x,), output, axis=axis))


def read_log_softmax(into: Import, node: onnx.NodeProto) -> None:
    """The logarithm of Softmax, as x - max - log(sum of e^(x - max)), which does not underflow."""

    def emit(x: str, axis: int, output: str) -> str:
        largest = into.part(node, "largest", "ReduceMax", (x,), axes=(axis,), keepdims=True)
        less = into.part(node, "less", "Sub", (x, largest))
        power = into.part(node, "power", "Exp", (less,))
        whole = into.part(node, "whole", "ReduceSum", (power,), axes=(axis,), keepdims=True)
        return into.emit(node, "Sub", (less, into.part(node, "log", "Log", (whole,))), output)

    _along(into, node, emit)


def _along(into: Import, node: onnx.NodeProto, emit: Callable[[str, int, str], str]) -> None:
    shape, old = into.shape(node), into.opset < FLATTENING
    axis = axis_of(into, node, int(attributes(node).get("axis", 1 if old else -1)), len(shape))
    if not old or axis == len(shape) - 1:
        emit(into.tensor(node), axis, node.output[0])
        return
    rows = (math.prod(shape[:axis]), math.prod(shape[axis:]))
    flat = into.part(node, "flat", "Reshape", (into.tensor(node),), shape=rows)
    into.emit(node, "Reshape", (emit(flat, 1, into.fresh(f"{node.output[0]}.rows")),), shape=shape)


def read_instance_normalization(into: Import, node: onnx.NodeProto) -> None:
    """Each channel of each image to mean 0 and variance 1, then scaled and shifted."""
    x, rank = into.tensor(node), len(into.shape(node))
    if rank < 3:
        raise refusal(into, node, "needs channels of more than one number")
    axes, sides = tuple(range(2, rank)), (1, -1, *([1] * (rank - 2)))
    mean = into.part(node, "mean", "ReduceMean", (x,), axes=axes, keepdims=True)
    less = into.part(node, "less", "Sub", (x, mean))
    square = into.part(node, "square", "Mul", (less, less))
    variance = into.part(node, "variance", "ReduceMean", (square,), axes=axes, keepdims=True)
    epsilon = into.number(node, "epsilon", float(attributes(node).get("epsilon", 1e-5)))
    spread = into.part(node, "spread", "Sqrt", (into.part(node, "some", "Add", (variance, epsilon)),))
    unit = into.part(node, "unit", "Div", (less, spread))
    scale, bias = (
        into.constant(into.fresh(f"{node.output[0]}.{name}"), into.weights(node, position).reshape(sides))
        for position, name in ((1, "scale"), (2, "bias"))
    )
    into.emit(node, "Add", (into.part(node, "scaled", "Mul", (unit, scale)), bias))


REDUCTIONS: dict[str, Callable[[Import, onnx.NodeProto], None]] = {
    "InstanceNormalization": read_instance_normalization,
    "LogSoftmax": read_log_softmax,
    "LpNormalization": read_lp_normalization,
    "ReduceL1": read_l1,
    "ReduceL2": reduced("ReduceL2"),
    "ReduceMax": read_max,
    "ReduceMean": read_mean,
    "ReduceMin": reduced("ReduceMin"),
    "ReduceSum": reduced("ReduceSum"),
    "ReduceSumSquare": read_sum_square,
    "Softmax": read_softmax,
}

"""Number by number: activations, arithmetic with broadcasting, and every copy from one layout to another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from facelet.errors import GraphError
from facelet.graph.ir import Array, Node, Shape
from facelet.opencl import layout
from facelet.opencl.build import Build, Place, place
from facelet.opencl.layout import View

MOST_AXES = 6
"""Of map.cl: a line, and five axes around it."""


@dataclass(frozen=True)
class Axis:
    """One axis of a map: its size and what a step along it is in each operand, in floats."""

    size: int
    source: int
    second: int
    target: int


@dataclass(frozen=True)
class Second:
    """The second operand: knob SECOND, where it starts, and its strides along the axes of the output."""

    kind: int
    start: int | Place
    strides: Shape
    block: int = 0


NONE = Second(0, 0, ())


def as_blocked(build: Build, name: str) -> View:
    """An image in blocks; a copy where it lies otherwise, made once."""
    view = build.views[name]
    if view.block:
        return view
    if name not in build.blocked:
        out = build.new_blocked(view.shape)
        copy(build, view, out)
        build.blocked[name] = out
    return build.blocked[name]


def to_plain(build: Build, view: View) -> View:
    """A copy in plain layout without gaps."""
    out = build.new_plain(view.shape)
    copy(build, view, out)
    return out


def copy(
    build: Build,
    source: View,
    target: View,
    *,
    perm: Sequence[int] | None = None,
    second: Second = NONE,
    function: str = "v",
    low: float = 0.0,
    high: float = 0.0,
    output: str = "",
) -> None:
    """Target = function(source), whatever their layouts.

    Args:
        perm: which axis of the source each axis of the target is.
        second: the operand `w` of the function.
        output: the tensor that is whole after this.
    """
    order = tuple(range(len(target.shape))) if perm is None else tuple(perm)
    block = source.block or target.block or second.block
    split = next((i for i, axis in enumerate(order) if axis == 1), -1) if source.block else 1 if block else -1
    whole = target.shape[split] // block * block if block else 0
    pieces = [(0, whole), (whole, target.shape[split] - whole)] if block else [(0, 0)]
    pieces = [piece for piece in pieces if piece[1]] or [(0, 0)]
    for start, count in pieces:
        axes, offsets = _axes(source, target, second, order, split, block, start, count)
        final = output if (start, count) == pieces[-1] else ""
        emit_map(build, axes, (source, target, second), offsets, 1, function, low, high, final)


def _axes(
    source: View, target: View, second: Second, order: Shape, split: int, block: int, start: int, count: int
) -> tuple[list[Axis], tuple[int, int, int]]:
    """Axes of a copy, channels split into blocks and lanes; and where the operands start."""
    axes, offsets = [], (0, 0, 0)
    for index, size in enumerate(target.shape):
        # a broadcast axis of the source stands still
        along = 0 if source.shape[order[index]] == 1 and size > 1 else source.strides[order[index]]
        other = second.strides[index] if second.strides else 0
        steps = (along, other, target.strides[index])
        if index != split or not block:
            axes.append(Axis(size, *steps))
            continue
        in_blocks = (bool(source.block), bool(second.block), bool(target.block))
        wide = [step if blocked or not step else step * block for step, blocked in zip(steps, in_blocks, strict=True)]
        thin = [1 if blocked and step else step for step, blocked in zip(steps, in_blocks, strict=True)]
        offsets = (wide[0] * (start // block), wide[1] * (start // block), wide[2] * (start // block))
        if count >= block:
            axes.append(Axis(count // block, wide[0], wide[1], wide[2]))
        axes.append(Axis(min(count, block), thin[0], thin[1], thin[2]))
    return axes, offsets


def _vector_map(
    build: Build, source: View, target: View, second: Second, function: str, low: float, high: float, output: str
) -> None:
    """Target = function(source) on blocked images, a vector at a time."""
    axes = []
    for index, size in enumerate(target.shape):
        count = target.blocks if index == 1 else size
        along = 0 if source.shape[index] == 1 and size > 1 else source.strides[index]
        axes.append(Axis(count, along, second.strides[index] if second.strides else 0, target.strides[index]))
    emit_map(build, axes, (source, target, second), (0, 0, 0), build.config.block, function, low, high, output)


def merged(axes: Sequence[Axis]) -> list[Axis]:
    """The same axes, joined where one is the continuation of the other in every operand; outmost first."""
    out: list[Axis] = []
    for axis in axes:
        if axis.size == 1:
            continue
        last = out[-1] if out else None
        if last and all(
            getattr(last, name) == axis.size * getattr(axis, name) for name in ("source", "second", "target")
        ):
            out[-1] = replace(axis, size=last.size * axis.size)
        else:
            out.append(axis)
    return out or [Axis(1, 0, 0, 0)]


def emit_map(
    build: Build,
    axes: Sequence[Axis],
    operands: tuple[View, View, Second],
    offsets: tuple[int, int, int],
    width: int,
    function: str,
    low: float,
    high: float,
    output: str,
) -> None:
    """A launch of map.cl.

    Args:
        axes: of the target, with the strides of every operand, outmost first.
        operands: source, target, second operand.
        offsets: where each of them starts, in floats.
        width: floats of one step along the last axis: 1, or a block.
        function: of `v`, from the source, and `w`.
        output: the tensor that is whole after this.
    """
    source, target, second = operands
    lines = merged(axes)
    if len(lines) > MOST_AXES:
        raise GraphError(f"{build.node}: an op over {len(lines)} axes, which the OpenCL backend does not support")
    line, around = lines[-1], lines[-2::-1]
    if not around and line.size >= 64:  # one line alone would keep the other cores idle
        parts = next(parts for parts in (16, 8, 4, 3, 2, 1) if line.size % parts == 0)
        size = line.size // parts
        around = [Axis(parts, line.source * size, line.second * size, line.target * size)]
        line = replace(line, size=size)
    around += [Axis(1, 0, 0, 0)] * (MOST_AXES - 1 - len(around))
    with_ = second.start
    arguments: dict[str, int | float | Place] = {
        "in": Place(source.buffer, source.offset + offsets[0]),
        "b": replace(with_, offset=with_.offset + offsets[1]) if isinstance(with_, Place) else with_ + offsets[1],
        "out": Place(target.buffer, target.offset + offsets[2]),
        "inner": line.size,
        "in_step": line.source,
        "b_step": line.second,
        "out_step": line.target,
        "low": low,
        "high": high,
    }
    for number, axis in enumerate(around, 1):
        arguments |= {f"size{number}": axis.size, f"in{number}": axis.source}
        arguments |= {f"b{number}": axis.second, f"out{number}": axis.target}
    knobs: dict[str, int | str] = {"F": function, "WIDTH": width, "SECOND": second.kind}
    build.emit("map", knobs, arguments, (math.prod(axis.size for axis in around), 1, 1), output)


UNARY: dict[str, str] = {
    "Relu": "ACTIVATED(1)",
    "Clip": "ACTIVATED(2)",
    "PRelu": "ACTIVATED(3)",
    "LeakyRelu": "ACTIVATED(4)",
    "Sigmoid": "ACTIVATED(5)",
    "HardSwish": "ACTIVATED(6)",
    "Sqrt": "sqrt(v)",
    "Tanh": "LANES(tanh)",
    "Abs": "v < (TYPE)(0.0f) ? -v : v",
    "Exp": "LANES(exp)",
    "Log": "LANES(log)",
    "Erf": "LANES(erf)",
}

BINARY: dict[str, str] = {
    "Add": "{} + {}",
    "Sub": "{} - {}",
    "Mul": "{} * {}",
    "Div": "{} / {}",
    "Pow": "POWER({}, {})",
    "Max": "LARGER({}, {})",
    "Min": "SMALLER({}, {})",
}

POWERS: dict[float, str] = {2.0: "v * v", 0.5: "sqrt(v)", 1.0: "v"}
"""Constant exponents that need no pow."""


def unary(build: Build, node: Node) -> None:
    """An activation by itself."""
    low = float(node.attributes.get("min", node.attributes.get("alpha", 0.0)))
    high = float(node.attributes.get("max", 0.0))
    slope = build.graph.constants[node.inputs[1]] if node.op == "PRelu" else None
    _apply(build, node, build.views[node.inputs[0]], slope, UNARY[node.op], low, high)


def batch_normalization(build: Build, node: Node) -> None:
    """Per channel x * factor + shift, in two maps."""
    scale, bias, mean, variance = (build.graph.constants[name] for name in node.inputs[1:])
    factor = (scale / np.sqrt(variance.astype(np.float64) + node["epsilon"])).astype(np.float32)
    shift = (bias - mean.astype(np.float64) * factor).astype(np.float32)
    _apply(build, node, build.views[node.inputs[0]], factor, "v * w", 0.0, 0.0, done=False)
    _apply(build, node, build.views[node.output], shift, "v + w", 0.0, 0.0)


def _apply(
    build: Build,
    node: Node,
    view: View,
    channel: Array | None,
    function: str,
    low: float,
    high: float,
    *,
    done: bool = True,
) -> None:
    """A map of one tensor and, perhaps, constants per channel; in place where it was called for the output itself."""
    final = node.output if done else ""
    shape = build.graph.shapes[node.output]
    own = build.views.get(node.output)
    if view.block:
        out = own if own is not None and own.block else build.image_output(node.output)
        second = NONE if channel is None else _constant(build, channel.reshape(1, -1, 1, 1), shape, vectors=True)
        _vector_map(build, view, out, second, function, low, high, final)
    else:
        out = own if own is not None and not own.block else build.plain_output(node.output)
        wide = None if channel is None else channel.reshape(1, -1, *([1] * (len(shape) - 2)))
        second = NONE if wide is None else _constant(build, wide, shape, vectors=False)
        copy(build, view, out, second=second, function=function, low=low, high=high, output=final)


def _constant(build: Build, values: Array, shape: Shape, *, vectors: bool) -> Second:
    """A constant as second operand of a map to `shape`."""
    values = values.reshape((1,) * (len(shape) - values.ndim) + values.shape)
    if vectors and values.shape[1] > 1:
        block = build.config.block
        n, channels, height, width = values.shape
        filled = np.pad(values, ((0, 0), (0, -channels % block), (0, 0), (0, 0)))
        packed = filled.reshape(n, -1, block, height, width).transpose(0, 1, 3, 4, 2)
        inner = layout.blocked(0, values.shape, block)
        return Second(3, build.constant(packed), _still(inner.strides, values.shape), block)
    return Second(4, build.constant(values), _still(layout.plain_strides(values.shape), values.shape))


def _still(strides: Shape, shape: Shape) -> Shape:
    """Strides of an operand that is broadcast along axes of size 1."""
    return tuple(0 if size == 1 else stride for stride, size in zip(strides, shape, strict=True))


def binary(build: Build, node: Node) -> None:
    """Arithmetic of two tensors, of which one may be a constant."""
    graph, shape = build.graph, build.graph.shapes[node.output]
    first, other = node.inputs
    swapped = first in graph.constants or (
        graph.shapes[first] != shape and graph.shapes[other] == shape and other not in graph.constants
    )
    if swapped:
        first, other = other, first
    names = ("w", "v") if swapped else ("v", "w")
    function = BINARY[node.op].format(*names)
    constant = graph.constants.get(other)
    if node.op == "Pow" and not swapped and constant is not None and constant.size == 1:
        plain_power = POWERS.get(float(constant.reshape(-1)[0]))
        function = plain_power or function
    view = build.views[first]
    in_blocks = len(shape) == 4 and (view.block or (constant is None and build.views[other].block))
    if in_blocks and graph.shapes[first] == shape:
        view = as_blocked(build, first)
        out = None
        if constant is not None:
            second = _constant(build, constant, shape, vectors=True)
        else:
            second, out = _tensor(build, other, shape)
        _vector_map(build, view, out or build.image_output(node.output), second, function, 0.0, 0.0, node.output)
        return
    view = _widened(build, view, len(shape))
    if constant is not None:
        second = _constant(build, constant, shape, vectors=False)
    else:
        against = _widened(build, build.views[other], len(shape))
        second = Second(1, place(against), _still(against.strides, against.shape))
    out = build.plain_output(node.output)
    copy(build, view, out, second=second, function=function, output=node.output)


def _tensor(build: Build, name: str, shape: Shape) -> tuple[Second, None]:
    """A tensor as second operand of a map of blocked images."""
    view = _raised(build.views[name], 4)
    if view.shape[1] == 1 and shape[1] > 1:
        return Second(2, place(view), _still(view.strides, view.shape)), None
    if not view.block:
        if len(build.graph.shapes[name]) == 4:
            view = as_blocked(build, name)
        else:
            out = build.new_blocked(view.shape)
            copy(build, view, out)
            view = out
    return Second(1, place(view), _still(view.strides, view.shape), view.block), None


def _raised(view: View, rank: int) -> View:
    """A view with axes of size 1 put before it."""
    missing = rank - len(view.shape)
    return replace(view, shape=(1,) * missing + view.shape, strides=(0,) * missing + view.strides) if missing else view


def _widened(build: Build, view: View, rank: int) -> View:
    """A plain view of that rank."""
    return _raised(to_plain(build, view) if view.block else view, rank)


def transpose(build: Build, node: Node) -> None:
    """Another order of axes."""
    view = build.views[node.inputs[0]]
    if view.block and view.shape[1] == 1:  # a block of one channel is a plain tensor with gaps
        view = replace(view, block=0)
    out = build.plain_output(node.output)
    copy(build, view, out, perm=node["perm"], output=node.output)


def reshape(build: Build, node: Node) -> None:
    """The same numbers under another shape: nothing is moved where they lie without gaps, or are one per channel."""
    view, shape = build.views[node.inputs[0]], tuple(node["shape"])
    sides = [(size, stride) for size, stride in zip(view.shape, view.strides, strict=True) if size > 1]
    if view.block and view.shape[2:] == (1, 1):
        sides = [(view.shape[0], view.strides[0])] if view.shape[0] > 1 else []
        sides += [(view.shape[1], 1)] if view.shape[1] > 1 else []
    elif view.block:
        sides = []
    if sides and tuple(size for size, _ in sides) == tuple(size for size in shape if size > 1):
        steps = iter(stride for _, stride in sides)
        strides = tuple(next(steps) if size > 1 else 0 for size in shape)
        build.views[node.output] = View(view.buffer, view.offset, shape, strides)
        return
    if not view.contiguous:
        view = to_plain(build, view)
    build.views[node.output] = View(view.buffer, view.offset, shape, layout.plain_strides(shape))


def slice_(build: Build, node: Node) -> None:
    """A part of a tensor is another view of it; a plain copy comes first where channels are cut inside a block."""
    view = build.views[node.inputs[0]]
    starts, steps, sizes = node["starts"], node["steps"], tuple(node["sizes"])
    if view.block:
        whole_blocks = steps[1] == 1 and starts[1] % view.block == 0 and not view.int8
        if not whole_blocks or steps[3] != 1:  # kernels read neighbouring pixels of a blocked image side by side
            view = to_plain(build, view)
    offset = view.offset
    for axis, start in enumerate(starts):
        offset += (start // view.block if view.block and axis == 1 else start) * view.strides[axis]
    strides = tuple(stride * step for stride, step in zip(view.strides, steps, strict=True))
    build.views[node.output] = replace(view, offset=offset, shape=sizes, strides=strides)


def concat(build: Build, node: Node) -> None:
    """Joins tensors; images in whole blocks need no copy where their makers wrote into the result already."""
    axis, shape = node["axis"], build.graph.shapes[node.output]
    if in_whole_blocks(build, node):
        if node.output not in build.views:
            build.image_output(node.output)
        out, start = build.views[node.output], 0
        for name in node.inputs:
            count = build.graph.shapes[name][1]
            if build.slices.get(name) != (node.output, start):
                part = out.slice_channels(start, count)
                _vector_map(build, as_blocked(build, name), part, NONE, "v", 0.0, 0.0, "")
            start += count
        return
    out, start = build.plain_output(node.output), 0
    for name in node.inputs:
        constant, joined = build.graph.constants.get(name), build.graph.shapes[name]
        part = View(out.buffer, start * out.strides[axis], joined, out.strides)
        start += joined[axis]
        final = node.output if start == shape[axis] else ""
        if constant is None:
            copy(build, build.views[name], part, output=final)
        else:
            second = _constant(build, constant, joined, vectors=False)
            copy(build, part, part, second=second, function="w", output=final)


def in_whole_blocks(build: Build, node: Node) -> bool:
    """Whether a concatenation joins images, and every one but the last fills whole blocks of channels."""
    if any(name in build.graph.constants for name in node.inputs):
        return False
    shapes = [build.graph.shapes[name] for name in node.inputs]
    if node["axis"] != 1 or len(shapes[0]) != 4:
        return False
    return all(shape[1] % build.config.block == 0 for shape in shapes[:-1])

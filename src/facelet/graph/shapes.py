"""The shapes that ops give which move numbers, or put some of them together."""

from __future__ import annotations

import math
from collections.abc import Sequence

from facelet.errors import GraphError
from facelet.graph.ir import Node, Shape
from facelet.graph.resample import COORDINATES, NEAREST


def image_shape(node: Node, shapes: Sequence[Shape]) -> Shape:
    """The shape of an image `(n, c, h, w)`."""
    if len(shapes[0]) != 4:
        raise GraphError(f"{node}: needs an image (n, c, h, w), found {text(shapes[:1])}")
    return shapes[0]


def broadcast(node: Node, shapes: Sequence[Shape]) -> Shape:
    """The shape that NumPy's broadcasting gives."""
    rank = max(len(shape) for shape in shapes)
    padded = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
    out = []
    for sizes in zip(*padded, strict=True):
        wide = {size for size in sizes if size != 1}
        if len(wide) > 1:
            raise GraphError(f"{node}: {text(shapes)} cannot be broadcast together")
        out.append(wide.pop() if wide else 1)
    return tuple(out)


def concat_shape(node: Node, shapes: Sequence[Shape]) -> Shape:
    """Of tensors joined along an axis."""
    axis, first = node["axis"], shapes[0]
    if not 0 <= axis < len(first):
        raise GraphError(f"{node}: has no axis {axis}")
    for shape in shapes:
        if len(shape) != len(first) or any(
            s != f for i, (s, f) in enumerate(zip(shape, first, strict=True)) if i != axis
        ):
            raise GraphError(f"{node}: {text(shapes)} cannot be joined along axis {axis}")
    return (*first[:axis], sum(shape[axis] for shape in shapes), *first[axis + 1 :])


def reshape_shape(node: Node, shapes: Sequence[Shape]) -> Shape:
    """Of the same numbers under another shape."""
    shape = tuple(node["shape"])
    if math.prod(shape) != math.prod(shapes[0]):
        raise GraphError(f"{node}: {text(shapes)} cannot take the shape {text([shape])}")
    return shape


def transpose_shape(node: Node, shapes: Sequence[Shape]) -> Shape:
    """Of another order of axes."""
    if sorted(node["perm"]) != list(range(len(shapes[0]))):
        raise GraphError(f"{node}: {tuple(node['perm'])} is no order of {len(shapes[0])} axes")
    return tuple(shapes[0][axis] for axis in node["perm"])


def pad_shape(node: Node, shapes: Sequence[Shape]) -> Shape:
    """Of a tensor with a border."""
    pads, x = node["pads"], shapes[0]
    if len(pads) != 2 * len(x) or min(pads) < 0:
        raise GraphError(f"{node}: needs {2 * len(x)} pads of 0 or more, found {tuple(pads)}")
    return tuple(size + pads[axis] + pads[axis + len(x)] for axis, size in enumerate(x))


def resize_shape(node: Node, shapes: Sequence[Shape]) -> Shape:
    """Of an image whose pixels are repeated."""
    n, c, h, w = image_shape(node, shapes)
    return (n, c, h * node["scale_h"], w * node["scale_w"])


def resample_shape(node: Node, shapes: Sequence[Shape]) -> Shape:
    """Of an image of any other size."""
    n, c, _, _ = image_shape(node, shapes)
    if node["mode"] not in ("nearest", "linear") or min(node["scale_h"], node["scale_w"]) <= 0:
        raise GraphError(
            f"{node}: mode {node['mode']} and scales {node['scale_h']}, {node['scale_w']} are not supported"
        )
    if node["coordinates"] not in COORDINATES or node["nearest"] not in NEAREST:
        raise GraphError(f"{node}: knows no coordinates '{node['coordinates']}' or nearest '{node['nearest']}'")
    return (n, c, node["height"], node["width"])


def slice_shape(node: Node, shapes: Sequence[Shape]) -> Shape:
    """Of a part."""
    x, starts, steps, sizes = shapes[0], node["starts"], node["steps"], node["sizes"]
    if not len(starts) == len(steps) == len(sizes) == len(x):
        raise GraphError(f"{node}: needs {len(x)} starts, steps and sizes, found {starts}, {steps} and {sizes}")
    for side, start, step, size in zip(x, starts, steps, sizes, strict=True):
        last = start + step * (size - 1)
        if not step or (size > 0 and not (0 <= start < side and 0 <= last < side)):
            raise GraphError(f"{node}: takes {size} from {start} on in steps of {step}, which {side} do not hold")
    return tuple(sizes)


def reduce_shape(node: Node, shapes: Sequence[Shape]) -> Shape:
    """Of what is left of some axes."""
    x, axes = shapes[0], node["axes"]
    if not axes or not all(0 <= axis < len(x) for axis in axes):
        raise GraphError(f"{node}: has no axes {tuple(axes)}")
    if node["keepdims"]:
        return tuple(1 if axis in axes else size for axis, size in enumerate(x))
    return tuple(size for axis, size in enumerate(x) if axis not in axes)


def axis_shape(node: Node, shapes: Sequence[Shape]) -> Shape:
    """The same; the axis must be there."""
    if not 0 <= node["axis"] < len(shapes[0]):
        raise GraphError(f"{node}: has no axis {node['axis']}")
    return shapes[0]


def text(shapes: Sequence[Shape]) -> str:
    """Shapes as words."""
    return " and ".join("x".join(map(str, shape)) or "a number" for shape in shapes)

"""How the ONNX ops that move numbers become ops of `ir`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import onnx

from facelet.graph.onnx_import import LARGEST_FOLDED, Import, attributes, axis_of, refusal

MOST_COPIES = 64
"""Of a tensor beside itself along an axis."""


def _reshaped(into: Import, node: onnx.NodeProto, shape: Sequence[int]) -> None:
    name = into.resolve(node.input[0])
    if name in into.known and into.known[name].dtype.kind in "iu":
        into.fold(node, into.known[name].reshape(shape))
    else:
        into.emit(node, "Reshape", (into.tensor(node),), shape=tuple(shape))


def read_reshape(into: Import, node: onnx.NodeProto) -> None:
    """Another shape; the graph's batch takes the place of the file's."""
    source, target = into.shape(node), [int(v) for v in into.value(node, 1).reshape(-1)]
    if not attributes(node).get("allowzero"):
        target = [source[axis] if size == 0 else size for axis, size in enumerate(target)]
    if target and source:
        target[0] = into.own_batch(source[0], target[0])
    if target.count(-1) > 1 or any(size < -1 for size in target):
        raise refusal(into, node, f"{target} is no shape")
    if -1 in target:
        rest = math.prod(size for size in target if size != -1)
        if rest < 1 or math.prod(source) % rest:
            raise refusal(into, node, f"{target} does not fit {list(source)}")
        target[target.index(-1)] = math.prod(source) // rest
    _reshaped(into, node, target)


def read_flatten(into: Import, node: onnx.NodeProto) -> None:
    """Two axes."""
    shape, axis = into.shape(node), int(attributes(node).get("axis", 1))
    axis = axis_of(into, node, axis, len(shape) + (axis > 0)) if axis != len(shape) else axis
    _reshaped(into, node, (math.prod(shape[:axis]), math.prod(shape[axis:])))


def read_squeeze(into: Import, node: onnx.NodeProto) -> None:
    """Without axes of size 1."""
    shape, axes = into.shape(node), into.ints(node, 1, "axes")
    chosen = {a for a, s in enumerate(shape) if s == 1}
    if axes is not None:
        chosen = {axis_of(into, node, axis, len(shape)) for axis in axes}
    if any(shape[axis] != 1 for axis in chosen):
        raise refusal(into, node, f"axes {sorted(chosen)} of {list(shape)} are not all 1")
    _reshaped(into, node, [size for axis, size in enumerate(shape) if axis not in chosen])


def read_unsqueeze(into: Import, node: onnx.NodeProto) -> None:
    """With more axes of size 1."""
    shape, axes = list(into.shape(node)), into.ints(node, 1, "axes") or []
    rank = len(shape) + len(axes)
    chosen = sorted(axis_of(into, node, axis, rank) for axis in axes)
    if len(set(chosen)) != len(chosen):
        raise refusal(into, node, f"axes {axes} name one twice")
    for axis in chosen:
        shape.insert(axis, 1)
    _reshaped(into, node, shape)


def read_transpose(into: Import, node: onnx.NodeProto) -> None:
    """Another order of axes."""
    perm = tuple(int(axis) for axis in attributes(node).get("perm") or range(len(into.shape(node)))[::-1])
    name = into.resolve(node.input[0])
    if name in into.known and into.known[name].dtype.kind in "iu":
        into.fold(node, into.known[name].transpose(perm))
    else:
        into.emit(node, "Transpose", (into.tensor(node),), perm=perm)


def read_concat(into: Import, node: onnx.NodeProto) -> None:
    """Tensors joined along an axis; empty ones add nothing."""
    axis = axis_of(into, node, int(attributes(node)["axis"]), len(into.shape(node)))
    names = [
        into.tensor(node, position)
        for position in range(len(node.input))
        if math.prod(into.shape(node, position)) or not into.is_known(node, position)
    ]
    into.emit(node, "Concat", names, axis=axis)


def read_expand(into: Import, node: onnx.NodeProto) -> None:
    """Axes of size 1 made wide."""
    shape = [int(v) for v in into.value(node, 1).reshape(-1)]
    source = into.shape(node)
    if math.prod(max(size, 1) for size in shape) > LARGEST_FOLDED or any(size < 1 for size in shape):
        raise refusal(into, node, f"to {shape} is not supported")
    if len(shape) == len(source) and shape:
        shape[0] = into.own_batch(source[0], shape[0])
    if tuple(np.broadcast_shapes(source, tuple(shape))) == source:
        into.alias(node)
        return
    into.spend(node, math.prod(shape))
    ones = into.constant(into.fresh(f"{node.output[0]}.ones"), np.ones(shape, np.float32))
    into.emit(node, "Mul", (into.tensor(node), ones))


def read_tile(into: Import, node: onnx.NodeProto) -> None:
    """A tensor beside itself, along each axis in turn."""
    repeats, x = [int(v) for v in into.value(node, 1).reshape(-1)], into.tensor(node)
    if len(repeats) != len(into.shape(node)) or not all(1 <= count <= MOST_COPIES for count in repeats):
        raise refusal(into, node, f"{repeats} times; up to {MOST_COPIES} along each axis are supported")
    for axis, count in enumerate(repeats):
        if count > 1:
            x = into.part(node, "tiled", "Concat", (x,) * count, axis=axis)
    into.rename(node.output[0], x)


def read_depth_to_space(into: Import, node: onnx.NodeProto) -> None:
    """Channels laid out as squares of pixels."""
    given, (n, c, h, w) = attributes(node), _image(into, node)
    side = int(given["blocksize"])
    if side < 1 or c % side**2:
        raise refusal(into, node, f"{c} channels cannot make squares of {side} by {side}")
    if given.get("mode", "DCR") == "DCR":
        shape, perm = (n, side, side, c // side**2, h, w), (0, 3, 4, 1, 5, 2)
    else:
        shape, perm = (n, c // side**2, side, side, h, w), (0, 1, 4, 2, 5, 3)
    parts = into.part(node, "parts", "Reshape", (into.tensor(node),), shape=shape)
    moved = into.part(node, "moved", "Transpose", (parts,), perm=perm)
    into.emit(node, "Reshape", (moved,), shape=(n, c // side**2, h * side, w * side))


def read_space_to_depth(into: Import, node: onnx.NodeProto) -> None:
    """Squares of pixels as channels."""
    side, (n, c, h, w) = int(attributes(node)["blocksize"]), _image(into, node)
    if side < 1 or h % side or w % side:
        raise refusal(into, node, f"{h}x{w} pixels cannot be cut into squares of {side} by {side}")
    shape = (n, c, h // side, side, w // side, side)
    parts = into.part(node, "parts", "Reshape", (into.tensor(node),), shape=shape)
    moved = into.part(node, "moved", "Transpose", (parts,), perm=(0, 3, 5, 1, 2, 4))
    into.emit(node, "Reshape", (moved,), shape=(n, c * side**2, h // side, w // side))


def _image(into: Import, node: onnx.NodeProto) -> tuple[int, ...]:
    shape = into.shape(node)
    if len(shape) != 4:
        raise refusal(into, node, f"needs an image (n, c, h, w), found {list(shape)}")
    return shape


MOVES: dict[str, Callable[[Import, onnx.NodeProto], None]] = {
    "Concat": read_concat,
    "DepthToSpace": read_depth_to_space,
    "Expand": read_expand,
    "Flatten": read_flatten,
    "Identity": lambda into, node: into.alias(node),
    "Reshape": read_reshape,
    "SpaceToDepth": read_space_to_depth,
    "Squeeze": read_squeeze,
    "Tile": read_tile,
    "Transpose": read_transpose,
    "Unsqueeze": read_unsqueeze,
}

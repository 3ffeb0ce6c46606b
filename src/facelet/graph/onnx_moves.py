"""How the ONNX ops that move numbers become ops of `ir`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import onnx

from facelet.graph.onnx_fold import sliced
from facelet.graph.onnx_import import LARGEST_FOLDED, Import, attributes, axis_of, refusal

MOST_RUNS = 64
"""Runs of neighbouring numbers that a Gather may take; each becomes a Slice."""


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


def read_pad(into: Import, node: onnx.NodeProto) -> None:
    """A border of one value; pads below zero cut off."""
    given, shape = attributes(node), into.shape(node)
    rank = len(shape)
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
    added, x = tuple(max(0, size) for size in pads), into.tensor(node)
    if added == tuple(pads) or len(pads) != 2 * rank:
        into.emit(node, "Pad", (x,), pads=tuple(pads), value=value)
        return
    starts = tuple(max(0, -size) for size in pads[:rank])
    sizes = tuple(size + min(0, a) + min(0, b) for size, a, b in zip(shape, pads[:rank], pads[rank:], strict=True))
    if not any(added):
        into.emit(node, "Slice", (x,), starts=starts, steps=(1,) * rank, sizes=sizes)
        return
    cut = into.part(node, "cut", "Slice", (x,), starts=starts, steps=(1,) * rank, sizes=sizes)
    into.emit(node, "Pad", (cut,), pads=added, value=value)


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


def read_slice(into: Import, node: onnx.NodeProto) -> None:
    """A part of a tensor, forwards or backwards, perhaps not every number of it."""
    shape = into.shape(node)
    taken = [range(*part.indices(size)) for part, size in zip(sliced(into, node, len(shape)), shape, strict=True)]
    if all(part == range(size) for part, size in zip(taken, shape, strict=True)):
        into.alias(node)
        return
    _take(into, node, taken)


def _take(into: Import, node: onnx.NodeProto, taken: Sequence[range], output: str = "") -> str:
    return into.emit(
        node,
        "Slice",
        (into.tensor(node),),
        output,
        starts=tuple(part.start for part in taken),
        steps=tuple(part.step for part in taken),
        sizes=tuple(len(part) for part in taken),
    )


def read_split(into: Import, node: onnx.NodeProto) -> None:
    """Parts of a tensor along an axis, one Slice each."""
    given, shape = attributes(node), into.shape(node)
    axis, count = axis_of(into, node, int(given.get("axis", 0)), len(shape)), len(node.output)
    sizes = into.ints(node, 1, "split")
    if sizes is None:
        if given.get("num_outputs", count) != count:
            raise refusal(into, node, f"has {count} outputs, not the {given['num_outputs']} of num_outputs")
        each = -(-shape[axis] // count)
        sizes = [min(each, shape[axis] - each * position) for position in range(count)]
        if into.opset < 18 and shape[axis] % count:
            raise refusal(into, node, f"{shape[axis]} cannot be split into {count} equal parts")
    if len(sizes) != count or sum(sizes) != shape[axis] or min(sizes) < 0:
        raise refusal(into, node, f"parts of {sizes} do not make {shape[axis]}")
    known, start = into.known.get(into.resolve(node.input[0])), 0
    for size, output in zip(sizes, node.output, strict=True):
        part = range(start, start + size)
        start += size
        if not output:
            continue
        if into.knows(output):
            raise refusal(into, node, f"writes '{output}', which is written already")
        if known is not None and known.dtype.kind in "iu":
            into.fold(node, known.take(part, axis), output)
        elif size:
            _take(into, node, [part if i == axis else range(side) for i, side in enumerate(shape)], output)


def read_gather(into: Import, node: onnx.NodeProto) -> None:
    """Chosen numbers along an axis: one Slice where they are evenly apart, else runs of neighbours joined."""
    shape = into.shape(node)
    axis = axis_of(into, node, int(attributes(node).get("axis", 0)), len(shape))
    table = into.value(node, 1).astype(np.int64)
    chosen = [int(v) + shape[axis] * (v < 0) for v in table.reshape(-1)]
    if not chosen or min(chosen) < 0 or max(chosen) >= shape[axis]:
        raise refusal(into, node, f"takes {chosen[:8]} of {shape[axis]} along axis {axis}")
    runs = _runs(chosen)
    if len(runs) > MOST_RUNS:
        raise refusal(into, node, f"takes {len(runs)} runs of neighbours; up to {MOST_RUNS} are supported")
    out = node.output[0]
    target = (*shape[:axis], *table.shape, *shape[axis + 1 :])
    moved = out if table.ndim == 1 else into.fresh(f"{out}.taken")
    whole = [range(side) for side in shape]
    if len(runs) == 1:
        _take(into, node, [*whole[:axis], runs[0], *whole[axis + 1 :]], moved)
    else:
        parts = [_take(into, node, [*whole[:axis], run, *whole[axis + 1 :]], into.fresh(f"{out}.run")) for run in runs]
        into.emit(node, "Concat", parts, moved, axis=axis)
    if moved != out:
        into.emit(node, "Reshape", (moved,), shape=target)


def _runs(chosen: Sequence[int]) -> list[range]:
    """Whole numbers as ranges: the fewest that a walk from the first to the last finds."""
    runs: list[range] = []
    position = 0
    while position < len(chosen):
        step = chosen[position + 1] - chosen[position] if position + 1 < len(chosen) else 1
        end = position + 1
        while step and end < len(chosen) and chosen[end] - chosen[end - 1] == step:
            end += 1
        first, step = chosen[position], step or 1
        runs.append(range(first, first + step * (end - position), step))
        position = end
    return runs


def read_tile(into: Import, node: onnx.NodeProto) -> None:
    """A tensor beside itself, along each axis in turn."""
    repeats, x = [int(v) for v in into.value(node, 1).reshape(-1)], into.tensor(node)
    if len(repeats) != len(into.shape(node)) or not all(1 <= count <= MOST_RUNS for count in repeats):
        raise refusal(into, node, f"{repeats} times; up to {MOST_RUNS} along each axis are supported")
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
    "Gather": read_gather,
    "Identity": lambda into, node: into.alias(node),
    "Pad": read_pad,
    "Reshape": read_reshape,
    "Slice": read_slice,
    "SpaceToDepth": read_space_to_depth,
    "Split": read_split,
    "Squeeze": read_squeeze,
    "Tile": read_tile,
    "Transpose": read_transpose,
    "Unsqueeze": read_unsqueeze,
}

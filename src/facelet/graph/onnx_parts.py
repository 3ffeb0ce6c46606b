"""How the ONNX ops that take a part of a tensor, or put a border around it, become `Slice`, `Concat` and `Pad`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

from facelet.graph.onnx_fold import sliced
from facelet.graph.onnx_import import Import, attributes, axis_of, refusal

MOST_RUNS = 64
"""Runs of neighbouring numbers that may be taken along an axis; each becomes a Slice."""


def read_slice(into: Import, node: onnx.NodeProto) -> None:
    """A part of a tensor, forwards or backwards, perhaps not every number of it."""
    shape = into.shape(node)
    taken = [range(*part.indices(size)) for part, size in zip(sliced(into, node, len(shape)), shape, strict=True)]
    if all(part == range(size) for part, size in zip(taken, shape, strict=True)):
        into.alias(node)
        return
    _take(into, node, into.tensor(node), taken)


def _take(into: Import, node: onnx.NodeProto, x: str, taken: Sequence[range], output: str = "") -> str:
    return into.emit(
        node,
        "Slice",
        (x,),
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
            taken = [part if i == axis else range(side) for i, side in enumerate(shape)]
            _take(into, node, into.tensor(node), taken, output)


def read_gather(into: Import, node: onnx.NodeProto) -> None:
    """Chosen numbers along an axis."""
    shape, out = into.shape(node), node.output[0]
    axis = axis_of(into, node, int(attributes(node).get("axis", 0)), len(shape))
    table = into.value(node, 1).astype(np.int64)
    chosen = [v + shape[axis] if v < 0 else v for v in map(int, table.reshape(-1))]
    if not chosen or min(chosen) < 0 or max(chosen) >= shape[axis]:
        raise refusal(into, node, f"takes {chosen[:8]} of {shape[axis]} along axis {axis}")
    if table.ndim == 1:
        _chosen(into, node, into.tensor(node), axis, chosen, out)
        return
    moved = _chosen(into, node, into.tensor(node), axis, chosen, into.fresh(f"{out}.taken"))
    into.emit(node, "Reshape", (moved,), shape=(*shape[:axis], *table.shape, *shape[axis + 1 :]))


def _chosen(into: Import, node: onnx.NodeProto, x: str, axis: int, chosen: Sequence[int], output: str) -> str:
    """One Slice where the chosen numbers are evenly apart, else runs of neighbours joined."""
    runs, whole = _runs(chosen), [range(side) for side in into.shapes[x]]
    if len(runs) > MOST_RUNS:
        raise refusal(into, node, f"takes {len(runs)} runs of neighbours; up to {MOST_RUNS} are supported")
    parts = [[*whole[:axis], run, *whole[axis + 1 :]] for run in runs]
    if len(parts) == 1:
        return _take(into, node, x, parts[0], output)
    names = [_take(into, node, x, part, into.fresh(f"{node.output[0]}.run")) for part in parts]
    return into.emit(node, "Concat", names, output, axis=axis)


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


def read_pad(into: Import, node: onnx.NodeProto) -> None:
    """A border of one value; pads below zero cut off."""
    given, shape = attributes(node), into.shape(node)
    rank = len(shape)
    if (mode := given.get("mode", "constant")) not in BORDERS and mode != "constant":
        raise refusal(into, node, f"mode {mode} is not supported; constant, {', '.join(BORDERS)} are")
    pads = into.ints(node, 1, "pads") or []
    value = float(into.weights(node, 2).reshape(())) if into.has(node, 2) else float(given.get("value", 0.0))
    if into.has(node, 3):
        axes = [axis_of(into, node, int(axis), rank) for axis in into.value(node, 3).reshape(-1)]
        whole = [0] * (2 * rank)
        for position, axis in enumerate(axes):
            whole[axis], whole[axis + rank] = pads[position], pads[position + len(axes)]
        pads = whole
    if mode in BORDERS:
        _mirrored(into, node, mode, pads)
        return
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


BORDERS: dict[str, Callable[[NDArray[np.int64], int], NDArray[np.int64]]] = {
    "edge": lambda places, size: np.clip(places, 0, size - 1),
    "reflect": lambda places, size: size - 1 - np.abs(size - 1 - np.abs(places)),
    "wrap": lambda places, size: places % size,
}
"""Which pixel stands at places that may lie outside an axis of some size."""


def _mirrored(into: Import, node: onnx.NodeProto, mode: str, pads: Sequence[int]) -> None:
    """A border of the tensor's own numbers, axis by axis."""
    x, rank = into.tensor(node), len(into.shape(node))
    for axis in range(rank):
        size, before, after = into.shapes[x][axis], pads[axis], pads[axis + rank]
        if max(before, after) >= size + (mode == "edge") * max(before, after):
            raise refusal(into, node, f"pads of {before} and {after} around {size} are too wide for the mode {mode}")
        if before or after:
            places = BORDERS[mode](np.arange(-before, size + after), size)
            x = _chosen(into, node, x, axis, places.tolist(), into.fresh(f"{node.output[0]}.axis"))
    into.rename(node.output[0], x)


PARTS: dict[str, Callable[[Import, onnx.NodeProto], None]] = {
    "Gather": read_gather,
    "Pad": read_pad,
    "Slice": read_slice,
    "Split": read_split,
}

"""ConvTranspose as a convolution and a rearrangement, both of which every executor has.

With stride s, an output pixel at s q + r (pads included) sees the kernel's taps r, r + s, r + 2 s, ... on the inputs
q, q - 1, q - 2, ...: for each of the s by s phases r that is a plain convolution of the input. One convolution computes
all phases as channels; they are then laid out as squares of s by s pixels, and the pads cut off.

Source: Shi et al., "Is the deconvolution layer the same as a convolutional layer?", 2016.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from facelet.graph.ir import Array
from facelet.graph.onnx_import import Import, attributes, refusal


def read_conv_transpose(into: Import, node: onnx.NodeProto) -> None:
    """A transposed convolution."""
    given, weight, shape = attributes(node), into.weights(node, 1), into.shape(node)
    if weight.ndim != 4 or len(shape) != 4:
        raise refusal(into, node, "only two-dimensional images are supported")
    groups, strides = int(given.get("group", 1)), _two(into, node, given.get("strides", (1, 1)))
    if groups < 1 or weight.shape[0] != shape[1] or shape[1] % groups or min(strides) < 1:
        raise refusal(into, node, f"a kernel of {weight.shape} in {groups} group(s) does not fit {list(shape)}")
    weight = _dilated(weight, _two(into, node, given.get("dilations", (1, 1))))
    starts, sizes = _cut(into, node, shape[2:], weight.shape[2:], strides)
    n, channels = shape[0], weight.shape[1] * groups
    taps = [
        max(-(-kernel // stride), -(-(start + size) // stride) - side + 1)
        for kernel, stride, start, size, side in zip(weight.shape[2:], strides, starts, sizes, shape[2:], strict=True)
    ]
    bias = into.weights(node, 2) if into.has(node, 2) else np.zeros(channels, np.float32)
    if bias.shape != (channels,):
        raise refusal(into, node, f"a bias of {bias.shape} does not fit {channels} channels")
    out = node.output[0]
    names = (
        into.tensor(node),
        into.constant(into.fresh(f"{out}.weight"), _phases(weight, groups, strides, taps)),
        into.constant(into.fresh(f"{out}.bias"), bias.repeat(strides[0] * strides[1])),
    )
    pads = (taps[0] - 1, taps[1] - 1) * 2
    window: dict[str, Any] = {"strides": (1, 1), "dilations": (1, 1), "pads": pads, "groups": groups}
    x = into.part(node, "phases", "Conv", names, **window)
    height, width = into.shapes[x][2:]
    if strides != (1, 1):
        parts = into.part(node, "parts", "Reshape", (x,), shape=(n, channels, *strides, height, width))
        moved = into.part(node, "moved", "Transpose", (parts,), perm=(0, 1, 4, 2, 5, 3))
        whole = (n, channels, height * strides[0], width * strides[1])
        x = into.part(node, "whole", "Reshape", (moved,), shape=whole)
    if into.shapes[x][2:] == sizes:
        into.rename(out, x)
    else:
        into.emit(node, "Slice", (x,), starts=(0, 0, *starts), steps=(1, 1, 1, 1), sizes=(n, channels, *sizes))


def _two(into: Import, node: onnx.NodeProto, values: Any) -> tuple[int, int]:
    found = tuple(int(v) for v in values)
    if len(found) != 2:
        raise refusal(into, node, f"needs two numbers, found {found}")
    return found[0], found[1]


def _dilated(weight: Array, dilations: tuple[int, int]) -> Array:
    """The kernel with zeros between its taps."""
    reach = [d * (k - 1) + 1 for d, k in zip(dilations, weight.shape[2:], strict=True)]
    wide = np.zeros((*weight.shape[:2], *reach), np.float32)
    wide[:, :, :: dilations[0], :: dilations[1]] = weight
    return wide


def _cut(
    into: Import, node: onnx.NodeProto, size: tuple[int, ...], kernel: tuple[int, ...], strides: tuple[int, int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Where the output starts in the whole of all windows, and its height and width."""
    given = attributes(node)
    more, auto = _two(into, node, given.get("output_padding", (0, 0))), given.get("auto_pad", "NOTSET")
    pads, wanted = [int(v) for v in given.get("pads", (0, 0, 0, 0))], given.get("output_shape")
    if len(pads) != 4 or min(pads) < 0 or min(more) < 0:
        raise refusal(into, node, f"pads {pads} and output_padding {more} must be 0 or more")
    starts, sizes = [], []
    for axis in (0, 1):
        whole = strides[axis] * (size[axis] - 1) + kernel[axis] + more[axis]
        before, after = pads[axis], pads[axis + 2]
        if auto in ("SAME_UPPER", "SAME_LOWER") or wanted is not None:
            target = int(list(wanted)[-2:][axis]) if wanted is not None else size[axis] * strides[axis]
            total = max(0, whole - target)
            before = total // 2 if auto == "SAME_UPPER" else total - total // 2
            after = whole - target - before
        elif auto == "VALID":
            before = after = 0
        starts.append(before)
        sizes.append(whole - before - after)
    if min(sizes) < 1:
        raise refusal(into, node, f"pads {pads} leave nothing of its output")
    return tuple(starts), tuple(sizes)


def _phases(weight: Array, groups: int, strides: tuple[int, int], taps: list[int]) -> Array:
    """Weights `(c, m / groups, kh, kw)` as those of a convolution with `strides[0] * strides[1]` outputs for each of m.

    Args:
        taps: (h, w) of the convolution's kernel.
    """
    (down, across), (high, wide) = strides, taps
    filled = np.zeros((*weight.shape[:2], high * down, wide * across), np.float32)
    filled[:, :, : weight.shape[2], : weight.shape[3]] = weight
    split = filled.reshape(groups, -1, weight.shape[1], high, down, wide, across)[:, :, :, ::-1, :, ::-1]
    ordered = split.transpose(0, 2, 4, 6, 1, 3, 5)  # (group, m / groups, down, across, c / groups, high, wide)
    return np.ascontiguousarray(ordered).reshape(-1, ordered.shape[4], high, wide)

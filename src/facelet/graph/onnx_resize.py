"""How Resize of every opset, and Upsample before it, become ops of `ir`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx

from facelet.graph.ir import Shape
from facelet.graph.onnx_import import Import, attributes, axis_of, refusal
from facelet.graph.resample import COORDINATES, NEAREST, Taps, repeats, taps

MODES = {"nearest": "nearest", "linear": "linear", "bilinear": "linear"}

WAY_OUT = "; supported are nearest and linear of images, e.g. F.interpolate(..., mode='bilinear')"


def read_resize(into: Import, node: onnx.NodeProto) -> None:
    """An image of another height and width."""
    given, shape = attributes(node), into.shape(node)
    mode = MODES.get(given.get("mode", "nearest"))
    if mode is None or len(shape) != 4:
        raise refusal(into, node, f"mode {given.get('mode', 'nearest')} of {len(shape)} axes{WAY_OUT}")
    if given.get("antialias"):
        raise refusal(into, node, "antialias is not supported; export it without")
    if given.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise refusal(into, node, "only the keep_aspect_ratio_policy stretch is supported; export the sizes")
    scales, sizes = _scales(into, node, shape)
    if scales[:2] != [1.0, 1.0] or sizes[:2] != list(shape[:2]):
        raise refusal(into, node, f"scales {scales} change the batch or the channels{WAY_OUT}")
    if min(scales) <= 0 or min(sizes) < 1:
        raise refusal(into, node, f"scales {scales} leave nothing of the image")
    if node.op_type == "Upsample" and min(scales) < 1:
        raise refusal(into, node, f"scales {scales}: Upsample only enlarges; export it with opset 11 or newer")
    coordinates, nearest = _ways(into, node, mode, scales[2:])
    along = [taps(mode, coordinates, nearest, scales[axis], shape[axis], sizes[axis]) for axis in (2, 3)]
    _emit(into, node, along, mode, coordinates, nearest, scales, sizes)


def _emit(
    into: Import,
    node: onnx.NodeProto,
    along: Sequence[Taps],
    mode: str,
    coordinates: str,
    nearest: str,
    scales: Sequence[float],
    sizes: Sequence[int],
) -> None:
    """The simplest op that does it: nothing, a repetition of pixels, or a Resample."""
    times = [repeats(taps_, size) for taps_, size in zip(along, into.shape(node)[2:], strict=True)]
    if times == [1, 1]:
        into.alias(node)
    elif all(times):
        into.emit(node, "Resize", (into.tensor(node),), scale_h=times[0], scale_w=times[1])
    else:
        how: dict[str, Any] = {"mode": mode, "coordinates": coordinates, "nearest": nearest}
        size: dict[str, Any] = {"height": sizes[2], "width": sizes[3], "scale_h": scales[2], "scale_w": scales[3]}
        into.emit(node, "Resample", (into.tensor(node),), **how, **size)


def _scales(into: Import, node: onnx.NodeProto, shape: Shape) -> tuple[list[float], list[int]]:
    """Per axis the scale as float32, and the size of the output."""
    given, rank = attributes(node), len(shape)
    axes = [axis_of(into, node, int(axis), rank) for axis in given.get("axes", range(rank))]
    position = 1 if node.op_type == "Upsample" or into.opset < 11 else 2
    scales, sizes = [1.0] * rank, list(shape)
    if "scales" in given:  # an Upsample of opset 7
        found = [float(v) for v in given["scales"]]
    elif into.has(node, position) and into.value(node, position).size:
        found = [float(v) for v in into.value(node, position).reshape(-1)]
    elif into.has(node, 3):
        wanted = [int(v) for v in into.value(node, 3).reshape(-1)]
        for axis, size in zip(axes, wanted, strict=True):
            sizes[axis] = into.own_batch(shape[axis], size) if axis == 0 else size
            scales[axis] = float(np.float32(sizes[axis]) / np.float32(shape[axis]))
        return scales, sizes
    else:
        raise refusal(into, node, "has neither scales nor sizes; export it again")
    for axis, scale in zip(axes, found, strict=True):
        scales[axis] = scale
        sizes[axis] = int(np.float32(scale) * np.float32(shape[axis])) if np.isfinite(scale) else 0
    return scales, sizes


def _ways(into: Import, node: onnx.NodeProto, mode: str, scales: Sequence[float]) -> tuple[str, str]:
    """How places are computed, and which pixel is the nearest to one."""
    given = attributes(node)
    if node.op_type == "Upsample" or into.opset < 11:  # onnxruntime: up rounds down, down rounds up
        down = {scale < 1 for scale in scales if scale != 1}
        if mode == "nearest" and len(down) > 1:
            raise refusal(into, node, "enlarges one side and shrinks the other; export it with opset 11 or newer")
        return "asymmetric", "ceil" if True in down else "floor"
    coordinates = given.get("coordinate_transformation_mode", "half_pixel")
    nearest = given.get("nearest_mode", "round_prefer_floor")
    if coordinates not in COORDINATES or nearest not in NEAREST:
        known = ", ".join((*COORDINATES, *NEAREST))
        raise refusal(into, node, f"{coordinates} with {nearest} is not supported; known are {known}")
    return coordinates, nearest

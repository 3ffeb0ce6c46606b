"""How the ONNX ops that slide a window over an image become ops of `ir`: convolutions and pools."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx

from facelet.graph.onnx_import import Import, attributes, refusal
from facelet.graph.onnx_upconv import read_conv_transpose


def whole(values: Any, count: int, into: Import, node: onnx.NodeProto) -> tuple[int, ...]:
    """Whole numbers of which there must be so many."""
    found = tuple(int(v) for v in values)
    if len(found) != count:
        raise refusal(into, node, f"needs {count} numbers, found {found}; only two-dimensional images are supported")
    return found


def _window(into: Import, node: onnx.NodeProto, kernel: tuple[int, ...]) -> dict[str, Any]:
    """Strides, dilations and pads, `auto_pad` and `ceil_mode` worked out."""
    given = attributes(node)
    strides = whole(given.get("strides", (1, 1)), 2, into, node)
    dilations = whole(given.get("dilations", (1, 1)), 2, into, node)
    pads = list(whole(given.get("pads", (0, 0, 0, 0)), 4, into, node))
    auto, size = given.get("auto_pad", "NOTSET"), into.shape(node)[2:]
    if len(size) != 2:
        raise refusal(into, node, "only two-dimensional images are supported")
    if min(strides) < 1 or min(dilations) < 1 or min(kernel) < 1:
        raise refusal(into, node, "kernel, strides and dilations must be 1 or more")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        for axis in (0, 1):
            reach = dilations[axis] * (kernel[axis] - 1) + 1
            total = (-(-size[axis] // strides[axis]) - 1) * strides[axis] + reach - size[axis]
            # onnxruntime refuses it, or crops the image at its start, by op; TensorFlow, which wrote it, does neither
            if total < 0 and not (node.op_type == "Conv" and auto == "SAME_UPPER" and total == -1):
                raise refusal(
                    into, node, f"auto_pad {auto} with strides wider than the window is not supported; export the pads"
                )
            total = max(0, total)
            before = total // 2 if auto == "SAME_UPPER" else total - total // 2
            pads[axis], pads[axis + 2] = before, total - before
    elif auto == "VALID":
        pads = [0, 0, 0, 0]
    elif auto not in ("NOTSET", ""):
        raise refusal(into, node, f"auto_pad {auto} is not known")
    return {"strides": strides, "dilations": dilations, "pads": tuple(pads)}


def _rounded_up(size: Sequence[int], kernel: Sequence[int], window: dict[str, Any]) -> tuple[int, int]:
    """Pixels below and to the right of the pads that `ceil_mode` adds, so that a last window that is cut off counts."""
    more = []
    for axis in (0, 1):
        stride, reach = window["strides"][axis], window["dilations"][axis] * (kernel[axis] - 1) + 1
        room = size[axis] + window["pads"][axis] + window["pads"][axis + 2] - reach
        steps = -(-room // stride)
        if steps * stride >= size[axis] + window["pads"][axis]:  # a window must begin inside the image
            steps -= 1
        more.append(max(0, steps * stride - room))
    return more[0], more[1]


def read_conv(into: Import, node: onnx.NodeProto) -> None:
    """A convolution; without a bias it gets one of zeros."""
    x, weight, given = into.tensor(node), into.weights(node, 1), attributes(node)
    if weight.ndim != 4:
        raise refusal(into, node, f"a kernel of {weight.ndim} dimensions; only two-dimensional images are supported")
    if tuple(given.get("kernel_shape", weight.shape[2:])) != weight.shape[2:]:
        raise refusal(into, node, f"kernel_shape {given['kernel_shape']} is not that of its weights {weight.shape}")
    window = _window(into, node, tuple(weight.shape[2:]))
    bias = into.tensor(node, 2) if into.has(node, 2) else ""
    if not bias:
        bias = into.constant(into.fresh(f"{node.output[0]}.bias"), np.zeros(len(weight), np.float32))
    elif bias not in into.constants:
        raise refusal(into, node, "its bias must be constant")
    into.emit(node, "Conv", (x, into.tensor(node, 1), bias), groups=int(given.get("group", 1)), **window)


def pool(op: str) -> Callable[[Import, onnx.NodeProto], None]:
    """A pool over windows."""

    def read(into: Import, node: onnx.NodeProto) -> None:
        given, x = attributes(node), into.tensor(node)
        kernel = whole(given["kernel_shape"], 2, into, node)
        window = _window(into, node, kernel)
        up = _rounded_up(into.shape(node)[2:], kernel, window) if given.get("ceil_mode") else (0, 0)
        if window.pop("dilations") != (1, 1):
            raise refusal(into, node, "dilations are not supported in pools; give it a wider window without them")
        if given.get("storage_order"):
            raise refusal(into, node, "storage_order is not supported")
        counted = bool(given.get("count_include_pad", 0)) and op == "AveragePool"
        if any(up) and counted and any(window["pads"]):  # the pads count, what ceil_mode adds does not
            (top, left, bottom, right) = window["pads"]
            pads = (0, 0, top, left, 0, 0, bottom, right)
            x, window["pads"] = into.part(node, "padded", "Pad", (x,), pads=pads, value=0.0), (0, 0, 0, 0)
        window["pads"] = tuple(a + b for a, b in zip(window["pads"], (0, 0, *up), strict=True))
        if op == "AveragePool":
            window["count_include_pad"] = counted and not any(up)
        if op == "LpPool":
            window["p"] = int(given.get("p", 2))
            if window["p"] < 1:
                raise refusal(into, node, "p must be 1 or more")
        into.emit(node, op, (x,), kernel=kernel, **window)

    return read


def read_global_max_pool(into: Import, node: onnx.NodeProto) -> None:
    """A max pool with a window as large as the image."""
    size = into.shape(node)[2:]
    into.emit(node, "MaxPool", (into.tensor(node),), kernel=size, strides=(1, 1), pads=(0, 0, 0, 0))


def read_lrn(into: Import, node: onnx.NodeProto) -> None:
    """Local response normalisation."""
    given = attributes(node)
    alpha, beta, bias = (float(given.get(name, v)) for name, v in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0)))
    into.emit(node, "LRN", (into.tensor(node),), size=int(given["size"]), alpha=alpha, beta=beta, bias=bias)


WINDOWS: dict[str, Callable[[Import, onnx.NodeProto], None]] = {
    "AveragePool": pool("AveragePool"),
    "Conv": read_conv,
    "ConvTranspose": read_conv_transpose,
    "GlobalMaxPool": read_global_max_pool,
    "LRN": read_lrn,
    "LpPool": pool("LpPool"),
    "MaxPool": pool("MaxPool"),
}

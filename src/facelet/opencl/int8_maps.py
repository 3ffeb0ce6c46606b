"""Integer ops beside the convolutions -> launches: tables, products, and what moves integers; see `graph.int8_maps`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from facelet.graph.int8_maps import mul_shift
from facelet.graph.ir import Node, Shape
from facelet.opencl.build import Arguments, Build, place, read_from, unsupported, write_to
from facelet.opencl.layout import View

PAIRS = {"Int8Mul": 0, "Max": 1, "Min": 2}
"""Knob KIND of int8_pair.cl."""


def in_blocks(build: Build, name: str) -> View:
    """The integers of a tensor in whole blocks; an input image, of fewer channels a pixel, is copied once."""
    view = build.views[name]
    if view.block == build.config.block:
        return view
    if name not in build.blocked:
        out = build.new_int8(view.shape, build.config.block)
        join(build, view, out)
        build.blocked[name] = out
    return build.blocked[name]


def join(
    build: Build, view: View, out: View, start: int = 0, order: Sequence[int] | None = None, output: str = ""
) -> None:
    """Copies channels of an image into another.

    Args:
        start: the first channel there.
        order: which channels; all of them without it.
        output: the tensor that is whole after this.
    """
    arguments: Arguments = {
        **read_from(view),
        **write_to(out),
        "width": view.shape[3],
        "start": start,
        "order": build.integers(np.asarray(order), 1) if order is not None else 0,
    }
    count = view.shape[1] if order is None else len(order)
    knobs: dict[str, int | str] = {"IN_BLOCK": view.block, "PICKED": int(order is not None)}
    build.emit("int8_join", knobs, arguments, (view.shape[2], count, view.shape[0]), output)


def with_border(build: Build, view: View, pads: Shape, name: str = "") -> View:
    """A copy of an int8 image with a border of zeros (top, left, bottom, right)."""
    n, channels, height, width = view.shape
    top, left, bottom, right = pads
    shape = (n, channels, height + top + bottom, width + left + right)
    out = build.int8_output(name) if name else build.new_int8(shape, view.block)
    arguments: Arguments = {
        **read_from(view),
        "in_height": height,
        "in_width": width,
        **write_to(out),
        "out_width": shape[3],
        "top": top,
        "left": left,
    }
    build.emit("int8_border", {"WORDS": view.block // 4}, arguments, (shape[2], view.blocks, n), name)
    return out


def table(build: Build, node: Node) -> None:
    """A table of 256 entries."""
    view, out = in_blocks(build, node.inputs[0]), build.int8_output(node.output)
    entries = build.integers(build.graph.constants[node.inputs[1]], 1)
    arguments: Arguments = {**read_from(view), **write_to(out), "width": out.shape[3], "table": entries}
    build.emit("int8_table", {}, arguments, (out.shape[2], out.blocks, out.shape[0]), node.output)


def pair(build: Build, node: Node) -> None:
    """Two images, integer by integer."""
    view, second = (in_blocks(build, name) for name in node.inputs)
    out = build.int8_output(node.output)
    image, block, row, pixel = second.strides
    everywhere = second.shape[2:] == (1, 1)
    shift = mul_shift(node) if node.op == "Int8Mul" else 0
    arguments: Arguments = {
        **read_from(view),
        "second": place(second),
        "second_image": image,
        "second_row": 0 if everywhere else row,
        "second_block": block,
        "second_pixel": 0 if everywhere else pixel,
        **write_to(out),
        "width": out.shape[3],
        "left": max(0, -shift),
        "right": max(0, shift),
    }
    size = (out.shape[2], out.blocks, out.shape[0])
    build.emit("int8_pair", {"KIND": PAIRS[node.op]}, arguments, size, node.output)


def _pool(build: Build, node: Node) -> None:
    view, out = in_blocks(build, node.inputs[0]), build.int8_output(node.output)
    arguments: Arguments = {
        **read_from(view),
        "in_height": view.shape[2],
        "in_width": view.shape[3],
        **write_to(out),
        "out_width": out.shape[3],
        "kernel_h": node["kernel"][0],
        "kernel_w": node["kernel"][1],
        "stride_h": node["strides"][0],
        "stride_w": node["strides"][1],
        "top": node["pads"][0],
        "left": node["pads"][1],
    }
    build.emit("int8_pool", {}, arguments, (out.shape[2], out.blocks, out.shape[0]), node.output)


def _concat(build: Build, node: Node) -> None:
    if node["axis"] != 1 or len(build.graph.shapes[node.output]) != 4:
        raise unsupported(node, f"integers joined along axis {node['axis']}")
    if node.output not in build.views:
        build.int8_output(node.output)
    out, start = build.views[node.output], 0
    for position, name in enumerate(node.inputs):
        view = build.views[name]
        if build.slices.get(name) != (node.output, start):
            join(build, view, out, start, output=node.output if position == len(node.inputs) - 1 else "")
        start += view.shape[1]


def _pad(build: Build, node: Node) -> None:
    pads = node["pads"]
    if len(pads) != 8 or any(pads[axis] for axis in (0, 1, 4, 5)) or node["value"]:
        raise unsupported(node, "another border of integers than one of zeros around height and width")
    with_border(build, in_blocks(build, node.inputs[0]), (pads[2], pads[3], pads[6], pads[7]), node.output)


def _resize(build: Build, node: Node) -> None:
    view, out = in_blocks(build, node.inputs[0]), build.int8_output(node.output)
    arguments: Arguments = {
        **read_from(view),
        **write_to(out),
        "width": view.shape[3],
        "tall": node["scale_h"],
        "wide": node["scale_w"],
    }
    build.emit("int8_repeat", {}, arguments, (out.shape[2], out.blocks, out.shape[0]), node.output)


def _channels(build: Build, node: Node) -> None:
    view, out = build.views[node.inputs[0]], build.int8_output(node.output)
    join(build, view, out, order=node["order"], output=node.output)


MOVED: dict[str, Callable[[Build, Node], None]] = {
    "MaxPool": _pool,
    "Concat": _concat,
    "Pad": _pad,
    "Resize": _resize,
    "Channels": _channels,
    "Max": pair,
    "Min": pair,
}
"""Ops that move integers; a Reshape of integers is left to the floats behind them."""


def needs_integers(build: Build, node: Node) -> None:
    """Refuses a Table or a Channels that no QuantizeLinear follows, which no file of ours holds.

    Raises:
        GraphError: always.
    """
    raise unsupported(node, "an op of an int8 network whose output is float")

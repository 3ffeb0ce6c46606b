"""Integer ops -> launches; see `graph.int8` for what they compute and kernels/int8_prelude.cl for how bytes lie."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from facelet.graph.int8 import residual_shifts, shifts
from facelet.graph.ir import Node, Shape
from facelet.opencl import convolutions, layout
from facelet.opencl.build import Arguments, Build, Place, place, read_from, unsupported, write_to
from facelet.opencl.layout import View
from facelet.opencl.tiles import best_tile, conv_key, tile_area

INPUT_CHANNELS = 4
"""Of an image that a network reads: one word a pixel."""


def quantize(build: Build, node: Node) -> None:
    """Float planes become an int8 image with the border that its reader wants."""
    view, readers = build.views[node.inputs[0]], build.graph.readers(node.output)
    if view.block or len(view.shape) != 4 or view.shape[1] > INPUT_CHANNELS or view.strides[3] != 1:
        raise unsupported(node, f"integers of something else than an input of up to {INPUT_CHANNELS} planes")
    n, channels, height, width = view.shape
    pads: Shape = (0, 0, 0, 0)
    if len(readers) == 1 and readers[0].op == "Int8Conv" and readers[0]["groups"] == 1:
        pads = tuple(readers[0]["pads"])
    top, left, bottom, right = pads
    whole = build.new_int8((n, channels, height + top + bottom, width + left + right), INPUT_CHANNELS)
    inner = View(whole.buffer, top * whole.strides[2] + left, view.shape, whole.strides, INPUT_CHANNELS, int8=True)
    build.views[node.output] = inner
    build.bordered[node.output] = pads
    image, plane, row, _ = view.strides
    arguments: Arguments = {
        "in": place(view),
        "in_image": image,
        "in_row": row,
        "in_plane": plane,
        "in_channels": channels,
        "in_height": height,
        "in_width": width,
        "out": Place(whole.buffer, 0),
        "out_image": whole.strides[0],
        "out_row": whole.strides[2],
        "top": top,
        "left": left,
        "out_width": whole.shape[3],
        "scale": float(2.0 ** node["fraction"]),
    }
    build.emit("int8_input", {}, arguments, (whole.shape[2], 1, n), node.output)


def dequantize(build: Build, node: Node) -> None:
    """An int8 image becomes plain floats."""
    view = build.views[node.inputs[0]]
    if view.block != build.config.block:
        raise unsupported(node, "floats of an input image")
    out = build.plain_output(node.output)
    image, plane, row, _ = out.strides
    arguments: Arguments = {
        **read_from(view),
        "out": place(out),
        "out_image": image,
        "out_row": row,
        "out_plane": plane,
        "width": view.shape[3],
        "scale": float(2.0 ** -node["fraction"]),
    }
    build.emit("int8_output", {}, arguments, (view.shape[2], view.shape[1], view.shape[0]), node.output)


def conv(build: Build, node: Node) -> None:
    """Chooses the kernel for an integer convolution."""
    channels = build.graph.shapes[node.inputs[0]][1]
    outputs = len(build.graph.constants[node.inputs[1]])
    if tuple(node["dilations"]) != (1, 1):
        raise unsupported(node, "an integer convolution with dilations")
    if node["groups"] == 1:
        _dense(build, node)
    elif node["groups"] == channels == outputs:
        _depthwise(build, node)
    else:
        raise unsupported(node, f"an integer convolution of {node['groups']} groups")


def _dense(build: Build, node: Node) -> None:
    config, graph = build.config, build.graph
    weight, bias = (graph.constants[name] for name in node.inputs[1:3])
    view, pads = build.views[node.inputs[0]], tuple(node["pads"])
    if build.bordered.get(node.inputs[0]) == pads and any(pads):
        view = View(view.buffer, 0, view.shape, view.strides, view.block, int8=True)
    elif any(pads):
        view = _with_border(build, view, pads)
    residual = _residual(build, node)
    out = build.int8_output(node.output)
    rows, columns = tile_area(graph, node)
    tile = best_tile(config, conv_key(graph, node), out.blocks, rows, columns)
    tiles_x, tiles_y = -(-columns // tile.width), -(-rows // tile.height)
    if config.vnni:
        weights = build.constant(layout.pack_int8_conv(weight, view.block, config.block, tile.blocks))
        start = build.integers(bias + 128.0 * -weight.astype(np.float64).sum(axis=(1, 2, 3)), config.block)
    else:
        weights = build.constant(layout.pack_conv(weight, view.block, tile.blocks, config.block))
        start = build.constant(layout.pack_vector(bias, config.block))
    knobs: dict[str, int | str] = {
        "TILE_H": tile.height,
        "TILE_W": tile.width,
        "BLOCKS": tile.blocks,
        **convolutions.window_knobs(node, weight),
        "IN_BLOCK": view.block,
        "SLOPES": int(node["slopes"]),
        "RESIDUAL": int(node["residual"]),
        "VNNI": int(config.vnni),
    }
    arguments: Arguments = {
        **read_from(view),
        "in_channels": weight.shape[1],
        **write_to(out),
        "tiles_x": tiles_x,
        "last_x": columns - tile.width,
        "last_y": rows - tile.height,
        "last_block": out.blocks - tile.blocks,
        "weights": weights,
        "bias": start,
        **_after(build, node),
        **residual,
    }
    groups = -(-out.blocks // tile.blocks)
    build.emit("int8_conv", knobs, arguments, (tiles_x * tiles_y, groups, out.shape[0]), node.output)


def _depthwise(build: Build, node: Node) -> None:
    config = build.config
    weight, bias = (build.graph.constants[name] for name in node.inputs[1:3])
    view = build.views[node.inputs[0]]
    if view.block != config.block:
        raise unsupported(node, "a depthwise integer convolution of an input image")
    residual = _residual(build, node)
    out = build.int8_output(node.output)
    n, _, height, width = out.shape
    knobs: dict[str, int | str] = {
        **convolutions.depthwise_knobs(node, weight, view, out, config.registers),
        "SLOPES": int(node["slopes"]),
        "RESIDUAL": int(node["residual"]),
    }
    arguments: Arguments = {
        **read_from(view),
        "in_height": view.shape[2],
        "in_width": view.shape[3],
        **write_to(out),
        "out_width": width,
        "weights": build.constant(layout.pack_depthwise(weight, config.block)),
        "bias": build.constant(layout.pack_vector(bias, config.block)),
        **_after(build, node),
        **residual,
    }
    build.emit("int8_depthwise", knobs, arguments, (height, out.blocks, n), node.output)


def _after(build: Build, node: Node) -> Arguments:
    """What follows the sums: shifts, slopes, limits."""
    block, constants = build.config.block, build.graph.constants
    found: Arguments = {
        "shifts": build.integers(shifts(node, constants[node.inputs[3]]), block),
        "slope": 0,
        "slope_shifts": 0,
        "low": node["low"],
        "high": node["high"],
    }
    if node["slopes"]:
        found["slope"] = build.integers(constants[node.inputs[4]], block)
        found["slope_shifts"] = build.integers(constants[node.inputs[5]], block)
    return found


def _residual(build: Build, node: Node) -> Arguments:
    names = ("residual", "residual_image", "residual_row", "residual_block", "residual_shifts")
    if not node["residual"]:
        return dict.fromkeys(names, 0)
    view = build.views[node.inputs[-1]]
    if view.block != build.config.block:
        raise unsupported(node, "an input image as residual")
    image, block, row, _ = view.strides
    left = residual_shifts(node, build.graph.constants[node.inputs[3]])
    return dict(zip(names, (place(view), image, row, block, build.integers(left, build.config.block)), strict=True))


def _with_border(build: Build, view: View, pads: Shape, name: str = "") -> View:
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


def _in_blocks(build: Build, node: Node, name: str) -> View:
    """The integers that an op moves block by block; an input image has `INPUT_CHANNELS` a pixel instead."""
    view = build.views[name]
    if view.block != build.config.block:
        raise unsupported(node, f"an input image read by {node.op}")
    return view


def _pool(build: Build, node: Node) -> None:
    view, out = _in_blocks(build, node, node.inputs[0]), build.int8_output(node.output)
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
    if node["axis"] != 1:
        raise unsupported(node, f"integers joined along axis {node['axis']}")
    if node.output not in build.views:
        build.int8_output(node.output)
    out, start = build.views[node.output], 0
    for position, name in enumerate(node.inputs):
        view = _in_blocks(build, node, name)
        if build.slices.get(name) != (node.output, start):
            arguments: Arguments = {**read_from(view), **write_to(out), "width": view.shape[3], "start": start}
            last = node.output if position == len(node.inputs) - 1 else ""
            build.emit("int8_join", {}, arguments, (view.shape[2], view.shape[1], view.shape[0]), last)
        start += view.shape[1]


def _pad(build: Build, node: Node) -> None:
    pads = node["pads"]
    if len(pads) != 8 or any(pads[axis] for axis in (0, 1, 4, 5)):
        raise unsupported(node, "a border of integers around other axes than height and width")
    _with_border(build, _in_blocks(build, node, node.inputs[0]), (pads[2], pads[3], pads[6], pads[7]), node.output)


MOVED: dict[str, Callable[[Build, Node], None]] = {"MaxPool": _pool, "Concat": _concat, "Pad": _pad}
"""Ops that move integers; a Reshape of integers is left to the floats behind them."""

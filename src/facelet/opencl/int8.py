"""Integer ops -> launches; see `graph.int8` for what they compute and kernels/int8_prelude.cl for how bytes lie."""

from __future__ import annotations

import numpy as np

from facelet.graph.int8 import residual_shifts, shifts
from facelet.graph.ir import Node, Shape
from facelet.opencl import convolutions, layout
from facelet.opencl.build import Arguments, Build, Place, place, read_from, unsupported, write_to
from facelet.opencl.int8_maps import in_blocks, join, with_border
from facelet.opencl.layout import View
from facelet.opencl.tiles import best_tile, conv_key, tile_area

INPUT_CHANNELS = 4
"""Of an image that a network reads: one word a pixel."""


def quantize(build: Build, node: Node) -> None:
    """Float planes become an int8 image with the border that its reader wants."""
    view, readers = build.views[node.inputs[0]], build.graph.readers(node.output)
    if view.block or len(view.shape) != 4 or view.strides[3] != 1:
        raise unsupported(node, "integers of something else than an input image")
    n, channels, height, width = view.shape
    if channels > INPUT_CHANNELS:
        _many_planes(build, node, view)
        return
    pads: Shape = (0, 0, 0, 0)
    if len(readers) == 1 and readers[0].op == "Int8Conv" and readers[0]["groups"] == 1:
        pads = tuple(readers[0]["pads"])
    top, left, bottom, right = pads
    whole = build.new_int8((n, channels, height + top + bottom, width + left + right), INPUT_CHANNELS)
    inner = View(whole.buffer, top * whole.strides[2] + left, view.shape, whole.strides, INPUT_CHANNELS, int8=True)
    build.views[node.output] = inner
    build.bordered[node.output] = pads
    _planes(build, node, view, whole, (top, left), node.output)


def _many_planes(build: Build, node: Node, view: View) -> None:
    """Planes of more channels than a word holds: some at a time, then put into blocks."""
    out = build.int8_output(node.output)
    n, channels, height, width = view.shape
    for start in range(0, channels, INPUT_CHANNELS):
        count = min(INPUT_CHANNELS, channels - start)
        part = View(view.buffer, view.offset + start * view.strides[1], (n, count, height, width), view.strides)
        whole = build.new_int8(part.shape, INPUT_CHANNELS)
        _planes(build, node, part, whole, (0, 0))
        join(build, whole, out, start, output=node.output if start + count == channels else "")


def _planes(build: Build, node: Node, view: View, whole: View, corner: tuple[int, int], output: str = "") -> None:
    """Launches the rounding of up to `INPUT_CHANNELS` planes into an image with a border."""
    n, channels, height, width = view.shape
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
        "top": corner[0],
        "left": corner[1],
        "out_width": whole.shape[3],
        "scale": float(2.0 ** node["fraction"]),
    }
    build.emit("int8_input", {}, arguments, (whole.shape[2], 1, n), output)


def dequantize(build: Build, node: Node) -> None:
    """An int8 image becomes plain floats."""
    view = in_blocks(build, node.inputs[0])
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
    dilated = tuple(node["dilations"]) != (1, 1)
    if node["groups"] == 1 and not dilated:
        _dense(build, node)
    elif node["groups"] == channels == outputs and not dilated:
        _depthwise(build, node)
    else:
        _grouped(build, node)


def _dense(build: Build, node: Node) -> None:
    config, graph = build.config, build.graph
    weight, bias = (graph.constants[name] for name in node.inputs[1:3])
    view, pads = build.views[node.inputs[0]], tuple(node["pads"])
    if build.bordered.get(node.inputs[0]) == pads and any(pads):
        view = View(view.buffer, 0, view.shape, view.strides, view.block, int8=True)
    elif any(pads):
        view = with_border(build, view, pads)
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
    view = in_blocks(build, node.inputs[0])
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


def _grouped(build: Build, node: Node) -> None:
    weight, bias = (build.graph.constants[name] for name in node.inputs[1:3])
    view, residual = in_blocks(build, node.inputs[0]), _residual(build, node)
    out = build.int8_output(node.output)
    n, channels, height, width = out.shape
    arguments: Arguments = {
        **read_from(view),
        "in_height": view.shape[2],
        "in_width": view.shape[3],
        **write_to(out),
        "out_width": width,
        "strides_h": node["strides"][0],
        "strides_w": node["strides"][1],
        "dilation_h": node["dilations"][0],
        "dilation_w": node["dilations"][1],
        "top": node["pads"][0],
        "left": node["pads"][1],
        "kernel_h": weight.shape[2],
        "kernel_w": weight.shape[3],
        "group_in": weight.shape[1],
        "group_out": channels // node["groups"],
        "weights": build.constant(weight),
        "bias": build.constant(bias),
        **_after(build, node),
        **residual,
    }
    knobs: dict[str, int | str] = {"SLOPES": int(node["slopes"]), "RESIDUAL": int(node["residual"])}
    build.emit("int8_grouped", knobs, arguments, (height, channels, n), node.output)


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
    view = in_blocks(build, node.inputs[-1])
    image, block, row, _ = view.strides
    left = residual_shifts(node, build.graph.constants[node.inputs[3]])
    return dict(zip(names, (place(view), image, row, block, build.integers(left, build.config.block)), strict=True))

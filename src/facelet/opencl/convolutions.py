"""Convolutions, pools and dense layers -> launches."""

from __future__ import annotations

from facelet.graph.ir import Array, Node, Shape
from facelet.opencl import layout
from facelet.opencl.build import Arguments, Build, Place, place, read_from, unsupported, write_to
from facelet.opencl.layout import View
from facelet.opencl.maps import as_blocked, copy, to_plain
from facelet.opencl.tiles import best_tile, conv_key, tile_area

ACTIVATION_NUMBERS = {"": 0, "Relu": 1, "Clip": 2, "PRelu": 3, "LeakyRelu": 4, "Sigmoid": 5, "HardSwish": 6}
"""As in prelude.cl."""

MOST_PLANES = 8
"""Input channels up to which a first convolution reads planes."""


def _limits(node: Node) -> tuple[str, Arguments]:
    """The activation of a convolution, and its two numbers."""
    activation = node.attributes.get("activation", "")
    low = float(node["min"]) if activation == "Clip" else float(node.attributes.get("alpha", 0.0))
    high = float(node["max"]) if activation == "Clip" else 0.0
    return activation, {"low": low, "high": high}


def _slope(build: Build, node: Node, multiple: int) -> int:
    return build.vector(node.inputs[3], multiple) if node.attributes.get("activation") == "PRelu" else 0


def _residual(build: Build, node: Node) -> Arguments:
    if not node.attributes.get("residual"):
        return dict.fromkeys(("residual", "residual_image", "residual_row", "residual_block"), 0)
    view = as_blocked(build, node.inputs[-1])
    image, block, row, _ = view.strides
    return {"residual": place(view), "residual_image": image, "residual_row": row, "residual_block": block}


def reads_planes(build: Build, node: Node) -> bool:
    """Whether a convolution is one that reads the network's input as planes."""
    return (
        node.op in ("Conv", "FusedConv")
        and node.inputs[0] in build.graph.inputs
        and node["groups"] == 1
        and build.graph.shapes[node.inputs[0]][1] <= MOST_PLANES
        and tuple(node["dilations"]) == (1, 1)
        and not node.attributes.get("residual")
    )


def conv(build: Build, node: Node) -> None:
    """Chooses the kernel for a convolution."""
    x = build.graph.shapes[node.inputs[0]]
    weight = build.graph.constants[node.inputs[1]]
    groups, dilated = node["groups"], tuple(node["dilations"]) != (1, 1)
    if reads_planes(build, node):
        _stem(build, node, weight)
    elif not dilated and groups == x[1] == len(weight) and groups > 1:
        _depthwise(build, node, weight)
    elif not dilated and groups == 1:
        _dense(build, node, weight)
    else:
        _grouped(build, node, weight)


def _stem(build: Build, node: Node, weight: Array) -> None:
    config, view = build.config, build.views[node.inputs[0]]
    out = build.image_output(node.output)
    n, _, height, width = out.shape
    image, plane, row, _ = view.strides
    tile_blocks = 2 if out.blocks % 2 == 0 else 1
    sums = (config.registers - 1 - tile_blocks) // tile_blocks
    tile = min((t for t in range(1, min(width, sums) + 1)), key=lambda t: -(-width // t) * (t * tile_blocks + 2))
    activation, limits = _limits(node)
    top, left = node["pads"][:2]
    knobs = {"TILE_W": tile, "BLOCKS": tile_blocks, **window_knobs(node, weight)}
    wide = config.block * tile_blocks
    arguments: Arguments = {
        "in": Place(view.buffer, view.offset - top * row - left),
        "in_image": image,
        "in_row": row,
        "in_plane": plane,
        "in_channels": weight.shape[1],
        **write_to(out),
        "tiles_x": -(-width // tile),
        "last_x": width - tile,
        "weights": build.constant(layout.pack_stem(weight, config.block, tile_blocks)),
        "bias": build.vector(node.inputs[2], wide),
        "slope": _slope(build, node, wide),
        **limits,
    }
    knobs["ACTIVATION"] = ACTIVATION_NUMBERS[activation]
    build.emit("stem", knobs, arguments, (-(-width // tile) * height, out.blocks // tile_blocks, n), node.output)


def window_knobs(node: Node, weight: Array) -> dict[str, int | str]:
    """Knobs of a convolution's kernel and strides."""
    return {
        "KERNEL_H": weight.shape[2],
        "KERNEL_W": weight.shape[3],
        "STRIDE_H": node["strides"][0],
        "STRIDE_W": node["strides"][1],
    }


def _dense(build: Build, node: Node, weight: Array) -> None:
    config = build.config
    view = as_blocked(build, node.inputs[0])
    if any(node["pads"]):
        view = bordered(build, view, node["pads"], 0.0)
    residual = _residual(build, node)
    out = build.image_output(node.output)
    rows, columns = tile_area(build.graph, node)
    tile = best_tile(config, conv_key(build.graph, node), out.blocks, rows, columns)
    groups = -(-out.blocks // tile.blocks)
    activation, limits = _limits(node)
    knobs: dict[str, int | str] = {
        "TILE_H": tile.height,
        "TILE_W": tile.width,
        "BLOCKS": tile.blocks,
        **window_knobs(node, weight),
        "UNROLL": 4,
        "ACTIVATION": ACTIVATION_NUMBERS[activation],
        "RESIDUAL": int(bool(node.attributes.get("residual"))),
    }
    tiles_x, tiles_y = -(-columns // tile.width), -(-rows // tile.height)
    arguments: Arguments = {
        **read_from(view),
        "in_channels": weight.shape[1],
        **write_to(out),
        "tiles_x": tiles_x,
        "last_x": columns - tile.width,
        "last_y": rows - tile.height,
        "last_block": out.blocks - tile.blocks,
        "weights": build.constant(layout.pack_conv(weight, config.block, tile.blocks)),
        "bias": build.vector(node.inputs[2], config.block),
        "slope": _slope(build, node, config.block),
        **residual,
        **limits,
    }
    build.emit("conv", knobs, arguments, (tiles_x * tiles_y, groups, out.shape[0]), node.output)


def bordered(build: Build, view: View, pads: Shape, value: float, name: str = "") -> View:
    """A copy of a blocked image with a border (top, left, bottom, right)."""
    n, channels, height, width = view.shape
    top, left, bottom, right = pads
    shape = (n, channels, height + top + bottom, width + left + right)
    out = build.image_output(name) if name else build.new_blocked(shape)
    arguments: Arguments = {
        **read_from(view),
        "in_height": height,
        "in_width": width,
        **write_to(out),
        "out_width": shape[3],
        "top": top,
        "left": left,
        "value": float(value),
    }
    build.emit("border", {}, arguments, (shape[2], view.blocks, n), name)
    return out


def depthwise_knobs(node: Node, weight: Array, view: View, out: View, registers: int) -> dict[str, int | str]:
    """Knobs of a depthwise convolution: its tile, its window and the columns that may lie outside the image."""
    width, kernel_w, stride_w = out.shape[3], weight.shape[3], int(node["strides"][1])
    top, left = node["pads"][:2]
    tile = layout.depthwise_tile(width, kernel_w, stride_w, registers)
    return {
        "TILE_W": tile,
        **window_knobs(node, weight),
        "WIDE": (tile - 1) * stride_w + kernel_w,
        "TOP": top,
        "LEFT": left,
        "RIGHT": max(0, (width - 1) * stride_w + kernel_w - left - view.shape[3]),
    }


def _depthwise(build: Build, node: Node, weight: Array) -> None:
    config = build.config
    view = as_blocked(build, node.inputs[0])
    residual = _residual(build, node)
    out = build.image_output(node.output)
    n, _, height, width = out.shape
    activation, limits = _limits(node)
    knobs: dict[str, int | str] = {
        **depthwise_knobs(node, weight, view, out, config.registers),
        "ACTIVATION": ACTIVATION_NUMBERS[activation],
        "RESIDUAL": int(bool(node.attributes.get("residual"))),
    }
    arguments: Arguments = {
        **read_from(view),
        "in_height": view.shape[2],
        "in_width": view.shape[3],
        **write_to(out),
        "out_width": width,
        "weights": build.constant(layout.pack_depthwise(weight, config.block)),
        "bias": build.vector(node.inputs[2], config.block),
        "slope": _slope(build, node, config.block),
        **residual,
        **limits,
    }
    build.emit("depthwise", knobs, arguments, (height, out.blocks, n), node.output)


def _grouped(build: Build, node: Node, weight: Array) -> None:
    config, view = build.config, as_blocked(build, node.inputs[0])
    residual = _residual(build, node)
    out = build.image_output(node.output)
    n, channels, height, width = out.shape
    activation, limits = _limits(node)
    slopes = int(activation == "PRelu")
    knobs = {"IN_SPLIT": config.block, "SLOPES": slopes, "RESIDUAL": int(bool(node.attributes.get("residual")))}
    arguments: Arguments = {
        **read_from(view),
        "in_pixel": config.block,
        "in_lane": 1,
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
        "bias": build.vector(node.inputs[2], 1),
        "slope": _slope(build, node, 1),
        **residual,
        "activation": ACTIVATION_NUMBERS[activation],
        **limits,
    }
    build.emit("grouped", knobs, arguments, (height, channels, n), node.output)


def pool(build: Build, node: Node) -> None:
    """Windows of one channel."""
    view = as_blocked(build, node.inputs[0])
    if node.op == "GlobalAveragePool":
        kernel, strides, pads, kind, power = view.shape[2:], (1, 1), (0, 0, 0, 0), 1, 0.0
    else:
        kernel, strides, pads, power = node["kernel"], node["strides"], node["pads"], 0.0
        kind = {"MaxPool": 0, "AveragePool": 1, "LpPool": 3}[node.op]
        if node.op == "AveragePool" and not node["count_include_pad"]:
            kind = 2
        if node.op == "LpPool" and node["p"] != 2:
            kind, power = 4, float(node["p"])
    out = build.image_output(node.output)
    arguments: Arguments = {
        **read_from(view),
        "in_height": view.shape[2],
        "in_width": view.shape[3],
        **write_to(out),
        "out_width": out.shape[3],
        "kernel_h": kernel[0],
        "kernel_w": kernel[1],
        "stride_h": strides[0],
        "stride_w": strides[1],
        "top": pads[0],
        "left": pads[1],
        "power": power,
    }
    build.emit("pool", {"POOL": kind}, arguments, (out.shape[2], out.blocks, out.shape[0]), node.output)


def lrn(build: Build, node: Node) -> None:
    """Local response normalisation."""
    view = as_blocked(build, node.inputs[0])
    out = build.image_output(node.output)
    channels, reach = view.shape[1], min((node["size"] - 1) // 2, view.shape[1])
    knobs = {"CHANNELS": channels, "REACH": reach, "BETA_75": int(node["beta"] == 0.75)}
    arguments: Arguments = {
        **read_from(view),
        **write_to(out),
        "width": view.shape[3],
        "alpha": float(node["alpha"] / node["size"]),
        "beta": float(node["beta"]),
        "bias": float(node["bias"]),
    }
    build.emit("lrn", knobs, arguments, (view.shape[2], 1, view.shape[0]), node.output)


def gemm(build: Build, node: Node) -> None:
    """A dense layer; its input may be rows with gaps, but not numbers with gaps."""
    view = build.views[node.inputs[0]]
    if view.strides[1] != 1 and view.shape[1] > 1:
        view = to_plain(build, view)
    weight = build.graph.constants[node.inputs[1]]
    out = build.plain_output(node.output)
    block = build.config.block
    arguments: Arguments = {
        "in": place(view),
        "in_row": view.strides[0],
        "out": place(out),
        "out_row": out.strides[0],
        "size": weight.shape[1],
        "columns": weight.shape[0],
        "weights": build.constant(layout.pack_gemm(weight, block)),
        "bias": build.vector(node.inputs[2], block),
    }
    build.emit("gemm", {}, arguments, (layout.blocks(len(weight), block), view.shape[0], 1), node.output)


def pad(build: Build, node: Node) -> None:
    """A border around an image, or around anything."""
    view = build.views[node.inputs[0]]
    pads, rank = node["pads"], len(view.shape)
    if rank == 4 and not any(pads[axis] for axis in (0, 1, 4, 5)):
        bordered(
            build, as_blocked(build, node.inputs[0]), (pads[2], pads[3], pads[6], pads[7]), node["value"], node.output
        )
        return
    if rank > 5:
        raise unsupported(node, f"a border around {rank} axes")
    out = build.plain_output(node.output)
    copy(build, out, out, function="(TYPE)(as_float(low))", low=float(node["value"]))
    start = sum(pads[axis] * out.strides[axis] for axis in range(rank))
    inner = View(out.buffer, start, view.shape, out.strides)
    copy(build, view, inner, output=node.output)

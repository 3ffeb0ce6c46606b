"""Images of another height and width -> launches."""

from __future__ import annotations

import numpy as np

from facelet.graph.ir import Array, Node
from facelet.graph.resample import Taps, node_taps
from facelet.opencl.build import Build, read_from, write_to
from facelet.opencl.maps import NONE, Axis, as_blocked, emit_map


def resize(build: Build, node: Node) -> None:
    """Nearest neighbour: every pixel becomes a rectangle."""
    view = as_blocked(build, node.inputs[0])
    out = build.image_output(node.output)
    tall, wide = node["scale_h"], node["scale_w"]
    n, _, height, width = view.shape
    image, block, row, pixel = view.strides
    to_image, to_block, to_row, to_pixel = out.strides
    axes = [
        Axis(n, image, 0, to_image),
        Axis(view.blocks, block, 0, to_block),
        Axis(height, row, 0, to_row * tall),
        Axis(tall, 0, 0, to_row),
        Axis(width, pixel, 0, to_pixel * wide),
        Axis(wide, 0, 0, to_pixel),
    ]
    emit_map(build, axes, (view, out, NONE), (0, 0, 0), build.config.block, "v", 0.0, 0.0, node.output)


def resample(build: Build, node: Node) -> None:
    """Nearest neighbour or linear, to any size."""
    view = as_blocked(build, node.inputs[0])
    out = build.image_output(node.output)
    rows, columns = node_taps(node, *view.shape[2:])
    arguments = {
        **read_from(view),
        **write_to(out),
        "out_width": out.shape[3],
        "rows": build.constant(_table(rows)),
        "columns": build.constant(_table(columns)),
    }
    knobs = {"LINEAR": int(node["mode"] == "linear")}
    build.emit("resample", knobs, arguments, (out.shape[2], out.blocks, out.shape[0]), node.output)


def _table(taps: Taps) -> Array:
    """`(n, 3)` as resample.cl reads it."""
    return np.stack([taps.first, taps.second, taps.weight], axis=1).astype(np.float32)

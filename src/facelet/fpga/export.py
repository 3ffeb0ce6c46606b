"""Everything a board needs in one folder: kernels, their settings, the packed net, and a host program in C++.

| file | what |
|---|---|
| engine.cl, engine_config.h | the kernels and their settings, which the host reads too |
| model.bin | layer table, weights, lookup of pixels, facts; the host refuses one that the engine is too small for |
| layers.json | the layer table for people |
| facelet_host.cpp, cl_min.h, Makefile, board.mk | the host program and how everything is built |
| check.ppm, check.txt | an image of noise and the integers of its embedding, by the reference |
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facelet.atomic import write_files_atomic
from facelet.errors import GraphError
from facelet.fpga.boards import Board
from facelet.fpga.runner import queue_bytes
from facelet.fpga.settings import header, kernel_source, settings
from facelet.fpga.table import LayerTable, largest_taps
from facelet.graph import reference
from facelet.graph.ir import Array, Graph

HOST_FILES = ("facelet_host.cpp", "cl_min.h", "Makefile")
TAIL = ("DequantizeLinear", "Reshape", "LpNormalization")
"""Ops behind the last integers that the host's distance stands for."""

FLOWS = {"intel": "aocx", "amd": "xclbin"}
"""Target of the Makefile by vendor."""


def export(
    graph: Graph,
    table: LayerTable,
    board: Board,
    pixels: NDArray[np.float32],
    color: str,
    threshold: float,
    out: Path,
) -> list[Path]:
    """Writes the folder.

    Args:
        graph: that the table was made from.
        table: of the net.
        board: to build for.
        pixels: `(256, 3)` what the net takes for each value of a pixel, by the net's channel.
        color: "rgb" or "bgr", order of the net's channels.
        threshold: squared distance below which two faces are one person's.
        out: the folder.

    Returns:
        What was written.

    Raises:
        GraphError: the net does not end in one embedding.
        InputError: the folder cannot be written.
    """
    last = table.placement.places[table.output]
    rest = {node.op for node in graph.nodes if node.output not in {layer.tensor for layer in table.layers}}
    if last.height * last.width != 1 or not rest <= {"QuantizeLinear", "Concat", *TAIL}:
        raise GraphError(f"{graph.name}: does not end in one embedding, which the host would compare")
    macros = settings(table.config, largest_taps(table))
    order = [0, 1, 2] if color == "rgb" else [2, 1, 0]
    lookup = _lookup(graph, table, pixels)
    noise = np.random.default_rng(0).integers(0, 256, (*graph.shapes[graph.inputs[0]][2:], 3), np.uint8)
    seen = np.stack([pixels[noise[..., order[c]], c] for c in range(3)])
    parts = {
        "facts": _facts(table, macros, threshold).encode(),
        "table": table.rows().tobytes(),
        "dense_weights": table.dense_weights.tobytes(),
        "narrow_weights": table.narrow_weights.tobytes(),
        "params": table.params.tobytes(),
        "places": last.layout.astype(np.int32).tobytes(),
        "lookup": lookup.tobytes(),
        "color": bytes(order),
    }
    content: dict[str, bytes] = {
        "engine.cl": kernel_source().encode(),
        "engine_config.h": header(macros).encode(),
        "model.bin": pack_model(parts),
        "layers.json": json.dumps(_layers(table), indent=1).encode() + b"\n",
        "board.mk": f"# {board.name}: {board.device}\nFLOW = {FLOWS[board.vendor]}\n".encode(),
        "check.ppm": ppm(noise),
        "check.txt": _integers(graph, table, seen).encode(),
        **{name: files("facelet.fpga").joinpath(f"host/{name}").read_bytes() for name in HOST_FILES},
    }
    write_files_atomic({out / name: data for name, data in content.items()})
    return [out / name for name in content]


def pack_model(parts: Mapping[str, bytes]) -> bytes:
    """model.bin: "FACELET1", then the name (16 bytes), size (8 bytes, little endian) and content of each part."""
    packed = [b"FACELET1"]
    for name, data in parts.items():
        packed += [name.encode().ljust(16, b"\0"), len(data).to_bytes(8, "little"), data]
    return b"".join(packed)


def ppm(image: NDArray[np.uint8]) -> bytes:
    """An image `(h, w, 3)` as binary PPM."""
    return b"P6\n%d %d\n255\n" % (image.shape[1], image.shape[0]) + image.tobytes()


def _lookup(graph: Graph, table: LayerTable, pixels: NDArray[np.float32]) -> NDArray[np.int8]:
    """`(3, 256)` the engine's integer for each value of a pixel, by the net's channel."""
    node = next(node for node in graph.nodes if node.output == table.input)
    return np.asarray(reference.run_node(node, [np.ascontiguousarray(pixels.T, np.float32)]), np.int8)


def _integers(graph: Graph, table: LayerTable, crop: Array) -> str:
    """The integers of an embedding, by the reference, in one line."""
    values = reference.run(graph, {graph.inputs[0]: crop[None]}, every=True)[table.output]
    return " ".join(str(int(value)) for value in values.reshape(-1)) + "\n"


def _facts(table: LayerTable, macros: Mapping[str, int], threshold: float) -> str:
    """Numbers for the host, one a line."""
    vec, places = table.config.vec_size, table.placement.places
    image, last = places[table.input], places[table.output]
    facts: dict[str, int | float] = {
        **macros,
        "layers": len(table.layers),
        "height": image.height,
        "width": image.width,
        "input_blocks": image.blocks,
        "input_offset": image.offset * vec,
        "output_offset": last.offset * vec,
        "output_bytes": last.vectors * vec,
        "embedding_size": len(last.layout),
        "arena_bytes": table.placement.vectors * vec,
        "threshold": threshold,
        **{f"queue.{name}": size for name, size in queue_bytes(table).items()},
    }
    return "".join(f"{name} {value!r}\n" for name, value in facts.items())


def _layers(table: LayerTable) -> list[dict[str, object]]:
    return [{"name": layer.shape.name, "type": layer.shape.kind, **layer.row} for layer in table.layers]

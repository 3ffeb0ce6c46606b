"""Which register tile a convolution gets: tuned, or by a model of how many instructions each would take."""

from __future__ import annotations

from facelet.graph.ir import Graph, Node
from facelet.opencl.config import Config, Tile

GRID: tuple[tuple[int, int], ...] = (
    *((1, width) for width in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 24)),
    *((2, width) for width in (2, 3, 4, 5, 6)),
    *((3, width) for width in (3, 4)),
)
"""Heights and widths of tiles that are tried."""

BLOCKS = (1, 2, 3, 4, 5)


def tile_area(graph: Graph, node: Node) -> tuple[int, int]:
    """Rows and columns of a convolution's output; a pointwise one takes the image as one row."""
    height, width = graph.shapes[node.output][2:]
    kernel = graph.shapes[node.inputs[1]][2:]
    pointwise = (*kernel, *node["strides"]) == (1, 1, 1, 1)
    return (1, height * width) if pointwise else (height, width)


def conv_key(graph: Graph, node: Node) -> str:
    """Names a convolution in the table of tuned tiles: kernel, stride, channels in and out, rows and columns out."""
    out, into, *kernel = graph.shapes[node.inputs[1]]
    pairs = (kernel, node["strides"], (into, out), tile_area(graph, node))
    return "-".join("x".join(map(str, pair)) for pair in pairs)


def candidates(config: Config, out_blocks: int, height: int, width: int) -> list[Tile]:
    """Tiles whose numbers fit into the registers, and which fit into the image."""
    return [
        Tile(tall, wide, blocks)
        for tall, wide in GRID
        for blocks in BLOCKS
        if tall <= height
        and wide <= width
        and blocks <= out_blocks
        and tall * wide * blocks + blocks + 1 <= config.registers
    ]


def cost(tile: Tile, out_blocks: int, height: int, width: int) -> float:
    """Cycles per input channel, in a model: two multiply-adds or two loads a cycle, at least four of the latter.

    Eight sums must be under way to hide the latency of an addition.
    """
    pixels = tile.height * tile.width
    sums = pixels * tile.blocks
    turn = max(sums, pixels + tile.blocks, 8) / 2 + 0.25 * pixels / 2 + 1
    tiles = -(-height // tile.height) * -(-width // tile.width) * -(-out_blocks // tile.blocks)
    return tiles * turn


def best_tile(config: Config, key: str, out_blocks: int, height: int, width: int) -> Tile:
    """The tile for a convolution whose output has so many blocks, rows and columns."""
    fitting = candidates(config, out_blocks, height, width)
    if key in config.tiles and config.tiles[key] in fitting:
        return config.tiles[key]
    return min(fitting, key=lambda tile: cost(tile, out_blocks, height, width))

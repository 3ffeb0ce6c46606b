"""Where the numbers of a tensor lie: plain rows, or images in blocks of channels; and weights as the kernels read them.

A blocked image is `(n, channels / block, h, w, block)`: a vector holds neighbouring channels of one pixel. Channels
beyond the last are whatever is there; no kernel lets them reach a real channel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from facelet.graph.ir import Array, Shape


@dataclass(frozen=True)
class View:
    """A tensor in a buffer.

    Attributes:
        buffer: number of the buffer.
        offset: of the first number, in floats.
        shape: of the tensor.
        strides: of each axis, in floats; of the channels of a blocked image, from block to block.
        block: channels of a block, or 0 for plain layout.
        int8: whether the numbers of a block are bytes; strides still count floats.
    """

    buffer: int
    offset: int
    shape: Shape
    strides: Shape
    block: int = 0
    int8: bool = False

    @property
    def blocks(self) -> int:
        """Blocks of a blocked image."""
        return blocks(self.shape[1], self.block)

    @property
    def contiguous(self) -> bool:
        """Whether it is plain and without gaps."""
        return not self.block and all(
            size == 1 or stride == wanted
            for size, stride, wanted in zip(self.shape, self.strides, plain_strides(self.shape), strict=True)
        )

    def slice_channels(self, start: int, count: int) -> View:
        """Some channels of a blocked image; `start` is a multiple of the block."""
        shape = (self.shape[0], count, *self.shape[2:])
        return replace(self, offset=self.offset + start // self.block * self.strides[1], shape=shape)


def blocks(channels: int, block: int) -> int:
    """Blocks that hold so many channels."""
    return -(-channels // block)


def plain_strides(shape: Shape) -> Shape:
    """Strides of rows without gaps."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def plain(buffer: int, shape: Shape) -> View:
    """A tensor as NumPy lays it out."""
    return View(buffer, 0, shape, plain_strides(shape))


def planes(buffer: int, shape: Shape, border: Shape) -> View:
    """An image as planes with a border (top, left, bottom, right)."""
    top, left, bottom, right = border
    row = shape[3] + left + right
    plane = row * (shape[2] + top + bottom)
    return View(buffer, top * row + left, shape, (shape[1] * plane, plane, row, 1))


def blocked(buffer: int, shape: Shape, block: int) -> View:
    """An image in blocks of channels."""
    _, channels, height, width = shape
    area = height * width * block
    return View(buffer, 0, shape, (blocks(channels, block) * area, area, width * block, block), block)


def blocked_int8(buffer: int, shape: Shape, block: int) -> View:
    """An image of bytes in blocks of channels, a multiple of four."""
    _, channels, height, width = shape
    words = block // 4
    area = height * width * words
    strides = (blocks(channels, block) * area, area, width * words, words)
    return View(buffer, 0, shape, strides, block, int8=True)


def floats(view: View) -> int:
    """What a whole buffer of this layout takes, without a border."""
    if view.int8:
        return view.shape[0] * view.strides[0]
    if view.block:
        return view.shape[0] * view.blocks * view.shape[2] * view.shape[3] * view.block
    return math.prod(view.shape)


def _padded_to(array: Array, axis: int, multiple: int) -> Array:
    short = -array.shape[axis] % multiple
    if not short:
        return array
    return np.pad(array, [(0, short if i == axis else 0) for i in range(array.ndim)])


def pack_vector(values: Array, multiple: int) -> Array:
    """Numbers per channel, filled up with zeros."""
    return _padded_to(values.reshape(-1), 0, multiple)


def _groups(weight: Array, block: int, group_blocks: int) -> Iterator[Array]:
    """Groups of output blocks; the last overlaps its neighbour where the blocks do not divide."""
    padded = _padded_to(weight, 0, block)
    n_blocks = len(padded) // block
    for first in range(0, n_blocks, group_blocks):
        start = min(first, n_blocks - group_blocks) * block
        yield padded[start : start + group_blocks * block]


def pack_conv(weight: Array, block: int, group_blocks: int, out_block: int | None = None) -> Array:
    """Weights `(out, in, kh, kw)` as conv.cl reads them, per group of output blocks.

    The last block of inputs is as short as it is.

    Args:
        block: of the input's channels.
        out_block: of the output's channels; the same without it.
    """
    parts = []
    for group in _groups(weight, out_block or block, group_blocks):
        for channel in range(0, weight.shape[1], block):
            parts.append(group[:, channel : channel + block].transpose(2, 3, 1, 0).reshape(-1))
    return np.concatenate(parts)


def pack_int8_conv(weight: Array, block: int, out_block: int, group_blocks: int) -> Array:
    """Integer weights as int8_conv.cl reads them with VNNI: four bytes to a float."""
    padded = _padded_to(weight, 1, 4)
    parts = []
    for group in _groups(padded, out_block, group_blocks):
        for channel in range(0, padded.shape[1], block):
            part = group[:, channel : channel + block]
            words = part.reshape(len(part), -1, 4, *part.shape[2:])  # (out, words, 4, kh, kw)
            parts.append(words.transpose(3, 4, 1, 0, 2).reshape(-1).astype(np.int8))
    return np.concatenate(parts).view(np.float32)


def depthwise_tile(width: int, kernel_w: int, stride_w: int, registers: int) -> int:
    """Output pixels of a tile of a depthwise convolution: the fewest instructions among those that fit."""

    def needed(tile: int) -> int:
        return tile + (tile - 1) * stride_w + kernel_w + 1

    fitting = [t for t in range(1, min(width, 12) + 1) if t == 1 or needed(t) <= registers]
    return min(fitting, key=lambda t: -(-width // t) * (needed(t) + t * kernel_w))


def pack_stem(weight: Array, block: int, tile_blocks: int) -> Array:
    """Weights `(out, in, kh, kw)` as stem.cl reads them."""
    wide = block * tile_blocks
    grouped = _padded_to(weight, 0, wide).reshape(-1, wide, *weight.shape[1:])
    return grouped.transpose(0, 2, 3, 4, 1).reshape(-1)


def pack_depthwise(weight: Array, block: int) -> Array:
    """Weights `(channels, 1, kh, kw)` as depthwise.cl reads them."""
    grouped = _padded_to(weight, 0, block).reshape(-1, block, *weight.shape[2:])
    return grouped.transpose(0, 2, 3, 1).reshape(-1)


def pack_gemm(weight: Array, block: int) -> Array:
    """Weights `(out, in)` as gemm.cl reads them."""
    return _padded_to(weight, 0, block).reshape(-1, block, weight.shape[1]).transpose(0, 2, 1).reshape(-1)

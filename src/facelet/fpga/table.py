"""The layer table that the engine runs: one `Layer` per convolution, pool, border and copy; `lower` makes it.

`FIELDS` names what a row holds; the kernels' `layer_t` and the host's are written from the same names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facelet.fpga.cost import DENSE, DEPTHWISE, POOL, LayerShape
from facelet.fpga.engine import EngineConfig
from facelet.fpga.placement import Placement

KINDS = (DENSE, DEPTHWISE, POOL)
"""A layer's kind in the table is its place here."""

FIELDS = (
    "kind",
    "in_offset",
    "in_h",
    "in_w",
    "out_offset",
    "out_blocks",
    "out_h",
    "out_w",
    "kernel_h",
    "kernel_w",
    "stride_h",
    "stride_w",
    "pad_top",
    "pad_left",
    "deep",
    "groups",
    "columns",
    "stay",
    "weights",
    "params",
    "residual",
    "residual_offset",
    "low",
    "high",
)
"""Of a row: offsets of maps in vectors of VEC_SIZE bytes, of weights in vectors of the array, of `params` in numbers;
`deep` vectors per pixel, `groups` passes over the image, `columns` of a window, `stay`: a pass reads weights once."""

MOST_TAPS = 64
"""Places of the largest depthwise window that the engine is built for, unless a net needs more."""


@dataclass(frozen=True)
class Layer:
    """One row.

    Attributes:
        shape: what the cost model sees; its name is that of the tensor that the layer writes.
        row: values of `FIELDS`.
        tensor: name in the graph of what it writes.
    """

    shape: LayerShape
    row: Mapping[str, int]
    tensor: str


@dataclass(frozen=True, eq=False)
class LayerTable:
    """Everything the engine needs to run one net.

    Attributes:
        name: of the net.
        config: of the engine, its window buffers large enough.
        layers: in order.
        placement: of every map.
        input: name of the net's input map; it is written by the host.
        output: name of the last map; it is read by the host.
        input_fraction: the host multiplies the normalised pixels by 2^input_fraction and rounds.
        output_fraction: an output integer q stands for q / 2^output_fraction.
        dense_weights: `(n, lane_num, vec_size)` int8.
        narrow_weights: `(n, dw_lanes)` int8.
        params: `(n,)` int32, see `pack.PARAMS`.
    """

    name: str
    config: EngineConfig
    layers: tuple[Layer, ...]
    placement: Placement
    input: str
    output: str
    input_fraction: int
    output_fraction: int
    dense_weights: NDArray[np.int8]
    narrow_weights: NDArray[np.int8]
    params: NDArray[np.int32]

    def rows(self) -> NDArray[np.int32]:
        """`(layers, fields)`."""
        return np.array([[layer.row[name] for name in FIELDS] for layer in self.layers], np.int32)

    def to_arena(self, name: str, values: NDArray[np.int8]) -> NDArray[np.int8]:
        """A map as it lies in memory.

        Args:
            values: `(c, h, w)`.

        Returns:
            `(blocks, h, w, vec_size)`.
        """
        at, vec = self.placement.places[name], self.config.vec_size
        wide = np.zeros((at.blocks * vec, at.height, at.width), np.int8)
        wide[at.layout] = values
        return wide.reshape(at.blocks, vec, at.height, at.width).transpose(0, 2, 3, 1)

    def from_arena(self, name: str, arena: NDArray[np.int8]) -> NDArray[np.int8]:
        """A map `(c, h, w)` out of the arena's bytes."""
        at, vec = self.placement.places[name], self.config.vec_size
        raw = arena[at.offset * vec : (at.offset + at.vectors) * vec].reshape(at.blocks, at.height, at.width, vec)
        wide = raw.transpose(0, 3, 1, 2).reshape(at.blocks * vec, at.height, at.width)
        return np.asarray(wide[at.layout])


def largest_taps(table: LayerTable) -> int:
    """Places of the largest depthwise window that an engine for this net, and small others, needs."""
    narrow = [layer.shape.taps for layer in table.layers if layer.shape.kind == DEPTHWISE]
    return max(MOST_TAPS, *narrow) if narrow else MOST_TAPS

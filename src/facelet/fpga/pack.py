"""Weights and requantization constants in the order in which the engine reads them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facelet.fpga.engine import EngineConfig
from facelet.fpga.placement import Layout
from facelet.graph.int8 import residual_shifts, shifts
from facelet.graph.ir import Array, Node

PARAMS = ("bias", "shift", "slope", "slope_shift", "residual_shift")
"""Of each channel: added to its sum; bits to the right; factor of negative sums and bits to the right behind it; bits
that a residual is shifted to the left. For each lane group there is one row of lanes of each, in this order."""

LARGEST_SHIFT = 26
"""Sums stay below 2^24, so that any larger shift gives zero as this one does, and all fit 32 bits."""

IDENTITY = Node("Int8Conv", (), "", {"x_fraction": 0, "fraction": 0, "residual": False, "slopes": False})
"""Stands for the requantization that changes nothing."""


def pack_dense(
    weight: Array, groups: int, into: Layout, out: Layout, places: tuple[int, int], config: EngineConfig
) -> NDArray[np.int8]:
    """The weights of a convolution.

    Args:
        weight: integers `(m, c / groups, kh, kw)`.
        groups: of the convolution; the products between groups become weights of zero.
        into: layout of the input.
        out: layout of the output.
        places: channels in memory of the input, and of all lane groups of the output.

    Returns:
        `(lane groups, places / vec_size, kh, kw, lane_num, vec_size)` int8.
    """
    deep, wide = places
    members, depth, kh, kw = weight.shape
    full = np.zeros((wide, deep, kh, kw), np.int8)
    for group in range(groups):
        rows = slice(group * (members // groups), (group + 1) * (members // groups))
        channels = into[group * depth : (group + 1) * depth]
        full[np.ix_(out[rows], channels)] = weight[rows].astype(np.int8)
    parts = full.reshape(-1, config.lane_num, deep // config.vec_size, config.vec_size, kh, kw)
    return np.ascontiguousarray(parts.transpose(0, 2, 4, 5, 1, 3))


def pack_depthwise(weight: Array, out: Layout, places: int, lanes: int) -> NDArray[np.int8]:
    """The weights of a depthwise convolution.

    Args:
        weight: integers `(c, 1, kh, kw)`.
        out: layout of input and output.
        places: channels of all lane groups.
        lanes: of one.

    Returns:
        `(lane groups x kh x kw, lanes)` int8.
    """
    full = np.zeros((places, *weight.shape[2:]), np.int8)
    full[out] = weight[:, 0].astype(np.int8)
    parts = full.reshape(-1, lanes, *weight.shape[2:])
    return np.ascontiguousarray(parts.transpose(0, 2, 3, 1)).reshape(-1, lanes)


def pack_params(
    node: Node,
    bias: Array,
    fractions: Array,
    slopes: tuple[Array, ...] | None,
    out: Layout,
    places: int,
    lanes: int,
) -> NDArray[np.int32]:
    """`PARAMS` of a layer; a channel without a slope has the slope 1.

    Args:
        node: an Int8Conv.
        bias: integers `(m,)`.
        fractions: of the weights `(m,)`.
        slopes: integers `(m,)` and their fractions `(m,)`.
        out: layout of the output.
        places: channels of all lane groups.
        lanes: of one.

    Returns:
        `(lane groups x 5 x lanes,)`.
    """
    shift = shifts(node, fractions)
    slope = np.ones(len(bias)) if slopes is None else slopes[0]
    behind = shift if slopes is None else shift + slopes[1].astype(np.int64)
    left = residual_shifts(node, fractions) if node["residual"] else np.zeros(len(bias))
    full = np.zeros((len(PARAMS), places), np.int32)
    clipped = (np.minimum(shift, LARGEST_SHIFT), slope, np.minimum(behind, LARGEST_SHIFT))
    for row, values in zip(full, (bias, *clipped, left), strict=True):
        row[out] = values
    return np.ascontiguousarray(full.reshape(len(PARAMS), -1, lanes).transpose(1, 0, 2)).reshape(-1)

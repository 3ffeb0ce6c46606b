"""Weights in the order in which kernels read them; see `render` for the layouts."""

from __future__ import annotations

import numpy as np

from facelet.graph.ir import Array


def channels(array: Array, vector: int, fill: float = 0.0) -> Array:
    """One number per channel, filled up to whole blocks."""
    out = np.full(-(-len(array) // vector) * vector, fill, np.float32)
    out[: len(array)] = array
    return out


def dense(weight: Array, vector: int, blocks: int, *, planar: bool) -> Array:
    """`(m, c, kh, kw)` as [group][input block][ky][kx][channel][block][V]; the last input block as long as it is.

    Args:
        blocks: channel blocks of a group.
        planar: input channels are planes: [group][channel][ky][kx][block][V].
    """
    m, c, kh, kw = weight.shape
    group = blocks * vector
    filled = np.zeros((-(-m // group) * group, c, kh, kw), np.float32)
    filled[:m] = weight
    grouped = filled.reshape(-1, group, c, kh, kw).transpose(0, 2, 3, 4, 1)  # [group][c][ky][kx][block V]
    if planar:
        return np.ascontiguousarray(grouped)
    parts = []
    for start in range(0, c, vector):
        part = grouped[:, start : start + vector]  # [group][channel][ky][kx][block V]
        parts.append(part.transpose(0, 2, 3, 1, 4).reshape(len(part), -1))
    return np.ascontiguousarray(np.concatenate(parts, axis=1))


def depthwise(weight: Array, vector: int) -> Array:
    """`(c, 1, kh, kw)` as [block][ky][kx][V]."""
    c, _, kh, kw = weight.shape
    filled = np.zeros((-(-c // vector) * vector, kh, kw), np.float32)
    filled[:c] = weight[:, 0]
    return np.ascontiguousarray(filled.reshape(-1, vector, kh, kw).transpose(0, 2, 3, 1))


def gemm(weight: Array, vector: int) -> Array:
    """`(m, k)` as [block][input][V]."""
    m, k = weight.shape
    filled = np.zeros((-(-m // vector) * vector, k), np.float32)
    filled[:m] = weight
    return np.ascontiguousarray(filled.reshape(-1, vector, k).transpose(0, 2, 1))

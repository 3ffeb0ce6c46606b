"""Cycles of one layer on the engine: `layer_cost`, a pure function of shape, configuration and bandwidth.

The dense array runs, for every group of LANE_NUM output channels, every row, and every window of GP columns, the taps
of each output: `ceil(C / VEC) * K * K` iterations of one cycle. While it works on a window,

* the weights of the lane group are read, for every window, or for the first one alone where they fit the weight
  buffer: one vector of VEC * LANE bytes whenever all columns of the window have seen the one before; in PipeCNN one in
  each iteration of the window's first output,
* the next window is read into the other half of the window buffer, one vector of VEC bytes per iteration.

An iteration lasts as long as its bytes need on the bus, one cycle at least. Of that waiting, the bytes are spared that
the memory unit has read ahead while the bus was idle. A layer also pays for its first window and for the pipeline.

The depthwise array does the same with one channel group for input and output: vectors of DW_LANES bytes, K * K
iterations per output. Max pools pass through as a depthwise layer of LANE_NUM channels without weights.

Source: the loop nest of PipeCNN (Wang, Xu and Jiang, FPT 2017, and its kernels); checked against its measured times
in `validate`.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from facelet.errors import GraphError
from facelet.fpga.engine import EngineConfig

DENSE, DEPTHWISE, POOL = "dense", "depthwise", "pool"


@dataclass(frozen=True)
class LayerShape:
    """One layer as the engine runs it; a batch of images is a higher output.

    Attributes:
        name: for tables.
        kind: `DENSE` (also in groups), `DEPTHWISE` or `POOL`.
        in_channels: of all groups together.
        out_channels: of all groups together.
        out_h: rows of the output.
        out_w: its columns.
        kernel_h: rows of the window.
        kernel_w: its columns.
        stride_w: columns between neighbouring windows.
        groups: of a dense convolution.
        residual: a tensor of the output's size is read and added.
    """

    name: str
    kind: str
    in_channels: int
    out_channels: int
    out_h: int
    out_w: int
    kernel_h: int = 1
    kernel_w: int = 1
    stride_w: int = 1
    groups: int = 1
    residual: bool = False

    @property
    def taps(self) -> int:
        """Pixels of the window."""
        return self.kernel_h * self.kernel_w

    @property
    def macs(self) -> int:
        """Multiply-accumulates; 0 for pools."""
        if self.kind == POOL:
            return 0
        depth = self.in_channels // self.groups if self.kind == DENSE else 1
        return self.out_channels * self.out_h * self.out_w * self.taps * depth


@dataclass(frozen=True)
class LayerCost:
    """What a layer costs. Every figure is an estimate.

    Attributes:
        shape: of the layer.
        iterations: of the array, one cycle each were memory infinitely fast.
        stalls: cycles that it waits for weights and windows.
        memory_cycles: that the bus needs for all the bytes.
        fill: cycles for the first window and the pipeline.
        weight_bytes: read.
        input_bytes: read, windows and residual.
        output_bytes: written.
    """

    shape: LayerShape
    iterations: int
    stalls: float
    memory_cycles: float
    fill: float
    weight_bytes: int
    input_bytes: int
    output_bytes: int

    @property
    def cycles(self) -> float:
        """In all: the array with its stalls or the bus, whichever takes longer, and the fill."""
        return max(self.iterations + self.stalls, self.memory_cycles) + self.fill

    @property
    def bytes(self) -> int:
        """Read and written."""
        return self.weight_bytes + self.input_bytes + self.output_bytes

    @property
    def bound(self) -> str:
        """What most of the cycles go to: "compute", "memory" or "fill"."""
        waiting = max(self.stalls, self.memory_cycles - self.iterations)
        return max((self.iterations, "compute"), (waiting, "memory"), (self.fill, "fill"))[1]


def lane_groups(shape: LayerShape, config: EngineConfig) -> int:
    """Passes over the image: groups of output channels that are computed at once."""
    if shape.kind == DENSE:
        return shape.groups * _up(shape.out_channels // shape.groups, config.lane_num)
    lanes = config.lane_num if shape.kind == POOL else config.dw_lanes
    if lanes < 1:
        raise GraphError(f"{shape.name}: a depthwise layer, and the engine has no depthwise array; set dw_lanes")
    return _up(shape.out_channels, lanes)


def iterations_per_output(shape: LayerShape, config: EngineConfig) -> int:
    """Cycles of the array for one pixel of one lane group."""
    if shape.kind != DENSE:
        return shape.taps
    return shape.taps * _up(shape.in_channels // shape.groups, config.vec_size)


def window_vectors(shape: LayerShape, config: EngineConfig, columns: int) -> int:
    """Input vectors under the window of some neighbouring outputs."""
    deep = _up(shape.in_channels // shape.groups, config.vec_size) if shape.kind == DENSE else 1
    return shape.kernel_h * ((columns - 1) * shape.stride_w + shape.kernel_w) * deep


def vector_bytes(shape: LayerShape, config: EngineConfig) -> tuple[int, int, int]:
    """Bytes of one vector of weights, of input and of output."""
    if shape.kind == DENSE:
        return config.macs_per_cycle, config.vec_size, config.lane_num
    if shape.kind == DEPTHWISE:
        return config.dw_lanes, config.dw_lanes, config.dw_lanes
    return 0, config.lane_num, config.lane_num


def window_columns(shape: LayerShape, config: EngineConfig) -> int:
    """Columns of a layer's windows, the last of a row aside."""
    if not config.even_windows:
        return min(config.gp, shape.out_w)
    return _up(shape.out_w, _up(shape.out_w, config.gp))


def window_pairs(shape: LayerShape, config: EngineConfig) -> dict[tuple[int, int], int]:
    """How many windows of one lane group have so many columns, and their next one so many.

    After the last window of a lane group comes the first of the next; the very last is counted as if one came.
    """
    columns = window_columns(shape, config)
    full, rest = divmod(shape.out_w, columns)
    row = [columns] * full + ([rest] if rest else [])
    return {pair: n * shape.out_h for pair, n in Counter(zip(row, row[1:] + row[:1], strict=True)).items()}


def weights_stay(shape: LayerShape, config: EngineConfig) -> bool:
    """Whether a lane group's weights are read once; the depthwise array always holds its K * K vectors."""
    if shape.kind != DENSE:
        return True
    return iterations_per_output(shape, config) * config.macs_per_cycle <= config.weight_buffer


def window_stalls(
    columns: int,
    item: int,
    window: int,
    load: bool,
    sizes: tuple[int, int],
    read_ahead: int,
    bytes_per_cycle: float,
    held: bool = False,
) -> float:
    """Cycles that the array waits during one window: for bytes, or for a next window longer than its own work.

    What was read ahead is spared, at most one vector per iteration that reads no weights.

    Args:
        columns: outputs of the window.
        item: iterations per output.
        window: vectors of the next window.
        load: weights are read.
        sizes: bytes of a vector of weights and of input.
        read_ahead: bytes that may be there before they are needed.
        bytes_per_cycle: of the bus.
        held: a vector of weights is read when it is needed and held for all columns; false: all of them are read
            during the first output.
    """
    weight_size, input_size = (float(size) for size in sizes)
    if held and load:
        weight_size, item, columns = weight_size / columns, columns * item, 1
    loads = item if load else 0
    length = max(columns * item, window)
    both = min(loads, window)
    cycles = (
        both * max(1.0, (weight_size + input_size) / bytes_per_cycle)
        + (loads - both) * max(1.0, weight_size / bytes_per_cycle)
        + (window - both) * max(1.0, input_size / bytes_per_cycle)
    )
    waited = cycles - max(loads, window)
    slack = (loads - both) * max(0.0, 1 - weight_size / bytes_per_cycle) if held else length - loads
    spared = min(read_ahead / bytes_per_cycle, slack, waited) if load else 0.0
    return waited - spared + length - columns * item


def layer_cost(shape: LayerShape, config: EngineConfig, bytes_per_cycle: float) -> LayerCost:
    """Cycles and bytes of a layer.

    Raises:
        GraphError: the layer needs an array that the engine has not.
    """
    passes, item = lane_groups(shape, config), iterations_per_output(shape, config)
    weight_size, input_size, output_size = vector_bytes(shape, config)
    pairs, stay = window_pairs(shape, config), weights_stay(shape, config)

    def vectors(columns: int) -> int:
        return window_vectors(shape, config, columns)

    def stalls(pair: tuple[int, int], load: bool) -> float:
        sizes = (weight_size, input_size)
        ahead, held = config.read_ahead, config.weights_held
        return window_stalls(pair[0], item, vectors(pair[1]), load, sizes, ahead, bytes_per_cycle, held)

    waited = passes * sum(n * stalls(pair, not stay) for pair, n in pairs.items())
    first = next(iter(pairs))
    if stay:
        waited += passes * (stalls(first, True) - stalls(first, False))
    weight_bytes = passes * (1 if stay else sum(pairs.values())) * item * weight_size
    output_bytes = shape.out_h * shape.out_w * passes * output_size
    input_bytes = passes * sum(n * vectors(pair[0]) for pair, n in pairs.items()) * input_size
    input_bytes += shape.residual * output_bytes
    opening = vectors(first[0]) * max(1.0, input_size / bytes_per_cycle)
    return LayerCost(
        shape=shape,
        iterations=passes * shape.out_h * shape.out_w * item,
        stalls=waited,
        memory_cycles=(weight_bytes + input_bytes + output_bytes) / bytes_per_cycle,
        fill=opening + config.pipeline_cycles,
        weight_bytes=weight_bytes,
        input_bytes=input_bytes,
        output_bytes=output_bytes,
    )


def loop_trips(shape: LayerShape, config: EngineConfig) -> tuple[int, int]:
    """How often the memory unit's loop runs: before the first product, and from then on; the kernels count the same."""
    cost = layer_cost(shape, config, math.inf)
    last, first = list(window_pairs(shape, config))[-1]
    none = max(0, window_vectors(shape, config, first) - last * iterations_per_output(shape, config))
    return round(cost.fill - config.pipeline_cycles), round(cost.iterations + cost.stalls) - none


def _up(whole: int, part: int) -> int:
    return math.ceil(whole / part)

"""How wide the engine is built: `EngineConfig`, and PipeCNN's own builds as presets."""

from __future__ import annotations

from dataclasses import dataclass

from facelet.errors import InputError

READ_AHEAD = 2_600
"""Bytes that the memory unit fetches ahead while the array is busy; fitted to AlexNet L1 on the DE1-SoC."""

PIPELINE_CYCLES = 300
"""From the first read of a layer to its first write.

Source: an assumption, too small to be seen in any published time (2.4 us of 1.6 ms at least).
"""


@dataclass(frozen=True)
class EngineConfig:
    """One build of the engine.

    Attributes:
        vec_size: input channels that the dense array takes per cycle.
        lane_num: output channels that it computes at once; it does vec_size x lane_num int8 MACs per cycle.
        dw_lanes: channels of the depthwise array, one tap per cycle each; 0: not built.
        gp: neighbouring output columns that share one cached window of the input.
        weight_buffer: bytes; a lane group's weights that fit are read once, others once per `gp` outputs.
        window_buffer: bytes of one of the two halves of the dense array's window cache.
        dw_window_buffer: the same for the depthwise array and the pools.
        read_ahead: bytes that the memory unit holds for an array that is not ready.
        pipeline_cycles: latency from memory read to memory write, paid per layer.
        launch_per_layer: the host starts every layer; false: one launch runs the net from a table in memory.
        weights_held: a vector of weights is read when it is needed and held for all columns of a window; false: all
            vectors of a window are read during its first output, into a buffer.
        even_windows: the windows of a row are no more than gp needs and of one width, the last one narrower where that
            does not divide the row; false: of gp columns, and the rest.
    """

    vec_size: int
    lane_num: int
    dw_lanes: int = 0
    gp: int = 7
    weight_buffer: int = 0
    window_buffer: int = 0
    dw_window_buffer: int = 0
    read_ahead: int = READ_AHEAD
    pipeline_cycles: int = PIPELINE_CYCLES
    launch_per_layer: bool = True
    weights_held: bool = True
    even_windows: bool = True

    def __post_init__(self) -> None:
        if min(self.vec_size, self.lane_num, self.gp) < 1 or min(self.dw_lanes, self.weight_buffer) < 0:
            raise InputError(f"engine {self}: vec_size, lane_num and gp must be 1 or more, the others 0 or more")

    def __str__(self) -> str:
        return (
            f"VEC {self.vec_size}, LANE {self.lane_num}, DW {self.dw_lanes}, GP {self.gp}, "
            f"weights {self.weight_buffer // 1024} KiB"
        )

    @property
    def macs_per_cycle(self) -> int:
        """Of the dense array."""
        return self.vec_size * self.lane_num


PIPECNN_WEIGHT_VECTORS = 9_216
"""Weight vectors (VEC x LANE bytes) that the paper's PipeCNN keeps on chip.

Source: not verified: WEIGHT_BUF_SIZE of its hw_param.cl from memory. It agrees with figure 6 of the paper: 9,216
words are 18 M20K deep, or 3.6 M20K per VEC x LANE of the 5.2 that are fitted.
"""


def pipecnn(vec_size: int, lane_num: int, *, cached: bool) -> EngineConfig:
    """PipeCNN as built with these widths.

    Args:
        vec_size: VEC_SIZE.
        lane_num: LANE_NUM (CU in the paper).
        cached: a lane group's weights stay on chip (the paper's builds); else they are read again per window.
    """
    weights = PIPECNN_WEIGHT_VECTORS * vec_size * lane_num if cached else 0
    return EngineConfig(
        vec_size, lane_num, gp=7, weight_buffer=weights, window_buffer=2**20, weights_held=False, even_windows=False
    )

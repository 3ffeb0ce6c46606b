"""What an engine takes of a board: logic, DSP blocks, on-chip RAM. Estimates, not a place-and-route.

| part | estimate | from |
|---|---|---|
| DSP | 36 for addresses and control, a MAC's share of a block, one block per finished channel for slopes | PipeCNN |
| logic, Intel | 13,100 ALM, 12.6 per MAC, 248 per lane of either array, 64 per finished channel | PipeCNN |
| logic, AMD | the same ALMs, 1.66 LUT each: 2.65 LE per ALM, 1.6 logic cells per LUT6 | the vendors |
| RAM | each buffer as wide and deep as it is, two blocks' depth per memory port, 30 for control | structure |
| RAM, Intel | and 1.6 blocks per MAC for the wide weight channel and its memory unit | PipeCNN |

Finished channels are those that bias, requantization, activation and residual take per cycle, the wider array's lanes.
A port is as wide as its vector, 64 bytes at most.

The 12.6 and 248 are PipeCNN's 33.4 and 652 LE (`pipecnn`) at 2.65 LE per ALM; the 13,100 are the 45K LE of its DE1-SoC
build (FPT 2017, table I) less those slopes and the board's shell. Of its 5.2 M20K per MAC a weight buffer of 9,216
words explains 3.6, and the 1.6 are the rest; on AMD such channels are taken to be LUT RAM. The 36 are `pipecnn`'s. The
64, the 30 and the two blocks' depth are assumptions, and so is that a depthwise lane costs what a dense lane with one
MAC does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from facelet.errors import BoardError
from facelet.fpga.boards import LARGEST_ARRAY, Board
from facelet.fpga.cost import DENSE, LayerShape, window_columns, window_vectors
from facelet.fpga.engine import EngineConfig

BASE_DSP = 36
BASE_ALM = 13_100
ALM_PER_MAC = 12.6
ALM_PER_LANE = 248
ALM_PER_FINISH = 64
LUT_PER_ALM = 1.66
BASE_RAM = 30
PORT_DEPTH = 2
PORT_BYTES = 64
WEIGHT_CHANNEL_RAM = {"intel": 1.6, "amd": 0.0}
"""RAM blocks per MAC."""


@dataclass(frozen=True)
class Usage:
    """Resources of a design, its shell included, with what the board lets it take.

    Attributes:
        logic: ALMs or LUTs.
        dsp: blocks.
        ram: blocks.
        limits: of logic, dsp and ram, headroom applied.
    """

    logic: int
    dsp: int
    ram: int
    limits: tuple[int, int, int]

    @property
    def shares(self) -> dict[str, float]:
        """Part of its limit that each resource takes; above 1 it does not fit."""
        taken = (self.logic, self.dsp, self.ram)
        return {
            name: value / limit for name, value, limit in zip(("logic", "DSP", "RAM"), taken, self.limits, strict=True)
        }

    @property
    def fits(self) -> bool:
        """Every resource is within its limit."""
        return max(self.shares.values()) <= 1


def usage(config: EngineConfig, board: Board) -> Usage:
    """What an engine takes of a board."""
    lanes, finished = config.lane_num + config.dw_lanes, max(config.lane_num, config.dw_lanes)
    alm = BASE_ALM + ALM_PER_MAC * (config.macs_per_cycle + config.dw_lanes) + ALM_PER_LANE * lanes
    alm += ALM_PER_FINISH * finished
    unit = LUT_PER_ALM if board.vendor == "amd" else 1.0
    room = board.headroom
    return Usage(
        logic=round(alm * unit) + board.shell_logic,
        dsp=BASE_DSP + sum(_up(n, board.macs_per_dsp) for n in (config.macs_per_cycle, config.dw_lanes)) + finished,
        ram=board.shell_ram + BASE_RAM + _buffer_blocks(config, board) + _port_blocks(config, board),
        limits=(int(board.logic * room.logic), int(board.dsp * room.dsp), int(board.ram_blocks * room.ram)),
    )


def with_windows(config: EngineConfig, shapes: Sequence[LayerShape]) -> EngineConfig:
    """A configuration whose window buffers hold the largest window of a net, in a power of two of words."""
    dense, narrow = _split(shapes)
    return replace(
        config,
        window_buffer=_depth(dense, config, config.vec_size),
        dw_window_buffer=_depth(narrow, config, max(config.dw_lanes, config.lane_num)),
    )


def check_fits(config: EngineConfig, board: Board) -> Usage:
    """What an engine takes of a board.

    Raises:
        BoardError: more than there is, or an array wider than any that was built; names the worst resource.
    """
    used = usage(config, board)
    if not used.fits:
        shares = used.shares
        name = max(shares, key=lambda key: shares[key])
        unit = {"logic": board.logic_unit, "DSP": "DSP blocks", "RAM": board.ram_unit}[name]
        taken, limit = {
            "logic": (used.logic, used.limits[0]),
            "DSP": (used.dsp, used.limits[1]),
            "RAM": (used.ram, used.limits[2]),
        }[name]
        raise BoardError(
            f"{board.name}: too small for the engine ({config}): {name} first, {taken:,} {unit} needed (estimated), "
            f"{limit:,} usable; take a smaller engine or a larger board"
        )
    if config.macs_per_cycle > LARGEST_ARRAY[board.vendor]:
        raise BoardError(
            f"{board.name}: no engine of {config.macs_per_cycle} MACs per cycle is known to have been built; "
            f"at most {LARGEST_ARRAY[board.vendor]} (VEC x LANE)"
        )
    return used


def _split(shapes: Sequence[LayerShape]) -> tuple[list[LayerShape], list[LayerShape]]:
    return [s for s in shapes if s.kind == DENSE], [s for s in shapes if s.kind != DENSE]


def _depth(shapes: Sequence[LayerShape], config: EngineConfig, width: int) -> int:
    """Bytes of a buffer of this width that holds each window."""
    words = max((window_vectors(shape, config, window_columns(shape, config)) for shape in shapes), default=0)
    return width * 2 ** math.ceil(math.log2(words)) if words else 0


def _blocks(board: Board, width: int, depth: int) -> int:
    """RAM blocks of a buffer of `depth` words of `width` bytes."""
    return _up(8 * width, board.ram_width) * _up(depth, board.ram_depth)


def _buffer_blocks(config: EngineConfig, board: Board) -> int:
    narrow = max(config.dw_lanes, config.lane_num)
    weights = _blocks(board, config.macs_per_cycle, config.weight_buffer // config.macs_per_cycle)
    windows = _blocks(board, config.vec_size, config.window_buffer // config.vec_size)
    return weights + 2 * windows + 2 * _blocks(board, narrow, config.dw_window_buffer // narrow)


def _port_blocks(config: EngineConfig, board: Board) -> int:
    """Of the units that read weights, windows, residuals and slopes, and the one that writes."""
    widths = [config.macs_per_cycle, config.vec_size, config.lane_num, 4 * config.lane_num, config.lane_num]
    widths += [config.dw_lanes] * 3
    ports = sum(_blocks(board, min(width, PORT_BYTES), PORT_DEPTH * board.ram_depth) for width in widths if width)
    return ports + round(WEIGHT_CHANNEL_RAM[board.vendor] * config.macs_per_cycle)


def _up(whole: int, part: int) -> int:
    return math.ceil(whole / part)

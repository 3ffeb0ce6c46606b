"""What the engine's kernels are built with: numbers for the preprocessor, and the text of engine_config.h."""

from __future__ import annotations

import math
from importlib.resources import files

from facelet.errors import InputError
from facelet.fpga.engine import EngineConfig
from facelet.fpga.pack import PARAMS
from facelet.fpga.table import FIELDS, KINDS

COUNTS = ("opening", "reader", "idle", "weights", "array", "finished", "written")
"""Trips of loops that an instrumented build records for each layer: reads before the first product; of the memory
unit from then on, and those of them that feed no array; vectors of weights read; of the array; of the
post-processing; of the memory write."""

LARGEST_GP = 127

DEPTHS = tuple(2**n for n in range(4, 16))
"""Channel depths that both vendors take."""


def settings(config: EngineConfig, taps: int, channel_depth: int = 64, *, count: bool = False) -> dict[str, int]:
    """Macros of a build; see the top of `kernels/engine.cl`.

    Args:
        config: with window buffers.
        taps: places of the largest depthwise window.
        channel_depth: elements of a channel, a power of two from 16 to 32768.
        count: loops record how often they ran.

    Raises:
        InputError: another depth.
    """
    if channel_depth not in DEPTHS:
        raise InputError(f"channel depth {channel_depth}: must be a power of two from {DEPTHS[0]} to {DEPTHS[-1]}")
    if config.gp > LARGEST_GP:
        raise InputError(f"engine {config}: GP must be {LARGEST_GP} or less; a column is one byte in a channel")
    widest = max(config.lane_num, config.dw_lanes)
    return {
        "VEC_SIZE": config.vec_size,
        "LANE_NUM": config.lane_num,
        "DW_LANES": config.dw_lanes,
        "UNIT": math.gcd(config.vec_size, config.lane_num, config.dw_lanes),
        "GP": config.gp,
        "WEIGHT_VECTORS": config.weight_buffer // config.macs_per_cycle,
        "WINDOW_VECTORS": max(1, config.window_buffer // config.vec_size),
        "NARROW_VECTORS": max(1, config.dw_window_buffer // widest),
        "NARROW_TAPS": taps,
        "CHANNEL_DEPTH": channel_depth,
        "COUNT_TRIPS": int(count),
    }


def header(macros: dict[str, int]) -> str:
    """engine_config.h: settings that can be given from outside, the kinds, and a row of the layer table."""
    lines = [
        "/* Written by facelet fpga export; the kernels and the host read it. */",
        "#ifndef ENGINE_CONFIG_H",
        "#define ENGINE_CONFIG_H",
    ]
    for name, value in macros.items():
        lines += [f"#ifndef {name}", f"#define {name} {value}", "#endif"]
    for names in (KINDS, PARAMS):
        lines += [f"#define {name.upper()} {index}" for index, name in enumerate(names)]
    lines += [f"#define {name.upper()} {index}" for index, name in enumerate(COUNTS)]
    lines += [f"#define N_PARAMS {len(PARAMS)}", f"#define N_COUNTS {len(COUNTS)}"]
    lines += ["typedef struct {", f"    int {', '.join(FIELDS)};", "} layer_t;", "#endif", ""]
    return "\n".join(lines)


def kernel_source() -> str:
    """The text of the kernels."""
    return files("facelet.fpga").joinpath("kernels/engine.cl").read_text(encoding="utf-8")

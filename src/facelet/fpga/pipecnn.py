"""What PipeCNN takes of a board, as fitted to its published builds; apart from our own engine's estimate.

| figure | formula | fitted to | checked on |
|---|---|---|---|
| DSP, Stratix V | 23 + VEC LANE / 2 | VEC 4, LANE 2 | eleven points of figure 6, table I |
| DSP, later builds | 36 + VEC LANE / 2 | DE1-SoC, 68 | Arria 10, 292 |
| logic, kLE | 78.39 + 0.652 LANE + 0.0334 VEC LANE | VEC 4 and 16 of figure 6 | VEC 8 |
| M20K | 199.4 + 8.43 LANE + 5.20 VEC LANE + 1.69 VEC | VEC 4 and 16 of figure 6 | VEC 8 |

The half is two 8-bit products per DSP block, as its RTL block does. Least squares, by the points that the table names.
"""

from __future__ import annotations

from facelet.fpga.engine import EngineConfig

DSP_STRATIX_V = 23
DSP_LATER = 36
KLE = (78.3947, 0.6523, 0.0334)
"""Constant, per lane, per MAC."""
M20K = (199.3986, 8.4318, 5.2029, 1.6938)
"""Constant, per lane, per MAC, per input channel of a vector."""


def pipecnn_dsp(config: EngineConfig, base: int) -> float:
    """DSP blocks; `base` is `DSP_STRATIX_V` or `DSP_LATER`."""
    return base + config.macs_per_cycle / 2


def pipecnn_kle(config: EngineConfig) -> float:
    """Thousands of logic elements on the DE5-net, its shell included."""
    return KLE[0] + KLE[1] * config.lane_num + KLE[2] * config.macs_per_cycle


def pipecnn_m20k(config: EngineConfig) -> float:
    """M20K blocks on the DE5-net, its shell included."""
    return M20K[0] + M20K[1] * config.lane_num + M20K[2] * config.macs_per_cycle + M20K[3] * config.vec_size

"""How much noise each layer of an int8 network adds: signal to noise against the float network, worst first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facelet.graph.ir import Array
from facelet.quantize.build import integer
from facelet.quantize.calibrate import Calibration, every_tensor

FLOAT32_DB = 144.5
"""Signal to noise of float32 itself, 24 bits; also of a layer without any difference, so that it is a number."""


@dataclass(frozen=True)
class LayerNoise:
    """One tensor.

    Attributes:
        layer: the node that writes it.
        tensor: its name.
        fraction: bits behind the point.
        snr_db: 10 log10 of the float network's power over that of the difference; at most `FLOAT32_DB`.
        clipped: share of the integers at the end of the range.
    """

    layer: str
    tensor: str
    fraction: int
    snr_db: float
    clipped: float


def layer_noise(calibration: Calibration, images: Array) -> tuple[LayerNoise, ...]:
    """Every convolution of an int8 network beside the same tensor of the float network, worst first.

    Args:
        images: `(n, c, h, w)` float32; n a multiple of the graphs' batch.
    """
    floats = every_tensor(calibration.prepared, images)
    integers = every_tensor(calibration.quantized, images)
    rows = []
    for node in calibration.prepared.nodes:
        if node.op != "FusedConv":
            continue
        wanted, bits = floats[node.output], calibration.fractions[node.output]
        found = integers[integer(node.output)]
        low, high = _ends(calibration, integer(node.output))
        rows.append(
            LayerNoise(
                layer=str(node),
                tensor=node.output,
                fraction=bits,
                snr_db=_snr(wanted, np.ldexp(found, -bits)),
                clipped=float(((found == low) & (low < 0) | (found == high)).mean()),
            )
        )
    return tuple(sorted(rows, key=lambda row: row.snr_db))


def _ends(calibration: Calibration, tensor: str) -> tuple[int, int]:
    node = calibration.quantized.producer(tensor)
    assert node is not None  # every convolution was built
    return node["low"], node["high"]


def _snr(wanted: Array, found: Array) -> float:
    noise = float(np.square(wanted - found, dtype=np.float64).sum())
    power = float(np.square(wanted, dtype=np.float64).sum())
    return FLOAT32_DB if noise == 0 else min(FLOAT32_DB, 10 * float(np.log10(max(power, 1e-30) / noise)))

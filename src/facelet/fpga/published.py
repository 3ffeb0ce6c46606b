"""Published figures of FPGA engines, as data: what the model is validated against, and what it is shown beside."""

from __future__ import annotations

from dataclasses import dataclass

from facelet.fpga.cost import DENSE, LayerShape

FIGURE_6 = "PipeCNN, FPT 2017, figure 6, read from its vector paths to about 1 %"
TABLE_1 = "PipeCNN, FPT 2017, table I"
LOG = "PipeCNN documents/README.md, log of the DE1-SoC"

FIGURE_6_DSP: dict[int, dict[int, float]] = {
    4: {2: 27, 4: 31, 8: 39, 16: 55, 32: 87},
    8: {2: 31, 4: 39, 8: 55, 16: 87, 32: 151},
    16: {2: 39, 28: 247},
}
"""DSP blocks by VEC and LANE on the DE5-net."""

FIGURE_6_KLE: dict[int, dict[int, float]] = {
    4: {2: 80.0, 4: 81.5, 8: 84.4, 16: 90.0, 32: 104.1},
    8: {2: 80.5, 4: 82.0, 8: 85.0, 16: 92.3, 32: 108.4},
    16: {2: 81.5, 4: 83.2, 16: 97.3, 28: 111.6},
}
"""Thousands of logic elements by VEC and LANE on the DE5-net."""

FIGURE_6_M20K: dict[int, dict[int, float]] = {
    4: {2: 278, 4: 311, 8: 435, 16: 678},
    8: {2: 311, 4: 406, 8: 601, 16: 1003},
    16: {2: 410, 4: 593, 8: 960},
}
"""M20K blocks by VEC and LANE on the DE5-net."""

DE1_SOC_MHZ = 122.53
DE1_SOC_MS = {
    "L1": 41.557,
    "L2": 33.993,
    "L3": 23.057,
    "L4": 17.307,
    "L5": 11.631,
    "FC6": 14.364,
    "FC7": 6.433,
    "FC8": 1.648,
}
"""Milliseconds of AlexNet's layers, VEC 8, LANE 8, GP 7, 122.53 MHz."""
DE1_SOC_TOTAL_MS = 149.988


def alexnet(batch: int = 1) -> tuple[LayerShape, ...]:
    """AlexNet's eight layers with its groups; a batch of n * n images makes the dense layers n x n images.

    Source: Krizhevsky et al., NIPS 2012, in Caffe's form of 227x227 pixels.
    """
    side = round(batch**0.5)
    rows = (
        ("L1", 3, 96, 55, 11, 4, 1),
        ("L2", 96, 256, 27, 5, 1, 2),
        ("L3", 256, 384, 13, 3, 1, 1),
        ("L4", 384, 384, 13, 3, 1, 2),
        ("L5", 384, 256, 13, 3, 1, 2),
    )
    convolutions = tuple(
        LayerShape(name, DENSE, c, m, batch * size, size, k, k, stride, groups)
        for name, c, m, size, k, stride, groups in rows
    )
    dense = tuple(
        LayerShape(name, DENSE, c, m, side, side)
        for name, c, m in (("FC6", 9216, 4096), ("FC7", 4096, 4096), ("FC8", 4096, 1000))
    )
    return (*convolutions, *dense)


@dataclass(frozen=True)
class Peer:
    """A published speed of another engine on another net, for orientation.

    Attributes:
        board: that it ran on.
        engine: its name and build.
        net: that it ran.
        gmacs: of the net, per frame; None where the source gives none.
        frames_per_s: published.
        source: of the figure.
    """

    board: str
    engine: str
    net: str
    gmacs: float | None
    frames_per_s: float
    source: str


_DPU, _UG1354 = "Vitis AI DPU, 2 x B4096, one thread", "Xilinx UG1354; its GOP count taken as two per MAC"
_CHAIDNN = "CHaiDNN README, 8 bits, 300 and 600 MHz"
PEERS: tuple[Peer, ...] = (
    Peer("zcu104", _DPU, "facereid-large, 96x96", 0.25, 884, _UG1354),
    Peer("zcu104", _DPU, "facereid-small, 80x80", 0.045, 1914, _UG1354),
    Peer("zcu104", _DPU, "facerec_resnet20, 112x96", 1.75, 174, _UG1354),
    Peer("zu7", "CHaiDNN, 128 DSP", "GoogLeNet", None, 30.8, _CHAIDNN),
    Peer("zu7", "CHaiDNN, 512 DSP", "GoogLeNet", None, 94.4, _CHAIDNN),
    Peer("de1-soc", "PipeCNN, VEC 8, LANE 8", "AlexNet", 0.724, 1000 / DE1_SOC_TOTAL_MS, LOG),
    Peer("de5-net", "PipeCNN, VEC 16, LANE 28, batch 16", "AlexNet", 0.724, 1000 / 15, TABLE_1),
    Peer("arria10-gx1150", "PipeCNN", "AlexNet", 0.724, 1000 / 5, f"{TABLE_1}; issue #66 reached 11.1 ms"),
)
"""Of other engines, published by their authors; none was measured by this project."""

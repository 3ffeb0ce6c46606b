"""The model against what PipeCNN's authors and users published: prediction, figure, error, and the bar it must keep.

Constants of the cycle model: bandwidth and launch time are fitted to FC6 and FC8 of the DE1-SoC, the read-ahead to L1.
Its other layers, and every other board and width, are predictions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from facelet.fpga.boards import BOARDS, LAUNCH_US
from facelet.fpga.cost import layer_cost
from facelet.fpga.engine import EngineConfig, pipecnn
from facelet.fpga.pipecnn import DSP_LATER, DSP_STRATIX_V, pipecnn_dsp, pipecnn_kle, pipecnn_m20k
from facelet.fpga.published import (
    DE1_SOC_MHZ,
    DE1_SOC_MS,
    DE1_SOC_TOTAL_MS,
    FIGURE_6,
    FIGURE_6_DSP,
    FIGURE_6_KLE,
    FIGURE_6_M20K,
    LOG,
    TABLE_1,
    alexnet,
)

LAYER_BAR, TOTAL_BAR, LOGIC_BAR, RAM_BAR = 0.05, 0.02, 0.02, 0.06
FITTED_LAYERS = ("L1", "FC6", "FC8")


@dataclass(frozen=True)
class Point:
    """One comparison.

    Attributes:
        name: what is compared.
        unit: of both figures.
        predicted: by the model.
        published: by the source.
        bar: largest allowed |error|, a fraction; None where the figure is shown and holds nobody to it.
        fitted: a constant of the model was fitted to this point.
        source: of the published figure.
    """

    name: str
    unit: str
    predicted: float
    published: float
    bar: float | None
    fitted: bool
    source: str

    @property
    def error(self) -> float:
        """Relative; positive where the model says more."""
        return self.predicted / self.published - 1

    @property
    def within(self) -> bool | None:
        """Whether the bar is kept; None without one."""
        return None if self.bar is None else abs(self.error) <= self.bar + 1e-9

    def to_dict(self) -> dict[str, object]:
        """For JSON."""
        return {**vars(self), "error": self.error, "within": self.within}


def points() -> tuple[Point, ...]:
    """Every comparison, those with a bar first."""
    every = (*_resource_points(), *_de1_soc_points(), *_other_times())
    return tuple(sorted(every, key=lambda point: point.bar is None))


def alexnet_ms(config: EngineConfig, gbs: float, mhz: float, batch: int = 1) -> dict[str, float]:
    """Milliseconds of each AlexNet layer per image."""
    launch_ms = LAUNCH_US / 1e3 if config.launch_per_layer else 0.0
    costs = [layer_cost(shape, config, gbs * 1e3 / mhz) for shape in alexnet(batch)]
    return {cost.shape.name: (cost.cycles / mhz / 1e3 + launch_ms) / batch for cost in costs}


def _figure_6(unit: str, published: dict[int, dict[int, float]], bar: float) -> Iterator[Point]:
    for vec, row in published.items():
        for lane, value in row.items():
            config = pipecnn(vec, lane, cached=True)
            predicted = {"DSP": pipecnn_dsp(config, DSP_STRATIX_V), "kLE": pipecnn_kle(config)}
            predicted["M20K"] = pipecnn_m20k(config)
            fitted = (vec, lane) == (4, 2) if unit == "DSP" else vec != 8
            yield Point(f"DE5-net VEC {vec} LANE {lane}", unit, predicted[unit], value, bar, fitted, FIGURE_6)


def _resource_points() -> Iterator[Point]:
    yield from _figure_6("DSP", FIGURE_6_DSP, 0.0)
    small = pipecnn_dsp(pipecnn(8, 8, cached=False), DSP_LATER)
    wide = pipecnn_dsp(pipecnn(8, 64, cached=False), DSP_LATER)
    yield Point("DE1-SoC VEC 8 LANE 8", "DSP", small, 68, 0.0, True, TABLE_1)
    yield Point("Arria 10 VEC 8 LANE 64", "DSP", wide, 292, 0.0, False, "PipeCNN issue #56")
    yield Point("DE1-SoC VEC 8 LANE 8, a later build", "DSP", small, 73, None, False, "PipeCNN issue #37")
    yield from _figure_6("kLE", FIGURE_6_KLE, LOGIC_BAR)
    yield from _figure_6("M20K", FIGURE_6_M20K, RAM_BAR)


def _de1_soc_points() -> Iterator[Point]:
    gbs = BOARDS["de1-soc"].gbs
    times = alexnet_ms(pipecnn(8, 8, cached=False), gbs, DE1_SOC_MHZ)
    for name, published in DE1_SOC_MS.items():
        yield Point(f"DE1-SoC AlexNet {name}", "ms", times[name], published, LAYER_BAR, name in FITTED_LAYERS, LOG)
    total = sum(times.values())
    yield Point("DE1-SoC AlexNet in all", "ms", total, DE1_SOC_TOTAL_MS, TOTAL_BAR, False, LOG)
    narrow = sum(alexnet_ms(pipecnn(4, 4, cached=False), gbs, 139.56).values())
    source = "PipeCNN issue #95"
    yield Point("DE1-SoC AlexNet, VEC 4 LANE 4, 139.56 MHz", "ms", narrow, 351.607, LAYER_BAR, False, source)


def _other_times() -> Iterator[Point]:
    """On boards whose memory bandwidth is not verified: shown, and held to no bar."""
    de5, arria = (BOARDS[name].gbs for name in ("de5-net", "arria10-gx1150"))
    for name, config, gbs, mhz, batch, published, source in (
        ("DE5-net AlexNet, VEC 16 LANE 28, batch 16", pipecnn(16, 28, cached=True), de5, 198.0, 16, 15.0, TABLE_1),
        (
            "Arria 10 AlexNet, VEC 16 LANE 32",
            pipecnn(16, 32, cached=False),
            arria,
            230.0,
            1,
            22.0,
            "PipeCNN issue #103",
        ),
    ):
        yield Point(name, "ms", sum(alexnet_ms(config, gbs, mhz, batch).values()), published, None, False, source)

"""`DesignReport`: what one net costs on one engine on one board; all estimated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from facelet.fpga.boards import Board
from facelet.fpga.cost import DENSE, LayerCost, LayerShape, layer_cost
from facelet.fpga.engine import EngineConfig
from facelet.fpga.explore import launch_ms
from facelet.fpga.resources import Usage, check_fits, with_windows


@dataclass(frozen=True)
class DesignReport:
    """One net on one engine on one board. Every figure is an estimate, none a measurement.

    Attributes:
        model: the net's name.
        board: that it runs on.
        config: of the engine.
        layers: cost of each, in order.
        used: resources.
        chosen_by: where the configuration comes from, in words.
    """

    model: str
    board: Board
    config: EngineConfig
    layers: tuple[LayerCost, ...]
    used: Usage
    chosen_by: str

    @property
    def launch_ms(self) -> float:
        """The host's share of a frame."""
        return launch_ms(len(self.layers), self.config, self.board)

    @property
    def ms(self) -> float:
        """Per frame."""
        return sum(self.layer_ms(cost) for cost in self.layers) + self.launch_ms

    @property
    def macs(self) -> int:
        """Of the net."""
        return sum(cost.shape.macs for cost in self.layers)

    @property
    def efficiency(self) -> float:
        """Part of what the dense array could multiply in a frame, launches included, that its layers need."""
        dense = sum(cost.shape.macs for cost in self.layers if cost.shape.kind == DENSE)
        return dense / (self.ms * 1e3 * self.board.clock_mhz * self.config.macs_per_cycle)

    @property
    def energy_mj(self) -> float | None:
        """Millijoules per frame at the board's published power; None where there is none."""
        return None if self.board.power_w is None else self.board.power_w * self.ms

    def layer_ms(self, cost: LayerCost) -> float:
        """Milliseconds of one layer, its launch not included."""
        return cost.cycles / self.board.clock_mhz / 1e3

    def to_dict(self) -> dict[str, Any]:
        """For JSON: what was given, and under `estimated` what the model says."""
        return {
            "model": self.model,
            "board": self.board.name,
            "device": self.board.device,
            "engine": asdict(self.config),
            "chosen_by": self.chosen_by,
            "sources": dict(self.board.sources),
            "estimated": {
                "ms_per_frame": self.ms,
                "frames_per_s": 1e3 / self.ms,
                "launch_ms": self.launch_ms,
                "macs": self.macs,
                "array_efficiency": self.efficiency,
                "energy_mj_per_frame": self.energy_mj,
                "bandwidth_gbs": self.board.gbs,
                "clock_mhz": self.board.clock_mhz,
                "resources": {
                    name: {"used": used, "usable": limit, "share": used / limit}
                    for (name, used), limit in zip(
                        (("logic", self.used.logic), ("dsp", self.used.dsp), ("ram", self.used.ram)),
                        self.used.limits,
                        strict=True,
                    )
                },
                "layers": [self.layer_row(cost) for cost in self.layers],
            },
        }

    def layer_row(self, cost: LayerCost) -> dict[str, Any]:
        """One layer for tables and JSON."""
        shape = cost.shape
        return {
            "name": shape.name,
            "kind": shape.kind,
            "shape": f"{shape.out_channels}x{shape.out_h}x{shape.out_w}",
            "kernel": f"{shape.kernel_h}x{shape.kernel_w}",
            "macs": shape.macs,
            "compute_cycles": cost.iterations,
            "stall_cycles": round(cost.stalls),
            "memory_cycles": round(cost.memory_cycles),
            "fill_cycles": round(cost.fill),
            "cycles": round(cost.cycles),
            "ms": self.layer_ms(cost),
            "bytes": cost.bytes,
            "bound": cost.bound,
        }


def design_report(
    model: str, shapes: Sequence[LayerShape], config: EngineConfig, board: Board, chosen_by: str
) -> DesignReport:
    """The report of a configuration, its window buffers made as large as the net needs.

    Raises:
        BoardError: the engine does not fit the board.
        GraphError: the net needs an array that the engine has not.
    """
    config = with_windows(config, shapes)
    used = check_fits(config, board)
    costs = tuple(layer_cost(shape, config, board.bytes_per_cycle) for shape in shapes)
    return DesignReport(model, board, config, costs, used, chosen_by)

"""What each board offers, every figure with its source; `BOARDS` is the table.

A source that begins with "not verified" is from memory or an assumption, and no published page was read for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from facelet.errors import UnknownNameError


@dataclass(frozen=True)
class Headroom:
    """The part of each resource that a design may take and still be routed."""

    logic: float
    dsp: float
    ram: float
    source: str


HEADROOM: dict[str, Headroom] = {
    "intel": Headroom(0.9, 1.0, 1.0, "PipeCNN issue #37: routed with 90 % of the ALMs and 100 % of the M10K"),
    "amd": Headroom(0.7, 0.8, 0.8, "FINN platforms.py: LUT at most 0.7, DSP and BRAM at most 0.8"),
}
"""By vendor."""

LARGEST_ARRAY: dict[str, int] = {"intel": 1024, "amd": 2048}
"""MACs per cycle of the widest array that is published as built: PipeCNN issue #66 (VEC 16, LANE 64); DPU B4096."""


@dataclass(frozen=True)
class Board:
    """One board, or a part of one that an engine can live in.

    Attributes:
        name: as in `BOARDS`.
        device: the FPGA.
        vendor: "intel" or "amd"; picks `HEADROOM` and `LARGEST_ARRAY`.
        logic: ALMs (Intel) or LUTs (AMD).
        dsp: DSP blocks.
        macs_per_dsp: int8 multiply-accumulates of one block per cycle.
        ram_blocks: M10K, M20K or BRAM36.
        ram_width: bits of one block's widest word.
        ram_depth: words of one block at that width.
        peak_gbs: of the memory that kernels reach.
        memory_efficiency: part of the peak that kernels get.
        clock_mhz: of the kernels.
        shell_logic: taken by the board's own interface, in `logic`'s unit.
        shell_ram: the same in RAM blocks.
        launch_us: the host's time per layer that it starts.
        power_w: of the whole board while a published engine ran; None where nobody published it.
        sources: by attribute.
    """

    name: str
    device: str
    vendor: str
    logic: int
    dsp: int
    macs_per_dsp: int
    ram_blocks: int
    ram_width: int
    ram_depth: int
    peak_gbs: float
    memory_efficiency: float
    clock_mhz: float
    shell_logic: int
    shell_ram: int
    launch_us: float
    power_w: float | None
    sources: Mapping[str, str] = field(repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sources", MappingProxyType(dict(self.sources)))

    @property
    def gbs(self) -> float:
        """Memory bandwidth that kernels get."""
        return self.peak_gbs * self.memory_efficiency

    @property
    def bytes_per_cycle(self) -> float:
        """Memory bytes per kernel clock."""
        return self.gbs * 1e3 / self.clock_mhz

    @property
    def logic_unit(self) -> str:
        """What `logic` counts."""
        return "ALM" if self.vendor == "intel" else "LUT"

    @property
    def ram_unit(self) -> str:
        """What `ram_blocks` counts."""
        return "BRAM36" if self.vendor == "amd" else "M10K" if self.ram_depth == 256 else "M20K"

    @property
    def headroom(self) -> Headroom:
        """The vendor's."""
        return HEADROOM[self.vendor]

    @property
    def unverified(self) -> tuple[str, ...]:
        """Attributes whose source is no page that was read."""
        return tuple(name for name, source in self.sources.items() if source.startswith("not verified"))


EFFICIENCY = 0.465
LAUNCH_US = 98.0

_FITTED = "fitted to AlexNet FC6 and FC8 of PipeCNN on the DE1-SoC (documents/README.md log); see docs/fpga.md"
_CARRIED = "not verified: carried over from the DE1-SoC, where it is fitted"
_INTEL_DSP = "PipeCNN's mult_add_fix8bx4 and issue #56: 512 multipliers in 256 DSP blocks"
_SDK = "Intel memory block widths: M10K 256 x 40, M20K 512 x 40 bits (device handbooks, from memory)"
_BRAM = "BRAM36 as 512 x 72 bits (UG473/UG573, from memory)"
_DE5_SHELL = "not verified: PipeCNN's constant share on the DE5-net (78.4 kLE, 199 M20K) less the kernels' 13.1 k ALM"


def _board(
    name: str, device: str, vendor: str, figures: Mapping[str, tuple[float | None, str]], width: int, depth: int
) -> Board:
    """One entry; figures are (value, source) by attribute."""
    carried = {"memory_efficiency": (EFFICIENCY, _CARRIED), "launch_us": (LAUNCH_US, _CARRIED)}
    every = {**carried, **figures}
    sources = {name: source for name, (_, source) in every.items()}
    shape = _SDK if vendor == "intel" else _BRAM
    return Board(
        name=name,
        device=device,
        vendor=vendor,
        ram_width=width,
        ram_depth=depth,
        sources={**sources, "ram_width": shape, "ram_depth": shape},
        **{name: value for name, (value, _) in every.items()},  # type: ignore[arg-type]
    )


BOARDS: dict[str, Board] = {
    board.name: board
    for board in (
        _board(
            "de1-soc",
            "Cyclone V 5CSEMA5",
            "intel",
            {
                "logic": (32_070, "PipeCNN issue #37: 32,070 ALMs"),
                "dsp": (87, "PipeCNN issue #37: 87 DSP blocks"),
                "macs_per_dsp": (2, f"{_INTEL_DSP}; three 9x9 are possible (Intel 683694), none published as built"),
                "ram_blocks": (397, "PipeCNN issue #37: 397 M10K"),
                "peak_gbs": (6.4, "thinkoco/c5soc_opencl board_spec.xml: max_bandwidth 6400 MB/s"),
                "memory_efficiency": (EFFICIENCY, _FITTED),
                "clock_mhz": (122.53, "PipeCNN issue #37: kernel fmax 122.53 MHz"),
                "shell_logic": (1_080, "thinkoco/c5soc_opencl: 1,080 ALM"),
                "shell_ram": (20, "thinkoco/c5soc_opencl: 20 M10K"),
                "launch_us": (LAUNCH_US, _FITTED),
                "power_w": (2.1, "PipeCNN, FPT 2017, table I"),
            },
            40,
            256,
        ),
        _board(
            "de10-nano",
            "Cyclone V 5CSEBA6",
            "intel",
            {
                "logic": (41_910, "not verified: 41,910 ALMs from memory (110K LE: c5soc_opencl issue #4)"),
                "dsp": (112, "not verified: from memory"),
                "macs_per_dsp": (2, _INTEL_DSP),
                "ram_blocks": (553, "not verified: from memory"),
                "peak_gbs": (6.4, "thinkoco/c5soc_opencl board_spec.xml, the same family of boards"),
                "clock_mhz": (122.53, "not verified: the DE1-SoC's, whose fabric is the same"),
                "shell_logic": (1_080, "thinkoco/c5soc_opencl: 1,080 ALM"),
                "shell_ram": (20, "thinkoco/c5soc_opencl: 20 M10K"),
                "power_w": (None, "nobody published it for such an engine"),
            },
            40,
            256,
        ),
        _board(
            "de5-net",
            "Stratix V GX A7",
            "intel",
            {
                "logic": (234_720, "not verified: from memory (622K LE: PipeCNN, FPT 2017, table I)"),
                "dsp": (256, "PipeCNN, FPT 2017, table I"),
                "macs_per_dsp": (2, _INTEL_DSP),
                "ram_blocks": (2_560, "not verified: from memory"),
                "peak_gbs": (25.6, "not verified: two DDR3-1600 modules of 64 bits"),
                "clock_mhz": (198.0, "PipeCNN, FPT 2017, table I"),
                "shell_logic": (16_500, _DE5_SHELL),
                "shell_ram": (169, _DE5_SHELL + " and 30 M20K"),
                "power_w": (27.0, "PipeCNN, FPT 2017, table I"),
            },
            40,
            512,
        ),
        _board(
            "arria10-gx1150",
            "Arria 10 GX 1150 (DE5a-net)",
            "intel",
            {
                "logic": (427_200, "Intel 683461: 427,200 ALMs"),
                "dsp": (1_518, "Intel 683461: 1,518 DSP blocks"),
                "macs_per_dsp": (2, _INTEL_DSP),
                "ram_blocks": (2_713, "Intel 683461: 2,713 M20K"),
                "peak_gbs": (34.0, "not verified: two DDR4-2133 modules of 64 bits"),
                "clock_mhz": (218.0, "PipeCNN, FPT 2017, table I"),
                "shell_logic": (16_500, "not verified: the DE5-net's"),
                "shell_ram": (169, "not verified: the DE5-net's"),
                "power_w": (26.0, "PipeCNN, FPT 2017, table I"),
            },
            40,
            512,
        ),
        _board(
            "stratix10-2800",
            "Stratix 10 GX 2800",
            "intel",
            {
                "logic": (933_120, "Intel 683674: 933,120 ALMs"),
                "dsp": (5_760, "Intel 683674: 5,760 DSP blocks"),
                "macs_per_dsp": (2, _INTEL_DSP),
                "ram_blocks": (11_721, "Intel 683674: 11,721 M20K"),
                "peak_gbs": (21.3, "not verified: one DDR4-2666 bank of 64 bits"),
                "clock_mhz": (300.0, "not verified: 300 to 400 MHz from memory"),
                "shell_logic": (16_500, "not verified: the DE5-net's"),
                "shell_ram": (169, "not verified: the DE5-net's"),
                "power_w": (None, "nobody published it for such an engine"),
            },
            40,
            512,
        ),
        _board(
            "pynq-z2",
            "Zynq XC7Z020",
            "amd",
            {
                "logic": (53_200, "FINN platforms.py: 53,200 LUT"),
                "dsp": (220, "FINN platforms.py: 220 DSP48E1"),
                "macs_per_dsp": (1, "25x18 multiplier: one int8 product (packing two needs 27 bits)"),
                "ram_blocks": (140, "FINN platforms.py: 280 BRAM18"),
                "peak_gbs": (2.1, "not verified: DDR3-1050 of 16 bits, from memory"),
                "clock_mhz": (100.0, "not verified: 100 to 150 MHz from memory"),
                "shell_logic": (3_000, "not verified: an assumption for the AXI interconnect"),
                "shell_ram": (4, "not verified: an assumption for the AXI interconnect"),
                "power_w": (None, "nobody published it for such an engine"),
            },
            72,
            512,
        ),
        _board(
            "zcu104",
            "Zynq UltraScale+ XCZU7EV",
            "amd",
            {
                "logic": (230_400, "FINN platforms.py: 230,400 LUT"),
                "dsp": (1_728, "FINN platforms.py: 1,728 DSP48E2"),
                "macs_per_dsp": (2, "27x18 multiplier: two int8 products of one shared factor"),
                "ram_blocks": (305, "FINN platforms.py: 610 BRAM18; UltraRAM is not counted"),
                "peak_gbs": (19.2, "not verified: PS DDR4-2400 of 64 bits, from memory"),
                "clock_mhz": (300.0, "UG1354: DPU B4096 at 300 MHz on this board"),
                "shell_logic": (3_000, "not verified: an assumption for the AXI interconnect"),
                "shell_ram": (4, "not verified: an assumption for the AXI interconnect"),
                "power_w": (None, "nobody published it for such an engine"),
            },
            72,
            512,
        ),
        _board(
            "alveo-u50",
            "Virtex UltraScale+ XCU50, one of its two SLRs",
            "amd",
            {
                "logic": (368_160, "FINN platforms.py: the smaller SLR"),
                "dsp": (2_592, "FINN platforms.py: the smaller SLR"),
                "macs_per_dsp": (2, "27x18 multiplier: two int8 products of one shared factor"),
                "ram_blocks": (564, "not verified: FINN platforms.py read as 564 BRAM36; UltraRAM is not counted"),
                "peak_gbs": (38.4, "not verified: two 512-bit ports at 300 MHz; the HBM itself is faster"),
                "clock_mhz": (300.0, "not verified: from memory"),
                "shell_logic": (33_000, "FINN platforms.py: 33k LUT for a memory controller on Alveo"),
                "shell_ram": (100, "FINN platforms.py: 199 BRAM18 for a memory controller on Alveo"),
                "power_w": (None, "nobody published it for such an engine"),
            },
            72,
            512,
        ),
    )
}
"""By name."""


def find_board(name: str) -> Board:
    """The board of a name, in any case.

    Raises:
        UnknownNameError: no such board.
    """
    if name.lower() not in BOARDS:
        raise UnknownNameError("board", name, BOARDS)
    return BOARDS[name.lower()]

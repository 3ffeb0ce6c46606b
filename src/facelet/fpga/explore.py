"""Finds the fastest engine that fits a board, and says what keeps it from being faster."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from facelet.errors import BoardError
from facelet.fpga.boards import LARGEST_ARRAY, Board
from facelet.fpga.cost import DENSE, DEPTHWISE, LayerShape, layer_cost
from facelet.fpga.engine import EngineConfig
from facelet.fpga.resources import Usage, check_fits, usage, with_windows

VEC_SIZES = (4, 8, 16, 32, 64)
LANE_NUMS = (4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 64, 96, 128)
DW_LANES = (4, 8, 16, 32, 64)
WINDOW_COLUMNS = (4, 6, 7, 8, 12)
WEIGHT_BUFFERS = (0, *(1024 * 2**n for n in range(3, 11)))
"""Bytes: none, 8 KiB to 1 MiB."""


@dataclass(frozen=True)
class Candidate:
    """One engine on one board.

    Attributes:
        config: of the engine.
        ms: per image, estimated.
        used: of the board, estimated.
    """

    config: EngineConfig
    ms: float
    used: Usage

    @property
    def share(self) -> float:
        """The largest share of a limit."""
        return max(self.used.shares.values())


@dataclass(frozen=True)
class Exploration:
    """What was found.

    Attributes:
        board: searched.
        best: the fastest candidate that fits; of equals the one that takes least.
        binding: what keeps it from being faster: one or more of "logic", "DSP", "RAM" and "array width"
            (`LARGEST_ARRAY`), or "launches", "memory bandwidth", "the engine's largest setting".
        fitting: every candidate that fits.
        pareto: those of them that no other beats in both time and share, fastest first.
        tried: candidates looked at.
    """

    board: Board
    best: Candidate
    binding: str
    fitting: tuple[Candidate, ...]
    pareto: tuple[Candidate, ...]
    tried: int


def explore(shapes: Sequence[LayerShape], board: Board, *, launch_per_layer: bool = True) -> Exploration:
    """The fastest engine for a net on a board.

    Args:
        shapes: the net's layers.
        board: to fit.
        launch_per_layer: as in `EngineConfig`.

    Raises:
        BoardError: not even the smallest engine fits.
    """
    candidates = _candidates(shapes, board, launch_per_layer)
    fitting = tuple(c for c in candidates if c.used.fits and _buildable(c, board))
    if not fitting:
        smallest = min(candidates, key=lambda c: c.share)
        check_fits(smallest.config, board)
        raise BoardError(f"{board.name}: too small for any engine")
    best = min(fitting, key=lambda c: (c.ms, c.share))
    return Exploration(
        board=board,
        best=best,
        binding=_binding(best, candidates, shapes, board),
        fitting=fitting,
        pareto=_pareto(fitting),
        tried=len(candidates),
    )


def net_ms(shapes: Sequence[LayerShape], config: EngineConfig, board: Board) -> float:
    """Milliseconds per image, estimated: the layers one after another, and the host's launches."""
    cycles = sum(layer_cost(shape, config, board.bytes_per_cycle).cycles for shape in shapes)
    return cycles / board.clock_mhz / 1e3 + launch_ms(len(shapes), config, board)


def launch_ms(layers: int, config: EngineConfig, board: Board) -> float:
    """Milliseconds that the host spends on starting a net."""
    return (layers if config.launch_per_layer else 1) * board.launch_us / 1e3


def _candidates(shapes: Sequence[LayerShape], board: Board, launch_per_layer: bool) -> list[Candidate]:
    """Every setting; each layer is counted once for the settings that it depends on."""
    distinct = Counter(replace(shape, name="") for shape in shapes)
    need_depthwise = any(shape.kind == DEPTHWISE for shape in shapes)

    @cache
    def cycles(kinds: tuple[str, ...], config: EngineConfig) -> float:
        costs = ((s, n) for s, n in distinct.items() if s.kind in kinds)
        return sum(n * layer_cost(s, config, board.bytes_per_cycle).cycles for s, n in costs)

    others = tuple({shape.kind for shape in distinct} - {DENSE, DEPTHWISE})
    arrays = itertools.product(VEC_SIZES, LANE_NUMS, WINDOW_COLUMNS)
    found = []
    for (vec, lane, gp), dw in itertools.product(arrays, DW_LANES if need_depthwise else (0,)):
        plain = EngineConfig(vec, lane, dw, gp, launch_per_layer=launch_per_layer)
        windowed = with_windows(plain, tuple(distinct))
        if max(usage(windowed, board).shares.values()) > TOO_FAR and (vec, lane) != (VEC_SIZES[0], LANE_NUMS[0]):
            continue
        narrow = cycles((DEPTHWISE,), EngineConfig(1, 1, dw, gp)) if need_depthwise else 0.0
        narrow += cycles(others, EngineConfig(1, lane, 0, gp))
        for weights in WEIGHT_BUFFERS:
            total = narrow + cycles((DENSE,), EngineConfig(vec, lane, 0, gp, weights))
            config = replace(windowed, weight_buffer=weights)
            ms = total / board.clock_mhz / 1e3 + launch_ms(len(shapes), config, board)
            found.append(Candidate(config, ms, usage(config, board)))
    return found


TOO_FAR = 4.0
"""Times a limit; settings that need more are not looked at."""


def _buildable(candidate: Candidate, board: Board) -> bool:
    return candidate.config.macs_per_cycle <= LARGEST_ARRAY[board.vendor]


def _pareto(fitting: Sequence[Candidate]) -> tuple[Candidate, ...]:
    front: list[Candidate] = []
    for candidate in sorted(fitting, key=lambda c: (c.ms, c.share)):
        if not front or candidate.share < front[-1].share:
            front.append(candidate)
    return tuple(front)


def _binding(best: Candidate, candidates: Sequence[Candidate], shapes: Sequence[LayerShape], board: Board) -> str:
    """What would have to grow for a frame that is faster by 1 % at least; where nothing helps, what the time goes to.

    The fewest limits that are passed together count; of as many, those that the fastest candidate passes.
    """
    if (share := launch_ms(len(shapes), best.config, board) / best.ms) > 0.5:
        return f"launches ({share:.0%} of the time)"
    faster = [(_passed(c, board), c.ms) for c in candidates if c.ms < 0.99 * best.ms]
    if faster:
        passed, _ = min(faster, key=lambda pair: (len(pair[0]), pair[1]))
        return " and ".join(passed)
    costs = [layer_cost(shape, best.config, board.bytes_per_cycle) for shape in shapes]
    waiting = sum(cost.cycles for cost in costs if cost.bound == "memory")
    bound = waiting > sum(cost.cycles for cost in costs) / 2
    return "memory bandwidth" if bound else "the engine's largest setting"


def _passed(candidate: Candidate, board: Board) -> tuple[str, ...]:
    """The limits that a candidate does not keep."""
    over = tuple(name for name, share in candidate.used.shares.items() if share > 1)
    return over if _buildable(candidate, board) else (*over, "array width")

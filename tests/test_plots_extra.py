"""Invariant: without matplotlib (extra `plots`) all figures are computed, and a plot that was asked for is refused."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import Ended
from facelet.evaluate.people_report import PeopleReport, write_people_report
from facelet.evaluate.png import NO_PLOTS
from test_import_rules import imported, modules

Cli = Callable[..., Ended]


@pytest.fixture
def no_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is where `pip install facelet` alone was run."""
    find = importlib.util.find_spec

    def without(name: str, package: str | None = None) -> Any:
        return None if name == "matplotlib" else find(name, package)

    monkeypatch.setattr("importlib.util.find_spec", without)


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.name)
def test_no_module_needs_matplotlib_to_be_imported(path: Path) -> None:
    assert "matplotlib" not in {name.split(".")[0] for name in imported(path, at_import=True)}


@pytest.mark.usefixtures("no_matplotlib")
def test_an_fpga_report_goes_without_its_picture(cli: Cli, tmp_path: Path) -> None:
    ended = cli(
        "fpga", "report", "facelet_xs", "--board", "de1-soc", "--out", tmp_path, "--vec-size", 8, "--lane-num", 4
    )
    assert ended.code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "report.json"}
    assert "<img" not in (tmp_path / "report.html").read_text()
    assert NO_PLOTS in ended.err


@pytest.mark.usefixtures("no_matplotlib")
def test_a_report_on_people_goes_without_its_plots(tmp_path: Path) -> None:
    def fail() -> bytes:
        pytest.fail("drawn")

    files = write_people_report(PeopleReport({"model": "m"}, {"rank": 1.0}, (), {"roc": fail}), tmp_path)
    assert list(files) == ["report"]
    assert json.loads(files["report"].read_text()) == {"model": "m", "rank": 1.0}


@pytest.mark.usefixtures("no_matplotlib")
@pytest.mark.parametrize(
    "command",
    [
        ("inspect", "facelet_xs", "--png", "OUT/net.png"),
        ("fpga", "explore", "facelet_xs", "--board", "de1-soc", "--png", "OUT/front.png"),
        ("quantize", "facelet_xs", "--report", "OUT/noise", "--out", "OUT/int8.onnx"),
        ("study", "losses", "--out", "OUT"),
    ],
    ids=lambda command: command[0],
)
def test_a_plot_that_was_asked_for_is_refused_in_one_line(command: tuple[str, ...], cli: Cli, tmp_path: Path) -> None:
    ended = cli(*(word.replace("OUT", str(tmp_path)) for word in command))
    assert ended.code == 2
    assert ended.err.strip().splitlines()[-1].endswith("pip install 'facelet[plots]' [FL-EXTRA]")
    assert len(ended.err.strip().splitlines()) == 1
    assert not any(path.is_file() for path in tmp_path.rglob("*"))

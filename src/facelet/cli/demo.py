"""`facelet demo`: the whole way in five minutes, on synthetic faces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facelet.cli.derive import command
from facelet.cli.output import Output
from facelet.jobs.demo import demo as run_demo
from facelet.jobs.demo_config import RunDemo

if TYPE_CHECKING:
    from facelet.jobs.demo_run import Demo


def _show(result: Demo, config: RunDemo, show: Output) -> None:
    from facelet.jobs.demo_run import table_rows

    columns, rows = table_rows(result)
    show.value(result.to_dict())
    show.table(f"{config.n_pairs:,} pairs of synthetic people that no student learned from", columns, rows)
    show.line(f"report: {result.page}")


demo = command(RunDemo, run_demo, _show, "Distil a student on synthetic faces and compare it: five minutes.")

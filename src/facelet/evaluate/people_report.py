"""`PeopleReport`: what a measurement beyond pairs found, as JSON and as files."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facelet.atomic import write_bytes_atomic, write_text_atomic

Row = tuple[str, str]


@dataclass(frozen=True, eq=False)
class PeopleReport:
    """One measurement.

    Attributes:
        setting: how it was measured: model, benchmark, detector, hashes.
        figures: what was measured; rates and accuracies are fractions in [0, 1].
        rows: the figures that matter most, for people: name and value.
        plots: PNG by name without suffix; not in the JSON.
    """

    setting: dict[str, Any]
    figures: dict[str, Any]
    rows: tuple[Row, ...]
    plots: dict[str, bytes] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The report as one JSON object: `setting` first, then the figures."""
        return {**self.setting, **self.figures}


def write_people_report(report: PeopleReport, out: Path) -> dict[str, Path]:
    """Writes `report.json` and the plots into a folder, each whole or not at all.

    Returns:
        The files by what they are: "report" and the plots' names.

    Raises:
        InputError: the folder cannot be written.
    """
    files = {"report": out / "report.json", **{name: out / f"{name}.png" for name in report.plots}}
    write_text_atomic(files["report"], json.dumps(report.to_dict(), indent=2, allow_nan=False) + "\n")
    for name, content in report.plots.items():
        write_bytes_atomic(files[name], content)
    return files

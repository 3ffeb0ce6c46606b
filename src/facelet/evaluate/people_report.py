"""`PeopleReport`: what a measurement beyond pairs found, as JSON and as files."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facelet.atomic import write_files_atomic
from facelet.evaluate.png import Plot, can_plot

Row = tuple[str, str]


@dataclass(frozen=True, eq=False)
class PeopleReport:
    """One measurement.

    Attributes:
        setting: how it was measured: model, benchmark, detector, hashes.
        figures: what was measured; rates and accuracies are fractions in [0, 1].
        rows: the figures that matter most, for people: name and value.
        plots: what draws each PNG, by name without suffix; not in the JSON.
    """

    setting: dict[str, Any]
    figures: dict[str, Any]
    rows: tuple[Row, ...]
    plots: dict[str, Plot] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The report as one JSON object: `setting` first, then the figures."""
        return {**self.setting, **self.figures}


def write_people_report(report: PeopleReport, out: Path) -> dict[str, Path]:
    """Writes `report.json` and the plots into a folder, all of them or none.

    Without matplotlib the plots are left out.

    Returns:
        The files by what they are: "report" and the plots' names.

    Raises:
        InputError: the folder cannot be written.
    """
    drawn = report.plots if can_plot() else {}
    files = {"report": out / "report.json", **{name: out / f"{name}.png" for name in drawn}}
    figures = json.dumps(report.to_dict(), indent=2, allow_nan=False) + "\n"
    write_files_atomic({files["report"]: figures.encode(), **{files[name]: draw() for name, draw in drawn.items()}})
    return files

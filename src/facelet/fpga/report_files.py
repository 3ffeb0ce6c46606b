"""A design report in a folder: as JSON, as a page and as a picture."""

from __future__ import annotations

import json
from pathlib import Path

from facelet.atomic import write_files_atomic
from facelet.evaluate.png import can_plot
from facelet.fpga.page import report_page
from facelet.fpga.plots import report_png
from facelet.fpga.report import DesignReport


def write_report(report: DesignReport, out: Path) -> tuple[Path, ...]:
    """Writes report.html, report.json and report.png into a folder; returns their paths.

    Without matplotlib the picture is left out, of the page too.

    Raises:
        InputError: the place cannot be written.
    """
    picture = report_png(report) if can_plot() else None
    figures = json.dumps(report.to_dict(), indent=2, allow_nan=False) + "\n"
    contents = {out / "report.html": report_page(report, picture).encode(), out / "report.json": figures.encode()}
    if picture is not None:
        contents[out / "report.png"] = picture
    write_files_atomic(contents)
    return tuple(contents)

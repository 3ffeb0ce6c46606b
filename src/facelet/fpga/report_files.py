"""A design report in a folder: as JSON, as a page and as a picture."""

from __future__ import annotations

import json
from pathlib import Path

from facelet.atomic import write_bytes_atomic, write_text_atomic
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
    paths = [out / "report.html", out / "report.json"]
    write_text_atomic(paths[0], report_page(report, picture))
    write_text_atomic(paths[1], json.dumps(report.to_dict(), indent=2, allow_nan=False) + "\n")
    if picture is not None:
        paths.append(out / "report.png")
        write_bytes_atomic(paths[-1], picture)
    return tuple(paths)

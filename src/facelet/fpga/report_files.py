"""A design report in a folder: as JSON, as a page and as a picture."""

from __future__ import annotations

import json
from pathlib import Path

from facelet.atomic import write_bytes_atomic, write_text_atomic
from facelet.fpga.page import report_page
from facelet.fpga.plots import report_png
from facelet.fpga.report import DesignReport


def write_report(report: DesignReport, out: Path) -> tuple[Path, ...]:
    """Writes report.html, report.json and report.png into a folder; returns their paths.

    Raises:
        InputError: the place cannot be written.
    """
    picture = report_png(report)
    paths = (out / "report.html", out / "report.json", out / "report.png")
    write_text_atomic(paths[0], report_page(report, picture))
    write_text_atomic(paths[1], json.dumps(report.to_dict(), indent=2, allow_nan=False) + "\n")
    write_bytes_atomic(paths[2], picture)
    return paths

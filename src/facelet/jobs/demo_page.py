"""The demo's report: one HTML file with its pictures inside."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from facelet.evaluate.curve import curve_png
from facelet.evaluate.plots import distance_histogram_png, roc_png
from facelet.evaluate.report import VerificationReport

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24; }
h1 { margin-bottom: 0; } h2 { margin-top: 2.2rem; }
table { border-collapse: collapse; width: 100%; } th, td { padding: .35rem .7rem; border-bottom: 1px solid #d8dee4; }
th { text-align: left; } td:nth-child(n+3), th:nth-child(n+3) { text-align: right; font-variant-numeric: tabular-nums; }
table.facts td { text-align: left; }
tr.mark { background: #eef6ff; font-weight: 600; }
.pair { display: flex; flex-wrap: wrap; gap: 1rem; } .pair img { flex: 1 1 26rem; min-width: 0; max-width: 100%; }
img.wide { width: 100%; } p.note { color: #57606a; }
"""


def demo_page(
    table: Sequence[Sequence[str]],
    curves: Mapping[str, VerificationReport],
    steps: Sequence[int],
    losses: Sequence[float],
    sheet: NDArray[np.uint8],
    facts: Sequence[tuple[str, str]],
) -> str:
    """The report's HTML.

    Args:
        table: headings, then one row a model; the row whose second cell is "distilled student" is marked.
        curves: figures by legend, for the ROC and the histograms of teacher and student.
        steps: of the loss curve.
        losses: at each of `steps`.
        sheet: contact sheet of synthetic faces, `(h, w, 3)` uint8 RGB.
        facts: what was done, as name and value.
    """
    curve = _image(curve_png(steps, losses, "step", "loss"), "loss over training steps")
    facts_rows = "".join(f"<tr><td>{html.escape(name)}</td><td>{html.escape(value)}</td></tr>" for name, value in facts)
    rocs = {name: (report.distances, report.same) for name, report in curves.items()}
    shown = {name: report for name, report in curves.items() if name.endswith((", teacher", ", distilled student"))}
    histograms = "".join(
        _image(
            distance_histogram_png(report.distances, report.same, float(np.mean(report.fold_thresholds)), name),
            f"distances of genuine and impostor pairs, {name}",
        )
        for name, report in shown.items()
    )
    _, encoded = cv2.imencode(".jpg", sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    head, *rows = table
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Facelet demo</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>Facelet demo</h1>
<p class="note">A teacher's knowledge, distilled into a small student on faces that belong to nobody.</p>
<h2>Verification on synthetic people that neither saw</h2>
<table>
<tr>{"".join(f"<th>{html.escape(cell)}</th>" for cell in head)}</tr>
{"".join(_row(row) for row in rows)}
</table>
<p class="note">Synthetic faces lack the detail of real ones: the figures compare models with each other, they are no
LFW figures.</p>
<h2>Learning</h2>
<div class="pair">{curve}{_image(roc_png(rocs), "ROC")}</div>
<h2>Distances</h2>
<div class="pair">{histograms}</div>
<h2>Who was learned from</h2>
<p class="note">Each row is one synthetic person of the transfer set.</p>
<img class="wide" alt="contact sheet of synthetic faces" src="data:image/jpeg;base64,{_base64(encoded.tobytes())}">
<h2>What was done</h2>
<table class="facts">{facts_rows}</table>
</body>
</html>
"""


def _row(cells: Sequence[str]) -> str:
    mark = ' class="mark"' if cells[1] == "distilled student" else ""
    return f"<tr{mark}>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>\n"


def _image(png: bytes, what: str) -> str:
    return f'<img alt="{html.escape(what)}" src="data:image/png;base64,{_base64(png)}">'


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")

"""The design report as one HTML file with its picture inside."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence

from facelet.fpga.published import PEERS
from facelet.fpga.report import DesignReport

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 66rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24; }
h1 { margin-bottom: 0; } h2 { margin-top: 2.2rem; }
table { border-collapse: collapse; width: 100%; } th, td { padding: .25rem .6rem; border-bottom: 1px solid #d8dee4; }
th { text-align: left; } .number { text-align: right; font-variant-numeric: tabular-nums; }
img { width: 100%; } p.note { color: #57606a; }
"""


def report_page(report: DesignReport, picture: bytes | None) -> str:
    """The report's HTML, with its picture inside where there is one (PNG)."""
    board, used = report.board, report.used
    energy = "no published power" if report.energy_mj is None else f"{report.energy_mj:.1f} mJ"
    total = [
        ("milliseconds per frame", f"{report.ms:.3f}"),
        ("frames per second", f"{1e3 / report.ms:.1f}"),
        ("of which launches by the host", f"{report.launch_ms:.3f} ms"),
        ("million MACs", f"{report.macs / 1e6:.1f}"),
        ("of what the dense array could multiply", f"{report.efficiency:.0%}"),
        ("energy per frame at the board's published power", energy),
    ]
    resources = [
        (name, f"{value:,}", f"{limit:,}", f"{value / limit:.0%}")
        for name, value, limit in zip(
            (board.logic_unit, "DSP blocks", board.ram_unit), (used.logic, used.dsp, used.ram), used.limits, strict=True
        )
    ]
    keys = ("name", "kind", "shape", "kernel", "macs", "compute_cycles", "stall_cycles", "memory_cycles", "cycles")
    layers = [
        (*(_cell(row[key]) for key in keys), f"{row['ms']:.4f}", row["bound"])
        for row in (report.layer_row(cost) for cost in report.layers)
    ]
    peers = [
        (peer.engine, peer.net, f"{peer.frames_per_s:.1f}", peer.source) for peer in PEERS if peer.board == board.name
    ]
    beside = _table(("engine", "net", "frames per second", "source"), peers) if peers else "<p>None is known.</p>\n"
    headings = (*(key.replace("_", " ") for key in keys), "ms", "bound")
    image = ""
    if picture is not None:
        encoded = base64.b64encode(picture).decode()
        image = f'<img alt="roofline, resources and time per layer, estimated" src="data:image/png;base64,{encoded}">\n'
    title = f"{report.model} on {board.name}"
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style>\n<h1>{html.escape(title)}</h1>\n"
        f'<p class="note">Every figure on this page is estimated by Facelet\'s cost model; nothing was measured on the '
        f"board. Engine: {html.escape(str(report.config))}; {html.escape(report.chosen_by)}.</p>\n"
        f"<h2>In all (estimated)</h2>\n{_table(('figure', 'value'), total)}"
        f"<h2>Resources (estimated)</h2>\n{_table(('resource', 'used', 'usable', 'share'), resources)}"
        f"{image}<h2>Layers (estimated)</h2>\n{_table(headings, layers)}"
        f"<h2>Published by others on this board</h2>\n{beside}"
        f"<h2>Where the board's figures come from</h2>\n"
        f"{_table(('figure', 'value', 'source'), [(n, str(getattr(board, n)), s) for n, s in board.sources.items()])}"
        "</html>\n"
    )


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    numeric = [
        bool(rows) and all(row[i][:1].isdigit() and "x" not in row[i] for row in rows) for i in range(len(headings))
    ]
    kind = [' class="number"' if number else "" for number in numeric]
    head = "".join(f"<th{k}>{html.escape(text)}</th>" for k, text in zip(kind, headings, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{k}>{html.escape(text)}</td>" for k, text in zip(kind, row, strict=True)) + "</tr>\n"
        for row in rows
    )
    return f"<table><tr>{head}</tr>\n{body}</table>\n"

"""Rebuilds the tables of docs/quantization.md from docs/results/*.json and docs/benchmarks/int8/*.json.

python docs/build_int8.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from facelet.atomic import write_text_atomic

DOCS = Path(__file__).parent
PAGE = DOCS / "quantization.md"


def accuracy() -> str:
    """Float and int8 accuracy of each model that has both reports."""
    found = {}
    for path in (DOCS / "results").glob("*-lfw-view2-yunet.json"):
        report = json.loads(path.read_text())
        found[report["model"]] = report
    distilled = {}
    for path in (DOCS / "results" / "int8").glob("*-distilled-lfw-view2-yunet.json"):
        report = json.loads(path.read_text())
        distilled[report["model"]] = f"{100 * report['accuracy']:.2f}"
    lines = [
        "| model | float % | int8 % | points | TAR % at FAR 1e-3, float | int8 | int8, distilled % |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in sorted(found):
        if not name.endswith("_int8"):
            continue
        before, after = found[name.removesuffix("_int8")], found[name]
        lines.append(
            f"| {before['model']} | {100 * before['accuracy']:.2f} | {100 * after['accuracy']:.2f} | "
            f"{100 * (after['accuracy'] - before['accuracy']):+.2f} | {100 * before['tar']['1e-3']:.2f} | "
            f"{100 * after['tar']['1e-3']:.2f} | {distilled.get(name, '-')} |"
        )
    return "\n".join(lines)


def speed() -> str:
    """Milliseconds of each way to run a model, and how many times as fast our int8 is."""
    lines = [
        "| model | batch | onnxruntime, ms | its int8 | ours | our int8 | of onnxruntime | of its int8 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for path in sorted((DOCS / "benchmarks" / "int8").glob("*.json")):
        result: dict[str, Any] = json.loads(path.read_text())
        for batch in sorted({row["batch"] for row in result["rows"]}):
            ms = {row["backend"]: row["median_ms"] for row in result["rows"] if row["batch"] == batch}
            ours = next(value for name, value in ms.items() if "=" in name)
            plain, theirs, float32 = (ms[name] for name in ("onnxruntime", "onnxruntime:int8", "opencl:pocl-3.0"))
            times = f"{plain:.3f} | {theirs:.3f} | {float32:.3f} | {ours:.3f}"
            lines.append(f"| {result['model']} | {batch} | {times} | {plain / ours:.2f} | {theirs / ours:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Writes the tables between their markers."""
    text = PAGE.read_text()
    for name, table in (("accuracy", accuracy()), ("speed", speed())):
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        head, _, rest = text.partition(begin)
        text = f"{head}{begin}\n{table}\n{end}{rest.partition(end)[2]}"
    write_text_atomic(PAGE, text)


if __name__ == "__main__":
    main()

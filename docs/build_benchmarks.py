"""Rebuilds docs/benchmarks.md from docs/benchmarks/*.json, which `facelet bench` wrote.

python docs/build_benchmarks.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from facelet.atomic import write_text_atomic

DOCS = Path(__file__).parent

HEAD = """# Speed, side by side

Our OpenCL engine beside the runtimes that people use: the same file, the same threads, one process each, blocks in
turns, medians. The ratio is onnxruntime's time over the runtime's: above 1 is faster. All in float32 on the CPU.

    pip install '.[opencl,bench]'
    facelet bench MODEL --backend openvino --backend ncnn --backend opencl:pocl --backend opencl:pocl:2 \\
        --threads 1 --blocks 4

OpenVINO is told to compute in float32 (its default on such processors is bfloat16).
`opencl:pocl` is Debian's PoCL 3.1, `opencl:pocl:2` PoCL 3.0 of PyPI. "cold" is from an empty cache to the first
embedding, with the check of every tensor against NumPy; "warm" the same with the cache.
A virtual machine of two cores (AMD EPYC, family 26, AVX-512) that other work shares: ratios hold better than
milliseconds.
"""


def table(result: dict[str, Any]) -> str:
    """One model's rows."""
    lines = [
        f"## {result['model']}",
        "",
        "| backend | threads | batch | median ms | x onnxruntime | peak MB | cold s | warm s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(result["rows"], key=lambda row: (row["threads"], row["batch"], row["median_ms"])):
        lines.append(
            f"| {row['backend']} | {row['threads']} | {row['batch']} | {row['median_ms']:.3f} | "
            f"{row['ratio_to_onnxruntime']:.2f} | {row['peak_bytes'] / 1e6:.0f} | {row['start_cold_s']:.1f} | "
            f"{row['start_warm_s']:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Writes the page: head, a table per file, and the notes."""
    page = DOCS / "benchmarks.md"
    results = [json.loads(path.read_text()) for path in sorted((DOCS / "benchmarks").glob("*.json"))]
    text = "\n".join([HEAD, *(table(result) + "\n" for result in results)])
    notes = DOCS / "benchmarks" / "notes.md"
    write_text_atomic(page, text + "\n" + notes.read_text())


if __name__ == "__main__":
    main()

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
    facelet bench MODEL --backend openvino --backend ncnn --backend opencl:pocl-3.1 --backend opencl:pocl-3.0 \\
        --backend opencl:intel --threads 1 --threads 2 --batch 1 --batch 32 --blocks 4 --layers pocl-3.0

OpenVINO is set to float32 (its default on such processors is bfloat16). `opencl:pocl-3.0` is PyPI's PoCL,
the default, `opencl:pocl-3.1` Debian's, `opencl:intel` Intel's runtime from PyPI. "cold" is from an empty cache to the
first embedding, with the check of every tensor against NumPy; "warm" the same with the cache.
A virtual machine of two cores (AMD EPYC, family 26, AVX-512) that other work shares: ratios hold better than
milliseconds. On this processor and on the Zen 4 below, PyPI's PoCL ran with the correction that `FACELET_POCL_PATCH=1`
now asks for ([ADR 0009](adr/0009-pocl-of-pypi-on-new-processors.md)): set it to repeat these figures.
"""


def reports(folder: Path) -> list[dict[str, Any]]:
    """What `facelet bench` wrote into a folder, by name."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def table(result: dict[str, Any]) -> str:
    """One model's rows."""
    lines = [
        f"## {result['model']}",
        "",
        "| backend | threads | batch | median ms | x onnxruntime | cold s | warm s |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in sorted(result["rows"], key=lambda row: (row["threads"], row["batch"], row["median_ms"])):
        lines.append(
            f"| {row['backend']} | {row['threads']} | {row['batch']} | {row['median_ms']:.3f} | "
            f"{row['ratio_to_onnxruntime']:.2f} | {row['start_cold_s']:.1f} | {row['start_warm_s']:.1f} |"
        )
    return "\n".join(lines)


def summary(results: list[dict[str, Any]]) -> str:
    """Our engine on PyPI's PoCL against each of the others, one line a model and setting."""
    lines = [
        "## In short: how many times as fast `opencl:pocl-3.0` is",
        "",
        "| model | threads | batch | ms | onnxruntime | OpenVINO | ncnn |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in results:
        settings = sorted({(row["threads"], row["batch"]) for row in result["rows"]})
        for threads, batch in settings:
            ms = {
                r["backend"]: r["median_ms"] for r in result["rows"] if (r["threads"], r["batch"]) == (threads, batch)
            }
            ours = ms["opencl:pocl-3.0"]
            times = [f"{ms[name] / ours:.2f}" if name in ms else "" for name in ("onnxruntime", "openvino", "ncnn")]
            lines.append(f"| {result['model']} | {threads} | {batch} | {ours:.3f} | {' | '.join(times)} |")
    return "\n".join([*lines, ""])


def elsewhere(processor: str, results: list[dict[str, Any]]) -> str:
    """The nets on another processor, the teachers among them."""
    lines = [
        f"## On a {processor}, with the teachers",
        "",
        f"{results[0]['processor']}; one thread, one image.",
        "",
        "    facelet bench MODEL --backend onnxruntime --backend openvino --backend opencl:pocl-3.0 --blocks 8",
        "",
        "and for the int8 files `--backend opencl:pocl-3.0=FILE`.",
        "",
        "| model | ours, ms | our int8, ms | onnxruntime by ours | OpenVINO by ours |",
        "|---|---|---|---|---|",
    ]
    for result in results:
        ms = {row["backend"].split("=")[0] + "=" * ("=" in row["backend"]): row["median_ms"] for row in result["rows"]}
        ours, int8 = ms["opencl:pocl-3.0"], ms.get("opencl:pocl-3.0=")
        ratios = " | ".join(f"{ms[name] / ours:.2f}" for name in ("onnxruntime", "openvino"))
        lines.append(f"| {result['model']} | {ours:.2f} | {f'{int8:.2f}' if int8 else ''} | {ratios} |")
    return "\n".join([*lines, ""])


def memory(results: list[dict[str, Any]]) -> str:
    """The largest resident memory of a process with each runtime, at one image and at 32."""
    names = ("onnxruntime", "openvino", "ncnn", "opencl:pocl-3.0", "opencl:intel")
    lines = [
        "## Memory",
        "",
        "Largest resident memory of the process, MB, Python included, warm start, one thread, 1 and 32 images at\n"
        "once, on a Zen 3 core (`facelet bench MODEL --threads 1 --batch 1 --batch 32 --blocks 2`). `facelet_s_int8`\n"
        "and `facelet_xs_int8` take as much through `opencl:pocl-3.0` as the float nets.",
        "",
        f"| model | {' | '.join(names)} |",
        f"|---|{'---|' * len(names)}",
    ]
    for result in results:
        peak = {(row["backend"], row["batch"]): row["peak_bytes"] / 1e6 for row in result["rows"]}
        cells = [f"{peak[name, 1]:.0f}, {peak[name, 32]:.0f}" for name in names]
        lines.append(f"| {result['model']} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def rooflines(results: list[dict[str, Any]]) -> str:
    """How near to the roofline each model runs as a whole, and its layers."""
    lines = [
        "## Against the roofline",
        "",
        "Multiply-adds in registers and a copy of 64 MB are measured first; a layer could take no less than its\n"
        "operations or its traffic by these. Layers that stay in the cache beat the traffic's bound. One thread,\n"
        "PyPI's PoCL.",
        "",
        "| model | GFLOP/s of the machine | of the net | convolutions above 0.85 of the roofline | slowest layer |",
        "|---|---|---|---|---|",
    ]
    for result in results:
        measured = next((m for m in result.get("layers", []) if m["threads"] == 1), None)
        if measured is None:
            continue
        rows = measured["layers"]
        convs = [row for row in rows if "Conv" in row["layer"]]
        near = sum(row["of_roofline"] > 0.85 for row in convs)
        slow = max(rows, key=lambda row: row["ms"])
        done = sum(row["gflops"] * row["ms"] for row in rows) / sum(row["ms"] for row in rows)
        lines.append(
            f"| {result['model']} | {measured['roofline']['gflops']:.0f} | {done:.0f} | {near} of {len(convs)} | "
            f"{slow['layer']}, {slow['ms']:.3f} ms, {slow['of_roofline']:.2f} |"
        )
    return "\n".join([*lines, ""])


def main() -> None:
    """Writes the page: head, summary, notes, rooflines, and a table per file."""
    page = DOCS / "benchmarks.md"
    results = reports(DOCS / "benchmarks")
    notes = (DOCS / "benchmarks" / "notes.md").read_text()
    parts = [
        HEAD,
        summary(results),
        notes,
        elsewhere("Zen 4", reports(DOCS / "benchmarks" / "zen4")),
        elsewhere("Xeon", reports(DOCS / "benchmarks" / "xeon")),
        memory(reports(DOCS / "benchmarks" / "memory")),
        rooflines(results),
        *(table(result) + "\n" for result in results),
    ]
    write_text_atomic(page, "\n".join(parts))


if __name__ == "__main__":
    main()

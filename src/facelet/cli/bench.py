"""`facelet bench`: our engine beside the runtimes that people use, on one network, in one run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from facelet.cli.derive import command
from facelet.cli.output import Output
from facelet.jobs.bench import Bench, BenchResult
from facelet.jobs.bench import bench as run_bench

if TYPE_CHECKING:
    from facelet.bench.measure import Row


def _show(result: BenchResult, config: Bench, show: Output) -> None:
    show.value(result.to_dict())
    _print(show, result.model, result.rows)
    for measured in result.layers:
        _print_layers(show, measured)


def _print_layers(show: Output, measured: dict[str, Any]) -> None:
    roof = measured["roofline"]
    title = (
        f"layers on {measured['device']}, {measured['threads']} thread(s); roofline {roof['gflops']:.0f} GFLOP/s, "
        f"{roof['gbs']:.1f} GB/s"
    )
    rows = [(r["layer"], f"{r['ms']:.4f}", f"{r['gflops']:.1f}", f"{r['of_roofline']:.2f}") for r in measured["layers"]]
    show.table(title, ("layer", "ms", "GFLOP/s", "of the roofline"), rows)


def _print(show: Output, name: str, rows: list[Row]) -> None:
    columns = ("backend", "threads", "batch", "median ms", "min ms", "x onnxruntime", "peak MB", "cold s", "warm s")
    cells = [
        (
            row.backend,
            row.threads,
            row.batch,
            f"{row.median_ms:.3f}",
            f"{row.min_ms:.3f}",
            f"{row.ratio_to_onnxruntime:.2f}",
            f"{row.peak_bytes / 1e6:.0f}",
            f"{row.start_cold_s:.2f}",
            f"{row.start_warm_s:.2f}",
        )
        for row in sorted(rows, key=lambda row: (row.threads, row.batch, row.median_ms))
    ]
    show.table(f"{name}: above 1 is faster than onnxruntime", columns, cells)


bench = command(Bench, run_bench, _show, "Time our engine beside onnxruntime, OpenVINO, ncnn and tinygrad.")

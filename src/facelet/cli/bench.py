"""`facelet bench`: our engine beside the runtimes that people use, on one network, in one run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facelet.cli.output import JsonOption, Output, QuietOption, SeedOption
from facelet.errors import InputError
from facelet.threads import MOST_THREADS

if TYPE_CHECKING:
    from facelet.bench.measure import Row


def bench(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A shipped model's name, a .onnx or an .xml file.")],
    backend: Annotated[
        list[str] | None,
        typer.Option("--backend", help="A runtime or opencl:DEVICE; NAME=FILE runs another file. All without."),
    ] = None,
    threads: Annotated[
        list[int] | None,
        typer.Option("--threads", min=1, max=MOST_THREADS, help="CPU threads; more than once.", show_default="1"),
    ] = None,
    batch: Annotated[
        list[int] | None, typer.Option("--batch", min=1, help="Images at once; more than once.", show_default="1")
    ] = None,
    blocks: Annotated[int, typer.Option("--blocks", min=1, help="Turns of each runtime.")] = 12,
    layers: Annotated[
        str | None, typer.Option("--layers", help="Also each layer on this OpenCL device against the roofline.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of bench.json and bench.png.")] = Path("runs/bench"),
    json_: JsonOption = False,
    quiet: QuietOption = False,
    _seed: SeedOption = 0,
) -> None:
    """Time our engine beside onnxruntime, OpenVINO, ncnn and tinygrad."""
    import json

    from facelet.atomic import check_folder, write_text_atomic
    from facelet.bench.contenders import available
    from facelet.bench.measure import measure
    from facelet.bench.onnx_file import as_onnx
    from facelet.bench.plot import plot_rows
    from facelet.model_files import load_model

    show = Output(json_, quiet)
    check_folder(out)
    if nameless := next((name for name in backend or [] if name.endswith("=")), None):
        raise InputError(f"--backend {nameless}: names no file; give {nameless}FILE, or leave the = out")
    found = load_model(model)
    path = as_onnx(found.path, out)
    named = list(backend) if backend else available(show.note)
    shape = (3, found.card.height, found.card.width)
    rows: list[Row] = []
    for n_threads in threads or [1]:
        for n_images in batch or [1]:
            with show.progress(f"{found.card.name}, {n_threads} thread(s), batch {n_images}") as advance:
                rows += measure(
                    path,
                    shape,
                    named,
                    n_threads,
                    n_images,
                    blocks=blocks,
                    on_block=lambda done, total, name: advance(done, total, name),
                    on_failure=show.note if not backend else None,
                )
    result: dict[str, Any] = {"model": found.card.name, "sha256": found.sha256, "machine": machine()}
    result["rows"] = [vars(row) for row in rows]

    def write() -> None:
        write_text_atomic(out / "bench.json", json.dumps(result, indent=1) + "\n")

    write()  # the rows are kept even where the layers fail
    plot_rows(rows, found.card.name, out / "bench.png")
    if layers is not None:
        from facelet.bench.layers import layer_times

        with show.progress("layers"):
            result["layers"] = [layer_times(path, layers, n_threads) for n_threads in threads or [1]]
        write()
    show.value(result)
    _print(show, found.card.name, rows)
    for measured in result.get("layers", []):
        _print_layers(show, measured)
    show.note(f"written: {out / 'bench.json'}, {out / 'bench.png'}")


def machine() -> str:
    """The processor, its cores, and the versions that a time depends on."""
    import os
    import platform

    return f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"


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

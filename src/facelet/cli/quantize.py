"""`facelet quantize`: a float model as int8, calibrated on face crops, and how much noise each layer adds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facelet.cli.options import OutputOption, SizeOption, parse_size, refuse_idle, show_notes
from facelet.cli.output import JsonOption, Output, QuietOption, SeedOption
from facelet.errors import InputError, training_extra
from facelet.jobs.places import check_model_out
from facelet.threads import MOST_THREADS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from facelet.data.transfer import TransferSet
    from facelet.graph.ir import Graph
    from facelet.model import Model
    from facelet.quantize.report import LayerNoise


def quantize(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A shipped model's name or a .onnx file.")],
    calibration: Annotated[
        Path | None,
        typer.Option("--calibration", help="Face crops: shards or a folder of photos; synthetic faces without."),
    ] = None,
    images: Annotated[
        int, typer.Option("--images", min=8, max=10_000, help="Most crops that calibration looks at; others measure.")
    ] = 64,
    size: SizeOption = None,
    output: OutputOption = "",
    out: Annotated[Path | None, typer.Option("--out", help="The int8 model.", show_default="MODEL_int8.onnx")] = None,
    report: Annotated[
        Path | None, typer.Option("--report", help="Folder for each layer's signal to noise, as JSON and plot.")
    ] = None,
    distil: Annotated[
        float, typer.Option("--distil", min=0, help="Minutes of quantization-aware distillation from the float model.")
    ] = 0.0,
    learning_rate: Annotated[float, typer.Option("--learning-rate", help="Of the distillation.")] = 1e-4,
    threads: Annotated[
        int, typer.Option("--threads", min=1, max=MOST_THREADS, help="CPU threads of the distillation.")
    ] = 2,
    aligned: Annotated[
        bool, typer.Option("--aligned", help="The images of a folder are aligned crops already.")
    ] = False,
    json_: JsonOption = False,
    quiet: QuietOption = False,
    seed: SeedOption = 0,
) -> None:
    """Quantize a model to int8 that is exact everywhere."""
    from dataclasses import replace

    import numpy as np

    from facelet.atomic import check_folder
    from facelet.backends import run_graph
    from facelet.cli.graph import open_for, planes_of, synthetic_crops, write_changed
    from facelet.evaluate.png import check_plots
    from facelet.graph.passes import optimise
    from facelet.model_files import load_model
    from facelet.model_graph import model_graph
    from facelet.quantize.calibrate import calibrate, embedding_error
    from facelet.quantize.prepare import prepare
    from facelet.quantize.report import layer_noise
    from facelet.quantize.split import MEASURED, different_rows, split_rows

    show = Output(json_, quiet)
    if not 0 < learning_rate < math.inf:
        raise InputError(f"--learning-rate: must be above 0, found {learning_rate}")
    if not math.isfinite(distil):
        raise InputError(f"--distil: must be a number of minutes, found {distil}")
    if calibration is None:
        refuse_idle(context, "without --calibration", "--aligned")
    if not distil:
        refuse_idle(context, "without --distil", "--learning-rate")
    if report is not None:
        check_folder(report)
        check_plots()
    found = load_model(model)
    target = out or Path(f"{found.card.name}_int8.onnx")
    check_model_out(target, model)
    read = model_graph(found, size=parse_size(size), output=output)
    show_notes(show, found.path, read)
    graph = optimise(read)
    prepare(graph)  # what has no int8 form is said before any crop is read
    looked_at = calibration is not None or distil
    transfer = open_for(found, calibration, aligned, seed, show) if looked_at else None
    crops = synthetic_crops(images + MEASURED, seed, show) if transfer is None else transfer
    where = "synthetic faces" if calibration is None else str(calibration)
    seen, unseen = split_rows(different_rows(crops.crops, images + MEASURED, seed, where), images)
    planes, others = planes_of(found.card, crops, seen), planes_of(found.card, crops, unseen)
    with show.progress("calibrating") as advance:
        result = calibrate(graph, planes, lambda g, x: run_graph(g, x, threads), advance)
    wanted = run_graph(graph, others, threads)
    quantized = result.quantized
    calibrated = error = embedding_error(run_graph(quantized, others, threads), wanted)
    if distil and transfer is not None:
        rows = np.delete(np.arange(transfer.n_images), unseen)
        quantized = _distilled(found, graph, result, transfer, rows, target, distil, threads, learning_rate, seed, show)
        error = embedding_error(run_graph(quantized, others, threads), wanted)
        if error > calibrated:
            show.note(f"--distil {distil:g}: {error:.4f} from the float model, {calibrated:.4f} before; give it longer")
    write_changed(found, quantized, target, "int8")
    noise = layer_noise(replace(result, quantized=quantized), planes[:16])
    told: dict[str, Any] = {
        "model": str(target),
        "bytes": target.stat().st_size,
        "float_bytes": found.size_bytes,
        "embedding_error": error,
        "embedding_error_calibrated": calibrated,
        "embedding_error_seen": result.error,
        "calibration_crops": len(seen),
        "measured_crops": len(unseen),
        "distilled_minutes": distil,
        "layers": [vars(row) for row in noise],
    }
    if report is not None:
        _report(found.card.name, noise, told, report, show)
    show.value(told)
    _print(show, target, noise if report is not None else noise[:8], told)


def _distilled(
    model: Model,
    graph: Graph,
    result: Any,
    transfer: TransferSet,
    rows: NDArray[np.int64],
    out: Path,
    minutes: float,
    threads: int,
    learning_rate: float,
    seed: int,
    show: Output,
) -> Graph:
    from facelet.jobs.training import training_progress

    with training_extra():
        from facelet.train.int8_net import distil_int8
    with training_progress(show) as tick:
        return distil_int8(
            result,
            graph,
            model.card,
            transfer,
            out.parent / f"{out.stem}-distillation",
            minutes=minutes,
            rows=rows,
            threads=threads,
            seed=seed,
            learning_rate=learning_rate,
            on_tick=tick,
        )


def _report(name: str, noise: tuple[LayerNoise, ...], told: dict[str, Any], folder: Path, show: Output) -> None:
    import json

    from facelet.atomic import write_text_atomic
    from facelet.evaluate.noise_plot import plot_noise

    write_text_atomic(folder / "quantization.json", json.dumps(told, indent=1) + "\n")
    title = f"{name}: int8 against float, layer by layer"
    plot_noise([row.tensor for row in noise], [row.snr_db for row in noise], title, folder / "quantization.png")
    show.note(f"written: {folder / 'quantization.json'}, {folder / 'quantization.png'}")


def _print(show: Output, out: Path, noise: tuple[LayerNoise, ...], told: dict[str, Any]) -> None:
    rows = [(r.layer, r.tensor, r.fraction, f"{r.snr_db:.1f}", f"{100 * r.clipped:.2f}") for r in noise]
    columns = ("layer", "tensor", "fraction bits", "signal to noise dB", "clipped %")
    show.table(f"{out}: the noisiest layers", columns, rows)
    show.line(
        f"{told['bytes'] / 1e6:.2f} MB (float {told['float_bytes'] / 1e6:.2f} MB); mean squared distance of the "
        f"embeddings from the float model's {told['embedding_error']:.4f}, on {told['measured_crops']} crops that the "
        f"calibration on {told['calibration_crops']} others did not see"
    )
    show.note(f"{out}: has no thresholds yet; facelet calibrate measures them")

"""`facelet inspect` and `facelet prune`: a model's network layer by layer, and without what it can spare."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facelet.cli.options import OutputOption, SizeOption, parse_size, refuse_idle, show_notes
from facelet.cli.output import JsonOption, Output, QuietOption, SeedOption
from facelet.errors import InputError, UnknownNameError, training_extra
from facelet.jobs.places import check_model_out
from facelet.threads import MOST_THREADS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from facelet.data.transfer import TransferSet
    from facelet.graph.ir import Array, Graph
    from facelet.graph.passes.prune import Saving
    from facelet.graph.passes.result import Note
    from facelet.model import Card, Model

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="A shipped model's name or a .onnx file.")]


def inspect(
    model: ModelArgument,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Images at once.")] = 1,
    size: SizeOption = None,
    output: OutputOption = "",
    raw: Annotated[bool, typer.Option("--raw", help="As in the file, before folding and fusing.")] = False,
    png: Annotated[Path | None, typer.Option("--png", help="Draw the graph into this file.")] = None,
    json_: JsonOption = False,
    quiet: QuietOption = False,
    _seed: SeedOption = 0,
) -> None:
    """Print a network's layers: shapes, parameters, MACs, memory."""
    from facelet.evaluate.png import check_plots
    from facelet.graph.passes import optimise
    from facelet.graph.size import largest_live_bytes, layers
    from facelet.model_graph import file_graph

    show = Output(json_, quiet)
    if png is not None and png.suffix != ".png":
        raise InputError(f"--png {png}: give a file that ends in .png")
    if png is not None:
        check_plots()
    path, graph = file_graph(model, batch, size=parse_size(size), output=output)
    show_notes(show, path, graph)
    graph = graph if raw else optimise(graph)
    rows = layers(graph)
    totals = {
        "nodes": len(rows),
        "parameters": sum(row.parameters for row in rows),
        "macs": sum(row.macs for row in rows),
        "traffic_bytes": sum(row.traffic_bytes for row in rows),
        "largest_live_bytes": largest_live_bytes(graph),
    }
    if png is not None:
        from facelet.evaluate.graph_plot import plot_graph

        plot_graph(graph, png)
        show.note(f"written: {png}")
    show.value(
        {
            "model": path.stem,
            **totals,
            "layers": [vars(row) for row in rows],
        }
    )
    show.table(
        f"{path.stem}, batch {batch}",
        ("op", "output", "shape", "parameters", "k MACs", "activation kB"),
        [
            (
                row.op,
                row.name,
                "x".join(map(str, row.shape)),
                row.parameters,
                row.macs // 1000,
                _kb(row.activation_bytes),
            )
            for row in rows
        ],
    )
    show.line(
        f"{totals['nodes']} nodes, {totals['parameters']:,} parameters, {totals['macs'] / 1e6:.1f} M MACs, "
        f"{totals['traffic_bytes'] / 1e6:.1f} MB read and written, "
        f"at most {totals['largest_live_bytes'] / 1e3:.0f} kB of activations at once"
    )


def prune(
    context: typer.Context,
    model: ModelArgument,
    out: Annotated[Path, typer.Option("--out", help="The pruned model.")] = Path("pruned.onnx"),
    size: SizeOption = None,
    output: OutputOption = "",
    recover: Annotated[
        Path | None,
        typer.Option("--recover", help="Transfer set on which the pruned net learns what the unpruned one says."),
    ] = None,
    minutes: Annotated[float, typer.Option("--minutes", help="Of recovery.")] = 10.0,
    kind: Annotated[
        list[str] | None, typer.Option("--kind", help="Of layers: LRN, constant, power; repeat.", show_default="all")
    ] = None,
    channels: Annotated[
        float | None,
        typer.Option("--channels", help="Share of the hidden channels of inverted residuals that stay, not layers."),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            "--calibration",
            help="Face crops to choose channels by.",
            show_default="those of --recover, or synthetic ones",
        ),
    ] = None,
    images: Annotated[
        int, typer.Option("--images", min=8, max=10_000, help="Crops that channels are chosen by.")
    ] = 256,
    threads: Annotated[
        int, typer.Option("--threads", min=1, max=MOST_THREADS, help="CPU threads of the recovery.")
    ] = 2,
    aligned: Annotated[
        bool, typer.Option("--aligned", help="The images of a folder are aligned crops already.")
    ] = False,
    json_: JsonOption = False,
    quiet: QuietOption = False,
    seed: SeedOption = 0,
) -> None:
    """Remove LRN, power and constant layers, or hidden channels."""
    from facelet.graph.passes import checked, difference
    from facelet.graph.passes.channels import inverted_residuals
    from facelet.graph.passes.prune import KINDS, pruned_with_savings, saving
    from facelet.graph.size import layers
    from facelet.model_files import load_model
    from facelet.model_graph import model_graph

    show = Output(json_, quiet)
    check_model_out(out, model)
    for name in kind or ():
        if name not in KINDS:
            raise UnknownNameError("kind", name, KINDS)
    if kind and channels is not None:
        raise InputError("--kind: is of layers, --channels of channels; give one of the two")
    if recover is None:
        refuse_idle(context, "without --recover", "--minutes", "--threads")
    if channels is None:
        refuse_idle(context, "without --channels", "--calibration", "--images")
    if recover is None and calibration is None:
        refuse_idle(context, "without --recover or --calibration", "--aligned")
    found = load_model(model)
    original = model_graph(found, size=parse_size(size), output=output)
    show_notes(show, found.path, original)
    start = checked(checked(original, "clean").graph, "fold").graph
    if channels is not None:
        inverted_residuals(start)  # a net without is refused before any crop is read
    transfer = None if recover is None else open_for(found, recover, aligned, seed, show)
    if channels is None:
        pruned, notes, savings = pruned_with_savings(start, kind or KINDS)
        if not savings:
            wanted = " or ".join(kind or KINDS)
            raise InputError(f"{found.card.name}: nothing to prune: it has no {wanted} layer that can go")
        for note in notes:
            if not note.applied:
                show.note(f"{note.node}: left alone, {note.reason}")
    else:
        crops = transfer if calibration is None else open_for(found, calibration, aligned, seed, show)
        pruned, notes = _narrowed(found, start, channels, crops, images, seed, show)
        savings = (saving(start, pruned, f"hidden channels of {len(notes)} inverted residuals"),)
        for note in notes:
            show.note(f"{note.node}: {note.reason}")
    apart = difference(original, pruned)
    if transfer is not None:
        pruned = _recovered(found, original, pruned, transfer, out, minutes, threads, seed, show)
    counts = layers(pruned)
    macs, parameters = sum(row.macs for row in counts), sum(row.parameters for row in counts)
    write_changed(found, pruned, out, "pruned", macs=macs, parameters=parameters)
    total = saving(start, pruned, "all of them")
    result: dict[str, Any] = {"model": str(out), "removed": [vars(s) for s in savings], "total": vars(total)}
    result["output_difference"] = apart
    result["recovered"] = recover is not None
    show.value(result)
    _print(show, out, [*savings, total] if len(savings) > 1 else list(savings))
    show.note(f"{out}: has no thresholds, as those of the unpruned model do not hold; facelet calibrate measures them")


def _narrowed(
    model: Model, start: Graph, keep: float, crops: TransferSet | None, images: int, seed: int, show: Output
) -> tuple[Graph, tuple[Note, ...]]:
    import numpy as np

    from facelet.graph.passes.channels import channels
    from facelet.quantize.split import different_rows

    crops = crops or synthetic_crops(images, seed, show)
    rows = different_rows(crops.crops, images, seed, "--calibration")
    planes = planes_of(model.card, crops, np.sort(rows))
    narrowed = channels(start, planes, keep)
    if not narrowed.notes:
        raise InputError(f"--channels {keep:g}: every channel stays; give less")
    return narrowed.graph, narrowed.notes


def synthetic_crops(count: int, seed: int, show: Output) -> TransferSet:
    """Synthetic faces in the place of `--calibration`."""
    from facelet.data.synthetic_transfer import synthetic_transfer_set

    show.note("no --calibration: looking at synthetic faces")
    return synthetic_transfer_set(count, 1, seed)


def planes_of(card: Card, crops: TransferSet, rows: NDArray[np.int64]) -> Array:
    """Clean crops of a set as a network takes them, `(n, 3, h, w)` float32."""
    from facelet.backends import network_input
    from facelet.canvas import canvas_inputs

    return network_input(canvas_inputs(card, crops.crops[rows]), card)


def _recovered(
    model: Model,
    original: Graph,
    pruned: Graph,
    transfer: TransferSet,
    out: Path,
    minutes: float,
    threads: int,
    seed: int,
    show: Output,
) -> Graph:
    from facelet.jobs.training import training_progress

    with training_extra():
        from facelet.train.recover import recover
    with training_progress(show) as tick:
        return recover(
            original,
            pruned,
            model.card,
            transfer,
            out.parent / f"{out.stem}-recovery",
            minutes=minutes,
            threads=threads,
            seed=seed,
            on_tick=tick,
        )


def write_changed(model: Model, graph: Graph, out: Path, how: str, **counted: Any) -> None:
    """Writes a changed network with the card of the model that it came from, less what was measured on that one.

    Args:
        how: ending of the new name, such as "pruned".
        counted: fields of the card that the change altered.
    """
    import dataclasses

    from facelet.model_files import save_model

    card = dataclasses.replace(
        model.card,
        name=f"{model.card.name}_{how}",
        metrics={},
        thresholds={},
        output_name="",  # what was chosen is the file's first output now
        recipe="; ".join(part for part in (model.card.recipe, _command_line()) if part),
        **counted,
    )
    save_model(out, dataclasses.replace(graph, name=card.name), card)


def _command_line() -> str:
    """The command line for the card: absolute paths of files, which name a machine, are cut to their last part."""
    words = (Path(a).name if Path(a).is_absolute() and Path(a).exists() else a for a in sys.argv[1:])
    return shlex.join(["facelet", *words])


def open_for(model: Model, data: Path | None, aligned: bool, seed: int, show: Output) -> TransferSet:
    """The crops of `--recover` or `--calibration`: what a net has not met so far, no later step shows it either."""
    from facelet.data.heldout import HELDOUT_NOTE
    from facelet.jobs.crops import CropSource, open_crops

    source = CropSource(data=data, aligned=aligned, exclude_heldout=HELDOUT_NOTE in model.card.data)
    return open_crops(source, seed, show)


def _print(show: Output, out: Path, savings: list[Saving]) -> None:
    columns = ("removed", "kernels", "parameters", "MACs", "kB read and written")
    rows = [(s.what, s.kernels, s.parameters, s.macs, _kb(s.traffic_bytes)) for s in savings]
    show.table(f"{out}: what was saved", columns, rows)


def _kb(size: int) -> str:
    return f"{size / 1000:,.1f}"

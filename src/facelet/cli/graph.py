"""`facelet inspect` and `facelet prune`: a model's network layer by layer, and without the layers it can spare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facelet.cli.output import JsonOption, Output, QuietOption, SeedOption
from facelet.errors import GraphError, InputError, training_extra

if TYPE_CHECKING:
    from facelet.data.transfer import TransferSet
    from facelet.graph.ir import Graph
    from facelet.graph.passes.prune import Saving
    from facelet.model import Model

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="A shipped model's name or a .onnx file.")]


def inspect(
    model: ModelArgument,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Images at once.")] = 1,
    size: Annotated[
        str | None, typer.Option("--size", help="Of one input, where the file leaves it open: 3x320x320.")
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="As in the file, before folding and fusing.")] = False,
    png: Annotated[Path | None, typer.Option("--png", help="Draw the graph into this file.")] = None,
    json_: JsonOption = False,
    quiet: QuietOption = False,
    _seed: SeedOption = 0,
) -> None:
    """Print a network's layers: shapes, parameters, MACs, memory."""
    from facelet.graph.passes import optimise
    from facelet.graph.size import largest_live_bytes, layers
    from facelet.model_files import find_model

    show = Output(json_, quiet)
    path = find_model(model)
    graph = read_model_graph(path, batch, _sizes(size))
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
    model: ModelArgument,
    out: Annotated[Path, typer.Option("--out", help="The pruned model.")] = Path("pruned.onnx"),
    recover: Annotated[
        Path | None,
        typer.Option("--recover", help="Transfer set on which the pruned net learns what the unpruned one says."),
    ] = None,
    minutes: Annotated[float, typer.Option("--minutes", help="Of recovery.")] = 10.0,
    threads: Annotated[int, typer.Option("--threads", min=1, help="CPU threads of the recovery.")] = 2,
    aligned: Annotated[
        bool, typer.Option("--aligned", help="The images of a folder are aligned crops already.")
    ] = False,
    json_: JsonOption = False,
    quiet: QuietOption = False,
    seed: SeedOption = 0,
) -> None:
    """Remove LRN, power and constant layers from a model."""
    from facelet.graph.passes import checked, difference
    from facelet.graph.passes.prune import pruned_with_savings, saving
    from facelet.graph.size import layers
    from facelet.model_files import load_model

    show = Output(json_, quiet)
    if out.suffix != ".onnx" or out.is_dir():
        raise InputError(f"--out {out}: give a file that ends in .onnx")
    found = load_model(model)
    original = read_model_graph(found.path)
    start = checked(checked(original, "clean").graph, "fold").graph
    pruned, notes, savings = pruned_with_savings(start)
    for note in notes:
        if not note.applied:
            show.note(f"{note.node}: left alone, {note.reason}")
    if not savings:
        raise InputError(f"{found.card.name}: nothing to prune: it has no LRN, power or constant layer")
    apart = difference(original, pruned)
    if recover is not None:
        pruned = _recovered(found, original, pruned, recover, out, minutes, threads, aligned, seed, show)
    counts = layers(pruned)
    macs, parameters = sum(row.macs for row in counts), sum(row.parameters for row in counts)
    write_changed(found, pruned, out, "pruned", macs=macs, parameters=parameters)
    total = saving(start, pruned, "all of them")
    result: dict[str, Any] = {"model": str(out), "removed": [vars(s) for s in savings], "total": vars(total)}
    result["output_difference"] = apart
    result["recovered"] = recover is not None
    show.value(result)
    _print(show, out, [*savings, total])
    show.note(f"{out}: has no thresholds, as those of the unpruned model do not hold; facelet calibrate measures them")


def _recovered(
    model: Model,
    original: Graph,
    pruned: Graph,
    data: Path,
    out: Path,
    minutes: float,
    threads: int,
    aligned: bool,
    seed: int,
    show: Output,
) -> Graph:
    from facelet.cli.train import training_bar

    with training_extra():
        from facelet.train.recover import recover
    transfer = open_for(model, data, aligned, seed, show)
    with training_bar(show) as tick:
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


def read_model_graph(path: Path, batch: int = 1, size: tuple[int, ...] | None = None) -> Graph:
    """The graph of an ONNX file; errors name the file."""
    from facelet.graph.onnx_io import read_graph

    if path.suffix != ".onnx":
        raise InputError(f"{path}: only .onnx files can be read as a graph")
    try:
        return read_graph(path, batch, input_shape=size)
    except GraphError as error:
        raise GraphError(f"{path}: {error}") from error


def _sizes(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(side) for side in text.split("x"))
    except ValueError as error:
        raise InputError(f"--size {text}: expected numbers joined by x, for example 3x320x320") from error


def write_changed(model: Model, graph: Graph, out: Path, how: str, **counted: Any) -> None:
    """Writes a changed network with the card of the model that it came from, less what was measured on that one.

    Args:
        how: ending of the new name, such as "pruned".
        counted: fields of the card that the change altered.
    """
    import dataclasses

    from facelet.cli.train import command_line
    from facelet.model_files import save_model

    card = dataclasses.replace(
        model.card,
        name=f"{model.card.name}_{how}",
        metrics={},
        thresholds={},
        recipe="; ".join(part for part in (model.card.recipe, command_line()) if part),
        **counted,
    )
    save_model(out, graph, card)


def open_for(model: Model, data: Path | None, aligned: bool, seed: int, show: Output) -> TransferSet:
    """The crops of `--recover` or `--calibration`: what a net has not met so far, no later step shows it either."""
    from facelet.cli.train import open_data
    from facelet.data.heldout import HELDOUT_NOTE

    return open_data(data, aligned, "dlib", None, seed, show, exclude_heldout=HELDOUT_NOTE in model.card.data)


def _print(show: Output, out: Path, savings: list[Saving]) -> None:
    columns = ("removed", "kernels", "MACs", "kB read and written")
    rows = [(s.what, s.kernels, s.macs, _kb(s.traffic_bytes)) for s in savings]
    show.table(f"{out}: what was saved", columns, rows)


def _kb(size: int) -> str:
    return f"{size / 1000:,.1f}"

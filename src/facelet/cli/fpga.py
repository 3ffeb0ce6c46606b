"""`facelet fpga`: boards, the cost model's errors, the fastest engine for a model on a board, and a report of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facelet.cli.options import OutputOption, SizeOption, parse_size, refuse_idle, show_notes
from facelet.cli.output import JsonOption, Output, QuietOption, SeedOption
from facelet.errors import InputError

if TYPE_CHECKING:
    from facelet.fpga.cost import LayerShape
    from facelet.fpga.explore import Candidate

app = typer.Typer(no_args_is_help=True)

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="A shipped model's name or a .onnx file.")]
BoardOption = Annotated[str, typer.Option("--board", help="Name of a board; facelet fpga boards lists them.")]
LaunchOption = Annotated[
    bool,
    typer.Option("--one-launch", help="The engine takes its layers from a table; the host starts the net once."),
]


@app.command("boards")
def boards(json_: JsonOption = False, quiet: QuietOption = False, _seed: SeedOption = 0) -> None:
    """List the boards: what each offers, and what of it is not verified."""
    import dataclasses

    from facelet.fpga.boards import BOARDS

    show = Output(json_, quiet)
    fields = [field.name for field in dataclasses.fields(next(iter(BOARDS.values()))) if field.name != "sources"]
    show.value([{**{name: getattr(b, name) for name in fields}, "sources": dict(b.sources)} for b in BOARDS.values()])
    columns = ("board", "device", "logic", "DSP", "MACs per DSP", "RAM", "GB/s", "MHz", "W", "not verified")
    rows = [
        (
            b.name,
            b.device,
            f"{b.logic:,} {b.logic_unit}",
            b.dsp,
            b.macs_per_dsp,
            f"{b.ram_blocks:,} {b.ram_unit}",
            b.peak_gbs,
            b.clock_mhz,
            b.power_w or "-",
            ", ".join(b.unverified) or "-",
        )
        for b in BOARDS.values()
    ]
    show.table("Boards", columns, rows)
    show.note("the source of every figure: facelet fpga boards --json")


@app.command("validate")
def validate(json_: JsonOption = False, quiet: QuietOption = False, _seed: SeedOption = 0) -> None:
    """Compare the cost model with published figures; exit 1 where a bar is broken."""
    from facelet.fpga.validate import points

    show = Output(json_, quiet)
    every = points()
    broken = [point for point in every if point.within is False]
    show.value({"points": [point.to_dict() for point in every], "broken": len(broken)})
    rows = [
        (
            p.name,
            p.unit,
            f"{p.predicted:,.2f}",
            f"{p.published:,.2f}",
            f"{100 * p.error:+.1f} %",
            "-" if p.bar is None else f"{100 * p.bar:.0f} %",
            {True: "yes", False: "NO", None: "-"}[p.within],
            "fitted" if p.fitted else "",
            p.source,
        )
        for p in every
    ]
    columns = ("point", "unit", "predicted", "published", "error", "bar", "within", "", "source")
    show.table("The cost model against published figures", columns, rows)
    held = sum(p.within is not None for p in every)
    show.line(f"{held - len(broken)} of {held} bars kept; {sum(p.fitted for p in every)} of {len(every)} points fitted")
    if broken:
        raise typer.Exit(1)


@app.command("explore")
def explore(
    model: ModelArgument,
    board: BoardOption,
    size: SizeOption = None,
    output: OutputOption = "",
    one_launch: LaunchOption = False,
    png: Annotated[Path | None, typer.Option("--png", help="Draw the Pareto front into this file.")] = None,
    json_: JsonOption = False,
    quiet: QuietOption = False,
    _seed: SeedOption = 0,
) -> None:
    """Find the fastest engine for a model that fits a board."""
    from facelet.evaluate.png import check_plots
    from facelet.fpga.boards import find_board
    from facelet.fpga.explore import explore as search
    from facelet.fpga.published import PEERS

    show = Output(json_, quiet)
    if png is not None:
        check_plots()
    target = find_board(board)
    name, shapes = _shapes(model, size, output, show)
    found = search(shapes, target, launch_per_layer=not one_launch)
    peers = [peer for peer in PEERS if peer.board == target.name]
    if png is not None:
        from facelet.atomic import write_bytes_atomic
        from facelet.fpga.plots import pareto_png

        write_bytes_atomic(png, pareto_png(found, name))
        show.note(f"written: {png}")
    show.value(
        {
            "model": name,
            "board": target.name,
            "estimated": True,
            "binding": found.binding,
            "best": _candidate(found.best),
            "pareto": [_candidate(candidate) for candidate in found.pareto],
            "peers": [vars(peer) for peer in peers],
            "fitting": len(found.fitting),
            "tried": found.tried,
        }
    )
    columns = ("VEC", "LANE", "DW", "GP", "weight KiB", "ms", "frames/s", "logic", "DSP", "RAM")
    rows = [
        (
            c.config.vec_size,
            c.config.lane_num,
            c.config.dw_lanes,
            c.config.gp,
            c.config.weight_buffer // 1024,
            f"{c.ms:.3f}",
            f"{1e3 / c.ms:.1f}",
            *(f"{share:.0%}" for share in c.used.shares.values()),
        )
        for c in found.pareto
    ]
    show.table(f"{name} on {target.name}, estimated: engines that no other beats in time and size", columns, rows)
    if peers:
        others = [(p.engine, p.net, p.gmacs or "-", f"{p.frames_per_s:.1f}", p.source) for p in peers]
        show.table("Published by others on this board", ("engine", "net", "GMAC", "frames/s", "source"), others)
    show.line(
        f"fastest: {found.best.config}: {found.best.ms:.3f} ms, {1e3 / found.best.ms:.1f} frames/s (estimated); "
        f"what binds: {found.binding}"
    )


@app.command("report")
def report(
    context: typer.Context,
    model: ModelArgument,
    board: BoardOption,
    out: Annotated[Path, typer.Option("--out", help="Folder for report.html, report.json and report.png.")],
    size: SizeOption = None,
    output: OutputOption = "",
    vec_size: Annotated[
        int | None, typer.Option("--vec-size", min=1, help="Input channels per cycle; without it the explorer chooses.")
    ] = None,
    lane_num: Annotated[int | None, typer.Option("--lane-num", min=1, help="Output channels at once.")] = None,
    dw_lanes: Annotated[
        int | None, typer.Option("--dw-lanes", min=0, help="Channels of the depthwise array; LANE_NUM.")
    ] = None,
    gp: Annotated[int | None, typer.Option("--gp", min=1, help="Output columns per cached window; 7.")] = None,
    weight_buffer: Annotated[
        int | None, typer.Option("--weight-buffer", min=0, help="KiB of weights on chip; 16.")
    ] = None,
    one_launch: LaunchOption = False,
    json_: JsonOption = False,
    quiet: QuietOption = False,
    _seed: SeedOption = 0,
) -> None:
    """Write the design report of a model on a board: layers, roofline, resources, energy."""
    from facelet.atomic import check_folder
    from facelet.evaluate.png import NO_PLOTS, can_plot
    from facelet.fpga.boards import find_board
    from facelet.fpga.engine import EngineConfig
    from facelet.fpga.explore import explore as search
    from facelet.fpga.report import design_report
    from facelet.fpga.report_files import write_report

    show = Output(json_, quiet)
    check_folder(out)
    target = find_board(board)
    name, shapes = _shapes(model, size, output, show)
    if (vec_size is None) != (lane_num is None):
        raise InputError("--vec-size and --lane-num: give both, or neither and the explorer chooses")
    if vec_size is None or lane_num is None:
        refuse_idle(context, "without --vec-size and --lane-num", "--dw-lanes", "--gp", "--weight-buffer")
        found = search(shapes, target, launch_per_layer=not one_launch)
        config, chosen = found.best.config, f"chosen as the fastest that fits; what binds: {found.binding}"
    else:
        lanes = lane_num if dw_lanes is None else dw_lanes
        weights = 1024 * (16 if weight_buffer is None else weight_buffer)
        config = EngineConfig(vec_size, lane_num, lanes, gp or 7, weights, launch_per_layer=not one_launch)
        chosen = "given by hand"
    made = design_report(name, shapes, config, target, chosen)
    for path in write_report(made, out):
        show.note(f"written: {path}")
    if not can_plot():
        show.note(NO_PLOTS)
    show.value(made.to_dict())
    slowest = sorted(made.layers, key=lambda cost: -cost.cycles)[:10]
    rows = [
        (c.shape.name, c.shape.kind, c.shape.macs // 1000, round(c.cycles), f"{made.layer_ms(c):.3f}", c.bound)
        for c in slowest
    ]
    columns = ("layer", "kind", "k MACs", "cycles", "ms", "bound")
    show.table(f"{name} on {target.name}, estimated: the ten slowest of {len(made.layers)} layers", columns, rows)
    energy = "" if made.energy_mj is None else f", {made.energy_mj:.1f} mJ at the board's published power"
    shares = ", ".join(f"{key} {share:.0%}" for key, share in made.used.shares.items())
    show.line(f"{made.config}: {made.ms:.3f} ms, {1e3 / made.ms:.1f} frames/s{energy}; {shares} (all estimated)")


def _shapes(model: str, size: str | None, output: str, show: Output) -> tuple[str, tuple[LayerShape, ...]]:
    """A model's name and its layers as the engine runs them, one image at a time."""
    from dataclasses import replace

    from facelet.fpga.schedule import layer_shapes
    from facelet.graph.passes import optimise
    from facelet.model_graph import file_graph

    path, graph = file_graph(model, size=parse_size(size), output=output)
    show_notes(show, path, graph)
    return path.stem, layer_shapes(replace(optimise(graph), name=path.stem))


def _candidate(candidate: Candidate) -> dict[str, Any]:
    """For JSON."""
    used = candidate.used
    return {
        "engine": vars(candidate.config),
        "ms": candidate.ms,
        "frames_per_s": 1e3 / candidate.ms,
        "logic": used.logic,
        "dsp": used.dsp,
        "ram": used.ram,
        "shares": used.shares,
    }


@app.command("synth")
def synth(
    vec_size: Annotated[int, typer.Option("--vec-size", min=1, help="Input channels per cycle.")] = 4,
    lane_num: Annotated[int, typer.Option("--lane-num", min=1, help="Output channels per cycle.")] = 4,
    json_: JsonOption = False,
    quiet: QuietOption = False,
    _seed: SeedOption = 0,
) -> None:
    """Synthesise the array with yosys and compare its counts with the model."""
    from facelet.fpga.engine import EngineConfig
    from facelet.fpga.synth import FAMILIES, synthesise

    show = Output(json_, quiet)
    config = EngineConfig(vec_size=vec_size, lane_num=lane_num)
    found = []
    with show.progress("yosys") as advance:
        for done, family in enumerate(FAMILIES):
            advance(done, len(FAMILIES), family)
            found.append(synthesise(config, family))
    show.value([{**vars(s), "block_deviation": s.block_deviation} for s in found])
    columns = (
        "family",
        "MACs",
        "multipliers",
        "DSP blocks",
        "estimated",
        "deviation",
        "logic",
        "estimated",
        "flip-flops",
    )
    rows = [
        (
            s.family,
            s.macs,
            s.multipliers,
            s.blocks,
            s.estimated_blocks,
            f"{s.block_deviation:+.0%}",
            s.logic,
            s.estimated_logic,
            s.flip_flops,
        )
        for s in found
    ]
    show.table(f"The array {config}, synthesised beside estimated", columns, rows)
    show.note("the estimate's logic also pays for the channels and the control that a lane needs; the core has neither")

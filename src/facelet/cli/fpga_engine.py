"""`facelet fpga emulate` and `facelet fpga export`: the engine run here, and everything that a board needs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facelet.cli.options import refuse_idle
from facelet.cli.output import JsonOption, Output, QuietOption, SeedOption

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from facelet.fpga.emulate import LayerCheck
    from facelet.graph.ir import Graph
    from facelet.model import Card, Model

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="An int8 model: a shipped one's name or a file.")]
VecOption = Annotated[int, typer.Option("--vec-size", min=1, help="Input channels per cycle.")]
LaneOption = Annotated[int, typer.Option("--lane-num", min=1, help="Output channels at once.")]
DwOption = Annotated[
    int | None, typer.Option("--dw-lanes", min=0, help="Channels of the depthwise array; LANE_NUM without it.")
]
GpOption = Annotated[int, typer.Option("--gp", min=1, help="Output columns per cached window, at most.")]
WeightOption = Annotated[int, typer.Option("--weight-buffer", min=0, help="KiB of weights on chip.")]


class Flavour(StrEnum):
    """Kinds of source text."""

    OPENCL = "opencl"
    C = "c"


MARKS = {Flavour.OPENCL: "engine.cl", Flavour.C: "facelet_net.c"}
"""A file that only an export of that flavour has."""

ENGINE_OPTIONS = ("--vec-size", "--lane-num", "--dw-lanes", "--gp", "--weight-buffer")

MODEL_ERROR_BAR = 0.05
"""Largest allowed error of the cost model's loop trips, each layer."""


def emulate(
    model: ModelArgument,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Photos, or crops of the network's size.")],
    device: Annotated[
        str, typer.Option("--device", help="OpenCL device; any but the emulator runs without channels.")
    ] = "intel-fpga",
    vec_size: VecOption = 16,
    lane_num: LaneOption = 16,
    dw_lanes: DwOption = None,
    gp: GpOption = 7,
    weight_buffer: WeightOption = 64,
    at_once: Annotated[bool, typer.Option("--at-once", help="Also run the first image in one launch.")] = False,
    json_: JsonOption = False,
    quiet: QuietOption = False,
    _seed: SeedOption = 0,
) -> None:
    """Run an int8 model on the emulated engine; exit 1 where it is not exact."""
    from facelet.backends import network_input
    from facelet.fpga.emulate import check_layers, quantized
    from facelet.fpga.emulate import emulate as run
    from facelet.fpga.engine import EngineConfig
    from facelet.fpga.lower import layer_table

    show = Output(json_, quiet)
    found, graph = _int8_graph(model)
    config = EngineConfig(vec_size, lane_num, lane_num if dw_lanes is None else dw_lanes, gp, 1024 * weight_buffer)
    table = layer_table(graph, config)
    crops = [network_input(_crop(path, found.card)[None], found.card)[0] for path in images]
    ran = run(table, [quantized(graph, table, crop) for crop in crops], device, at_once=at_once)
    checks = [check_layers(graph, table, crop, image) for crop, image in zip(crops, ran.images, strict=True)]
    wrong = sum(check.wrong for image in checks for check in image)
    worst = max(abs(check.error) for image in checks for check in image)
    last = ran.images[0].maps[table.layers[-1].shape.name]
    same = None if ran.at_once is None else bool((ran.at_once == last).all())
    show.value(
        {
            "model": graph.name,
            "device": ran.device,
            "engine": vars(table.config),
            "build_s": ran.build_s,
            "layers": len(table.layers),
            "wrong": wrong,
            "largest_cost_error": worst,
            "one_launch_agrees": same,
            "images": [
                {"image": str(path), "seconds": image.seconds, "layers": [_record(check) for check in layers]}
                for path, image, layers in zip(images, ran.images, checks, strict=True)
            ],
        }
    )
    rows = [
        (c.name, c.kind, c.values, c.wrong, c.counted, c.idle, c.predicted, f"{100 * c.error:+.1f} %")
        for c in checks[0]
    ]
    columns = ("layer", "kind", "integers", "wrong", "trips counted", "idle", "predicted", "error")
    show.table(f"{graph.name} on {ran.device}, {table.config}: {images[0].name}", columns, rows)
    seconds = ", ".join(f"{image.seconds:.2f}" for image in ran.images)
    show.line(
        f"{wrong} integers wrong in {len(table.layers)} layers of {len(images)} images; the cost model's trips are off "
        f"by {100 * worst:.1f} % at most; built in {ran.build_s:.1f} s, {seconds} s per image"
    )
    if same is not None:
        show.line(f"one launch for all layers: {'the same integers' if same else 'OTHER INTEGERS'}")
    if wrong or worst > MODEL_ERROR_BAR or same is False:
        raise typer.Exit(1)


def _record(check: LayerCheck) -> dict[str, Any]:
    return {**vars(check), "error": check.error}


def _int8_graph(name: str) -> tuple[Model, Graph]:
    """A model and its optimised graph, named as its file."""
    from dataclasses import replace

    from facelet.graph.passes import optimise
    from facelet.model_files import load_model
    from facelet.model_graph import model_graph

    model = load_model(name)
    return model, replace(optimise(model_graph(model)), name=model.path.stem)


def _crop(path: Path, card: Card) -> NDArray[np.uint8]:
    """What the network sees of a photo, `(h, w, 3)` RGB; an image of the network's size is taken as it is."""
    from facelet.faces.images import read_image
    from facelet.photo import face_crops

    image = read_image(path)
    if image.shape[:2] == (card.height, card.width):
        return image
    return face_crops(path, card.template, card.height, card.width, every=False)[0].crop


def export(
    context: typer.Context,
    model: ModelArgument,
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")],
    board: Annotated[
        str | None, typer.Option("--board", help="For opencl: name of a board; facelet fpga boards lists them.")
    ] = None,
    flavour: Annotated[
        Flavour, typer.Option("--flavour", help="opencl: kernels and a C++ host for --board; c: C99 without a heap.")
    ] = Flavour.OPENCL,
    vec_size: Annotated[
        int | None, typer.Option("--vec-size", min=1, help="Input channels per cycle; without it the explorer chooses.")
    ] = None,
    lane_num: Annotated[int | None, typer.Option("--lane-num", min=1, help="Output channels at once.")] = None,
    dw_lanes: DwOption = None,
    gp: GpOption = 7,
    weight_buffer: WeightOption = 64,
    far: Annotated[float, typer.Option("--far", help="False accept rate whose threshold decides.")] = 1e-3,
    json_: JsonOption = False,
    quiet: QuietOption = False,
    _seed: SeedOption = 0,
) -> None:
    """Write an int8 model as source for a board: kernels, weights and a host program, or C alone."""
    from facelet.errors import InputError

    show = Output(json_, quiet)
    _check_folder(out, flavour)
    if flavour is Flavour.C:
        refuse_idle(context, "with --flavour c", "--board", "--far", *ENGINE_OPTIONS)
        _export_c(model, out, show)
        return
    if board is None:
        raise InputError("--board: the flavour opencl needs one; facelet fpga boards lists them")
    if vec_size is None and lane_num is None:
        refuse_idle(context, "without --vec-size and --lane-num", *ENGINE_OPTIONS)
    _export_opencl(model, out, board, (vec_size, lane_num, dw_lanes, gp, weight_buffer), far, show)


def _check_folder(out: Path, flavour: Flavour) -> None:
    """Refuses a folder that holds the other flavour: both have a Makefile, and one would build the other's files.

    Raises:
        InputError: it does.
    """
    from facelet.errors import InputError

    other = Flavour.C if flavour is Flavour.OPENCL else Flavour.OPENCL
    if (out / MARKS[other]).exists():
        raise InputError(f"--out {out}: holds an export of the flavour {other.value}; give another folder")


def _export_c(model: str, out: Path, show: Output) -> None:
    from facelet.cexport.export import export_c

    result = export_c(model, out)
    show.value({"flavour": Flavour.C.value, **result})
    rows = [(key.replace("_", " "), value) for key, value in result.items() if key not in ("files", "out")]
    show.table(f"{result['model']} in {out}", ("what", "value"), rows)
    show.note(f"written: {', '.join(result['files'])}; build it with: make -C {out}")


def _export_opencl(
    model: str,
    out: Path,
    board: str,
    engine: tuple[int | None, int | None, int | None, int, int],
    far: float,
    show: Output,
) -> None:
    """Kernels, packed weights, layer table, a host program in C++ and its Makefile.

    Args:
        engine: vec_size, lane_num, dw_lanes, gp and KiB of weights; without the first two the explorer chooses.
    """
    from dataclasses import replace

    import numpy as np

    from facelet.backends import network_input
    from facelet.errors import InputError
    from facelet.fpga.boards import find_board
    from facelet.fpga.engine import EngineConfig
    from facelet.fpga.explore import explore
    from facelet.fpga.export import export as write
    from facelet.fpga.lower import layer_table
    from facelet.fpga.resources import check_fits
    from facelet.fpga.schedule import layer_shapes

    vec_size, lane_num, dw_lanes, gp, weight_buffer = engine
    target = find_board(board)
    found, graph = _int8_graph(model)
    threshold = found.card.threshold_at(far)
    if (vec_size is None) != (lane_num is None):
        raise InputError("--vec-size and --lane-num: give both, or neither and the explorer chooses")
    if vec_size is None or lane_num is None:
        best = explore(layer_shapes(graph), target).best.config
        config = replace(best, window_buffer=0, dw_window_buffer=0)
    else:
        lanes = lane_num if dw_lanes is None else dw_lanes
        config = EngineConfig(vec_size, lane_num, lanes, gp, 1024 * weight_buffer)
    table = layer_table(graph, config)
    used = check_fits(table.config, target)
    grey = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    pixels = network_input(grey[None, :, None, :], found.card)[0, :, :, 0].T
    written = write(graph, table, target, pixels, found.card.color, threshold, out)
    shares = {name: round(share, 4) for name, share in used.shares.items()}
    show.value(
        {
            "flavour": Flavour.OPENCL.value,
            "model": graph.name,
            "board": target.name,
            "engine": vars(table.config),
            "layers": len(table.layers),
            "weight_bytes": table.dense_weights.nbytes + table.narrow_weights.nbytes,
            "arena_bytes": table.placement.vectors * table.config.vec_size,
            "threshold": threshold,
            "shares": shares,
            "files": [str(path) for path in written],
        }
    )
    show.line(f"{graph.name} for {target.name}: {table.config}, {len(table.layers)} layers")
    show.line("estimated: " + ", ".join(f"{name} {share:.0%}" for name, share in shares.items()))
    show.line(f"{out}: {len(written)} files; next: make -C {out} && make -C {out} check")

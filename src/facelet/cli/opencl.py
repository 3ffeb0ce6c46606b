"""`facelet devices` and `facelet compile`: what OpenCL offers here, and what a model becomes on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from facelet.cli.output import JsonOption, Output, QuietOption, SeedOption
from facelet.errors import FaceletError, InputError


def devices(json_: JsonOption = False, quiet: QuietOption = False, _seed: SeedOption = 0) -> None:
    """List the OpenCL devices, each tried with a small network."""
    from facelet.opencl.check import open_session
    from facelet.opencl.runtime import devices as find_devices
    from facelet.opencl.trial import trial_graph

    show = Output(json_, quiet)
    rows: list[dict[str, Any]] = []
    for device in find_devices():
        try:
            open_session(trial_graph(), device)
            state = "works"
        except FaceletError as error:
            state = str(error)
        told = {"name": device.name, "title": device.title, "version": device.version, "vector": device.vector}
        rows.append({**told, "works": state == "works", "state": state})
    show.value(rows)
    if not rows:
        show.note("no OpenCL device; install one, for example: pip install 'pyopencl[pocl]'")
    columns = ("name", "device", "version", "floats in a register", "state")
    show.table("", columns, [(r["name"], r["title"], r["version"], r["vector"], r["state"]) for r in rows])


def compile_(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A shipped model's name or a .onnx file.")],
    batch: Annotated[int, typer.Option("--batch", min=1, help="Images at once.")] = 1,
    vector: Annotated[int, typer.Option("--vector", help="Floats in a register of the device: 4, 8 or 16.")] = 16,
    single: Annotated[bool, typer.Option("--single", help="All layers in one launch.")] = False,
    print_: Annotated[bool, typer.Option("--print", help="Print the program's OpenCL text.")] = False,
    json_: JsonOption = False,
    quiet: QuietOption = False,
    _seed: SeedOption = 0,
) -> None:
    """Compile a model to OpenCL and show the program; needs no device."""
    from facelet.graph.onnx_io import read_graph
    from facelet.model_files import find_model
    from facelet.opencl.lower import lower
    from facelet.opencl.program import Tuning

    show = Output(json_, quiet)
    if vector not in (4, 8, 16):
        raise InputError(f"--vector {vector}: must be 4, 8 or 16")
    path: Path = find_model(model)
    if path.suffix != ".onnx":
        raise InputError(f"{path}: only .onnx files can be compiled")
    program = lower(read_graph(path, batch), Tuning(vector=vector, single=single))
    summary: dict[str, Any] = {
        "model": path.stem,
        "launches": 1 if single else len(program.launches),
        "kernels": len(program.kernels),
        "arena_bytes": 4 * program.arena_floats,
        "largest_live_bytes": 4 * program.live_floats,
        "constant_bytes": int(program.constants.nbytes),
        "macs": sum(launch.macs for launch in program.launches),
    }
    if print_ and not json_:
        show.line(program.source)
        return
    show.value({**summary, "source": program.source} if print_ else summary)
    rows = [(x.node, x.kernel, f"{x.size[0]}x{x.size[1]}", x.macs // 1000) for x in program.launches]
    show.table(f"{path.stem}, batch {batch}", ("layer", "kernel", "work-items", "k MACs"), rows)
    show.line(
        f"{summary['launches']} launches of {summary['kernels']} kernels; arena {summary['arena_bytes'] / 1e3:.0f} kB, "
        f"{program.arena_floats / max(program.live_floats, 1):.2f} of the largest live set; "
        f"constants {summary['constant_bytes'] / 1e3:.0f} kB"
    )

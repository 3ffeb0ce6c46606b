"""`facelet devices` and `facelet compile`: where networks can run through OpenCL, and what of them would run there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from facelet.cli.options import OutputOption, SizeOption, parse_size, refuse_idle, show_notes
from facelet.cli.output import JsonOption, Output, QuietOption, SeedOption
from facelet.errors import FaceletError, GraphError, InputError

if TYPE_CHECKING:
    from facelet.opencl.device import Device
    from facelet.opencl.program import Program


def devices(
    json_: JsonOption = False,
    quiet: QuietOption = False,
    _seed: SeedOption = 0,
) -> None:
    """List the OpenCL devices, and whether each computes right."""
    from facelet.opencl.runtime import DEVICE_VARIABLE, NO_DEVICE, find_devices

    show = Output(json_, quiet)
    found = find_devices()
    if not found:
        raise InputError(NO_DEVICE)
    states = []
    with show.progress("Checking devices") as advance:
        for done, device in enumerate(found):
            advance(done, len(found), device.name)
            states.append(_state(device))
    show.value([_record(device, state) for device, state in zip(found, states, strict=True)])
    rows = [(d.name, d.hardware, d.kind, d.units, d.config.block, s) for d, s in zip(found, states, strict=True)]
    show.table("", ("name", "device", "kind", "threads", "vector", "state"), rows)
    for device, state in zip(found, states, strict=True):
        if device.trouble and state == "works":
            show.note(f"{device.name}: {device.trouble}")
    show.note(f"the first that works is taken where nothing else is asked for; {DEVICE_VARIABLE} names another")


def _record(device: Device, state: str) -> dict[str, Any]:
    return {
        "name": device.name,
        "platform": device.platform,
        "hardware": device.hardware,
        "version": device.version,
        "kind": device.kind,
        "units": device.units,
        "block": device.config.block,
        "works": state == "works",
        "state": state,
        "trouble": device.trouble,
    }


def _state(device: Device) -> str:
    """Builds and runs a small network on a device, in a process of its own: "works", or what is wrong."""
    from facelet.opencl.check import Task, check_apart
    from facelet.opencl.lower import lower
    from facelet.opencl.sample import sample_graph

    try:
        check_apart(Task(lower(sample_graph(), device.config), device.name, None, whole=False), limit_s=60)
    except FaceletError as error:
        return str(error)
    return "works"


def compile_(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A shipped model's name or a .onnx file.")],
    batch: Annotated[int, typer.Option("--batch", min=1, help="Images of one run.")] = 1,
    size: SizeOption = None,
    output: OutputOption = "",
    print_: Annotated[bool, typer.Option("--print", help="Print the OpenCL text; no device is needed.")] = False,
    layers: Annotated[
        bool, typer.Option("--layers", help="With --print: one kernel per layer, not one in all.")
    ] = False,
    block: Annotated[
        int | None, typer.Option("--block", help="Floats of a vector: 8 or 16.", show_default="16, or the device's")
    ] = None,
    tune: Annotated[bool, typer.Option("--tune", help="Measure the best tiles on a device and remember them.")] = False,
    device: Annotated[
        str | None, typer.Option("--device", help="Name of a device to compile for; see facelet devices.")
    ] = None,
    json_: JsonOption = False,
    quiet: QuietOption = False,
    _seed: SeedOption = 0,
) -> None:
    """Compile a model to OpenCL and show the program."""
    from facelet.graph.passes import optimise
    from facelet.model_graph import file_graph
    from facelet.opencl.config import AVX2, AVX512
    from facelet.opencl.lower import lower
    from facelet.opencl.render import source

    show = Output(json_, quiet)
    if block not in (None, 8, 16):
        raise InputError(f"--block {block}: must be 8 or 16")
    if not print_:
        refuse_idle(context, "without --print", "--layers")
    if tune or device:
        refuse_idle(context, "beside --tune or --device, as the device has its own", "--block")
    path, read = file_graph(model, batch, size=parse_size(size), output=output)
    show_notes(show, path, read)
    try:
        graph = optimise(read)
        config = AVX2 if block == 8 else AVX512
        if tune or device:
            from facelet.opencl.runtime import OpenCLRuntime
            from facelet.opencl.session import device_config
            from facelet.opencl.tune import convolutions
            from facelet.opencl.tune import tune as measure

            if tune and not convolutions(graph):
                raise InputError(f"{path}: nothing to tune, only dense convolutions of floats are; leave out --tune")
            runtime = OpenCLRuntime(device, threads=1)
            if tune:
                with show.progress("Tuning") as advance:
                    measure(graph, runtime, runtime.device.config, advance)
            config = device_config(runtime.device)
        program = lower(graph, config)
    except GraphError as error:
        raise GraphError(f"{path}: {error}") from error
    text = source(program, whole=not layers)
    if print_ and not json_:
        typer.echo(text)
        return
    summary = _summary(program)
    show.value({**summary, "text": text} if print_ else summary)
    show.table(
        f"{graph.name}, batch {batch}", ("what", "value"), [(k.replace("_", " "), v) for k, v in summary.items()]
    )


def _summary(program: Program) -> dict[str, Any]:
    return {
        "launches": len(program.launches),
        "kernels": len(program.kernels),
        "block": program.config.block,
        "arena_bytes": program.arena_bytes,
        "largest_live_bytes": program.live_bytes,
        "constants_bytes": program.constants.nbytes,
        "input_bytes": 4 * program.input_floats,
        "output_bytes": 4 * program.output_floats,
    }

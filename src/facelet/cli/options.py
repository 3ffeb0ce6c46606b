"""Options that several commands share: which model, which detector, aligned or not, how many threads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facelet.errors import InputError

if TYPE_CHECKING:
    from facelet.cli.output import Output
    from facelet.faces.detect import Detector
    from facelet.graph.ir import Graph

ModelOption = Annotated[
    str, typer.Option("--model", help="A shipped model's name (see: facelet models) or a model file.")
]
DetectorOption = Annotated[
    str,
    typer.Option(
        "--detector",
        help="What finds the faces: dlib, yunet, dlib_refined, yunet_refined; dlib+FILE: refined by a net of your own.",
    ),
]
DetectorModelOption = Annotated[
    Path | None, typer.Option("--detector-model", help="The detector's own model file; YuNet's is fetched without it.")
]
NoAlignOption = Annotated[bool, typer.Option("--no-align", help="Cut the detector's box instead of aligning the face.")]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", help="CPU threads for the model; all cores without it.")
]
BackendOption = Annotated[
    str | None,
    typer.Option("--backend", help="What runs the model: onnxruntime, opencl, openvino, dlib; by the file without it."),
]

SizeOption = Annotated[
    str | None,
    typer.Option(
        "--size",
        help="Of one input, where the file leaves it open: 3x320x320.",
        show_default="the card's height and width",
    ),
]
OutputOption = Annotated[
    str,
    typer.Option(
        "--output", help="Name of the tensor that the network is to give.", show_default="the card's, or the first"
    ),
]


def parse_size(text: str | None) -> tuple[int, ...] | None:
    """The numbers of `--size`.

    Raises:
        InputError: something else than numbers joined by x.
    """
    if text is None:
        return None
    try:
        return tuple(int(side) for side in text.split("x"))
    except ValueError as error:
        raise InputError(f"--size {text}: expected numbers joined by x, for example 3x320x320") from error


def show_notes(show: Output, path: Path, graph: Graph) -> None:
    """Prints what reading a file converted."""
    for note in graph.notes:
        show.note(f"{path}: {note}")


def refuse_idle(context: typer.Context, reason: str, *options: str) -> None:
    """Refuses options that were given and would change nothing.

    Args:
        context: of the command.
        reason: why they would not, such as "without --recover".
        options: as they are written, such as "--minutes".

    Raises:
        InputError: the command line holds one of them.
    """
    given = [
        written
        for parameter in context.command.params
        for written in parameter.opts
        if written in options and parameter.name and _was_given(context, parameter.name)
    ]
    if given:
        raise InputError(f"{', '.join(given)}: changes nothing {reason}; leave it out")


def _was_given(context: typer.Context, parameter: str) -> bool:
    source = context.get_parameter_source(parameter)
    return source is not None and source.name == "COMMANDLINE"


def open_detector(name: str, model_path: Path | None) -> Detector:
    """Opens the detector of `--detector` and `--detector-model`; YuNet's file is fetched where none is given.

    Raises:
        UnknownNameError: no such detector.
        MissingFileError: its file is not there and cannot be fetched.
        InputError: the file is not the detector's.
    """
    from facelet.jobs import crops

    return crops.open_detector(crops.DetectorChoice(detector=name, detector_model=model_path))

"""`facelet average`: several trainings of one net become one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facelet.cli.options import check_model_out
from facelet.cli.output import JsonOption, Output, QuietOption, SeedOption
from facelet.errors import InputError


def average(
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODEL MODEL...", help="Two files or more of one net, one trained on from another."),
    ],
    out: Annotated[Path, typer.Option("--out", help="The file with the mean of their weights.")] = Path("average.onnx"),
    json_: JsonOption = False,
    quiet: QuietOption = False,
    _seed: SeedOption = 0,
) -> None:
    """Write the mean of the weights of several trainings of a net."""
    from facelet.model_average import average_models

    show = Output(json_, quiet)
    if len(models) < 2:
        raise InputError(f"average: {models[0]} alone has no mean; give two files or more of one net")
    check_model_out(out, *models)
    card = average_models(models, out)
    show.value({"path": str(out), "model": card.name, "averaged": list(models)})
    show.line(f"{out}: the mean of {len(models)} files of {card.name}; thresholds and figures are to be measured anew")

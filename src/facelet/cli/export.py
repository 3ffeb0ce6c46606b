"""`facelet fpga export`: a model as source text for a board."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from facelet.cli.output import JsonOption, Output, QuietOption, SeedOption


class Flavour(StrEnum):
    """Kinds of source text."""

    C = "c"


def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="An int8 model: a shipped one's name or a .onnx file.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")],
    flavour: Annotated[Flavour, typer.Option("--flavour", help="c: C99 without a heap.")] = Flavour.C,
    json_: JsonOption = False,
    quiet: QuietOption = False,
    _seed: SeedOption = 0,
) -> None:
    """Write an int8 model as source text that builds by itself."""
    from facelet.cexport.export import export_c

    show = Output(json_, quiet)
    result = export_c(model, out)
    show.value({"flavour": flavour.value, **result})
    rows = [(key.replace("_", " "), value) for key, value in result.items() if key not in ("files", "out")]
    show.table(f"{result['model']} in {out}", ("what", "value"), rows)
    show.note(f"written: {', '.join(result['files'])}; build it with: make -C {out}")

"""`facelet models`: what each model is, eats, costs and scores, read from the cards without running one."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from facelet.cli.output import JsonOption, Output, QuietOption, SeedOption, percent

LFW_KEYS = {"LFW, dlib refined": "lfw_view2_dlib_refined", "LFW, YuNet": "lfw_view2_yunet"}


def models(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]...", help="Names or model files; all shipped ones without.")
    ] = None,
    json_: JsonOption = False,
    quiet: QuietOption = False,
    _seed: SeedOption = 0,
) -> None:
    """List the models: size, cost, LFW figures, teacher."""
    from facelet.errors import MissingFileError
    from facelet.model import Model
    from facelet.model_files import SHIPPED_MODELS, load_model

    show = Output(json_, quiet)
    found: list[Model] = []
    for name in names or SHIPPED_MODELS:
        try:
            found.append(load_model(name))
        except MissingFileError as error:
            if names:
                raise
            show.note(str(error))
    show.value([_record(model) for model in found])
    columns = ("name", "parameters", "MACs", *LFW_KEYS, "input", "embedding", "licence", "teacher")
    show.table("", columns, [_row(model) for model in found])


def _record(model: Any) -> dict[str, Any]:
    card = model.card
    return {
        "name": card.name,
        "parameters": card.parameters,
        "macs": card.macs,
        "input": [card.height, card.width],
        "color": card.color,
        "template": card.template,
        "embedding_size": card.embedding_size,
        "metrics": card.metrics,
        "thresholds": card.thresholds,
        "teacher": card.teacher,
        "data": card.data,
        "licence": card.licence,
        "commit": card.commit,
        "file_bytes": model.size_bytes,
        "sha256": model.sha256,
    }


def _row(model: Any) -> tuple[object, ...]:
    card = model.card
    return (
        card.name,
        card.parameters or "-",
        f"{card.macs / 1e6:.1f} M" if card.macs else "-",
        *(percent(card.metrics[key]) if key in card.metrics else "-" for key in LFW_KEYS.values()),
        f"{card.height}x{card.width}",
        card.embedding_size,
        card.licence or "-",
        card.teacher or "-",
    )

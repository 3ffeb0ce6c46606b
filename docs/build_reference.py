"""Writes docs/reference/options.md from the configs of the jobs: `python docs/build_reference.py`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, get_args, get_origin

from facelet.config import Declared, declared
from facelet.jobs.average import Average
from facelet.jobs.bench import Bench
from facelet.jobs.demo_config import RunDemo
from facelet.jobs.distill import Distill
from facelet.jobs.evaluate import Calibrate, Evaluate
from facelet.jobs.landmarks import TrainLandmarks
from facelet.jobs.study import RunStudy
from facelet.jobs.triplet import TrainTriplet

JOBS: dict[str, tuple[str, type[Any]]] = {
    "facelet distill": ("distill", Distill),
    "facelet train triplet": ("train_triplet", TrainTriplet),
    "facelet train landmarks": ("train_landmarks", TrainLandmarks),
    "facelet average": ("average", Average),
    "facelet evaluate": ("jobs.evaluate.evaluate", Evaluate),
    "facelet calibrate": ("calibrate", Calibrate),
    "facelet study": ("study", RunStudy),
    "facelet bench": ("jobs.bench.bench", Bench),
    "facelet demo": ("demo", RunDemo),
}
"""Command, Python function below `facelet` and config of each job; `bench` and `evaluate` name packages there too."""

PAGE = Path(__file__).parent / "reference" / "options.md"

HEAD = """# Options of the jobs

Each job is one function with one frozen config: `NAME(facelet.CONFIG(...))` in Python and the command on the command
line run the same code. Every command also takes `--json` and `--quiet`. This page comes from the configs
(`python docs/build_reference.py`).
"""


def page() -> str:
    """The whole page as Markdown."""
    return "\n".join([HEAD, *(_section(command, *job) for command, job in JOBS.items())])


def _section(command: str, function: str, config: type[Any]) -> str:
    rows = [
        f"| `{field.name}` | `{field.flag}` | {_kind(field.kind)} | {_default(field)} | {_meaning(field)} |"
        for field in declared(config)
    ]
    return "\n".join(
        [
            f"## {command}",
            "",
            *_call(function, config),
            "",
            "| field | command line | type | default | meaning |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _call(function: str, config: type[Any]) -> list[str]:
    module, _, name = function.rpartition(".")
    if not module:
        return [f"    facelet.{name}(facelet.{config.__name__}(...))"]
    return [f"    from facelet.{module} import {name}", "", f"    {name}(facelet.{config.__name__}(...))"]


def _kind(kind: Any) -> str:
    if get_origin(kind) is tuple:
        return f"several {_kind(get_args(kind)[0])}"
    several = [_kind(part) for part in get_args(kind) if part is not type(None)]
    return several[0] if several else "path" if kind is Path else kind.__name__


def _default(field: Declared) -> str:
    if field.required:
        return "required"
    if field.option.shown_default:
        return field.option.shown_default
    if field.default is None or field.default in ((), "") or field.default is dataclasses.MISSING:
        return ""
    return f"`{field.default}`"


def _meaning(field: Declared) -> str:
    return " ".join(part for part in (field.option.help, field.option.range_text()) if part)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

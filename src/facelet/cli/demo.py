"""`facelet demo`: the whole way in five minutes, on synthetic faces."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facelet.cli.options import ThreadsOption
from facelet.cli.output import JsonOption, Output, QuietOption, SeedOption

if TYPE_CHECKING:
    from facelet.train.loop import Tick


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder of the report and the run.")] = Path("runs/demo"),
    student: Annotated[str, typer.Option("--student", help="The net to train from scratch.")] = "mobilenet_v2_035",
    teacher: Annotated[str, typer.Option("--teacher", help="A model's name or file.")] = "nn4_small2",
    identities: Annotated[int, typer.Option("--identities", min=20, help="Synthetic people to learn from.")] = 800,
    photos: Annotated[int, typer.Option("--photos", min=1, help="Photos of each.")] = 10,
    epochs: Annotated[float, typer.Option("--epochs", help="Passes over them.")] = 4.0,
    pairs: Annotated[int, typer.Option("--pairs", min=40, help="Held-out pairs; a multiple of 20.")] = 1200,
    data: Annotated[
        Path | None, typer.Option("--data", envvar="FACELET_DATA", help="Folder with LFW; adds its column.")
    ] = None,
    lfw_view: Annotated[int, typer.Option("--lfw-view", help="Of LFW: 1 takes a minute, 2 about ten.")] = 1,
    threads: ThreadsOption = None,
    json_: JsonOption = False,
    quiet: QuietOption = False,
    seed: SeedOption = 0,
) -> None:
    """Distil a student on synthetic faces and compare it: five minutes."""
    import os
    from contextlib import ExitStack

    from facelet.benchmark import check_request
    from facelet.demo import DemoOptions, run_demo, table_rows
    from facelet.jobs.training import training_progress

    show = Output(json_, quiet)
    if data is not None:
        check_request("lfw", data, lfw_view)
    options = DemoOptions(
        out=out,
        student=student,
        teacher=teacher,
        identities=identities,
        photos=photos,
        epochs=epochs,
        n_pairs=pairs,
        seed=seed,
        threads=min(2, os.cpu_count() or 1) if threads is None else threads,
        data=data,
        lfw_view=lfw_view,
    )
    with ExitStack() as bars:
        ticks: list[Callable[[Tick], None]] = []

        def on_tick(tick: Tick) -> None:
            if not ticks:
                ticks.append(bars.enter_context(training_progress(show)))
            ticks[0](tick)
            if tick.step == tick.steps:
                bars.close()

        result = run_demo(options, show.progress, on_tick)
    columns, rows = table_rows(result)
    show.value(result.to_dict())
    show.table(f"{pairs:,} pairs of synthetic people that no student learned from", columns, rows)
    show.line(f"report: {result.page}")

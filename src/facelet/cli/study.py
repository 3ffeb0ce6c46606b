"""`facelet study`: an experiment as a command, its results as JSON, its page rebuilt from them."""

from __future__ import annotations

from typing import Any

from facelet.cli.derive import command
from facelet.cli.output import Output
from facelet.events import Events
from facelet.jobs.study import RunStudy, rebuild_pages
from facelet.jobs.study import study as run_study


def _run(config: RunStudy, *, on: Events) -> dict[str, Any]:
    """Runs the study, or only what needs none: the pages, the list."""
    if config.pages:
        return {"rebuilt": rebuild_pages(config.out)}
    return {} if config.name is None else run_study(config, on=on)


def _show(result: dict[str, Any], config: RunStudy, show: Output) -> None:
    from facelet.studies import STUDIES
    from facelet.studies.study import cell

    if config.pages:
        show.value(result)
        show.note(f"rebuilt in {config.out}: {', '.join(result['rebuilt'])}")
        return
    if config.name is None:
        show.value([{"name": s.name, "title": s.title, "question": s.question} for s in STUDIES.values()])
        show.table("Studies", ("name", "about"), [(s.name, s.title) for s in STUDIES.values()])
        return
    show.value(result)
    chosen = STUDIES[config.name]
    titles = [title for _, title in chosen.columns]
    cells = [tuple(cell(row.get(key), title) for key, title in chosen.columns) for row in result["rows"]]
    show.table(chosen.title, titles, cells)


study = command(RunStudy, _run, _show, "Run an experiment and write its page.")

"""The job `demo`: samples faces, distils a student and compares it with its teacher and the shipped models."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from facelet.config import Option, check_config
from facelet.events import SILENT, Events
from facelet.jobs.data_folder import data_folder
from facelet.threads import MOST_THREADS

if TYPE_CHECKING:
    from facelet.jobs.demo_run import Demo


@dataclass(frozen=True, kw_only=True)
class RunDemo:
    """Config of the job `demo`."""

    out: Annotated[Path, Option("Folder of the report and the run.")] = Path("runs/demo")
    student: Annotated[str, Option("The net to train from scratch.")] = "mobilenet_v2_035"
    teacher: Annotated[str, Option("A model's name or file.")] = "nn4_small2"
    identities: Annotated[int, Option("Synthetic people to learn from.", min=20)] = 800
    photos: Annotated[int, Option("Photos of each person.", min=1)] = 10
    epochs: Annotated[float, Option("Passes over them.", above=0)] = 4.0
    n_pairs: Annotated[int, Option("Held-out pairs; a multiple of 20.", flag="--pairs", min=40)] = 1200
    data: Annotated[
        Path | None, Option("Folder with LFW; adds its column.", shown_default="FACELET_DATA, else no column")
    ] = None
    lfw_view: Annotated[int, Option("View of LFW: 1 takes a minute, 2 about ten.")] = 1
    threads: Annotated[
        int | None, Option("CPU threads.", min=1, max=MOST_THREADS, shown_default="2, or the machine's one core")
    ] = None
    seed: Annotated[int, Option("Seed of everything that is drawn at random.", min=0)] = 0


def demo(config: RunDemo, *, on: Events = SILENT) -> Demo:
    """Distils a student on synthetic faces, compares it and writes a report: five minutes.

    Args:
        config: of the demo.
        on: receives progress.

    Returns:
        The table of models, and where the report is.

    Raises:
        MissingExtraError: the extra `train` is not installed.
        MissingFileError: the teacher's file or LFW is not there.
        InputError: something else lies in the folder, or another demo runs there.
        FaceletError: whatever sampling, training or measuring refuses.
    """
    from facelet.benchmark import check_request
    from facelet.jobs.demo_run import run_demo

    check_config(config)
    data = data_folder(config.data)
    if data is not None:
        check_request("lfw", data, config.lfw_view)
    threads = min(2, os.cpu_count() or 1) if config.threads is None else config.threads
    return run_demo(replace(config, data=data, threads=threads), on)

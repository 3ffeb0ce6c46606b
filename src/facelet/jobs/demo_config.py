"""Config of the job `demo`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from facelet.config import Option
from facelet.threads import MOST_THREADS


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

"""The job `train triplet`: labelled crops in, a model file with its card out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from facelet.config import Option, check_config, command_line
from facelet.errors import training_extra
from facelet.events import SILENT, Events
from facelet.jobs.crops import RealignedCropSource, open_crops
from facelet.jobs.training import note_precision, note_resolution, training_progress, view1_watcher
from facelet.train.options import TripletOptions, check_options

if TYPE_CHECKING:
    from facelet.train.run import Run


@dataclass(frozen=True, kw_only=True)
class TrainTriplet(TripletOptions, RealignedCropSource):
    """Config of the job `train triplet`."""

    out: Path = Path("runs/triplet")
    lfw: Annotated[
        Path | None, Option("LFW's folder; logs the student's View-1 accuracy at each validation.", weights=False)
    ] = None


def train_triplet(config: TrainTriplet, *, on: Events = SILENT) -> Run:
    """Trains a net with FaceNet's triplet loss on labelled crops.

    Args:
        config: of the run.
        on: receives progress and notes.

    Returns:
        The run: its model file and the figures of the last log lines.

    Raises:
        MissingExtraError: the extra `train` is not installed.
        FaceletError: anything that does not fit is refused before the first step.
    """
    check_config(config)
    with training_extra():
        from facelet.train.run import train_triplet as run_training

        check_options(config)
    note_precision(config.precision, "cpu", on)
    note_resolution(config.warm_start, config.student, on)
    transfer = open_crops(config, config.seed, on)
    watch = view1_watcher(config.lfw, config, config, on)
    with training_progress(on) as tick:
        return run_training(
            config, transfer, command=command_line("facelet train triplet", config), watch=watch, on_tick=tick
        )

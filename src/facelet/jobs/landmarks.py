"""The job `train landmarks`: crops without labels in, the net that refines a detector's landmarks out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from facelet.config import check_config, command_line
from facelet.errors import training_extra
from facelet.events import SILENT, Events
from facelet.jobs.crops import CropSource, open_crops
from facelet.jobs.training import note_precision, training_progress
from facelet.train.options import LandmarkOptions, check_training

if TYPE_CHECKING:
    from facelet.train.run import Run


@dataclass(frozen=True, kw_only=True)
class TrainLandmarks(LandmarkOptions, CropSource):
    """Config of the job `train landmarks`."""

    out: Path = Path("runs/landmarks")
    detector: str = "dlib"


def train_landmarks(config: TrainLandmarks, *, on: Events = SILENT) -> Run:
    """Trains the landmark net on displaced crops; landmarks and labels of the crops are not used.

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
        from facelet.train.landmark_run import train_landmarks as run_training

        check_training(config)
    note_precision(config.precision, "cpu", on)
    transfer = open_crops(config, config.seed, on)
    with training_progress(on) as tick:
        return run_training(config, transfer, command=command_line("facelet train landmarks", config), on_tick=tick)

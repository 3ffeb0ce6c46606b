"""`facelet distill`, `facelet train ...` and `facelet average`: a model file with its card out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from facelet.cli.derive import command
from facelet.cli.output import Output
from facelet.jobs.average import Average
from facelet.jobs.average import average as average_job
from facelet.jobs.distill import Distill
from facelet.jobs.distill import distill as distill_job
from facelet.jobs.landmarks import TrainLandmarks, train_landmarks
from facelet.jobs.triplet import TrainTriplet, train_triplet

if TYPE_CHECKING:
    from facelet.model import Card
    from facelet.train.options import LoopOptions
    from facelet.train.run import Run


def show_run(run: Run, config: LoopOptions, show: Output) -> None:
    """Prints where a run's model is and what was measured."""
    result: dict[str, Any] = {"model": str(run.model), "run": str(config.out), **run.history}
    if run.fresh_layers:
        result["fresh_layers"] = list(run.fresh_layers)
        show.note(f"warm start: fresh layers are {', '.join(run.fresh_layers)}")
    show.value(result)
    rows = [(name.replace("_", " "), f"{value:.4f}") for name, value in run.history.items()]
    show.table(f"{run.model}", ("figure", "value"), rows)


def _show_average(card: Card, config: Average, show: Output) -> None:
    show.value({"path": str(config.out), "model": card.name, "averaged": list(config.models)})
    n_files = len(config.models)
    show.line(f"{config.out}: the mean of {n_files} files of {card.name}; measure its thresholds and figures again")


distill = command(Distill, distill_job, show_run, "Distil teachers into a student over a transfer set.")
triplet = command(TrainTriplet, train_triplet, show_run, "Train a net with FaceNet's triplet loss on labelled crops.")
landmarks = command(TrainLandmarks, train_landmarks, show_run, "Train the net that refines landmarks; uses no labels.")
average = command(Average, average_job, _show_average, "Write the mean of the weights of several trainings of a net.")

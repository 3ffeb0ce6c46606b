"""The job `distill`: teachers and a transfer set in, a student's model file with its card out.

import facelet
from pathlib import Path

run = facelet.distill(facelet.Distill(student="facelet_xs", teachers=("nn4_small2",), out=Path("runs/xs"), epochs=1))
print(run.model)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from facelet.config import Option, check_config, command_line, reject_unused
from facelet.errors import training_extra
from facelet.events import SILENT, Events
from facelet.jobs.crops import RealignedCropSource, open_crops
from facelet.jobs.training import note_precision, note_resolution, teacher_progress, training_progress, view1_watcher
from facelet.train.options import DistillOptions, check_options

if TYPE_CHECKING:
    from facelet.train.run import Run


@dataclass(frozen=True, kw_only=True)
class Distill(DistillOptions, RealignedCropSource):
    """Config of the job `distill`."""

    out: Path = Path("runs/distill")
    lfw: Annotated[
        Path | None, Option("LFW's folder; logs the student's View-1 accuracy at each validation.", weights=False)
    ] = None


def distill(config: Distill, *, on: Events = SILENT) -> Run:
    """Distils teachers into a student over a transfer set.

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
    if not config.taps:
        reject_unused(config, "without `taps`", "hint_weight")
    with training_extra():
        from facelet.train.run import distill as run_distillation

        check_options(config)
    note_precision(config.precision, config.device, on)
    note_resolution(config.warm_start, config.student, on)
    transfer = open_crops(config, config.seed, on)
    watch = view1_watcher(config.lfw, config, config, on)
    with teacher_progress(on) as report, training_progress(on) as tick:
        return run_distillation(
            config,
            transfer,
            command=command_line("facelet distill", config),
            watch=watch,
            on_tick=tick,
            progress=report,
        )

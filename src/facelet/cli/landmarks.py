"""`facelet train landmarks`: a transfer set in, the net that mends a detector's landmarks out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facelet.cli.options import DetectorModelOption, DetectorOption
from facelet.cli.output import JsonOption, Output, QuietOption, SeedOption
from facelet.cli.train import (
    CheckpointOption,
    DataOption,
    EmaOption,
    EpochsOption,
    ExcludeOption,
    LearningRateOption,
    MinutesOption,
    NoDetectOption,
    OptimizerOption,
    OutOption,
    ResumeOption,
    ThreadsOption,
    WatchOption,
    WeightDecayOption,
    command_line,
    open_data,
    report,
    training_bar,
)
from facelet.errors import training_extra


def train_landmarks(
    data: DataOption = None,
    out: OutOption = Path("runs/landmarks"),
    epochs: EpochsOption = 12.0,
    minutes: MinutesOption = 0.0,
    batch: Annotated[int, typer.Option("--batch", help="Images in a step.")] = 128,
    learning_rate: LearningRateOption = 3e-3,
    optimizer: OptimizerOption = "adamw",
    weight_decay: WeightDecayOption = 0.02,
    ema: EmaOption = 0.995,
    threads: ThreadsOption = 1,
    checkpoint_every: CheckpointOption = 200,
    watch_every: WatchOption = 1.0,
    resume: ResumeOption = False,
    exclude_heldout: ExcludeOption = False,
    aligned: NoDetectOption = False,
    detector: DetectorOption = "dlib",
    detector_model: DetectorModelOption = None,
    json_: JsonOption = False,
    quiet: QuietOption = False,
    seed: SeedOption = 0,
) -> None:
    """Train the net that places landmarks anew, on moved crops; no landmarks or labels are read."""
    show = Output(json_, quiet)
    with training_extra():
        from facelet.train.landmark_run import NET
        from facelet.train.landmark_run import train_landmarks as run_landmarks
        from facelet.train.options import CommonOptions, check_training
    options = CommonOptions(
        student=NET,
        out=out,
        epochs=epochs,
        minutes=minutes,
        batch_size=batch,
        learning_rate=learning_rate,
        optimizer=optimizer,
        weight_decay=weight_decay,
        ema=ema,
        seed=seed,
        threads=threads,
        checkpoint_every=checkpoint_every,
        watch_every=watch_every,
        resume=resume,
    )
    check_training(options)
    transfer = open_data(data, aligned, detector, detector_model, seed, show, exclude_heldout)
    with training_bar(show) as tick:
        run = run_landmarks(options, transfer, command=command_line(), on_tick=tick)
    report(run, options.out, show)

"""Which settings of a distillation are worth changing: a search, and what each of them matters."""

from __future__ import annotations

import dataclasses
import json
import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from facelet.errors import DivergedError, training_extra
from facelet.lock import alone
from facelet.model_files import load_model
from facelet.studies.arms import Accuracy, distilled
from facelet.studies.search import Attempt, Knob, Search, StoppedEarlyError, Trial
from facelet.studies.study import Context, Row, Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from facelet.train.loop import Tick

KNOBS: dict[str, Knob] = {
    "learning_rate": Knob("rate, 1e-3", 5e-4, 2e-2, log=True, unit=1e-3),
    "warmup": Knob("warm-up, %", 0.0, 0.3, unit=0.01),
    "schedule": Knob("schedule", choices=("cosine", "linear")),
    "weight_decay": Knob("decay, %", 1e-3, 0.5, log=True, unit=0.01),
    "batch_size": Knob("batch", choices=(32, 64, 128)),
    "geometry": Knob("geometry", 0.0, 2.0),
    "photometry": Knob("photometry", 0.0, 2.0),
    "ema": Knob("EMA", choices=(0.0, 0.9, 0.97, 0.99)),
    "optimizer": Knob("optimizer", choices=("muon", "adamw")),
}
"""What is searched, by the name of the option of `DistillOptions`."""

TRIALS = 24
CROPS, QUICK_CROPS = 10_240, 512
"""That every trial sees, whatever its batch size; a multiple of `PARTS` times the largest batch."""

PARTS = 4
"""A trial is validated after each part, and may be stopped after the second and the third."""

HOLDOUT = 0.02
BEST = 4
"""Finished trials whose accuracy is measured, besides the defaults."""


def run(context: Context) -> list[Row]:
    """The trials, the best of them against the defaults with other seeds, and the importance of each setting."""
    crops = QUICK_CROPS if context.quick else CROPS
    teachers = [load_model(name).sha256 for name in context.models[1:]]
    plan = [crops, HOLDOUT, PARTS, repr(KNOBS)]
    about = json.dumps([context.models[0], teachers, context.transfer.key, context.seeds[0], *plan])
    search = Search(context.folder, KNOBS, _defaults(), about, context.seeds[0])
    search.run(context.trials, partial(_objective, context, crops))
    trials = search.trials()
    best = _best(trials)
    accuracy = Accuracy(context)
    measured = {
        trial.number: accuracy.of(_train(context, crops, f"trial-{trial.number:03d}", trial.settings))
        for trial in trials
        if trial.state == "finished" and (trial.number == 0 or trial in best[:BEST])
    }
    rows = [_row(trial, context.seeds[0], measured.get(trial.number, {})) for trial in trials]
    rows += _again(context, crops, accuracy, [trials[0], *[t for t in best if t.number != 0][:1]])
    shares = search.importance()
    if shares:
        rows.append({"kind": "importance", "trial": "importance", **shares})
    return rows


def _defaults() -> dict[str, Any]:
    """What `facelet distill` takes without being told."""
    with training_extra():
        from facelet.train.options import DistillOptions

    return {field.name: field.default for field in dataclasses.fields(DistillOptions) if field.name in KNOBS}


def _best(trials: list[Trial]) -> list[Trial]:
    """Finished trials, the best first."""
    finished = [trial for trial in trials if trial.value is not None]
    return sorted(finished, key=lambda trial: -(trial.value or 0.0))


def _train(context: Context, crops: int, name: str, settings: dict[str, Any], **more: Any) -> Path:
    """The model of a trial's settings: fresh views against the teacher's answer for the clean crop."""
    return distilled(
        context,
        name,
        context.transfer,
        crops // settings["batch_size"],
        parts=PARTS,
        student=context.models[0],
        teachers=context.models[1:],
        teacher_precision="f32" if context.quick else "bf16",
        holdout=HOLDOUT,
        **settings,
        **more,
    )


def _objective(context: Context, crops: int, attempt: Attempt) -> float:
    """The held-out cosine to the teacher at the end of a trial.

    Raises:
        StoppedEarlyError: it is behind the others half-way or later, or has diverged.
    """

    def watch(tick: Tick) -> None:
        part, rest = divmod(tick.step * PARTS, tick.steps)
        if rest or "held_cosine" not in tick.figures:
            return
        if not math.isfinite(tick.figures["held_cosine"]):
            raise StoppedEarlyError
        if part < PARTS:
            attempt.report(part - 1, tick.figures["held_cosine"])

    try:
        model = _train(context, crops, f"trial-{attempt.number:03d}", attempt.settings, on_tick=watch)
    except DivergedError as error:
        raise StoppedEarlyError from error
    return held_cosine(model)


def held_cosine(model: Path) -> float:
    """The last one that the run of a model has in its log."""
    from facelet.train.loop import HISTORY

    return float(json.loads((model.parent / HISTORY).read_text().splitlines()[-1])["held_cosine"])


def _again(context: Context, crops: int, accuracy: Accuracy, trials: list[Trial]) -> list[Row]:
    """The settings of some trials with the seeds that had no say in the search."""
    rows = []
    for seed in context.seeds[1:]:
        for trial in trials:
            name = f"again-{trial.number:03d}-seed-{seed}"
            with alone(context.folder / f"{name}.lock"):
                model = _train(context, crops, name, trial.settings, seed=seed)
            value = dataclasses.replace(trial, state="again", value=held_cosine(model), parts={})
            rows.append(_row(value, seed, accuracy.of(model)))
    return rows


def _row(trial: Trial, seed: int, measured: Row) -> Row:
    half = trial.parts.get(PARTS // 2 - 1)
    return {
        "kind": "trial" if trial.state != "again" else "again",
        "trial": trial.number,
        "state": trial.state,
        "seed": seed,
        "half": None if half is None else 100 * half,
        "cosine": None if trial.value is None else 100 * trial.value,
        **{name: measured[name] for name in ("accuracy", "auc") if name in measured},
        **{name: _shown(KNOBS[name], value) for name, value in trial.settings.items()},
    }


def _shown(knob: Knob, value: Any) -> Any:
    return value if knob.choices else value / knob.unit


def draw(rows: list[Row], figure: Figure) -> None:
    """Bars of importance beside parallel coordinates: a line a trial through its settings to what it came to."""
    left, right = figure.subplots(1, 2, width_ratios=(1, 3.4))
    _draw_importance(left, next((row for row in rows if row["kind"] == "importance"), {}))
    _draw_trials(right, [row for row in rows if row["kind"] == "trial"])


def _draw_importance(axes: Axes, row: Row) -> None:
    names = sorted(KNOBS, key=lambda name: row.get(name, 0.0))
    axes.barh([KNOBS[name].heading.split(",")[0] for name in names], [row.get(name, 0.0) for name in names])
    axes.set_xlabel("importance (fANOVA)")
    axes.grid(axis="x", alpha=0.3)


def _draw_trials(axes: Axes, rows: list[Row]) -> None:
    """Finished trials coloured by their value, the defaults black, those that were stopped early grey and open."""
    from matplotlib import colormaps

    done = [row["cosine"] for row in rows if row["cosine"] is not None] or [0.0]
    low, span = min(done), max(max(done) - min(done), 1e-9)
    places = np.arange(len(KNOBS) + 1)
    for row in sorted(rows, key=lambda row: row["cosine"] or -math.inf):
        if not set(KNOBS) <= set(row):
            continue
        heights = [_height(KNOBS[name], row[name]) for name in KNOBS]
        if row["cosine"] is None:
            axes.plot(places[:-1], heights, color="0.75", linewidth=0.8)
            continue
        share = (row["cosine"] - low) / span
        colour = "black" if row["trial"] == 0 else colormaps["viridis_r"](share)
        axes.plot(places, [*heights, share], color=colour, linewidth=1.4, linestyle="--" if row["trial"] == 0 else "-")
    for place, knob in enumerate(KNOBS.values()):
        _draw_scale(axes, place, knob)
    _mark(axes, len(KNOBS), 0.0, f"{low:.1f}")
    _mark(axes, len(KNOBS), 1.0, f"{low + span:.1f}")
    axes.vlines(places, 0, 1, color="0.4", linewidth=0.6)
    axes.set_xticks(
        places, labels=[*(knob.heading for knob in KNOBS.values()), "cosine, %"], rotation=30, ha="right", fontsize=8
    )
    axes.set_xlim(-0.3, len(KNOBS) + 0.6)
    axes.set_yticks([])
    axes.set_title("trials; dashed: the defaults, grey: stopped early", fontsize=9)
    axes.spines[:].set_visible(False)


def _draw_scale(axes: Axes, place: int, knob: Knob) -> None:
    if knob.choices:
        for choice in knob.choices:
            _mark(axes, place, _height(knob, choice), str(choice))
        return
    _mark(axes, place, 0.0, f"{knob.low / knob.unit:.3g}")
    _mark(axes, place, 1.0, f"{knob.high / knob.unit:.3g}")


def _mark(axes: Axes, place: int, height: float, text: str) -> None:
    axes.annotate(
        text,
        (place, height),
        (3, 0),
        textcoords="offset points",
        va="center",
        fontsize=7,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.5},
    )


def _height(knob: Knob, shown: Any) -> float:
    """Where a column's value stands on its axis, 0 to 1."""
    if knob.choices:
        return knob.choices.index(shown) / (len(knob.choices) - 1)
    low, high, value = knob.low, knob.high, shown * knob.unit
    if knob.log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return float((value - low) / (high - low))


TUNE = Study(
    name="tune",
    title="Which settings of a distillation matter",
    question=f"A search over nine options of `facelet distill`, from its defaults (trial 0): every trial is the same "
    f"student from scratch that sees {CROPS:,} crops, a short schedule, with fresh views against the teacher's answer "
    "for the clean crop. What decides is the cosine to the teacher on crops that are held out of the training, as it "
    "is smooth where the accuracy of so short a run varies by a point from seed to seed; View 1 is measured for the "
    "best and the defaults, View 2 never. Trials below the median half-way or at three quarters are stopped. The best "
    "and the defaults are run again with seeds that had no say in the search.",
    models=("mobilenet_v2_035", "facelet_s"),
    columns=(
        ("trial", "trial"),
        ("state", "state"),
        ("seed", "seed"),
        ("half", "cosine half-way, %"),
        ("cosine", "cosine, %"),
        ("accuracy", "View 1, %"),
        ("auc", "its AUC, %"),
        *((name, knob.heading) for name, knob in KNOBS.items()),
    ),
    run=run,
    draw=draw,
    views=(1,),
    trials=TRIALS,
)

"""What a training run can be told, and which runs are one."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facelet.atomic import check_folder
from facelet.data.views import RECIPES, ViewRecipe
from facelet.errors import CheckpointError, InputError, TransferSetError, UnknownNameError
from facelet.nets import build_net
from facelet.threads import check_threads
from facelet.train.checkpoint import CHECKPOINT
from facelet.train.loop import SCHEDULES
from facelet.train.optimizers import OPTIMIZERS

NOT_IDENTITY = ("out", "resume", "name", "threads", "watch_every", "checkpoint_every", "device", "graphed")
"""Options that the weights of a run do not depend on."""

STAND_INS: dict[str, Any] = {"checkpoint_every": 200}
"""What a run's identity holds in place of options of `NOT_IDENTITY` that were part of it once, at their default."""

LATER_OPTIONS: dict[str, Any] = {
    "warmup": 0.05,
    "schedule": "cosine",
    "geometry": 1.0,
    "photometry": 1.0,
    "loss_weight": None,
    "view_seed": None,
    "degrade": 0.0,
    "minutes": 0.0,
    "online": False,
    "passes": 1,
    "workers": 1,
    "first_resolution": 0,
}
"""Options that came after the first runs, and what those did: so valued they are no part of a run's identity."""


@dataclass(frozen=True)
class CommonOptions:
    """What every training run needs to know.

    Attributes:
        student: name for `build_net`.
        out: folder of the run.
        epochs: passes over the training crops.
        minutes: time by which the training ends, its schedule hurried where the epochs would take longer; 0: no limit.
        batch_size: images in a step.
        learning_rate: peak of the schedule.
        warmup: fraction of the steps over which the rate rises.
        schedule: how the rate falls after it, of `SCHEDULES`.
        recipe: key of `RECIPES`, how strongly views are augmented.
        geometry: factor on the recipe's rotation, zoom and shift.
        photometry: factor on the recipe's changes of brightness and colour and on how often it greys and blurs.
        optimizer: key of `OPTIMIZERS`.
        weight_decay: decoupled, on kernels.
        ema: decay per step of averaged weights; 0 keeps none.
        precision: "fp32" or "bf16".
        warm_start: OpenFace tensors (`.npz`) for `nn4_small2`, or a run's `checkpoint.pt` or `model.onnx` of the same
            net.
        seed: of everything drawn at random.
        threads: CPU threads.
        checkpoint_every: steps between checkpoints.
        watch_every: epochs between validations; 0 for the end only.
        resume: go on from the run folder's checkpoint.
        name: of the model in its card; empty takes the student's.
    """

    student: str
    out: Path
    epochs: float = 20.0
    minutes: float = 0.0
    batch_size: int = 64
    learning_rate: float = 4e-3
    warmup: float = 0.05
    schedule: str = "cosine"
    recipe: str = "standard"
    geometry: float = 1.0
    photometry: float = 1.0
    optimizer: str = "muon"
    weight_decay: float = 0.05
    ema: float = 0.0
    precision: str = "fp32"
    warm_start: Path | None = None
    seed: int = 0
    threads: int = 2
    checkpoint_every: int = 200
    watch_every: float = 1.0
    resume: bool = False
    name: str = ""


@dataclass(frozen=True)
class DistillOptions(CommonOptions):
    """Options of a distillation.

    Attributes:
        teachers: names or paths of models.
        join: how several teachers become one target, of `JOINS`.
        views: cached augmented views per crop besides the clean one; 0 draws fresh views every epoch and
            compares them with the teacher's answer for the clean crop.
        loss: of `LOSSES`.
        loss_weight: of the loss's second term; None takes the term's own.
        taps: tensor names of the first teacher whose maps guide the student's `HINTS` layers, shallow to deep.
        hint_weight: of each hint next to the embedding loss.
        teacher_precision: "f32", or "bf16" through OpenVINO; online also "f16".
        holdout: fraction of the crops, one crop at least, that no step shows by themselves and that measure the
            student; a recipe that blends may lay one of them over a crop that is trained on.
        view_seed: of the views, and so of what the teachers are asked; None takes `seed`. Runs that differ in `seed`
            alone then share their cache.
        degrade: share of the student's pictures that are made worse than those that the teachers answer for.
        first_resolution: side of the pictures that the student sees first, see `resizing`; 0: whole ones throughout.
        online: draw views and ask the teachers about them while the student is trained, on the same device.
        passes: how often each such view is shown before new ones are drawn.
        device: of torch, where an online distillation runs.
        workers: processes that take every step together on a CPU, each on one thread and its share of the batch;
            `threads` are then the teachers' alone.
        graphed: replay the student's step of an online distillation as a CUDA graph.
    """

    teachers: tuple[str, ...] = ()
    join: str = "concatenate"
    views: int = 0
    loss: str = "mse"
    loss_weight: float | None = None
    taps: tuple[str, ...] = ()
    hint_weight: float = 1.0
    teacher_precision: str = "f32"
    holdout: float = 0.02
    view_seed: int | None = None
    degrade: float = 0.0
    first_resolution: int = 0
    online: bool = False
    passes: int = 1
    device: str = "cpu"
    graphed: bool = False
    workers: int = 1


@dataclass(frozen=True)
class TripletOptions(CommonOptions):
    """Options of triplet training.

    Attributes:
        people: P, people in a batch; the batch size is `people * photos`.
        photos: K, photos of each.
        margin: in squared distance.
    """

    people: int = 32
    photos: int = 4
    margin: float = 0.2


def check_options(options: CommonOptions) -> ViewRecipe:
    """Refuses options that no run can use; returns the recipe of the views, its strengths scaled."""
    build_net(options.student)  # refuses a name that is none
    if isinstance(options, TripletOptions):
        _check_triplet(options)
    if isinstance(options, DistillOptions) and options.taps and not (options.views or options.online):
        raise InputError("--tap: guides by what the teacher shows of the very view; give --views 1 or more")
    if options.recipe not in RECIPES:
        raise UnknownNameError("recipe", options.recipe, RECIPES)
    for what in ("geometry", "photometry"):
        _check_number(options, what)
    check_training(options)
    return RECIPES[options.recipe].scaled(options.geometry, options.photometry)


def check_training(options: CommonOptions) -> None:
    """Refuses what no training loop can use, whatever the net and its pictures."""
    if options.optimizer not in OPTIMIZERS:
        raise UnknownNameError("optimizer", options.optimizer, OPTIMIZERS)
    if options.schedule not in SCHEDULES:
        raise UnknownNameError("schedule", options.schedule, SCHEDULES)
    if options.precision not in ("fp32", "bf16"):
        raise UnknownNameError("precision", options.precision, ("fp32", "bf16"))
    if not 0 < options.epochs < math.inf:
        raise InputError(f"--epochs: must be above 0, found {options.epochs}")
    if not 0 <= options.minutes < math.inf:
        raise InputError(f"--minutes: must be 0 or more, found {options.minutes}")
    if options.batch_size < 2:
        raise InputError(f"--batch: batch norm needs at least 2 images, found {options.batch_size}")
    if not 0 < options.learning_rate < math.inf:
        raise InputError(f"--learning-rate: must be above 0, found {options.learning_rate}")
    if not 0 <= options.warmup < 1:
        raise InputError(f"--warmup: must be in [0, 1), found {options.warmup}")
    for what in ("weight_decay", "watch_every"):
        _check_number(options, what)
    if not 0 <= options.ema < 1:
        raise InputError(f"--ema: must be in [0, 1), found {options.ema}")
    check_threads(options.threads)
    check_folder(options.out)
    check_checkpoint(options)


def _check_number(options: CommonOptions, what: str) -> None:
    if not 0 <= getattr(options, what) < math.inf:
        raise InputError(f"--{what.replace('_', '-')}: must be 0 or more, found {getattr(options, what)}")


def check_checkpoint(options: CommonOptions) -> None:
    """Refuses to resume where nothing was begun, and to begin where something was."""
    if options.resume:
        if not (options.out / CHECKPOINT).exists():
            raise CheckpointError(f"{options.out / CHECKPOINT}: no checkpoint to resume from; leave --resume out")
    elif (options.out / CHECKPOINT).exists():
        raise CheckpointError(f"{options.out}: holds a run already; go on with --resume or give another --out")


def _check_triplet(options: TripletOptions) -> None:
    for what in ("people", "photos"):
        if getattr(options, what) < 2:
            raise InputError(f"--{what}: a batch needs at least 2, found {getattr(options, what)}")
    if not 0 <= options.margin <= 4:
        raise InputError(f"--margin: must be a squared distance of unit vectors, 0 to 4, found {options.margin}")


def check_batch(options: CommonOptions, n_images: int, spare: int = 0) -> None:
    """Refuses a batch that a set of so many crops does not fill.

    Args:
        spare: crops that there have to be besides the batch.
    """
    if n_images - spare < options.batch_size:
        raise TransferSetError(
            f"transfer set: {n_images} crops to train on do not fill a batch of {options.batch_size}; give more"
        )


def run_identity(options: CommonOptions, depends_on: list[str]) -> str:
    """Names all that the weights of a run depend on; equal for a run and its resumption."""
    values = {
        k: v for k, v in plain_options(options).items() if k not in NOT_IDENTITY and (k, v) not in LATER_OPTIONS.items()
    }
    text = json.dumps([{**values, **STAND_INS}, depends_on], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def warm_start_key(options: CommonOptions) -> str:
    """The sha256 of the file that the run starts from; empty without one."""
    return "" if options.warm_start is None else hashlib.sha256(options.warm_start.read_bytes()).hexdigest()


def plain_options(options: CommonOptions) -> dict[str, Any]:
    """The options as JSON holds them."""
    return {k: str(v) if isinstance(v, Path) else v for k, v in dataclasses.asdict(options).items()}

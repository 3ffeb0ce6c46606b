"""The options of every training, each declared once, and which of them make two runs one.

Importing this module is cheap: the command line reads the declarations before torch is loaded.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from facelet.atomic import check_folder
from facelet.config import SEED_MAX, Option, check_config, declared
from facelet.errors import CheckpointError, OptionError, TransferSetError
from facelet.threads import MOST_THREADS
from facelet.train.files import CHECKPOINT

if TYPE_CHECKING:
    from facelet.data.views import ViewRecipe


def _schedules() -> tuple[str, ...]:
    from facelet.train.loop import SCHEDULES

    return tuple(SCHEDULES)


def _optimizers() -> tuple[str, ...]:
    from facelet.train.optimizers import OPTIMIZERS

    return tuple(OPTIMIZERS)


def _recipes() -> tuple[str, ...]:
    from facelet.data.views import RECIPES

    return tuple(RECIPES)


def _joins() -> tuple[str, ...]:
    from facelet.train.targets import JOINS

    return JOINS


@dataclass(frozen=True, kw_only=True)
class LoopOptions:
    """Options of every training: the length of the run, the optimizer, what is written."""

    out: Annotated[Path, Option("Folder of the run: model.onnx, checkpoint, curves.", weights=False)]
    epochs: Annotated[float, Option("Passes over the training crops.", above=0)] = 20.0
    minutes: Annotated[
        float,
        Option("Time budget in minutes; the learning-rate schedule is compressed to fit. 0: no limit.", min=0),
    ] = 0.0
    batch_size: Annotated[int, Option("Images in a step.", flag="--batch", min=2)] = 64
    learning_rate: Annotated[float, Option("Peak of the learning-rate schedule.", above=0)] = 4e-3
    warmup: Annotated[float, Option("Fraction of the steps over which the learning rate rises.", min=0, below=1)] = 0.05
    schedule: Annotated[str, Option("Fall of the learning rate: cosine or linear.", choices=_schedules)] = "cosine"
    optimizer: Annotated[str, Option("Optimizer: muon or adamw.", choices=_optimizers)] = "muon"
    weight_decay: Annotated[float, Option("Decoupled weight decay of the kernels.", min=0)] = 0.05
    ema: Annotated[float, Option("Decay per step of the averaged weights; 0: no average.", min=0, below=1)] = 0.0
    precision: Annotated[str, Option("fp32, or bf16 where the CPU is faster with it.", choices=("fp32", "bf16"))] = (
        "fp32"
    )
    threads: Annotated[int, Option("CPU threads.", min=1, max=MOST_THREADS, weights=False)] = 2
    checkpoint_every: Annotated[int, Option("Steps between checkpoints.", min=1, weights=False)] = 200
    watch_every: Annotated[float, Option("Epochs between validations; 0: only at the end.", min=0, weights=False)] = 1.0
    resume: Annotated[bool, Option("Continue from the run folder's checkpoint.", weights=False)] = False
    seed: Annotated[int, Option("Seed of everything that is drawn at random.", min=0, max=SEED_MAX)] = 0


@dataclass(frozen=True, kw_only=True)
class StudentOptions(LoopOptions):
    """Options of every training of a face recognition net."""

    student: Annotated[
        str,
        Option(
            "The net to train (see: facelet models), or one scaled: facelet_xs@width=0.75,resolution=80.",
            argument="STUDENT",
        ),
    ]
    recipe: Annotated[str, Option("Augmentation: light, standard, mixing, unaligned, both.", choices=_recipes)] = (
        "standard"
    )
    geometry: Annotated[float, Option("Factor on the recipe's rotation, zoom and shift.", min=0)] = 1.0
    photometry: Annotated[
        float, Option("Factor on the recipe's brightness, colour, loss of colour and blur.", min=0)
    ] = 1.0
    warm_start: Annotated[
        Path | None,
        Option(
            "Start from these weights: checkpoint.pt or model.onnx of another run, or OpenFace's tensors (.npz) for "
            "nn4_small2.",
            weights=False,
        ),
    ] = None
    name: Annotated[str, Option("Name in the model's card; by default the net's.", weights=False)] = ""


@dataclass(frozen=True, kw_only=True)
class DistillOptions(StudentOptions):
    """Options of a distillation."""

    teachers: Annotated[
        tuple[str, ...],
        Option("A model's name or file; repeat for several teachers.", flag="--teacher", required=True),
    ] = ()
    join: Annotated[str, Option("Several teachers: concatenate, average or procrustes.", choices=_joins)] = (
        "concatenate"
    )
    views: Annotated[int, Option("Cached augmented views per crop; 0: draw new ones each epoch.", min=0)] = 0
    loss: Annotated[str, Option("mse, cosine, huber, mse+relational, mse+contrastive, mse+margin (needs labels).")] = (
        "mse"
    )
    loss_weight: Annotated[
        float | None,
        Option("Weight of the auxiliary loss (the part after the plus).", min=0, shown_default="each has its own"),
    ] = None
    taps: Annotated[
        tuple[str, ...],
        Option("Tensor of the first teacher that guides an inner layer; shallow to deep.", flag="--tap"),
    ] = ()
    hint_weight: Annotated[float, Option("Weight of each guided layer.", min=0)] = 1.0
    teacher_precision: Annotated[
        str, Option("f32, bf16 (OpenVINO), or, online, f16.", choices=("f32", "bf16", "f16"))
    ] = "f32"
    holdout: Annotated[
        float, Option("Fraction of the crops that only measures the student, at least one crop.", min=0, max=0.5)
    ] = 0.02
    view_seed: Annotated[
        int | None,
        Option(
            "Seed of the views alone; runs that differ in their seed then share a cache.",
            min=0,
            shown_default="the seed",
        ),
    ] = None
    degrade: Annotated[
        float,
        Option("Share of the student's images that are darkened, covered, coarsened or compressed.", min=0, max=1),
    ] = 0.0
    first_resolution: Annotated[
        int,
        Option("Progressive resizing: side of the first images, full size after 60 % of the run; 0: off."),
    ] = 0
    online: Annotated[bool, Option("Draw views and run the teachers during the training: for GPUs.")] = False
    passes: Annotated[int, Option("Online: how often each view is used.", min=1)] = 1
    device: Annotated[str, Option("Online: cpu or cuda.", weights=False)] = "cpu"
    graphed: Annotated[bool, Option("Online: replay the student's step as a CUDA graph.", weights=False)] = False
    workers: Annotated[int, Option("Processes of one CPU thread each that share every batch.", min=1)] = 1


@dataclass(frozen=True, kw_only=True)
class TripletOptions(StudentOptions):
    """Options of triplet training; a batch holds `people * photos` images."""

    batch_size: int = dataclasses.field(init=False, default=0)
    people: Annotated[int, Option("P: people in a batch.", min=2)] = 32
    photos: Annotated[int, Option("K: photos of each person in a batch.", min=2)] = 4
    margin: Annotated[float, Option("Margin in squared distance.", min=0, max=4)] = 0.2
    learning_rate: float = 1e-3
    optimizer: str = "adamw"

    def __post_init__(self) -> None:
        object.__setattr__(self, "batch_size", self.people * self.photos)


@dataclass(frozen=True, kw_only=True)
class LandmarkOptions(LoopOptions):
    """Options of a training of the landmark net."""

    epochs: float = 12.0
    batch_size: int = 128
    learning_rate: float = 3e-3
    optimizer: str = "adamw"
    weight_decay: float = 0.02
    ema: float = 0.995
    threads: int = 1


def check_options(options: StudentOptions) -> ViewRecipe:
    """Refuses options that no run can use; returns the recipe of the views with its strengths scaled.

    Raises:
        OptionError, UnknownNameError: a value out of its range, or a name that is not known.
        CheckpointError: as `check_checkpoint`.
        InputError: the folder cannot be written.
    """
    from facelet.data.views import RECIPES
    from facelet.nets import build_net

    build_net(options.student)  # refuses an unknown name
    check_training(options)
    if isinstance(options, DistillOptions) and options.taps and not (options.views or options.online):
        raise OptionError("`taps`: guide by the teacher's map of that very view; set `views` to 1 or more")
    return RECIPES[options.recipe].scaled(options.geometry, options.photometry)


def check_training(options: LoopOptions) -> None:
    """Refuses what no training loop can use, whatever the net and its images.

    Raises:
        OptionError, UnknownNameError: a value out of its range, or a name that is not known.
        CheckpointError: as `check_checkpoint`.
        InputError: the folder cannot be written.
    """
    check_config(options)
    check_folder(options.out)
    check_checkpoint(options)


def check_checkpoint(options: LoopOptions) -> None:
    """Refuses to resume where no run was begun, and to begin where one was.

    Raises:
        CheckpointError: one of these.
    """
    if options.resume:
        if not (options.out / CHECKPOINT).exists():
            raise CheckpointError(f"{options.out / CHECKPOINT}: no checkpoint to resume from; leave `resume` out")
    elif (options.out / CHECKPOINT).exists():
        raise CheckpointError(f"{options.out}: holds a run already; continue it with `resume`, or give another `out`")


def check_batch(options: LoopOptions, n_images: int, spare: int = 0) -> None:
    """Refuses a batch that a set of so many crops does not fill.

    Args:
        options: of the run.
        n_images: crops to train on.
        spare: crops that there have to be besides the batch.

    Raises:
        TransferSetError: too few crops.
    """
    if n_images - spare < options.batch_size:
        raise TransferSetError(
            f"transfer set: {n_images} crops to train on do not fill a batch of {options.batch_size}; give more"
        )


def run_identity(options: LoopOptions, depends_on: list[str]) -> str:
    """Names all that the weights of a run depend on; equal for a run and its resumption."""
    free = {field.name for field in declared(type(options)) if not field.option.weights}
    values = {name: value for name, value in plain_options(options).items() if name not in free}
    text = json.dumps([values, depends_on], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def warm_start_key(options: LoopOptions) -> str:
    """The sha256 of the file that the run starts from; empty without one."""
    start = options.warm_start if isinstance(options, StudentOptions) else None
    return "" if start is None else hashlib.sha256(start.read_bytes()).hexdigest()


def plain_options(options: LoopOptions) -> dict[str, Any]:
    """The options as JSON holds them."""
    return {k: str(v) if isinstance(v, Path) else v for k, v in dataclasses.asdict(options).items()}

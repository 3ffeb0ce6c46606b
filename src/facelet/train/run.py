"""Whole training runs: options in, a model file with its card out. What the command line calls."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from facelet.assets import cache_dir
from facelet.atomic import write_text_atomic
from facelet.data.embedding_cache import EmbeddingCache, fill_cache
from facelet.data.heldout import HELDOUT_NOTE
from facelet.data.transfer import TransferSet
from facelet.data.views import RECIPES, ViewRecipe, view_inputs
from facelet.errors import CheckpointError, InputError, TransferSetError, UnknownNameError
from facelet.faces.canvas import canvas_matrix
from facelet.model import Card
from facelet.nets import build_net
from facelet.nets.from_model import start_from_model
from facelet.nets.nn4_small2 import NN4Small2
from facelet.nets.scaled import base_name
from facelet.nets.size import count_macs, count_parameters
from facelet.nets.warm_start import warm_start
from facelet.train.checkpoint import CHECKPOINT, load_student
from facelet.train.distill import HINTS, DistillTask, Hint, normalize_pixels
from facelet.train.export import export_onnx
from facelet.train.loop import SCHEDULES, LoopConfig, Tick, Watcher, train
from facelet.train.losses import check_loss
from facelet.train.optimizers import OPTIMIZERS
from facelet.train.targets import JOINS, fit_target
from facelet.train.teachers import EmbedderTeacher, OpenVinoTeacher, open_teacher
from facelet.train.triplet import TripletTask

TEMPLATE = "arcface"
MODEL_FILE = "model.onnx"
OPTIONS_FILE = "options.json"
NOT_IDENTITY = ("out", "resume", "name", "threads", "watch_every")
"""Options that the weights of a run do not depend on."""

LATER_OPTIONS: dict[str, Any] = {
    "warmup": 0.05,
    "schedule": "cosine",
    "geometry": 1.0,
    "photometry": 1.0,
    "loss_weight": None,
    "view_seed": None,
    "degrade": 0.0,
}
"""Options that came after the first runs, and what those did: so valued they are no part of a run's identity."""

STATISTICS_CROPS = 256
"""Crops that the statistics of a net are measured on which starts from an exported file."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class CommonOptions:
    """What every training run needs to know.

    Attributes:
        student: name for `build_net`.
        out: folder of the run.
        epochs: passes over the training crops.
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
        teacher_precision: "f32", or "bf16" through OpenVINO.
        holdout: fraction of the crops that is never trained on and measures the student.
        view_seed: of the views, and so of what the teachers are asked; None takes `seed`. Runs that differ in `seed`
            alone then share their cache.
        degrade: share of the student's pictures that are made worse than those that the teachers answer for.
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


@dataclass(frozen=True)
class Run:
    """What a training run leaves behind.

    Attributes:
        model: the exported file.
        history: figures of the last log lines, by name.
        fresh_layers: layers that a warm start did not fill.
    """

    model: Path
    history: dict[str, float]
    fresh_layers: tuple[str, ...] = field(default=())


def distill(
    options: DistillOptions,
    transfer: TransferSet,
    *,
    command: str = "",
    watch: Watcher | None = None,
    on_tick: Callable[[Tick], None] | None = None,
    progress: Progress | None = None,
) -> Run:
    """Distils `options.teachers` into `options.student` over a transfer set.

    Args:
        command: recorded in the card as its recipe.
        watch: more measurements of the student, for example its LFW View-1 accuracy.
        progress: called with (what, done, total) while the teachers embed the set.

    Raises:
        FaceletError: anything that does not fit is refused before the first step.
    """
    cv2.setNumThreads(1)
    recipe = _check(options, transfer)
    if not options.teachers:
        raise InputError("distill: no teacher; give at least one with --teacher NAME_OR_FILE")
    if options.join not in JOINS:
        raise UnknownNameError("join", options.join, JOINS)
    check_loss(options.loss, options.loss_weight, transfer.identity)
    net, fresh = _start_net(options, transfer)
    size, width = int(net.input_size), int(net.embedding_size)  # type: ignore[arg-type]
    hints = _hints(options)
    teachers = [
        open_teacher(
            name,
            taps=options.taps if position == 0 else (),
            precision=options.teacher_precision,
            threads=options.threads,
        )
        for position, name in enumerate(options.teachers)
    ]
    check_sizes([t.embedding_size for t in teachers], options.join, width)
    caches = [_cached(teacher, transfer, recipe, options, progress) for teacher in teachers]
    train_index, held = split_holdout(transfer.n_images, options.holdout, options.seed)
    target = fit_target([np.asarray(cache.embeddings[0][train_index]) for cache in caches], options.join, width)
    task = DistillTask(
        net,
        transfer,
        caches,
        index=train_index,
        target=target,
        recipe=recipe,
        seed=options.seed,
        batch_size=options.batch_size,
        matrix=canvas_matrix(TEMPLATE, size, size),
        size=size,
        consistent=options.views > 0,
        hints=hints,
        hint_weight=options.hint_weight,
        loss=options.loss,
        loss_weight=options.loss_weight,
        view_seed=options.view_seed,
        degrade=options.degrade,
    )
    steps = _steps(options, len(train_index), options.batch_size)
    held_target = target([np.asarray(cache.embeddings[0][held]) for cache in caches])
    measure = _joined_watch(_held_cosine(transfer, held, held_target, size), watch)
    names = " + ".join(teacher.name for teacher in teachers)
    return _run(options, task, transfer, steps, fresh, names, command, measure, on_tick, [t.key for t in teachers])


def train_triplet(
    options: TripletOptions,
    transfer: TransferSet,
    *,
    command: str = "",
    watch: Watcher | None = None,
    on_tick: Callable[[Tick], None] | None = None,
) -> Run:
    """Trains `options.student` with FaceNet's triplet loss on the labelled crops.

    Raises:
        FaceletError: anything that does not fit is refused before the first step.
    """
    cv2.setNumThreads(1)
    recipe = _check(options, transfer)
    for what in ("people", "photos"):
        if getattr(options, what) < 2:
            raise InputError(f"--{what}: a batch needs at least 2, found {getattr(options, what)}")
    net, fresh = _start_net(options, transfer)
    size = int(net.input_size)  # type: ignore[arg-type]
    index = transfer.labelled(2)
    task = TripletTask(
        net,
        transfer,
        index,
        people=options.people,
        photos=options.photos,
        margin=options.margin,
        recipe=recipe,
        seed=options.seed,
        matrix=canvas_matrix(TEMPLATE, size, size),
        size=size,
    )
    steps = _steps(options, len(index), task.batch_size)
    return _run(options, task, transfer, steps, fresh, "", command, watch, on_tick, [])


def check_sizes(sizes: list[int], how: str, student_size: int) -> None:
    """Refuses teachers that cannot be joined or are smaller than the student, before anything is computed.

    Raises:
        InputError: the sizes do not fit.
    """
    if how == "average" and len(set(sizes)) > 1:
        raise InputError(f"teachers: sizes {sizes} cannot be averaged; use --join procrustes or concatenate")
    total = sum(sizes) if how == "concatenate" else min(sizes)
    if total < student_size:
        mend = "add a teacher with --teacher" if how == "concatenate" else "use --join concatenate"
        raise InputError(f"teachers: {total} dimensions cannot teach a student of {student_size}; {mend}")


def split_holdout(n: int, fraction: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Crops to train on and crops to measure on, `(m,)` and `(n - m,)` int64, sorted."""
    order = np.random.default_rng([seed, 0x401D]).permutation(n)
    held = max(1, round(n * fraction))
    return np.sort(order[held:]), np.sort(order[:held])


def _check(options: CommonOptions, transfer: TransferSet) -> ViewRecipe:
    """Refuses options that no run can use; returns the recipe of the views, its strengths scaled."""
    if options.recipe not in RECIPES:
        raise UnknownNameError("recipe", options.recipe, RECIPES)
    if options.optimizer not in OPTIMIZERS:
        raise UnknownNameError("optimizer", options.optimizer, OPTIMIZERS)
    if options.schedule not in SCHEDULES:
        raise UnknownNameError("schedule", options.schedule, SCHEDULES)
    if options.precision not in ("fp32", "bf16"):
        raise UnknownNameError("precision", options.precision, ("fp32", "bf16"))
    if options.epochs <= 0:
        raise InputError(f"--epochs: must be above 0, found {options.epochs}")
    if options.batch_size < 2:
        raise InputError(f"--batch: batch norm needs at least 2 images, found {options.batch_size}")
    if not options.learning_rate > 0:
        raise InputError(f"--learning-rate: must be above 0, found {options.learning_rate}")
    if not 0 <= options.warmup < 1:
        raise InputError(f"--warmup: must be in [0, 1), found {options.warmup}")
    for what in ("geometry", "photometry"):
        if not 0 <= getattr(options, what) < math.inf:
            raise InputError(f"--{what}: must be 0 or more, found {getattr(options, what)}")
    if not 0 <= options.ema < 1:
        raise InputError(f"--ema: must be in [0, 1), found {options.ema}")
    if options.threads < 1:
        raise InputError(f"--threads: must be 1 or more, found {options.threads}")
    if options.out.exists() and not options.out.is_dir():
        raise InputError(f"--out {options.out}: is a file; give a folder")
    if options.resume:
        if not (options.out / CHECKPOINT).exists():
            raise CheckpointError(f"{options.out / CHECKPOINT}: no checkpoint to resume from; leave --resume out")
    elif (options.out / CHECKPOINT).exists():
        raise CheckpointError(f"{options.out}: holds a run already; go on with --resume or give another --out")
    if transfer.n_images <= options.batch_size:
        raise TransferSetError(f"transfer set: {transfer.n_images} crops do not fill a batch of {options.batch_size}")
    return RECIPES[options.recipe].scaled(options.geometry, options.photometry)


def _steps(options: CommonOptions, n: int, batch_size: int) -> int:
    return max(1, round(options.epochs * max(1, n // batch_size)))


def _some_pixels(net: nn.Module, transfer: TransferSet) -> Tensor:
    """Evenly spread crops as a net eats them."""
    size = int(net.input_size)  # type: ignore[arg-type]
    index = np.linspace(0, transfer.n_images - 1, min(transfer.n_images, STATISTICS_CROPS)).astype(np.int64)
    matrix = canvas_matrix(TEMPLATE, size, size)
    clean = np.zeros_like(index)
    return normalize_pixels(
        torch.from_numpy(view_inputs(transfer.crops, index, clean, RECIPES["light"], 0, matrix, size, size))
    )


def _start_net(options: CommonOptions, transfer: TransferSet) -> tuple[nn.Module, tuple[str, ...]]:
    """The student with its first weights, and the layers that a warm start left fresh."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    net = build_net(options.student)
    if options.warm_start is None:
        return net, ()
    if options.warm_start.suffix == ".pt":
        load_student(net, options.warm_start)
        return net, ()
    if options.warm_start.suffix == ".onnx":
        start_from_model(net, options.warm_start, _some_pixels(net, transfer))
        return net, ()
    if not isinstance(net, NN4Small2):
        raise InputError(f"--warm-start: OpenFace's tensors fit nn4_small2 alone, not {options.student}")
    return net, tuple(warm_start(net, options.warm_start))


def _hints(options: DistillOptions) -> tuple[Hint, ...]:
    if not options.taps:
        return ()
    layers = HINTS.get(base_name(options.student), ())
    if len(layers) != len(options.taps):
        raise InputError(
            f"--tap: {options.student} takes {len(layers)} ({', '.join(layers) or 'none'}), found {len(options.taps)}"
        )
    return tuple(Hint(layer, tap) for tap, layer in enumerate(layers))


def _cached(
    teacher: EmbedderTeacher | OpenVinoTeacher,
    transfer: TransferSet,
    recipe: ViewRecipe,
    options: DistillOptions,
    progress: Progress | None,
) -> EmbeddingCache:
    def tell(done: int, total: int) -> None:
        if progress is not None:
            progress(f"{teacher.name} embeds", done, total)

    seed = options.seed if options.view_seed is None else options.view_seed
    return fill_cache(teacher, transfer, recipe, seed, options.views, cache_dir(), tell)


def _held_cosine(transfer: TransferSet, held: NDArray[np.int64], target: NDArray[np.float32], size: int) -> Watcher:
    """Measures the mean cosine between student and teacher on crops that were never trained on."""
    held, target = held[:1024], target[:1024]
    pixels = view_inputs(
        transfer.crops,
        held,
        np.zeros(len(held), np.int64),
        RECIPES["light"],
        0,
        canvas_matrix(TEMPLATE, size, size),
        size,
        size,
    )

    def watch(net: nn.Module) -> dict[str, float]:
        return {"held_cosine": float((embed_pixels(net, pixels) * target).sum(1).mean())}

    return watch


def embed_pixels(net: nn.Module, pixels: NDArray[np.uint8], batch_size: int = 64) -> NDArray[np.float32]:
    """Embeddings `(n, d)` float32 of `(n, h, w, 3)` uint8 RGB by a net in evaluation mode."""
    with torch.inference_mode():
        parts = [
            net(normalize_pixels(torch.from_numpy(pixels[start : start + batch_size]))).float().numpy()
            for start in range(0, len(pixels), batch_size)
        ]
    return np.concatenate(parts)


def _joined_watch(first: Watcher, second: Watcher | None) -> Watcher:
    return first if second is None else lambda net: {**first(net), **second(net)}


def _run(
    options: CommonOptions,
    task: DistillTask | TripletTask,
    transfer: TransferSet,
    steps: int,
    fresh: tuple[str, ...],
    teacher: str,
    command: str,
    watch: Watcher | None,
    on_tick: Callable[[Tick], None] | None,
    depends_on: list[str],
) -> Run:
    """Trains the task and exports the student with its card."""
    identity = run_identity(options, [transfer.key, *depends_on])
    seen = list(transfer.sources)
    if transfer.without_heldout and (options.warm_start is None or options.warm_start.suffix == ".npz"):
        seen.append(HELDOUT_NOTE)  # the weights of another run may have met these people
    options.out.mkdir(parents=True, exist_ok=True)
    write_text_atomic(options.out / OPTIONS_FILE, json.dumps(_plain(options), indent=1, sort_keys=True))
    last: dict[str, float] = {}

    def tick(tick: Tick) -> None:
        last.update(tick.figures)
        if on_tick is not None:
            on_tick(tick)

    per_epoch = steps / options.epochs
    config = LoopConfig(
        steps=steps,
        learning_rate=options.learning_rate,
        warmup=options.warmup,
        schedule=options.schedule,
        weight_decay=options.weight_decay,
        optimizer=options.optimizer,
        ema=options.ema,
        precision=options.precision,
        checkpoint_every=options.checkpoint_every,
        watch_every=round(options.watch_every * per_epoch),
        threads=options.threads,
    )
    net = train(task, config, options.out, identity=identity, resume=options.resume, watch=watch, on_tick=tick)
    size = int(net.input_size)  # type: ignore[arg-type]
    card = Card(
        name=options.name or options.student,
        height=size,
        width=size,
        template=RECIPES[options.recipe].template,
        embedding_size=int(net.embedding_size),  # type: ignore[arg-type]
        parameters=count_parameters(net),
        macs=count_macs(net, size),
        teacher=teacher,
        data=", ".join(seen),
        recipe=command,
    )
    path = options.out / MODEL_FILE
    export_onnx(net, card, path)
    return Run(path, last, fresh)


def run_identity(options: CommonOptions, depends_on: list[str]) -> str:
    """Names all that the weights of a run depend on; equal for a run and its resumption."""
    values = {k: v for k, v in _plain(options).items() if k not in NOT_IDENTITY and (k, v) not in LATER_OPTIONS.items()}
    text = json.dumps([values, depends_on], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _plain(options: CommonOptions) -> dict[str, Any]:
    return {k: str(v) if isinstance(v, Path) else v for k, v in dataclasses.asdict(options).items()}

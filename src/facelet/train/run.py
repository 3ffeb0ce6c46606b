"""Whole training runs: options in, a model file with its card out. What the command line calls."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import torch
from torch import Tensor, nn

from facelet.atomic import write_text_atomic
from facelet.data.heldout import HELDOUT_NOTE
from facelet.data.transfer import TransferSet, spread_rows
from facelet.data.views import RECIPES
from facelet.errors import DivergedError, InputError, MissingFileError
from facelet.faces.canvas import canvas_matrix
from facelet.lock import take_or_refuse
from facelet.model import Card
from facelet.nets import build_net
from facelet.nets.from_model import start_from_model
from facelet.nets.nn4_small2 import NN4Small2
from facelet.nets.size import count_macs, count_parameters
from facelet.nets.warm_start import warm_start
from facelet.train.checkpoint import load_student
from facelet.train.distill import DistillTask, normalize_pixels
from facelet.train.export import export_onnx
from facelet.train.files import LOCK, MODEL_FILE, OPTIONS_FILE
from facelet.train.loop import LoopConfig, Task, Tick, Watcher, train
from facelet.train.losses import check_loss
from facelet.train.measure import TEMPLATE, clean_pixels, held_cosine, joined_watch, split_holdout
from facelet.train.online import OnlineTask
from facelet.train.options import (
    DistillOptions,
    LoopOptions,
    StudentOptions,
    TripletOptions,
    check_batch,
    check_checkpoint,
    check_options,
    plain_options,
    run_identity,
    warm_start_key,
)
from facelet.train.prepare import Progress, made_offline, made_online
from facelet.train.resizing import resized
from facelet.train.triplet import TripletTask

STATISTICS_CROPS = 256
"""Crops that the statistics of a net are measured on which starts from an exported file."""

CHECKED_CROPS = 8
"""Crops that a trained net is tried on before it is kept."""


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
    recipe = check_options(options)
    check_loss(options.loss, options.loss_weight, transfer.identity)
    train_index, held = split_holdout(transfer.n_images, options.holdout, options.seed)
    check_batch(options, len(train_index))
    with own_folder(options):
        net, fresh = _start_net(options, transfer)
        resizing = resized(net, options.first_resolution) if options.first_resolution else None
        make = made_online if options.online else made_offline
        made = make(options, net, transfer, recipe, train_index, resizing, progress)
        steps = count_steps(options, len(train_index), options.batch_size)
        measure = joined_watch(held_cosine(net, transfer, held, made.clean_targets(held)), watch)
        teacher = " + ".join(made.names)
        return _run(options, made.task, transfer, steps, fresh, teacher, command, measure, on_tick, made.depends_on)


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
    recipe = check_options(options)
    check_batch(options, transfer.n_images, spare=1)
    with own_folder(options):
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
        steps = count_steps(options, len(index), task.batch_size)
        return _run(options, task, transfer, steps, fresh, "", command, watch, on_tick, [])


def take_folder(folder: Path) -> ExitStack:
    """Takes a run's folder; what comes back releases it at the end of its `with` block.

    Raises:
        InputError: another process trains there, or the place cannot be written.
    """
    return take_or_refuse(folder / LOCK, f"{folder}: another process trains there")


@contextmanager
def own_folder(options: LoopOptions) -> Iterator[None]:
    """Keeps other processes out of a run's folder, and writes there what a new run was told.

    Raises:
        InputError: another process trains there, or the place cannot be written.
        CheckpointError: another process has ended there since the options were checked.
    """
    with take_folder(options.out):
        check_checkpoint(options)
        if not options.resume:
            told = {name: value for name, value in plain_options(options).items() if name != "resume"}
            write_text_atomic(options.out / OPTIONS_FILE, json.dumps(told, indent=1, sort_keys=True))
        yield


def _workers(options: LoopOptions) -> int:
    return options.workers if isinstance(options, DistillOptions) else 1


def _threads(options: LoopOptions) -> int:
    """Of torch, in each process."""
    return options.threads if _workers(options) == 1 else 1


def count_steps(options: LoopOptions, n: int, batch_size: int) -> int:
    """Steps of `options.epochs` passes over n crops."""
    return max(1, round(options.epochs * max(1, n // batch_size)))


def _some_pixels(net: nn.Module, transfer: TransferSet, most: int) -> Tensor:
    """At most so many evenly spread crops as a net takes them."""
    index = spread_rows(transfer.n_images, most)
    return normalize_pixels(torch.from_numpy(clean_pixels(net, transfer, index)))


def _start_net(options: StudentOptions, transfer: TransferSet) -> tuple[nn.Module, tuple[str, ...]]:
    """The student with its first weights, and the layers that a warm start left fresh."""
    torch.set_num_threads(_threads(options))
    torch.manual_seed(options.seed)
    net = build_net(options.student)
    if options.warm_start is None:
        return net, ()
    if options.warm_start.suffix == ".pt":
        load_student(net, options.warm_start)
        return net, ()
    if options.warm_start.suffix == ".onnx":
        start_from_model(net, options.warm_start, _some_pixels(net, transfer, STATISTICS_CROPS))
        return net, ()
    if not options.warm_start.is_file():
        raise MissingFileError(
            f"`warm_start` {options.warm_start}: no such file; give a checkpoint.pt, model.onnx or .npz"
        )
    if options.warm_start.suffix != ".npz":
        raise InputError(f"`warm_start` {options.warm_start}: is no checkpoint.pt, model.onnx or .npz of tensors")
    if not isinstance(net, NN4Small2):
        raise InputError(f"`warm_start`: OpenFace's tensors fit nn4_small2 alone, not {options.student}")
    return net, tuple(warm_start(net, options.warm_start))


def _loop_config(options: LoopOptions, steps: int) -> LoopConfig:
    """How the loop trains a run of so many steps."""
    per_epoch = steps / options.epochs
    return LoopConfig(
        steps=steps,
        minutes=options.minutes,
        learning_rate=options.learning_rate,
        warmup=options.warmup,
        schedule=options.schedule,
        weight_decay=options.weight_decay,
        optimizer=options.optimizer,
        ema=options.ema,
        precision=options.precision,
        device=options.device if isinstance(options, DistillOptions) else "cpu",
        checkpoint_every=options.checkpoint_every,
        watch_every=max(1, round(options.watch_every * per_epoch)) if options.watch_every else 0,
        threads=_threads(options),
        workers=_workers(options),
        graphed=isinstance(options, DistillOptions) and options.graphed,
    )


def data_seen(options: LoopOptions, transfer: TransferSet) -> str:
    """What a card says that a run was trained on."""
    seen = list(transfer.sources)
    start = options.warm_start if isinstance(options, StudentOptions) else None
    if transfer.without_heldout and (start is None or start.suffix == ".npz"):
        seen.append(HELDOUT_NOTE)  # the weights of another run may have met these people
    return ", ".join(seen)


def run_task(
    options: LoopOptions,
    task: Task,
    transfer: TransferSet,
    steps: int,
    watch: Watcher | None,
    on_tick: Callable[[Tick], None] | None,
    depends_on: list[str],
) -> tuple[nn.Module, dict[str, float]]:
    """Trains a task in a run's folder; returns the net, on the CPU, and the figures of the last log lines."""
    last: dict[str, float] = {}

    def tick(tick: Tick) -> None:
        last.update(tick.figures)
        if on_tick is not None:
            on_tick(tick)

    net = train(
        task,
        _loop_config(options, steps),
        options.out,
        identity=run_identity(options, [transfer.key, *depends_on]),
        warm_start=warm_start_key(options),
        resume=options.resume,
        watch=watch,
        on_tick=tick,
    )
    net = net.cpu()
    with torch.inference_mode():
        outputs = net(_some_pixels(net, transfer, CHECKED_CROPS))
    if not bool(torch.isfinite(outputs).all()):
        raise DivergedError(
            f"{options.out}: the trained net gives NaN or infinity for its own crops; train anew with a lower "
            "`learning_rate`"
        )
    return net, last


def _run(
    options: StudentOptions,
    task: DistillTask | OnlineTask | TripletTask,
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
    net, last = run_task(options, task, transfer, steps, watch, on_tick, depends_on)
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
        data=data_seen(options, transfer),
        recipe=command,
    )
    path = options.out / MODEL_FILE
    export_onnx(net, card, path)
    return Run(path, last, fresh)

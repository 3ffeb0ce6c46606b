"""From options to a distillation that is ready to run: teachers opened, target fitted, batches set up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from facelet.cache import cache_dir
from facelet.data.embedding_cache import EmbeddingCache, fill_cache
from facelet.data.transfer import TransferSet, spread_rows
from facelet.data.views import ViewRecipe
from facelet.errors import InputError, UnknownNameError
from facelet.faces.canvas import canvas_matrix
from facelet.nets.scaled import base_name
from facelet.train.crew import check_workers
from facelet.train.distill import HINTS, DistillTask, Hint
from facelet.train.losses import TERMS
from facelet.train.measure import TEMPLATE, clean_pixels, embed_pixels
from facelet.train.online import Faculty, OnlineTask
from facelet.train.options import DistillOptions
from facelet.train.resizing import Resizing
from facelet.train.targets import Target, Vectors, fit_target
from facelet.train.teachers import EmbedderTeacher, OpenVinoTeacher, open_teacher
from facelet.train.torch_teacher import open_torch_teacher

TRIED = 4
"""Algorithms of a convolution that cuDNN may try before it chooses."""

OFFLINE_PRECISIONS = ("f32", "bf16")
"""Of teachers whose answers are cached."""

TURNED_CROPS = 2048
"""Crops by which a target is turned onto the space of a student that was trained before."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Made:
    """A distillation that is ready to run.

    Attributes:
        clean_targets: what the student shall say of crops as they are, by their numbers.
        names: of the teachers.
        depends_on: keys of the teachers.
    """

    task: DistillTask | OnlineTask
    clean_targets: Callable[[NDArray[np.int64]], NDArray[np.float32]]
    names: list[str]
    depends_on: list[str]


def made_offline(
    options: DistillOptions,
    net: nn.Module,
    transfer: TransferSet,
    recipe: ViewRecipe,
    train_index: NDArray[np.int64],
    resizing: Resizing | None,
    progress: Progress | None,
) -> Made:
    """Teachers that answer once, into a cache, before the student is trained.

    Raises:
        InputError: options that go with `--online` alone.
    """
    own = {"`device`": options.device != "cpu", "`passes`": options.passes != 1, "`graphed`": options.graphed}
    _refuse(own, "goes with `online`; add that, or leave it out")
    if options.teacher_precision not in OFFLINE_PRECISIONS:
        raise UnknownNameError("`teacher_precision` without `online`", options.teacher_precision, OFFLINE_PRECISIONS)
    check_workers(options.workers, options.batch_size)
    _, _, term = options.loss.partition("+")
    if options.workers > 1 and term and TERMS[term].REMEMBERS:
        raise InputError(f"`workers`: {options.loss} remembers the batches of one process alone; leave one of them out")
    width = int(net.embedding_size)  # type: ignore[arg-type]
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

    def said(index: NDArray[np.int64]) -> list[NDArray[np.float16]]:
        return [np.asarray(cache.embeddings[0][index]) for cache in caches]

    target = _target(options, net, said(train_index), transfer, train_index)
    task = DistillTask(
        net,
        transfer,
        caches,
        **_shared(options, net, target, recipe, train_index),
        resizing=resizing,
        consistent=options.views > 0,
        hints=hints,
        hint_weight=options.hint_weight,
        view_seed=options.view_seed,
    )
    return Made(task, lambda index: target(said(index)), [t.name for t in teachers], [t.key for t in teachers])


def made_online(
    options: DistillOptions,
    net: nn.Module,
    transfer: TransferSet,
    recipe: ViewRecipe,
    train_index: NDArray[np.int64],
    resizing: Resizing | None,
    progress: Progress | None,
) -> Made:
    """Teachers that are asked while the student is trained."""
    width = int(net.embedding_size)  # type: ignore[arg-type]
    cached = {
        "`views`": options.views > 0,
        "`taps`": bool(options.taps),
        "`view_seed`": options.view_seed is not None,
        "`workers`": options.workers > 1,
    }
    _refuse(cached, "goes with cached answers, not with `online`; leave one of them out")
    device = open_device(options.device)
    if options.graphed and device.type != "cuda":
        raise InputError(f"`graphed`: needs `device` cuda, found {options.device}")
    if options.graphed and options.first_resolution:
        raise InputError("`first_resolution`: a CUDA graph takes pictures of one size; leave it out, or `graphed`")
    teachers = [open_torch_teacher(name, options.teacher_precision).to(device) for name in options.teachers]
    check_sizes([t.embedding_size for t in teachers], options.join, width)
    faculty = Faculty(transfer, teachers, device)

    def tell(done: int, total: int) -> None:
        if progress is not None:
            progress("teachers embed", done, total)

    said = faculty.embed_clean(train_index, tell)
    target = _target(options, net, said, transfer, train_index)
    task = OnlineTask(
        net,
        faculty,
        transfer,
        **_shared(options, net, target, recipe, train_index),
        resizing=resizing,
        clean_target=lambda: target(said),
        passes=options.passes,
        graphed=options.graphed,
    )
    return Made(
        task,
        lambda index: target(faculty.embed_clean(index)),
        [t.name for t in teachers],
        [t.key for t in teachers],
    )


def _refuse(given: dict[str, bool], why: str) -> None:
    """Refuses options that belong to the other way of distilling."""
    for option, is_given in given.items():
        if is_given:
            raise InputError(f"{option}: {why}")


def _shared(
    options: DistillOptions, net: nn.Module, target: Target, recipe: ViewRecipe, index: NDArray[np.int64]
) -> dict[str, Any]:
    """What both ways of distilling are told alike."""
    size = int(net.input_size)  # type: ignore[arg-type]
    return {
        "index": index,
        "target": target,
        "recipe": recipe,
        "seed": options.seed,
        "batch_size": options.batch_size // options.workers,
        "matrix": canvas_matrix(TEMPLATE, size, size),
        "size": size,
        "loss": options.loss,
        "loss_weight": options.loss_weight,
        "degrade": options.degrade,
    }


def _target(
    options: DistillOptions,
    net: nn.Module,
    said: Sequence[Vectors],
    transfer: TransferSet,
    index: NDArray[np.int64],
) -> Target:
    """What the student shall say, in the space that it is in already if it was trained before.

    Which of two like directions comes first in a space, and its sign, hangs on the last digit of the teachers' answers.

    Args:
        said: by each teacher of the training crops, `(m, d_i)` each.
        index: those crops, `(m,)`.
    """
    target = fit_target(said, options.join, int(net.embedding_size))  # type: ignore[arg-type]
    if options.warm_start is None or options.warm_start.suffix == ".npz":
        return target
    rows = spread_rows(len(index), TURNED_CROPS)
    goal = embed_pixels(net.eval(), clean_pixels(net, transfer, index[rows]))
    net.train()
    return target.turned_onto([part[rows] for part in said], goal)


def _hints(options: DistillOptions) -> tuple[Hint, ...]:
    if not options.taps:
        return ()
    layers = HINTS.get(base_name(options.student), ())
    if len(layers) != len(options.taps):
        raise InputError(
            f"`taps`: {options.student} takes {len(layers)} ({', '.join(layers) or 'none'}), found {len(options.taps)}"
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


def check_sizes(sizes: list[int], how: str, student_size: int) -> None:
    """Refuses teachers that cannot be joined or are smaller than the student, before anything is computed.

    Raises:
        InputError: the sizes do not fit.
    """
    if how == "average" and len(set(sizes)) > 1:
        raise InputError(f"teachers: sizes {sizes} cannot be averaged; use `join` procrustes or concatenate")
    total = sum(sizes) if how == "concatenate" else min(sizes)
    if total < student_size:
        mend = "add a teacher with `teachers`" if how == "concatenate" else "use `join` concatenate"
        raise InputError(f"teachers: {total} dimensions cannot teach a student of {student_size}; {mend}")


def open_device(name: str) -> torch.device:
    """A device to train on, set to be fast.

    Raises:
        InputError: torch has no such device.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"`device` {name}: torch cannot use it ({str(error).splitlines()[0]})") from error
    torch.backends.cudnn.benchmark, torch.backends.cudnn.benchmark_limit = True, TRIED
    torch.set_float32_matmul_precision("high")
    return device

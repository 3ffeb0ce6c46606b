"""Distillation: a student regresses its teachers' embeddings of the same views; no labels.

The loss is the squared Euclidean distance of unit embeddings (the mean squared error of the original work, times
the size), or another of `losses`. Optional hints add, for a few inner layers of the student, the distance of a linear
map of that layer to the teacher's inner feature map, in units of the teacher's variance, faded out towards the end.

Source: Hinton et al., 2015; Romero et al., "FitNets", ICLR 2015; Beyer et al., CVPR 2022.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from facelet.data.embedding_cache import EmbeddingCache, Tap
from facelet.data.transfer import TransferSet
from facelet.data.views import Matrix, ViewRecipe, blended, view_inputs
from facelet.errors import InputError
from facelet.train.degrade import degrade_some
from facelet.train.losses import Objective
from facelet.train.resizing import Resizing
from facelet.train.targets import Target


@dataclass(frozen=True)
class Batch:
    """One step's worth: pixels and what the teachers said of them.

    Attributes:
        pixels: `(n, height, width, 3)` uint8 RGB.
        target: `(n, size)` float32 unit vectors.
        hints: per hint `(n, h, w, c)` float32.
        crop: number of the crop in each row, `(n,)` int64.
        person: in each row, `(n,)` int64; -1 where not labelled, or where the view blends two.
    """

    pixels: Tensor
    target: Tensor
    hints: tuple[Tensor, ...]
    crop: Tensor
    person: Tensor


@dataclass(frozen=True)
class Hint:
    """Ties an inner layer of the student to a tap of the teacher.

    Attributes:
        layer: name of a submodule of the student, its output `(n, c, h, w)`.
        tap: index of the teacher's tap.
    """

    layer: str
    tap: int


Kind = TypeVar("Kind", bound=np.generic)

HINTS: dict[str, tuple[str, ...]] = {
    "nn4_small2": ("blocks.3b", "blocks.4a"),
    "mobilenet_v2_050": ("features.6", "features.13"),
    "mobilenet_v2_035": ("features.6", "features.13"),
    "facelet_s": ("stages.1", "stages.2"),
    "facelet_xs": ("stages.1", "stages.2"),
}
"""Layers of each net, however scaled, that a teacher's feature maps can guide, shallow to deep."""


class DistillTask:
    """Batches and loss of a distillation; a `Task` of the loop.

    Args:
        student: net with `(n, 3, height, width)` in, unit vectors out.
        caches: one per teacher, over the same transfer set, recipe and seed.
        index: crops to train on, `(m,)`; others are held out.
        target: from what the teachers say to what the student shall say.
        matrix: from the crop canvas to the student's input.
        consistent: train on the cached views, against the teacher's answer for that very view; otherwise on
            fresh views every epoch, against the answer for the clean crop.
        loss: of `LOSSES`.
        loss_weight: of the loss's second term; None takes the term's own.
        view_seed: of the views; None takes `seed`, which draws the order of the crops.
        degrade: share of the student's pictures that are made worse, see `degrade`.
        resizing: shrinks the student's pictures early in the run.
    """

    def __init__(
        self,
        student: nn.Module,
        transfer: TransferSet,
        caches: list[EmbeddingCache],
        *,
        index: NDArray[np.int64],
        target: Target,
        recipe: ViewRecipe,
        seed: int,
        batch_size: int,
        matrix: Matrix,
        size: int,
        consistent: bool,
        hints: tuple[Hint, ...] = (),
        hint_weight: float = 1.0,
        loss: str = "mse",
        loss_weight: float | None = None,
        view_seed: int | None = None,
        degrade: float = 0.0,
        resizing: Resizing | None = None,
    ) -> None:
        self.student, self.transfer, self.caches = student, transfer, caches
        self.index, self.target = index, target
        self.recipe, self.seed, self.batch_size = recipe, seed, batch_size
        self.view_seed = seed if view_seed is None else view_seed
        self.matrix, self.size, self.consistent = matrix, size, consistent
        self.hint_weight, self.degrade = hint_weight, degrade
        self.objective = Objective(loss, loss_weight, self._clean_targets, transfer.identity[index])
        taps = [tap for cache in caches for tap in cache.taps]
        self.hints = _Hints(student, hints, taps, size)
        self.resizing = resizing
        self.modules = nn.ModuleDict({"student": student, "hints": self.hints.adapters, **self.objective.terms})

    def _clean_targets(self) -> NDArray[np.float32]:
        """What the student shall say of every clean training crop, `(m, size)`."""
        return self.target([np.asarray(cache.embeddings[0][self.index]) for cache in self.caches])

    def batch(self, step: int) -> Batch:
        """Pixels, targets and hints of a step."""
        epoch, rows = epoch_rows(step, self.batch_size, len(self.index), self.seed)
        index = np.sort(self.index[rows])  # sorted: the memory map is read in one direction
        if self.consistent:
            view = (index + epoch) % len(self.caches[0].embeddings)
            cached = view
        else:
            view = np.full(len(index), epoch + 1)
            cached = np.zeros_like(view)
        pixels = view_inputs(
            self.transfer.crops, index, view, self.recipe, self.view_seed, self.matrix, self.size, self.size
        )
        if self.degrade:
            degrade_some(pixels, index, epoch, self.seed, self.degrade)
        target = self.target([_gather(cache.embeddings, index, cached) for cache in self.caches])
        hints = self.hints.targets(index, cached)
        person = np.where(blended(index, view, self.recipe, self.view_seed), -1, self.transfer.identity[index])
        return Batch(
            torch.from_numpy(pixels),
            torch.from_numpy(target),
            hints,
            torch.from_numpy(index),
            torch.from_numpy(person),
        )

    def loss(self, batch: Batch, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Embedding loss plus its second term and the faded hint losses."""
        pixels = batch.pixels
        if self.resizing is not None:  # of bytes: torch shrinks those twenty times faster than floats
            pixels = self.resizing(pixels.permute(0, 3, 1, 2), progress).permute(0, 2, 3, 1)
        embedding = self.student(normalize_pixels(pixels)).float()
        loss, figures = self.objective(embedding, batch.target, batch.crop, batch.person)
        weight = self.hint_weight * min(1.0, max(0.0, (HINTS_END - progress) / HINTS_FADE))
        if self.hints.hints and weight > 0:
            hint_losses = self.hints.losses(batch.hints)
            for hint, value in zip(self.hints.hints, hint_losses, strict=True):
                figures[f"hint_{hint.layer}"] = value.detach()
            loss = loss + weight * torch.stack(hint_losses).sum()
        return loss, figures


HINTS_END, HINTS_FADE = 0.8, 0.3  # hints fade out over 0.5 .. 0.8 of the run


class _Hints:
    """Catches the student's inner maps, adapts them linearly and compares them with the teacher's."""

    def __init__(self, student: nn.Module, hints: tuple[Hint, ...], taps: list[Tap], size: int) -> None:
        self.hints = hints
        self.adapters = nn.ModuleList()
        self.taps: list[Tap] = []
        self.variances: list[Tensor] = []
        self._caught: dict[str, Tensor] = {}
        layers = dict(student.named_modules())
        for hint in hints:
            if hint.layer not in layers:
                raise InputError(f"hint: the student has no layer '{hint.layer}'")
            if hint.tap >= len(taps):
                raise InputError(f"hint: tap {hint.tap} is not cached; the teacher gives {len(taps)}")
            layers[hint.layer].register_forward_hook(self._catcher(hint.layer))
            self.taps.append(taps[hint.tap])
        if not hints:
            return
        with torch.no_grad():
            student.eval()(torch.zeros(1, 3, size, size))
        for hint, tap in zip(hints, self.taps, strict=True):
            channels = self._caught[hint.layer].shape[1]
            self.adapters.append(nn.Conv2d(channels, len(tap.scale), 1))
            sample = torch.from_numpy(tap.values[0][:512].astype(np.float32) * tap.scale)
            self.variances.append(sample.var(dim=(0, 1, 2)).mean().clamp_min(1e-6))

    def _catcher(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def catch(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            self._caught[name] = output

        return catch

    def targets(self, index: NDArray[np.int64], view: NDArray[np.int64]) -> tuple[Tensor, ...]:
        """The teacher's maps of one batch, `(n, h, w, c)` float32."""
        return tuple(
            torch.from_numpy(_gather(tap.values, index, view).astype(np.float32) * tap.scale) for tap in self.taps
        )

    def losses(self, targets: tuple[Tensor, ...]) -> list[Tensor]:
        """Unexplained variance of each tap: 1 for a map that knows nothing, 0 for a perfect one."""
        losses = []
        for hint, adapter, target, variance in zip(self.hints, self.adapters, targets, self.variances, strict=True):
            mine = adapter(self._caught[hint.layer]).float()
            theirs = target.permute(0, 3, 1, 2)
            if theirs.shape[-1] != mine.shape[-1]:
                theirs = functional.interpolate(theirs, mine.shape[-2:], mode="bilinear", antialias=True)
            losses.append((mine - theirs).square().mean() / variance)
        return losses


def epoch_rows(step: int, batch_size: int, n: int, seed: int) -> tuple[int, NDArray[np.int64]]:
    """The epoch of a step, and which of `n` rows it takes: a fresh permutation each epoch, the rest dropped."""
    per_epoch = n // batch_size
    epoch, slot = divmod(step, per_epoch)
    order = np.random.default_rng([seed, epoch]).permutation(n)
    return epoch, order[slot * batch_size : (slot + 1) * batch_size]


def normalize_pixels(pixels: Tensor) -> Tensor:
    """`(n, h, w, 3)` uint8 to `(n, 3, h, w)` float32 in [-1, 1], channels last in memory."""
    return pixels.permute(0, 3, 1, 2).float().sub_(127.5).div_(127.5)


def _gather(views: tuple[NDArray[Kind], ...], index: NDArray[np.int64], view: NDArray[np.int64]) -> NDArray[Kind]:
    """Row `index[i]` of view `view[i]`, for every i."""
    out = np.empty((len(index), *views[0].shape[1:]), views[0].dtype)
    for v in np.unique(view):
        rows = view == v
        out[rows] = views[v][index[rows]]
    return out

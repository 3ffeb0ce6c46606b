"""Online distillation: views are drawn, and the teachers asked about them, on the device that trains the student.

A GPU asks a teacher about a view sooner than it would read the answer from a disk; so nothing is cached, and views do
not run out. `distill` is the other way, for CPUs, where asking the teachers is what takes long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from facelet.data.embedding_cache import Progress
from facelet.data.transfer import TransferSet
from facelet.data.views import Matrix, ViewRecipe
from facelet.train.device_degrade import degrade_batch
from facelet.train.device_views import Views, clean_views, draw_views, render
from facelet.train.losses import Objective
from facelet.train.resizing import Resizing
from facelet.train.targets import Target
from facelet.train.torch_teacher import TorchTeacher

ASKED = 1024
"""Views that the teachers are asked about at a time."""

VIEWS, ORDER, WORSE = range(3)
"""Streams of random numbers."""


class Faculty:
    """Teachers on a device, with the crops that they are asked about.

    Args:
        transfer: its crops are copied to the device: 49 kB each.
        teachers: on the device already.
        device: of torch.
    """

    def __init__(self, transfer: TransferSet, teachers: list[TorchTeacher], device: torch.device) -> None:
        self.crops = torch.from_numpy(np.array(transfer.crops)).to(device)
        self.teachers, self.device = teachers, device
        self._matrices = [on_device(teacher.matrix, device) for teacher in teachers]

    @torch.no_grad()
    def embed(self, views: Views, progress: Progress | None = None) -> list[NDArray[np.float32]]:
        """What each teacher says of views, `(n, d_i)` unit vectors each; `progress` is told (done, total)."""
        parts: list[list[Tensor]] = [[] for _ in self.teachers]
        for start in range(0, len(views), ASKED):
            some = views.rows(slice(start, start + ASKED))
            for teacher, matrix, said in zip(self.teachers, self._matrices, parts, strict=True):
                said.append(teacher(render(self.crops, some, matrix, teacher.card.height, teacher.card.width)))
            if progress is not None:
                progress(min(start + ASKED, len(views)), len(views))
        return [torch.cat(said).cpu().numpy() for said in parts]

    def embed_clean(self, index: NDArray[np.int64], progress: Progress | None = None) -> list[NDArray[np.float32]]:
        """What each teacher says of crops as they are, `(n, d_i)` unit vectors each."""
        return self.embed(clean_views(torch.from_numpy(index).to(self.device)), progress)


@dataclass(frozen=True)
class _Lesson:
    """One view of every training crop with what the teachers said of it."""

    number: int
    views: Views
    target: Tensor
    person: Tensor


@dataclass(frozen=True)
class _Pass:
    """The order in which one pass takes the views of a lesson."""

    number: int
    rows: Tensor


class OnlineTask:
    """Batches and loss of an online distillation; a `Task` of the loop.

    Args:
        student: net with `(n, 3, size, size)` in, unit vectors out.
        index: crops to train on, `(m,)`; others are held out, though a blend may show one.
        target: from what the teachers say to what the student shall say.
        clean_target: gives what the student shall say of the training crops as they are, `(m, d)`; some losses ask.
        matrix: from the crop canvas to the student's input.
        passes: how often each view is shown before the next is drawn.
        loss: of `LOSSES`; with `loss_weight` of its second term.
        degrade: share of the student's pictures that are made worse, see `degrade`.
        resizing: shrinks the student's pictures early in the run.
        graphed: replay the student's forward and backward pass as CUDA graphs: launching its kernels one by one takes
            a CPU longer than running them takes a GPU.
    """

    def __init__(
        self,
        student: nn.Module,
        faculty: Faculty,
        transfer: TransferSet,
        *,
        index: NDArray[np.int64],
        target: Target,
        clean_target: Callable[[], NDArray[np.float32]],
        recipe: ViewRecipe,
        seed: int,
        batch_size: int,
        matrix: Matrix,
        size: int,
        passes: int = 1,
        loss: str = "mse",
        loss_weight: float | None = None,
        degrade: float = 0.0,
        resizing: Resizing | None = None,
        graphed: bool = False,
    ) -> None:
        self.student, self.faculty, self.target = student, faculty, target
        self.recipe, self.seed, self.batch_size = recipe, seed, batch_size
        self.size, self.passes, self.degrade = size, passes, degrade
        self.device = faculty.device
        self.index = torch.from_numpy(index).to(self.device)
        self.identity = torch.from_numpy(transfer.identity).to(self.device)
        self.matrix = on_device(matrix, self.device)
        self.objective = Objective(loss, loss_weight, clean_target, transfer.identity[index])
        self.resizing = resizing
        self.modules = nn.ModuleDict({"student": student, **self.objective.terms})
        self.graphed = graphed
        self._run: nn.Module | None = None
        self._lesson: _Lesson | None = None
        self._pass: _Pass | None = None

    def batch(self, step: int) -> int:
        """The step itself: what it needs is made on the device, by `loss`."""
        return step

    def loss(self, batch: int, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Embedding loss and its second term of the step `batch`."""
        number, slot = divmod(batch, len(self.index) // self.batch_size)
        lesson, order = self._lesson_of(number // self.passes), self._order_of(number)
        rows = order.rows[slot * self.batch_size : (slot + 1) * self.batch_size]
        views = lesson.views.rows(rows)
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            pixels = render(self.faculty.crops, views, self.matrix, self.size, self.size)
            if self.degrade:
                pixels = degrade_batch(pixels, self.degrade, self._generator(WORSE, batch))
            pixels = ((pixels - 127.5) / 127.5).contiguous(memory_format=torch.channels_last)
            if self.resizing is not None:
                pixels = self.resizing(pixels, progress)
        embedding = self._embed(pixels).float()
        return self.objective(embedding, lesson.target[rows], views.crop, lesson.person[rows])

    def _embed(self, pixels: Tensor) -> Tensor:
        if self._run is None:
            self._run = graphed_net(self.student, pixels) if self.graphed else self.student
        embedding: Tensor = self._run(pixels)
        return embedding

    def _lesson_of(self, number: int) -> _Lesson:
        if self._lesson is None or self._lesson.number != number:
            generator = self._generator(VIEWS, number)
            with torch.autocast(self.device.type, enabled=False):
                views = draw_views(self.index, len(self.faculty.crops), self.recipe, generator)
                target = torch.from_numpy(self.target(self.faculty.embed(views))).to(self.device)
            person = torch.where(views.weight > 0, -1, self.identity[self.index])
            self._lesson = _Lesson(number, views, target, person)
        return self._lesson

    def _order_of(self, number: int) -> _Pass:
        if self._pass is None or self._pass.number != number:
            generator = self._generator(ORDER, number)
            self._pass = _Pass(number, torch.randperm(len(self.index), generator=generator, device=self.device))
        return self._pass

    def _generator(self, stream: int, number: int) -> torch.Generator:
        seed = np.random.SeedSequence([self.seed, stream, number]).generate_state(1, np.uint64)[0]
        return torch.Generator(self.device).manual_seed(int(seed >> np.uint64(1)))


class _Whole(nn.Module):
    """A net within a net: what is made a graph of, so that the net itself stays as it is."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        embedding: Tensor = self.net(x)
        return embedding


def graphed_net(net: nn.Module, pixels: Tensor) -> nn.Module:
    """The net, in training, as CUDA graphs of its passes for inputs like `pixels`, in the present autocast setting."""
    kind = pixels.device.type
    precision, enabled = torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)
    with torch.autocast(kind, precision, enabled=enabled, cache_enabled=False), _same_buffers(net):
        whole = torch.cuda.make_graphed_callables(_Whole(net), (pixels.clone(),))
    assert isinstance(whole, nn.Module)
    return whole


@contextmanager
def _same_buffers(net: nn.Module) -> Iterator[None]:
    """Gives a net its buffers back as they were: making a graph takes training passes, which move statistics."""
    before = [buffer.clone() for buffer in net.buffers()]
    yield
    for buffer, value in zip(net.buffers(), before, strict=True):
        buffer.copy_(value)  # in place, as the graph holds the memory


def on_device(matrix: Matrix, device: torch.device) -> Tensor:
    """A map of pixels as `render` takes it."""
    return torch.tensor(matrix, dtype=torch.float32, device=device)

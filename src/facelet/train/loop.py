"""The training loop: batches made ahead of time, one step after another, checkpoints, a log.

What is trained is a `Task`. A task's batch is a pure function of the step number, so a run that was killed and
resumed sees the very batches of one that was not, and ends in the same weights, bit for bit on one CPU.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from facelet.atomic import full_disk_named, write_text_atomic
from facelet.errors import DivergedError, UnknownNameError
from facelet.train.average import Average
from facelet.train.checkpoint import restore, save
from facelet.train.crew import Crew
from facelet.train.memory import keep_freed_memory
from facelet.train.optimizers import make_optimizer

HISTORY = "history.jsonl"
PREFETCH = 3

SCHEDULES: dict[str, Callable[[float], float]] = {
    "cosine": lambda progress: 0.5 * (1 + math.cos(math.pi * progress)),
    "linear": lambda progress: 1 - progress,
}
"""Share of the peak rate after the warm-up, from `progress` 0 to 1: half a cosine, or a straight line, to zero."""


@dataclass(frozen=True)
class LoopConfig:
    """How a task is trained.

    Attributes:
        steps: number of optimizer steps.
        minutes: time by which the run ends; where the clock is ahead of the steps, the schedule goes by the clock.
            0 for no limit.
        learning_rate: peak of the schedule.
        warmup: fraction of the steps over which the rate rises linearly.
        schedule: how the rate falls after it, of `SCHEDULES`.
        weight_decay: decoupled, on kernels only.
        optimizer: name in `OPTIMIZERS`.
        clip: largest gradient norm; 0 leaves gradients alone.
        ema: decay per step of the averaged weights; 0 keeps none.
        precision: "fp32", or "bf16" for the forward pass on CPUs or GPUs that are faster with it.
        device: of torch, where the modules are trained.
        checkpoint_every: steps between checkpoints.
        log_every: steps between log lines.
        watch_every: steps between calls of the watcher (validation accuracy); 0 for the end only.
        threads: CPU threads of torch in each process; 0 leaves torch's choice.
        workers: processes that take every step together.
        graphed: on a GPU, take the optimizer's step as a CUDA graph.
    """

    steps: int
    learning_rate: float
    minutes: float = 0.0
    warmup: float = 0.05
    schedule: str = "cosine"
    weight_decay: float = 0.05
    optimizer: str = "muon"
    clip: float = 0.0
    ema: float = 0.0
    precision: str = "fp32"
    device: str = "cpu"
    checkpoint_every: int = 200
    log_every: int = 20
    watch_every: int = 0
    threads: int = 0
    workers: int = 1
    graphed: bool = False

    def rate(self, step: float) -> float:
        """Learning rate at a place of the schedule, in steps: linear warm-up, then the schedule's fall to zero."""
        warm = max(1, int(self.steps * self.warmup))
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        return self.learning_rate * SCHEDULES[self.schedule]((step - warm) / max(1, self.steps - warm))


class Task(Protocol):
    """What is trained.

    Attributes:
        student: the net that is kept.
        modules: all that has parameters, the student among it.
        batch_size: images of a batch, for the images-per-second figure.
    """

    student: nn.Module
    modules: nn.ModuleDict
    batch_size: int

    def batch(self, step: int) -> Any:
        """The batch of a number; depends on nothing but the number; called from another thread."""
        ...

    def loss(self, batch: Any, progress: float) -> tuple[Tensor, Mapping[str, float | Tensor]]:
        """The loss and the figures to log; `progress` is the fraction of the run that is done."""
        ...


@dataclass(frozen=True)
class Tick:
    """What the loop tells its caller after each logged step; `step` is the place in the schedule."""

    step: int
    steps: int
    figures: dict[str, float]


Watcher = Callable[[nn.Module], dict[str, float]]


def train(
    task: Task,
    config: LoopConfig,
    folder: Path,
    *,
    identity: str,
    warm_start: str = "",
    resume: bool = False,
    watch: Watcher | None = None,
    on_tick: Callable[[Tick], None] | None = None,
) -> nn.Module:
    """Trains to the end and returns the student, averaged where `config.ema` is set, in evaluation mode.

    What `on_tick` raises ends the run: the thread that makes batches and the log are closed, the last checkpoint stays.

    With several workers a step takes as many batches of the task, one in each process.

    Args:
        folder: of the run; gets `checkpoint.pt`, `history.jsonl` and TensorBoard files.
        identity: names everything that the run depends on; a checkpoint of another one is refused.
        warm_start: sha256 of the file that the run begins from, if it does; a checkpoint from another is refused too.
        resume: go on from the checkpoint in `folder`.
        watch: measures a net in evaluation mode, for example its View-1 accuracy.
        on_tick: told after each logged step.

    Raises:
        UnknownNameError: no such schedule or optimizer.
        CheckpointError: resume without a checkpoint, or with one of another run.
        DivergedError: the loss or a weight is not finite.
        WorkerError: a process of several ended before its time.
    """
    if config.schedule not in SCHEDULES:
        raise UnknownNameError("schedule", config.schedule, SCHEDULES)
    if config.threads:
        torch.set_num_threads(config.threads)
    keep_freed_memory()
    folder.mkdir(parents=True, exist_ok=True)
    task.modules.to(config.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = make_optimizer(
        config.optimizer, task.modules, config.learning_rate, config.weight_decay, graphed=config.graphed
    )
    averaged = Average(task.student, config.ema) if config.ema else None
    start, place = 0, 0.0
    if resume:
        start, place = restore(folder, identity, task.modules, optimizer, averaged, warm_start)
    crew = Crew(config.workers)

    def keep(done: int, place: float) -> None:
        save(folder, identity, done, place, task.modules, optimizer, averaged, warm_start)

    with (
        crew.working(lambda: _follow(task, config, crew, start, place, optimizer)),
        contextlib.closing(_History(folder, start)) as history,
        contextlib.closing(_batches(task, crew, start, config.steps)) as batches,
    ):
        pace = _Pace(config, start, place)
        done = _steps(task, config, crew, keep, pace, batches, optimizer, averaged, history, watch, on_tick)
        student = _evaluated(task, averaged)
        if watch is not None:
            measured = watch(student)
            history.write(done, {}, measured)
            if on_tick is not None:
                on_tick(Tick(config.steps, config.steps, measured))
    return student


class _Pace:
    """How far a run is, in steps of its schedule.

    Args:
        start: steps that were done before, when it is resumed.
        place: where in the schedule it starts.
    """

    def __init__(self, config: LoopConfig, start: int, place: float) -> None:
        self.config, self.start, self.first, self.clock = config, start, place, time.perf_counter()

    def place(self, done: int) -> float:
        """After a number of steps; that of the clock where it is ahead."""
        if not self.config.minutes:
            return done
        passed = (time.perf_counter() - self.clock) / (60 * self.config.minutes)
        return min(float(self.config.steps), max(float(done), self.first + passed * self.config.steps))


def _step(
    task: Task,
    config: LoopConfig,
    crew: Crew,
    optimizer: torch.optim.Optimizer,
    batch: Any,
    place: float,
    after: Callable[[], float],
) -> tuple[Mapping[str, float | Tensor], float]:
    """Takes one step; returns what the task tells and the place in the schedule after it, which `after` knows."""
    for group in optimizer.param_groups:
        group["lr"] = config.rate(place)
    with torch.autocast(torch.device(config.device).type, torch.bfloat16, enabled=config.precision == "bf16"):
        loss, told = task.loss(batch, place / config.steps)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    crew.average(task.modules)
    place = crew.first(after())
    if config.clip:
        nn.utils.clip_grad_norm_(task.modules.parameters(), config.clip)
    optimizer.step()
    return told, place


def _follow(
    task: Task, config: LoopConfig, crew: Crew, start: int, place: float, optimizer: torch.optim.Optimizer
) -> None:
    """What each process but the first does: the same steps on batches of its own, where the first says they are."""
    place = crew.first(place)
    task.modules.train()
    with contextlib.closing(_batches(task, crew, start, config.steps)) as batches:
        while place < config.steps:
            _, batch = next(batches)
            _, place = _step(task, config, crew, optimizer, batch, place, lambda: 0.0)


def _steps(
    task: Task,
    config: LoopConfig,
    crew: Crew,
    keep: Callable[[int, float], None],
    pace: _Pace,
    batches: Iterator[tuple[int, Any]],
    optimizer: torch.optim.Optimizer,
    averaged: Average | None,
    history: _History,
    watch: Watcher | None,
    on_tick: Callable[[Tick], None] | None,
) -> int:
    """Takes the steps from the start to the end; returns how many there are then.

    Args:
        keep: writes a checkpoint after a number of steps, at a place of the schedule.
    """
    clock, clock_step = time.perf_counter(), pace.start
    place, done = crew.first(pace.first), pace.start
    if place >= config.steps:  # resumed after its end
        return done
    task.modules.train()
    for step, batch in batches:
        done, rate = step + 1, config.rate(place)
        told, place = _step(task, config, crew, optimizer, batch, place, functools.partial(pace.place, done))
        if averaged is not None:
            averaged.update(task.student)
        last = place >= config.steps
        watched = watch is not None and _due(done, config.watch_every) and not last
        logged, kept = _due(done, config.log_every) or watched or last, _due(done, config.checkpoint_every) or last
        if logged or kept:
            figures = {name: float(value) for name, value in told.items()}  # on a GPU this waits, so not in each step
            _check_finite(done, figures, task.modules)
        if logged:
            figures["images_per_s"] = (done - clock_step) * task.batch_size * crew.count / (time.perf_counter() - clock)
            measured: dict[str, float] = {}
            if watch is not None and watched:
                measured = watch(_evaluated(task, averaged))
                task.modules.train()
            history.write(done, {**figures, "learning_rate": rate}, measured)
            if on_tick is not None:
                on_tick(Tick(int(place), config.steps, {**figures, **measured}))
            clock, clock_step = time.perf_counter(), done
        if kept:
            keep(done, place)
        if last:
            break
    return done


def _check_finite(done: int, figures: Mapping[str, float], modules: nn.Module) -> None:
    """Refuses to go on where the loss or a weight is not finite, before such weights are kept."""
    if not math.isfinite(figures.get("loss", 0.0)):
        raise DivergedError(f"step {done}: the loss is {figures['loss']}; train anew with a lower `learning_rate`")
    for name, tensor in modules.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise DivergedError(
                f"step {done}: '{name}' of the net holds NaN or infinity; train anew with a lower `learning_rate`"
            )


def _due(done: int, every: int) -> bool:
    return every > 0 and done % every == 0


def _evaluated(task: Task, averaged: Average | None) -> nn.Module:
    return (task.student if averaged is None else averaged.module).eval()


def _batches(task: Task, crew: Crew, start: int, stop: int) -> Generator[tuple[int, Any], None, None]:
    """This process's batches in step order, made by one thread that runs a few steps ahead."""
    ready: queue.Queue[tuple[int, Any, BaseException | None]] = queue.Queue(PREFETCH)
    stopped = threading.Event()

    def put(item: tuple[int, Any, BaseException | None]) -> None:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.2)
                return
            except queue.Full:
                continue

    def work() -> None:
        for step in range(start, stop):
            if stopped.is_set():
                return
            try:
                put((step, task.batch(step * crew.count + crew.rank), None))
            except BaseException as error:
                put((step, None, error))
                return

    thread = threading.Thread(target=work, name="batches", daemon=True)
    thread.start()
    try:
        for _ in range(start, stop):
            step, batch, error = ready.get()
            if error is not None:
                raise error
            yield step, batch
    finally:
        stopped.set()
        thread.join()


def _step_of(line: str) -> float:
    """The step of a line of the log; of one that was cut off when the machine stopped, no step."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


class _History:
    """The log: one JSON line per logged step, and the same to TensorBoard where it is installed."""

    def __init__(self, folder: Path, start: int) -> None:
        path = folder / HISTORY
        lines = path.read_text().splitlines() if start and path.exists() else []
        kept = [line for line in lines if _step_of(line) <= start]
        write_text_atomic(path, "".join(f"{line}\n" for line in kept))
        self._last: dict[str, float] = json.loads(kept[-1]) if kept else {}
        self.file = path.open("a")
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self.board = None
        else:
            self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=start)

    def write(self, step: int, figures: dict[str, float], measured: dict[str, float]) -> None:
        row = {**figures, **measured}
        line = {"step": step, **row}
        if line.keys() == self._last.keys() and step == self._last["step"]:  # a run that is resumed after its end
            return
        with full_disk_named(Path(self.file.name)):
            self.file.write(json.dumps(line) + "\n")
            self.file.flush()
            if self.board is not None:
                for name, value in row.items():
                    self.board.add_scalar(name, value, step)

    def close(self) -> None:
        self.file.close()
        if self.board is not None:
            self.board.close()

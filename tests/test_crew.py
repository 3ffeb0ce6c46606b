"""Several processes train one net: as one process would that averages their gradients, and none is left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from conftest import Ended
from drawn_faces import draw_face, write_photo
from facelet.errors import InputError, WorkerError
from facelet.train.crew import check_workers
from facelet.train.distill import DistillTask
from facelet.train.loop import train
from facelet.train.optimizers import make_optimizer
from test_training_loop import config, distill_task, figures
from tiny_models import photo_model

STEPS = 8


def two(steps: int = STEPS, **options: object) -> Any:
    return config(steps, workers=2, checkpoint_every=3, **options)


def sparse_task(folder: Path) -> DistillTask:
    """A task of which only two people's first two crops are labelled: most shares of a step show nobody."""
    task = distill_task(folder, loss="mse+margin", loss_weight=1.0)
    labels = np.where(np.isin(np.arange(task.transfer.n_images), (0, 1, 8, 9)), task.transfer.identity, -1)
    task.transfer = replace(task.transfer, identity=labels)
    return task


def by_hand(tasks: list[DistillTask]) -> nn.ModuleDict:
    """The weights after `STEPS` steps of two batches each, in one process and by torch alone."""
    torch.set_num_threads(1)
    optimizers = [make_optimizer("muon", task.modules, 5e-3, 0.05) for task in tasks]
    for task in tasks:
        task.modules.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    for step in range(STEPS):
        for rank, (task, optimizer) in enumerate(zip(tasks, optimizers, strict=True)):
            for group in optimizer.param_groups:
                group["lr"] = two().rate(step)
            optimizer.zero_grad()
            task.loss(task.batch(2 * step + rank), 0.0)[0].backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for mine, theirs in zip(*(task.modules.parameters() for task in tasks), strict=True):
                held = [parameter.grad for parameter in (mine, theirs) if parameter.grad is not None]
                mine.grad = theirs.grad = torch.stack(held).sum(0) / 2 if held else None
            for ours in zip(*(task.modules.buffers() for task in tasks), strict=True):
                if ours[0].is_floating_point():
                    mean = (ours[0] + ours[1]) / 2
                    ours[0].copy_(mean)
                    ours[1].copy_(mean)
        for optimizer in optimizers:
            optimizer.step()
    return tasks[0].modules


@pytest.mark.parametrize("make", [distill_task, sparse_task])
def test_two_processes_take_the_steps_of_their_mean_gradient(
    make: Callable[[Path], DistillTask], tmp_path: Path
) -> None:
    task = make(tmp_path)
    train(task, two(), tmp_path / "run", identity="a")
    expected = by_hand([make(tmp_path), make(tmp_path)]).state_dict()
    for (name, mine), theirs in zip(task.modules.state_dict().items(), expected.values(), strict=True):
        torch.testing.assert_close(mine, theirs, msg=name)
    assert [row["step"] for row in figures(tmp_path / "run")] == [5, 8]
    assert not multiprocessing.active_children()


def test_stopped_and_resumed_ends_in_the_same_weights(tmp_path: Path) -> None:
    whole = train(distill_task(tmp_path), two(ema=0.9), tmp_path / "whole", identity="a")

    def stop(_tick: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(distill_task(tmp_path), two(ema=0.9), tmp_path / "cut", identity="a", on_tick=stop)
    assert not multiprocessing.active_children()
    resumed = train(distill_task(tmp_path), two(ema=0.9), tmp_path / "cut", identity="a", resume=True)
    for (name, mine), theirs in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs), name


def test_a_run_that_ends_by_the_clock_ends_in_every_process(tmp_path: Path) -> None:
    train(distill_task(tmp_path), two(100_000, minutes=0.02), tmp_path / "run", identity="a")
    assert not multiprocessing.active_children()
    assert 0 < figures(tmp_path / "run")[-1]["step"] < 100_000


class Broken(DistillTask):
    """A task whose sixth step breaks, in one way or another, in the second process alone."""

    way, left = "raise", 6

    def loss(self, batch: Any, progress: float) -> Any:
        """As of a task, until then."""
        if multiprocessing.parent_process() is not None:
            self.left -= 1
            if self.left == 0 and self.way == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.left == 0:
                raise ValueError("a shard is cut")
        return super().loss(batch, progress)


@pytest.mark.parametrize(("way", "told"), [("raise", "worker-1: ValueError: a shard is cut"), ("kill", "code -9")])
def test_a_process_that_breaks_is_named(tmp_path: Path, way: str, told: str) -> None:
    task = distill_task(tmp_path)
    task.__class__, task.way = Broken, way  # type: ignore[attr-defined]
    with pytest.raises(WorkerError, match=told):
        train(task, two(), tmp_path / "run", identity="a")
    assert not multiprocessing.active_children()
    resumed = train(distill_task(tmp_path), two(), tmp_path / "run", identity="a", resume=True)
    whole = train(distill_task(tmp_path), two(), tmp_path / "whole", identity="a")
    for mine, theirs in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize(("count", "batch"), [(0, 64), (3, 64), (4, 4)])
def test_shares_that_do_not_divide_are_refused(count: int, batch: int) -> None:
    with pytest.raises(InputError, match="`workers`"):
        check_workers(count, batch)
    check_workers(2, 64)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--workers", 3, "--batch", 4), "--workers 3: a batch of 4 gives no equal shares"),
        (("--workers", 2, "--batch", 4, "--loss", "mse+contrastive"), "--workers: mse+contrastive remembers"),
    ],
)
def test_what_processes_cannot_share_is_one_line(
    cli: Callable[..., Ended], tmp_path: Path, options: tuple[object, ...], words: str
) -> None:
    teacher, crops = photo_model(tmp_path / "m.onnx"), tmp_path / "crops"
    for seed in range(6):
        write_photo(crops / f"{seed}.png", draw_face(seed, 128))
    ended = cli(
        "distill", "facelet_xs", "--teacher", teacher, "--data", crops, "--aligned", "--out", tmp_path, *options
    )
    assert ended.code == 2
    assert words in ended.err.splitlines()[-1]

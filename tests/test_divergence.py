"""A training whose numbers are not finite ends in one line and keeps nothing, whatever the recipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from facelet.cli.output import Output
from facelet.data.views import RECIPES
from facelet.errors import DivergedError
from facelet.graph.passes import optimise
from facelet.graph.read import read_net
from facelet.jobs.training import training_progress
from facelet.nets.landmark_net import LandmarkNet
from facelet.train import run as run_module
from facelet.train.files import CHECKPOINT
from facelet.train.graph_net import GraphNet
from facelet.train.landmarks import LandmarkTask
from facelet.train.loop import LoopConfig, Task, Tick, train
from facelet.train.options import TripletOptions
from facelet.train.recover import RecoverTask
from facelet.train.triplet import PERIOD, LabelledBatch, TripletTask, training_note
from tiny_models import tiny_card, tiny_onnx, write_tiny
from tiny_training import SIZE, TinyTeacher, tiny_net, tiny_set

CONFIG = LoopConfig(steps=6, learning_rate=1e-3, threads=1, log_every=3, checkpoint_every=3)


def triplets(net: nn.Module, margin: float = 0.2) -> TripletTask:
    transfer = tiny_set()
    index = transfer.labelled(2)
    matrix = TinyTeacher.matrix
    recipe = RECIPES["light"]
    return TripletTask(
        net, transfer, index, people=6, photos=4, margin=margin, recipe=recipe, seed=0, matrix=matrix, size=SIZE
    )


def recovery(folder: Path) -> RecoverTask:
    card = tiny_card(height=16, width=16)
    graph = optimise(read_net(write_tiny(folder / "m.onnx", card, tiny_onnx(16, 16))))
    return RecoverTask(GraphNet(graph), GraphNet(graph), card, tiny_set(12, 20), 0)


def landmark_points() -> LandmarkTask:
    transfer = tiny_set()
    return LandmarkTask(LandmarkNet(), transfer, np.arange(transfer.n_images), batch_size=8, seed=0)


TASKS: dict[str, Callable[[Path], Task]] = {
    "triplet": lambda _: triplets(tiny_net()),
    "recover": recovery,
    "landmarks": lambda _: landmark_points(),
}


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("recipe", TASKS)
def test_a_weight_that_is_not_finite_ends_every_recipe(recipe: str, bad: float, tmp_path: Path) -> None:
    task = TASKS[recipe](tmp_path)
    with torch.no_grad():
        next(task.student.parameters()).reshape(-1)[0] = bad
    with pytest.raises(DivergedError, match="train anew with a lower `learning_rate`"):
        train(task, CONFIG, tmp_path / "run", identity="a")
    assert not (tmp_path / "run" / CHECKPOINT).exists()


class Hidden:
    """A task whose loss never shows what some of its net's state is."""

    batch_size = 1

    def __init__(self, where: str) -> None:
        self.student = nn.Module()
        self.student.register_parameter("seen", nn.Parameter(torch.ones(2)))
        self.student.register_parameter("unseen", nn.Parameter(torch.ones(2)))
        self.student.register_buffer("statistics", torch.ones(2))
        with torch.no_grad():
            getattr(self.student, where)[1] = np.nan
        self.modules = nn.ModuleDict({"student": self.student})

    def batch(self, step: int) -> int:
        return step

    def loss(self, batch: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        return self.student.get_parameter("seen").square().sum(), {"loss": 1.0}


@pytest.mark.parametrize("where", ["unseen", "statistics"])
def test_a_state_that_the_loss_does_not_show_is_found(where: str, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=rf"step 3: 'student.{where}' of the net holds NaN or infinity"):
        train(Hidden(where), CONFIG, tmp_path / "run", identity="a")


@pytest.mark.parametrize("rows", [[0], [5, 6], list(range(24))])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_embeddings_that_are_not_finite_are_no_missing_triplets(rows: list[int], bad: float) -> None:
    class Said(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            out = nn.functional.normalize(torch.randn(len(x), 8, generator=torch.Generator().manual_seed(0)))
            out[rows, 0] = bad
            return out

    task = triplets(Said())
    with pytest.raises(DivergedError, match="triplets: the embeddings are NaN or infinite"):
        task.loss(task.batch(0), 0.0)


def test_a_trained_net_that_overflows_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every weight is finite, and the loss was; what the net gives in evaluation is not."""
    net = tiny_net()

    def trained(task: Task, *_: Any, **__: Any) -> nn.Module:
        with torch.no_grad():
            net.dense.weight.fill_(3e38)
        return net.eval()

    monkeypatch.setattr(run_module, "train", trained)
    monkeypatch.setattr(run_module, "_start_net", lambda *_: (net, ()))
    options = TripletOptions(student="facelet_xs", out=tmp_path / "run", people=6, photos=4)
    with pytest.raises(DivergedError, match="gives NaN or infinity for its own crops"):
        run_module.train_triplet(options, tiny_set())
    assert not (tmp_path / "run" / "model.onnx").exists()


def test_a_period_without_triplets_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Apart(nn.Module):
        """Knows everybody: six people at right angles."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor) -> Tensor:
            return torch.eye(6).repeat_interleave(4, 0) * self.weight / self.weight.detach()

    config = LoopConfig(steps=3 * PERIOD, learning_rate=1e-3, threads=1)
    with training_progress(Output()) as tick:
        train(triplets(Apart()), config, tmp_path / "run", identity="a", on_tick=tick)
    found = [line for line in capsys.readouterr().err.splitlines() if "no triplet" in line]
    assert len(found) == 1
    assert found[0].startswith(f"step {PERIOD}: no triplet in the last {PERIOD} steps, so nothing was learned")


def test_a_net_that_collapsed_is_told() -> None:
    class Same(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.normalize(torch.ones(len(x), 8))

    task = triplets(Same())
    loss, figures = task.loss(task.batch(0), 0.0)
    assert loss.item() == pytest.approx(task.margin)  # each triplet costs the margin, so the loss shows nothing
    assert training_note(figures).startswith("the net gives every crop the same embedding")


def test_a_healthy_training_is_not_noted() -> None:
    task = triplets(tiny_net())
    batch = task.batch(0)
    assert isinstance(batch, LabelledBatch)
    _, figures = task.loss(batch, 0.0)
    assert training_note(figures) == ""
    assert training_note(Tick(1, 2, {"loss": 0.5}).figures) == ""
    # one step without a triplet among others that had some is nothing to tell
    assert training_note({"triplets": 0.05, "spread": 0.9}) == ""

"""Online distillation on the CPU: what is shown is what was asked about, it learns, and it resumes bit by bit."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import Ended
from drawn_faces import draw_face, write_photo
from facelet.data.views import RECIPES
from facelet.errors import GraphError
from facelet.model import Model
from facelet.model_files import load_model
from facelet.train.device_views import render
from facelet.train.loop import train
from facelet.train.muon import MuonAdamW, orthogonalize
from facelet.train.online import Faculty, OnlineTask
from facelet.train.targets import fit_target
from facelet.train.torch_teacher import TorchTeacher
from test_training_loop import config, figures
from tiny_models import photo_model, tiny_card, tiny_onnx, write_tiny
from tiny_training import SIZE, TinyNet, TinyTeacher, tiny_net, tiny_set

CPU = torch.device("cpu")


def tiny_teacher(folder: Path, **options: Any) -> TorchTeacher:
    path = folder / "teacher.onnx"
    if not path.exists():
        write_tiny(path, tiny_card(embedding_size=12), tiny_onnx(embedding_size=12))
    return TorchTeacher(load_model(path), **options)


def online_task(folder: Path, net: TinyNet | None = None, **options: Any) -> OnlineTask:
    transfer = tiny_set()
    faculty = Faculty(transfer, [tiny_teacher(folder)], CPU)
    index = np.arange(80)
    target = fit_target(faculty.embed_clean(index), "concatenate", 8)
    values: dict[str, Any] = {"recipe": RECIPES["mixing"], "seed": 0, "batch_size": 16, **options}
    return OnlineTask(
        net or tiny_net(),
        faculty,
        transfer,
        index=index,
        target=target,
        clean_target=lambda: target(faculty.embed_clean(index)),
        matrix=TinyTeacher.matrix,
        size=SIZE,
        **values,
    )


def test_a_teacher_in_torch_says_what_it_says_elsewhere(tmp_path: Path) -> None:
    from facelet.embedder import Embedder

    teacher = tiny_teacher(tmp_path)
    crops = np.random.default_rng(0).integers(0, 256, (5, 16, 12, 3), dtype=np.uint8)
    elsewhere = Embedder.load(tmp_path / "teacher.onnx", threads=1).embed(crops)
    planes = torch.from_numpy(crops).permute(0, 3, 1, 2).float()
    np.testing.assert_allclose(teacher(planes).numpy(), elsewhere, atol=1e-6)
    half = tiny_teacher(tmp_path, precision="bf16")(planes).numpy()
    assert (half * elsewhere).sum(1).min() > 0.999


def test_what_torch_cannot_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.dat"
    path.write_bytes(b"weights")
    with pytest.raises(GraphError, match=r"only \.onnx files and OpenVINO"):
        TorchTeacher(Model(path=path, card=tiny_card(), sha256="0"))


def test_each_target_is_the_teachers_answer_for_the_view_of_its_row(tmp_path: Path) -> None:
    task = online_task(tmp_path)
    task.loss(0, 0.0)
    lesson = task._lesson
    assert lesson is not None
    teacher = task.faculty.teachers[0]
    matrix = torch.tensor(teacher.matrix, dtype=torch.float32)
    seen = render(task.faculty.crops, lesson.views, matrix, teacher.card.height, teacher.card.width)
    np.testing.assert_allclose(task.target([teacher(seen).numpy()]), lesson.target.numpy(), atol=1e-6)
    blended = lesson.views.weight > 0
    assert 10 < int(blended.sum()) < 40
    assert (lesson.person[blended] == -1).all()
    assert (lesson.person[~blended] >= 0).all()


def test_views_change_after_as_many_passes_as_were_asked_for(tmp_path: Path) -> None:
    task = online_task(tmp_path, passes=2)
    lessons, orders = [], []
    for step in range(0, 20, 5):  # five steps make a pass
        task.loss(step, 0.0)
        assert task._lesson is not None
        assert task._pass is not None
        lessons.append(task._lesson.number)
        orders.append(task._pass.rows.tolist())
    assert lessons == [0, 0, 1, 1]
    assert len({tuple(order) for order in orders}) == 4
    assert all(sorted(order) == list(range(80)) for order in orders)


@pytest.mark.parametrize("options", [{}, {"degrade": 0.5}, {"loss": "mse+relational"}, {"loss": "mse+contrastive"}])
def test_it_learns(tmp_path: Path, options: dict[str, Any]) -> None:
    train(online_task(tmp_path, **options), config(80, ema=0.9), tmp_path / "run", identity="a")
    rows = figures(tmp_path / "run")
    assert rows[-1]["cosine"] > rows[0]["cosine"] + 0.3


def test_stopped_and_resumed_ends_in_the_same_weights(tmp_path: Path) -> None:
    class StoppedError(Exception):
        pass

    def stop(tick: Any) -> None:
        if tick.step == 15:
            raise StoppedError

    made: dict[str, Any] = {"passes": 2, "degrade": 0.5}
    whole = train(online_task(tmp_path, **made), config(24, ema=0.9), tmp_path / "whole", identity="a")
    with pytest.raises(StoppedError):
        train(online_task(tmp_path, **made), config(24, ema=0.9), tmp_path / "cut", identity="a", on_tick=stop)
    task = online_task(tmp_path, tiny_net(seed=9), **made)
    resumed = train(task, config(24, ema=0.9), tmp_path / "cut", identity="a", resume=True)
    for (name, mine), theirs in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs), name


def test_minutes_hurry_the_schedule_to_its_end(tmp_path: Path) -> None:
    begin = time.perf_counter()
    hurried = config(100_000, minutes=0.04, checkpoint_every=0)
    train(online_task(tmp_path), hurried, tmp_path / "run", identity="a")
    assert time.perf_counter() - begin < 30
    rows = figures(tmp_path / "run")
    assert rows[-1]["learning_rate"] < 0.2 * max(row["learning_rate"] for row in rows)
    state = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert state["place"] == 100_000
    assert state["step"] < 100_000


def test_minutes_that_suffice_change_nothing(tmp_path: Path) -> None:
    results = [
        train(online_task(tmp_path), config(12, minutes=minutes), tmp_path / f"run-{minutes}", identity="a")
        for minutes in (0.0, 600.0)
    ]
    for mine, theirs in zip(*(net.state_dict().values() for net in results), strict=True):
        assert torch.equal(mine, theirs)


def test_kernels_of_one_size_move_as_each_would_alone() -> None:
    torch.manual_seed(0)
    kernels = [torch.nn.Parameter(torch.randn(8, 4, 3, 3)) for _ in range(3)]
    kernels.append(torch.nn.Parameter(torch.randn(16, 8, 1, 1)))
    before = [kernel.detach().clone() for kernel in kernels]
    optimizer = MuonAdamW(kernels, [], lr=0.1, weight_decay=0.2)
    for kernel in kernels:
        kernel.grad = torch.randn_like(kernel)
    optimizer.step()
    for kernel, old in zip(kernels, before, strict=True):
        assert kernel.grad is not None
        update = 0.05 * kernel.grad * 0.95 + 0.05 * kernel.grad  # Nesterov, from a momentum of zero
        flat = orthogonalize(update.reshape(len(update), -1))
        expected = old * (1 - 0.1 * 0.2) - 0.1 * 0.2 * max(flat.shape) ** 0.5 * flat.view_as(old)
        torch.testing.assert_close(kernel.detach(), expected, atol=1e-5, rtol=1e-4)


def test_a_target_is_turned_onto_a_trained_students_space() -> None:
    random = np.random.default_rng(0)
    said = random.standard_normal((400, 12)).astype(np.float32)
    said /= np.linalg.norm(said, axis=1, keepdims=True)
    target = fit_target([said], "concatenate", 8)
    turn = np.linalg.qr(random.standard_normal((8, 8)))[0].astype(np.float32)
    goal = target([said]) @ turn
    turned = target.turned_onto([said[:200]], goal[:200])
    np.testing.assert_allclose(turned([said]), goal, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--views", 2), "--views: goes with cached answers"),
        (("--tap", "x"), "--tap: goes with cached answers"),
        (("--view-seed", 3), "--view-seed: goes with cached answers"),
        (("--device", "abacus"), "--device abacus: torch cannot use it"),
        (("--graphed",), "--graphed: needs --device cuda"),
        (("--workers", 2), "--workers: goes with cached answers"),
        (("--teacher-precision", "f8"), "teacher precision 'f8': not known"),
    ],
)
def test_what_online_cannot_do_is_one_line(
    cli: Callable[..., Ended], tmp_path: Path, options: tuple[object, ...], words: str
) -> None:
    teacher, crops = photo_model(tmp_path / "m.onnx"), tmp_path / "crops"
    crops.mkdir()
    for seed in range(4):
        write_photo(crops / f"{seed}.png", draw_face(seed, 128))
    data = ("--data", crops, "--aligned", "--batch", 2, "--out", tmp_path / "run")
    ended = cli("distill", "facelet_xs", "--teacher", teacher, "--online", *data, *options)
    assert ended.code == 2
    assert words in ended.err.splitlines()[-1]
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("options", [("--device", "cuda"), ("--passes", 2), ("--graphed",)])
def test_what_goes_with_online_alone_is_refused_without_it(
    cli: Callable[..., Ended], tmp_path: Path, options: tuple[object, ...]
) -> None:
    teacher, crops = photo_model(tmp_path / "m.onnx"), tmp_path / "crops"
    for seed in range(4):
        write_photo(crops / f"{seed}.png", draw_face(seed, 128))
    data = ("--data", crops, "--aligned", "--batch", 2, "--out", tmp_path / "run")
    ended = cli("distill", "facelet_xs", "--teacher", teacher, *data, *options)
    assert ended.code == 2
    assert f"{options[0]}: goes with --online" in ended.err.splitlines()[-1]

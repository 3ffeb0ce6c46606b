"""Oracle: each distillation loss against its formula in plain NumPy loops. Invariant: its state resumes bit by bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from facelet.data.views import RECIPES, blended, view_inputs
from facelet.errors import InputError, UnknownNameError
from facelet.train.contrastive import TEMPERATURE, ContrastiveQueue
from facelet.train.loop import train
from facelet.train.losses import EMBEDDING_LOSSES, HUBER_KNEE, LOSSES, TERMS, check_loss, make_terms
from facelet.train.margin import MARGIN, SCALE, MarginSoftmax
from facelet.train.optimizers import make_optimizer
from facelet.train.relational import angle_loss, distance_loss
from test_training_loop import config, distill_task, figures
from tiny_training import SIZE, TinyTeacher, tiny_net, tiny_set

Vectors = NDArray[np.float32]


def units(n: int, size: int = 6, seed: int = 0) -> Vectors:
    vectors = np.random.default_rng(seed).normal(size=(n, size))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def near(a: Vectors, amount: float = 0.3, seed: int = 9) -> Vectors:
    moved = a + amount * np.random.default_rng(seed).normal(size=a.shape)
    return np.asarray(moved / np.linalg.norm(moved, axis=1, keepdims=True), np.float32)


def call(term: nn.Module, a: Vectors, b: Vectors, crop: list[int], person: list[int]) -> float:
    numbers = (torch.tensor(crop), torch.tensor(person))
    with torch.no_grad():
        return float(term(torch.from_numpy(a), torch.from_numpy(b), *numbers))


def huberised(x: float) -> float:
    return x * x / 2 if abs(x) <= 1 else abs(x) - 0.5


def test_cosine_is_half_of_mse_for_unit_vectors_gradients_included() -> None:
    raw = torch.from_numpy(units(5) * 3).requires_grad_()
    b = torch.from_numpy(near(units(5)))
    losses = [EMBEDDING_LOSSES[name](nn.functional.normalize(raw), b) for name in ("mse", "cosine")]
    gradients = [torch.autograd.grad(loss, raw, retain_graph=True)[0] for loss in losses]
    torch.testing.assert_close(losses[0], 2 * losses[1])
    torch.testing.assert_close(gradients[0], 2 * gradients[1])


@pytest.mark.parametrize("amount", [0.02, 0.3, 2.0])
def test_huber_by_loops(amount: float) -> None:
    a = units(7)
    b = near(a, amount)
    knee = HUBER_KNEE / 6**0.5
    total = 0.0
    for row in range(7):
        for x in np.abs(a[row] - b[row]).tolist():
            total += x * x if x <= knee else 2 * knee * x - knee * knee
    assert float(EMBEDDING_LOSSES["huber"](*map(torch.from_numpy, (a, b)))) == pytest.approx(total / 7, rel=1e-5)
    if amount == 0.02:
        mse = float(EMBEDDING_LOSSES["mse"](*map(torch.from_numpy, (a, b))))
        assert mse == pytest.approx(total / 7, rel=1e-5), "below the knee it is the squared error"


@pytest.mark.parametrize("seed", range(3))
def test_relations_by_loops(seed: int) -> None:
    n = 6
    a, b = units(n, seed=seed), units(n, seed=seed + 50)
    b[1] = -b[0]  # far apart: some differences lie beyond the knee of h
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    mean_a, mean_b = (np.mean([np.linalg.norm(v[i] - v[j]) for i, j in pairs]) for v in (a, b))
    distance = np.mean(
        [
            huberised(float(np.linalg.norm(a[i] - a[j]) / mean_a - np.linalg.norm(b[i] - b[j]) / mean_b))
            for i, j in pairs
        ]
    )

    def angle(v: Vectors, i: int, j: int, k: int) -> float:
        first, second = v[i] - v[j], v[k] - v[j]
        return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))

    triples = [(i, j, k) for i in range(n) for j in range(n) for k in range(n) if len({i, j, k}) == 3]
    angles = np.mean([huberised(angle(a, *t) - angle(b, *t)) for t in triples])
    tensors = [torch.from_numpy(v) for v in (a, b)]
    assert float(distance_loss(*tensors)) == pytest.approx(distance, rel=1e-4)
    assert float(angle_loss(*tensors)) == pytest.approx(angles, rel=1e-4)
    whole = call(TERMS["relational"].made_for(b, np.zeros(n, np.int64)), a, b, [0] * n, [0] * n)
    assert whole == pytest.approx(distance + 2 * angles, rel=1e-4)


def test_relations_do_not_change_with_a_rotation() -> None:
    a = units(8)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0].astype(np.float32)
    tensors = [torch.from_numpy(v) for v in (a, a @ turn)]
    assert float(distance_loss(*tensors)) == pytest.approx(0, abs=1e-9)
    assert float(angle_loss(*tensors)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("n", [2, 5])
def test_equal_rows_and_two_rows_have_relations_with_finite_gradients(n: int) -> None:
    a = torch.from_numpy(units(n))
    a[1] = a[0]
    a.requires_grad_()
    b = torch.from_numpy(units(n, seed=3))
    (distance_loss(a, b) + angle_loss(a, b)).backward()  # type: ignore[no-untyped-call]
    assert a.grad is not None
    assert torch.isfinite(a.grad).all()


def test_contrast_by_loops_over_a_queue_that_wraps() -> None:
    term = ContrastiveQueue(6, length=7)
    memory: list[tuple[int, Vectors]] = []
    rng = np.random.default_rng(0)
    for step in range(6):
        a, b = units(3, seed=step), units(3, seed=step + 100)
        crop = rng.integers(0, 6, 3).tolist()  # so few that a crop often meets itself in the queue
        expected = 0.0
        for row in range(3):
            positive = np.exp(a[row] @ b[row] / TEMPERATURE)
            others = sum(np.exp(a[row] @ q / TEMPERATURE) for number, q in memory if number != crop[row])
            expected -= float(np.log(positive / (positive + others))) / 3
        assert call(term, a, b, crop, [-1] * 3) == pytest.approx(expected, rel=1e-4, abs=1e-6)
        memory = [*memory, *zip(crop, b, strict=True)][-7:]
    assert sorted(term.crops.tolist()) == sorted(number for number, _ in memory)


def test_a_queue_shorter_than_a_batch_keeps_its_end() -> None:
    term = ContrastiveQueue(6, length=4)
    b = units(6)
    call(term, b, b, list(range(6)), [-1] * 6)
    assert sorted(term.crops.tolist()) == [2, 3, 4, 5]
    np.testing.assert_array_equal(term.embeddings[term.crops.argsort()].numpy(), b[2:])


def test_margin_by_loops() -> None:
    person = np.array([4, 4, 9, -1, 9, 4, 2, 6, 6], np.int64)  # 2 has one crop: no centre of its own
    target = units(9)
    term = MarginSoftmax.made_for(target, person)
    centres = {}
    for number in (4, 6, 9):
        mean = np.mean([t for t, p in zip(target, person, strict=True) if p == number], axis=0)
        centres[number] = mean / np.linalg.norm(mean)
    np.testing.assert_allclose(term.centres.weight.detach().numpy(), np.stack(list(centres.values())), atol=1e-6)
    with torch.no_grad():
        term.centres.weight.mul_(2.5)  # lengths play no part
    a, shown = units(6, seed=5), [9, 2, -1, 4, 6, 77]
    values = []
    for row, number in enumerate(shown):
        if number not in centres:
            continue
        logits = {n: SCALE * (float(a[row] @ c) - MARGIN * (n == number)) for n, c in centres.items()}
        values.append(np.log(sum(np.exp(v - logits[number]) for v in logits.values())))
    assert len(values) == 3
    assert call(term, a, a, [0] * 6, shown) == pytest.approx(np.mean(values), rel=1e-4)
    assert call(term, a[:2], a[:2], [0, 1], [-1, 2]) == 0


def test_the_centres_take_adam_and_kernels_muon() -> None:
    head = MarginSoftmax.made_for(units(20, 16), np.arange(20, dtype=np.int64) // 2)
    modules = nn.ModuleDict({"student": nn.Linear(64, 32), "margin": head})
    groups = {g["muon"]: [p.shape for p in g["params"]] for g in make_optimizer("muon", modules, 0.1, 0.0).param_groups}
    assert groups[True] == [(32, 64)]
    assert groups[False] == [(32,), (10, 16)]


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_learns(tmp_path: Path, loss: str) -> None:
    train(distill_task(tmp_path, loss=loss), config(60), tmp_path / "run", identity="a")
    rows = figures(tmp_path / "run")
    assert rows[-1]["cosine"] > 0.8 > 0.6 > rows[0]["cosine"]
    assert [name in rows[0] for name in TERMS] == [loss == f"mse+{name}" for name in TERMS]
    term = loss.partition("+")[2]
    assert not term or rows[-1][term] < rows[1][term]


@pytest.mark.parametrize("loss", ["mse+contrastive", "mse+margin"])
@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_a_term_with_a_state_resumes_to_the_same_weights(tmp_path: Path, loss: str, optimizer: str) -> None:
    class StoppedError(Exception):
        pass

    def stop(tick: object) -> None:
        if tick.step == 15:  # type: ignore[attr-defined]
            raise StoppedError

    options = config(24, optimizer=optimizer)
    first, cut = distill_task(tmp_path, loss=loss), distill_task(tmp_path, loss=loss)
    train(first, options, tmp_path / "whole", identity="a")
    with pytest.raises(StoppedError):
        train(cut, options, tmp_path / "cut", identity="a", on_tick=stop)
    resumed = distill_task(tmp_path, loss=loss, net=tiny_net(seed=99))
    train(resumed, options, tmp_path / "cut", identity="a", resume=True)
    states = [task.modules.state_dict() for task in (first, resumed)]
    assert any(name.startswith(loss.partition("+")[2]) for name in states[0])
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


def test_the_weight_of_a_term_counts(tmp_path: Path) -> None:
    tasks = {weight: distill_task(tmp_path, loss="mse+relational", loss_weight=weight) for weight in (None, 0.0, 3.0)}
    found = {}
    for weight, task in tasks.items():
        loss, shown = task.loss(task.batch(0), 0.0)
        found[weight] = loss.item() - float(shown["loss"])
        term = float(shown["relational"])
    assert found[0.0] == 0
    assert found[3.0] == pytest.approx(3 * term, rel=1e-4)
    assert found[None] == pytest.approx(TERMS["relational"].WEIGHT * term, rel=1e-4)


def test_views_that_blend_two_faces_show_nobody(tmp_path: Path) -> None:
    crops, recipe = tiny_set().crops, RECIPES["mixing"]
    index, view = np.arange(60), np.arange(60) % 3
    mixed = blended(index, view, recipe, 7)
    assert 5 < mixed.sum() < 30
    assert not mixed[view == 0].any()
    pictures = [
        view_inputs(crops, index, view, chosen, 7, TinyTeacher.matrix, SIZE, SIZE)
        for chosen in (recipe, RECIPES["standard"])
    ]
    # the two recipes differ in blends alone
    np.testing.assert_array_equal((pictures[0] != pictures[1]).any(axis=(1, 2, 3)), mixed)
    task = distill_task(tmp_path, recipe=recipe)
    batch = task.batch(0)
    crop = batch.crop.numpy()
    expected = np.where(blended(crop, crop % 2, recipe, 0), -1, task.transfer.identity[crop])
    assert (expected < 0).any()
    np.testing.assert_array_equal(batch.person.numpy(), expected)


def test_what_does_not_fit_is_refused() -> None:
    labels, none = np.array([0, 0, 1, 1]), np.full(4, -1)
    check_loss("mse+margin", 0.0, labels)
    with pytest.raises(UnknownNameError, match="did you mean 'mse\\+margin'"):
        check_loss("mse+margim", None, labels)
    with pytest.raises(UnknownNameError, match="huber\\+margin"):
        check_loss("huber+margin", None, labels)
    with pytest.raises(InputError, match="'mse' has no second term"):
        check_loss("mse", 1.0, labels)
    for weight in (-1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="must be at least 0"):
            check_loss("mse+margin", weight, labels)
    with pytest.raises(InputError, match="two labelled people with 2 crops or more, found 0"):
        make_terms("mse+margin", lambda: units(4), none)

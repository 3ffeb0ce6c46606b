"""Mining and losses on numbers worked out by hand; target maps by invariants; optimizers against torch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import nn

from facelet.data.views import RECIPES
from facelet.errors import InputError
from facelet.train.average import Average
from facelet.train.distill import epoch_rows
from facelet.train.losses import EMBEDDING_LOSSES
from facelet.train.mining import semi_hard, squared_distances, triplet_loss
from facelet.train.muon import MuonAdamW, orthogonalize
from facelet.train.optimizers import is_matrix, make_optimizer
from facelet.train.targets import fit_target, fit_target_map, join, rotation
from facelet.train.triplet import LabelledBatch, TripletTask
from tiny_training import SIZE, TinyTeacher, tiny_set


def on_circle(*degrees: float) -> torch.Tensor:
    angle = torch.deg2rad(torch.tensor(degrees))
    return torch.stack([angle.cos(), angle.sin()], dim=1)


def test_squared_distances_on_a_circle() -> None:
    # chord of 60 degrees has length 1; of 180 degrees length 2, squared 4; of 90 degrees sqrt 2
    distance = squared_distances(on_circle(0, 60, 180, 90))
    torch.testing.assert_close(distance[0], torch.tensor([0.0, 1.0, 4.0, 2.0]), atol=1e-6, rtol=0)


def test_semi_hard_takes_the_nearest_negative_beyond_the_positive() -> None:
    # anchor 0 deg, positive 60 deg (d = 1); negatives at 30 deg (d = 0.27, too hard), 63 deg (1.09), 170 deg (3.97)
    embeddings = on_circle(0, 60, 30, 63, 170)
    identity = torch.tensor([0, 0, 1, 2, 3])
    found = semi_hard(embeddings, identity, margin=0.2)
    rows = torch.stack([found.anchor, found.positive, found.negative], dim=1).tolist()
    chosen = {(anchor, positive): negative for anchor, positive, negative in rows}
    assert chosen[(0, 1)] == 3
    # from 60 deg the positive is at d = 1 again; 30 and 63 deg are nearer, 170 deg (d = 2.68) is beyond the margin
    assert (1, 0) not in chosen


def test_a_pair_without_a_farther_negative_takes_the_least_hard() -> None:
    # positive opposite (d = 4): every negative is nearer; the farthest of them is the one at 120 deg
    found = semi_hard(on_circle(0, 180, 40, 120), torch.tensor([0, 0, 1, 2]), margin=0.2)
    assert found.negative[found.anchor == 0].tolist() == [3]


def test_triplet_loss_by_hand() -> None:
    # d(a, p) = 1 (60 deg), d(a, n) = 1.0872 (2 - 2 cos 62.9..): take n at 90 deg: 2 -> max(0, 1 - 2 + 1.5) = 0.5
    embeddings = on_circle(0, 60, 90)
    found = semi_hard(embeddings, torch.tensor([0, 0, 1]), margin=1.5)
    rows = found.anchor == 0
    only = type(found)(found.anchor[rows], found.positive[rows], found.negative[rows])
    assert triplet_loss(embeddings, only, 1.5).item() == pytest.approx(0.5, abs=1e-6)


class Saying(nn.Module):
    """A net that says the same whatever it is shown."""

    def __init__(self, embeddings: torch.Tensor) -> None:
        super().__init__()
        self.embeddings = embeddings

    def forward(self, _x: torch.Tensor) -> torch.Tensor:
        return self.embeddings


def test_distances_are_not_rounded_in_bfloat16() -> None:
    # vectors near each other, as early in training: bfloat16 holds 2 of the 3 digits by which their distances differ
    random = torch.Generator().manual_seed(0)
    near = torch.randn(1, 128, generator=random) + 0.15 * torch.randn(64, 128, generator=random)
    transfer = tiny_set()
    task = TripletTask(
        Saying(nn.functional.normalize(near)),
        transfer,
        transfer.labelled(2),
        people=6,
        photos=4,
        margin=0.01,
        recipe=RECIPES["standard"],
        seed=0,
        matrix=TinyTeacher.matrix,
        size=SIZE,
    )
    batch = LabelledBatch(torch.zeros(64, 8, 8, 3, dtype=torch.uint8), torch.arange(16).repeat_interleave(4))
    _, expected = task.loss(batch, 0.0)
    with torch.autocast("cpu", torch.bfloat16):
        _, found = task.loss(batch, 0.0)
    assert found == expected


def test_no_triplets_give_a_zero_loss_with_a_gradient() -> None:
    embeddings = on_circle(0, 1, 180).requires_grad_()
    loss = triplet_loss(embeddings, semi_hard(embeddings, torch.tensor([0, 0, 1]), 0.2), 0.2)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0


def test_embedding_losses_by_hand() -> None:
    # 60 degrees apart: squared distance 1, cosine distance 1 - 1/2
    a, b = on_circle(0, 0), on_circle(60, 60)
    assert EMBEDDING_LOSSES["mse"](a, b).item() == pytest.approx(1.0, abs=1e-6)
    assert EMBEDDING_LOSSES["cosine"](a, b).item() == pytest.approx(0.5, abs=1e-6)


def test_join_scales_each_teacher_alike() -> None:
    random = np.random.default_rng(0)
    parts = []
    for size in (6, 10):
        vectors = random.normal(size=(4, size))
        parts.append((vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16))
    joined = join(parts, "concatenate")
    np.testing.assert_allclose(np.linalg.norm(joined, axis=1), 1, atol=2e-3)
    # cosines of the joined vectors are the means of the teachers' cosines
    cosine = [part.astype(np.float32) @ part.astype(np.float32).T for part in parts]
    np.testing.assert_allclose(joined @ joined.T, (cosine[0] + cosine[1]) / 2, atol=2e-3)
    with pytest.raises(InputError, match="cannot be averaged"):
        join(parts, "average")
    with pytest.raises(InputError, match="not known"):
        join(parts, "multiply")


def test_target_map_keeps_what_lies_in_a_subspace() -> None:
    random = np.random.default_rng(1)
    basis = np.linalg.qr(random.normal(size=(20, 5)))[0]
    vectors = random.normal(size=(300, 5)) @ basis.T
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    mapped = fit_target_map(vectors, 5)(vectors)
    np.testing.assert_allclose(mapped @ mapped.T, vectors @ vectors.T, atol=1e-5)
    same = fit_target_map(vectors, 20)
    np.testing.assert_allclose(same(vectors), vectors, atol=1e-6)
    with pytest.raises(InputError, match="exceed"):
        fit_target_map(vectors, 21)


def test_the_rotation_is_scipys() -> None:
    random = np.random.default_rng(2)
    source, goal = (random.normal(size=(50, 7)).astype(np.float32) for _ in range(2))
    oracle, _ = scipy.linalg.orthogonal_procrustes(source.astype(np.float64), goal.astype(np.float64))
    np.testing.assert_allclose(rotation(source, goal), oracle, atol=1e-5)


def test_procrustes_averages_what_a_turned_teacher_means() -> None:
    random = np.random.default_rng(3)
    first = random.normal(size=(200, 6))
    first = (first / np.linalg.norm(first, axis=1, keepdims=True)).astype(np.float32)
    # the same teacher in other coordinates, and in more of them: the average must be the first teacher itself
    turn = np.linalg.qr(random.normal(size=(6, 6)))[0].astype(np.float32)
    wider = np.linalg.qr(random.normal(size=(9, 6)))[0].astype(np.float32).T
    parts = [first, first @ turn, first @ wider]
    target = fit_target(parts, "procrustes", 6)
    np.testing.assert_allclose(target(parts), first, atol=1e-5)
    raw = fit_target(parts[:2], "average", 6)(parts[:2])
    assert (raw * first).sum(1).mean() < 0.9, "the plain average of unrelated coordinates is neither teacher"
    with pytest.raises(InputError, match="exceed"):
        fit_target([first, first[:, :4]], "procrustes", 6)


def test_an_epoch_takes_every_row_at_most_once() -> None:
    rows = [epoch_rows(step, 4, 10, seed=0) for step in range(4)]
    assert [epoch for epoch, _ in rows] == [0, 0, 1, 1]
    assert len(set(np.concatenate([rows[0][1], rows[1][1]]).tolist())) == 8
    assert not np.array_equal(rows[0][1], rows[2][1])


def test_orthogonalize_brings_singular_values_near_one() -> None:
    matrix = torch.randn(12, 40, generator=torch.Generator().manual_seed(0))
    for x in (matrix, matrix.T):
        values = torch.linalg.svdvals(orthogonalize(x))
        assert values.min() > 0.6
        assert values.max() < 1.3
        # the directions stay: the result is U V' of the singular value decomposition, roughly
        u, _, v = torch.linalg.svd(x, full_matrices=False)
        assert torch.nn.functional.cosine_similarity((u @ v).flatten(), orthogonalize(x).flatten(), dim=0) > 0.97


def test_small_depthwise_kernels_alone_are_no_matrices() -> None:
    dense, depthwise, head = nn.Conv2d(16, 32, 1), nn.Conv2d(32, 32, 3, groups=32), nn.Conv2d(32, 32, 6, groups=32)
    assert [is_matrix(next(layer.parameters())) for layer in (dense, depthwise, head)] == [True, False, True]


def test_the_adam_half_of_muon_agrees_with_torch() -> None:
    target = torch.linspace(-1, 1, 5)
    mine, theirs = (nn.Parameter(torch.zeros(5)) for _ in range(2))
    holder = nn.Module()
    holder.register_parameter("p", mine)
    ours = make_optimizer("muon", holder, 0.1, 0.0)
    reference = torch.optim.Adam([theirs], lr=0.1, betas=(0.9, 0.99), eps=1e-8)
    for _ in range(20):
        for parameter, optimizer in ((mine, ours), (theirs, reference)):
            optimizer.zero_grad()
            ((parameter - target) ** 2).sum().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)


def _trained(take: Callable[[MuonAdamW], None], device: str, *, graphed: bool = False) -> nn.Module:
    """A small net after eight steps of Muon at rates that fall, each taken by `take`."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(16, 24), nn.PReLU(24), nn.Linear(24, 24), nn.Linear(24, 8)).to(device)
    x = torch.randn(32, 16, generator=torch.Generator().manual_seed(1)).to(device)
    optimizer = make_optimizer("muon", net, 0.02, 0.1, graphed=graphed)
    assert isinstance(optimizer, MuonAdamW)
    for step in range(8):
        for group in optimizer.param_groups:
            group["lr"] = 0.02 / (1 + step)
        optimizer.zero_grad()
        net(x).square().mean().backward()
        take(optimizer)
    return net.cpu()


def test_rates_that_are_tensors_move_as_numbers_do() -> None:
    def by_tensors(optimizer: MuonAdamW) -> None:
        matrices, others = optimizer.rates()
        optimizer.move([[torch.tensor(rate) for rate in matrices], [torch.tensor(others[0])]])

    ours, right = _trained(by_tensors, "cpu"), _trained(lambda optimizer: optimizer.step(), "cpu")
    for mine, other in zip(ours.parameters(), right.parameters(), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-6, rtol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_steps_from_a_graph_are_those_of_the_optimizer() -> None:
    ours = _trained(lambda optimizer: optimizer.step(), "cuda", graphed=True)
    right = _trained(lambda optimizer: optimizer.step(), "cuda")
    for mine, other in zip(ours.parameters(), right.parameters(), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("name", "rate"), [("adamw", 0.05), ("muon", 0.3)])
def test_optimizers_solve_a_linear_problem(name: str, rate: float) -> None:
    torch.manual_seed(0)
    net, truth = nn.Linear(16, 16), torch.randn(16, 16)
    x = torch.randn(256, 16)
    optimizer = make_optimizer(name, net, rate, 0.0)
    losses = []
    for step in range(300):
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 - step / 300)
        loss = (net(x) - x @ truth).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.02 * losses[0]


def test_average_follows_and_copies_statistics() -> None:
    net = nn.BatchNorm1d(2)
    average = Average(net, 0.5)
    with torch.no_grad():
        net.weight.fill_(3.0)
        assert net.running_mean is not None
        net.running_mean.fill_(7.0)
    average.update(net)
    # the first update's decay is min(0.5, 2 / 11): 1 + (3 - 1) * 9 / 11
    state = average.module.state_dict()
    torch.testing.assert_close(state["weight"], torch.full((2,), 1 + 2 * 9 / 11))
    assert state["running_mean"].tolist() == [7.0, 7.0]

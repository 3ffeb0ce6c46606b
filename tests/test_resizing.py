"""Progressive resizing: pictures grow with the run, any net takes them, and what is exported eats whole ones."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from facelet.canvas import embed_canvas
from facelet.data.embedding_cache import fill_cache
from facelet.data.views import RECIPES
from facelet.embedder import Embedder
from facelet.errors import InputError
from facelet.faces.canvas import canvas_matrix
from facelet.nets import NETS, build_net
from facelet.nets.facelet_students import FaceletNet, Layout, Stage
from facelet.train.distill import DistillTask
from facelet.train.fresh import embed_fresh
from facelet.train.loop import LoopConfig, Tick, train
from facelet.train.options import DistillOptions
from facelet.train.resizing import Resizing, mean_cost, resized, sides
from facelet.train.run import distill
from facelet.train.targets import fit_target
from tiny_training import TinyTeacher, tiny_set

SIZE = 64
forward = FaceletNet.forward


def test_pictures_grow_in_equal_parts_and_are_whole_at_the_end() -> None:
    resizing = Resizing(96, sides(48, 96))
    found = [resizing.side(progress) for progress in (0, 0.19, 0.21, 0.39, 0.41, 0.59, 0.6, 0.61, 1)]
    assert found == [48, 48, 64, 64, 80, 80, 96, 96, 96]
    every = [(resizing.side(step / 6000) / 96) ** 2 for step in range(6000)]
    assert np.mean(every) == pytest.approx(mean_cost(48, 96), abs=1e-3)


@pytest.mark.parametrize("first", [-16, 16, 31, 50, 96, 112])
def test_a_side_that_nothing_grows_from_is_refused(first: int) -> None:
    with pytest.raises(InputError, match=re.escape("grow from one of: 32, 48, 64, 80; or 0")):
        sides(first, 96)


def test_pictures_keep_their_brightness_and_place() -> None:
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(np.kron(rng.integers(0, 256, (2, 3, 6, 6)), np.ones((16, 16))).astype(np.uint8))
    small = Resizing(96, sides(48, 96))(coarse, 0.0)
    assert small.shape == (2, 3, 48, 48)
    assert small.dtype == torch.uint8
    inside = small[:, :, 3::8, 3::8].int(), coarse[:, :, 7::16, 7::16].int()
    assert (inside[0] - inside[1]).abs().max() <= 1
    assert Resizing(96, sides(48, 96))(coarse, 0.6) is coarse


@pytest.mark.parametrize("name", NETS)
def test_every_net_takes_smaller_pictures_and_whole_ones_as_before(name: str) -> None:
    torch.manual_seed(0)
    net = build_net(name).eval()
    whole = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        before = net(whole)
        resizing = resized(net, 80)
        torch.testing.assert_close(net(whole), before, rtol=0, atol=0)
        small = net(resizing(whole, 0.0))
    assert small.shape == before.shape
    net.train()(resizing(whole, 0.0)).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_a_net_that_takes_none_so_small_says_so() -> None:
    with pytest.raises(InputError, match="`first_resolution` 48: the net takes no pictures so small; give more"):
        resized(build_net("nn4_small2"), 48)


def small_net() -> FaceletNet:
    torch.manual_seed(0)
    return FaceletNet(Layout(8, (Stage(8, 16, 16, 1), Stage(16, 16, 16, 1), Stage(16, 16, 16, 1)), 32), SIZE, 8)


def task(folder: Path, net: nn.Module) -> DistillTask:
    transfer, teacher = tiny_set(), TinyTeacher()
    cache = fill_cache(teacher, transfer, RECIPES["light"], 0, 1, folder / "cache")
    return DistillTask(
        net,
        transfer,
        [cache],
        index=np.arange(transfer.n_images),
        target=fit_target([np.asarray(cache.embeddings[0])], "concatenate", 8),
        recipe=RECIPES["light"],
        seed=0,
        batch_size=16,
        matrix=canvas_matrix("arcface", SIZE, SIZE),
        size=SIZE,
        consistent=True,
        resizing=resized(net, 32),
    )


@pytest.mark.parametrize("online", [False, True])
def test_a_net_learns_from_growing_pictures_and_its_file_eats_whole_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, online: bool
) -> None:
    monkeypatch.setenv("FACELET_CACHE", str(tmp_path / "cache"))
    seen: list[int] = []

    def noted(net: FaceletNet, x: Tensor) -> Tensor:
        if net.training:
            seen.append(x.shape[-1])
        return forward(net, x)

    monkeypatch.setattr(FaceletNet, "forward", noted)
    name = "facelet_xs@width=0.25,depth=0.25,resolution=64"
    options = DistillOptions(
        student=name,
        out=tmp_path / "run",
        teachers=("mobilenet_v2_035",),
        epochs=10,
        batch_size=16,
        recipe="light",
        views=0 if online else 1,
        online=online,
        threads=1,
        first_resolution=32,
    )
    student = Embedder.load(distill(options, tiny_set()).model)
    n = len(seen)
    assert seen == [32] * round(0.3 * n) + [48] * round(0.3 * n) + [64] * round(0.4 * n)
    assert (student.card.height, student.card.width) == (64, 64)
    crops = tiny_set().crops
    goal = embed_canvas(Embedder.load("mobilenet_v2_035"), crops)
    fresh, _ = embed_fresh(name, 0, crops)
    assert (embed_canvas(student, crops) * goal).sum(1).mean() > (fresh * goal).sum(1).mean() + 0.2


def test_a_run_that_was_cut_ends_in_the_same_weights(tmp_path: Path) -> None:
    config = LoopConfig(steps=12, learning_rate=4e-3, checkpoint_every=5, log_every=1, threads=1)
    whole = train(task(tmp_path, small_net()), config, tmp_path / "whole", identity="a")

    def cut(tick: Tick) -> None:
        if tick.step == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(task(tmp_path, small_net()), config, tmp_path / "cut", identity="a", on_tick=cut)
    again = train(task(tmp_path, small_net()), config, tmp_path / "cut", identity="a", resume=True)
    for (name, left), right in zip(whole.state_dict().items(), again.state_dict().values(), strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=0, msg=name)


def test_the_command_refuses_before_a_teacher_is_asked(tmp_path: Path) -> None:
    options = DistillOptions(
        student="facelet_xs", out=tmp_path / "run", teachers=("mobilenet_v2_035",), first_resolution=50
    )
    with pytest.raises(InputError, match="`first_resolution` 50: pictures of 96 pixels"):
        distill(options, tiny_set(), progress=lambda *_told: pytest.fail("a teacher was asked"))

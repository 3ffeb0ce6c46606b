"""Oracle: torch's own convolution, batch norm and activations. Invariant: without a compiler all goes on."""

from __future__ import annotations

import copy
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from facelet.nets import build_net
from facelet.nets.fused import can_depthwise, can_norm
from facelet.nets.kernels import COMPILERS, kernels
from facelet.nets.layers import conv_bn
from facelet.nets.relu6 import ReLU6
from facelet.nets.unit import ConvUnit
from kernel_bounds import Recorder, error_over_bound

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, COMPILERS)), reason="no C++ compiler: neither c++, g++ nor clang++ is there"
)

ACTIVATIONS: dict[str, Callable[[int], nn.Module] | None] = {
    "none": None,
    "prelu": nn.PReLU,
    "relu": lambda _channels: nn.ReLU(inplace=True),
    "relu6": lambda _channels: ReLU6(),
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The kernels are for one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def fresh_kernels() -> Iterator[None]:
    """Kernels are looked for anew, in the test's own cache, and again after it."""
    kernels.cache_clear()
    yield
    kernels.cache_clear()


def _randomised(unit: ConvUnit) -> ConvUnit:
    generator = torch.Generator().manual_seed(7)
    for parameter in unit.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.6 + 0.2
    return unit.train()


def _by_parts(unit: ConvUnit) -> nn.Sequential:
    return nn.Sequential(*copy.deepcopy(unit))


def _trained(net: nn.Module, x: Tensor, towards: Tensor) -> list[Tensor]:
    """What a step shows: the output, the gradients of input and parameters, the buffers."""
    x = x.clone().requires_grad_()
    y = net(x)
    (y.float() * towards).sum().backward()
    gradients = [parameter.grad for parameter in (x, *net.parameters())]
    return [y.detach(), *(g for g in gradients if g is not None), *net.buffers()]


@needs_compiler
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "groups", "side"),
    [
        (24, 3, 2, 1, 12),
        (40, 1, 1, 1, 8),
        (72, 3, 2, 72, 12),
        (24, 3, 2, 24, 9),
        (72, 3, 1, 72, 9),
        (16, 3, 1, 16, 1),
        (16, 3, 2, 16, 2),
        (16, 3, 3, 16, 7),
        (16, 6, 1, 16, 6),
        (19, 5, 2, 19, 16),
    ],
)
def test_a_unit_trains_as_its_parts(
    activation: str, channels: int, kernel: int, stride: int, groups: int, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_channels = channels if groups > 1 else 3
    unit = _randomised(
        conv_bn(
            in_channels,
            channels,
            kernel,
            stride,
            groups=groups,
            padding=0 if kernel == side else None,
            eps=0.1,
            activation=ACTIVATIONS[activation],
        )
    )
    parts = _by_parts(unit)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(16, in_channels, side, side, generator=generator)
    towards = torch.randn(parts(x).shape, generator=generator)
    unit = ConvUnit(*copy.deepcopy(parts))
    assert can_norm(unit[0](x), unit[1])  # type: ignore[arg-type]
    assert can_depthwise(x, unit[0]) == (groups > 1)  # type: ignore[arg-type]
    recorder = Recorder(unit, monkeypatch)
    _trained(unit, x, towards)
    assert [type(call.module) for call in recorder.calls] == [nn.Conv2d, nn.BatchNorm2d][groups == 1 :]
    assert all(error_over_bound(call) <= 1 for call in recorder.calls)


@needs_compiler
@pytest.mark.parametrize(("groups", "stride"), [(1, 1), (48, 1), (48, 2)])
def test_half_precision_is_near_the_full(groups: int, stride: int) -> None:
    torch.manual_seed(0)
    unit = _randomised(conv_bn(48, 48, 3, stride, groups=groups, activation=nn.PReLU))
    full = _by_parts(unit)
    x, towards = torch.randn(8, 48, 10, 10), torch.randn(8, 48, 10 // stride, 10 // stride)
    theirs = _trained(full, x, towards)
    with torch.autocast("cpu", torch.bfloat16):
        mine = _trained(unit, x, towards)
    assert mine[0].dtype == torch.bfloat16
    for own, other in zip(mine, theirs, strict=True):
        assert float(torch.nn.functional.cosine_similarity(own.float().flatten(), other.float().flatten(), 0)) > 0.995


@needs_compiler
def test_several_threads_take_torchs_way() -> None:
    unit = _randomised(conv_bn(40, 40, 3, groups=40, activation=nn.PReLU))
    x = torch.randn(7, 40, 6, 6)
    assert "NormActivation" in type(unit(x).grad_fn).__name__
    torch.set_num_threads(2)
    assert "NormActivation" not in type(unit(x).grad_fn).__name__


@needs_compiler
@pytest.mark.parametrize("name", ["facelet_xs", "mobilenet_v2_035", "nn4_small2"])
def test_each_kernel_of_a_whole_net_keeps_to_its_rounding_bound(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against float64 on each call's own inputs; `kernel_bounds` derives the bound, which holds on every processor."""
    torch.manual_seed(0)
    net = build_net(name).train()
    recorder = Recorder(net, monkeypatch)
    _trained(net, torch.randn(4, 3, 96, 96), torch.randn(4, 128))
    units = [unit for unit in net.modules() if isinstance(unit, ConvUnit)]
    norms = [call for call in recorder.calls if isinstance(call.module, nn.BatchNorm2d)]
    assert len(norms) > 0.9 * len(units), "the kernels take nearly every unit"
    assert all(error_over_bound(call) <= 1 for call in recorder.calls)


@needs_compiler
def test_what_does_not_fit_takes_torchs_way() -> None:
    unit = _randomised(conv_bn(3, 5, 3, activation=nn.PReLU))  # 5 channels, 3 * 5 * 5 pixels: no sixteen of them
    x, towards = torch.randn(3, 3, 5, 5), torch.randn(3, 5, 5, 5)
    parts = _by_parts(unit)
    for mine, theirs in zip(_trained(unit, x, towards), _trained(parts, x, towards), strict=True):
        assert torch.equal(mine, theirs)


def test_evaluation_is_torchs_own() -> None:
    unit = _randomised(conv_bn(16, 16, 3, groups=16, activation=nn.PReLU)).eval()
    x = torch.randn(2, 16, 8, 8)
    assert torch.equal(unit(x), _by_parts(unit)(x))


@pytest.mark.usefixtures("fresh_kernels")
def test_without_a_compiler_torch_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facelet.nets.kernels.COMPILERS", ())
    assert kernels() is None
    unit = _randomised(conv_bn(16, 16, 3, activation=nn.PReLU))
    _trained(unit, torch.randn(2, 16, 8, 8), torch.randn(2, 16, 8, 8))


@pytest.mark.usefixtures("fresh_kernels")
def test_they_can_be_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACELET_KERNELS", "0")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kernels() is None


@pytest.mark.usefixtures("fresh_kernels")
def test_a_compiler_that_fails_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / COMPILERS[0]
    broken.write_text("#!/bin/sh\necho 'cannot find what it needs' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.warns(UserWarning, match=r"c\+\+: cannot find what it needs; training goes on with torch's own"):
        assert kernels() is None


@pytest.mark.usefixtures("fresh_kernels")
@pytest.mark.parametrize(
    ("program", "told"),
    [("no program", "Exec format error"), ('#!/bin/sh\n[ "$1" = --version ] || sleep 5\n', "timed out after 0.2")],
    ids=["no program", "slow"],
)
def test_a_compiler_that_cannot_be_used_is_no_end_of_a_training(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str, told: str
) -> None:
    broken = tmp_path / COMPILERS[0]
    broken.write_text(program)
    broken.chmod(0o755)
    monkeypatch.setattr("facelet.nets.kernels.BUILD_LIMIT_S", 0.2)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.warns(UserWarning, match=f"{told}.*training goes on with torch's own"):
        assert kernels() is None


@needs_compiler
def test_a_norm_keeps_its_digits_where_the_mean_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(16, 24, 9, 9, generator=generator) + 1000.0
    x = x.contiguous(memory_format=torch.channels_last)
    towards = torch.randn(x.shape, generator=generator)
    unit = _randomised(ConvUnit(nn.Conv2d(24, 24, 1, groups=24, bias=False), nn.BatchNorm2d(24), nn.PReLU(24)))
    with torch.no_grad():
        unit[0].weight.fill_(1.0)  # type: ignore[operator]
    recorder = Recorder(unit, monkeypatch)
    _trained(unit, x, towards)
    assert all(error_over_bound(call) <= 1 for call in recorder.calls)

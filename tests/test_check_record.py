"""Invariant: a check covers one network. A driver that lies about a second one of the same text is caught."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facelet.errors import DeviceError
from facelet.graph import reference
from facelet.graph.ir import Array, Graph
from facelet.opencl import session
from facelet.opencl.check import Task, compare
from facelet.opencl.config import AVX512
from facelet.opencl.device import Device
from facelet.opencl.lower import lower
from facelet.opencl.program import Launch, Program
from facelet.opencl.render import source
from facelet.opencl.runtime import OpenCLRuntime
from facelet.opencl.session import Session
from tiny_graphs import Builder

DEVICE = Device("lying", "Nobody", "nothing", "1.0", "cpu", 2, AVX512)


class LyingExecutable:
    """Computes with NumPy, and adds 2 to every tensor of a graph that `wrong` picks."""

    def __init__(self, program: Program, wrong: Callable[[Graph], bool]) -> None:
        self.program, self.more = program, np.float32(2 if wrong(program.graph) else 0)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        return {name: value + self.more for name, value in reference.run(self.program.graph, feeds).items()}

    def trace(self, feeds: Mapping[str, Array]) -> Iterator[tuple[Launch, Array]]:
        values = reference.run(self.program.graph, feeds, every=True)
        for launch in self.program.launches:
            if launch.target is not None:
                yield launch, values[launch.target.name] + self.more

    def seconds(self, step: int, repeats: int) -> float:
        return float(step * repeats)


class LyingRuntime(OpenCLRuntime):
    """A real runtime to those who ask, whose checks are recorded; no driver is behind it."""

    def __init__(self, wrong: Callable[[Graph], bool]) -> None:
        self.wrong, self.checks = wrong, 0
        self._device, self.asked_threads = DEVICE, 1

    def load(self, program: Program, *, whole: bool) -> Any:
        return LyingExecutable(program, self.wrong)

    def check_apart(self, task: Task, _limit_s: float) -> float:
        """In place of the one in another process, where this class is not known."""
        self.checks += 1
        return compare(self.load(task.program, whole=task.whole), task.program, task.device)


def net(
    *, side: int = 16, seed: int = 0, low: float = -1.0, high: float = 1.0, scale: float = 1.0, slope: float = 0.1
) -> Graph:
    b = Builder({"x": (1, 16, side, side)}, seed)
    first = b.conv("x", 16, (3, 3), pads=(1, 1, 1, 1), activation="Clip", min=low, max=high)
    b.add("LeakyRelu", b.add("Clip", b.conv(first, 16), min=low, max=high), alpha=slope)
    graph = b.graph()
    return replace(graph, constants={name: array * np.float32(scale) for name, array in graph.constants.items()})


SECOND: dict[str, tuple[Graph, Callable[[Graph], bool]]] = {
    "other weights": (net(seed=1), lambda g: g.constants["c0"][0, 0, 0, 0] != net().constants["c0"][0, 0, 0, 0]),
    "larger weights": (net(scale=100), lambda g: max(np.abs(a).max() for a in g.constants.values()) > 10),
    "limits the wrong way round": (net(low=1.0, high=-1.0), lambda g: g.nodes[0]["min"] > g.nodes[0]["max"]),
    "other limits": (net(low=0.0, high=6.0), lambda g: g.nodes[0]["max"] == 6.0),
    "another slope": (net(slope=0.3), lambda g: g.nodes[-1]["alpha"] == 0.3),
    "another size": (net(side=32), lambda g: g.shapes["x"][2] == 32),
}


@pytest.mark.parametrize(("second", "wrong"), SECOND.values(), ids=SECOND)
def test_a_driver_that_lies_about_a_second_net_of_one_text_is_caught(
    second: Graph, wrong: Callable[[Graph], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = net()
    programs = lower(first, AVX512), lower(second, AVX512)
    assert source(programs[0], whole=True) == source(programs[1], whole=True), "or the case says nothing"
    assert not wrong(first)
    runtime = LyingRuntime(wrong)
    monkeypatch.setattr(session, "check_apart", runtime.check_apart)
    Session(programs[0], runtime, whole=True)
    with pytest.raises(DeviceError, match=r"lying: the kernel .* computes wrongly"):
        Session(programs[1], runtime, whole=True)
    with pytest.raises(DeviceError, match="computes wrongly"):  # a failed check is not recorded
        Session(programs[1], runtime, whole=True)
    assert runtime.checks == 3
    Session(lower(net(), AVX512), runtime, whole=True)
    assert runtime.checks == 3, "the same network is checked once"


@pytest.mark.parametrize(("found", "wanted"), [(np.inf, -np.inf), (np.nan, np.inf), (np.inf, np.nan), (1.0, np.inf)])
def test_numbers_that_are_not_finite_are_compared_too(found: float, wanted: float) -> None:
    from facelet.opencl.check import _apart

    assert _apart(np.array([1, found]), np.array([1, wanted])) == np.inf
    assert _apart(np.array([1, wanted]), np.array([1, wanted])) == 0


def test_a_record_of_an_older_version_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACELET_CACHE", str(tmp_path))
    from facelet.opencl.runtime import binary_path

    program = lower(net(), AVX512)
    old = binary_path(DEVICE, source(program, whole=True)).with_suffix(".json")
    old.parent.mkdir(parents=True)
    old.write_text("{}")
    runtime = LyingRuntime(lambda graph: True)
    monkeypatch.setattr(session, "check_apart", runtime.check_apart)
    with pytest.raises(DeviceError, match="computes wrongly"):
        Session(program, runtime, whole=True)

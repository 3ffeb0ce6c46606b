"""Invariant: a driver that is wrong, slow or broken ends in one clear line. Runtimes here are made up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import pytest

from conftest import Ended
from facelet.errors import DeviceError, InputError
from facelet.graph import reference
from facelet.graph.ir import Array, Graph, Node
from facelet.opencl.config import AVX512, Tile
from facelet.opencl.device import Device
from facelet.opencl.lower import lower
from facelet.opencl.program import Launch, Program
from facelet.opencl.sample import sample_graph
from facelet.opencl.session import MOST_RUNS, Session
from facelet.opencl.tune import _keep, convolutions, tune, tuned_tiles

DEVICE = Device("made-up", "Nobody", "nothing", "1.0", "cpu", 2, AVX512)


class FakeExecutable:
    """Computes with NumPy, and adds `error` to the tensors that `wrong` names."""

    def __init__(self, program: Program, wrong: str = "", error: float = 0.0) -> None:
        self.program, self.wrong, self.error = program, wrong, error
        self.runs: list[int] = []

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        graph = self.program.graph
        count = len(feeds[graph.inputs[0]])
        self.runs.append(count)
        parts = [reference.run(graph, {n: a[i : i + 1] for n, a in feeds.items()}) for i in range(count)]
        return {name: np.concatenate([part[name] for part in parts]) for name in graph.outputs}

    def trace(self, feeds: Mapping[str, Array]) -> Iterator[tuple[Launch, Array]]:
        values = reference.run(self.program.graph, feeds, every=True)
        for launch in self.program.launches:
            if launch.target is not None:
                name = launch.target.name
                yield launch, np.asarray(values[name] + (self.error if name == self.wrong else 0), np.float32)

    def seconds(self, step: int, repeats: int) -> float:
        """Likes narrow tiles."""
        knobs = next(k.knobs for k in self.program.kernels if k.name == self.program.launches[step].kernel)
        return float(dict(knobs)["TILE_W"])


class FakeRuntime:
    """A runtime that does what it is told."""

    threads = 1
    device = DEVICE

    def __init__(self, wrong: str = "", error: float = 0.0, hang_s: float = 0.0, refuse: bool = False) -> None:
        self.wrong, self.error, self.hang_s, self.refuse = wrong, error, hang_s, refuse
        self.loaded: list[FakeExecutable] = []

    def load(self, program: Program, *, whole: bool) -> FakeExecutable:
        time.sleep(self.hang_s)
        if self.refuse:
            raise DeviceError("made-up: cannot build the program (error: no)")
        self.loaded.append(FakeExecutable(program, self.wrong, self.error))
        return self.loaded[-1]


def test_a_right_runtime_passes() -> None:
    session = Session(lower(sample_graph()), FakeRuntime())
    x = np.random.default_rng(1).standard_normal((3, 3, 16, 16)).astype(np.float32)
    assert session.run(x)["y"].shape == (3, 20)


def test_a_wrong_kernel_is_named() -> None:
    with pytest.raises(DeviceError, match=r"made-up: the kernel depthwise_0 of .*'deep'.* computes wrongly") as caught:
        Session(lower(sample_graph()), FakeRuntime(wrong="deep", error=0.5))
    assert "\n" not in str(caught.value)


def test_not_a_number_is_wrong() -> None:
    with pytest.raises(DeviceError, match="computes wrongly"):
        Session(lower(sample_graph()), FakeRuntime(wrong="mean", error=float("nan")))


def test_a_hanging_driver_is_left_alone() -> None:
    begun = time.perf_counter()
    with pytest.raises(DeviceError, match=r"made-up: the driver hangs \(no answer after 0.2 s\)"):
        Session(lower(sample_graph()), FakeRuntime(hang_s=3.0), limit_s=0.2)
    assert time.perf_counter() - begun < 2


def test_a_failed_build_is_passed_on() -> None:
    with pytest.raises(DeviceError, match="cannot build the program"):
        Session(lower(sample_graph()), FakeRuntime(refuse=True))


@pytest.mark.parametrize(
    ("shape", "words"), [((1, 3, 16, 15), "expected"), ((0, 3, 16, 16), "expected"), ((3, 16, 16), "expected")]
)
def test_wrong_shapes_are_refused(shape: tuple[int, ...], words: str) -> None:
    session = Session(lower(sample_graph()), FakeRuntime())
    with pytest.raises(InputError, match=words):
        session.run(np.zeros(shape, np.float32))


def test_a_missing_input_is_refused() -> None:
    session = Session(lower(sample_graph()), FakeRuntime())
    with pytest.raises(InputError, match="nothing is fed to its input 'x'"):
        session.run({})


def test_inputs_with_different_numbers_of_images_are_refused() -> None:
    add = Node("Add", ("a", "b"), "y", {})
    graph = Graph("two", ("a", "b"), ("y",), (add,), {}, {"a": (1, 4), "b": (1, 4), "y": (1, 4)})
    session = Session(lower(graph), FakeRuntime())
    few, many = np.ones((2, 4), np.float32), np.ones((4, 4), np.float32)
    for feeds in ({"a": few, "b": many}, {"a": many, "b": few}):
        with pytest.raises(InputError, match="two: its inputs hold different numbers of images"):
            session.run(feeds)
    assert session.run({"a": few, "b": few})["y"].shape == (2, 4)


def test_many_images_go_in_parts() -> None:
    runtime = FakeRuntime()
    session = Session(lower(sample_graph()), runtime)
    x = np.random.default_rng(1).standard_normal((MOST_RUNS + 3, 3, 16, 16)).astype(np.float32)
    out = session.run(x)["y"]
    assert runtime.loaded[-1].runs[-2:] == [MOST_RUNS, 3]
    np.testing.assert_array_equal(out[-1:], session.run(x[-1:])["y"])


def test_tuning_takes_the_fastest_and_remembers_it() -> None:
    graph, runtime = sample_graph(), FakeRuntime()
    best = tune(graph, runtime, AVX512)
    assert set(best) == set(convolutions(graph)) != set()
    assert tuned_tiles(DEVICE) == best
    tried = [dict(k.knobs) for e in runtime.loaded for k in e.program.kernels if k.template == "conv"]
    assert min(int(knobs["TILE_W"]) for knobs in tried) == min(tile.width for tile in best.values())
    count = len(runtime.loaded)
    assert tune(graph, runtime, AVX512) == best
    assert len(runtime.loaded) == count


def test_two_processes_that_tune_keep_each_other_s_tiles() -> None:
    graph = sample_graph()
    key, other = next(iter(convolutions(graph))), Tile(1, 2, 1)

    class Meanwhile(FakeRuntime):
        """While it measures, another process adds a tile."""

        def load(self, program: Program, *, whole: bool) -> FakeExecutable:
            _keep(DEVICE, "of another net", other)
            return super().load(program, whole=whole)

    best = tune(graph, Meanwhile(), AVX512)
    assert best == tuned_tiles(DEVICE)
    assert best["of another net"] == other
    assert key in best


def test_what_was_tuned_before_an_interruption_is_kept() -> None:
    graph = sample_graph()
    first = next(iter(convolutions(graph)))

    def stop(done: int, _total: int, _key: str) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(graph, FakeRuntime(), AVX512, stop)
    assert set(tuned_tiles(DEVICE)) == {first}


def test_drivers_that_differ_late_in_a_long_version_have_tiles_of_their_own() -> None:
    long = replace(DEVICE, version="OpenCL 3.0 PoCL 3.0-rc2 Linux, Release, RELOC, LLVM 14.0.6, " + "x" * 120)
    _keep(long, "key", Tile(1, 2, 1))
    assert tuned_tiles(long) == {"key": Tile(1, 2, 1)}
    assert tuned_tiles(replace(long, version=long.version + "1")) == {}


def test_a_net_without_a_convolution_to_tune_is_refused(cli: Callable[..., Ended]) -> None:
    pytest.importorskip("pyopencl")
    ended = cli("compile", "facelet_xs_int8", "--tune", "--quiet")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "nothing to tune" in ended.err

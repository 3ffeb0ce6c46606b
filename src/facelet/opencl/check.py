"""A kernel is trusted after it agreed with NumPy once, on the device at hand, within a time limit.

The first time that a network meets a device, every tensor of it is computed in both and compared; the result is
kept in the cache. A driver that builds nothing, computes wrongly or hangs is reported, not trusted.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from facelet.assets import cache_dir
from facelet.atomic import write_text_atomic
from facelet.errors import DeviceError
from facelet.graph.ir import Array, Graph
from facelet.graph.passes import optimise
from facelet.graph.reference import run
from facelet.opencl.lower import lower
from facelet.opencl.program import Program, Tuning

TOLERANCE = 1e-4
"""Largest difference of a tensor from NumPy's, relative to its largest number."""

LIMIT_S = 120.0
"""For building and running the network once."""


class Loaded(Protocol):
    """A program on a device."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The program's outputs."""
        ...


class Target(Protocol):
    """What programs are loaded on; `runtime.Device` is one."""

    @property
    def name(self) -> str:
        """Short name, for messages."""
        ...

    @property
    def key(self) -> str:
        """Names device and driver in caches."""
        ...

    @property
    def vector(self) -> int:
        """Floats of its widest register."""
        ...

    def load(self, program: Program, source: str | None = None) -> Loaded:
        """Builds a program."""
        ...


def open_session(
    graph: Graph, device: Target, tuning: Tuning | None = None, *, limit_s: float = LIMIT_S, cache: Path | None = None
) -> Loaded:
    """Loads a network on a device, checked.

    Args:
        tuning: knobs; by default those that suit the device's registers.
        limit_s: seconds for the check.
        cache: folder of the results of checks; by default below `assets.cache_dir()`.

    Raises:
        GraphError: a node that has no kernel.
        DeviceError: the device cannot build the program, computes something else than NumPy, or hangs.
    """
    graph = optimise(graph)
    tuning = tuning or Tuning(vector=device.vector)
    program = lower(graph, tuning)
    each = replace(tuning, single=False)
    every = lower(graph, each, every=True)
    passed = _passed(cache or cache_dir() / "opencl", device, every, tuning)
    if not passed.is_file():
        _within(limit_s, device, program.name, lambda: _check(graph, device, program, every))
        passed.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomic(passed, "every tensor agreed with NumPy\n")
    return device.load(program, None if tuning.single else every.source)


def _passed(folder: Path, device: Target, every: Program, tuning: Tuning) -> Path:
    """Where it is kept that a network passed on a device: named by kernels, weights, offsets and knobs."""
    parts = hashlib.sha256(every.source.encode())
    parts.update(every.constants.tobytes())
    parts.update(repr((every.launches, tuning)).encode())
    return folder / f"{device.key}-{parts.hexdigest()[:24]}.checked"


def _check(graph: Graph, device: Target, program: Program, every: Program) -> None:
    rng = np.random.default_rng(0)
    feeds = {name: rng.standard_normal(graph.shapes[name]).astype(np.float32) for name in graph.inputs}
    expected = run(graph, feeds, every=True)
    found = device.load(every).run(feeds)
    for node in graph.nodes:  # in order, so that the first wrong one is named
        _compare(found[node.output], expected[node.output], device, f"{node} of {graph.name}")
    if program.tuning.single:
        found = device.load(program).run(feeds)
        for name in graph.outputs:
            _compare(found[name], expected[name], device, f"{graph.name} in one launch")


def _compare(found: Array, expected: Array, device: Target, what: str) -> None:
    scale = float(np.abs(expected).max()) or 1.0
    apart = float(np.abs(found - expected).max()) / scale if found.shape == expected.shape else np.inf
    if not apart < TOLERANCE:
        raise DeviceError(
            f"device {device.name}: computes {what} wrongly (difference {apart:.1e} of the largest number); "
            "use another device (see: facelet devices) or --backend onnxruntime"
        )


def _within(limit_s: float, device: Target, name: str, work: Callable[[], None]) -> None:
    """Does some work in a thread of its own; gives it up when it takes too long."""
    failed: list[BaseException] = []

    def body() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    thread: Any = threading.Thread(target=body, daemon=True, name=f"check {name}")
    thread.start()
    thread.join(limit_s)
    if thread.is_alive():
        raise DeviceError(
            f"device {device.name}: did not finish {name} within {limit_s:g} s, its driver hangs; "
            "use another device (see: facelet devices) or --backend onnxruntime"
        )
    if failed:
        raise failed[0]

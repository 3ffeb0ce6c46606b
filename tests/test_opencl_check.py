"""Invariant: a driver that computes wrongly, hangs or builds nothing is reported in one line, and never trusted."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facelet.errors import DeviceError, FaceletError, InputError, MissingExtraError
from facelet.graph.ir import Array, Graph
from facelet.graph.passes import optimise
from facelet.graph.reference import run
from facelet.opencl.check import open_session
from facelet.opencl.program import Program, Tuning
from facelet.opencl.trial import trial_graph


def working_device() -> Any:
    """The first OpenCL device here that passes the check; the test is skipped without one."""
    from facelet.opencl.runtime import devices

    failed = []
    try:
        found = devices()
    except MissingExtraError as error:
        pytest.skip(str(error))
    for device in found:
        try:
            open_session(trial_graph(), device)
        except FaceletError as error:
            failed.append(str(error))
        else:
            return device
    pytest.skip(f"no OpenCL device works here: {'; '.join(failed) or 'none found'}")


class FakeSession:
    """Answers with NumPy's own results, changed by its device."""

    def __init__(self, device: FakeDevice, program: Program) -> None:
        self.device, self.program = device, program

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        self.device.runs += 1
        time.sleep(self.device.sleep_s)
        every = run(self.device.graph, feeds, every=True)
        found = {output.name: every[output.name].copy() for output in self.program.outputs}
        name = self.device.wrong
        if name in found:
            found[name].reshape(-1)[-1] += 0.01 * np.abs(found[name]).max()
        return found


class FakeDevice:
    """A device whose faults are chosen."""

    name, key, vector = "fake", "fake-key", 8

    def __init__(self, wrong: str = "", sleep_s: float = 0.0, builds: bool = True) -> None:
        self.graph: Graph = optimise(trial_graph())
        self.wrong, self.sleep_s, self.builds = wrong, sleep_s, builds
        self.runs = 0

    def load(self, program: Program, source: str | None = None) -> FakeSession:
        if not self.builds:
            raise DeviceError("device fake: cannot build trial (error: unknown target CPU)")
        return FakeSession(self, program)


def test_a_good_device_is_checked_once(tmp_path: Path) -> None:
    device = FakeDevice()
    open_session(trial_graph(), device, cache=tmp_path)
    assert device.runs == 1
    open_session(trial_graph(), device, cache=tmp_path)
    assert device.runs == 1
    open_session(trial_graph(), device, Tuning(vector=4), cache=tmp_path)
    assert device.runs == 2


def test_one_launch_is_checked_too(tmp_path: Path) -> None:
    device = FakeDevice()
    open_session(trial_graph(), device, Tuning(vector=8, single=True), cache=tmp_path)
    assert device.runs == 2


@pytest.mark.parametrize("tensor", ["a2", "e", "f", "g", "y"])
def test_a_wrong_kernel_is_named(tensor: str, tmp_path: Path) -> None:
    device = FakeDevice(wrong=tensor)
    node = device.graph.producer(tensor)
    assert node is not None
    with pytest.raises(DeviceError, match=f"device fake: computes {node.op} '{tensor}'.* wrongly") as caught:
        open_session(trial_graph(), device, cache=tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("*.checked"))


def test_nan_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = FakeDevice()
    monkeypatch.setattr(
        FakeSession, "run", lambda self, feeds: {o.name: np.full(o.shape, np.nan) for o in self.program.outputs}
    )
    with pytest.raises(DeviceError, match="wrongly"):
        open_session(trial_graph(), device, cache=tmp_path)


def test_a_hung_driver_is_given_up(tmp_path: Path) -> None:
    begun = time.monotonic()
    with pytest.raises(DeviceError, match=r"did not finish trial within 0\.2 s, its driver hangs"):
        open_session(trial_graph(), FakeDevice(sleep_s=2.0), limit_s=0.2, cache=tmp_path)
    assert time.monotonic() - begun < 1.5


def test_a_driver_that_cannot_build_says_so(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="cannot build trial"):
        open_session(trial_graph(), FakeDevice(builds=False), cache=tmp_path)


def test_a_program_that_does_not_compile_is_one_line() -> None:
    from dataclasses import replace

    from facelet.opencl.lower import lower

    device = working_device()
    program = replace(lower(trial_graph()), source="__kernel void broken( {", name="broken")
    with pytest.raises(DeviceError, match="cannot build broken") as caught:
        device.load(program)
    assert "\n" not in str(caught.value)


def test_a_session_checks_what_it_is_fed() -> None:
    session: Any = open_session(trial_graph(), working_device())
    with pytest.raises(InputError, match=r"needs .1, 3, 12, 12., found nothing"):
        session.run({})
    with pytest.raises(InputError, match=r"found .1, 3, 12, 13."):
        session.run({"x": np.zeros((1, 3, 12, 13), np.float32)})


def test_the_first_device_that_works_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    from facelet.model_files import find_model
    from facelet.opencl import runner

    good = working_device()
    monkeypatch.delenv(runner.DEVICE_VARIABLE, raising=False)
    original = runner._load

    def load(path: Path, device: Any) -> Any:
        if device == "broken":
            raise DeviceError("device broken: computes nothing")
        return original(path, device)

    monkeypatch.setattr(runner, "_load", load)
    monkeypatch.setattr(runner, "devices", lambda threads: ["broken", good])
    with pytest.warns(UserWarning, match="device broken: computes nothing; taking device"):
        network = runner.load_network(find_model("facelet_xs"))
    assert network(np.zeros((2, 3, 96, 96), np.float32)).shape == (2, 128)
    monkeypatch.setattr(runner, "devices", lambda threads: ["broken"])
    with pytest.raises(DeviceError, match="computes nothing"):
        runner.load_network(find_model("facelet_xs"))
    monkeypatch.setattr(runner, "devices", lambda threads: [])
    with pytest.raises(DeviceError, match="no device found"):
        runner.load_network(find_model("facelet_xs"))

"""Law 3: what a driver builds is compared with NumPy, step by step, before it is trusted.

The check runs in a process of its own, so that a driver that hangs or crashes takes nothing along:

    python -m facelet.opencl.check TASK   (a pickled `Task`; one JSON object on standard output)
"""

from __future__ import annotations

import copyreg
import errno
import json
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np

from facelet.atomic import cannot_write
from facelet.cache import cache_dir
from facelet.errors import DeviceError, FaceletError
from facelet.graph import reference
from facelet.opencl.device import Executable
from facelet.opencl.program import Program
from facelet.processes import find_program, python_command, run

TOLERANCE = 1e-3
"""Largest difference that passes, relative to the largest number of a tensor; float32 gives about 1e-6."""

LIMIT_S = 180.0
"""Time that building and checking may take before a driver counts as hung."""

Result = TypeVar("Result")


def _rebuilt(items: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(items)


copyreg.pickle(MappingProxyType, lambda proxy: (_rebuilt, (dict(proxy),)))  # nodes and graphs hold them


def compare(executable: Executable, program: Program, where: str, seed: int = 0) -> float:
    """Runs a program step by step on random input; the largest relative difference from the NumPy reference.

    Args:
        where: the device, for the message.

    Raises:
        DeviceError: a step computes something else.
    """
    graph, rng = program.graph, np.random.default_rng(seed)
    feeds = {name: rng.standard_normal(graph.shapes[name]).astype(np.float32) for name in graph.inputs}
    expected = {**feeds, **reference.run(graph, feeds, every=True)}
    worst = 0.0
    for launch, found in executable.trace(feeds):
        wanted = expected[launch.target.name] if launch.target else found
        apart = _apart(found, wanted)
        if not apart <= TOLERANCE:
            raise DeviceError(
                f"{where}: the kernel {launch.kernel} of {launch.node} computes wrongly "
                f"(off by {apart:.1e} of the largest number); use another device, see: facelet devices"
            )
        worst = max(worst, apart)
    outputs = executable.run(feeds)
    for name in graph.outputs:
        apart = _apart(outputs[name], expected[name])
        if not apart <= TOLERANCE:
            raise DeviceError(f"{where}: the output '{name}' is off by {apart:.1e} although every step was right")
    return worst


def _apart(found: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> float:
    if found.shape != wanted.shape:
        return float("inf")
    known = np.isfinite(wanted)
    if not np.array_equal(found[~known], wanted[~known], equal_nan=True) or not np.isfinite(found[known]).all():
        return float("inf")
    if not known.any():
        return 0.0
    scale = max(float(np.abs(wanted[known]).max()), 1e-6)
    return float(np.abs(found[known] - wanted[known]).max()) / scale


def within(limit_s: float, where: str, work: Callable[[], Result]) -> Result:
    """Runs something in a thread and stops waiting for it after a while.

    Raises:
        DeviceError: it takes longer.
    """
    results: list[Result] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    thread.join(limit_s)
    if thread.is_alive():
        raise DeviceError(_hung(where, limit_s))
    if errors:
        raise errors[0]
    return results[0]


def _hung(where: str, limit_s: float) -> str:
    return f"{where}: the driver hangs (no answer after {limit_s:g} s); use another device, see: facelet devices"


@dataclass(frozen=True)
class Task:
    """What the other process is to check."""

    program: Program
    device: str
    threads: int | None
    whole: bool


def check_apart(task: Task, limit_s: float = LIMIT_S) -> float:
    """Builds and checks a program in a process of its own, which leaves the binary in the cache.

    Returns:
        The largest relative difference.

    Raises:
        DeviceError: the driver cannot build it, computes wrongly, hangs or crashes.
        DiskFullError: it has no room for what it compiles.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "task"
        path.write_bytes(pickle.dumps(task))
        try:
            done = run(python_command("facelet.opencl.check", str(path)), limit_s=limit_s)
        except subprocess.TimeoutExpired as error:
            raise DeviceError(_hung(task.device, limit_s)) from error
    lines = done.stdout.strip().splitlines()
    try:
        answer: dict[str, Any] = json.loads(lines[-1])
    except (IndexError, ValueError):
        raise driver_crash(task.device, done) from None
    if "error" in answer:
        raise DeviceError(answer["error"])
    return float(answer["worst"])


def driver_crash(device: str, done: subprocess.CompletedProcess[str]) -> FaceletError:
    """Why a process that ran a driver ended without an answer, by what it wrote on standard error."""
    errors = done.stderr
    end = signal.Signals(-done.returncode).name if done.returncode < 0 else f"exit code {done.returncode}"
    last = (errors.strip().splitlines() or [""])[-1][:200]
    if "No space left on device" in errors or "File too large" in errors:
        return cannot_write(cache_dir(), OSError(errno.ENOSPC, "the driver has no room for what it compiles"))
    if "Final linking" in errors and find_program("ld") is None:
        return DeviceError(f"{device}: cannot build the program, as PoCL needs the program ld; install binutils")
    return DeviceError(f"{device}: the driver crashed ({end}) {last}".strip())


def _main(path: Path) -> None:
    from facelet.opencl.runtime import OpenCLRuntime

    task: Task = pickle.loads(path.read_bytes())
    try:
        runtime = OpenCLRuntime(task.device, task.threads)
        executable = runtime.load(task.program, whole=task.whole)
        answer: dict[str, Any] = {"worst": compare(executable, task.program, task.device)}
    except FaceletError as error:
        answer = {"error": str(error)}
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    from facelet.opencl import check  # so that the pickled classes are the ones that everybody knows

    check._main(Path(sys.argv[1]))

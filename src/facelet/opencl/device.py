"""A device as the rest of the package sees it, and the thin protocol that runs programs on one.

`runtime.OpenCLRuntime` is the real thing; tests put runtimes in its place that are wrong, hang or cannot build.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from facelet.graph.ir import Array
from facelet.opencl.config import Config
from facelet.opencl.program import Launch, Program


@dataclass(frozen=True)
class Device:
    """An OpenCL device.

    Attributes:
        name: short and unique here, such as "pocl-3.0" or "intel".
        platform: what the driver calls itself.
        hardware: what the driver calls the device.
        version: of OpenCL and the driver.
        kind: "cpu", "gpu" or "accelerator".
        units: compute units: threads of a CPU.
        config: what programs are made for on it.
        trouble: what its driver is known to get wrong about this processor, and the remedy; empty for nothing.
    """

    name: str
    platform: str
    hardware: str
    version: str
    kind: str
    units: int
    config: Config
    trouble: str = ""


class Executable(Protocol):
    """A program that is built on a device."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Runs it on arrays whose first dimension is a multiple of the program's batch."""

    def trace(self, feeds: Mapping[str, Array]) -> Iterator[tuple[Launch, Array]]:
        """Runs it step by step on one batch; every tensor that a step completes."""


class Runtime(Protocol):
    """Builds programs on one device."""

    @property
    def device(self) -> Device:
        """What it runs on."""

    @property
    def threads(self) -> int:
        """Threads of a CPU device."""

    def load(self, program: Program, *, whole: bool) -> Executable:
        """Builds a program.

        Args:
            whole: all steps in one kernel, images in parallel; else each step by itself, its parts in parallel.

        Raises:
            DeviceError: the driver cannot build it.
        """

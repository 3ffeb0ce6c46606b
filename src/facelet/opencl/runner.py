"""A network on an OpenCL device, for any number of images: one session per batch size, made when it is first seen."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from facelet.errors import DeviceError
from facelet.graph.ir import Array
from facelet.graph.onnx_io import read_graph
from facelet.opencl.check import Loaded, open_session
from facelet.opencl.program import Tuning
from facelet.opencl.runtime import NO_DEVICE, Device, devices, open_device

LARGEST_BATCH = 8
"""Images at once; more do not stay in a core's cache."""

DEVICE_VARIABLE = "FACELET_OPENCL_DEVICE"
"""Environment variable that names the device where none is chosen."""


def tuning_for(device: Device) -> Tuning:
    """Knobs for a device: as wide as its registers, a launch per layer, which was measured to be the faster form."""
    return Tuning(vector=device.vector, blocks=3 if device.vector == 16 else 2)


def load_network(path: Path, device_name: str | None = None, threads: int | None = None) -> Callable[[Array], Array]:
    """Loads an ONNX file on a device.

    Args:
        device_name: short name (see `runtime.devices`); by default `FACELET_OPENCL_DEVICE`, else the
            first device that works.
        threads: of a CPU device; None leaves it to its runtime.

    Returns:
        A function from `(n, c, h, w)` float32 to the first output, n at least 1.

    Raises:
        GraphError: an op that is not supported.
        DeviceError: no device, or one that fails the check.
    """
    name = device_name or os.environ.get(DEVICE_VARIABLE)
    if name is None:
        return _first_that_works(path, threads)
    return _load(path, open_device(name, threads))


def _first_that_works(path: Path, threads: int | None) -> Callable[[Array], Array]:
    """The network on the first device that passes the check; a device that does not is warned about."""
    failed: list[str] = []
    for device in devices(threads):
        try:
            network = _load(path, device)
        except DeviceError as error:
            failed.append(str(error))
            continue
        if failed:
            warnings.warn(f"{'; '.join(failed)}; taking device {device.name}", stacklevel=2)
        return network
    raise DeviceError("; ".join(failed) or NO_DEVICE)


def _load(path: Path, device: Device) -> Callable[[Array], Array]:
    tuning = tuning_for(device)
    sessions: dict[int, tuple[Loaded, str, str]] = {}

    def part(planes: Array) -> Array:
        batch = len(planes)
        if batch not in sessions:
            graph = read_graph(path, batch)
            sessions[batch] = open_session(graph, device, tuning), graph.inputs[0], graph.outputs[0]
        session, name, output = sessions[batch]
        return session.run({name: planes})[output]

    def whole(planes: Array) -> Array:
        starts = range(0, len(planes), LARGEST_BATCH)
        return np.concatenate([part(planes[start : start + LARGEST_BATCH]) for start in starts])

    graph = read_graph(path)
    part(np.zeros(graph.shapes[graph.inputs[0]], np.float32))  # what does not work is said at once
    return whole

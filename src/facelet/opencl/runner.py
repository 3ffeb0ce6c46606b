"""A network on an OpenCL device, for any number of images."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path

from facelet.errors import DeviceError
from facelet.graph.ir import Array, Graph
from facelet.opencl.runtime import DEVICE_VARIABLE, NO_DEVICE, find_devices
from facelet.opencl.session import Session, open_session


def load_network(
    net: Path | Graph, device_name: str | None = None, threads: int | None = None
) -> Callable[[Array], Array]:
    """Loads an ONNX file, or a graph, on a device.

    Args:
        device_name: see `facelet devices`; that of FACELET_OPENCL_DEVICE, or the first that passes the check, without.
        threads: of a CPU device.

    Returns:
        A function from `(n, c, h, w)` float32 to the first output, n at least 1.

    Raises:
        GraphError: an op that is not supported.
        DeviceError: no device, or one that fails the check.
    """
    named = device_name or os.environ.get(DEVICE_VARIABLE)
    session = _first_that_works(net, threads) if named is None else open_session(net, device=named, threads=threads)
    name = session.program.outputs[0].name
    return lambda planes: session.run(planes)[name]


def _first_that_works(net: Path | Graph, threads: int | None) -> Session:
    """A session on the first device that passes the check; a device that does not is warned about."""
    failed: list[str] = []
    for device in find_devices(threads):
        try:
            session = open_session(net, device=device.name, threads=threads)
        except DeviceError as error:
            failed.append(str(error))
            continue
        if failed:
            warnings.warn(f"{'; '.join(failed)}; taking {device.name}", stacklevel=3)
        return session
    raise DeviceError("; ".join(failed) or NO_DEVICE)

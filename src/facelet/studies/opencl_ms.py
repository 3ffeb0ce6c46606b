"""How long networks take on the default OpenCL device, one image at a time on one thread, side by side."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from facelet.errors import DeviceError, MissingExtraError
from facelet.model_files import load_model
from facelet.opencl.runner import load_network

WARM_UPS, RUNS = 3, 20
"""Of a turn: runs that are not counted, and those that are."""


def opencl_ms(models: Mapping[str, str | Path], turns: int) -> dict[str, float | None]:
    """Median milliseconds of each network; None for all where no OpenCL device works.

    The networks take turns, so that a machine that slows down slows all of them alike.

    Args:
        models: names or `.onnx` files, by a name of the caller's.
        turns: of each network.

    Raises:
        GraphError: an op that is not supported.
    """
    networks = {}
    try:
        for name, model in models.items():
            found = load_model(model)
            shape = (1, 3, found.card.height, found.card.width)
            planes = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
            networks[name] = (load_network(found.path, threads=1), planes)
    except (DeviceError, MissingExtraError):
        return dict.fromkeys(models)
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(turns):
        for name, (network, planes) in networks.items():
            for run in range(WARM_UPS + RUNS):
                begun = time.perf_counter()
                network(planes)
                if run >= WARM_UPS:
                    times[name].append(1000 * (time.perf_counter() - begun))
    return {name: float(np.median(values)) for name, values in times.items()}

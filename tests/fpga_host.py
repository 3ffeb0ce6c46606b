"""Engines and crops for tests, and an exported host program built and run on an OpenCL driver of this machine."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from facelet.fpga.boards import BOARDS
from facelet.fpga.engine import EngineConfig
from facelet.fpga.export import export
from facelet.fpga.lower import layer_table
from facelet.graph.ir import Graph

SMALL = EngineConfig(8, 16, 8, gp=3, weight_buffer=4096)
UNEVEN = EngineConfig(8, 12, 4, gp=5, weight_buffer=0)
"""Lanes that are no multiple of a block, and no weights on chip."""


def noise(graph: Graph, seed: int = 0) -> NDArray[np.float32]:
    """A normalised crop `(3, h, w)`."""
    rng = np.random.default_rng(seed)
    return (rng.random(graph.shapes["image"][1:]) * 2 - 1).astype(np.float32)


def exported(graph: Graph, config: EngineConfig, folder: Path) -> Path:
    pixels = np.repeat(((np.arange(256) - 127.5) / 127.5)[:, None], 3, axis=1).astype(np.float32)
    export(graph, layer_table(graph, config), BOARDS["de1-soc"], pixels, "bgr", 1.0, folder)
    return folder


def host_environment(folder: Path, env: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment that the host program runs in; it is compiled where it has not been yet.

    Args:
        folder: that was exported.
        env: more variables.
    """
    compiler, spec = shutil.which("g++"), importlib.util.find_spec("pyopencl")
    if compiler is None:
        pytest.skip("g++ is not installed")
    if spec is None or spec.origin is None:
        pytest.skip("pyopencl, which brings an OpenCL library, is not installed")
    host = folder / "facelet_host"
    if not host.exists():
        command = [compiler, "-std=c++11", "-Wall", "-Wextra", "-Werror", "-o", str(host), "facelet_host.cpp", "-ldl"]
        subprocess.run(command, cwd=folder, check=True)
    home = Path(spec.origin).parent
    own = next(home.glob(".libs/libOpenCL*"), None)
    cache = folder / "pocl"
    cache.mkdir(exist_ok=True)
    environment = {**os.environ, "PYOPENCL_HOME": str(home), "POCL_CACHE_DIR": str(cache), **(env or {})}
    if own is not None:
        environment["FACELET_OPENCL_LIB"] = str(own)
        # pyopencl's list of drivers names PoCL without its folder, which Python's own process has in its search path
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(
            [str(own.parent), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
        )
    environment.pop("CL_CONFIG_CPU_TBB_NUM_WORKERS", None)
    return environment


def run_host(
    folder: Path, *arguments: str, device: str = "", code: int = 0, env: Mapping[str, str] | None = None
) -> str:
    """What `facelet_host` prints.

    Args:
        folder: that was exported.
        arguments: of the program.
        device: part of the device's name, or one of Python's; empty: not given.
        code: exit code that is expected.
        env: more variables of the environment.
    """
    done = subprocess.run(
        [str(folder / "facelet_host"), *(["--device", device] if device else []), *arguments],
        cwd=folder,
        env=host_environment(folder, env),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == code, done.stderr
    return done.stderr if code else done.stdout

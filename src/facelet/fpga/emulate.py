"""Runs a net on the emulated engine, in a process of its own, and compares every layer with the integer reference.

A process of its own, because the emulator reads its settings once, and a driver that hangs takes nothing along:

    python -m facelet.fpga.emulate FOLDER   (reads FOLDER/task, a pickled `Task`; writes FOLDER/answer)
"""

from __future__ import annotations

import pickle
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facelet.atomic import write_bytes_atomic
from facelet.errors import DeviceError, FaceletError, MissingExtraError, UnknownNameError
from facelet.fpga.cost import loop_trips
from facelet.fpga.runner import EMULATOR, EngineRunner, Image
from facelet.fpga.settings import COUNTS
from facelet.fpga.table import LayerTable
from facelet.graph import reference
from facelet.graph.ir import Array, Graph
from facelet.opencl.check import driver_crash
from facelet.opencl.runtime import OpenCLRuntime, driver_folder
from facelet.processes import Variables, python_command, run

BUILD_LIMIT_S, IMAGE_LIMIT_S = 300.0, 300.0
"""Time that building, and each image, may take before a driver counts as hung."""


@dataclass(frozen=True, eq=False)
class Task:
    """What the other process is to run.

    Attributes:
        table: of the net.
        images: quantized inputs, int8 `(c, h, w)`.
        device: name of the OpenCL device.
        at_once: run the first image once more, all layers in one launch.
    """

    table: LayerTable
    images: tuple[NDArray[np.int8], ...]
    device: str
    at_once: bool


@dataclass(frozen=True, eq=False)
class Emulation:
    """What came back.

    Attributes:
        device: what it ran on, in words.
        build_s: seconds that the build took; a moment where it was built before.
        images: one per input.
        at_once: last map of the first image out of one launch for all layers; None where it was not asked for.
    """

    device: str
    build_s: float
    images: tuple[Image, ...]
    at_once: NDArray[np.int8] | None


@dataclass(frozen=True)
class LayerCheck:
    """One layer of one image against the reference and the cost model.

    Attributes:
        name: of the map that it writes.
        kind: dense, depthwise or pool.
        values: integers that it writes.
        wrong: those of them that the reference has otherwise.
        predicted: trips of the memory unit's loop, by `cost.loop_trips`.
        counted: by the kernels.
        idle: those of them that fed no array.
    """

    name: str
    kind: str
    values: int
    wrong: int
    predicted: int
    counted: int
    idle: int

    @property
    def error(self) -> float:
        """Of the prediction, relative; positive where the model says more."""
        return self.predicted / self.counted - 1


def emulate(
    table: LayerTable, images: Sequence[NDArray[np.int8]], device: str = EMULATOR, *, at_once: bool = False
) -> Emulation:
    """Runs images on a device, which gets the build with channels where it is Intel's FPGA emulator.

    Args:
        table: of the net.
        images: quantized inputs, int8 `(c, h, w)`.
        device: name of an OpenCL device.
        at_once: run the first image once more, all layers in one launch.

    Raises:
        MissingExtraError: the emulator, or pyopencl, is not installed.
        DeviceError: the driver cannot build the engine, hangs or crashes.
    """
    driver_folder().mkdir(parents=True, exist_ok=True)  # where it cannot be made, the error belongs to this process
    limit_s = BUILD_LIMIT_S + IMAGE_LIMIT_S * (len(images) + at_once)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "task").write_bytes(pickle.dumps(Task(table, tuple(images), device, at_once)))
        try:
            done = run(python_command("facelet.fpga.emulate", name), variables=_variables(device), limit_s=limit_s)
        except subprocess.TimeoutExpired as error:
            raise DeviceError(f"{device}: the driver hangs (no answer after {limit_s:g} s)") from error
        answer = folder / "answer"
        if not answer.exists():
            raise driver_crash(device, done)
        found: Emulation | FaceletError = pickle.loads(answer.read_bytes())
    if isinstance(found, FaceletError):
        raise found
    return found


def emulator_library() -> Path:
    """Intel's FPGA emulator where pip installs it.

    Raises:
        MissingExtraError: it is not there.
    """
    library = Path(sys.prefix) / "lib" / "libintelocl_emu.so"
    if not library.exists():
        raise MissingExtraError("Intel's FPGA emulator", "fpga")
    return library


def _variables(device: str) -> Variables:
    """For the other process: the emulator is the only driver, and chooses its own number of threads."""
    if device != EMULATOR:
        return {}
    folder = driver_folder() / "icd-fpga"
    write_bytes_atomic(folder / "intel-fpga.icd", f"{emulator_library()}\n".encode())
    return {"OCL_ICD_VENDORS": str(folder), "CL_CONFIG_CPU_TBB_NUM_WORKERS": None}


def quantized(graph: Graph, table: LayerTable, crop: Array) -> NDArray[np.int8]:
    """The integers that the engine takes for one normalised crop `(c, h, w)`."""
    node = next(node for node in graph.nodes if node.output == table.input)
    return np.asarray(reference.run_node(node, [crop[None]])[0], np.int8)


def check_layers(graph: Graph, table: LayerTable, crop: Array, image: Image) -> tuple[LayerCheck, ...]:
    """Every layer of one image against the integer reference and the cost model.

    Args:
        graph: that the table was made from.
        table: of the net.
        crop: normalised, `(c, h, w)`.
        image: what the engine gave.
    """
    expected = reference.run(graph, {graph.inputs[0]: crop[None]}, every=True)
    checks = []
    for layer, counts in zip(table.layers, image.counts, strict=True):
        found = image.maps[layer.shape.name]
        trips = dict(zip(COUNTS, counts.tolist(), strict=True))
        checks.append(
            LayerCheck(
                name=layer.shape.name,
                kind=layer.shape.kind,
                values=found.size,
                wrong=int((found != expected[layer.tensor].reshape(found.shape)).sum()),
                predicted=sum(loop_trips(layer.shape, table.config)),
                counted=trips["opening"] + trips["reader"],
                idle=trips["idle"],
            )
        )
    return tuple(checks)


def _main(folder: Path) -> None:
    task: Task = pickle.loads((folder / "task").read_bytes())
    try:
        runtime = OpenCLRuntime(task.device)
        runner = EngineRunner(task.table, runtime)
        images = tuple(runner.run(image) for image in task.images)
        last = runner.run_at_once(task.images[0]) if task.at_once else None
        device = f"{runtime.device.hardware}, {runtime.device.version}"
        answer: Emulation | FaceletError = Emulation(device, runner.build_s, images, last)
    except UnknownNameError as error:  # which knows nothing of the emulator, a driver of its own process
        answer = DeviceError(f"{error}, {EMULATOR}")
    except FaceletError as error:
        answer = DeviceError(str(error))
    write_bytes_atomic(folder / "answer", pickle.dumps(answer))


if __name__ == "__main__":
    from facelet.fpga import emulate as own  # so that the pickled classes are the ones that everybody knows

    own._main(Path(sys.argv[1]))

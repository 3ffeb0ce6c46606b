"""A program on a device: built, checked once, then run as often as one likes.

graph = optimise(read_graph("model.onnx"))
runtime = OpenCLRuntime(threads=1)
session = Session(lower(graph, device_config(runtime.device)), runtime)
embedding = session.run(planes)["embedding"]
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from facelet.atomic import write_text_atomic
from facelet.errors import InputError
from facelet.graph.ir import Array, Graph
from facelet.graph.onnx_io import read_graph
from facelet.graph.ops import node_macs
from facelet.graph.passes import optimise
from facelet.opencl.check import LIMIT_S, Task, check_apart, compare, within
from facelet.opencl.config import Config
from facelet.opencl.device import Device, Executable, Runtime
from facelet.opencl.lower import lower
from facelet.opencl.program import Program
from facelet.opencl.render import source
from facelet.opencl.runtime import OpenCLRuntime, binary_path
from facelet.opencl.tune import tuned_tiles

PARALLEL_MACS = 100e6
"""Multiply-accumulates of an image from which two threads gain more by sharing each layer than launches cost."""

MOST_RUNS = 64
"""Runs of a program that are handed to the device at once; more would only take memory."""


class Session:
    """A program that is ready to run.

    Args:
        program: from `lower`.
        runtime: the device.
        whole: all layers in one launch, each thread with images of its own; or layer by layer, threads sharing each.
            Without it: whole, unless there is one large image and more than one thread.
        limit_s: after which a driver counts as hung.

    Raises:
        DeviceError: the driver cannot build the program, computes wrongly, hangs or crashes.
    """

    def __init__(
        self, program: Program, runtime: Runtime, *, whole: bool | None = None, limit_s: float = LIMIT_S
    ) -> None:
        self.program, self.runtime = program, runtime
        self._whole, self._limit_s = whole, limit_s
        self._macs = sum(node_macs(program.graph, node) for node in program.graph.nodes)
        self._ready: dict[bool, Executable] = {}
        self._turn = threading.Lock()
        self._executable(self._chosen(1))

    def run(self, feeds: Array | Mapping[str, Array]) -> dict[str, Array]:
        """The outputs for any number of images that is a multiple of the program's batch.

        Args:
            feeds: the one input, or inputs by name; the first dimension may be larger than the program's.

        Raises:
            InputError: an input is missing or of another shape, or inputs hold different numbers of images.
            DeviceError: the device fails.
        """
        program = self.program
        if not isinstance(feeds, Mapping):
            if len(program.inputs) != 1:
                raise InputError(f"{program.name}: has {len(program.inputs)} inputs; feed them by name")
            feeds = {program.inputs[0].name: feeds}
        arrays: dict[str, Array] = {}
        for port in program.inputs:
            if port.name not in feeds:
                raise InputError(f"{program.name}: nothing is fed to its input '{port.name}'")
            array = np.asarray(feeds[port.name], np.float32)
            fits = array.ndim == len(port.shape) and array.shape[1:] == port.shape[1:]
            if not fits or len(array) == 0 or len(array) % port.shape[0]:
                raise InputError(
                    f"{program.name}: input '{port.name}' has shape {array.shape}; expected {port.shape} or a "
                    "multiple of it"
                )
            arrays[port.name] = array
        counts = {len(arrays[port.name]) // port.shape[0] for port in program.inputs}
        if len(counts) > 1:
            raise InputError(f"{program.name}: its inputs hold different numbers of images")
        (runs,) = counts
        with self._turn:  # a program has one set of buffers
            return self._run(arrays, runs)

    def _run(self, arrays: dict[str, Array], runs: int) -> dict[str, Array]:
        program, executable = self.program, self._executable(self._chosen(runs))
        if runs <= MOST_RUNS:
            return executable.run(arrays)
        parts = []
        for start in range(0, runs, MOST_RUNS):
            rows = {
                port.name: slice(start * port.shape[0], (start + MOST_RUNS) * port.shape[0]) for port in program.inputs
            }
            parts.append(executable.run({name: array[rows[name]] for name, array in arrays.items()}))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _chosen(self, runs: int) -> bool:
        if self._whole is not None:
            return self._whole
        device = self.runtime.device
        if device.kind != "cpu":
            return False
        return runs >= self.runtime.threads or self._macs < PARALLEL_MACS

    def _executable(self, whole: bool) -> Executable:
        if whole not in self._ready:
            self._ready[whole] = self._checked(whole)
        return self._ready[whole]

    def _checked(self, whole: bool) -> Executable:
        """Builds the program; the first time on a device it is checked, and the cache remembers that."""
        program, runtime, limit_s = self.program, self.runtime, self._limit_s
        where = runtime.device.name
        if not isinstance(runtime, OpenCLRuntime):
            executable = within(limit_s, where, lambda: runtime.load(program, whole=whole))
            within(limit_s, where, lambda: compare(executable, program, where))
            return executable
        record = check_record(runtime.device, program, whole)
        if not record.exists():
            worst = check_apart(Task(program, where, runtime.asked_threads, whole), limit_s)
            write_text_atomic(record, json.dumps({"network": program.name, "device": where, "worst": worst}))
        return within(limit_s, where, lambda: runtime.load(program, whole=whole))


def check_record(device: Device, program: Program, whole: bool) -> Path:
    """Where it is recorded that a program passed its check on a device.

    The text is that of many networks: sizes, limits and places of tensors are arguments. What they are and what they
    stand for, the graph, is in the name of the record, too.
    """
    graph, (table, starts) = program.graph, program.table
    digest = hashlib.sha256()
    for array in (table, starts, program.constants, *(graph.constants[name] for name in sorted(graph.constants))):
        digest.update(array.tobytes())
    nodes = [(node.op, node.inputs, node.output, sorted(node.attributes.items())) for node in graph.nodes]
    ports = (program.inputs, program.outputs, program.batch)
    digest.update(repr((ports, sorted(graph.shapes.items()), nodes)).encode())
    built = binary_path(device, source(program, whole=whole))
    return built.with_name(f"{built.stem}-{digest.hexdigest()[:32]}.json")


def device_config(device: Device) -> Config:
    """What programs are made for on a device: its own numbers, and tiles that were tuned on it."""
    return replace(device.config, tiles=tuned_tiles(device))


def open_session(
    model: Path | Graph,
    *,
    device: str | None = None,
    threads: int | None = None,
    batch: int = 1,
    whole: bool | None = None,
) -> Session:
    """Everything from an ONNX file to a session.

    Args:
        model: an ONNX file, or a graph as it is.
        device: name, see `facelet devices`; the first one without it.
        threads: of a CPU device.
        batch: images of one run of the program; `Session.run` takes any multiple of it.

    Raises:
        GraphError: the file cannot be read or compiled.
        DeviceError: see `Session`.
    """
    graph = model if isinstance(model, Graph) else optimise(read_graph(model, batch))
    runtime = OpenCLRuntime(device, threads)
    return Session(lower(graph, device_config(runtime.device)), runtime, whole=whole)

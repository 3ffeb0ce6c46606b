"""OpenCL itself: finds devices, builds programs and runs them. The only module that imports pyopencl."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from facelet.atomic import write_bytes_atomic
from facelet.cache import cache_dir
from facelet.errors import DeviceError, MissingExtraError, UnknownNameError
from facelet.graph.ir import Array
from facelet.opencl.config import choose_config
from facelet.opencl.device import Device
from facelet.opencl.pocl_rescue import WIDE_FLAGS, pocl_trouble, rescue
from facelet.opencl.program import Launch, Port, Program
from facelet.opencl.render import source
from facelet.threads import check_threads

THREAD_VARIABLES = ("POCL_MAX_PTHREAD_COUNT", "CL_CONFIG_CPU_TBB_NUM_WORKERS", "DPCPP_CPU_NUM_CUS")
"""Where CPU runtimes read their number of threads, once, when they are first used."""

DEVICE_VARIABLE = "FACELET_OPENCL_DEVICE"
"""Names the device that is taken where none is asked for."""

NO_DEVICE = "OpenCL: no device found; mend with: pip install 'pyopencl[pocl]'"

UNKNOWN_TARGET = "unknown target CPU"
"""What a compiler reports where its own name for the processor is none that it accepts."""

TIMED = 10
"""Launches, or images of one launch, in a measurement of one step."""

_opened: list[int | None] = []
"""The number of threads that the drivers were told when this process opened OpenCL; empty before."""


def driver_folder() -> Path:
    """Where PoCL and this package keep what they compiled."""
    return cache_dir() / "opencl"


def open_cl(threads: int | None = None) -> Any:
    """The module pyopencl, its environment set before the drivers read it.

    Args:
        threads: of CPU devices; what the drivers choose without it. Heeded by the first call of a process alone.

    Raises:
        MissingExtraError: pyopencl is not installed.
    """
    if not _opened:
        os.environ.setdefault("POCL_CACHE_DIR", str(driver_folder() / "pocl"))
        Path(os.environ["POCL_CACHE_DIR"]).mkdir(parents=True, exist_ok=True)
        os.environ.setdefault("PYOPENCL_NO_CACHE", "1")
        if threads is not None:
            os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
        _offer_intel()
        if _processor_flags() >= WIDE_FLAGS:  # Intel's compiler takes processors that it does not know for old ones
            os.environ.setdefault("CL_CONFIG_CPU_TARGET_ARCH", "skx")
        rescue(_processor_flags())
    try:
        import pyopencl
    except ImportError as error:
        raise MissingExtraError("pyopencl", "opencl") from error
    if not _opened:
        _opened.append(threads)
    return pyopencl


def _offer_intel() -> None:
    """Makes Intel's CPU runtime known where pip installed it: its own .icd file holds a placeholder for the path."""
    library = Path(sys.prefix) / "lib" / "libintelocl.so"
    if "OCL_ICD_VENDORS" in os.environ or not library.exists():
        return
    folder = driver_folder() / "icd"
    system = Path("/etc/OpenCL/vendors")
    for path in system.glob("*.icd") if system.is_dir() else ():
        write_bytes_atomic(folder / path.name, path.read_bytes())
    write_bytes_atomic(folder / "intel-cpu.icd", f"{library}\n".encode())
    os.environ["OCL_ICD_VENDORS"] = str(folder)


def find_devices(threads: int | None = None) -> tuple[Device, ...]:
    """Every OpenCL device, the one that is taken by default first.

    Raises:
        MissingExtraError: pyopencl is not installed.
    """
    return tuple(device for device, _ in _found(threads))


def _found(threads: int | None) -> list[tuple[Device, Any]]:
    cl = open_cl(threads)
    try:
        handles = [(platform, handle) for platform in cl.get_platforms() for handle in platform.get_devices()]
    except cl.Error:  # no platform at all
        return []
    found: list[tuple[Device, Any]] = []
    for platform, handle in handles:
        name, number = _short_name(platform), 2
        while any(device.name == name for device, _ in found):
            name, number = f"{_short_name(platform)}-{number}", number + 1
        kind = {cl.device_type.CPU: "cpu", cl.device_type.GPU: "gpu"}.get(
            handle.type & ~cl.device_type.DEFAULT, "accelerator"
        )
        device = Device(
            name=name,
            platform=platform.name.strip(),
            hardware=handle.name.strip(),
            version=f"{platform.version.strip()} {handle.driver_version.strip()}",
            kind=kind,
            units=handle.max_compute_units,
            config=choose_config(name, kind, handle.version, _processor_flags()),
            trouble=_pocl_trouble() if name == "pocl-3.0" else "",
        )
        found.append((device, handle))
    return sorted(found, key=lambda pair: _rank(pair[0]))


def _short_name(platform: Any) -> str:
    if platform.name == "Portable Computing Language":
        version = re.search(r"PoCL (\d+\.\d+)", platform.version)
        return f"pocl-{version[1]}" if version else "pocl"
    if "FPGA" in platform.name:
        return "intel-fpga"
    return re.sub(r"\W+", "-", platform.name.lower().replace("(r)", "").replace("opencl", "")).strip("-") or "opencl"


def _rank(device: Device) -> tuple[int, list[int]]:
    """PoCL before others, newer before older; the emulator of FPGAs last."""
    numbers = [-int(number) for number in re.findall(r"\d+", device.name)]
    order = 0 if device.name.startswith("pocl") else 1 if device.kind == "cpu" else 2 if device.kind == "gpu" else 3
    return order, numbers


@cache
def _pocl_trouble() -> str:
    return pocl_trouble(_processor_flags())


@cache
def _processor_flags() -> frozenset[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return frozenset()
    line = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return frozenset(line[1].split()) if line else frozenset()


class OpenCLRuntime:
    """Builds programs on one device.

    Args:
        name: of the device, or its first part, such as "pocl" for the newest PoCL; that of FACELET_OPENCL_DEVICE,
            or the first device, without it.
        threads: of CPU devices.

    Raises:
        MissingExtraError: pyopencl is not installed.
        DeviceError: there is no device, or it runs with another number of threads already.
        UnknownNameError: there is none of that name.
    """

    def __init__(self, name: str | None = None, threads: int | None = None) -> None:
        check_threads(threads)
        found = _found(threads)
        if not found:
            raise DeviceError(NO_DEVICE)
        wanted = name or os.environ.get(DEVICE_VARIABLE) or found[0][0].name
        fitting = [pair for pair in found if wanted in (pair[0].name, pair[0].name.split("-")[0])]
        if not fitting:
            raise UnknownNameError("OpenCL device", wanted, (device.name for device, _ in found))
        self._device, self._handle = fitting[0]
        running = _opened[0] or self._device.units  # Intel's units are those of the processor, whatever it was told
        if threads is not None and self._device.kind == "cpu" and running != threads:
            raise DeviceError(
                f"{wanted}: runs on {running} thread(s) in this process already, not on {threads}; "
                "ask for the same number, or start another process"
            )
        self._cl = open_cl(threads)
        self._context = self._cl.Context([self._handle])
        self.asked_threads = threads or _opened[0]

    @property
    def device(self) -> Device:
        """What it runs on."""
        return self._device

    @property
    def threads(self) -> int:
        """Threads of a CPU device."""
        return self._device.units if self.asked_threads is None else self.asked_threads

    def compiled(self, text: str) -> tuple[Any, Any]:
        """The context and the program, as pyopencl has them, of OpenCL C, for kernels that are no `Program`.

        Raises:
            DeviceError: the driver cannot build it.
        """
        return self._context, self._built(text)

    def load(self, program: Program, *, whole: bool) -> OpenCLExecutable:
        """Builds a program, from the cache where it was built before.

        Raises:
            DeviceError: the driver cannot build it.
        """
        text = source(program, whole=whole)
        shared = self._device.kind == "cpu"
        return OpenCLExecutable(self._cl, self._context, self._built(text), program, whole, self.threads, shared)

    def seconds(self, text: str, kernel: str, floats: int, size: int, repeats: int) -> float:
        """The shortest time of a kernel that takes one buffer, for measurements of the device itself.

        Args:
            text: OpenCL C.
            floats: size of the buffer.
            size: work-items, one a work-group.
        """
        cl = self._cl
        built, queue = cl.Kernel(self._built(text), kernel), cl.CommandQueue(self._context)
        zeros = np.zeros(floats, np.float32)
        memory = cl.Buffer(self._context, cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR, hostbuf=zeros)
        built.set_args(memory)
        times = []
        for _ in range(repeats):
            begun = time.perf_counter()
            cl.enqueue_nd_range_kernel(queue, built, (size,), (1,))
            queue.finish()
            times.append(time.perf_counter() - begun)
        return min(times)

    def _built(self, text: str) -> Any:
        cl, path = self._cl, binary_path(self._device, text)
        if path.exists():
            try:
                return cl.Program(self._context, [self._handle], [path.read_bytes()]).build()
            except (cl.Error, ValueError):
                path.unlink(missing_ok=True)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Intel's compiler reports how it vectorised
                built = cl.Program(self._context, text).build(cache_dir=False)
            if not self._device.name.startswith("pocl"):  # keeps its own cache, and would compile everything twice
                write_bytes_atomic(path, built.get_info(cl.program_info.BINARIES)[0])
        except cl.Error as error:
            reason = next((line.strip() for line in str(error).splitlines() if "error" in line.lower()), str(error))
            remedy = f"; {self._device.trouble}" if self._device.trouble and UNKNOWN_TARGET in str(error) else ""
            raise DeviceError(f"{self._device.name}: cannot build the program ({reason[:300]}){remedy}") from error
        return built


def binary_path(device: Device, text: str) -> Path:
    """Where the binary of a program is kept: named by its text, the device and the driver."""
    parts = json.dumps([text, device.platform, device.hardware, device.version])
    return driver_folder() / f"{hashlib.sha256(parts.encode()).hexdigest()[:32]}.bin"


class OpenCLExecutable:
    """A program that is built on a device; see `device.Executable`.

    Where the device is the CPU itself, `shared`, inputs and outputs lie in memory that both sides use and nothing is
    copied: of a small network's 0.2 ms that is a tenth. The check of every program would find a driver that copies.
    """

    def __init__(
        self, cl: Any, context: Any, built: Any, program: Program, whole: bool, threads: int, shared: bool
    ) -> None:
        self._cl, self._program, self._whole, self._threads, self._shared = cl, program, whole, threads, shared
        self._queue = cl.CommandQueue(context)
        self._context, self._built = context, built
        flags = cl.mem_flags
        table, starts = program.table
        self._constants = cl.Buffer(context, flags.READ_ONLY | flags.COPY_HOST_PTR, hostbuf=program.constants)
        self._table = cl.Buffer(context, flags.READ_ONLY | flags.COPY_HOST_PTR, hostbuf=table)
        self._starts = cl.Buffer(context, flags.READ_ONLY | flags.COPY_HOST_PTR, hostbuf=starts)
        self._capacity = 0
        self._reserve(1)

    def _reserve(self, runs: int) -> None:
        """Buffers for so many runs at once, and kernels that know them."""
        if runs <= self._capacity:
            return
        cl, program, flags = self._cl, self._program, self._cl.mem_flags
        self._capacity = runs
        self._workers = max(1, min(self._threads, runs)) if self._whole else 1
        self._staged = _zeros(runs, program.input_floats)
        self._results = _zeros(runs, program.output_floats)
        self._feeds = {port.name: _window(self._staged, port) for port in program.inputs}
        self._found = {port.name: _window(self._results, port) for port in program.outputs}
        arena = np.zeros(max(16, self._workers * program.arena_floats), np.float32)
        self._arena = cl.Buffer(self._context, flags.READ_WRITE | flags.COPY_HOST_PTR, hostbuf=arena)
        how = flags.READ_WRITE | (flags.USE_HOST_PTR if self._shared else flags.COPY_HOST_PTR)
        self._input = cl.Buffer(self._context, how, hostbuf=self._staged)
        self._output = cl.Buffer(self._context, how, hostbuf=self._results)
        _, starts = program.table
        memory = (self._arena, self._input, self._output, self._constants, self._table)
        self._kernels: list[tuple[Any, tuple[int, ...]]] = []
        if self._whole:
            self._net, self._net_runs = cl.Kernel(self._built, "net"), 1
            sizes = (program.arena_floats, program.input_floats, program.output_floats)
            self._net.set_args(*memory, self._starts, *map(np.int32, (0, len(starts), 1, *sizes)))
            return
        for launch, start in zip(program.launches, starts.tolist(), strict=True):
            kernel = cl.Kernel(self._built, f"run_{launch.kernel}")
            kernel.set_args(*memory, np.int32(start + 4), np.int32(0), np.int32(0))
            self._kernels.append((kernel, launch.size))

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Runs it on arrays whose first dimension is a multiple of the program's batch."""
        cl, queue = self._cl, self._queue
        runs = len(feeds[self._program.inputs[0].name]) // self._program.batch
        self._reserve(runs)
        for name, window in self._feeds.items():
            window[:runs] = feeds[name].reshape(runs, *window.shape[1:])
        try:
            if not self._shared:
                cl.enqueue_copy(queue, self._input, self._staged[:runs], is_blocking=False)
            if self._whole:
                self._enqueue_whole(runs)
            else:
                for index in range(runs):
                    self._enqueue_layers(index)
            if not self._shared:
                cl.enqueue_copy(queue, self._results[:runs], self._output, is_blocking=False)
            queue.finish()
        except cl.Error as error:
            raise DeviceError(f"OpenCL: the device cannot run {self._program.name} ({error})") from error
        return {
            name: window[:runs].reshape(runs * window.shape[1], *window.shape[2:]).copy()
            for name, window in self._found.items()
        }

    def _enqueue_whole(self, runs: int) -> None:
        if runs != self._net_runs:
            self._net.set_arg(8, np.int32(runs))
            self._net_runs = runs
        self._cl.enqueue_nd_range_kernel(self._queue, self._net, (min(self._workers, runs),), (1,))

    def _enqueue_layers(self, index: int) -> None:
        cl, queue, program = self._cl, self._queue, self._program
        for kernel, size in self._kernels:
            if self._capacity > 1:
                kernel.set_arg(6, np.int32(index * program.input_floats))
                kernel.set_arg(7, np.int32(index * program.output_floats))
            cl.enqueue_nd_range_kernel(queue, kernel, size, (1, 1, 1))

    def trace(self, feeds: Mapping[str, Array]) -> Iterator[tuple[Launch, Array]]:
        """Runs it step by step on one batch; every tensor that a step completes."""
        cl, queue, program = self._cl, self._queue, self._program
        for name, window in self._feeds.items():
            window[0] = feeds[name]
        if not self._shared:
            cl.enqueue_copy(queue, self._input, self._staged[:1], is_blocking=True)
        arena = np.empty(program.arena_floats, np.float32)
        for index, launch in enumerate(program.launches):
            if self._whole:
                self._net.set_arg(6, np.int32(index))
                self._net.set_arg(7, np.int32(index + 1))
                self._enqueue_whole(1)
            else:
                kernel, size = self._kernels[index]
                cl.enqueue_nd_range_kernel(queue, kernel, size, (1, 1, 1))
            if launch.target is not None:
                queue.finish()
                in_arena = launch.target.space == "arena"
                if in_arena:
                    cl.enqueue_copy(queue, arena, self._arena, is_blocking=True)
                elif not self._shared:
                    cl.enqueue_copy(queue, self._results[:1], self._output, is_blocking=True)
                yield launch, launch.target.read(arena if in_arena else self._results[0])
        if self._whole:
            self._net.set_arg(6, np.int32(0))
            self._net.set_arg(7, np.int32(len(program.launches)))

    def seconds(self, step: int, repeats: int) -> float:
        """The shortest time of one step; ten launches at a time, or as many images in one where it is whole."""
        if self._whole:
            self._reserve(TIMED)
            self._net.set_arg(6, np.int32(step))
            self._net.set_arg(7, np.int32(step + 1))
        times = []
        for _ in range(repeats):
            begun = time.perf_counter()
            if self._whole:
                self._enqueue_whole(TIMED)
            else:
                kernel, size = self._kernels[step]
                for _ in range(TIMED):
                    self._cl.enqueue_nd_range_kernel(self._queue, kernel, size, (1, 1, 1))
            self._queue.finish()
            times.append((time.perf_counter() - begun) / TIMED)
        if self._whole:
            self._net.set_arg(6, np.int32(0))
            self._net.set_arg(7, np.int32(len(self._program.launches)))
        return min(times)


def _zeros(rows: int, columns: int) -> Array:
    """Zeros at the start of a page and in whole cache lines, which drivers can share."""
    page = 4096
    size = -(-max(1, rows * columns) * 4 // page) * page
    memory = np.zeros(size + page, np.uint8)
    start = -memory.ctypes.data % page
    floats: Array = memory[start : start + size].view(np.float32)[: rows * columns].reshape(rows, columns)
    return floats


def _window(memory: Array, port: Port) -> Array:
    """The tensors of a port, one per run, in rows of memory."""
    steps = (memory.strides[0], *(4 * step for step in port.strides))
    return as_strided(memory[:, port.offset :], (len(memory), *port.shape), steps)

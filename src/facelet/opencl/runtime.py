"""Programs on devices: finding devices, building, running, and checking what comes out. The only user of pyopencl.

CPU runtimes read their number of threads from the environment when they are loaded, so it is set once a process,
before pyopencl is imported.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facelet.assets import cache_dir
from facelet.atomic import write_bytes_atomic, write_text_atomic
from facelet.errors import DeviceError, InputError, MissingExtraError, UnknownNameError
from facelet.graph.ir import Array
from facelet.opencl.pocl_rescue import rescue
from facelet.opencl.program import SINGLE, Program

THREAD_VARIABLES = (
    "POCL_MAX_PTHREAD_COUNT",
    "POCL_CPU_MAX_CU_COUNT",
    "CL_CONFIG_CPU_TBB_NUM_WORKERS",
    "DPCPP_CPU_NUM_CUS",
)

NO_DEVICE = "OpenCL: no device found; install a driver, for example: pip install 'pyopencl[pocl]'"

_started: dict[str, Any] = {}


def start(threads: int | None = None) -> Any:
    """Imports pyopencl with a number of threads for CPU devices; returns the module.

    Raises:
        MissingExtraError: pyopencl is not installed.
        InputError: it was started with another number of threads before.
    """
    if "module" in _started:
        if threads is not None and _started["threads"] not in (None, threads):
            raise InputError(
                f"threads: OpenCL runs with {_started['threads']} in this process already; {threads} need a process of "
                "their own"
            )
        return _started["module"]
    if threads is not None:
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    os.environ.setdefault("POCL_CACHE_DIR", str(cache_dir() / "pocl"))
    Path(os.environ["POCL_CACHE_DIR"]).mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("PYOPENCL_NO_CACHE", "1")
    _offer_drivers()
    flags = _processor_flags()
    rescue(flags)
    if {
        "avx512f",
        "avx512bw",
        "avx512dq",
        "avx512vl",
    } <= flags:  # Intel's runtime takes new AMD processors for old ones
        os.environ.setdefault("CL_CONFIG_CPU_TARGET_ARCH", "skx")
    try:
        import pyopencl
    except ImportError as error:
        raise MissingExtraError("pyopencl", "opencl") from error
    _started.update(module=pyopencl, threads=threads)
    return pyopencl


def _processor_flags() -> frozenset[str]:
    """What the processor can do, as Linux names it; empty where it does not say."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("flags"):
                return frozenset(line.partition(":")[2].split())
    return frozenset()


def _offer_drivers() -> None:
    """Lets the loader find the system's drivers and Intel's wheel, whose own entry holds a place that is not there.

    pyopencl's wheel adds PoCL by itself. Whoever sets `OCL_ICD_VENDORS` decides alone.
    """
    if "OCL_ICD_VENDORS" in os.environ:
        return
    folder = cache_dir() / "opencl" / "vendors"
    entries = {entry.name: entry.read_text() for entry in sorted(Path("/etc/OpenCL/vendors").glob("*.icd"))}
    intel = Path(sys.prefix) / "lib" / "libintelocl.so"
    if intel.is_file():
        entries["intel-wheel.icd"] = f"{intel}\n"
    with contextlib.suppress(InputError, OSError):
        folder.mkdir(parents=True, exist_ok=True)
        for stale in folder.glob("*.icd"):
            if stale.name not in entries:
                stale.unlink(missing_ok=True)
        for name, text in entries.items():
            write_text_atomic(folder / name, text)
        os.environ["OCL_ICD_VENDORS"] = str(folder)


@dataclass(frozen=True)
class Device:
    """An OpenCL device.

    Attributes:
        name: short name that commands take, such as "pocl" or "intel".
        title: what the device calls itself.
        version: of its platform's driver.
        handle: pyopencl's.
    """

    name: str
    title: str
    version: str
    handle: Any

    @property
    def key(self) -> str:
        """Names device and driver in caches."""
        return hashlib.sha256(f"{self.name}|{self.title}|{self.version}".encode()).hexdigest()[:16]

    @property
    def vector(self) -> int:
        """Floats of its widest register."""
        wide = int(self.handle.native_vector_width_float)
        return wide if wide in (4, 8, 16) else 8

    def load(self, program: Program, source: str | None = None) -> Session:
        """Builds a program.

        Args:
            source: a longer text that holds the program's kernels, too, so that two programs share one build.

        Raises:
            DeviceError: the compiler refuses it; the message holds the first line of its log.
        """
        return Session(program, self, source or program.source)


SHORT = (
    ("fpga emulation", "intel-fpga-emulator"),
    ("intel(r) opencl", "intel"),
    ("portable computing", "pocl"),
    ("cuda", "nvidia"),
)
"""What a platform's name holds, and the short name of its devices."""


def devices(threads: int | None = None) -> list[Device]:
    """Every OpenCL device; of several with one name the later ones are numbered.

    Raises:
        MissingExtraError: pyopencl is not installed.
    """
    cl = start(threads)
    found: list[Device] = []
    try:
        platforms = cl.get_platforms()
    except cl.Error:
        return []
    for platform in platforms:
        text = f"{platform.name} {platform.vendor}".lower()
        short = next((name for part, name in SHORT if part in text), platform.name.lower().replace(" ", "-"))
        for handle in platform.get_devices():
            same = sum(device.name.split(":")[0] == short for device in found)
            name = f"{short}:{same + 1}" if same else short
            found.append(
                Device(name, handle.name.strip(), f"{platform.version.strip()} {handle.driver_version}", handle)
            )
    return found


def open_device(name: str | None = None, threads: int | None = None) -> Device:
    """A device by its short name; the first one without.

    Raises:
        MissingExtraError: pyopencl is not installed.
        DeviceError: there is no device at all.
        UnknownNameError: none of that name.
    """
    found = {device.name: device for device in devices(threads)}
    if not found:
        raise DeviceError(NO_DEVICE)
    if name is None:
        return next(iter(found.values()))
    if name not in found:
        raise UnknownNameError("device", name, found)
    return found[name]


def _open(device: Device) -> tuple[Any, Any]:
    """The context and the queue that all programs of a device share."""
    opened: dict[str, tuple[Any, Any]] = _started.setdefault("opened", {})
    if device.key not in opened:
        cl = start()
        context = cl.Context([device.handle])
        opened[device.key] = context, cl.CommandQueue(context)
    return opened[device.key]


def _build(device: Device, context: Any, name: str, source: str) -> Any:
    """A built text: from this process, from the cache of binaries, or by the driver's compiler."""
    cl = start()
    key = f"{device.key}-{hashlib.sha256(source.encode()).hexdigest()[:24]}"
    builds: dict[str, Any] = _started.setdefault("builds", {})
    if key not in builds:
        builds[key] = _from_cache(device, context, key) or _compiled(cl, device, context, name, source, key)
    return builds[key]


def _binary(key: str) -> Path:
    return cache_dir() / "opencl" / f"{key}.bin"


def _from_cache(device: Device, context: Any, key: str) -> Any:
    cl = start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return cl.Program(context, [device.handle], [_binary(key).read_bytes()]).build()
    except (cl.Error, OSError):
        return None  # not there, of another driver, or damaged


def _compiled(cl: Any, device: Device, context: Any, name: str, source: str, key: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # compilers that say anything at all make pyopencl warn
            built = cl.Program(context, source).build()
    except cl.Error as error:
        lines = [line for line in str(error).splitlines() if "error" in line.lower()] or str(error).splitlines()
        raise DeviceError(f"device {device.name}: cannot build {name} ({lines[0].strip()[:300]})") from error
    with contextlib.suppress(cl.Error, OSError, InputError):  # a driver without binaries builds every time
        _binary(key).parent.mkdir(parents=True, exist_ok=True)
        write_bytes_atomic(_binary(key), built.get_info(cl.program_info.BINARIES)[0])
    return built


class Session:
    """A built program with its buffers on a device.

    Args:
        source: the text that is built.
    """

    def __init__(self, program: Program, device: Device, source: str) -> None:
        cl = start()
        self.program, self.device, self._cl = program, device, cl
        self._context, self._queue = _open(device)
        built = _build(device, self._context, program.name, source)
        flags = cl.mem_flags
        arena = np.zeros(max(program.arena_floats, 16), np.float32)
        self._arena = cl.Buffer(self._context, flags.READ_WRITE | flags.COPY_HOST_PTR, hostbuf=arena)
        constants = np.ascontiguousarray(program.constants)
        self._constants = cl.Buffer(self._context, flags.READ_ONLY | flags.COPY_HOST_PTR, hostbuf=constants)
        self._staged = {i.name: np.zeros(i.padded_shape, np.float32) for i in program.inputs}
        self._launches = []
        launches = program.launches
        if program.tuning.single:
            whole = cl.Kernel(built, SINGLE)
            whole.set_args(self._arena, self._constants)
            self._launches.append((whole, (1, 1)))
            launches = ()
        for launch in launches:
            kernel = cl.Kernel(built, launch.kernel)
            kernel.set_args(self._arena, self._constants, *(np.int32(offset) for offset in launch.offsets))
            self._launches.append((kernel, launch.size))

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The program's outputs.

        Args:
            feeds: per input a float32 array of its shape.

        Raises:
            InputError: an input is missing or of another shape.
            DeviceError: the driver fails.
        """
        cl, program = self._cl, self.program
        try:
            for entry in program.inputs:
                array = feeds.get(entry.name)
                if array is None or array.shape != entry.shape:
                    found = "nothing" if array is None else array.shape
                    raise InputError(f"{program.name}: input '{entry.name}' needs {entry.shape}, found {found}")
                staged = self._staged[entry.name]
                if any(entry.pads):
                    top, left = entry.pads[:2]
                    staged[:, :, top : top + entry.shape[2], left : left + entry.shape[3]] = array
                else:
                    staged[...] = array
                cl.enqueue_copy(self._queue, self._arena, staged, dst_offset=4 * entry.offset, is_blocking=False)
            for kernel, size in self._launches:
                cl.enqueue_nd_range_kernel(self._queue, kernel, size, (1, 1))
            outputs = {}
            for output in program.outputs:
                outputs[output.name] = np.empty(output.shape, np.float32)
                cl.enqueue_copy(
                    self._queue, outputs[output.name], self._arena, src_offset=4 * output.offset, is_blocking=False
                )
            self._queue.finish()
        except cl.Error as error:
            raise DeviceError(f"device {self.device.name}: {program.name} failed ({error})") from error
        return outputs

    def launch_ms(self, repeats: int = 20) -> list[float]:
        """Median milliseconds of each launch, one after another, waiting for each."""
        times = np.empty((len(self._launches), repeats))
        for turn in range(repeats):
            for index, (kernel, size) in enumerate(self._launches):
                self._queue.finish()
                begun = time.perf_counter()
                self._cl.enqueue_nd_range_kernel(self._queue, kernel, size, (1, 1))
                self._queue.finish()
                times[index, turn] = 1000 * (time.perf_counter() - begun)
        return [float(value) for value in np.median(times, axis=1)]

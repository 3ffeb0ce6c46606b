"""Runs a layer table on an OpenCL device: Intel's FPGA emulator by channels, others by queues in memory.

`KERNELS` says what each kernel takes; the C++ host has the same list.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facelet.errors import DeviceError
from facelet.fpga.cost import DENSE, DEPTHWISE, POOL, LayerShape, iterations_per_output, lane_groups
from facelet.fpga.engine import EngineConfig
from facelet.fpga.settings import COUNTS, header, kernel_source, settings
from facelet.fpga.table import LayerTable, largest_taps
from facelet.opencl.runtime import OpenCLRuntime, open_cl

EMULATOR = "intel-fpga"
"""The name of Intel's FPGA emulator among OpenCL devices."""

EMULATOR_DEPTH = 16_384
"""Elements of a channel; the emulator's threads change places where a channel is full or empty, and that is slow."""

KERNELS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "read_dense": ((DENSE,), ("arena", "dense_weights"), ("densefeed", "denseresidual")),
    "read_narrow": ((DEPTHWISE, POOL), ("arena", "narrow_weights"), ("depthfeed", "depthresidual", "poolfeed")),
    "dense": ((DENSE,), (), ("densefeed", "densesums")),
    "depthwise": ((DEPTHWISE,), (), ("depthfeed", "depthsums")),
    "pool": ((POOL,), (), ("poolfeed", "pooled")),
    "post": ((DENSE, DEPTHWISE), ("params",), ("densesums", "denseresidual", "depthsums", "depthresidual", "finished")),
    "write_maps": ((DENSE, DEPTHWISE, POOL), ("arena",), ("finished", "pooled")),
}
"""Of each kernel: the kinds of layer that it works on; its buffers, behind the table, the first layer, the one after
the last, and the counts; its queues where there are no channels."""


@dataclass(frozen=True, eq=False)
class Image:
    """What one image gave.

    Attributes:
        maps: int8 `(c, h, w)` by name, of every layer.
        counts: `(layers, len(COUNTS))` trips of loops.
        seconds: that it took, copies of the maps to the host included.
    """

    maps: dict[str, NDArray[np.int8]]
    counts: NDArray[np.int32]
    seconds: float


def queue_bytes(table: LayerTable) -> dict[str, int]:
    """Size of each queue in global memory: as many elements as the largest layer sends."""
    config = table.config
    widest = max(config.lane_num, config.dw_lanes)
    sizes = {
        "densefeed": config.vec_size + config.macs_per_cycle + 4,
        "densesums": 4 * config.lane_num,
        "denseresidual": widest,
        "depthfeed": 2 * widest + 4,
        "depthsums": 4 * widest,
        "depthresidual": widest,
        "poolfeed": 2 * widest + 4,
        "pooled": widest,
        "finished": widest,
    }
    most = dict.fromkeys(sizes, 1)
    for layer in table.layers:
        for name, count in _elements(layer.shape, config).items():
            most[name] = max(most[name], count)
    return {name: size * most[name] for name, size in sizes.items()}


def _elements(shape: LayerShape, config: EngineConfig) -> dict[str, int]:
    """What a layer sends."""
    outputs = lane_groups(shape, config) * shape.out_h * shape.out_w
    products = outputs * iterations_per_output(shape, config)
    if shape.kind == POOL:
        return {"poolfeed": products, "pooled": outputs}
    name = "dense" if shape.kind == DENSE else "depth"
    return {f"{name}feed": products, f"{name}sums": outputs, f"{name}residual": outputs, "finished": outputs}


def engine_source(table: LayerTable, *, channels: bool, depth: int, count: bool = True) -> str:
    """The kernels with their settings before them, as one text."""
    macros = settings(table.config, largest_taps(table), depth, count=count)
    return f"{'#define FACELET_CHANNELS' if channels else ''}\n{header(macros)}\n{kernel_source()}"


class EngineRunner:
    """A net on the engine, built on a device.

    Args:
        table: of the net.
        runtime: of the device; Intel's FPGA emulator gets the build with channels.
    """

    def __init__(self, table: LayerTable, runtime: OpenCLRuntime) -> None:
        self._cl, self._table = open_cl(), table
        self._channels = runtime.device.name == EMULATOR
        begun = time.perf_counter()
        text = engine_source(table, channels=self._channels, depth=EMULATOR_DEPTH)
        self._context, program = runtime.compiled(text)
        self.build_s = time.perf_counter() - begun
        names = [name for name in KERNELS if table.config.dw_lanes or name != "depthwise"]
        self._kernels = {name: self._cl.Kernel(program, name) for name in names}
        queues = [self._cl.CommandQueue(self._context) for _ in names] if self._channels else []
        self._queues = dict(zip(names, queues or [self._cl.CommandQueue(self._context)] * len(names), strict=True))
        self._buffers = self._allocate()

    def _allocate(self) -> dict[str, Any]:
        table = self._table
        arrays = {
            "table": table.rows(),
            "counts": np.zeros((len(table.layers), len(COUNTS)), np.int32),
            "arena": np.zeros(table.placement.vectors * table.config.vec_size, np.int8),
            "dense_weights": table.dense_weights if table.dense_weights.size else np.zeros(1, np.int8),
            "narrow_weights": table.narrow_weights if table.narrow_weights.size else np.zeros(1, np.int8),
            "params": table.params if table.params.size else np.zeros(1, np.int32),
        }
        flags = self._cl.mem_flags
        buffers = {
            name: self._cl.Buffer(self._context, flags.READ_WRITE | flags.COPY_HOST_PTR, hostbuf=array)
            for name, array in arrays.items()
        }
        if not self._channels:
            sizes = queue_bytes(table)
            buffers |= {name: self._cl.Buffer(self._context, flags.READ_WRITE, size) for name, size in sizes.items()}
        return buffers

    def run(self, image: NDArray[np.int8]) -> Image:
        """Runs one image, one launch per layer, and reads every layer's map.

        Args:
            image: the net's quantized input, `(c, h, w)`.
        """
        table = self._table
        begun = time.perf_counter()
        arena = self._fed(image)
        maps = {}
        for index, layer in enumerate(table.layers):
            self._launch(index, index + 1, [layer.shape.kind])
            self._copy(arena, self._buffers["arena"])
            maps[layer.shape.name] = table.from_arena(layer.shape.name, arena)
        counts = np.zeros((len(table.layers), len(COUNTS)), np.int32)
        self._copy(counts, self._buffers["counts"])
        return Image(maps, counts, time.perf_counter() - begun)

    def run_at_once(self, image: NDArray[np.int8]) -> NDArray[np.int8]:
        """The last map of one image, all layers in one launch of each kernel; needs channels.

        Raises:
            DeviceError: the build has none.
        """
        if not self._channels:
            raise DeviceError("one launch for all layers needs channels; run it on Intel's FPGA emulator")
        arena = self._fed(image)
        self._launch(0, len(self._table.layers), (DENSE, DEPTHWISE, POOL))
        self._copy(arena, self._buffers["arena"])
        return self._table.from_arena(self._table.output, arena)

    def _fed(self, image: NDArray[np.int8]) -> NDArray[np.int8]:
        """Writes an image into the device's arena, and gives back the arena."""
        table = self._table
        vec, at = table.config.vec_size, table.placement.places[table.input].offset
        raw = table.to_arena(table.input, image).reshape(-1)
        arena = np.zeros(table.placement.vectors * vec, np.int8)
        arena[at * vec : at * vec + raw.size] = raw
        self._copy(self._buffers["arena"], arena)
        return arena

    def _copy(self, to: Any, source: Any) -> None:
        """Copies between host and device, and waits: the emulator comes back from blocking copies too early."""
        self._cl.enqueue_copy(self._queues["write_maps"], to, source)
        self._queues["write_maps"].finish()

    def _launch(self, begin: int, end: int, kinds: Sequence[str]) -> None:
        """Starts the kernels that work on these kinds of layer and waits for them."""
        used = [name for name in self._kernels if set(KERNELS[name][0]) & set(kinds)]
        for name in used:
            self._kernels[name].set_args(*self._arguments(name, begin, end))
            self._cl.enqueue_nd_range_kernel(self._queues[name], self._kernels[name], (1,), (1,))
            self._queues[name].flush()
        for name in used:
            self._queues[name].finish()

    def _arguments(self, name: str, begin: int, end: int) -> Iterator[Any]:
        _, buffers, queues = KERNELS[name]
        yield from (self._buffers["table"], np.int32(begin), np.int32(end), self._buffers["counts"])
        yield from (self._buffers[buffer] for buffer in buffers)
        if not self._channels:
            yield from (self._buffers[queue] for queue in queues)

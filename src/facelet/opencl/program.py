"""A network as OpenCL: kernel text, launches, constants and places in memory. Pure data; no device is needed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from facelet.graph.ir import Array, Graph, Shape
from facelet.opencl.config import Config


@dataclass(frozen=True)
class Kernel:
    """A kernel with its knobs.

    Attributes:
        name: unique in the program.
        template: file in `kernels/`, without its ending.
        knobs: macros.
    """

    name: str
    template: str
    knobs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Target:
    """A tensor as a launch leaves it.

    Attributes:
        name: of the tensor.
        space: "arena", "input" or "output".
        offset: of its first number there, in floats.
        shape: of the tensor.
        strides: of its axes, in floats; of the channels of a blocked image, from block to block.
        block: channels of a block, or 0 for plain layout.
        int8: whether the numbers of a block are bytes with 128 added.
    """

    name: str
    space: str
    offset: int
    shape: Shape
    strides: Shape
    block: int
    int8: bool = False

    def read(self, memory: Array) -> Array:
        """The tensor, out of the memory of its space."""
        if not self.block:
            return as_strided(memory[self.offset :], self.shape, tuple(4 * step for step in self.strides)).copy()
        n, channels, height, width = self.shape
        groups = -(-channels // self.block)
        image, group, row, pixel = (4 * step for step in self.strides)
        source: Any = memory[self.offset :].view(np.uint8) if self.int8 else memory[self.offset :]
        strides = (image, group, source.itemsize, row, pixel)
        view = as_strided(source, (n, groups, self.block, height, width), strides)
        found = view.reshape(n, groups * self.block, height, width)[:, :channels].astype(np.float32)
        return np.asarray(found - np.float32(128) if self.int8 else found)


@dataclass(frozen=True)
class Launch:
    """One step.

    Attributes:
        kernel: name in `Program.kernels`.
        node: of the graph that it belongs to, for messages.
        target: the tensor of the graph that is whole after this step; None for steps in between.
        arguments: as the template lists them.
        size: work-items in three dimensions.
    """

    kernel: str
    node: str
    target: Target | None
    arguments: tuple[int, ...]
    size: tuple[int, int, int]


@dataclass(frozen=True)
class Port:
    """An input or an output.

    Attributes:
        name: of the tensor.
        shape: of the tensor.
        offset: of its first number in the buffer of all inputs or all outputs, in floats.
        strides: of its axes, in floats.
    """

    name: str
    shape: Shape
    offset: int
    strides: Shape


@dataclass(frozen=True, eq=False)
class Program:
    """What runs on a device.

    Attributes:
        graph: what it computes; checks compare with it.
        config: what it was made for.
        batch: images of one run.
        kernels: each once, however many launches it serves.
        launches: in order.
        constants: weights and biases as the kernels read them, float32.
        inputs: ports in the input buffer.
        outputs: ports in the output buffer.
        input_floats: size of the input buffer for one run.
        output_floats: the same for outputs.
        arena_floats: memory for what lies between.
        live_floats: the most of it that is in use at one launch.
    """

    graph: Graph
    config: Config
    batch: int
    kernels: tuple[Kernel, ...]
    launches: tuple[Launch, ...]
    constants: Array
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    input_floats: int
    output_floats: int
    arena_floats: int
    live_floats: int

    @property
    def name(self) -> str:
        """Of the network."""
        return self.graph.name

    @cached_property
    def table(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """All launches as numbers, and where each starts: kernel, three sizes, arguments."""
        index = {kernel.name: position for position, kernel in enumerate(self.kernels)}
        numbers: list[int] = []
        starts = []
        for launch in self.launches:
            starts.append(len(numbers))
            numbers += [index[launch.kernel], *launch.size, *launch.arguments]
        return np.array(numbers, np.int32), np.array(starts, np.int32)

    @property
    def arena_bytes(self) -> int:
        """Memory for what lies between input and output."""
        return 4 * self.arena_floats

    @property
    def live_bytes(self) -> int:
        """The most of the arena that is in use at one launch."""
        return 4 * self.live_floats

"""What the lowerings write into: buffers, constants, kernels and launches of a program that is being made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from facelet.errors import GraphError
from facelet.graph.ir import Array, Graph, Node, Shape
from facelet.opencl import layout
from facelet.opencl.config import Config
from facelet.opencl.layout import View
from facelet.opencl.memory import Lifetime, plan
from facelet.opencl.program import Kernel, Launch, Port, Program, Target
from facelet.opencl.render import argument_names

IN_INPUT, IN_OUTPUT, LARGEST = 0x40000000, 0x20000000, 0x1FFFFFFF
"""As in prelude.cl: which buffer an offset is in."""


@dataclass(frozen=True)
class Place:
    """An argument that is known when memory is planned."""

    buffer: int
    offset: int


@dataclass
class Buffer:
    """Memory of one or more tensors; `space` is "arena", "input" or "output"."""

    size: int
    space: str = "arena"
    offset: int = 0


@dataclass
class Step:
    """A launch whose places are not known yet."""

    kernel: str
    node: str
    output: str
    arguments: dict[str, int | Place]
    order: tuple[str, ...]
    size: tuple[int, int, int]


@dataclass
class Build:
    """A program that is being made.

    Attributes:
        views: where each tensor lies, by name.
        slices: tensors that are written straight into a part of another: its name, and the channel.
        blocked: copies in blocks of tensors that lie otherwise.
        written: where each tensor lay when it was whole; an output may be copied from there.
        ends: where the outputs lie; an input that is one is copied.
        bordered: borders of zeros that lie around int8 images already: top, left, bottom, right.
    """

    graph: Graph
    config: Config
    views: dict[str, View] = field(default_factory=dict)
    slices: dict[str, tuple[str, int]] = field(default_factory=dict)
    blocked: dict[str, View] = field(default_factory=dict)
    buffers: list[Buffer] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    kernels: dict[tuple[str, tuple[tuple[str, str], ...]], Kernel] = field(default_factory=dict)
    constants: list[Array] = field(default_factory=list)
    constant_floats: int = 0
    node: str = ""
    written: dict[str, View] = field(default_factory=dict)
    ends: dict[str, View] = field(default_factory=dict)
    bordered: dict[str, Shape] = field(default_factory=dict)

    def buffer(self, size: int) -> int:
        """A new buffer; its number."""
        self.buffers.append(Buffer(size))
        return len(self.buffers) - 1

    def new_plain(self, shape: Shape) -> View:
        """A new tensor in plain layout."""
        view = layout.plain(0, shape)
        return View(self.buffer(layout.floats(view)), 0, shape, view.strides)

    def new_blocked(self, shape: Shape) -> View:
        """A new image in blocks."""
        view = layout.blocked(0, shape, self.config.block)
        return View(self.buffer(layout.floats(view)), 0, shape, view.strides, view.block)

    def new_int8(self, shape: Shape, block: int) -> View:
        """A new image of bytes in blocks."""
        view = layout.blocked_int8(0, shape, block)
        return replace(view, buffer=self.buffer(layout.floats(view)))

    def image_output(self, name: str) -> View:
        """Where a blocked output goes: a part of a concatenation where there is one, else memory of its own."""
        return self._image_output(name, self.new_blocked)

    def int8_output(self, name: str) -> View:
        """The same for an image of bytes."""
        return self._image_output(name, lambda shape: self.new_int8(shape, self.config.block))

    def _image_output(self, name: str, new: Callable[[Shape], View]) -> View:
        if name in self.slices:
            whole, start = self.slices[name]
            if whole not in self.views:
                self.views[whole] = new(self.graph.shapes[whole])
            view = self.views[whole].slice_channels(start, self.graph.shapes[name][1])
        else:
            view = new(self.graph.shapes[name])
        self.views[name] = view
        return view

    def plain_output(self, name: str) -> View:
        """New memory for a plain output."""
        self.views[name] = self.new_plain(self.graph.shapes[name])
        return self.views[name]

    def constant(self, values: Array) -> int:
        """Adds numbers to the constants; where they start."""
        start = self.constant_floats
        flat = np.ascontiguousarray(values, np.float32).reshape(-1)
        filled = np.pad(flat, (0, -len(flat) % 16))
        self.constants.append(filled)
        self.constant_floats += len(filled)
        return start

    def integers(self, values: np.ndarray[Any, Any], multiple: int) -> int:
        """Adds integers, one per channel, filled up with zeros, as the bits of floats."""
        short = -len(values) % multiple
        return self.constant(np.pad(np.rint(values), (0, short)).astype(np.int32).view(np.float32))

    def vector(self, name: str, multiple: int) -> int:
        """Adds a constant of one number per channel, filled up with zeros."""
        return self.constant(layout.pack_vector(self.graph.constants[name], multiple))

    def emit(
        self,
        template: str,
        knobs: Mapping[str, int | str],
        arguments: Mapping[str, int | float | Place],
        size: tuple[int, int, int],
        output: str = "",
    ) -> None:
        """Adds a launch. Floats are passed as their bits; what the template does not name is an error here."""
        key = (template, tuple((name, str(value)) for name, value in knobs.items()))
        if key not in self.kernels:
            number = sum(kernel.template == template for kernel in self.kernels.values())
            self.kernels[key] = Kernel(f"{template}_{number}", *key)
        order = argument_names(template)
        if set(order) != set(arguments):
            raise ValueError(f"{template}.cl: arguments {sorted(set(order) ^ set(arguments))} do not match")
        if output:
            self.written[output] = self.views[output]
        numbers = {name: bits(value) if isinstance(value, float) else value for name, value in arguments.items()}
        self.steps.append(Step(self.kernels[key].name, self.node, output, numbers, order, size))

    def finish(self, inputs: Sequence[str], outputs: Sequence[str]) -> Program:
        """The program: outputs get their places, memory is planned, arguments become numbers."""
        entries, ends = (
            {name: of[name] for name in names} for names, of in ((inputs, self.views), (outputs, self.ends))
        )
        input_floats = self._place(entries, "input")
        output_floats = self._place(ends, "output")
        touched: dict[int, list[int]] = {}
        for index, step in enumerate(self.steps):
            for value in step.arguments.values():
                if isinstance(value, Place):
                    touched.setdefault(value.buffer, []).append(index)
        arena = [number for number in touched if self.buffers[number].space == "arena"]
        planned = plan([Lifetime(self.buffers[n].size, min(touched[n]), max(touched[n])) for n in arena])
        for number, offset in zip(arena, planned.offsets, strict=True):
            self.buffers[number].offset = offset
        if max(planned.size, input_floats, output_floats, self.constant_floats) > LARGEST:
            raise GraphError(f"{self.graph.name}: too large for one program; compile it for a smaller batch")
        launches = tuple(
            Launch(
                s.kernel, s.node, self._target(s.output), tuple(self._number(s.arguments[n]) for n in s.order), s.size
            )
            for s in self.steps
        )
        return Program(
            graph=self.graph,
            config=self.config,
            batch=self.graph.batch,
            kernels=tuple(self.kernels.values()),
            launches=launches,
            constants=np.concatenate(self.constants) if self.constants else np.zeros(16, np.float32),
            inputs=self._ports(entries),
            outputs=self._ports(ends),
            input_floats=input_floats,
            output_floats=output_floats,
            arena_floats=planned.size,
            live_floats=planned.largest_live,
        )

    def _place(self, views: Mapping[str, View], space: str) -> int:
        offset = 0
        for number in dict.fromkeys(view.buffer for view in views.values()):
            buffer = self.buffers[number]
            buffer.space, buffer.offset = space, offset
            offset += -(-buffer.size // 16) * 16
        return offset

    def _ports(self, views: Mapping[str, View]) -> tuple[Port, ...]:
        return tuple(
            Port(name, view.shape, self.buffers[view.buffer].offset + view.offset, view.strides)
            for name, view in views.items()
        )

    def _target(self, name: str) -> Target | None:
        if not name:
            return None
        view = self.written[name]
        buffer = self.buffers[view.buffer]
        offset = buffer.offset + view.offset
        return Target(name, buffer.space, offset, view.shape, view.strides, view.block, view.int8)

    def _number(self, value: int | Place) -> int:
        if isinstance(value, int):
            return value
        buffer = self.buffers[value.buffer]
        flag = {"arena": 0, "input": IN_INPUT, "output": IN_OUTPUT}[buffer.space]
        return flag | (buffer.offset + value.offset)


def bits(value: float) -> int:
    """A number as float32, and that as the int32 of the same bits; what is too large is infinite."""
    with np.errstate(over="ignore"):
        return int(np.array(value, np.float64).astype(np.float32).view(np.int32))


def place(view: View) -> Place:
    """Where a view starts."""
    return Place(view.buffer, view.offset)


Arguments = dict[str, int | float | Place]
"""Of a kernel, by name."""


def read_from(view: View) -> Arguments:
    """Where a kernel reads an image, and its strides."""
    image, block, row, _ = view.strides
    return {"in": place(view), "in_image": image, "in_row": row, "in_block": block}


def write_to(view: View) -> Arguments:
    """Where a kernel writes an image, and its strides."""
    image, block, row, _ = view.strides
    return {"out": place(view), "out_image": image, "out_row": row, "out_block": block}


def unsupported(node: Node, what: str) -> GraphError:
    """The refusal of a node."""
    return GraphError(f"{node}: {what}, which the OpenCL backend does not support")

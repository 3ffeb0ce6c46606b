"""Graph to program: which kernels, in what layout, with what constants, and where everything lies.

Images live in blocks of channels (`render.View`) as long as nodes want them so; whatever else happens to a tensor
(transposing, joining along odd axes, broadcasting) happens row-major, with a change of layout before it. The parts
of a concatenation are written where they belong, if their channels fill whole blocks.

`LOWERINGS` has a function per op.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from facelet.errors import GraphError
from facelet.graph.ir import Array, Graph, Node, Shape
from facelet.graph.ops import node_macs
from facelet.graph.passes import optimise
from facelet.opencl import pack, render
from facelet.opencl.memory import Life, plan
from facelet.opencl.program import Input, Launch, Output, Program, Tuning
from facelet.opencl.render import Epilogue, Kernel, View, Window

Pads = tuple[int, int, int, int]
NO_PADS: Pads = (0, 0, 0, 0)
CONVOLUTIONS = ("Conv", "FusedConv")


@dataclass
class Place:
    """A stretch of the arena.

    Attributes:
        size: floats.
        first: launch that writes it first; -1 for the host.
        last: launch that reads it last.
    """

    size: int
    first: int
    last: int


@dataclass(frozen=True)
class Tensor:
    """Where a tensor lies: a place, an offset in it, and a blocked view; `view` is None where it is row-major."""

    place: Place
    offset: int
    view: View | None


@dataclass(frozen=True)
class _Call:
    """A launch whose offsets are not known yet; tensors by position: input, second input, output."""

    kernel: Kernel
    tensors: tuple[Tensor | None, Tensor | None, Tensor]
    constants: tuple[int, int, int]
    size: tuple[int, int]
    node: str
    macs: int


@dataclass
class Lowering:
    """A program in the making.

    Attributes:
        graph: optimised.
        tuning: knobs.
        pads: border that the readers of each tensor want.
        blocked: per tensor its blocked home.
        plain: per tensor its row-major home.
        calls: so far.
    """

    graph: Graph
    tuning: Tuning
    pads: dict[str, Pads] = field(default_factory=dict)
    blocked: dict[str, Tensor] = field(default_factory=dict)
    plain: dict[str, Tensor] = field(default_factory=dict)
    calls: list[_Call] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    constants: list[Array] = field(default_factory=list)
    n_constants: int = 0
    _packed: dict[tuple[str, str], int] = field(default_factory=dict)

    def constant(self, name: str, how: str, make: Callable[[], Array]) -> int:
        """The offset of a constant, packed once per way of packing."""
        key = (name, how)
        if key not in self._packed:
            array = make().reshape(-1)
            filled = np.zeros(-(-array.size // 16) * 16, np.float32)
            filled[: array.size] = array
            self._packed[key] = self.n_constants
            self.constants.append(filled)
            self.n_constants += filled.size
        return self._packed[key]

    def place(self, size: int) -> Place:
        """A new stretch of the arena, written by the next launch."""
        place = Place(size, len(self.calls), len(self.calls))
        self.places.append(place)
        return place

    def view(self, shape: Shape, pads: Pads) -> View:
        """The blocked view of an image with a border, alone in its place."""
        _, channels, height, width = shape
        v = self.tuning.vector
        block = (height + pads[0] + pads[2]) * (width + pads[1] + pads[3]) * v
        return View(channels, height, width, pads, block, -(-channels // v) * block, v)

    def home(self, name: str) -> Tensor:
        """Where a node writes its blocked output: its slice of a concatenation, or a place of its own."""
        if name not in self.blocked:
            shape = self.graph.shapes[name]
            pads = self.pads.get(name, NO_PADS)
            view = self.view(shape, pads)
            origin = pads[0] * view.row + pads[1] * view.vector
            self.blocked[name] = Tensor(self.place(shape[0] * view.image), origin, view)
        tensor = self.blocked[name]
        tensor.place.first = min(tensor.place.first, len(self.calls))
        return tensor

    def plain_home(self, name: str) -> Tensor:
        """Where a node writes its row-major output."""
        self.plain[name] = Tensor(self.place(math.prod(self.graph.shapes[name])), 0, None)
        return self.plain[name]

    def as_blocked(self, name: str) -> tuple[Tensor, View]:
        """A tensor in blocks, changed into them where it is row-major."""
        if name not in self.blocked:
            source = self.as_plain(name)
            tensor = self.home(name)
            view = self.the_view(tensor)
            rows = self.graph.shapes[name][0] * view.height
            self.call(render.to_blocked(view), (source, None, tensor), (rows, view.blocks), f"blocks of '{name}'")
        return self.blocked[name], self.the_view(self.blocked[name])

    def as_plain(self, name: str) -> Tensor:
        """A tensor row-major, changed into that where it is in blocks."""
        if name in self.graph.constants and name not in self.plain:
            raise GraphError(f"{self.graph.name}: the constant '{name}' is read where only tensors are supported")
        if name not in self.plain:
            source = self.blocked[name]
            view = self.the_view(source)
            same = view.height == view.width == 1 and not any(view.pads) and view.channels % view.vector == 0
            if same and view.image == view.channels:
                self.plain[name] = Tensor(source.place, source.offset, None)
            else:
                batch = self.graph.shapes[name][0]
                tensor = self.plain_home(name)
                self.call(render.to_plain(view), (source, None, tensor), (batch, view.channels), f"rows of '{name}'")
        return self.plain[name]

    @staticmethod
    def the_view(tensor: Tensor) -> View:
        """The view of a blocked tensor."""
        if tensor.view is None:
            raise GraphError("a row-major tensor was taken for a blocked one")
        return tensor.view

    def call(
        self,
        kernel: Kernel,
        tensors: tuple[Tensor | None, Tensor | None, Tensor],
        size: tuple[int, int],
        node: str,
        constants: tuple[int, int, int] = (0, 0, 0),
        macs: int = 0,
    ) -> None:
        """Adds a launch; what it reads lives until it."""
        for tensor in tensors:
            if tensor is not None:
                tensor.place.last = len(self.calls)
        self.calls.append(_Call(kernel, tensors, constants, size, node, macs))


def lower(graph: Graph, tuning: Tuning | None = None, *, every: bool = False) -> Program:
    """The program of a graph; the graph is folded and fused first.

    Args:
        every: give back all tensors that nodes write, so that each kernel can be checked.

    Raises:
        GraphError: a node that has no kernel.
    """
    graph = optimise(graph)
    low = Lowering(graph, tuning or Tuning())
    _want_pads(low)
    inputs = _inputs(low)
    _place_concatenations(low)
    for node in graph.nodes:
        if node.op not in LOWERINGS:
            raise GraphError(f"{graph.name}: {node} has no OpenCL kernel; these have: {', '.join(LOWERINGS)}")
        LOWERINGS[node.op](low, node)
    names = tuple(node.output for node in graph.nodes) if every else graph.outputs
    outputs = [(name, low.as_plain(name)) for name in dict.fromkeys(names)]
    for _, tensor in outputs:
        tensor.place.last = len(low.calls)
    return _program(low, inputs, outputs)


def _program(low: Lowering, inputs: list[tuple[str, Tensor, Pads]], outputs: list[tuple[str, Tensor]]) -> Program:
    layout = plan([Life(p.size, p.first, p.last) for p in low.places])
    base = {id(place): offset for place, offset in zip(low.places, layout.offsets, strict=True)}

    def at(tensor: Tensor | None) -> int:
        return 0 if tensor is None else base[id(tensor.place)] + tensor.offset

    launches = tuple(
        Launch(c.kernel.name, (*(at(t) for t in c.tensors), *c.constants), c.size, c.node, c.macs) for c in low.calls
    )
    return Program(
        name=low.graph.name,
        source=render.source((call.kernel for call in low.calls), launches, low.tuning),
        launches=launches,
        constants=np.concatenate(low.constants) if low.constants else np.zeros(16, np.float32),
        arena_floats=layout.arena,
        live_floats=layout.live,
        inputs=tuple(Input(n, low.graph.shapes[n], base[id(t.place)], pads) for n, t, pads in inputs),
        outputs=tuple(Output(name, low.graph.shapes[name], at(tensor)) for name, tensor in outputs),
        tuning=low.tuning,
    )


def _want_pads(low: Lowering) -> None:
    """The border of each tensor: the largest that a convolution reading it has; parts of a Concat share one."""
    wanted: dict[str, Pads] = {}
    for node in reversed(low.graph.nodes):
        if node.op in CONVOLUTIONS and not _is_grouped(low, node):
            have = wanted.get(node.inputs[0], NO_PADS)
            wanted[node.inputs[0]] = tuple(max(a, b) for a, b in zip(have, node["pads"], strict=True))
    low.pads = wanted


def _is_depthwise(low: Lowering, node: Node) -> bool:
    shapes = low.graph.shapes
    return bool(node["groups"] == shapes[node.inputs[0]][1] == shapes[node.output][1] and node["groups"] > 1)


def _is_grouped(low: Lowering, node: Node) -> bool:
    return node["groups"] > 1 and not _is_depthwise(low, node)


def _inputs(low: Lowering) -> list[tuple[str, Tensor, Pads]]:
    """Places of what is fed: planes with a border, as dense convolutions of few channels like them."""
    found = []
    for name in low.graph.inputs:
        shape = low.graph.shapes[name]
        readers = low.graph.readers(name)
        stem = len(shape) == 4 and all(_is_stem(low, node, name) for node in readers)
        pads = low.pads.get(name, NO_PADS) if stem else NO_PADS
        size = math.prod(shape)
        if any(pads):
            size = math.prod(shape[:2]) * (shape[2] + pads[0] + pads[2]) * (shape[3] + pads[1] + pads[3])
        place = Place(size, -1, -1)
        low.places.append(place)
        low.plain[name] = Tensor(place, 0, None)
        found.append((name, low.plain[name], pads))
    return found


def _is_stem(low: Lowering, node: Node, name: str) -> bool:
    dense = node.op in CONVOLUTIONS and node["groups"] == 1
    return dense and node.inputs[0] == name and low.graph.shapes[name][1] < low.tuning.vector


def _place_concatenations(low: Lowering) -> None:
    """Gives each part of a concatenation along channels its slice, where it fills whole blocks."""
    shapes, v = low.graph.shapes, low.tuning.vector
    taken: set[str] = set()
    for node in reversed(low.graph.nodes):
        if node.op != "Concat" or node["axis"] != 1 or len(shapes[node.output]) != 4:
            continue
        starts = np.cumsum([0, *(shapes[name][1] for name in node.inputs)])
        if any(start % v for start in starts[:-1]) or len(set(node.inputs)) < len(node.inputs):
            continue
        made = [low.graph.producer(name) for name in node.inputs]
        if any(m is None or m.output in taken or not _writes_blocks(low, m) for m in made):
            continue
        taken.update(node.inputs)
        wanted = [low.pads.get(name, NO_PADS) for name in (node.output, *node.inputs)]
        pads: Pads = tuple(max(sides) for sides in zip(*wanted, strict=True))
        low.pads[node.output] = pads
        shape = shapes[node.output]
        if node.output in low.blocked:  # itself a part of a later one, whose border holds for all
            whole = low.blocked[node.output]
        else:
            view = low.view(shape, pads)
            place = Place(shape[0] * view.image, 10**9, -1)
            low.places.append(place)
            whole = Tensor(place, pads[0] * view.row + pads[1] * v, view)
            low.blocked[node.output] = whole
        for name, start in zip(node.inputs, starts, strict=False):
            part = replace(low.the_view(whole), channels=shapes[name][1])
            low.blocked[name] = Tensor(whole.place, whole.offset + int(start) // v * part.block, part)


def _writes_blocks(low: Lowering, node: Node) -> bool:
    """Whether a node's output is in blocks whatever comes in."""
    return node.op in WRITES_BLOCKS and not (node.op in CONVOLUTIONS and _is_grouped(low, node))


def _window(node: Node, size: Sequence[int]) -> Window:
    return Window((size[0], size[1]), tuple(node["strides"]), node["pads"], tuple(node["dilations"]))


def _epilogue(low: Lowering, node: Node) -> tuple[Epilogue, Tensor | None, int]:
    """What follows the sum, the residual's tensor and the offset of the slopes."""
    if node.op == "Conv":
        return Epilogue(), None, 0
    activation = node["activation"]
    names = {"Clip": ("min", "max"), "LeakyRelu": ("alpha",)}.get(activation, ())
    values = tuple(float(node[name]) for name in names)
    slopes = 0
    if activation == "PRelu":
        slopes = _channels(low, node.inputs[3])
    if not node["residual"]:
        return Epilogue(activation, values), None, slopes
    tensor, view = low.as_blocked(node.inputs[-1])
    return Epilogue(activation, values, view), tensor, slopes


def _channels(low: Lowering, name: str) -> int:
    """A constant of one number per channel, filled up to whole blocks."""
    array = low.graph.constants[name]
    return low.constant(name, "channels", lambda: pack.channels(array, low.tuning.vector))


def _conv(low: Lowering, node: Node) -> None:
    shapes = low.graph.shapes
    if _is_grouped(low, node):
        _grouped(low, node)
        return
    weight = low.graph.constants[node.inputs[1]]
    window = _window(node, weight.shape[2:])
    name = node.inputs[0]
    planar = name in low.graph.inputs and all(_is_stem(low, n, name) for n in low.graph.readers(name))
    epilogue, residual, slopes = _epilogue(low, node)
    if planar:
        border = low.pads.get(name, NO_PADS)
        _, channels, height, width = shapes[name]
        v = low.tuning.vector
        plane = (height + border[0] + border[2]) * (width + border[1] + border[3])
        x = View(channels, height, width, border, plane, channels * plane, v)
        source = replace(low.plain[name], offset=border[0] * (x.row // v) + border[1])
    else:
        source, x = low.as_blocked(name)
        plane = 0
    out = low.home(node.output)
    view = low.the_view(out)
    bias = _channels(low, node.inputs[2])
    rows = shapes[node.output][0] * view.height
    v = low.tuning.vector
    if _is_depthwise(low, node):
        kernel = render.depthwise(x, view, window, epilogue, low.tuning)
        weights = low.constant(node.inputs[1], "depthwise", lambda: pack.depthwise(weight, v))
        groups = view.blocks
    else:
        _, blocks = render.tile_of(view.width, view.blocks, low.tuning)
        kernel = render.convolution(x, view, window, epilogue, low.tuning, planar=plane)
        how = f"dense {blocks} {bool(plane)}"
        weights = low.constant(node.inputs[1], how, lambda: pack.dense(weight, v, blocks, planar=bool(plane)))
        groups = view.blocks // blocks
    macs = node_macs(low.graph, node)
    low.call(kernel, (source, residual, out), (rows, groups), str(node), (weights, bias, slopes), macs)


def _grouped(low: Lowering, node: Node) -> None:
    """Groups of several channels are rare: row-major, and what follows the sum in a kernel of its own."""
    shapes = low.graph.shapes
    weight = node.inputs[1]
    source = low.as_plain(node.inputs[0])
    _, per_group, *size = shapes[weight]
    window = _window(node, size)
    kernel = render.grouped(shapes[node.inputs[0]], shapes[node.output], per_group, node["groups"], window)
    weights = low.constant(weight, "plain", lambda: low.graph.constants[weight])
    bias = low.constant(node.inputs[2], "plain", lambda: low.graph.constants[node.inputs[2]])
    out = low.plain_home(node.output)
    n, filters = shapes[node.output][:2]
    low.call(kernel, (source, None, out), (n, filters), str(node), (weights, bias, 0), node_macs(low.graph, node))
    epilogue, residual, slopes = _epilogue(low, node)
    if node.op == "Conv" or not (epilogue.activation or residual):
        return
    x, view = low.as_blocked(node.output)
    rows = shapes[node.output][0] * view.height
    if residual is not None and epilogue.residual is not None:
        added = render.blocked_map(view, view, "r + q", epilogue.residual)
        low.call(added, (x, residual, x), (rows, view.blocks), f"residual of {node}")
    if epilogue.activation:
        slope = "LD(W + R + g * V)"
        activated = render.blocked_map(view, view, render.activated(epilogue, "r", slope))
        low.call(activated, (x, None, x), (rows, view.blocks), f"activation of {node}", (0, 0, slopes))
    del low.plain[node.output]


def _pool(low: Lowering, node: Node) -> None:
    source, x = low.as_blocked(node.inputs[0])
    out = low.home(node.output)
    view = low.the_view(out)
    if node.op == "GlobalAveragePool":
        kernel = render.pool(x, view, "AveragePool", Window((x.height, x.width), (1, 1), NO_PADS))
    else:
        counted = node.op != "AveragePool" or node["count_include_pad"]
        window = Window(tuple(node["kernel"]), tuple(node["strides"]), node["pads"])
        kernel = render.pool(x, view, node.op, window, node.attributes.get("p", 2), count_pads=counted)
    rows = low.graph.shapes[node.output][0] * view.height
    low.call(kernel, (source, None, out), (rows, view.blocks), str(node))


def _lrn(low: Lowering, node: Node) -> None:
    source, x = low.as_blocked(node.inputs[0])
    out = low.home(node.output)
    view = low.the_view(out)
    kernel = render.lrn(x, view, node["size"], node["alpha"], node["beta"], node["bias"])
    low.call(kernel, (source, None, out), (low.graph.shapes[node.output][0] * view.height, 1), str(node))


def _concat(low: Lowering, node: Node) -> None:
    if node.output in low.blocked and all(
        name in low.blocked and low.blocked[name].place is low.blocked[node.output].place for name in node.inputs
    ):
        return  # its parts were written where they belong
    shape = low.graph.shapes[node.output]
    axis, inner = node["axis"], math.prod(shape[node["axis"] + 1 :])
    sources = [low.as_plain(name) for name in node.inputs]
    out = low.plain_home(node.output)
    outer, offset = math.prod(shape[:axis]), 0
    for name, source in zip(node.inputs, sources, strict=True):
        length = low.graph.shapes[name][axis] * inner
        kernel = render.copied(length, shape[axis] * inner)
        low.call(kernel, (source, None, replace(out, offset=offset)), (outer, 1), str(node))
        offset += length


def _pad(low: Lowering, node: Node) -> None:
    pads, rank = node["pads"], len(low.graph.shapes[node.output])
    if rank != 4 or any(pads[axis] for axis in (0, 1, 4, 5)):
        raise GraphError(f"{low.graph.name}: {node} pads channels or images, which has no OpenCL kernel")
    _place(low, node, pads[2], pads[3], (1, 1), node["value"])


def _place(low: Lowering, node: Node, top: int, left: int, scale: tuple[int, int], value: float = 0.0) -> None:
    source, x = low.as_blocked(node.inputs[0])
    out = low.home(node.output)
    view = low.the_view(out)
    rows = low.graph.shapes[node.output][0] * view.height
    kernel = render.placed(x, view, top, left, scale, value)
    low.call(kernel, (source, None, out), (rows, view.blocks), str(node))


def _activation(low: Lowering, node: Node) -> None:
    """An op of one tensor, in blocks where it is there already, else row by row of blocks of a flat tensor."""
    names = {"Clip": ("min", "max"), "LeakyRelu": ("alpha",)}.get(node.op, ())
    epilogue = Epilogue(node.op, tuple(float(node[name]) for name in names))
    name, shape = node.inputs[0], low.graph.shapes[node.output]
    if len(shape) == 4:
        source, x = low.as_blocked(name)
        out = low.home(node.output)
        view = low.the_view(out)
        slopes = _channels(low, node.inputs[1]) if node.op == "PRelu" else 0
        kernel = render.blocked_map(x, view, render.activated(epilogue, "r", "LD(W + R + g * V)"))
        low.call(kernel, (source, None, out), (shape[0] * view.height, view.blocks), str(node), (0, 0, slopes))
        return
    if node.op == "PRelu":
        raise GraphError(f"{low.graph.name}: {node} on {len(shape)} dimensions has no OpenCL kernel")
    source = low.as_plain(name)
    out = low.plain_home(node.output)
    kernel = render.flat_map(math.prod(shape), render.activated(epilogue, "r", ""), low.tuning.vector)
    low.call(kernel, (source, None, out), (1, 1), str(node))


BINARY = {"Add": "a + b", "Sub": "a - b", "Mul": "a * b", "Div": "a / b", "Pow": "pow(a, b)"}
VECTOR_BINARY = {"Add": "r + q", "Sub": "r - q", "Mul": "r * q", "Div": "r / q", "Pow": "POW(r, q)"}


def _binary(low: Lowering, node: Node) -> None:
    first, second = node.inputs
    shapes, constants, shape = low.graph.shapes, low.graph.constants, low.graph.shapes[node.output]
    expression = BINARY[node.op]
    if (
        node.op == "Pow"
        and second in constants
        and constants[second].size == 1
        and float(constants[second].reshape(())) == 2
    ):
        expression = "a * a"
    if len(shape) == 4 and first in low.blocked and shapes[first] == shape:
        vector = _vector_operand(low, second, shape)
        if vector is not None:
            source, x = low.as_blocked(first)
            other, other_view, offset = vector
            out = low.home(node.output)
            view = low.the_view(out)
            kernel = render.blocked_map(
                x, view, VECTOR_BINARY[node.op] if expression != "a * a" else "r * r", other_view
            )
            size = (shape[0] * view.height, view.blocks)
            low.call(kernel, (source, other, out), size, str(node), (offset, 0, 0))
            return
    operands: list[Tensor | None] = []
    offsets: list[int] = []
    for name in (first, second):
        constant = constants.get(name)
        operands.append(low.as_plain(name) if constant is None else None)
        offsets.append(0 if constant is None else low.constant(name, "plain", _same(constant)))
    places = zip(operands, ("A + I", "A + J"), ("W + P", "W + Q"), strict=True)
    bases = [arena if tensor is not None else constant for tensor, arena, constant in places]
    strides = render_strides(shapes[first], shape), render_strides(shapes[second], shape)
    out = low.plain_home(node.output)
    kernel = render.broadcast(shape or (1,), strides, expression, (bases[0], bases[1]))
    low.call(kernel, (operands[0], operands[1], out), ((shape or (1,))[0], 1), str(node), (offsets[0], offsets[1], 0))


def _same(array: Array) -> Callable[[], Array]:
    return lambda: array


def _vector_operand(low: Lowering, name: str, shape: Shape) -> tuple[Tensor | None, View | None, int] | None:
    """A second operand that suits blocks: the same image in blocks, or one constant (per channel); else None."""
    if name in low.graph.constants:
        array = low.graph.constants[name]
        lined = (1,) * (4 - array.ndim) + array.shape
        if array.size != 1 and lined != (1, shape[1], 1, 1):
            return None
        numbers = np.broadcast_to(array.reshape(-1), (shape[1],))
        v = low.tuning.vector
        return None, None, low.constant(name, f"all {shape[1]}", lambda: pack.channels(numbers, v, fill=1.0))
    if low.graph.shapes[name] != shape or name not in low.blocked:
        return None
    tensor, view = low.as_blocked(name)
    return tensor, view, 0


def render_strides(own: Shape, shape: Shape) -> tuple[int, ...]:
    """Strides with which a row-major tensor is read when it is broadcast to a shape."""
    lined = (1,) * (len(shape) - len(own)) + tuple(own)
    strides, step = [0] * len(shape), 1
    for axis in reversed(range(len(shape))):
        strides[axis] = 0 if lined[axis] == 1 else step
        step *= lined[axis]
    return tuple(strides)


def _reshape(low: Lowering, node: Node) -> None:
    source = low.as_plain(node.inputs[0])
    low.plain[node.output] = source  # row-major, so the same numbers in the same place


def _transpose(low: Lowering, node: Node) -> None:
    own, shape = low.graph.shapes[node.inputs[0]], low.graph.shapes[node.output]
    strides = render_strides(own, own)
    source = low.as_plain(node.inputs[0])
    out = low.plain_home(node.output)
    kernel = render.gathered(shape, [strides[axis] for axis in node["perm"]])
    low.call(kernel, (source, None, out), (shape[0], 1), str(node))


def _reduce(low: Lowering, node: Node) -> None:
    own, axes = low.graph.shapes[node.inputs[0]], node["axes"]
    strides = render_strides(own, own)
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(own))
    loops = "".join(f"for (int r{a} = 0; r{a} < {own[a]}; r{a}++) " for a in axes)
    where = " + ".join(f"r{a} * {math.prod(own[a + 1 :])}" for a in axes)
    loop = f"float s = 0.0f; {loops}s += p[{where}] * p[{where}];"
    source = low.as_plain(node.inputs[0])
    out = low.plain_home(node.output)
    kernel = render.gathered(kept, [0 if a in axes else stride for a, stride in enumerate(strides)], "sqrt(s)", loop)
    low.call(kernel, (source, None, out), (kept[0], 1), str(node))


def _gemm(low: Lowering, node: Node) -> None:
    weight, v = low.graph.constants[node.inputs[1]], low.tuning.vector
    source = low.as_plain(node.inputs[0])
    blocks = -(-len(weight) // v)
    weights = low.constant(node.inputs[1], "gemm", lambda: pack.gemm(weight, v))
    bias = _channels(low, node.inputs[2])
    out = low.plain_home(node.output)
    kernel = render.dense(weight.shape[1], len(weight))
    size = (low.graph.shapes[node.output][0], blocks)
    low.call(kernel, (source, None, out), size, str(node), (weights, bias, 0), node_macs(low.graph, node))


def _normalization(low: Lowering, node: Node) -> None:
    shape, axis = low.graph.shapes[node.output], node["axis"]
    outer, length, inner = math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])
    source = low.as_plain(node.inputs[0])
    out = low.plain_home(node.output)
    low.call(render.normalized(length, inner, node["epsilon"]), (source, None, out), (outer, inner), str(node))


def _batch_normalization(low: Lowering, node: Node) -> None:
    """One that could not be folded: x scale + shift, per channel."""
    shape = low.graph.shapes[node.output]
    if len(shape) != 4:
        raise GraphError(f"{low.graph.name}: {node} on {len(shape)} dimensions has no OpenCL kernel")
    scale, bias, mean, variance = (low.graph.constants[name].astype(np.float64) for name in node.inputs[1:])
    factor = scale / np.sqrt(variance + node["epsilon"])
    v = low.tuning.vector
    source, x = low.as_blocked(node.inputs[0])
    out = low.home(node.output)
    view = low.the_view(out)
    at = (
        low.constant(node.output, "scale", lambda: pack.channels(factor.astype(np.float32), v)),
        low.constant(node.output, "shift", lambda: pack.channels((bias - mean * factor).astype(np.float32), v)),
    )
    kernel = render.blocked_map(x, view, "r * LD(W + P + g * V) + LD(W + R + g * V)")
    size = (shape[0] * view.height, view.blocks)
    low.call(kernel, (source, None, out), size, str(node), (at[0], 0, at[1]))


LOWERINGS: dict[str, Callable[[Lowering, Node], None]] = {
    "Conv": _conv,
    "FusedConv": _conv,
    "BatchNormalization": _batch_normalization,
    **dict.fromkeys(("Relu", "LeakyRelu", "Clip", "PRelu", "Sigmoid", "HardSwish", "Sqrt"), _activation),
    **dict.fromkeys(BINARY, _binary),
    "Concat": _concat,
    **dict.fromkeys(("MaxPool", "AveragePool", "LpPool", "GlobalAveragePool"), _pool),
    "LRN": _lrn,
    "Gemm": _gemm,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Pad": _pad,
    "Resize": lambda low, node: _place(low, node, 0, 0, (node["scale_h"], node["scale_w"])),
    "ReduceL2": _reduce,
    "LpNormalization": _normalization,
}

WRITES_BLOCKS = {*CONVOLUTIONS, "MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "LRN", "Pad", "Resize"}
"""Ops whose output is in blocks whatever comes in, but for convolutions in groups."""

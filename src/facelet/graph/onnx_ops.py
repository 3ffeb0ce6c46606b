"""How each ONNX op becomes ops of `ir`: `IMPORTERS` by op, `FOLDED` for what is computed while reading."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from facelet.errors import GraphError
from facelet.graph.ir import Array, Node, Shape
from facelet.graph.ops import output_shape
from facelet.graph.reference import run_node

Known = np.ndarray[Any, Any]
LARGEST_FOLDED = 2**20
"""Numbers of a tensor that is computed while reading; shapes have a handful."""


@dataclass
class Import:
    """A graph in the making.

    Attributes:
        where: the graph's name, for messages.
        opset: of the file.
        batch: of the graph.
        file_batch: first dimension of the first input in the file; None where it is open.
        known: every tensor whose values are known, of any dtype.
        constants: those that nodes read, float32.
        shapes: of all tensors that nodes write, read or that are fed.
        nodes: so far.
    """

    where: str
    opset: int
    batch: int
    file_batch: int | None = None
    known: dict[str, Known] = field(default_factory=dict)
    constants: dict[str, Array] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    _aliases: dict[str, str] = field(default_factory=dict)

    def resolve(self, name: str) -> str:
        """The tensor that a name stands for, past Identity and its like."""
        return self._aliases.get(name, name)

    def knows(self, name: str) -> bool:
        """Whether a tensor is fed, written or known so far."""
        name = self.resolve(name)
        return name in self.known or name in self.shapes

    def alias(self, node: onnx.NodeProto) -> None:
        """Makes a node's output another name of its first input."""
        self._aliases[node.output[0]] = self.resolve(node.input[0])

    def fold(self, node: onnx.NodeProto, value: Known) -> None:
        """Keeps what a node gives as a known tensor."""
        if value.size > LARGEST_FOLDED and node.op_type != "Constant":
            raise GraphError(f"{self.where}: {node.op_type} '{node.name}': a computed constant of {value.size} numbers")
        self.known[node.output[0]] = value

    def shape(self, node: onnx.NodeProto, position: int = 0) -> Shape:
        """The shape of one input."""
        name = self.tensor(node, position)
        return self.shapes[name]

    def has(self, node: onnx.NodeProto, position: int) -> bool:
        """Whether an optional input is given."""
        return position < len(node.input) and bool(node.input[position])

    def value(self, node: onnx.NodeProto, position: int) -> Known:
        """The numbers of an input that must be constant."""
        name = self.resolve(node.input[position])
        if name not in self.known:
            raise GraphError(
                f"{self.where}: {node.op_type} '{node.name or node.output[0]}': "
                f"its input '{name}' must be constant; export the model with constants folded"
            )
        return self.known[name]

    def ints(self, node: onnx.NodeProto, position: int, attribute: str) -> list[int] | None:
        """Whole numbers that newer opsets give as an input and older ones as an attribute."""
        if self.has(node, position):
            return [int(v) for v in self.value(node, position).reshape(-1)]
        found = attributes(node).get(attribute)
        return None if found is None else [int(v) for v in found]

    def tensor(self, node: onnx.NodeProto, position: int = 0) -> str:
        """The name of an input as nodes read it; a known one becomes a constant of the graph."""
        name = self.resolve(node.input[position])
        if name in self.known and name not in self.constants:
            self.constant(name, self.known[name])
        return name

    def constant(self, name: str, value: Known) -> str:
        """Adds a float32 constant; returns its name."""
        if value.dtype.kind not in "fiub":
            raise GraphError(f"{self.where}: the constant '{name}' holds {value.dtype}, not numbers")
        array = np.ascontiguousarray(value, np.float32)
        self.known[name] = array
        self.constants[name], self.shapes[name] = array, array.shape
        return name

    def emit(self, source: onnx.NodeProto, op: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        """Adds a node, or its result where all its inputs are constants; returns the name of its output."""
        output = output or source.output[0]
        node = Node(op, tuple(inputs), output, attributes, source.name)
        shape = output_shape(node, [self.shapes[name] for name in inputs])
        if all(name in self.constants for name in inputs) and math.prod(shape) <= LARGEST_FOLDED:
            with np.errstate(all="ignore"):
                return self.constant(output, run_node(node, [self.constants[name] for name in inputs]))
        self.shapes[output] = shape
        self.nodes.append(node)
        return output


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes as Python values; text decoded."""
    found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in found.items()}


def _refuse(into: Import, node: onnx.NodeProto, what: str) -> GraphError:
    return GraphError(f"{into.where}: {node.op_type} '{node.name or node.output[0]}': {what}")


def _whole(values: Any, count: int, into: Import, node: onnx.NodeProto) -> tuple[int, ...]:
    found = tuple(int(v) for v in values)
    if len(found) != count:
        raise _refuse(into, node, f"needs {count} numbers, found {found}; only two-dimensional images are supported")
    return found


def _window(into: Import, node: onnx.NodeProto, kernel: tuple[int, ...]) -> dict[str, Any]:
    """Strides, dilations and pads, `auto_pad` and `ceil_mode` worked out."""
    given = attributes(node)
    strides = _whole(given.get("strides", (1, 1)), 2, into, node)
    dilations = _whole(given.get("dilations", (1, 1)), 2, into, node)
    pads = list(_whole(given.get("pads", (0, 0, 0, 0)), 4, into, node))
    auto, size = given.get("auto_pad", "NOTSET"), into.shape(node)[2:]
    if len(size) != 2:
        raise _refuse(into, node, "only two-dimensional images are supported")
    if min(strides) < 1 or min(dilations) < 1 or min(kernel) < 1:
        raise _refuse(into, node, "kernel, strides and dilations must be 1 or more")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        for axis in (0, 1):
            reach = dilations[axis] * (kernel[axis] - 1) + 1
            total = max(0, (-(-size[axis] // strides[axis]) - 1) * strides[axis] + reach - size[axis])
            before = total // 2 if auto == "SAME_UPPER" else total - total // 2
            pads[axis], pads[axis + 2] = before, total - before
    elif auto == "VALID":
        pads = [0, 0, 0, 0]
    elif auto not in ("NOTSET", ""):
        raise _refuse(into, node, f"auto_pad {auto} is not known")
    if given.get("ceil_mode"):
        if given.get("count_include_pad"):
            raise _refuse(into, node, "ceil_mode together with count_include_pad is not supported")
        for axis in (0, 1):
            reach = dilations[axis] * (kernel[axis] - 1) + 1
            room = size[axis] + pads[axis] + pads[axis + 2] - reach
            steps = -(-room // strides[axis])
            if steps * strides[axis] >= size[axis] + pads[axis]:  # a window must begin inside the image
                steps -= 1
            pads[axis + 2] += max(0, steps * strides[axis] - room)
    return {"strides": strides, "dilations": dilations, "pads": tuple(pads)}


def _conv(into: Import, node: onnx.NodeProto) -> None:
    x, weight = into.tensor(node), into.value(node, 1)
    if weight.ndim != 4:
        raise _refuse(into, node, f"a kernel of {weight.ndim} dimensions; only two-dimensional images are supported")
    window = _window(into, node, tuple(weight.shape[2:]))
    bias = into.tensor(node, 2) if into.has(node, 2) else ""
    if not bias:
        bias = into.constant(f"{node.output[0]}.bias", np.zeros(len(weight), np.float32))
    elif bias not in into.constants:
        raise _refuse(into, node, "its bias must be constant")
    into.emit(node, "Conv", (x, into.tensor(node, 1), bias), groups=int(attributes(node).get("group", 1)), **window)


def _batch_normalization(into: Import, node: onnx.NodeProto) -> None:
    given = attributes(node)
    if given.get("training_mode"):
        raise _refuse(into, node, "is in training mode; export the model for inference")
    names = [into.tensor(node, position) for position in range(5)]
    for name in names[1:]:
        if name not in into.constants:
            raise _refuse(into, node, "its statistics must be constant")
    into.emit(node, "BatchNormalization", names, epsilon=float(given.get("epsilon", 1e-5)))


def _plain(op: str, **defaults: float) -> Callable[[Import, onnx.NodeProto], None]:
    """An op of one input whose float attributes have the same names."""

    def read(into: Import, node: onnx.NodeProto) -> None:
        given = attributes(node)
        values: dict[str, Any] = {name: float(given.get(name, value)) for name, value in defaults.items()}
        into.emit(node, op, (into.tensor(node),), **values)

    return read


def _clip(into: Import, node: onnx.NodeProto) -> None:
    limits = [-math.inf, math.inf]
    for position in (0, 1):
        if into.has(node, position + 1):
            limits[position] = float(into.value(node, position + 1).reshape(()))
    into.emit(node, "Clip", (into.tensor(node),), min=limits[0], max=limits[1])


def _prelu(into: Import, node: onnx.NodeProto) -> None:
    x, slope = into.tensor(node), into.value(node, 1)
    shape = into.shapes[x]
    if len(shape) < 2:
        raise _refuse(into, node, "needs channels")
    channels = shape[1]
    lined = (1,) * (len(shape) - slope.ndim) + slope.shape
    if slope.size != 1 and lined != (1, channels, *([1] * (len(shape) - 2))):
        raise _refuse(into, node, f"slopes of shape {slope.shape}; supported are one, or one per channel ({channels})")
    values = np.broadcast_to(slope.reshape(-1).astype(np.float32), (channels,))
    into.emit(node, "PRelu", (x, into.constant(f"{node.output[0]}.slope", values)))


def _hard_sigmoid(into: Import, node: onnx.NodeProto) -> None:
    """clip(alpha x + beta, 0, 1)."""
    given, out = attributes(node), node.output[0]
    scale = into.constant(f"{out}.alpha", np.array(given.get("alpha", 0.2)))
    shift = into.constant(f"{out}.beta", np.array(given.get("beta", 0.5)))
    scaled = into.emit(node, "Mul", (into.tensor(node), scale), f"{out}.scaled")
    into.emit(node, "Clip", (into.emit(node, "Add", (scaled, shift), f"{out}.shifted"),), min=0.0, max=1.0)


def _binary(op: str) -> Callable[[Import, onnx.NodeProto], None]:
    def read(into: Import, node: onnx.NodeProto) -> None:
        if len(node.input) != 2:
            raise _refuse(into, node, f"of {len(node.input)} tensors is not supported; two are")
        into.emit(node, op, (into.tensor(node, 0), into.tensor(node, 1)))

    return read


def _concat(into: Import, node: onnx.NodeProto) -> None:
    names = [into.tensor(node, position) for position in range(len(node.input))]
    axis = int(attributes(node)["axis"])
    into.emit(node, "Concat", names, axis=axis % len(into.shapes[names[0]]))


def _pool(op: str) -> Callable[[Import, onnx.NodeProto], None]:
    def read(into: Import, node: onnx.NodeProto) -> None:
        given = attributes(node)
        kernel = _whole(given["kernel_shape"], 2, into, node)
        window = _window(into, node, kernel)
        if window.pop("dilations") != (1, 1):
            raise _refuse(into, node, "dilations are not supported in pools")
        if given.get("storage_order"):
            raise _refuse(into, node, "storage_order is not supported")
        if op == "AveragePool":
            window["count_include_pad"] = bool(given.get("count_include_pad", 0))
        if op == "LpPool":
            window["p"] = int(given.get("p", 2))
            if window["p"] < 1:
                raise _refuse(into, node, "p must be 1 or more")
        into.emit(node, op, (into.tensor(node),), kernel=kernel, **window)

    return read


def _global_max_pool(into: Import, node: onnx.NodeProto) -> None:
    size = into.shape(node)[2:]
    into.emit(node, "MaxPool", (into.tensor(node),), kernel=size, strides=(1, 1), pads=(0, 0, 0, 0))


def _lrn(into: Import, node: onnx.NodeProto) -> None:
    given = attributes(node)
    alpha, beta, bias = (float(given.get(name, v)) for name, v in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0)))
    into.emit(node, "LRN", (into.tensor(node),), size=int(given["size"]), alpha=alpha, beta=beta, bias=bias)


def _gemm(into: Import, node: onnx.NodeProto) -> None:
    given, out = attributes(node), node.output[0]
    if given.get("transA"):
        raise _refuse(into, node, "transA is not supported")
    weight = into.value(node, 1).astype(np.float32)
    if weight.ndim != 2:
        raise _refuse(into, node, f"a weight of {weight.ndim} dimensions")
    weight = (weight if given.get("transB") else weight.T) * np.float32(given.get("alpha", 1.0))
    bias = np.zeros(len(weight), np.float32)
    if into.has(node, 2):
        bias = np.broadcast_to(into.value(node, 2) * np.float32(given.get("beta", 1.0)), (1, len(weight)))[0]
    _dense(into, node, into.tensor(node), weight, bias, out)


def _matmul(into: Import, node: onnx.NodeProto) -> None:
    weight = into.value(node, 1).astype(np.float32)
    x = into.tensor(node)
    if weight.ndim != 2 or len(into.shapes[x]) != 2:
        raise _refuse(into, node, "only (n, k) times a constant (k, m) is supported")
    _dense(into, node, x, weight.T, np.zeros(weight.shape[1], np.float32), node.output[0])


def _dense(into: Import, node: onnx.NodeProto, x: str, weight: Known, bias: Known, out: str) -> None:
    names = into.constant(f"{out}.weight", weight), into.constant(f"{out}.bias", bias)
    into.emit(node, "Gemm", (x, *names))


def _reshaped(into: Import, node: onnx.NodeProto, shape: Sequence[int]) -> None:
    into.emit(node, "Reshape", (into.tensor(node),), shape=tuple(shape))


def _reshape(into: Import, node: onnx.NodeProto) -> None:
    source, target = into.shape(node), [int(v) for v in into.value(node, 1).reshape(-1)]
    if not attributes(node).get("allowzero"):
        target = [source[axis] if size == 0 else size for axis, size in enumerate(target)]
    # a file made for one batch size says it in its Reshapes: the graph's own batch takes its place
    if (
        target
        and into.file_batch not in (None, into.batch)
        and source[0] == into.batch
        and target[0] == into.file_batch
    ):
        target[0] = into.batch
    if target.count(-1) > 1 or any(size < -1 for size in target):
        raise _refuse(into, node, f"{target} is no shape")
    if -1 in target:
        rest = math.prod(size for size in target if size != -1)
        if rest < 1 or math.prod(source) % rest:
            raise _refuse(into, node, f"{target} does not fit {list(source)}")
        target[target.index(-1)] = math.prod(source) // rest
    _reshaped(into, node, target)


def _flatten(into: Import, node: onnx.NodeProto) -> None:
    shape, axis = into.shape(node), int(attributes(node).get("axis", 1))
    axis += len(shape) if axis < 0 else 0
    _reshaped(into, node, (math.prod(shape[:axis]), math.prod(shape[axis:])))


def _squeeze(into: Import, node: onnx.NodeProto) -> None:
    shape, axes = into.shape(node), into.ints(node, 1, "axes")
    chosen = {axis % len(shape) for axis in axes} if axes is not None else {a for a, s in enumerate(shape) if s == 1}
    if any(shape[axis] != 1 for axis in chosen):
        raise _refuse(into, node, f"axes {sorted(chosen)} of {list(shape)} are not all 1")
    _reshaped(into, node, [size for axis, size in enumerate(shape) if axis not in chosen])


def _unsqueeze(into: Import, node: onnx.NodeProto) -> None:
    shape, axes = list(into.shape(node)), into.ints(node, 1, "axes") or []
    rank = len(shape) + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        shape.insert(axis, 1)
    _reshaped(into, node, shape)


def _transpose(into: Import, node: onnx.NodeProto) -> None:
    perm = attributes(node).get("perm") or range(len(into.shape(node)))[::-1]
    into.emit(node, "Transpose", (into.tensor(node),), perm=tuple(int(axis) for axis in perm))


def _pad(into: Import, node: onnx.NodeProto) -> None:
    given, rank = attributes(node), len(into.shape(node))
    if given.get("mode", "constant") != "constant":
        raise _refuse(into, node, f"mode {given['mode']} is not supported; constant is")
    pads = into.ints(node, 1, "pads") or []
    value = float(into.value(node, 2).reshape(())) if into.has(node, 2) else float(given.get("value", 0.0))
    if into.has(node, 3):
        axes = [int(axis) % rank for axis in into.value(node, 3).reshape(-1)]
        whole = [0] * (2 * rank)
        for position, axis in enumerate(axes):
            whole[axis], whole[axis + rank] = pads[position], pads[position + len(axes)]
        pads = whole
    into.emit(node, "Pad", (into.tensor(node),), pads=tuple(pads), value=value)


REPEATS = {
    ("asymmetric", "floor"): math.inf,
    ("asymmetric", "round_prefer_floor"): 2,
    ("half_pixel", "round_prefer_floor"): math.inf,
    ("half_pixel", "round_prefer_ceil"): math.inf,
    ("pytorch_half_pixel", "round_prefer_floor"): math.inf,
    ("pytorch_half_pixel", "round_prefer_ceil"): math.inf,
}
"""Up to which whole-number scale each way of choosing the nearest pixel repeats every pixel alike."""


def _resize(into: Import, node: onnx.NodeProto) -> None:
    given, shape = attributes(node), into.shape(node)
    way = (given.get("coordinate_transformation_mode", "half_pixel"), given.get("nearest_mode", "round_prefer_floor"))
    if len(shape) != 4 or given.get("mode", "nearest") != "nearest" or way not in REPEATS or given.get("axes"):
        raise _refuse(into, node, "only nearest-neighbour enlargement of images is supported")
    if into.has(node, 2) and into.value(node, 2).size:
        scales = [float(v) for v in into.value(node, 2).reshape(-1)]
    else:
        scales = [int(v) / size for v, size in zip(into.value(node, 3).reshape(-1), shape, strict=True)]
    if len(scales) != 4 or scales[:2] != [1, 1] or any(s != int(s) or not 1 <= s <= REPEATS[way] for s in scales):
        raise _refuse(into, node, f"scales {scales} are not supported; whole numbers for height and width are")
    into.emit(node, "Resize", (into.tensor(node),), scale_h=int(scales[2]), scale_w=int(scales[3]))


def _axes(into: Import, node: onnx.NodeProto) -> tuple[tuple[int, ...], bool]:
    rank, given = len(into.shape(node)), attributes(node)
    axes = into.ints(node, 1, "axes")
    if not axes and given.get("noop_with_empty_axes"):
        raise _refuse(into, node, "noop_with_empty_axes is not supported")
    chosen = tuple(sorted({axis % rank for axis in axes})) if axes else tuple(range(rank))
    return chosen, bool(given.get("keepdims", 1))


def _reduce_l2(into: Import, node: onnx.NodeProto) -> None:
    axes, keepdims = _axes(into, node)
    into.emit(node, "ReduceL2", (into.tensor(node),), axes=axes, keepdims=keepdims)


def _reduce_mean(into: Import, node: onnx.NodeProto) -> None:
    axes, keepdims = _axes(into, node)
    shape = into.shape(node)
    if len(shape) != 4 or axes != (2, 3):
        raise _refuse(into, node, f"over axes {axes} is not supported; over height and width of images it is")
    if keepdims:
        into.emit(node, "GlobalAveragePool", (into.tensor(node),))
        return
    mean = into.emit(node, "GlobalAveragePool", (into.tensor(node),), f"{node.output[0]}.mean")
    into.emit(node, "Reshape", (mean,), shape=shape[:2])


def _lp_normalization(into: Import, node: onnx.NodeProto) -> None:
    given = attributes(node)
    if given.get("p", 2) != 2:
        raise _refuse(into, node, "only p = 2 is supported")
    rank = len(into.shape(node))
    into.emit(node, "LpNormalization", (into.tensor(node),), axis=int(given.get("axis", -1)) % rank, epsilon=0.0)


def _expand(into: Import, node: onnx.NodeProto) -> None:
    shape = [int(v) for v in into.value(node, 1).reshape(-1)]
    source = into.shape(node)
    if math.prod(max(size, 1) for size in shape) > LARGEST_FOLDED or any(size < 1 for size in shape):
        raise _refuse(into, node, f"to {shape} is not supported")
    if tuple(np.broadcast_shapes(source, tuple(shape))) == source:
        into.alias(node)
        return
    ones = into.constant(f"{node.output[0]}.ones", np.ones(shape, np.float32))
    into.emit(node, "Mul", (into.tensor(node), ones))


IMPORTERS: dict[str, Callable[[Import, onnx.NodeProto], None]] = {
    "Add": _binary("Add"),
    "AveragePool": _pool("AveragePool"),
    "BatchNormalization": _batch_normalization,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "Div": _binary("Div"),
    "Dropout": lambda into, node: into.alias(node),
    "Expand": _expand,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": _plain("GlobalAveragePool"),
    "GlobalMaxPool": _global_max_pool,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _plain("HardSwish"),
    "Identity": lambda into, node: into.alias(node),
    "LRN": _lrn,
    "LeakyRelu": _plain("LeakyRelu", alpha=0.01),
    "LpNormalization": _lp_normalization,
    "LpPool": _pool("LpPool"),
    "MatMul": _matmul,
    "MaxPool": _pool("MaxPool"),
    "Mul": _binary("Mul"),
    "PRelu": _prelu,
    "Pad": _pad,
    "Pow": _binary("Pow"),
    "ReduceL2": _reduce_l2,
    "ReduceMean": _reduce_mean,
    "Relu": _plain("Relu"),
    "Reshape": _reshape,
    "Resize": _resize,
    "Sigmoid": _plain("Sigmoid"),
    "Sqrt": _plain("Sqrt"),
    "Squeeze": _squeeze,
    "Sub": _binary("Sub"),
    "Sum": _binary("Add"),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}


def _folded_constant(into: Import, node: onnx.NodeProto) -> Known:
    given = attributes(node)
    if "value" in given:
        return np.asarray(numpy_helper.to_array(given["value"]))
    for name in ("value_float", "value_floats", "value_int", "value_ints"):
        if name in given:
            return np.asarray(given[name], np.float32 if "float" in name else np.int64)
    raise _refuse(into, node, "holds neither a tensor nor numbers")


def _folded_slice(into: Import, node: onnx.NodeProto) -> Known:
    x = into.value(node, 0)
    starts, ends = into.value(node, 1).reshape(-1), into.value(node, 2).reshape(-1)
    axes = into.value(node, 3).reshape(-1) if into.has(node, 3) else np.arange(len(starts))
    steps = into.value(node, 4).reshape(-1) if into.has(node, 4) else np.ones(len(starts), np.int64)
    chosen = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        chosen[int(axis)] = slice(int(start), int(end), int(step))
    return np.asarray(x[tuple(chosen)])


def _folded_fill(into: Import, node: onnx.NodeProto) -> Known:
    shape = [int(v) for v in into.value(node, 0).reshape(-1)]
    if any(size < 0 for size in shape) or math.prod(shape) > LARGEST_FOLDED:
        raise _refuse(into, node, f"of shape {shape} is not supported")
    given = attributes(node)
    value = numpy_helper.to_array(given["value"]) if "value" in given else np.zeros(1, np.float32)
    return np.full(shape, value.reshape(-1)[0])


def _folded_unsqueeze(into: Import, node: onnx.NodeProto) -> Known:
    return np.expand_dims(into.value(node, 0), tuple(into.ints(node, 1, "axes") or ()))


def _folded_squeeze(into: Import, node: onnx.NodeProto) -> Known:
    axes = into.ints(node, 1, "axes")
    return np.squeeze(into.value(node, 0), None if axes is None else tuple(axes))


def _folded_cast(into: Import, node: onnx.NodeProto) -> Known:
    return into.value(node, 0).astype(helper.tensor_dtype_to_np_dtype(int(attributes(node)["to"])))


def _folded_gather(into: Import, node: onnx.NodeProto) -> Known:
    axis = int(attributes(node).get("axis", 0))
    return np.asarray(np.take(into.value(node, 0), into.value(node, 1).astype(np.int64), axis=axis))


def _folded_concat(into: Import, node: onnx.NodeProto) -> Known:
    return np.concatenate([into.value(node, i) for i in range(len(node.input))], axis=int(attributes(node)["axis"]))


FOLDED: dict[str, Callable[[Import, onnx.NodeProto], Known]] = {
    "Cast": _folded_cast,
    "Concat": _folded_concat,
    "Constant": _folded_constant,
    "ConstantOfShape": _folded_fill,
    "Gather": _folded_gather,
    "Identity": lambda into, node: into.value(node, 0),
    "Shape": lambda into, node: np.array(into.value(node, 0).shape, np.int64),
    "Slice": _folded_slice,
    "Squeeze": _folded_squeeze,
    "Unsqueeze": _folded_unsqueeze,
}
"""What is computed while reading, where all inputs are known: the arithmetic of shapes."""

"""ONNX in and out: `read_graph` makes a `Graph` at a batch size, `write_graph` makes a file of it again.

What a file says about shapes (Shape, Gather, Cast, ... chains) is computed while it is read, so a graph holds
numbers only. How each ONNX op becomes ops of `ir` is in `onnx_ops`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper

from facelet.errors import GraphError
from facelet.graph.ir import ACTIVATIONS, Array, Graph, Node, Shape
from facelet.graph.onnx_ops import FOLDED, IMPORTERS, Import
from facelet.graph.ops import LARGEST_TENSOR

OPSET = 18
"""Of files that `write_graph` makes."""

OLDEST_OPSET = 11


def read_graph(
    model: onnx.ModelProto | str | Path, batch: int = 1, *, input_shape: Sequence[int] | None = None
) -> Graph:
    """Reads an ONNX model at a batch size.

    Args:
        model: the model or its file.
        batch: images that go through at once; takes the place of the first dimension, also where the file fixes it.
        input_shape: of one input without the batch, for files that leave it open, for example (3, 320, 320).

    Raises:
        GraphError: not ONNX, an op or a form of one that is not supported, or sizes that do not fit.
    """
    if batch < 1:
        raise GraphError(f"batch: must be 1 or more, found {batch}")
    if not isinstance(model, onnx.ModelProto):
        model = _load(Path(model))
    try:
        return _read(model, batch, input_shape)
    except GraphError as error:
        raise GraphError(_line(error)) from error  # names in a damaged file may hold line breaks


def _read(model: onnx.ModelProto, batch: int, input_shape: Sequence[int] | None) -> Graph:
    proto = model.graph
    where = proto.name or "graph"
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    if opset < OLDEST_OPSET:
        raise GraphError(f"{where}: opset {opset} is too old; export it again with opset {OLDEST_OPSET} or newer")
    if proto.sparse_initializer:
        raise GraphError(f"{where}: sparse weights are not supported; export it with dense ones")
    into = Import(where=where, opset=opset, batch=batch)
    for tensor in proto.initializer:
        into.known[tensor.name] = _array(tensor, where)
    inputs = [value for value in proto.input if value.name not in into.known]
    if not inputs:
        raise GraphError(f"{where}: has no input")
    for value in inputs:
        into.shapes[value.name] = _input_shape(value, batch, input_shape, where)
    into.file_batch = _dimension(inputs[0], 0)
    for node in proto.node:
        _read_node(into, node)
    outputs = tuple(into.resolve(value.name) for value in proto.output)
    if not outputs:
        raise GraphError(f"{where}: has no output")
    for name in outputs:
        if name in into.known:
            raise GraphError(f"{where}: the output '{name}' is a constant, not something computed from the input")
    read = {name for node in into.nodes for name in node.inputs}
    constants = {name: array for name, array in into.constants.items() if name in read}
    named = {*into.shapes} - {*into.constants} | {*constants}
    return Graph(
        name=where,
        inputs=tuple(value.name for value in inputs),
        outputs=outputs,
        nodes=tuple(into.nodes),
        constants=constants,
        shapes={name: into.shapes[name] for name in named},
        metadata={entry.key: entry.value for entry in model.metadata_props},
    ).check()


def _load(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except (OSError, DecodeError, ValueError) as error:
        raise GraphError(f"{path}: not a readable ONNX file; copy or export it again") from error
    if not model.graph.node:
        raise GraphError(f"{path}: an ONNX file without a network (empty or cut off); copy or export it again")
    return model


def _array(tensor: TensorProto, where: str) -> np.ndarray[Any, Any]:
    """An initializer's numbers."""
    if tensor.data_location == TensorProto.EXTERNAL:
        raise GraphError(f"{where}: the weights '{tensor.name}' lie in another file; export them into the model")
    if any(size < 0 for size in tensor.dims) or math.prod(tensor.dims) > LARGEST_TENSOR:
        raise GraphError(f"{where}: the constant '{tensor.name}' has the shape {tuple(tensor.dims)}")
    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except Exception as error:  # onnx raises many kinds on damaged tensors
        raise GraphError(f"{where}: the constant '{tensor.name}' is damaged ({_line(error)})") from error


def _dimension(value: onnx.ValueInfoProto, axis: int) -> int | None:
    """One dimension of an input, or None where the file leaves it open."""
    dims = value.type.tensor_type.shape.dim
    return dims[axis].dim_value if axis < len(dims) and dims[axis].HasField("dim_value") else None


def _input_shape(value: onnx.ValueInfoProto, batch: int, given: Sequence[int] | None, where: str) -> Shape:
    tensor = value.type.tensor_type
    if tensor.elem_type != TensorProto.FLOAT:
        raise GraphError(f"{where}: the input '{value.name}' is not float32")
    rank = len(tensor.shape.dim)
    if rank < 2:
        raise GraphError(f"{where}: the input '{value.name}' has {rank} dimensions; expected a batch of something")
    rest = [_dimension(value, axis) for axis in range(1, rank)]
    if given is not None:
        if len(given) != len(rest) or any(r not in (None, g) for r, g in zip(rest, given, strict=True)):
            raise GraphError(f"{where}: the input '{value.name}' is {rest} without its batch, not {list(given)}")
        rest = list(given)
    if any(size is None for size in rest):
        raise GraphError(f"{where}: the input '{value.name}' leaves its size open ({rest}); say which, e.g. 3x320x320")
    sizes = [size for size in rest if size is not None]
    if any(size < 1 for size in sizes) or batch * math.prod(sizes) > LARGEST_TENSOR:
        raise GraphError(f"{where}: the input '{value.name}' has the size {sizes}; expected 1 or more, and less in all")
    return (batch, *sizes)


def _read_node(into: Import, node: onnx.NodeProto) -> None:
    label = f"{into.where}: {node.op_type} '{node.name or (node.output[0] if node.output else '')}'"
    if node.domain not in ("", "ai.onnx") or node.op_type not in IMPORTERS.keys() | FOLDED.keys():
        supported = ", ".join(sorted(IMPORTERS))
        raise GraphError(f"{label}: op not supported; supported are {supported}")
    if not node.output or not node.output[0]:
        raise GraphError(f"{label}: has no output")
    for name in node.input:
        if name and not into.knows(name):
            raise GraphError(f"{label}: reads '{name}', which nothing before it writes")
    if into.knows(node.output[0]):
        raise GraphError(f"{label}: writes '{node.output[0]}', which is written already")
    try:
        if node.op_type in FOLDED and all(into.resolve(name) in into.known for name in node.input if name):
            into.fold(node, FOLDED[node.op_type](into, node))
        elif node.op_type == "Shape":
            into.fold(node, np.array(into.shapes[into.resolve(node.input[0])], np.int64))
        elif node.op_type in IMPORTERS:
            IMPORTERS[node.op_type](into, node)
        else:
            raise GraphError(f"{label}: supported on constants only")
    except GraphError:
        raise
    except Exception as error:  # damaged attributes fail in as many ways as there are readers of them
        raise GraphError(f"{label}: damaged or not supported ({_line(error)})") from error


def write_graph(graph: Graph) -> onnx.ModelProto:
    """An ONNX model of a graph, with its metadata; the batch is open unless a node depends on it."""
    writer = _Writer(graph)
    for node in graph.nodes:
        writer.node(node)
    batch = graph.batch
    open_batch = all(
        graph.shapes[name][:1] == (batch,) for name in (*graph.inputs, *(node.output for node in graph.nodes))
    )

    def value(name: str) -> onnx.ValueInfoProto:
        shape: list[int | str] = list(graph.shapes[name])
        if open_batch:
            shape[0] = "n"
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    proto = helper.make_graph(
        writer.nodes,
        graph.name,
        [value(name) for name in graph.inputs],
        [value(name) for name in graph.outputs],
        writer.initializers,
    )
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    model.producer_name = "facelet"
    for key, text in graph.metadata.items():
        model.metadata_props.add(key=key, value=text)
    return model


class _Writer:
    """Collects the ONNX nodes and initializers of a graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[TensorProto] = []
        self._written: set[str] = set()
        for name, array in graph.constants.items():
            self.constant(name, array)

    def constant(self, name: str, array: Array | np.ndarray[Any, Any]) -> str:
        """Adds an initializer, once."""
        if name not in self._written:
            self._written.add(name)
            self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def add(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Adds a node; returns its output."""
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=output, **attributes))
        return output

    def node(self, node: Node) -> None:
        """Adds what a node is in ONNX."""
        out, inputs, attributes = node.output, list(node.inputs), node.attributes
        if node.op in ("Conv", "FusedConv"):
            self._conv(node)
        elif node.op in ACTIVATIONS:
            self.activation(node.op, attributes, inputs, out)
        elif node.op in ("MaxPool", "AveragePool", "LpPool"):
            extra = {name: int(attributes[name]) for name in ("count_include_pad", "p") if name in attributes}
            window = {
                "kernel_shape": attributes["kernel"],
                "strides": attributes["strides"],
                "pads": attributes["pads"],
            }
            self.add(node.op, inputs, out, **window, **extra)
        elif node.op == "Gemm":
            self.add("Gemm", inputs, out, transB=1)
        elif node.op == "Reshape":
            self.add("Reshape", [inputs[0], self._ints(out, self._kept_batch(node))], out)
        elif node.op == "Pad":
            value = self.constant(f"{out}.value", np.array(attributes["value"], np.float32))
            self.add("Pad", [inputs[0], self._ints(out, attributes["pads"]), value], out, mode="constant")
        elif node.op == "Resize":
            scales = np.array([1, 1, attributes["scale_h"], attributes["scale_w"]], np.float32)
            how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
            self.add("Resize", [inputs[0], "", self.constant(f"{out}.scales", scales)], out, **how)
        elif node.op == "ReduceL2":
            self.add("ReduceL2", [inputs[0], self._ints(out, attributes["axes"])], out, keepdims=int(node["keepdims"]))
        elif node.op == "LpNormalization":
            length = self.add("ReduceL2", [inputs[0], self._ints(out, [node["axis"]])], f"{out}.length", keepdims=1)
            if node["epsilon"]:
                low = self.constant(f"{out}.epsilon", np.array(node["epsilon"], np.float32))
                length = self.add("Clip", [length, low], f"{out}.clipped")
            self.add("Div", [inputs[0], length], out)
        else:  # the same in ONNX: attributes keep their names
            self.add(node.op, inputs, out, **attributes)

    def activation(self, op: str, attributes: Mapping[str, Any], inputs: Sequence[str], out: str) -> None:
        """Adds an activation; `inputs` are the tensor and, for PRelu, its slopes."""
        if op == "Clip":
            low = self.constant(f"{out}.min", np.array(attributes["min"], np.float32))
            high = self.constant(f"{out}.max", np.array(attributes["max"], np.float32))
            self.add("Clip", [inputs[0], low, high], out)
        elif op == "PRelu":
            rank = len(self.graph.shapes[out])
            slope = self.graph.constants[inputs[1]].reshape(-1, *([1] * (rank - 2)))
            self.add("PRelu", [inputs[0], self.constant(f"{inputs[1]}.of.{out}", slope)], out)
        elif op == "LeakyRelu":
            self.add(op, inputs[:1], out, alpha=attributes["alpha"])
        else:
            self.add(op, inputs[:1], out)

    def _conv(self, node: Node) -> None:
        fused = node.op == "FusedConv"
        activation, residual = (node["activation"], node["residual"]) if fused else ("", False)
        window = {
            "kernel_shape": self.graph.shapes[node.inputs[1]][2:],
            "strides": node["strides"],
            "pads": node["pads"],
            "dilations": node["dilations"],
            "group": node["groups"],
        }
        name = f"{node.output}.conv" if activation or residual else node.output
        self.add("Conv", node.inputs[:3], name, **window)
        if residual:
            total = f"{node.output}.sum" if activation else node.output
            name = self.add("Add", [name, node.inputs[-1]], total)
        if activation:
            self.activation(activation, node.attributes, [name, *node.inputs[3:4]], node.output)

    def _ints(self, output: str, values: Sequence[int]) -> str:
        return self.constant(f"{output}.numbers", np.array(values, np.int64))

    def _kept_batch(self, node: Node) -> list[int]:
        """A Reshape's target; 0 copies the batch where it stays in front."""
        shape = list(node["shape"])
        same = bool(shape) and self.graph.shapes[node.inputs[0]][:1] == tuple(shape[:1]) == (self.graph.batch,)
        return [0, *shape[1:]] if same else shape


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:400] or type(error).__name__

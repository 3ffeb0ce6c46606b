"""ONNX in: `read_graph` makes a `Graph` at a batch size; `write_graph`, of `onnx_write`, makes a file of it again.

What a file says about shapes (Shape, Gather, Cast, ... chains) is computed while it is read, so a graph holds
numbers only. How each ONNX op becomes ops of `ir` is in `onnx_ops`, what is computed in `onnx_fold`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, numpy_helper

from facelet.errors import GraphError, MissingFileError
from facelet.graph.ir import Graph, Node
from facelet.graph.onnx_fold import FOLDED, of_shape
from facelet.graph.onnx_import import Import, check_form
from facelet.graph.onnx_inputs import Inputs, dimension, read_input
from facelet.graph.onnx_ops import IMPORTERS
from facelet.graph.onnx_sound import training_form
from facelet.graph.onnx_write import write_graph
from facelet.graph.ops import LARGEST_TENSOR
from facelet.graph.size import FLOAT_BYTES, largest_live_bytes

WAY_OUT = "export without it, or name the last tensor before it with --output"

__all__ = ["load_proto", "read_graph", "write_graph"]

OLDEST_OPSET = 7
USUAL_OPSET = 11
"""Below it Clip, Pad, Resize, Slice and others have other forms."""


def read_graph(
    model: onnx.ModelProto | str | Path,
    batch: int = 1,
    *,
    input_shape: Sequence[int] | None = None,
    open_shape: Sequence[int] | None = None,
    outputs: Sequence[str] = (),
    planes: bool = False,
) -> Graph:
    """Reads an ONNX model at a batch size; what was converted on the way is in the graph's notes.

    Args:
        model: the model or its file.
        batch: images that go through at once; takes the place of the first dimension, also where the file fixes it.
        input_shape: of one input without the batch, for files that leave it open, for example (3, 320, 320).
        open_shape: the same, for the dimensions alone that the file leaves open.
        outputs: tensors to return instead of all outputs of the file; inner ones may be named, too.
        planes: read images that the file wants as NHWC as NCHW; the two shapes above are NCHW then, too.

    Raises:
        MissingFileError: there is no such file.
        GraphError: not ONNX, an op or a form of one that is not supported, or sizes that do not fit.
    """
    if batch < 1:
        raise GraphError(f"batch: must be 1 or more, found {batch}")
    if not isinstance(model, onnx.ModelProto):
        model = load_proto(Path(model))
    try:
        return _read(model, batch, Inputs(input_shape, open_shape, planes), outputs)
    except GraphError as error:
        raise GraphError(_line(error)) from error  # names in a damaged file may hold line breaks


def _read(model: onnx.ModelProto, batch: int, entry: Inputs, chosen: Sequence[str]) -> Graph:
    proto = model.graph
    where = str(proto.name or "graph")  # a damaged name is bytes
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    if opset < OLDEST_OPSET:
        raise GraphError(f"{where}: opset {opset} is too old; export it again with opset {OLDEST_OPSET} or newer")
    if opset > onnx.defs.onnx_opset_version():
        newest = onnx.defs.onnx_opset_version()
        raise GraphError(f"{where}: opset {opset} is newer than {newest}, the newest that is known; upgrade onnx")
    if proto.sparse_initializer:
        raise GraphError(f"{where}: sparse weights are not supported; export it with dense ones")
    into = Import(where=where, opset=opset, batch=batch)
    into.makers = {name: node for node in proto.node for name in node.output}
    if opset < USUAL_OPSET:
        into.notes.append(f"is of opset {opset}, which is read in its old forms")
    for tensor in proto.initializer:
        into.known[tensor.name] = _array(tensor, where)
    inputs = [value for value in proto.input if value.name not in into.known]
    if not inputs:
        raise GraphError(f"{where}: has no input")
    for names in ([value.name for value in inputs], [value.name for value in proto.output]):
        for name in names:
            if names.count(name) > 1:
                raise GraphError(f"{where}: the input or output '{name}' is there twice")
    into.reserved = {*into.known, *(value.name for value in (*proto.input, *proto.output))}
    into.reserved |= {name for node in proto.node for name in (*node.input, *node.output)}
    into.file_batch = dimension(inputs[0], 0)
    for value in inputs:
        read_input(into, value, proto.node, entry)
    wanted = _wanted(proto, chosen, where)
    for node in _needed(proto.node, wanted):
        _read_node(into, node)
    if not wanted:
        raise GraphError(f"{where}: has no output")
    outputs = tuple(_named_output(into, name) for name in wanted)
    nodes = _read_nodes(into.nodes, outputs)
    read = {name for node in nodes for name in node.inputs}
    constants = {name: array for name, array in into.constants.items() if name in read}
    written = {*(value.name for value in inputs), *(node.output for node in nodes)}
    graph = Graph(
        name=where,
        inputs=tuple(value.name for value in inputs),
        outputs=outputs,
        nodes=nodes,
        constants=constants,
        shapes={name: into.shapes[name] for name in (*written, *constants)},
        metadata={entry.key: entry.value for entry in model.metadata_props},
        notes=tuple(into.notes),
    ).check()
    if (needed := largest_live_bytes(graph)) > FLOAT_BYTES * LARGEST_TENSOR:
        limit = FLOAT_BYTES * LARGEST_TENSOR >> 20
        raise GraphError(
            f"{where}: needs {needed >> 20} MiB of tensors at once, more than {limit}; use a smaller batch"
        )
    return graph


def _wanted(proto: onnx.GraphProto, chosen: Sequence[str], where: str) -> list[str]:
    """The outputs to return."""
    if not chosen:
        return [value.name for value in proto.output]
    written = {name for node in proto.node for name in node.output if name}
    for name in chosen:
        if name not in written:
            known = ", ".join(value.name for value in proto.output)
            raise GraphError(f"{where}: has no output '{name}'; its outputs are {known}")
    return list(dict.fromkeys(chosen))


def _needed(nodes: Sequence[onnx.NodeProto], outputs: Sequence[str]) -> list[onnx.NodeProto]:
    """The nodes that some output depends on, in order; what else a file holds need not even be supported."""
    read, kept = {*outputs}, []
    for node in reversed(nodes):
        if read & {*node.output}:
            kept.append(node)
            read |= {*node.input}
    return kept[::-1]


def _read_nodes(nodes: Sequence[Node], outputs: Sequence[str]) -> tuple[Node, ...]:
    """The nodes of the graph that some output depends on."""
    read, kept = {*outputs}, []
    for node in reversed(nodes):
        if node.output in read:
            kept.append(node)
            read |= {*node.inputs}
    return tuple(kept[::-1])


def _named_output(into: Import, name: str) -> str:
    """An output under the name that the file gives it, also where an op that does nothing was left out before it."""
    source = into.resolve(name)
    if source in into.known:
        raise GraphError(f"{into.where}: the output '{name}' is a constant, not something computed from the input")
    if source not in into.shapes:
        raise GraphError(f"{into.where}: the output '{name}' is written by no node")
    if source != name:
        shape = into.shapes[source]
        into.nodes.append(Node("Reshape", (source,), name, {"shape": shape}, name))
        into.shapes[name] = shape
    return name


def load_proto(path: Path) -> onnx.ModelProto:
    """The content of an ONNX file, of which nothing is checked but that it holds a network.

    Raises:
        MissingFileError: there is no such file.
        GraphError: not readable as ONNX, or without a network; the line names the file.
    """
    try:
        if not path.is_file():
            raise MissingFileError(f"{path}: no such model file")
        model = onnx.load_model_from_string(path.read_bytes())
    except MissingFileError:
        raise
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


def _read_node(into: Import, node: onnx.NodeProto) -> None:
    label = f"{into.where}: {node.op_type} '{node.name or (node.output[0] if node.output else '')}'"
    if node.domain not in ("", "ai.onnx") or node.op_type not in IMPORTERS.keys() | FOLDED.keys():
        supported = ", ".join(sorted(IMPORTERS))
        raise GraphError(f"{label}: op not supported; {WAY_OUT}; supported are {supported}")
    if not node.output or not node.output[0]:
        raise GraphError(f"{label}: has no output")
    for name in node.input:
        if name and not into.knows(name):
            raise GraphError(f"{label}: reads '{name}', which nothing before it writes")
    if into.knows(node.output[0]):
        raise GraphError(f"{label}: writes '{node.output[0]}', which is written already")
    try:
        check_form(into, node)
        if reason := training_form(node, into.opset, lambda name: into.known.get(into.resolve(name))):
            raise GraphError(f"{label}: {reason}")
        if node.op_type in FOLDED and all(into.resolve(name) in into.known for name in node.input if name):
            into.fold(node, FOLDED[node.op_type](into, node))
        elif node.op_type == "Shape":
            into.fold(node, of_shape(into, node, into.shapes[into.resolve(node.input[0])]))
        elif node.op_type in IMPORTERS:
            IMPORTERS[node.op_type](into, node)
        else:
            raise GraphError(f"{label}: supported on constants only; {WAY_OUT}")
    except GraphError as error:
        if str(error).startswith(into.where):
            raise
        raise GraphError(f"{into.where}: {error}") from error
    except Exception as error:  # damaged attributes fail in as many ways as there are readers of them
        raise GraphError(f"{label}: damaged or not supported ({_line(error)})") from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:400] or type(error).__name__

"""What an ONNX file says of its inputs: their shapes, which may be open, and how images lie in them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper

from facelet.errors import GraphError
from facelet.graph.ir import Node
from facelet.graph.onnx_import import HALF_NOTE, Import
from facelet.graph.ops import LARGEST_TENSOR

HALVES = (TensorProto.FLOAT16, TensorProto.BFLOAT16)

TO_PLANES, TO_PIXELS = (0, 3, 1, 2), (0, 2, 3, 1)
"""Orders of axes: from NHWC to NCHW, and back."""

COLORS = (1, 3)
"""Channels of a photo."""


@dataclass(frozen=True)
class Inputs:
    """How the inputs of a file are to be read; see `onnx_io.read_graph`."""

    shape: Sequence[int] | None = None
    open_shape: Sequence[int] | None = None
    planes: bool = False


def dimension(value: onnx.ValueInfoProto, axis: int) -> int | None:
    """One dimension of an input; None where the file leaves it open, by a name, by nothing or by a number below 0."""
    dims = value.type.tensor_type.shape.dim
    if axis >= len(dims) or not dims[axis].HasField("dim_value") or dims[axis].dim_value < 0:
        return None
    return int(dims[axis].dim_value)


def read_input(into: Import, value: onnx.ValueInfoProto, nodes: Sequence[onnx.NodeProto], entry: Inputs) -> None:
    """Adds an input to a graph in the making.

    Args:
        nodes: of the file.

    Raises:
        GraphError: not of floats, or its shape is open, does not fit what is asked for, or is too large.
    """
    where, name, tensor = f"{into.where}: the input '{value.name}'", value.name, value.type.tensor_type
    if tensor.elem_type in HALVES:
        into.note(HALF_NOTE)
    elif tensor.elem_type != TensorProto.FLOAT:
        known = {number: kind for kind, number in TensorProto.DataType.items()}
        kind = known.get(tensor.elem_type, "of an unknown kind")
        raise GraphError(f"{where} is not float32 but {kind}; export the model with a float32 input")
    told = entry.shape if entry.shape is not None else entry.open_shape
    rank = 1 + len(told) if told is not None and not tensor.HasField("shape") else len(tensor.shape.dim)
    if rank < 2:
        raise GraphError(f"{where} has {rank} dimensions; expected a batch of something")
    rest = [dimension(value, axis) for axis in range(1, rank)]
    turned = entry.planes and channels_last(value, nodes)
    if turned:
        rest = [rest[2], rest[0], rest[1]]
    if entry.shape is not None:
        given = list(entry.shape)
        if len(given) != len(rest) or any(r not in (None, g) for r, g in zip(rest, given, strict=True)):
            raise GraphError(f"{where} is {_text(rest)} without its batch, not {_text(given)}")
        rest = [*given]
    elif entry.open_shape is not None and len(entry.open_shape) == len(rest):
        rest = [known if found is None else found for found, known in zip(rest, entry.open_shape, strict=True)]
    if None in rest:
        raise GraphError(f"{where} leaves its size open ({_text(rest)}); say which with --size, e.g. --size 3x320x320")
    sizes = [size for size in rest if size is not None]
    if any(size < 1 for size in sizes) or into.batch * math.prod(sizes) > LARGEST_TENSOR:
        raise GraphError(f"{where} is {into.batch} x {sizes}; expected 1 or more of each, and less in all")
    into.shapes[name] = (into.batch, *sizes)
    if turned:
        into.note(f"takes images as height x width x channels in '{name}'; they are fed as channels x height x width")
        pixels = into.fresh(f"{name}.pixels")
        into.nodes.append(Node("Transpose", (name,), pixels, {"perm": TO_PIXELS}, name))
        into.shapes[pixels] = tuple(into.shapes[name][axis] for axis in TO_PIXELS)
        into.rename(name, pixels)


def channels_last(value: onnx.ValueInfoProto, nodes: Sequence[onnx.NodeProto]) -> bool:
    """Whether an input takes images as NHWC: by its sizes, or where those are open, by the first node that reads it."""
    if len(value.type.tensor_type.shape.dim) != 4:
        return False
    first, last = dimension(value, 1), dimension(value, 3)
    if first in COLORS or (last is not None and last not in COLORS):
        return False
    if last in COLORS:
        return True
    return first is None and any(node.op_type == "Transpose" and _reads(node, value.name) for node in nodes)


def _reads(node: onnx.NodeProto, name: str) -> bool:
    perm = next((helper.get_attribute_value(a) for a in node.attribute if a.name == "perm"), ())
    return list(node.input[:1]) == [name] and tuple(perm) == TO_PLANES


def _text(sizes: Sequence[int | None]) -> str:
    return "x".join("?" if size is None else str(size) for size in sizes)

"""How each ONNX op becomes ops of `ir`: `IMPORTERS` by op, one function per form; families have files of their own."""

from __future__ import annotations

import math
from collections.abc import Callable

import onnx

from facelet.graph.onnx_arithmetic import ARITHMETIC, plain
from facelet.graph.onnx_dense import read_gemm, read_matmul
from facelet.graph.onnx_import import HALF_NOTE, Import, attributes, refusal
from facelet.graph.onnx_inputs import HALVES
from facelet.graph.onnx_int8 import read_dequantize, read_lookup, read_quantize, reads_integers
from facelet.graph.onnx_moves import MOVES
from facelet.graph.onnx_parts import PARTS
from facelet.graph.onnx_reduce import REDUCTIONS
from facelet.graph.onnx_resize import read_resize
from facelet.graph.onnx_windows import WINDOWS


def _batch_normalization(into: Import, node: onnx.NodeProto) -> None:
    given = attributes(node)
    names = [into.tensor(node, position) for position in range(5)]
    for name in names[1:]:
        if name not in into.constants:
            raise refusal(into, node, "its statistics must be constant")
    into.emit(node, "BatchNormalization", names, epsilon=float(given.get("epsilon", 1e-5)))


def _clip(into: Import, node: onnx.NodeProto) -> None:
    given = attributes(node)  # opsets before 11 say the limits there
    limits = [float(given.get("min", -math.inf)), float(given.get("max", math.inf))]
    for position in (0, 1):
        if into.has(node, position + 1):
            limits[position] = float(into.weights(node, position + 1).reshape(()))
    into.emit(node, "Clip", (into.tensor(node),), min=limits[0], max=limits[1])


CAST = {
    onnx.TensorProto.FLOAT: "",
    onnx.TensorProto.DOUBLE: "computes in double precision; it is computed in float32 here",
    onnx.TensorProto.FLOAT16: HALF_NOTE,
    onnx.TensorProto.BFLOAT16: HALF_NOTE,
}
"""Kinds of floats, all of which are float32 here; and what is said of a file that uses them."""

MOVING = {*MOVES, *PARTS, "Dropout"}


def _cast(into: Import, node: onnx.NodeProto) -> None:
    into.shape(node)
    kind = attributes(node)["to"]
    if kind in (onnx.TensorProto.INT32, onnx.TensorProto.INT64) and reads_integers(into, node):
        into.alias(node)
        return
    if kind not in CAST:
        raise refusal(into, node, "only constants are cast to whole numbers or truth values; export it without")
    if kind in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE) and _rounded(into, node.input[0]):
        raise refusal(into, node, "rounds numbers to half precision and nothing more; export it without the two casts")
    if CAST[kind]:
        into.note(CAST[kind])
    into.alias(node)


def _rounded(into: Import, name: str) -> bool:
    """Whether a tensor comes from a cast to half precision, with nothing but moves between."""
    maker = into.makers.get(name)
    while maker is not None and maker.op_type in MOVING and maker.input:
        maker = into.makers.get(maker.input[0])
    if maker is None or maker.op_type != "Cast":
        return False
    return attributes(maker)["to"] in HALVES


def _gather(into: Import, node: onnx.NodeProto) -> None:
    if not read_lookup(into, node):
        PARTS["Gather"](into, node)


IMPORTERS: dict[str, Callable[[Import, onnx.NodeProto], None]] = {
    **ARITHMETIC,
    **MOVES,
    **PARTS,
    **REDUCTIONS,
    **WINDOWS,
    "BatchNormalization": _batch_normalization,
    "Cast": _cast,
    "Clip": _clip,
    "DequantizeLinear": read_dequantize,
    "Dropout": lambda into, node: into.alias(node),
    "Gather": _gather,
    "Gemm": read_gemm,
    "GlobalAveragePool": plain("GlobalAveragePool"),
    "MatMul": read_matmul,
    "QuantizeLinear": read_quantize,
    "Resize": read_resize,
    "Upsample": read_resize,
}

"""How each ONNX op becomes ops of `ir`: `IMPORTERS` by op, one function per form; families have files of their own."""

from __future__ import annotations

import math
from collections.abc import Callable

import onnx

from facelet.graph.onnx_arithmetic import ARITHMETIC, plain
from facelet.graph.onnx_dense import read_gemm, read_matmul
from facelet.graph.onnx_import import Import, attributes, refusal
from facelet.graph.onnx_int8 import read_dequantize, read_quantize
from facelet.graph.onnx_moves import MOVES
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


def _cast(into: Import, node: onnx.NodeProto) -> None:
    into.shape(node)
    if attributes(node)["to"] != onnx.TensorProto.FLOAT:
        raise refusal(into, node, "only constants are cast to other kinds than float32")
    into.alias(node)


IMPORTERS: dict[str, Callable[[Import, onnx.NodeProto], None]] = {
    **ARITHMETIC,
    **MOVES,
    **REDUCTIONS,
    **WINDOWS,
    "BatchNormalization": _batch_normalization,
    "Cast": _cast,
    "Clip": _clip,
    "DequantizeLinear": read_dequantize,
    "Dropout": lambda into, node: into.alias(node),
    "Gemm": read_gemm,
    "GlobalAveragePool": plain("GlobalAveragePool"),
    "MatMul": read_matmul,
    "QuantizeLinear": read_quantize,
    "Resize": read_resize,
    "Upsample": read_resize,
}

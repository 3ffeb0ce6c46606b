"""How the ONNX forms of a dense layer become `Gemm`."""

from __future__ import annotations

import math

import numpy as np
import onnx

from facelet.graph.ir import Array
from facelet.graph.onnx_import import Import, attributes, refusal


def read_gemm(into: Import, node: onnx.NodeProto) -> None:
    """Gemm: alpha A B + beta C, of which one of A and B is constant."""
    given = attributes(node)
    alpha, beta = (np.float32(given.get(name, 1.0)) for name in ("alpha", "beta"))
    bias = np.zeros(1, np.float32)
    computed = into.has(node, 2) and not into.is_known(node, 2)
    if into.has(node, 2) and not computed:
        bias = into.weights(node, 2) * beta
    product = into.fresh(f"{node.output[0]}.product") if computed else node.output[0]
    if into.is_known(node, 0) and not into.is_known(node, 1):
        _from_left(into, node, bool(given.get("transA")), bool(given.get("transB")), alpha, bias, product)
    else:
        x, weight = into.tensor(node), into.weights(node, 1)
        if weight.ndim != 2:
            raise refusal(into, node, f"a weight of {weight.ndim} dimensions")
        if given.get("transA"):
            x = into.part(node, "turned", "Transpose", (x,), perm=(1, 0))
        weight = weight if given.get("transB") else weight.T
        _dense(into, node, x, weight * alpha, bias, product)
    if computed:
        other = into.tensor(node, 2)
        if beta != 1:
            other = into.part(node, "scaled", "Mul", (other, into.number(node, "beta", float(beta))))
        into.emit(node, "Add", (product, other))


def _from_left(
    into: Import, node: onnx.NodeProto, turned: bool, other_turned: bool, alpha: np.float32, bias: Array, output: str
) -> None:
    """A constant times what is computed: A B = (B' A')'."""
    weight, x = into.weights(node, 0), into.tensor(node, 1)
    if not other_turned:
        x = into.part(node, "turned", "Transpose", (x,), perm=(1, 0))
    weight = (weight.T if turned else weight) * alpha
    rows = into.fresh(f"{output}.rows")
    plain = bool(np.any(bias)) and (bias.size == 1 or bias.shape[-1] == 1)
    _dense(into, node, x, weight, bias.reshape(1, -1) if plain else np.zeros(1, np.float32), rows)
    if plain or not np.any(bias):
        into.emit(node, "Transpose", (rows,), output, perm=(1, 0))
        return
    back = into.part(node, "back", "Transpose", (rows,), perm=(1, 0))
    into.emit(node, "Add", (back, into.constant(into.fresh(f"{output}.bias"), bias)), output)


def read_matmul(into: Import, node: onnx.NodeProto) -> None:
    """Rows of any number of axes times a constant matrix, or a constant matrix times a matrix."""
    if into.is_known(node, 0) and not into.is_known(node, 1):
        if into.value(node, 0).ndim != 2 or len(into.shape(node, 1)) != 2:
            raise refusal(into, node, "a constant times what is computed is supported for two matrices only")
        _from_left(into, node, False, False, np.float32(1), np.zeros(1, np.float32), node.output[0])
        return
    x, weight = into.tensor(node), into.weights(node, 1)
    shape = into.shapes[x]
    while weight.ndim > 2 and weight.shape[0] == 1 and weight.ndim <= len(shape):
        weight = weight[0]
    if weight.ndim != 2 or len(shape) < 2:
        raise refusal(into, node, f"{shape} times {weight.shape}; rows times a constant matrix (k, m) are supported")
    if shape[-1] != len(weight):
        raise refusal(into, node, f"{shape} times {weight.shape} does not fit")
    bias = np.zeros(1, np.float32)
    if len(shape) == 2:
        _dense(into, node, x, weight.T, bias, node.output[0])
        return
    rows = into.part(node, "rows", "Reshape", (x,), shape=(math.prod(shape[:-1]), shape[-1]))
    product = into.fresh(f"{node.output[0]}.product")
    _dense(into, node, rows, weight.T, bias, product)
    into.emit(node, "Reshape", (product,), shape=(*shape[:-1], weight.shape[1]))


def _dense(into: Import, node: onnx.NodeProto, x: str, weight: Array, bias: Array, output: str) -> None:
    """Product of x and the transpose of a weight `(m, k)`; the bias may be one number per output, one, or a matrix."""
    m = len(weight)
    if bias.ndim > 1 and bias.shape[0] != 1:  # one row of its own for each row of x
        product = into.fresh(f"{output}.plain")
        _dense(into, node, x, weight, np.zeros(1, np.float32), product)
        into.emit(node, "Add", (product, into.constant(into.fresh(f"{output}.bias"), bias)), output)
        return
    whole = np.broadcast_to(bias, (1, m))[0]
    names = into.constant(into.fresh(f"{output}.weight"), weight), into.constant(into.fresh(f"{output}.bias"), whole)
    into.emit(node, "Gemm", (x, *names), output)

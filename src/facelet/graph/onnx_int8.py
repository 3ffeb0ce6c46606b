"""Integers in ONNX: QuantizeLinear and DequantizeLinear around the float ops that any runtime knows (QDQ).

An `Int8Conv` is written as DequantizeLinear -> Conv [-> Add] [-> PRelu, Relu or Clip] -> QuantizeLinear, its weights as
int8, its bias as int32, each with a DequantizeLinear of its own. Scales are powers of two and zero points are zero.
`passes.integers` makes Int8Convs of what is read.
"""

from __future__ import annotations

import numpy as np
import onnx

from facelet.graph.int8 import HIGHEST, LOWEST
from facelet.graph.ir import Array, Node
from facelet.graph.onnx_import import Import, Known, attributes, refusal
from facelet.graph.onnx_nodes import Writer


def power_of_two(fraction: int) -> np.ndarray[tuple[()], np.dtype[np.float32]]:
    """The scale of a fraction."""
    return np.array(2.0**-fraction, np.float32)


def write_quantize(writer: Writer, x: str, fraction: int, output: str) -> None:
    """Adds a QuantizeLinear."""
    scale = writer.constant(f"{output}.scale", power_of_two(fraction))
    writer.add("QuantizeLinear", [x, scale, writer.constant(f"{output}.zero", np.array(0, np.int8))], output)


def write_dequantize(writer: Writer, x: str, fraction: int, output: str) -> str:
    """Adds a DequantizeLinear; returns its output."""
    scale = writer.constant(f"{output}.scale", power_of_two(fraction))
    zero = writer.constant(f"{output}.zero", np.array(0, np.int8))
    return writer.add("DequantizeLinear", [x, scale, zero], output)


def write_moved(writer: Writer, node: Node, fraction: int) -> None:
    """Adds an op of `int8.MOVERS` between a DequantizeLinear and a QuantizeLinear."""
    read = [write_dequantize(writer, name, fraction, writer.fresh(f"{name}.of.{node.output}")) for name in node.inputs]
    writer.shapes |= {new: writer.graph.shapes[name] for new, name in zip(read, node.inputs, strict=True)}
    moved = writer.fresh(f"{node.output}.moved")
    writer.plain(Node(node.op, tuple(read), moved, node.attributes, node.name))
    write_quantize(writer, moved, fraction, node.output)


def write_int8_conv(writer: Writer, node: Node) -> None:
    """Adds what an Int8Conv is in ONNX."""
    out, constants = node.output, writer.graph.constants
    weight, bias, fractions = (constants[name] for name in node.inputs[1:4])
    x = write_dequantize(writer, node.inputs[0], node["x_fraction"], writer.fresh(f"{node.inputs[0]}.of.{out}"))
    w = _scaled(writer, f"{out}.weight", weight.astype(np.int8), fractions)
    b = _scaled(writer, f"{out}.bias", bias.astype(np.int32), fractions + node["x_fraction"])
    window = {
        "kernel_shape": weight.shape[2:],
        "strides": node["strides"],
        "pads": node["pads"],
        "dilations": node["dilations"],
        "group": node["groups"],
    }
    last = writer.add("Conv", [x, w, b], writer.fresh(f"{out}.conv"), **window)
    if node["residual"]:
        other = node.inputs[-1]
        more = write_dequantize(writer, other, node["residual_fraction"], writer.fresh(f"{other}.of.{out}"))
        last = writer.add("Add", [last, more], writer.fresh(f"{out}.sum"))
    if node["slopes"]:
        slopes = np.ldexp(constants[node.inputs[4]], -constants[node.inputs[5]].astype(np.int64)).reshape(-1, 1, 1)
        last = writer.add(
            "PRelu", [last, writer.constant(f"{out}.slope", slopes.astype(np.float32))], writer.fresh(f"{out}.prelu")
        )
    if (node["low"], node["high"]) == (0, HIGHEST):
        last = writer.add("Relu", [last], writer.fresh(f"{out}.relu"))
    elif (node["low"], node["high"]) != (LOWEST, HIGHEST):
        limits = [np.ldexp(np.float32(node[name]), -node["fraction"]) for name in ("low", "high")]
        names = [writer.constant(f"{out}.{name}", value) for name, value in zip(("min", "max"), limits, strict=True)]
        last = writer.add("Clip", [last, *names], writer.fresh(f"{out}.clip"))
    write_quantize(writer, last, node["fraction"], out)


def _scaled(writer: Writer, name: str, values: Known, fractions: Array) -> str:
    """A constant of integers and its DequantizeLinear along the first axis."""
    integers = writer.constant(f"{name}.int", values)
    scale = writer.constant(f"{name}.scale", np.ldexp(np.float32(1), -fractions.astype(np.int64)).astype(np.float32))
    zero = writer.constant(f"{name}.zero", np.zeros(len(values), values.dtype))
    return writer.add("DequantizeLinear", [integers, scale, zero], writer.fresh(name), axis=0)


def read_quantize(into: Import, node: onnx.NodeProto) -> None:
    """Reads a QuantizeLinear to int8."""
    if not into.has(node, 2) or into.value(node, 2).dtype != np.int8:
        raise refusal(into, node, "only 8-bit signed integers are supported; quantize it with: facelet quantize")
    into.emit(node, "QuantizeLinear", (into.tensor(node),), fraction=_fraction(into, node))


def read_dequantize(into: Import, node: onnx.NodeProto) -> None:
    """Reads a DequantizeLinear of what is computed."""
    into.emit(node, "DequantizeLinear", (into.tensor(node),), fraction=_fraction(into, node))


def _fraction(into: Import, node: onnx.NodeProto) -> int:
    """The fraction of a scale.

    Raises:
        GraphError: there are several, it is no power of two, or the zero point is not zero.
    """
    scale = into.value(node, 1)
    if scale.size != 1 or scale.dtype != np.float32 or (into.has(node, 2) and into.value(node, 2).any()):
        raise refusal(into, node, "only one float32 scale and a zero point of zero are supported")
    mantissa, exponent = np.frexp(scale.reshape(()))
    if mantissa != 0.5 or not -64 <= exponent <= 64:
        raise refusal(into, node, f"its scale {float(scale.reshape(())):g} is no power of two; use facelet quantize")
    return 1 - int(exponent)


def fold_dequantize(into: Import, node: onnx.NodeProto) -> Known:
    """What a DequantizeLinear makes of constants."""
    values, scale = into.value(node, 0), into.value(node, 1)
    if into.has(node, 2) and into.value(node, 2).any():
        raise refusal(into, node, "only a zero point of zero is supported")
    if scale.size > 1:
        axis = int(attributes(node).get("axis", 1)) % values.ndim
        scale = scale.reshape([-1 if i == axis else 1 for i in range(values.ndim)])
    return np.asarray(values.astype(np.float32) * scale.astype(np.float32))

"""Integers in ONNX: QuantizeLinear and DequantizeLinear around the float ops that any runtime knows (QDQ).

An `Int8Conv` is written as DequantizeLinear -> Conv [-> Add] [-> PRelu, Relu or Clip] -> QuantizeLinear, its weights as
int8, its bias as int32, each with a DequantizeLinear of its own. Scales are powers of two and zero points are zero.

An `Int8Table` is written as a lookup (Cast -> Gather -> QuantizeLinear), not as the function that it came from: the
last bit of a runtime's own Sigmoid would decide how some integers are rounded. `Channels` is a Gather of channels.
`passes.integers` makes Int8Convs of what is read.
"""

from __future__ import annotations

import numpy as np
import onnx

from facelet.graph.int8 import HIGHEST, LOWEST
from facelet.graph.int8_maps import ENTRIES
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


def write_int8_mul(writer: Writer, node: Node) -> None:
    """Adds what an Int8Mul is in ONNX."""
    out, fractions = node.output, (node["a_fraction"], node["b_fraction"])
    read = [
        write_dequantize(writer, name, fraction, writer.fresh(f"{name}.of.{out}"))
        for name, fraction in zip(node.inputs, fractions, strict=True)
    ]
    write_quantize(writer, writer.add("Mul", read, writer.fresh(f"{out}.product")), node["fraction"], out)


def write_int8_table(writer: Writer, node: Node) -> None:
    """Adds what an Int8Table is in ONNX: entries in the order of Gather, whose index -1 is the last of them."""
    out, table = node.output, writer.graph.constants[node.inputs[1]]
    numbers = np.roll(np.ldexp(table, -node["fraction"]), ENTRIES // 2).astype(np.float32)
    index = writer.add("Cast", [node.inputs[0]], writer.fresh(f"{out}.index"), to=onnx.TensorProto.INT32)
    entry = writer.add("Gather", [writer.constant(f"{out}.numbers", numbers), index], writer.fresh(f"{out}.entry"))
    write_quantize(writer, entry, node["fraction"], out)


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


def reads_integers(into: Import, node: onnx.NodeProto, position: int = 0) -> bool:
    """Whether an input of a node is a tensor of integers."""
    name = into.resolve(node.input[position])
    return any(made.output == name and made.op == "QuantizeLinear" for made in into.nodes)


def read_lookup(into: Import, node: onnx.NodeProto) -> bool:
    """Reads a Gather that `write_int8_table` or a `Channels` has written; whether it is one."""
    if into.resolve(node.input[1]) not in into.known:
        if not reads_integers(into, node, 1) or int(attributes(node).get("axis", 0)) != 0:
            return False
        table = into.weights(node, 0)
        if table.shape != (ENTRIES,):
            raise refusal(into, node, f"a table of {table.shape} numbers; one of {ENTRIES} is supported")
        name = into.constant(into.fresh(f"{node.output[0]}.table"), np.roll(table, ENTRIES // 2))
        into.emit(node, "Table", (into.tensor(node, 1), name))
        return True
    source, shape = into.resolve(node.input[0]), into.shape(node)
    moved = any(made.output == source and made.op == "DequantizeLinear" for made in into.nodes)
    order = into.value(node, 1)
    if not moved or len(shape) != 4 or int(attributes(node).get("axis", 0)) != 1 or order.ndim != 1:
        return False
    chosen = tuple(int(channel) + shape[1] * (channel < 0) for channel in order)
    into.emit(node, "Channels", (source,), order=chosen)
    return True


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
    with np.errstate(all="ignore"):  # a damaged scale; readers refuse what comes of it
        return np.asarray(values.astype(np.float32) * scale.astype(np.float32))

"""How ONNX's arithmetic, number by number, becomes ops of `ir`; what has no op of its own is composed of those that do.

Source of every formula: ONNX, "Operator Schemas".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx

from facelet.graph.onnx_fold import WHOLE, are_whole, fold_whole
from facelet.graph.onnx_import import Import, attributes, refusal

Reader = Callable[[Import, onnx.NodeProto], None]


def plain(op: str, **defaults: float) -> Reader:
    """An op of one input whose float attributes have the same names."""

    def read(into: Import, node: onnx.NodeProto) -> None:
        if op in WHOLE and are_whole(into, node):
            into.fold(node, fold_whole(into, node))
            return
        given = attributes(node)
        values: dict[str, Any] = {name: float(given.get(name, value)) for name, value in defaults.items()}
        into.emit(node, op, (into.tensor(node),), **values)

    return read


def binary(op: str) -> Reader:
    """An op of two inputs, which are broadcast."""

    def read(into: Import, node: onnx.NodeProto) -> None:
        if op in WHOLE and are_whole(into, node):
            into.fold(node, fold_whole(into, node))
        else:
            into.emit(node, op, (into.tensor(node, 0), into.tensor(node, 1)))

    return read


def read_pow(into: Import, node: onnx.NodeProto) -> None:
    """A power; its exponent may be a whole number."""
    exponent = into.known.get(into.resolve(node.input[1]))
    if exponent is not None and exponent.dtype.kind in "iu":
        power = into.constant(into.fresh(f"{node.output[0]}.exponent"), exponent)
        into.emit(node, "Pow", (into.tensor(node), power))
    else:
        into.emit(node, "Pow", (into.tensor(node, 0), into.tensor(node, 1)))


def total(into: Import, node: onnx.NodeProto, op: str, names: Sequence[str], output: str = "") -> str:
    """What an op of two inputs makes of several, one after another."""
    so_far = names[0]
    for name in names[1:-1]:
        so_far = into.part(node, "part", op, (so_far, name))
    return into.emit(node, op, (so_far, names[-1]), output)


def read_sum(into: Import, node: onnx.NodeProto) -> None:
    """The sum of one input or more."""
    if len(node.input) == 1:
        into.alias(node)
        return
    total(into, node, "Add", [into.tensor(node, position) for position in range(len(node.input))])


def read_mean(into: Import, node: onnx.NodeProto) -> None:
    """The mean of one input or more."""
    if len(node.input) == 1:
        into.alias(node)
        return
    names = [into.tensor(node, position) for position in range(len(node.input))]
    summed = total(into, node, "Add", names, into.fresh(f"{node.output[0]}.sum"))
    into.emit(node, "Div", (summed, into.number(node, "count", len(names))))


def extreme(op: str) -> Reader:
    """Max or Min; against one constant number it is a Clip, or a Relu."""

    def read(into: Import, node: onnx.NodeProto) -> None:
        if len(node.input) == 1:
            into.alias(node)
            return
        if are_whole(into, node):
            into.fold(node, fold_whole(into, node))
            return
        names = [into.tensor(node, position) for position in range(len(node.input))]
        if len(names) == 2 and (names[0] in into.constants) != (names[1] in into.constants):
            x, limit = names if names[1] in into.constants else names[::-1]
            value = into.constants[limit]
            if value.size == 1 and np.isfinite(value).all() and value.ndim <= len(into.shapes[x]):
                number = float(value.reshape(()))
                if op == "Max" and number == 0:
                    into.emit(node, "Relu", (x,))
                elif op == "Max":
                    into.emit(node, "Clip", (x,), min=number, max=math.inf)
                else:
                    into.emit(node, "Clip", (x,), min=-math.inf, max=number)
                return
        total(into, node, op, names)

    return read


def read_prelu(into: Import, node: onnx.NodeProto) -> None:
    """Slopes below zero: one, one per channel, or of any shape that broadcasts to the input's."""
    x, slope = into.tensor(node), into.weights(node, 1)
    shape = into.shapes[x]
    lined = (1,) * (len(shape) - slope.ndim) + slope.shape
    if len(shape) >= 2 and (slope.size == 1 or lined == (1, shape[1], *([1] * (len(shape) - 2)))):
        values = np.broadcast_to(slope.reshape(-1), (shape[1],))
        into.emit(node, "PRelu", (x, into.constant(into.fresh(f"{node.output[0]}.slope"), values)))
        return
    if len(lined) != len(shape) or any(own not in (1, size) for own, size in zip(lined, shape, strict=True)):
        what = f"slopes of shape {slope.shape} cannot be broadcast to its input {shape}; export it again"
        raise refusal(into, node, what)
    above = into.part(node, "above", "Relu", (x,))
    below = into.part(node, "below", "Clip", (x,), min=-math.inf, max=0.0)
    tilted = into.part(node, "tilted", "Mul", (below, into.tensor(node, 1)))
    into.emit(node, "Add", (above, tilted))


def read_hard_sigmoid(into: Import, node: onnx.NodeProto) -> None:
    """clip(alpha x + beta, 0, 1)."""
    given = attributes(node)
    scaled = into.part(node, "scaled", "Mul", (into.tensor(node), into.number(node, "alpha", given.get("alpha", 0.2))))
    shifted = into.part(node, "shifted", "Add", (scaled, into.number(node, "beta", given.get("beta", 0.5))))
    into.emit(node, "Clip", (shifted,), min=0.0, max=1.0)


def read_negative(into: Import, node: onnx.NodeProto) -> None:
    """-x."""
    if are_whole(into, node):
        into.fold(node, fold_whole(into, node))
    else:
        into.emit(node, "Mul", (into.tensor(node), into.number(node, "minus", -1)))


def read_reciprocal(into: Import, node: onnx.NodeProto) -> None:
    """1 / x."""
    into.emit(node, "Div", (into.number(node, "one", 1), into.tensor(node)))


def read_softsign(into: Import, node: onnx.NodeProto) -> None:
    """Softsign: x / (1 + |x|)."""
    x = into.tensor(node)
    size = into.part(node, "size", "Abs", (x,))
    into.emit(node, "Div", (x, into.part(node, "more", "Add", (size, into.number(node, "one", 1)))))


def exponential_unit(alpha: float, gamma: float) -> Reader:
    """Elu and Selu: gamma x above zero, gamma alpha (e^x - 1) below; the attributes may say otherwise."""

    def read(into: Import, node: onnx.NodeProto) -> None:
        given, x = attributes(node), into.tensor(node)
        outer = float(given.get("gamma", gamma))
        slope = into.number(node, "slope", outer * float(given.get("alpha", alpha)))
        above = into.part(node, "above", "Relu", (x,))
        if outer != 1:
            above = into.part(node, "steep", "Mul", (above, into.number(node, "gamma", outer)))
        below = into.part(node, "below", "Clip", (x,), min=-math.inf, max=0.0)
        power = into.part(node, "power", "Exp", (below,))
        less = into.part(node, "less", "Sub", (power, into.number(node, "one", 1)))
        into.emit(node, "Add", (above, into.part(node, "bent", "Mul", (less, slope))))

    return read


def _softplus(into: Import, node: onnx.NodeProto, output: str = "") -> str:
    """log(1 + e^x), as max(x, 0) + log(1 + e^-|x|), which does not overflow."""
    x, one = into.tensor(node), into.number(node, "one", 1)
    size = into.part(node, "size", "Abs", (x,))
    turned = into.part(node, "turned", "Mul", (size, into.number(node, "minus", -1)))
    power = into.part(node, "power", "Exp", (turned,))
    rest = into.part(node, "rest", "Log", (into.part(node, "more", "Add", (power, one)),))
    return into.emit(node, "Add", (into.part(node, "above", "Relu", (x,)), rest), output)


def read_softplus(into: Import, node: onnx.NodeProto) -> None:
    """log(1 + e^x)."""
    _softplus(into, node)


def read_mish(into: Import, node: onnx.NodeProto) -> None:
    """Mish: x tanh(softplus(x))."""
    plus = _softplus(into, node, into.fresh(f"{node.output[0]}.plus"))
    into.emit(node, "Mul", (into.tensor(node), into.part(node, "tanh", "Tanh", (plus,))))


def read_gelu(into: Import, node: onnx.NodeProto) -> None:
    """Gelu: x / 2 (1 + erf(x / sqrt 2)), or its approximation by tanh."""
    x, one = into.tensor(node), into.number(node, "one", 1)
    if attributes(node).get("approximate", "none") == "tanh":
        cube = into.part(node, "cube", "Mul", (into.part(node, "square", "Mul", (x, x)), x))
        bend = into.part(node, "bend", "Mul", (cube, into.number(node, "cubic", 0.044715)))
        whole = into.part(node, "whole", "Add", (x, bend))
        inner = into.part(node, "inner", "Mul", (whole, into.number(node, "root", math.sqrt(2 / math.pi))))
        curve = into.part(node, "curve", "Tanh", (inner,))
    else:
        inner = into.part(node, "inner", "Mul", (x, into.number(node, "root", math.sqrt(0.5))))
        curve = into.part(node, "curve", "Erf", (inner,))
    half = into.part(node, "half", "Mul", (x, into.number(node, "a_half", 0.5)))
    into.emit(node, "Mul", (half, into.part(node, "more", "Add", (curve, one))))


def read_swish(into: Import, node: onnx.NodeProto) -> None:
    """Swish: x sigmoid(alpha x)."""
    x, alpha = into.tensor(node), float(attributes(node).get("alpha", 1.0))
    inner = x if alpha == 1 else into.part(node, "inner", "Mul", (x, into.number(node, "alpha", alpha)))
    into.emit(node, "Mul", (x, into.part(node, "gate", "Sigmoid", (inner,))))


ARITHMETIC: dict[str, Reader] = {
    "Abs": plain("Abs"),
    "Add": binary("Add"),
    "Div": binary("Div"),
    "Elu": exponential_unit(1.0, 1.0),
    "Erf": plain("Erf"),
    "Exp": plain("Exp"),
    "Gelu": read_gelu,
    "HardSigmoid": read_hard_sigmoid,
    "HardSwish": plain("HardSwish"),
    "LeakyRelu": plain("LeakyRelu", alpha=0.01),
    "Log": plain("Log"),
    "Max": extreme("Max"),
    "Mean": read_mean,
    "Min": extreme("Min"),
    "Mish": read_mish,
    "Mul": binary("Mul"),
    "Neg": read_negative,
    "PRelu": read_prelu,
    "Pow": read_pow,
    "Reciprocal": read_reciprocal,
    "Relu": plain("Relu"),
    "Selu": exponential_unit(1.67326319217681884765625, 1.05070102214813232421875),
    "Sigmoid": plain("Sigmoid"),
    "Softplus": read_softplus,
    "Softsign": read_softsign,
    "Sqrt": plain("Sqrt"),
    "Sub": binary("Sub"),
    "Sum": read_sum,
    "Swish": read_swish,
    "Tanh": plain("Tanh"),
}

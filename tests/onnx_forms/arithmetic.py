"""Activations, and unit length as exporters spell it."""

from __future__ import annotations

from typing import Any

import numpy as np

from onnx_forms.net import Net, put


def _activations() -> None:
    newer = {"Mish": 18, "Gelu": 20, "HardSwish": 14, "Swish": 24}
    for op in (
        "Relu",
        "LeakyRelu",
        "Sigmoid",
        "HardSigmoid",
        "HardSwish",
        "Tanh",
        "Elu",
        "Selu",
        "Softplus",
        "Softsign",
    ):
        n = Net(newer.get(op, 13), seed=op)
        n.add(op, "x")
        put(f"activation {op}", n)
    for op in ("Abs", "Neg", "Exp", "Erf", "Mish", "Gelu", "Swish"):
        n = Net(newer.get(op, 13), seed=op)
        n.add(op, n.conv("x", 3, 4, 1, 1))
        put(f"activation {op} behind a convolution", n)
    variants: list[tuple[str, dict[str, Any]]] = [
        ("Elu", {"alpha": 0.3}),
        ("Selu", {"alpha": 1.2, "gamma": 0.7}),
        ("LeakyRelu", {"alpha": -0.2}),
    ]
    for op, attributes in variants:
        n = Net(seed=op)
        n.add(op, "x", **attributes)
        put(f"activation {op} {attributes}", n)
    n = Net(20, seed="gelu")
    n.add("Gelu", "x", approximate="tanh")
    put("activation Gelu by tanh", n)
    for op in ("Log", "Sqrt", "Reciprocal"):
        n = Net(seed=op)
        n.add(op, n.add("Add", n.add("Abs", "x"), n.number(0.5)))
        put(f"activation {op} of what is above zero", n)
    for shape in ((), (1,), (4, 1, 1), (1, 4, 1, 1), (5,), (6, 1), (6, 5), (4, 6, 5), (1, 1, 1)):
        n = Net(seed=str(shape))
        n.add("PRelu", n.add("Add", "x", n.number(0.1)), n.keep(n.floats(*shape)))
        put(f"PRelu with slopes {shape}", n)
    for opset in (7, 16):
        n = Net(opset, (1, 12), seed="prelu")
        n.add("PRelu", "x", n.keep(n.floats(12)))
        put(f"PRelu of rows, opset {opset}", n)
    n = Net(seed="by parts")
    below = n.add("Relu", n.add("Neg", "x"))
    n.add("Add", n.add("Relu", "x"), n.add("Mul", below, n.keep(n.floats(4, 1, 1))))
    put("PRelu by parts", n)
    n = Net(seed="slopes")
    n.add("PRelu", "x", n.keep(n.floats(3, 1, 1)))
    put("PRelu with slopes of other channels", n, refused=r"slopes of shape \(3, 1, 1\) cannot be broadcast")
    for name, low, high in (("low", -0.5, None), ("high", None, 0.5), ("both", -0.3, 0.2), ("neither", None, None)):
        n = Net(seed=name)
        limits = ["" if value is None else n.number(value) for value in (low, high)]
        n.add("Clip", "x", *limits)
        put(f"Clip with limits: {name}", n)
    n = Net(seed="relu6")
    n.add("Min", n.number(0.6), n.add("Max", n.conv("x", 3, 4, 1, 1), n.number(0)))
    put("Relu6 by Max and Min", n)
    for op in ("Max", "Min", "Sum", "Mean"):
        n = Net(seed=op)
        n.add(op, "x", n.add("Tanh", "x"), n.keep(n.floats(4, 1, 1)))
        put(f"{op} of three", n)
        n = Net(seed=op)
        n.add(op, n.add("Relu", "x"))
        put(f"{op} of one", n)
    n = Net(seed="hardswish")
    gate = n.clip(n.add("Add", "x", n.number(3)), 0, 6)
    n.add("Div", n.add("Mul", "x", gate), n.number(6))
    put("HardSwish by parts", n)
    for exponent in (
        np.array(2, np.float32),
        np.array(3, np.int64),
        np.array([2, 1, 2, 3], np.float32).reshape(4, 1, 1),
    ):
        n = Net(seed="pow")
        n.add("Pow", "x", n.keep(exponent))
        put(f"Pow with {exponent.dtype} {exponent.shape}", n)


def _lengths() -> None:
    """Unit length, as torch, Keras, MXNet, Caffe and others write it."""

    def rows(seed: str) -> tuple[Net, str]:
        n = Net(13, (1, 4, 3, 2), seed)
        return n, n.add("Gemm", n.flat("x"), n.keep(n.floats(24, 7)))

    def squares(n: Net, x: str) -> str:
        return n.reduced("ReduceSum", n.add("Mul", x, x), [1])

    n, x = rows("plain")
    n.add("Div", x, n.reduced("ReduceL2", x, [1]))
    put("length: ReduceL2, Div", n)
    n, x = rows("torch")
    length = n.add("Clip", n.reduced("ReduceL2", x, [1]), n.number(1e-12))
    n.add("Div", x, n.add("Expand", length, n.add("Shape", x)))
    put("length: ReduceL2, Clip, Shape, Expand, Div", n)
    n, x = rows("flat")
    length = n.add("Unsqueeze", n.reduced("ReduceL2", x, [-1], 0), n.ints(1))
    n.add("Div", x, length)
    put("length: ReduceL2 without the axis, Unsqueeze, Div", n)
    n, x = rows("keras")
    large = n.add("Max", squares(n, x), n.number(1e-12))
    n.add("Mul", x, n.add("Reciprocal", n.add("Sqrt", large)))
    put("length: Mul, ReduceSum, Max, Sqrt, Reciprocal, Mul", n)
    n, x = rows("rsqrt")
    n.add("Mul", n.add("Div", n.number(1), n.add("Sqrt", squares(n, x))), x)
    put("length: Mul, ReduceSum, Sqrt, 1 / x, Mul", n)
    n, x = rows("pow")
    total = n.reduced("ReduceSum", n.add("Pow", x, n.number(2)), [1])
    n.add("Div", x, n.add("Pow", n.clip(total, 1e-10, 1e30), n.number(0.5)))
    put("length: Pow, ReduceSum, Clip, Pow, Div", n)
    n, x = rows("squares")
    n.add("Div", x, n.add("Sqrt", n.add("ReduceSumSquare", x, axes=[1])))
    put("length: ReduceSumSquare, Sqrt, Div", n)
    n, x = rows("eps")
    n.add("Div", x, n.add("Add", n.reduced("ReduceL2", x, [1]), n.number(1e-3)))
    put("length: ReduceL2, Add of epsilon, Div", n)
    n, x = rows("root eps")
    n.add("Div", x, n.add("Sqrt", n.add("Add", squares(n, x), n.number(1e-3))))
    put("length: Mul, ReduceSum, Add of epsilon, Sqrt, Div", n)
    n, x = rows("max")
    n.add("Div", x, n.add("Max", n.add("Sqrt", squares(n, x)), n.number(1e-6)))
    put("length: Mul, ReduceSum, Sqrt, Max, Div", n)
    for power in (1, 2):
        for axis in (1, -1):
            n, x = rows("lp")
            n.add("LpNormalization", x, p=power, axis=axis)
            put(f"length: LpNormalization p {power}, axis {axis}", n)
    n, x = rows("l1")
    n.add("Div", x, n.add("ReduceL1", x, axes=[1]))
    put("length: ReduceL1, Div", n)
    n = Net(13, seed="channels")
    n.add("Div", "x", n.reduced("ReduceL2", "x", [1]))
    put("length: channels of an image", n)
    n = Net(13, seed="channels")
    n.add("LpNormalization", "x", axis=1)
    put("length: LpNormalization of an image", n)


_activations()
_lengths()

"""Small ONNX nets in the forms that exporters write, opset 7 to the newest: `FORMS` by name.

Each form of an op is written as its opset wants it: attributes in old files are inputs in new ones.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Numbers = np.ndarray[Any, Any]

OPSETS = tuple(range(7, 26))
"""From the oldest that is read to the newest that onnxruntime runs."""

IMAGE = (1, 4, 6, 5)


@dataclass(frozen=True)
class Form:
    """A net.

    Attributes:
        model: the file.
        refused: what the refusal says; empty where the net must run.
    """

    model: onnx.ModelProto
    refused: str = ""


@dataclass
class Net:
    """Adds nodes to a net; every method returns the name of its output.

    Attributes:
        opset: of the file.
        shape: of the one input `x`.
    """

    opset: int = 18
    shape: Sequence[int | str] = IMAGE
    seed: str = ""
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: dict[str, Numbers] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(zlib.crc32(f"{self.seed} {self.opset}".encode()))

    def floats(self, *shape: int) -> Numbers:
        return self.rng.standard_normal(shape).astype(np.float32)

    def keep(self, values: Numbers) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = values
        return name

    def number(self, value: float) -> str:
        return self.keep(np.array(value, np.float32))

    def ints(self, *values: int) -> str:
        return self.keep(np.array(values, np.int64))

    def add(self, op: str, *inputs: str, n_outputs: int = 1, **attributes: Any) -> Any:
        position = len(self.nodes)
        names = [f"t{position}"] if n_outputs == 1 else [f"t{position}_{i}" for i in range(n_outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, name=f"{op}_{position}", **attributes))
        return names[0] if n_outputs == 1 else names

    def conv(self, x: str, *kernel: int, **attributes: Any) -> str:
        return str(self.add("Conv", x, self.keep(self.floats(*kernel) / 3), **attributes))

    def listed(self, op: str, x: str, name: str, values: Sequence[int], since: int, **attributes: Any) -> Any:
        """An op whose list of whole numbers is an attribute before an opset, an input from there on."""
        if self.opset < since:
            return self.add(op, x, **{name: list(values)}, **attributes)
        return self.add(op, x, self.ints(*values), **attributes)

    def clip(self, x: str, low: float, high: float) -> str:
        if self.opset < 11:
            return str(self.add("Clip", x, min=float(low), max=float(high)))
        return str(self.add("Clip", x, self.number(low), self.number(high)))

    def pad(self, x: str, pads: Sequence[int], value: float = 0.0, mode: str = "constant") -> str:
        if self.opset < 11:
            return str(self.add("Pad", x, pads=list(pads), value=value, mode=mode))
        return str(self.add("Pad", x, self.ints(*pads), self.number(value), mode=mode))

    def slice(
        self, x: str, starts: Sequence[int], ends: Sequence[int], axes: Sequence[int], steps: Sequence[int] = ()
    ) -> str:
        if self.opset < 10:
            return str(self.add("Slice", x, starts=list(starts), ends=list(ends), axes=list(axes)))
        lists = [starts, ends, axes, *([steps] if steps else [])]
        return str(self.add("Slice", x, *(self.ints(*values) for values in lists)))

    def split(self, x: str, sizes: Sequence[int], axis: int) -> list[str]:
        names = self.listed("Split", x, "split", sizes, 13, axis=axis, n_outputs=len(sizes))
        return list(names)

    def reduced(self, op: str, x: str, axes: Sequence[int], keepdims: int = 1) -> str:
        since = 13 if op == "ReduceSum" else 18
        return str(self.listed(op, x, "axes", axes, since, keepdims=keepdims))

    def flat(self, x: str) -> str:
        return str(self.add("Flatten", x))

    def enlarged(self, x: str, scales: Sequence[float], mode: str = "nearest", **ways: str) -> str:
        """Upsample or Resize, as the opset has it."""
        whole = [1.0, 1.0, *scales]
        if self.opset < 9:
            return str(self.add("Upsample", x, scales=whole, mode=mode))
        numbers = self.keep(np.array(whole, np.float32))
        if self.opset < 11:
            return str(self.add("Upsample" if self.opset == 9 else "Resize", x, numbers, mode=mode))
        roi = self.keep(np.zeros(0, np.float32)) if self.opset < 13 else ""
        return str(self.add("Resize", x, roi, numbers, mode=mode, **ways))

    def file(
        self, *outputs: str, kind: int = TensorProto.FLOAT, out_kind: int = TensorProto.FLOAT, as_inputs: bool = False
    ) -> onnx.ModelProto:
        value = helper.make_tensor_value_info
        entries = [value("x", kind, self.shape)]
        if as_inputs:
            entries += [
                value(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
                for name, array in self.weights.items()
            ]
        graph = helper.make_graph(
            self.nodes,
            "net",
            entries,
            [value(name, out_kind, None) for name in outputs],
            [numpy_helper.from_array(array, name) for name, array in self.weights.items()],
        )
        version = 3 if as_inputs else {25: 12, 24: 11, 23: 11}.get(self.opset, 8 if self.opset < 21 else 10)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=version)


FORMS: dict[str, Form] = {}


def put(name: str, net: Net, *outputs: str, refused: str = "", **kinds: Any) -> None:
    """Adds a form; its output is the last node's where none is named."""
    if name in FORMS:
        raise ValueError(f"{name} is there twice")
    FORMS[name] = Form(net.file(*(outputs or (net.nodes[-1].output[0],)), **kinds), refused)


def _every_opset(opset: int) -> None:
    """What changed its form from opset to opset."""

    def net(seed: str, shape: Sequence[int | str] = IMAGE) -> Net:
        return Net(opset, shape, seed)

    n = net("block", (1, 3, 8, 8))
    x = n.conv("x", 6, 3, 3, 3, strides=[2, 2], pads=[1, 1, 1, 1])
    statistics = [n.keep(np.abs(n.floats(6)) + np.float32(0.5)) for _ in range(4)]
    x = n.add("BatchNormalization", x, *statistics, epsilon=0.01)
    x = n.clip(x, 0, 6)
    x = n.conv(x, 6, 1, 3, 3, group=6, pads=[1, 1, 1, 1])
    x = n.add("PRelu", x, n.keep(n.floats(6, 1, 1)))
    x = n.add("Dropout", n.flat(n.add("GlobalAveragePool", x)))
    x = n.add("Gemm", x, n.keep(n.floats(5, 6)), n.keep(n.floats(5)), transB=1)
    length = n.reduced("ReduceL2", x, [1])
    n.add("Div", x, length)
    put(f"opset {opset}: net with unit length", n)

    n = net("split")
    a, b = n.split("x", [2, 2], 1)
    n.add("Max", a, b)
    put(f"opset {opset}: max feature map", n)

    n = net("ghost")
    n.add("Add", n.slice("x", [0], [2], [1]), n.slice("x", [2], [4], [1]))
    put(f"opset {opset}: slices of channels", n)

    n = net("pad")
    n.add("MaxPool", n.pad("x", [0, 0, 1, 2, 0, 0, 0, 1], -0.5), kernel_shape=[2, 2])
    put(f"opset {opset}: pad before a pool", n)

    n = net("mean")
    n.reduced("ReduceMean", n.reduced("ReduceMean", "x", [3], 0), [2], 0)
    put(f"opset {opset}: mean one axis at a time", n)

    n = net("axes")
    pooled = n.reduced("ReduceMean", "x", [2, 3])
    n.listed("Unsqueeze", n.listed("Squeeze", pooled, "axes", [2, 3], 13), "axes", [1], 13)
    put(f"opset {opset}: squeeze and unsqueeze", n)

    n = net("softmax")
    n.add("Softmax", "x", axis=1)
    put(f"opset {opset}: softmax, axis 1", n)

    n = net("sum")
    n.add("Sqrt", n.reduced("ReduceSum", n.add("Mul", "x", "x"), [1, -1]))
    put(f"opset {opset}: root of a sum of squares", n)

    n = net("nearest")
    ways = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    n.enlarged(n.add("Relu", "x"), (2, 3), **ways)
    put(f"opset {opset}: enlarged by whole numbers", n)

    n = net("linear")
    n.enlarged("x", (1.6, 2.5), "linear")
    put(f"opset {opset}: enlarged, linear", n)

    n = net("smaller")
    n.enlarged("x", (0.6, 0.7), **ways)
    put(f"opset {opset}: smaller, nearest", n, refused="Upsample only enlarges; export" if opset < 10 else "")

    n = net("shuffle", ("n", 4, 6, 5))
    parts = n.add("Reshape", "x", n.ints(0, 2, 2, 6, 5))
    n.add("Reshape", n.add("Transpose", parts, perm=[0, 2, 1, 3, 4]), n.ints(-1, 4, 6, 5))
    put(f"opset {opset}: channel shuffle", n)


for _opset in OPSETS:
    _every_opset(_opset)


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
    for op, attributes in (
        ("Elu", {"alpha": 0.3}),
        ("Selu", {"alpha": 1.2, "gamma": 0.7}),
        ("LeakyRelu", {"alpha": -0.2}),
    ):
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


def _windows() -> None:
    for auto in ("SAME_UPPER", "SAME_LOWER", "VALID"):
        for size in (6, 7):
            n = Net(shape=(1, 3, size, 9), seed=auto)
            n.conv("x", 5, 3, 3, 2, auto_pad=auto, strides=[2, 2])
            put(f"Conv {auto} of {size}", n)
            for op in ("MaxPool", "AveragePool"):
                n = Net(shape=(1, 3, size, 9), seed=op)
                n.add(op, "x", auto_pad=auto, kernel_shape=[3, 3], strides=[2, 2])
                put(f"{op} {auto} of {size}", n)
    for op in ("MaxPool", "AveragePool"):
        for kernel, stride, side in ((3, 2, 0), (3, 2, 1), (2, 2, 0), (3, 3, 1)):
            for size in (7, 8):
                n = Net(11, (1, 2, size, size), seed=op)
                attributes = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [side] * 4}
                n.add(op, "x", ceil_mode=1, **attributes)
                put(f"{op} ceil, window {kernel}, stride {stride}, pads {side} of {size}", n)
                if op == "AveragePool":
                    n = Net(11, (1, 2, size, size), seed=op)
                    n.add(op, "x", ceil_mode=1, count_include_pad=1, **attributes)
                    put(f"{op} ceil, pads counted, window {kernel}, stride {stride}, pads {side} of {size}", n)
    for opset in (10, 19, 22):
        n = Net(opset, (1, 2, 8, 7), seed="uneven")
        n.add(
            *("AveragePool", "x"),
            kernel_shape=[3, 2],
            strides=[2, 2],
            pads=[1, 0, 0, 1],
            ceil_mode=1,
            count_include_pad=1,
        )
        put(f"AveragePool ceil, uneven pads counted, opset {opset}", n)
    for name, kernel, attributes in (
        ("dilated", (5, 4, 3, 3), {"dilations": [2, 2]}),
        ("uneven pads", (5, 4, 3, 3), {"pads": [0, 1, 2, 3], "strides": [2, 1]}),
        ("groups", (6, 2, 3, 3), {"group": 2, "pads": [1, 1, 1, 1]}),
        ("depthwise, two each", (8, 1, 3, 3), {"group": 4}),
        ("whole image", (4, 1, 6, 5), {"group": 4}),
        ("1x1, stride 2", (3, 4, 1, 1), {"strides": [2, 2]}),
    ):
        n = Net(seed=name)
        n.conv("x", *kernel, **attributes)
        put(f"Conv {name}", n)
    for name, kernel, attributes in (
        ("2x2, stride 2", (4, 3, 2, 2), {"strides": [2, 2]}),
        ("4x4, stride 2, pads", (4, 3, 4, 4), {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ("3x3, output padding", (4, 3, 3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}),
        ("stride 1", (4, 3, 3, 3), {}),
        ("stride wider than the kernel", (4, 3, 2, 1), {"strides": [3, 2]}),
        ("groups", (4, 2, 3, 3), {"group": 2, "strides": [2, 1], "pads": [1, 0, 0, 1]}),
        ("depthwise", (4, 1, 4, 4), {"group": 4, "strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ("dilated", (4, 3, 2, 2), {"dilations": [2, 3], "strides": [2, 2]}),
        ("same upper", (4, 3, 3, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
        ("same lower", (4, 3, 3, 3), {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
        ("output shape", (4, 3, 3, 3), {"output_shape": [12, 10], "strides": [2, 2]}),
    ):
        n = Net(11, seed=name)
        n.add(
            "ConvTranspose",
            "x",
            n.keep(n.floats(*kernel)),
            n.keep(n.floats(kernel[1] * attributes.get("group", 1))),
            **attributes,
        )
        put(f"ConvTranspose {name}", n)
    n = Net(seed="1d")
    n.add("ConvTranspose", "x", n.keep(n.floats(4, 2, 3)))
    put("ConvTranspose of one dimension", n, refused="only two-dimensional images are supported")
    n = Net(seed="dilated pool")
    n.add("MaxPool", "x", kernel_shape=[2, 2], dilations=[2, 2])
    put("MaxPool dilated", n, refused="dilations are not supported in pools; give it")
    for op in ("GlobalMaxPool", "GlobalAveragePool"):
        n = Net(seed=op)
        n.add(op, "x")
        put(op, n)
    n = Net(shape=(1, 12, 4, 4), seed="lrn")
    n.add("LRN", "x", size=5, alpha=0.1)
    put("LRN", n)
    n = Net(seed="instance")
    n.add("InstanceNormalization", "x", n.keep(n.floats(4)), n.keep(n.floats(4)))
    put("InstanceNormalization", n)
    n = Net(seed="computed")
    n.add("Conv", "x", n.add("Reshape", "x", n.ints(1, 4, 6, 5)))
    put("Conv with a computed weight", n, refused="must be constant")


def _resizes() -> None:
    for coordinates in ("asymmetric", "half_pixel", "pytorch_half_pixel", "align_corners", "tf_half_pixel_for_nn"):
        for nearest in ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil"):
            n = Net(11, seed=f"{coordinates}{nearest}")
            ways = {"coordinate_transformation_mode": coordinates, "nearest_mode": nearest}
            n.enlarged("x", (2, 3), **ways)
            put(f"Resize nearest {coordinates} {nearest}", n)
    for coordinates in ("asymmetric", "half_pixel", "pytorch_half_pixel", "align_corners", "half_pixel_symmetric"):
        for scales in ((2.0, 2.0), (0.5, 1.7)):
            n = Net(19, seed=coordinates)
            n.enlarged("x", scales, "linear", coordinate_transformation_mode=coordinates)
            put(f"Resize linear {coordinates} {scales}", n)
    for mode in ("nearest", "linear"):
        for sizes in ((12, 15), (3, 5), (1, 1), (6, 5)):
            n = Net(13, seed=mode)
            n.add("Resize", "x", "", "", n.ints(1, 4, *sizes), mode=mode)
            put(f"Resize {mode} to {sizes}", n)
    n = Net(18, seed="axes")
    n.add("Resize", "x", "", n.keep(np.array([2, 1.5], np.float32)), axes=[2, 3], mode="linear")
    put("Resize of two axes", n)
    n = Net(11, (1, 4, 8, 8), seed="fpn")
    small = n.conv("x", 4, 4, 3, 3, strides=[2, 2], pads=[1, 1, 1, 1])
    shape, channels = n.add("Shape", "x"), n.add("Shape", small)
    sizes = n.add("Concat", n.slice(channels, [0], [2], [0]), n.slice(shape, [2], [4], [0]), axis=0)
    empty = n.keep(np.zeros(0, np.float32))
    wide = n.add(
        "Resize", small, empty, empty, sizes, coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    )
    n.add("Add", wide, "x")
    put("Resize to the size of another tensor", n)
    n = Net(11, seed="floor")
    size = n.slice(n.add("Shape", "x"), [2], [4], [0])
    scaled = n.add("Floor", n.add("Mul", n.add("Cast", size, to=1), n.keep(np.array([1.5, 2.0], np.float32))))
    sizes = n.add("Concat", n.ints(1, 4), n.add("Cast", scaled, to=7), axis=0)
    empty = n.keep(np.zeros(0, np.float32))
    n.add("Resize", "x", empty, empty, sizes)
    put("Resize to a computed size", n)
    for name, attributes, reason in (
        ("cubic", {"mode": "cubic"}, "mode cubic of 4 axes; supported are nearest and linear"),
        ("antialias", {"mode": "linear", "antialias": 1}, "antialias is not supported; export it without"),
        (
            "crop and resize",
            {"coordinate_transformation_mode": "tf_crop_and_resize"},
            "tf_crop_and_resize with round_prefer_floor is not supported; known are",
        ),
    ):
        n = Net(18, seed=name)
        roi = n.keep(np.array([0, 0, 0, 0, 1, 1, 1, 1], np.float32)) if "crop" in name else ""
        n.add("Resize", "x", roi, n.keep(np.array([1, 1, 2, 2], np.float32)), **attributes)
        put(f"Resize {name}", n, refused=reason)


def _moves() -> None:
    for mode in ("DCR", "CRD"):
        n = Net(11, (1, 8, 3, 2), seed=mode)
        n.add("DepthToSpace", "x", blocksize=2, mode=mode)
        put(f"DepthToSpace {mode}", n)
    n = Net(shape=(1, 3, 4, 6), seed="s2d")
    n.add("SpaceToDepth", "x", blocksize=2)
    put("SpaceToDepth", n)
    for name, starts, ends, axes, steps in (
        ("crop", [1, 1], [5, -1], [2, 3], []),
        ("odd rows", [1], [99], [2], [2]),
        ("reversed channels", [-1], [-(2**40)], [1], [-1]),
        ("every second column backwards", [4], [0], [3], [-2]),
        ("last channels", [-3], [2**60], [1], []),
        ("everything", [0], [2**31 - 1], [1], []),
        ("channels 1 and 3", [1], [4], [1], [2]),
    ):
        n = Net(13, seed=name)
        n.conv(n.add("Relu", n.slice(n.conv("x", 4, 4, 1, 1), starts, ends, axes, steps)), 3, *_channels(name), 1, 1)
        put(f"Slice: {name}", n)
    n = Net(13, (1, 40, 3, 3), seed="blocks")
    x = n.conv("x", 40, 40, 1, 1)
    n.add("Add", n.slice(x, [16], [32], [1]), n.slice(x, [24], [40], [1]))
    put("Slice: channels at the edge of a block and inside one", n)
    n = Net(13, (1, 3, 6, 6), seed="focus")
    parts = [n.slice("x", [i, j], [99, 99], [2, 3], [2, 2]) for j in (0, 1) for i in (0, 1)]
    n.conv(n.add("Concat", *parts, axis=1), 5, 12, 3, 3, pads=[1, 1, 1, 1])
    put("Slice: focus", n)
    for name, sizes, axis in (("uneven", [1, 3], 1), ("three", [2, 2, 2], 2), ("columns", [1, 1, 3], -1)):
        n = Net(seed=name)
        parts = n.split(n.add("Relu", "x"), sizes, axis)
        n.add("Concat", *reversed(parts), axis=axis)
        put(f"Split: {name}", n)
    n = Net(11, seed="equal")
    parts = n.add("Split", "x", axis=1, n_outputs=2)
    n.add("Mul", parts[0], n.add("Sigmoid", parts[1]))
    put("Split: equal parts", n)
    n = Net(18, (1, 5, 3, 3), seed="num")
    n.add("Concat", *n.add("Split", "x", axis=1, num_outputs=2, n_outputs=2)[::-1], axis=1)
    put("Split: num_outputs that do not divide", n)
    n = Net(18, seed="unused")
    parts = n.split("x", [1, 3], 1)
    n.add("Relu", parts[1])
    put("Split: one part unread", n)
    for name, indices, axis in (
        ("swapped colours", np.array([2, 1, 0]), 1),
        ("any order", np.array([3, 0, 1, 1, 2]), 1),
        ("one channel", np.array(2), 1),
        ("from the back", np.array([-1, 0]), 3),
        ("a table", np.array([[0, 1], [2, 3]]), 1),
    ):
        n = Net(seed=name)
        n.add("Sigmoid", n.add("Gather", n.add("Relu", "x"), n.keep(indices.astype(np.int64)), axis=axis))
        put(f"Gather: {name}", n)
    for mode in ("edge", "reflect", "constant"):
        for opset in (7, 13):
            n = Net(opset, seed=mode)
            n.conv(n.pad("x", [0, 0, 2, 1, 0, 0, 1, 2], mode=mode), 3, 4, 3, 3)
            put(f"Pad {mode}, opset {opset}", n)
    for name, pads in (
        ("negative", [0, 0, -1, -1, 0, 0, -1, 0]),
        ("negative and positive", [0, 0, -1, 2, 0, 0, 1, -1]),
        ("channels", [0, 0, 0, 0, 0, 3, 0, 0]),
        ("nothing", [0] * 8),
    ):
        n = Net(seed=name)
        n.add("Tanh", n.pad("x", pads))
        put(f"Pad: {name}", n)
    n = Net(18, seed="axes")
    n.add("Pad", "x", n.ints(1, 2), "", n.ints(-1))
    put("Pad: one axis", n)
    for name, target in (
        ("0, -1", (0, -1)),
        ("0, 0, -1", (0, 0, -1)),
        ("-1, 20, 6", (-1, 20, 6)),
        ("1, 2, 60", (1, 2, 60)),
    ):
        n = Net(seed=name)
        n.add("Sigmoid", n.add("Reshape", "x", n.ints(*target)))
        put(f"Reshape to {name}", n)
    for axis in (0, 2, 4, -1, -3):
        n = Net(seed=str(axis))
        n.add("Sigmoid", n.add("Flatten", "x", axis=axis))
        put(f"Flatten at {axis}", n)
    for perm in ([0, 2, 3, 1], [0, 3, 1, 2], [0, 1, 3, 2], None):
        n = Net(seed=str(perm))
        n.add("Tanh", n.add("Transpose", "x", **({} if perm is None else {"perm": perm})))
        put(f"Transpose {perm}", n)
    for name, repeats in (("channels", (1, 2, 1, 1)), ("all", (1, 2, 3, 2))):
        n = Net(seed=name)
        n.add("Tile", "x", n.ints(*repeats))
        put(f"Tile {name}", n)
    n = Net(seed="expand")
    n.add("Sub", "x", n.add("Expand", n.add("GlobalAveragePool", "x"), n.add("Shape", "x")))
    put("Expand to an image", n)
    for axis in (1, -1, 2):
        n = Net(seed=str(axis))
        n.add("Concat", n.conv("x", 4, 4, 1, 1), "x", axis=axis)
        put(f"Concat along {axis}", n)
    n = Net(seed="empty")
    n.add("Concat", "x", n.keep(np.zeros((1, 0, 6, 5), np.float32)), axis=1)
    put("Concat with an empty constant", n)
    n = Net(seed="blaze")
    n.add("Add", n.pad("x", [0, 0, 0, 0, 0, 2, 0, 0]), n.conv("x", 6, 4, 1, 1))
    put("Add of padded channels", n)


def _channels(name: str) -> tuple[int]:
    return ({"last channels": 3, "channels 1 and 3": 2}.get(name, 4),)


def _reductions() -> None:
    for op in ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum", "ReduceL1", "ReduceL2", "ReduceSumSquare"):
        for axes, keepdims in (([2, 3], 1), ([1], 1), ([-1, -2], 0), ([1, 2, 3], 0)):
            n = Net(13, seed=f"{op}{axes}")
            n.reduced(op, n.add("Relu", "x"), axes, keepdims)
            put(f"{op} over {axes}, keepdims {keepdims}", n)
    n = Net(18, seed="noop")
    n.add("Relu", n.add("ReduceSum", "x", noop_with_empty_axes=1))
    put("ReduceSum over no axes", n)
    n = Net(13, seed="all")
    n.add("ReduceMean", "x", keepdims=0)
    put("ReduceMean over everything", n, refused="over all axes leaves no batch")
    n = Net(13, seed="mask")
    n.add("Mul", "x", n.add("Sigmoid", n.reduced("ReduceMean", "x", [1])))
    put("product with a mask", n)
    n = Net(13, seed="nhwc")
    n.reduced("ReduceMean", n.add("Transpose", "x", perm=[0, 2, 3, 1]), [1, 2], 0)
    put("mean of an image in NHWC", n)
    for opset in (7, 11, 13):
        for axis in (1, 2, -1):
            n = Net(opset, seed=str(axis))
            if axis != -1 or opset >= 11:
                n.add("LogSoftmax", n.add("Relu", "x"), axis=axis)
                put(f"LogSoftmax along {axis}, opset {opset}", n)
    for axis in (None, 2, 3):
        n = Net(13, seed=str(axis))
        n.add("Softmax", "x", **({} if axis is None else {"axis": axis}))
        put(f"Softmax along {axis}", n)
    n = Net(11, seed="default")
    n.add("Softmax", "x")
    put("Softmax by default, opset 11", n)
    n = Net(13, (1, 8, 3, 2), seed="pairs")
    pairs = n.add("Reshape", "x", n.ints(1, 2, 4, 6))
    n.slice(n.add("Softmax", pairs, axis=1), [1], [2], [1])
    put("Softmax of a detector's two classes", n)


def _dense() -> None:
    for name, weight, bias, attributes in (
        ("alpha and beta", (5, 12), (5,), {"transB": 1, "alpha": 0.5, "beta": 2.0}),
        ("plain weight", (12, 5), (1, 5), {}),
        ("no bias", (12, 5), None, {}),
        ("one number as bias", (12, 5), (), {}),
    ):
        n = Net(shape=(1, 3, 2, 2), seed=name)
        n.add(
            "Gemm",
            n.flat("x"),
            n.keep(n.floats(*weight)),
            *([n.keep(n.floats(*bias))] if bias is not None else []),
            **attributes,
        )
        put(f"Gemm: {name}", n)
    n = Net(shape=(1, 3, 2, 2), seed="transA")
    n.add("Gemm", n.add("Reshape", "x", n.ints(12, 1)), n.keep(n.floats(12, 5)), transA=1)
    put("Gemm: input transposed", n)
    n = Net(shape=(1, 3, 2, 2), seed="left")
    n.add("Gemm", n.keep(n.floats(5, 12)), n.add("Reshape", "x", n.ints(12, 1)), n.keep(n.floats(5, 1)))
    put("Gemm: weight on the left", n)
    n = Net(shape=(1, 3, 2, 2), seed="left")
    n.add("Gemm", n.keep(n.floats(12, 5)), n.flat("x"), n.keep(n.floats(1, 1)), transA=1, transB=1, alpha=0.5, beta=3.0)
    put("Gemm: weight on the left, all transposed", n)
    n = Net(shape=(1, 3, 2, 2), seed="computed")
    flat = n.flat("x")
    n.add("Gemm", flat, n.keep(n.floats(12, 5)), n.add("Gemm", flat, n.keep(n.floats(12, 5))), beta=0.5)
    put("Gemm: computed bias", n)
    for name, target, weight in (("2", (1, 12), (12, 5)), ("3", (1, 4, 3), (3, 5)), ("4", (1, 3, 2, 2), (2, 5))):
        n = Net(shape=(1, 3, 2, 2), seed=name)
        n.add(
            "Add",
            n.add("MatMul", n.add("Reshape", "x", n.ints(*target)), n.keep(n.floats(*weight))),
            n.keep(n.floats(5)),
        )
        put(f"MatMul of {name} axes, Add", n)
    n = Net(shape=(1, 3, 2, 2), seed="left")
    n.add("MatMul", n.keep(n.floats(4, 3)), n.add("Reshape", "x", n.ints(3, 4)))
    put("MatMul: weight on the left", n)
    n = Net(shape=(1, 3, 4, 4), seed="computed")
    n.add("MatMul", "x", n.add("Relu", "x"))
    put("MatMul of two tensors", n, refused="must be constant")
    for shape in ((4,), (6, 1), (1, 4, 1, 1), (4, 6, 5), (1,)):
        for op in ("Add", "Sub", "Mul", "Div"):
            if shape == (4,):
                continue
            n = Net(seed=f"{op}{shape}")
            n.add(op, n.keep(n.floats(*shape)), n.add("Add", n.add("Abs", "x"), n.number(0.5)))
            put(f"{op} of a constant {shape}", n)


def _files() -> None:
    """What is about the file rather than its ops."""
    n = Net(seed="dead")
    y = n.add("Relu", "x")
    n.add("NonZero", "x")
    put("dead node of an op that is not known", n, y)
    n = Net(seed="dead shapes")
    y = n.conv("x", 3, 4, 1, 1)
    n.add("Gather", n.add("Shape", "x"), n.ints(0))
    put("dead arithmetic of shapes", n, y)
    n = Net(seed="two")
    y = n.conv("x", 3, 4, 1, 1)
    put("two outputs, one inside", n, n.add("Relu", y), y)
    n = Net(seed="input")
    put("an output that is the input", n, n.add("Relu", "x"), "x")
    n = Net(seed="alias")
    y = n.add("Relu", "x")
    put("an output twice", n, y, n.add("Identity", y))
    n = Net(8, seed="weights")
    n.conv("x", 3, 4, 3, 3)
    put("weights among the inputs", n, as_inputs=True)
    n = Net(seed="stored half")
    n.add("Conv", "x", n.add("Cast", n.keep(n.floats(3, 4, 1, 1).astype(np.float16)), to=TensorProto.FLOAT))
    put("weights stored in half precision", n)
    n = Net(seed="quantized")
    weight = n.keep(n.rng.integers(-100, 100, (3, 4, 1, 1)).astype(np.int8))
    scale, zero = n.keep(np.abs(n.floats(3)) / 50), n.keep(np.zeros(3, np.int8))
    n.add("Conv", "x", n.add("DequantizeLinear", weight, scale, zero, axis=0))
    put("weights stored as integers", n)
    n = Net(seed="double")
    n.add("Cast", n.add("Cast", "x", to=TensorProto.DOUBLE), to=TensorProto.FLOAT)
    put("cast to double and back", n)
    n = Net(seed="half")
    n.add("Cast", n.add("Reshape", n.add("Cast", "x", to=TensorProto.FLOAT16), n.ints(1, -1)), to=TensorProto.FLOAT)
    put("cast to half and back", n, refused="rounds numbers to half precision and nothing more; export it without")
    n = Net(seed="whole")
    n.add("Cast", "x", to=TensorProto.INT64)
    put("cast to whole numbers", n, refused="only constants are cast to whole", out_kind=TensorProto.INT64)
    n = Net(seed="constant")
    weight = n.add("Constant", value=numpy_helper.from_array(n.floats(3, 4, 1, 1)))
    n.add("Conv", "x", n.add("Identity", weight))
    put("weights in a Constant", n)
    n = Net(seed="turned")
    n.add("Conv", "x", n.add("Transpose", n.keep(n.floats(2, 2, 4, 3)), perm=[3, 2, 0, 1]))
    put("weights as TensorFlow lays them out", n)
    n = Net(seed="argmax")
    n.add("ArgMax", "x", axis=1)
    put(
        "ArgMax",
        n,
        refused="op not supported; export without it, or name the last tensor before it with --output; supported are",
        out_kind=TensorProto.INT64,
    )
    n = Net(seed="where")
    n.add("Where", n.add("Greater", "x", n.number(0)), "x", n.number(0))
    put("Where", n, refused="supported on constants only; export without it, or name")
    n = Net(13, ("batch", 4, 6, 5), seed="product")
    sizes = n.slice(n.add("Shape", "x"), [1], [4], [0])
    n.add("Reshape", "x", n.add("Concat", n.ints(-1), n.add("ReduceProd", sizes, axes=[0], keepdims=1), axis=0))
    put("Reshape to a product of sizes", n)
    n = Net(13, ("batch", 4, 6, 5), seed="choice")
    wanted = n.add(
        "Where", n.add("Equal", n.ints(1, 4, 6, 5), n.ints(-1, -1, -1, -1)), n.ints(1, 1, 1, 1), n.ints(1, 4, 6, 5)
    )
    n.add("Add", "x", n.add("Expand", n.add("GlobalAveragePool", "x"), wanted))
    put("Expand to sizes chosen by Where", n)
    n = Net(13, seed="nhwc", shape=(1, 6, 5, 3))
    planes = n.add("Transpose", n.add("Sub", "x", n.keep(n.floats(3))), perm=[0, 3, 1, 2])
    back = n.add("Transpose", n.conv(planes, 4, 3, 3, 3, pads=[1, 1, 1, 1]), perm=[0, 2, 3, 1])
    n.add("MatMul", n.add("Reshape", back, n.ints(-1, 120)), n.keep(n.floats(120, 5)))
    put("a net in NHWC", n)
    n = Net(seed="squeeze and excite")
    inner = n.add("Relu", n.conv(n.add("GlobalAveragePool", "x"), 2, 4, 1, 1))
    n.add("Mul", "x", n.add("HardSigmoid", n.conv(inner, 4, 2, 1, 1), alpha=1 / 6))
    put("squeeze and excite", n)
    n = Net(seed="training")
    n.add("BatchNormalization", "x", *(n.keep(np.ones(4, np.float32)) for _ in range(4)), training_mode=1)
    put("batch normalisation in training mode", n, refused="training mode")


for _family in (_activations, _lengths, _windows, _resizes, _moves, _reductions, _dense, _files):
    _family()

"""What changed its form from opset to opset, in every one of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnx_forms.net import IMAGE, OPSETS, Net, put


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

"""What is about the file rather than its ops."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, numpy_helper

from onnx_forms.net import Net, put


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
    for perm in ([0, 2, 3, 1], [0, 3, 2, 1], [0, 1, 3, 2]):
        n = Net(13, seed=f"dense {perm}")
        turned = n.add("Transpose", n.conv("x", 3, 4, 1, 1), perm=perm)
        n.add("Gemm", n.flat(turned), n.keep(n.floats(90, 5)), n.keep(n.floats(5)))
        put(f"dense layer of an image in the order {perm}", n)
        n = Net(13, seed=f"mean {perm}")
        turned = n.add("Transpose", n.conv("x", 3, 4, 1, 1), perm=perm)
        n.reduced("ReduceMean", turned, [axis for axis in (1, 2, 3) if perm[axis] != 1], 0)
        put(f"mean of an image in the order {perm}", n)
    n = Net(seed="squeeze and excite")
    inner = n.add("Relu", n.conv(n.add("GlobalAveragePool", "x"), 2, 4, 1, 1))
    n.add("Mul", "x", n.add("HardSigmoid", n.conv(inner, 4, 2, 1, 1), alpha=1 / 6))
    put("squeeze and excite", n)
    n = Net(seed="training")
    n.add("BatchNormalization", "x", *(n.keep(np.ones(4, np.float32)) for _ in range(4)), training_mode=1)
    put("batch normalisation in training mode", n, refused="training mode")


_files()

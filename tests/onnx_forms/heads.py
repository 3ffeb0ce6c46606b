"""Reductions and dense layers."""

from __future__ import annotations

from typing import Any

from onnx_forms.net import Net, put


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
    for first, kept, second, last in (([3], 1, [2], 1), ([3], 1, [2], 0), ([2], 0, [2], 1), ([1], 0, [1], 0)):
        n = Net(13, seed="in a row")
        n.reduced("ReduceMean", n.reduced("ReduceMean", "x", first, kept), second, last)
        put(f"means in a row: {first}, keepdims {kept}, then {second}, keepdims {last}", n)
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
    for axis in (2, 3):
        n = Net(13, seed=str(axis))
        n.add("Softmax", "x", axis=axis)
        put(f"Softmax along {axis}", n)
    for opset in (11, 13):
        n = Net(opset, seed="default")
        n.add("Softmax", "x")
        put(f"Softmax by default, opset {opset}", n)
    n = Net(13, (1, 8, 3, 2), seed="pairs")
    pairs = n.add("Reshape", "x", n.ints(1, 2, 4, 6))
    n.slice(n.add("Softmax", pairs, axis=1), [1], [2], [1])
    put("Softmax of a detector's two classes", n)


def _dense() -> None:
    gemms: list[tuple[str, tuple[int, ...], tuple[int, ...] | None, dict[str, Any]]] = [
        ("alpha and beta", (5, 12), (5,), {"transB": 1, "alpha": 0.5, "beta": 2.0}),
        ("plain weight", (12, 5), (1, 5), {}),
        ("no bias", (12, 5), None, {}),
        ("one number as bias", (12, 5), (), {}),
    ]
    for name, weight, bias, attributes in gemms:
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


_reductions()
_dense()

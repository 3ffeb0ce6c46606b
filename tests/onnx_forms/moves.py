"""Parts of tensors, borders, orders of axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from onnx_forms.net import Net, put


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
    n = Net(13, seed="crop, depthwise")
    x = n.slice(n.conv("x", 20, 4, 1, 1), [1, 1], [6, 5], [2, 3])
    n.conv(x, 20, 1, 3, 3, group=20, pads=[1, 1, 1, 1])
    put("Slice: crop before a depthwise convolution", n)
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
    for perm in ([0, 2, 3, 1], [0, 3, 1, 2], [0, 1, 3, 2], []):
        n = Net(seed=str(perm))
        order: dict[str, Any] = {"perm": perm} if perm else {}
        n.add("Tanh", n.add("Transpose", "x", **order))
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


_moves()

"""Convolutions, pools, and images of other sizes."""

from __future__ import annotations

from typing import Any

import numpy as np

from onnx_forms.net import Net, put


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
                attributes: dict[str, Any] = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [side] * 4}
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
    convolutions: list[tuple[str, tuple[int, ...], dict[str, Any]]] = [
        ("dilated", (5, 4, 3, 3), {"dilations": [2, 2]}),
        ("uneven pads", (5, 4, 3, 3), {"pads": [0, 1, 2, 3], "strides": [2, 1]}),
        ("groups", (6, 2, 3, 3), {"group": 2, "pads": [1, 1, 1, 1]}),
        ("depthwise, two each", (8, 1, 3, 3), {"group": 4}),
        ("whole image", (4, 1, 6, 5), {"group": 4}),
        ("1x1, stride 2", (3, 4, 1, 1), {"strides": [2, 2]}),
    ]
    for name, shape, given in convolutions:
        n = Net(seed=name)
        n.conv("x", *shape, **given)
        put(f"Conv {name}", n)
    transposed: list[tuple[str, tuple[int, ...], dict[str, Any]]] = [
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
    ]
    for name, shape, given in transposed:
        n = Net(11, seed=name)
        weight, bias = n.keep(n.floats(*shape)), n.keep(n.floats(shape[1] * given.get("group", 1)))
        n.add("ConvTranspose", "x", weight, bias, **given)
        put(f"ConvTranspose {name}", n)
    n = Net(seed="1d")
    n.add("ConvTranspose", "x", n.keep(n.floats(4, 2, 3)))
    put("ConvTranspose of one dimension", n, refused="only two-dimensional images are supported")
    n = Net(seed="dilated pool")
    n.add("MaxPool", "x", kernel_shape=[2, 2], dilations=[2, 2])
    put("MaxPool dilated", n, refused="dilations are not supported in pools; give it")
    for name, weights in (("1x1", (3, 4, 1, 1)), ("depthwise 1x1", (4, 1, 1, 1))):
        n = Net(seed=name)
        n.conv("x", *weights, auto_pad="SAME_UPPER", strides=[2, 1], group=4 // weights[1])
        put(f"Conv SAME_UPPER {name}, stride wider than the window by one", n)
    n = Net(seed="crop")
    n.conv("x", 3, 4, 1, 1, auto_pad="SAME_LOWER", strides=[2, 2])
    put("Conv SAME_LOWER 1x1, stride 2", n, refused="strides wider than the window is not supported; export the pads")
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
    refused: list[tuple[str, dict[str, Any], str]] = [
        ("cubic", {"mode": "cubic"}, "mode cubic of 4 axes; supported are nearest and linear"),
        ("antialias", {"mode": "linear", "antialias": 1}, "antialias is not supported; export it without"),
        (
            "crop and resize",
            {"coordinate_transformation_mode": "tf_crop_and_resize"},
            "tf_crop_and_resize with round_prefer_floor is not supported; known are",
        ),
    ]
    for name, attributes, reason in refused:
        n = Net(18, seed=name)
        roi = n.keep(np.array([0, 0, 0, 0, 1, 1, 1, 1], np.float32)) if "crop" in name else ""
        n.add("Resize", "x", roi, n.keep(np.array([1, 1, 2, 2], np.float32)), **attributes)
        put(f"Resize {name}", n, refused=reason)


_windows()
_resizes()

"""What every op of the table in `ir` needs to know: the shape that it gives, and what it costs.

`OPS` has one entry per op; `reference.KERNELS` runs the same ops with NumPy, `opencl.lower.LOWERINGS` on a device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from facelet.errors import GraphError
from facelet.graph.int8_maps import channels_shape, mul_shape, table_shape
from facelet.graph.ir import ACTIVATIONS, Graph, Node, Shape
from facelet.graph.shapes import (
    axis_shape,
    broadcast,
    concat_shape,
    image_shape,
    pad_shape,
    reduce_shape,
    resample_shape,
    reshape_shape,
    resize_shape,
    slice_shape,
    text,
    transpose_shape,
)

LARGEST_TENSOR = 2**28
"""Elements of one tensor; a file that asks for more is refused before anything is allocated."""

LARGEST_WORK = 2**38
"""Products, or comparisons of a window, of one node; a file that asks for more would not end."""


@dataclass(frozen=True)
class Op:
    """One op.

    Attributes:
        shape: of the output, from the node and its inputs' shapes.
        macs: multiply-accumulates, from the node, its inputs' shapes and the output's.
    """

    shape: Callable[[Node, Sequence[Shape]], Shape]
    macs: Callable[[Node, Sequence[Shape], Shape], int]


def output_shape(node: Node, shapes: Sequence[Shape]) -> Shape:
    """The shape that a node gives.

    Raises:
        GraphError: unknown op, inputs that do not fit it, or a tensor that is empty or too large.
    """
    if node.op not in OPS:
        raise GraphError(f"{node}: op not supported; supported are {', '.join(sorted(OPS))}")
    try:
        shape = OPS[node.op].shape(node, shapes)
    except (IndexError, KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        if isinstance(error, GraphError):
            raise
        raise GraphError(f"{node}: its inputs {text(shapes)} or attributes do not fit ({error})") from error
    if any(size < 1 for size in shape) or math.prod(shape) > LARGEST_TENSOR:
        raise GraphError(
            f"{node}: gives a tensor of {text([shape])}; sizes must be 1 or more and the tensor at most "
            f"{LARGEST_TENSOR} numbers"
        )
    if (work := node_work(node, shapes, shape)) > LARGEST_WORK:
        raise GraphError(f"{node}: needs {work} products; at most {LARGEST_WORK} are run")
    return shape


def node_work(node: Node, shapes: Sequence[Shape], out: Shape) -> int:
    """What a node's sliding windows touch in all; 0 for ops whose work is the size of their tensors."""
    if node.op in ("MaxPool", "AveragePool", "LpPool"):
        return math.prod(out) * int(math.prod(node["kernel"]))
    if node.op == "LRN":
        return math.prod(out) * min(int(node["size"]), 2 * out[1])
    return OPS[node.op].macs(node, shapes, out)


def node_macs(graph: Graph, node: Node) -> int:
    """Multiply-accumulates of one run of a node."""
    return OPS[node.op].macs(node, [graph.shapes[name] for name in node.inputs], graph.shapes[node.output])


def slid_shape(node: Node, x: Shape, kernel: Sequence[int], dilations: Sequence[int] = (1, 1)) -> Shape:
    """Output height and width of a window that slides over an image `(n, c, h, w)`."""
    pads, strides, size = node["pads"], node["strides"], x[2:]
    if min(strides) < 1 or min(kernel) < 1 or min(dilations) < 1 or min(pads) < 0:
        raise GraphError(f"{node}: kernel, strides and dilations must be 1 or more and pads 0 or more")
    out = []
    for axis in (0, 1):
        reach = dilations[axis] * (kernel[axis] - 1) + 1
        room = size[axis] + pads[axis] + pads[axis + 2] - reach
        if room < 0:
            raise GraphError(f"{node}: a window of {reach} does not fit into {size[axis]} pixels with its pads")
        out.append(room // strides[axis] + 1)
    # wide strides make a small output of an image whose border alone would fill the memory
    padded = math.prod(x[:2]) * math.prod(size[axis] + pads[axis] + pads[axis + 2] for axis in (0, 1))
    if padded > LARGEST_TENSOR:
        raise GraphError(f"{node}: pads {tuple(pads)} make an image of {padded} numbers; at most {LARGEST_TENSOR}")
    return tuple(out)


def _conv(node: Node, shapes: Sequence[Shape]) -> Shape:
    x, weight = shapes[:2]
    groups = node["groups"]
    if len(x) != 4 or len(weight) != 4 or groups < 1:
        raise GraphError(f"{node}: needs an image (n, c, h, w) and a kernel of four dimensions, found {text(shapes)}")
    if x[1] != weight[1] * groups or weight[0] % groups:
        raise GraphError(f"{node}: a kernel of {text([weight])} in {groups} group(s) does not fit {x[1]} channels")
    if len(shapes) > 2 and shapes[2] != (weight[0],):
        raise GraphError(f"{node}: a bias of {text([shapes[2]])} does not fit {weight[0]} channels")
    return (x[0], weight[0], *slid_shape(node, x, weight[2:], node["dilations"]))


def _fused_conv(node: Node, shapes: Sequence[Shape]) -> Shape:
    out, activation = _conv(node, shapes[:3]), node["activation"]
    if activation not in ("", *ACTIVATIONS):
        raise GraphError(f"{node}: activation '{activation}' not known; known: {', '.join(ACTIVATIONS)}")
    wanted = 3 + (activation == "PRelu") + bool(node["residual"])
    if len(shapes) != wanted:
        raise GraphError(f"{node}: needs {wanted} inputs, found {len(shapes)}")
    if activation == "PRelu" and shapes[3] != (out[1],):
        raise GraphError(f"{node}: slopes of {text([shapes[3]])} do not fit {out[1]} channels")
    if node["residual"] and shapes[-1] != out:
        raise GraphError(f"{node}: a residual of {text([shapes[-1]])} does not fit its output {text([out])}")
    return out


def _conv_macs(node: Node, shapes: Sequence[Shape], out: Shape) -> int:
    return math.prod(out) * math.prod(shapes[1][1:])


def _pool(node: Node, shapes: Sequence[Shape]) -> Shape:
    x = image_shape(node, shapes)
    kernel, pads = node["kernel"], node["pads"]
    if max(pads[0], pads[2]) >= kernel[0] or max(pads[1], pads[3]) >= kernel[1]:
        raise GraphError(f"{node}: pads {tuple(pads)} must be smaller than the window {tuple(kernel)}")
    return (*x[:2], *slid_shape(node, x, kernel))


def _same(node: Node, shapes: Sequence[Shape]) -> Shape:
    return shapes[0]


def _per_channel(node: Node, shapes: Sequence[Shape]) -> Shape:
    x = shapes[0]
    if len(x) < 2 or any(shape != (x[1],) for shape in shapes[1:]):
        raise GraphError(f"{node}: needs one number per channel of {text([x])}, found {text(shapes[1:])}")
    return x


def _gemm(node: Node, shapes: Sequence[Shape]) -> Shape:
    x, weight, bias = shapes
    if len(x) != 2 or len(weight) != 2 or x[1] != weight[1] or bias != (weight[0],):
        raise GraphError(f"{node}: {text(shapes)} do not fit; needs (n, k), (m, k) and (m)")
    return (x[0], weight[0])


def _lrn(node: Node, shapes: Sequence[Shape]) -> Shape:
    if node["size"] < 1 or node["size"] % 2 == 0:
        raise GraphError(f"{node}: size must be odd and 1 or more, found {node['size']}")
    return image_shape(node, shapes)


def _global_pool(node: Node, shapes: Sequence[Shape]) -> Shape:
    return (*image_shape(node, shapes)[:2], 1, 1)


def _none(node: Node, shapes: Sequence[Shape], out: Shape) -> int:
    return 0


def _gemm_macs(node: Node, shapes: Sequence[Shape], out: Shape) -> int:
    return math.prod(out) * shapes[1][1]


def _int8_conv(node: Node, shapes: Sequence[Shape]) -> Shape:
    out = _conv(node, shapes[:3])
    per_channel = 1 + 2 * bool(node["slopes"])
    wanted = 3 + per_channel + bool(node["residual"])
    if len(shapes) != wanted:
        raise GraphError(f"{node}: needs {wanted} inputs, found {len(shapes)}")
    for shape in shapes[3 : 3 + per_channel]:
        if shape != (out[1],):
            raise GraphError(f"{node}: fractions or slopes of {text([shape])} do not fit {out[1]} channels")
    if node["residual"] and shapes[-1] != out:
        raise GraphError(f"{node}: a residual of {text([shapes[-1]])} does not fit its output {text([out])}")
    return out


OPS: dict[str, Op] = {
    "Conv": Op(_conv, _conv_macs),
    "FusedConv": Op(_fused_conv, _conv_macs),
    "BatchNormalization": Op(_per_channel, _none),
    "Relu": Op(_same, _none),
    "LeakyRelu": Op(_same, _none),
    "Clip": Op(_same, _none),
    "PRelu": Op(_per_channel, _none),
    "Sigmoid": Op(_same, _none),
    "HardSwish": Op(_same, _none),
    "Sqrt": Op(_same, _none),
    "Tanh": Op(_same, _none),
    "Abs": Op(_same, _none),
    "Exp": Op(_same, _none),
    "Log": Op(_same, _none),
    "Erf": Op(_same, _none),
    "Add": Op(broadcast, _none),
    "Sub": Op(broadcast, _none),
    "Mul": Op(broadcast, _none),
    "Div": Op(broadcast, _none),
    "Pow": Op(broadcast, _none),
    "Max": Op(broadcast, _none),
    "Min": Op(broadcast, _none),
    "Concat": Op(concat_shape, _none),
    "MaxPool": Op(_pool, _none),
    "AveragePool": Op(_pool, _none),
    "LpPool": Op(_pool, _none),
    "GlobalAveragePool": Op(_global_pool, _none),
    "LRN": Op(_lrn, _none),
    "Gemm": Op(_gemm, _gemm_macs),
    "Reshape": Op(reshape_shape, _none),
    "Transpose": Op(transpose_shape, _none),
    "Pad": Op(pad_shape, _none),
    "Slice": Op(slice_shape, _none),
    "Resize": Op(resize_shape, _none),
    "Resample": Op(resample_shape, _none),
    "ReduceL2": Op(reduce_shape, _none),
    "ReduceSum": Op(reduce_shape, _none),
    "ReduceMean": Op(reduce_shape, _none),
    "ReduceMax": Op(reduce_shape, _none),
    "ReduceMin": Op(reduce_shape, _none),
    "LpNormalization": Op(axis_shape, _none),
    "Softmax": Op(axis_shape, _none),
    "QuantizeLinear": Op(_same, _none),
    "DequantizeLinear": Op(_same, _none),
    "Int8Conv": Op(_int8_conv, _conv_macs),
    "Int8Table": Op(table_shape, _none),
    "Int8Mul": Op(mul_shape, _none),
    "Table": Op(table_shape, _none),
    "Channels": Op(channels_shape, _none),
}
"""MACs count the products of convolutions and dense layers, as the field does; the rest is memory traffic."""

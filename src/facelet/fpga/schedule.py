"""Graph -> the layers that the engine runs, one after another.

Concatenation and reshaping are addressing and cost nothing; a product with one constant goes into the requantization
of the layer before; what an int8 network computes with floats behind its integers, such as the final unit length, is
left to the host. A Gemm is a 1x1 convolution, an average pool a depthwise one, and a border of zeros, an addition or an
activation on its own a depthwise one of one tap.
"""

from __future__ import annotations

import math

from facelet.errors import GraphError
from facelet.fpga.cost import DENSE, DEPTHWISE, POOL, LayerShape
from facelet.graph.int8 import is_int8, tensor_fractions
from facelet.graph.ir import Graph, Node

FREE = ("Concat", "Reshape", "LpNormalization", "QuantizeLinear", "DequantizeLinear")
ACTIVATIONS = ("", "Relu", "Clip", "PRelu", "LeakyRelu")
POINTWISE = ("Relu", "Clip", "PRelu", "LeakyRelu", "BatchNormalization", "Pad")
PRUNABLE = ("LRN", "Pow", "Sqrt", "LpPool")


OTHERWISE = "run the model with --backend opencl, or export it with: facelet fpga export --flavour c"
"""What helps where the engine lacks a layer."""


def layer_shapes(graph: Graph) -> tuple[LayerShape, ...]:
    """The layers of an optimised graph, in order.

    Raises:
        GraphError: a layer that the engine does not run, with the reason.
    """
    shapes = []
    engine = tensor_fractions(graph) if is_int8(graph) else graph.shapes
    for node in graph.nodes:
        if node.output not in engine or node.op in FREE or _is_scaling(graph, node):
            continue
        if node.op in PRUNABLE:
            raise GraphError(
                f"{graph.name}: {node} is no layer of the engine; remove it first: facelet prune MODEL --out FILE"
            )
        shapes.append(_shape(graph, node))
    return tuple(shapes)


def _shape(graph: Graph, node: Node) -> LayerShape:
    x, out = graph.shapes[node.inputs[0]], graph.shapes[node.output]
    if node.op == "Gemm":
        return LayerShape(node.output, DENSE, x[1], out[1], out[0], 1)
    if len(out) != 4:
        raise GraphError(f"{graph.name}: {node} works on {len(out)} axes; the engine runs images (n, c, h, w)")
    if node.op in ("Conv", "FusedConv", "Int8Conv"):
        return _convolution(graph, node)
    rows, columns = out[0] * out[2], out[3]
    if node.op == "GlobalAveragePool":
        return LayerShape(node.output, DEPTHWISE, x[1], out[1], rows, columns, x[2], x[3])
    if node.op in ("AveragePool", "MaxPool"):
        kind = DEPTHWISE if node.op == "AveragePool" else POOL
        kernel, stride = node["kernel"], node["strides"][1]
        return LayerShape(node.output, kind, x[1], out[1], rows, columns, kernel[0], kernel[1], stride)
    if node.op in POINTWISE:
        return LayerShape(node.output, DEPTHWISE, x[1], out[1], rows, columns)
    if node.op == "Add" and all(graph.shapes[name] == out for name in node.inputs):
        return LayerShape(node.output, DEPTHWISE, x[1], out[1], rows, columns, residual=True)
    raise GraphError(
        f"{graph.name}: {node} is not a layer of the engine, which runs convolutions, pools and Gemm; {OTHERWISE}"
    )


def _convolution(graph: Graph, node: Node) -> LayerShape:
    x, weight = graph.shapes[node.inputs[0]], graph.shapes[node.inputs[1]]
    out = graph.shapes[node.output]
    if max(node["dilations"]) > 1:
        raise GraphError(f"{graph.name}: {node} is dilated; the engine's windows are not; {OTHERWISE}")
    if (activation := node.attributes.get("activation", "")) not in ACTIVATIONS:
        raise GraphError(
            f"{graph.name}: {node} ends in {activation}; the engine offers {', '.join(ACTIVATIONS[1:])}; {OTHERWISE}"
        )
    depthwise = node["groups"] == x[1] == out[1] and x[1] > 1
    return LayerShape(
        name=node.output,
        kind=DEPTHWISE if depthwise else DENSE,
        in_channels=x[1],
        out_channels=out[1],
        out_h=out[0] * out[2],
        out_w=out[3],
        kernel_h=weight[2],
        kernel_w=weight[3],
        stride_w=node["strides"][1],
        groups=1 if depthwise else node["groups"],
        residual=bool(node.attributes.get("residual", False)),
    )


def _is_scaling(graph: Graph, node: Node) -> bool:
    """A product or quotient with one constant number."""
    return node.op in ("Mul", "Div") and any(
        name in graph.constants and math.prod(graph.shapes[name]) == 1 for name in node.inputs
    )

"""ONNX out: `write_graph` makes a model that any runtime can run."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from facelet.graph.int8 import MOVERS
from facelet.graph.ir import Graph, Node
from facelet.graph.onnx_int8 import (
    write_dequantize,
    write_int8_conv,
    write_int8_mul,
    write_int8_table,
    write_moved,
    write_quantize,
)
from facelet.graph.onnx_nodes import REDUCTIONS, Writer, scales_suffice

OPSET = 18
"""Of files that `write_graph` makes."""

BINARY = ("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min")


def write_graph(graph: Graph) -> onnx.ModelProto:
    """An ONNX model of a graph, with its metadata; the batch is open unless a node depends on it."""
    writer = Writer(graph)
    for node in graph.nodes:
        _add(writer, node)
    open_batch = _keeps_batch_open(graph)

    def value(name: str) -> onnx.ValueInfoProto:
        shape: list[int | str] = list(graph.shapes[name])
        if open_batch:
            shape[0] = "n"
        kind = TensorProto.INT8 if name in writer.fractions else TensorProto.FLOAT
        return helper.make_tensor_value_info(name, kind, shape)

    proto = helper.make_graph(
        writer.nodes,
        graph.name,
        [value(name) for name in graph.inputs],
        [value(name) for name in graph.outputs],
        writer.read_initializers(),
    )
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    model.producer_name = "facelet"
    for key, text in graph.metadata.items():
        model.metadata_props.add(key=key, value=text)
    return model


def _add(writer: Writer, node: Node) -> None:
    """Adds what a node is in ONNX, integers among them."""
    if node.op == "Int8Conv":
        write_int8_conv(writer, node)
    elif node.op == "QuantizeLinear":
        write_quantize(writer, node.inputs[0], node["fraction"], node.output)
    elif node.op == "DequantizeLinear":
        write_dequantize(writer, node.inputs[0], node["fraction"], node.output)
    elif node.op == "Int8Mul":
        write_int8_mul(writer, node)
    elif node.op == "Int8Table":
        write_int8_table(writer, node)
    elif node.op in MOVERS and node.output in writer.fractions:
        write_moved(writer, node, writer.fractions[node.output])
    else:
        writer.plain(node)


def _keeps_batch_open(graph: Graph) -> bool:
    """Whether every node does the same to each image, so that the file may run any number of them."""
    if any(graph.shapes[name][:1] != (graph.batch,) for name in (*graph.inputs, *(n.output for n in graph.nodes))):
        return False
    for node in graph.nodes:
        fixed = [graph.shapes[name] for name in node.inputs if name in graph.constants]
        fed = [graph.shapes[name] for name in node.inputs if name not in graph.constants]
        rank = len(graph.shapes[node.output])
        if (
            (node.op == "Transpose" and node["perm"][0] != 0)
            or (node.op == "Concat" and (node["axis"] == 0 or fixed))
            or (node.op in ("LpNormalization", "Softmax") and node["axis"] == 0)
            or (node.op in REDUCTIONS and 0 in node["axes"])
            or (node.op == "Slice" and (node["starts"][0], node["steps"][0]) != (0, 1))
            or (node.op == "Resample" and not scales_suffice(node, graph.shapes[node.inputs[0]]))
            or (node.op in BINARY and any(len(s) == rank and s[0] != 1 for s in fixed))
            or (node.op in BINARY and any(len(s) != rank for s in fed))  # its batch lies at another axis of the output
        ):
            return False
    return True

"""`Writer`: the ONNX nodes and initializers that a graph of float32 numbers becomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from facelet.graph.int8 import check_int8, tensor_fractions
from facelet.graph.ir import ACTIVATIONS, Array, Graph, Node, Shape

REDUCTIONS = ("ReduceL2", "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin")
"""Ops whose axes are an input in ONNX."""


class Writer:
    """Collects the ONNX nodes and initializers of a graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = check_int8(graph)
        self.fractions = tensor_fractions(graph)
        self.shapes = dict(graph.shapes)
        self.nodes: list[onnx.NodeProto] = []
        self._arrays: dict[str, np.ndarray[Any, Any]] = dict(graph.constants)
        self._taken = {*graph.shapes}

    def read_initializers(self) -> list[TensorProto]:
        """Those that the nodes read: a PRelu's slopes, for one, are written in another shape."""
        read = {name for node in self.nodes for name in node.input}
        return [
            numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
            for name, array in self._arrays.items()
            if name in read
        ]

    def fresh(self, name: str) -> str:
        """A name like this one that nothing in the graph has."""
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name

    def constant(self, name: str, array: Array | np.ndarray[Any, Any]) -> str:
        """Adds an initializer; returns its name."""
        name = self.fresh(name)
        self._arrays[name] = array
        return name

    def add(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Adds a node; returns its output."""
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=output, **attributes))
        return output

    def plain(self, node: Node) -> None:
        """Adds what a node of float32 numbers is in ONNX."""
        out, inputs, attributes = node.output, list(node.inputs), node.attributes
        if node.op in ("Conv", "FusedConv"):
            self._conv(node)
        elif node.op in ACTIVATIONS:
            self.activation(node.op, attributes, inputs, out)
        elif node.op in ("MaxPool", "AveragePool", "LpPool"):
            extra = {name: int(attributes[name]) for name in ("count_include_pad", "p") if name in attributes}
            window = {
                "kernel_shape": attributes["kernel"],
                "strides": attributes["strides"],
                "pads": attributes["pads"],
            }
            self.add(node.op, inputs, out, **window, **extra)
        elif node.op == "Gemm":
            self.add("Gemm", inputs, out, transB=1)
        elif node.op == "Reshape":
            self.add("Reshape", [inputs[0], self._ints(out, self._kept_batch(node))], out)
        elif node.op == "Pad":
            value = self.constant(f"{out}.value", np.array(attributes["value"], np.float32))
            self.add("Pad", [inputs[0], self._ints(out, attributes["pads"]), value], out, mode="constant")
        elif node.op == "Resize":
            scales = np.array([1, 1, attributes["scale_h"], attributes["scale_w"]], np.float32)
            how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
            self.add("Resize", [inputs[0], "", self.constant(f"{out}.scales", scales)], out, **how)
        elif node.op == "Resample":
            self._resample(node)
        elif node.op == "Channels":
            self.add("Gather", [inputs[0], self._ints(out, attributes["order"])], out, axis=1)
        elif node.op == "Slice":
            self._slice(node)
        elif node.op in REDUCTIONS:
            self.add(node.op, [inputs[0], self._ints(out, attributes["axes"])], out, keepdims=int(node["keepdims"]))
        elif node.op == "LpNormalization":
            length = self.add(
                "ReduceL2", [inputs[0], self._ints(out, [node["axis"]])], self.fresh(f"{out}.length"), keepdims=1
            )
            if node["epsilon"]:
                low = self.constant(f"{out}.epsilon", np.array(node["epsilon"], np.float32))
                length = self.add("Clip", [length, low], self.fresh(f"{out}.clipped"))
            self.add("Div", [inputs[0], length], out)
        else:  # the same in ONNX: attributes keep their names
            self.add(node.op, inputs, out, **attributes)

    def activation(self, op: str, attributes: Mapping[str, Any], inputs: Sequence[str], out: str) -> None:
        """Adds an activation; `inputs` are the tensor and, for PRelu, its slopes."""
        if op == "Clip":
            low = self.constant(f"{out}.min", np.array(attributes["min"], np.float32))
            high = self.constant(f"{out}.max", np.array(attributes["max"], np.float32))
            self.add("Clip", [inputs[0], low, high], out)
        elif op == "PRelu":
            rank = len(self.graph.shapes[out])
            slope = self.graph.constants[inputs[1]].reshape(-1, *([1] * (rank - 2)))
            self.add("PRelu", [inputs[0], self.constant(f"{inputs[1]}.of.{out}", slope)], out)
        elif op == "LeakyRelu":
            self.add(op, inputs[:1], out, alpha=attributes["alpha"])
        else:
            self.add(op, inputs[:1], out)

    def _conv(self, node: Node) -> None:
        fused = node.op == "FusedConv"
        activation, residual = (node["activation"], node["residual"]) if fused else ("", False)
        window = {
            "kernel_shape": self.graph.shapes[node.inputs[1]][2:],
            "strides": node["strides"],
            "pads": node["pads"],
            "dilations": node["dilations"],
            "group": node["groups"],
        }
        name = self.fresh(f"{node.output}.conv") if activation or residual else node.output
        self.add("Conv", node.inputs[:3], name, **window)
        if residual:
            total = self.fresh(f"{node.output}.sum") if activation else node.output
            name = self.add("Add", [name, node.inputs[-1]], total)
        if activation:
            self.activation(activation, node.attributes, [name, *node.inputs[3:4]], node.output)

    def _slice(self, node: Node) -> None:
        """A Slice of the axes of which something is left out, so that the batch stays open."""
        whole = self.shapes[node.inputs[0]]
        parts = list(enumerate(zip(node["starts"], node["steps"], node["sizes"], strict=True)))
        cut = [(axis, *part) for axis, part in parts if part != (0, 1, whole[axis])]
        ends = [start + step * size for _, start, step, size in cut]
        # backwards to the first number: its end lies before the axis, which only a number below all sizes says
        ends = [end if end >= 0 else -(2**31) for end in ends]
        lists = ([start for _, start, _, _ in cut], ends, [axis for axis, *_ in cut], [step for _, _, step, _ in cut])
        self.add("Slice", [node.inputs[0], *(self._ints(node.output, numbers) for numbers in lists)], node.output)

    def _resample(self, node: Node) -> None:
        """A Resize by scales, which leave the batch open, or to sizes where the scales would give others."""
        how = {"mode": node["mode"], "coordinate_transformation_mode": node["coordinates"]}
        if node["mode"] == "nearest":
            how["nearest_mode"] = node["nearest"]
        if scales_suffice(node, self.shapes[node.inputs[0]]):
            scales = np.array([1, 1, node["scale_h"], node["scale_w"]], np.float32)
            self.add("Resize", [node.inputs[0], "", self.constant(f"{node.output}.scales", scales)], node.output, **how)
        else:
            sizes = self._ints(node.output, self.shapes[node.output])
            self.add("Resize", [node.inputs[0], "", "", sizes], node.output, **how)

    def _ints(self, output: str, values: Sequence[int]) -> str:
        return self.constant(f"{output}.numbers", np.array(values, np.int64))

    def _kept_batch(self, node: Node) -> list[int]:
        """A Reshape's target; 0 copies the batch where it stays in front."""
        shape = list(node["shape"])
        same = bool(shape) and self.shapes[node.inputs[0]][:1] == tuple(shape[:1]) == (self.graph.batch,)
        return [0, *shape[1:]] if same else shape


def scales_suffice(node: Node, shape: Shape) -> bool:
    """Whether the scales of a Resample alone give its height and width from an image of that shape."""
    pairs = ((node["scale_h"], shape[2], node["height"]), (node["scale_w"], shape[3], node["width"]))
    return all(int(np.float32(scale) * np.float32(old)) == new for scale, old, new in pairs)

"""A graph as a torch module, so that a net of which only the file is left can be trained further.

Weights, biases and slopes become parameters, all other constants buffers; the batch is free.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from facelet.errors import GraphError
from facelet.graph.int8 import HIGHEST, LOWEST
from facelet.graph.int8_maps import ENTRIES, mul_shift
from facelet.graph.ir import Graph, Node
from facelet.graph.resample import node_taps
from facelet.nets.prelu import prelu

TRAINED = ("Conv", "FusedConv", "Gemm", "PRelu")
"""Ops whose constants are learned."""


class GraphNet(nn.Module):
    """Runs a graph in torch.

    Args:
        graph: of one input and one output, which keep their batch in front from end to end.

    Raises:
        GraphError: another form of graph.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        learned = {name for node in graph.nodes if node.op in TRAINED for name in node.inputs}
        self._keys = {name: f"t{position}" for position, name in enumerate(graph.constants)}
        if len(graph.inputs) != 1 or len(graph.outputs) != 1:
            raise GraphError(
                f"{graph.name}: has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs; "
                "a net that is trained has one of each"
            )
        for node in graph.nodes:
            if node.op not in FORWARD:
                raise GraphError(f"{graph.name}: {node} cannot be trained; ops that can are {', '.join(FORWARD)}")
            if graph.shapes[node.output][:1] != (graph.batch,):
                raise GraphError(
                    f"{graph.name}: {node} mixes the images of a batch, so it cannot be trained in batches"
                )
        for name, array in graph.constants.items():
            value = torch.from_numpy(np.array(array))
            if name in learned:
                self.register_parameter(self._keys[name], nn.Parameter(value))
            else:
                self.register_buffer(self._keys[name], value)

    def tensor(self, name: str) -> Tensor:
        """A constant of the graph as it is now."""
        value: Tensor = getattr(self, self._keys[name])
        return value

    def forward(self, x: Tensor) -> Tensor:
        """The graph's first output, `(n, ...)`, of `(n, 3, height, width)`."""
        values = {name: self.tensor(name) for name in self._keys}
        values[self.graph.inputs[0]] = x
        for node in self.graph.nodes:
            values[node.output] = FORWARD[node.op](node, [values[name] for name in node.inputs])
        return values[self.graph.outputs[0]]

    def trained_graph(self) -> Graph:
        """The graph with the weights as they are now."""
        constants = {n: np.asarray(self.tensor(n).detach().numpy().copy()) for n in self._keys}
        return self.graph.with_nodes(self.graph.nodes, constants=constants)


def _padded(x: Tensor, node: Node, value: float = 0.0) -> Tensor:
    top, left, bottom, right = node["pads"]
    return functional.pad(x, (left, right, top, bottom), value=value) if any(node["pads"]) else x


def _conv(node: Node, inputs: list[Tensor]) -> Tensor:
    x, weight, bias = inputs[:3]
    top, left, bottom, right = node["pads"]
    even = (top, left) == (bottom, right)
    x, pads = (x, (top, left)) if even else (_padded(x, node), (0, 0))
    return functional.conv2d(x, weight, bias, tuple(node["strides"]), pads, tuple(node["dilations"]), node["groups"])


def _batch_normalization(node: Node, inputs: list[Tensor]) -> Tensor:
    """The statistics of the file stay as they are: the net is trained as it will be run."""
    x, scale, bias, mean, variance = inputs
    factor = scale / (variance + node["epsilon"]).sqrt()  # torch's own refuses an epsilon of 0, which fused files have
    shape = (1, -1, *[1] * (x.ndim - 2))
    out: Tensor = x * factor.reshape(shape) + (bias - mean * factor).reshape(shape)
    return out


def _fused_conv(node: Node, inputs: list[Tensor]) -> Tensor:
    out = _conv(node, inputs)
    if node["residual"]:
        out = out + inputs[-1]
    return FORWARD[node["activation"]](node, [out, *inputs[3:4]]) if node["activation"] else out


def _average_pool(node: Node, inputs: list[Tensor]) -> Tensor:
    kernel, strides = tuple(node["kernel"]), tuple(node["strides"])
    if kernel == tuple(inputs[0].shape[2:]) and not any(node["pads"]):  # torch takes one thread for each mean otherwise
        return inputs[0].mean((2, 3), keepdim=True)
    mean = functional.avg_pool2d(_padded(inputs[0], node), kernel, strides)
    if node["count_include_pad"] or not any(node["pads"]):
        return mean
    filled = functional.avg_pool2d(_padded(torch.ones_like(inputs[0][:1, :1]), node), kernel, strides)
    return mean / filled


def _lp_pool(node: Node, inputs: list[Tensor]) -> Tensor:
    kernel, power = tuple(node["kernel"]), node["p"]
    mean = functional.avg_pool2d(_padded(inputs[0], node).abs().pow(power), kernel, tuple(node["strides"]))
    length: Tensor = (mean * math.prod(kernel)).pow(1 / power)
    return length


def _lrn(node: Node, inputs: list[Tensor]) -> Tensor:
    return functional.local_response_norm(inputs[0], node["size"], node["alpha"], node["beta"], node["bias"])


def _reshape(node: Node, inputs: list[Tensor]) -> Tensor:
    return inputs[0].reshape(-1, *node["shape"][1:])


def _pad(node: Node, inputs: list[Tensor]) -> Tensor:
    pads, rank = node["pads"], inputs[0].ndim
    backwards = [side for axis in reversed(range(rank)) for side in (pads[axis], pads[axis + rank])]
    return functional.pad(inputs[0], backwards, value=node["value"])


def _slice(node: Node, inputs: list[Tensor]) -> Tensor:
    """A part of every image; the batch stays whole."""
    out = inputs[0]
    for axis, (start, step, size) in enumerate(zip(node["starts"], node["steps"], node["sizes"], strict=True)):
        if axis and (start, step, size) != (0, 1, out.shape[axis]):
            out = out.index_select(axis, torch.arange(size, device=out.device) * step + start)
    return out


def _resample(node: Node, inputs: list[Tensor]) -> Tensor:
    out = inputs[0]
    for axis, taps in zip((2, 3), node_taps(node, *out.shape[2:]), strict=True):
        first, second = (torch.from_numpy(places).to(out.device) for places in (taps.first, taps.second))
        weight = torch.from_numpy(taps.weight).to(out.device).reshape(-1, *[1] * (3 - axis))
        out = torch.lerp(out.index_select(axis, first), out.index_select(axis, second), weight)
    return out


def _normalized(node: Node, inputs: list[Tensor]) -> Tensor:
    return functional.normalize(inputs[0], dim=node["axis"], eps=node["epsilon"])


def _int8_conv(node: Node, inputs: list[Tensor]) -> Tensor:
    """Integers in float32, which holds every sum; see `graph.int8`."""
    fractions, shape = inputs[3], (1, -1, 1, 1)
    out = _conv(node, inputs)
    if node["residual"]:
        out = out + inputs[-1] * torch.exp2(fractions + node["x_fraction"] - node["residual_fraction"]).reshape(shape)
    shift = (fractions + node["x_fraction"] - node["fraction"]).reshape(shape)
    if node["slopes"]:
        slopes, own = inputs[4].reshape(shape), inputs[5].reshape(shape)
        out, shift = torch.where(out < 0, out * slopes, out), torch.where(out < 0, shift + own, shift)
    return torch.round(out * torch.exp2(-shift)).clamp(node["low"], node["high"])


def run_table(x: Tensor, table: Tensor) -> Tensor:
    """The entry of each integer in [-128, 127]; see `int8_maps`."""
    found: Tensor = table[(x.long() + ENTRIES // 2).clamp(0, ENTRIES - 1)]
    return found


def _int8_mul(node: Node, inputs: list[Tensor]) -> Tensor:
    return torch.round(inputs[0] * inputs[1] * 2.0 ** -mul_shift(node)).clamp(LOWEST, HIGHEST)


FORWARD: dict[str, Callable[[Node, list[Tensor]], Tensor]] = {
    "Conv": _conv,
    "FusedConv": _fused_conv,
    "BatchNormalization": _batch_normalization,
    "Relu": lambda node, inputs: functional.relu(inputs[0]),
    "Clip": lambda node, inputs: (
        inputs[0].clamp(
            None if node["min"] == -math.inf else node["min"], None if node["max"] == math.inf else node["max"]
        )
        if math.isfinite(node["min"]) or math.isfinite(node["max"])
        else inputs[0]
    ),
    "PRelu": lambda node, inputs: prelu(inputs[0], inputs[1]),
    "LeakyRelu": lambda node, inputs: functional.leaky_relu(inputs[0], node["alpha"]),
    "Sigmoid": lambda node, inputs: inputs[0].sigmoid(),
    "HardSwish": lambda node, inputs: functional.hardswish(inputs[0]),
    "Sqrt": lambda node, inputs: inputs[0].sqrt(),
    "Tanh": lambda node, inputs: inputs[0].tanh(),
    "Abs": lambda node, inputs: inputs[0].abs(),
    "Exp": lambda node, inputs: inputs[0].exp(),
    "Log": lambda node, inputs: inputs[0].log(),
    "Erf": lambda node, inputs: inputs[0].erf(),
    "Add": lambda node, inputs: inputs[0] + inputs[1],
    "Sub": lambda node, inputs: inputs[0] - inputs[1],
    "Mul": lambda node, inputs: inputs[0] * inputs[1],
    "Div": lambda node, inputs: inputs[0] / inputs[1],
    "Pow": lambda node, inputs: inputs[0] ** inputs[1],
    "Max": lambda node, inputs: torch.maximum(inputs[0], inputs[1]),
    "Min": lambda node, inputs: torch.minimum(inputs[0], inputs[1]),
    "Concat": lambda node, inputs: torch.cat(inputs, node["axis"]),
    "MaxPool": lambda node, inputs: functional.max_pool2d(
        _padded(inputs[0], node, -math.inf), tuple(node["kernel"]), tuple(node["strides"])
    ),
    "AveragePool": _average_pool,
    "LpPool": _lp_pool,
    "GlobalAveragePool": lambda node, inputs: inputs[0].mean((2, 3), keepdim=True),
    "LRN": _lrn,
    "Gemm": lambda node, inputs: functional.linear(inputs[0], inputs[1], inputs[2]),
    "Reshape": _reshape,
    "Transpose": lambda node, inputs: inputs[0].permute(tuple(node["perm"])),
    "Pad": _pad,
    "Slice": _slice,
    "Resample": _resample,
    "Resize": lambda node, inputs: (
        inputs[0].repeat_interleave(node["scale_h"], 2).repeat_interleave(node["scale_w"], 3)
    ),
    "ReduceL2": lambda node, inputs: inputs[0].norm(dim=tuple(node["axes"]), keepdim=node["keepdims"]),
    "ReduceSum": lambda node, inputs: inputs[0].sum(dim=tuple(node["axes"]), keepdim=node["keepdims"]),
    "ReduceMean": lambda node, inputs: inputs[0].mean(dim=tuple(node["axes"]), keepdim=node["keepdims"]),
    "ReduceMax": lambda node, inputs: inputs[0].amax(dim=tuple(node["axes"]), keepdim=node["keepdims"]),
    "ReduceMin": lambda node, inputs: inputs[0].amin(dim=tuple(node["axes"]), keepdim=node["keepdims"]),
    "LpNormalization": _normalized,
    "Softmax": lambda node, inputs: inputs[0].softmax(node["axis"]),
    "QuantizeLinear": lambda node, inputs: torch.round(inputs[0] * 2.0 ** node["fraction"]).clamp(LOWEST, HIGHEST),
    "DequantizeLinear": lambda node, inputs: inputs[0] * 2.0 ** -node["fraction"],
    "Int8Conv": _int8_conv,
    "Int8Table": lambda node, inputs: run_table(*inputs),
    "Int8Mul": _int8_mul,
    "Table": lambda node, inputs: run_table(*inputs),
    "Channels": lambda node, inputs: inputs[0][:, list(node["order"])],
}
"""How torch runs each op of `ops.OPS`."""

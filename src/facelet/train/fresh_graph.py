"""A net of a graph's shape with first weights: what is known as a file alone is trained from scratch."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from facelet.graph.ir import Array, Graph, Node
from facelet.graph.passes import optimise
from facelet.train.graph_net import FORWARD, GraphNet

CONVOLUTIONS = ("Conv", "FusedConv")
FIRST_SLOPE = 0.25


class FreshNet(nn.Module):
    """Runs a graph with weights drawn anew and a batch norm behind every convolution, as the nets of `nets` are made.

    Args:
        graph: of which the shape is taken.
        seed: of the weights.

    Raises:
        GraphError: as `GraphNet`.
    """

    def __init__(self, graph: Graph, seed: int) -> None:
        super().__init__()
        self.graph = optimise(graph)
        torch.manual_seed(seed)
        self.net = GraphNet(self.graph)
        with torch.no_grad():
            for parameter in self.net.parameters():
                if parameter.ndim > 1:
                    nn.init.kaiming_uniform_(parameter, a=math.sqrt(5))
                else:
                    parameter.zero_()
            for node in self.graph.nodes:
                if slopes := _slopes(node):
                    self.net.tensor(slopes).fill_(FIRST_SLOPE)
        self.norms = nn.ModuleDict(
            {
                f"n{place}": nn.BatchNorm2d(self.graph.shapes[node.output][1])
                for place, node in enumerate(self.graph.nodes)
                if node.op in CONVOLUTIONS
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        """The graph's output, `(n, ...)`, of `(n, 3, height, width)`."""
        values = {self.graph.inputs[0]: x}
        for place, node in enumerate(self.graph.nodes):
            inputs = [values[name] if name in values else self.net.tensor(name) for name in node.inputs]
            if node.op not in CONVOLUTIONS:
                values[node.output] = FORWARD[node.op](node, inputs)
                continue
            out = self.norms[f"n{place}"](FORWARD["Conv"](node, inputs[:3]))
            if node.op == "FusedConv":
                out = out + inputs[-1] if node["residual"] else out
                out = FORWARD[node["activation"]](node, [out, *inputs[3:4]]) if node["activation"] else out
            values[node.output] = out
        return values[self.graph.outputs[0]]

    def trained_graph(self) -> Graph:
        """The graph with the weights as they are now, batch norms folded."""
        trained = self.net.trained_graph()
        constants: dict[str, Array] = {}
        nodes = []
        for place, node in enumerate(trained.nodes):
            if node.op in CONVOLUTIONS:
                names = f"{node.output}.weight'", f"{node.output}.bias'"
                weight, bias = (self.net.tensor(name).detach() for name in node.inputs[1:3])
                factor, shift = _affine(self.norms[f"n{place}"])
                constants[names[0]] = (weight * factor.reshape(-1, 1, 1, 1)).contiguous().numpy()
                constants[names[1]] = (bias * factor + shift).numpy()
                node = replace(node, inputs=(node.inputs[0], *names, *node.inputs[3:]))
            nodes.append(node)
        return trained.with_nodes(nodes, constants=constants)


def _affine(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """The factor and the shift of each channel that a batch norm stands for, `(c,)` each."""
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    factor = norm.weight.detach() / (norm.running_var + norm.eps).sqrt()
    return factor, norm.bias.detach() - norm.running_mean * factor


def _slopes(node: Node) -> str:
    """The constant with the slopes of a node's PRelu; empty where it has none."""
    if node.op == "PRelu":
        return node.inputs[1]
    return node.inputs[3] if node.op == "FusedConv" and node["activation"] == "PRelu" else ""

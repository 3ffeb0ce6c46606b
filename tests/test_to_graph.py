"""Invariant: a net's graph computes what the net computes, or the net is refused by the name of the part."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from facelet.errors import GraphError
from facelet.graph.reference import run
from facelet.nets.layers import DepthConcat, Flatten, L2Normalize, L2Pool2d, Sum, conv_bn
from facelet.nets.prelu import PReLU
from facelet.nets.to_graph import graph_of


class Branched(nn.Module):
    """Modules that run twice, in place, or not at all; a border, a sum, kernels and strides of two numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = conv_bn(3, 6, 3, 2, bias=True, activation=PReLU)
        self.twice = nn.MaxPool2d((3, 1), (1, 1), (1, 0))
        self.relu = nn.ReLU(inplace=True)
        self.power = L2Pool2d(3, 3)
        self.odd = nn.Conv2d(6, 6, (1, 3), (1, 1), (0, 1), bias=False)
        self.sum, self.join, self.nothing = Sum(), DepthConcat(), nn.Identity()
        self.flatten, self.dense, self.normalize = Flatten(), nn.Linear(12 * 49, 5), L2Normalize()
        self.never = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y = self.relu(self.odd(self.nothing(self.twice(self.twice(x)))))
        y = self.join([self.sum(x, y), self.power(x)])
        out: Tensor = self.normalize(self.dense(self.flatten(y)))
        return out


def test_the_graph_computes_what_the_net_computes() -> None:
    torch.manual_seed(0)
    net = Branched()
    net.train()(torch.randn(8, 3, 14, 14))  # batch norms learn statistics
    graph = graph_of(net, "branched", 14, 14)
    x = torch.randn(1, 3, 14, 14)
    with torch.no_grad():
        wanted = net(x).numpy()
    np.testing.assert_allclose(run(graph, {"pixels": x.numpy()})["embedding"], wanted, atol=1e-6)
    assert [node.output for node in graph.nodes] == [
        *("first.0", "first.2", "twice", "twice_", "odd", "relu", "sum"),
        *("power.square", "power.mean", "power.sum", "power", "join.1", "join", "flatten", "dense", "embedding"),
    ]
    assert {"first.0.weight", "first.0.bias", "first.2.weight", "odd.weight", "dense.bias"} <= set(graph.constants)


class Between(nn.Module):
    """A step that is no module, before a module or behind the last."""

    def __init__(self, last: bool) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 4, 1), last

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x).abs() if self.last else self.conv(x.abs())
        return y


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.Softmax(1)), "1: no graph is written of a Softmax"),
        (nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3)), "1: a batch norm that follows no convolution"),
        (Between(last=False), "conv: reads what no module made"),
        (Between(last=True), "net: reads what no module made"),
        (nn.Sequential(), "net: the net does not end in its last module"),
    ],
)
def test_what_no_graph_is_written_of_is_refused(net: nn.Module, words: str) -> None:
    with pytest.raises(GraphError, match=words):
        graph_of(net, "net", 8, 8)

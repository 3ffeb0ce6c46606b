"""Invariant: a graph's shape with first weights trains like any net, and its graph says what the net says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from facelet.data.synthetic_transfer import synthetic_transfer_set
from facelet.graph.ir import Graph
from facelet.graph.onnx_io import read_graph
from facelet.graph.passes import optimise
from facelet.graph.reference import run
from facelet.graph.size import layers
from facelet.model_files import load_model
from facelet.train import recover as module
from facelet.train.fresh_graph import FreshNet
from facelet.train.graph_net import GraphNet
from facelet.train.loop import Tick

NETS = ("facelet_xs", "mobilenet_v2_035")


def planes(graph: Graph, count: int) -> torch.Tensor:
    shape = graph.shapes[graph.inputs[0]][1:]
    return torch.from_numpy(np.random.default_rng(0).standard_normal((count, *shape)).astype(np.float32))


@pytest.mark.parametrize("name", NETS)
def test_its_graph_has_the_old_shape_and_the_new_weights(name: str) -> None:
    old = optimise(read_graph(load_model(name).path))
    net = FreshNet(old, 3)
    x = planes(old, 4)
    net.train()(x)  # the batch norms see something
    new = net.eval().trained_graph()
    assert [layer.shape for layer in layers(new)] == [layer.shape for layer in layers(old)]
    assert sum(layer.parameters for layer in layers(new)) == sum(layer.parameters for layer in layers(old))
    with torch.no_grad():
        said = net(x[:1]).numpy()
    np.testing.assert_allclose(run(new, {new.inputs[0]: x[:1].numpy()})[new.outputs[0]], said, atol=1e-4)
    first = old.nodes[0].inputs[1], new.nodes[0].inputs[1]
    assert np.abs(new.constants[first[1]] - old.constants[first[0]]).max() > 1e-3


def test_the_seed_draws_the_weights() -> None:
    graph = read_graph(load_model("facelet_xs").path)
    one, same, other = (FreshNet(graph, seed) for seed in (0, 0, 1))
    weights = [torch.cat([p.detach().flatten() for p in net.parameters()]) for net in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_it_is_taught_for_a_number_of_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_SIZE", 8)
    monkeypatch.setattr(module.RecoverTask, "batch_size", 8)
    threads = torch.get_num_threads()
    model = load_model("mobilenet_v2_035")
    original = read_graph(model.path)
    net = FreshNet(original, 0)
    task = module.RecoverTask(net, GraphNet(original), model.card, synthetic_transfer_set(12, 2, 0), 0)
    before = task.loss(task.batch(50), 0.0)[1]["loss"]
    ticks: list[Tick] = []
    module.teach(
        net,
        original,
        model.card,
        task.transfer,
        tmp_path,
        steps=12,
        threads=1,
        seed=0,
        learning_rate=4e-3,
        optimizer="muon",
        weight_decay=0.05,
        on_tick=ticks.append,
    )
    torch.set_num_threads(threads)
    assert [tick.step for tick in ticks] == [12]
    assert task.loss(task.batch(50), 0.0)[1]["loss"] < before

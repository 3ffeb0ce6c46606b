"""Invariant: `inspect` and `prune` say what is in a file, and what they write runs."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import Ended
from facelet.embedder import Embedder
from facelet.graph.onnx_io import read_graph

Cli = Callable[..., Ended]


def test_inspect_adds_up(cli: Cli, tmp_path: Path) -> None:
    ended = cli("inspect", "facelet_xs", "--json", "--png", tmp_path / "net.png")
    assert ended.code == 0
    said = json.loads(ended.out)
    assert said["nodes"] == len(said["layers"])
    assert said["macs"] == sum(layer["macs"] for layer in said["layers"])
    assert (tmp_path / "net.png").read_bytes().startswith(b"\x89PNG")
    table = cli("inspect", "facelet_xs")
    assert "FusedConv" in table.out
    assert "M MACs" in table.out
    raw = json.loads(cli("inspect", "facelet_xs", "--raw", "--json").out)
    assert raw["nodes"] > said["nodes"]
    assert raw["macs"] == said["macs"]


def test_prune_writes_a_model_that_runs(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "pruned.onnx"
    ended = cli("prune", "nn4_small2", "--out", out, "--json")
    assert ended.code == 0
    said = json.loads(ended.out)
    assert len(said["removed"]) == 5
    assert said["total"]["kernels"] == 11
    pruned = Embedder.load(out)
    assert pruned.card.name == "nn4_small2_pruned"
    assert (pruned.card.metrics, pruned.card.thresholds) == ({}, {})
    assert "facelet calibrate" in ended.err
    assert pruned.card.parameters == sum(array.size for array in read_graph(out).constants.values())
    assert "facelet prune" not in Embedder.load("nn4_small2").card.recipe
    assert pruned.card.recipe.startswith(Embedder.load("nn4_small2").card.recipe)
    crops = np.random.default_rng(0).integers(0, 255, (3, 96, 96, 3), np.uint8)
    vectors = pruned.embed(crops)
    assert (vectors * Embedder.load("nn4_small2").embed(crops)).sum(1).min() > 0.9
    refused = cli("prune", out, "--out", tmp_path / "again.onnx")
    assert refused.code == 2
    assert "nothing to prune" in refused.err
    assert not (tmp_path / "again.onnx").exists()


def test_prune_removes_one_kind_of_layer(cli: Cli, tmp_path: Path) -> None:
    ended = cli("prune", "nn4_small2", "--kind", "LRN", "--out", tmp_path / "pruned.onnx", "--json")
    assert ended.code == 0
    assert [said["kernels"] for said in json.loads(ended.out)["removed"]] == [1, 1]
    ops = [node.op for node in read_graph(tmp_path / "pruned.onnx").nodes]
    assert "LRN" not in ops
    assert "Sqrt" in ops


def test_prune_removes_channels(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "narrow.onnx"
    ended = cli("prune", "facelet_xs", "--channels", "0.75", "--images", "8", "--out", out, "--json")
    assert ended.code == 0
    said = json.loads(ended.out)
    narrow, whole = Embedder.load(out), Embedder.load("facelet_xs")
    assert narrow.card.parameters == sum(array.size for array in read_graph(out).constants.values())
    assert said["total"]["parameters"] == 416_144 - narrow.card.parameters > 0
    assert narrow.card.macs == whole.card.macs - said["total"]["macs"]
    assert (narrow.card.metrics, narrow.card.thresholds) == ({}, {})
    assert ended.err.count("hidden channels stay") == 11
    assert "looking at synthetic faces" in ended.err
    from facelet.canvas import embed_canvas
    from facelet.data.synthetic_transfer import synthetic_transfer_set

    crops = synthetic_transfer_set(8, 1, 5).crops
    assert (embed_canvas(narrow, crops) * embed_canvas(whole, crops)).sum(axis=1).mean() > 0.6


def test_recovery_brings_the_pruned_net_nearer(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from facelet.data.synthetic_transfer import synthetic_transfer_set
    from facelet.graph.onnx_io import read_graph
    from facelet.graph.passes.prune import pruned_with_savings
    from facelet.graph.reference import run
    from facelet.model_files import find_model, load_model
    from facelet.train import recover as module
    from facelet.train.graph_net import GraphNet

    monkeypatch.setattr(module, "BATCH_SIZE", 16)
    monkeypatch.setattr(module.RecoverTask, "batch_size", 16)
    monkeypatch.setattr(module, "_step_s", lambda task: 1.0)
    threads = torch.get_num_threads()
    original = read_graph(find_model("nn4_small2"))
    pruned = pruned_with_savings(original)[0]
    transfer, card = synthetic_transfer_set(24, 2, 0), load_model("nn4_small2").card
    losses: list[float] = []
    better = module.recover(
        original,
        pruned,
        card,
        transfer,
        tmp_path / "run",
        minutes=12 / 60 / module.SHARE,
        threads=2,
        on_tick=lambda tick: losses.append(tick.figures["loss"]),
    )
    torch.set_num_threads(threads)
    task = module.RecoverTask(GraphNet(pruned), GraphNet(original), card, transfer, 0)
    images = module.net_input(task.batch(50), card)[:4].contiguous().numpy()
    wanted, before, after = (
        np.array([run(graph, {"pixels": image[None]})["embedding"] for image in images])
        for graph in (original, pruned, better)
    )
    assert losses
    assert np.square(after - wanted).sum() < np.square(before - wanted).sum()


@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_recovery_feeds_the_nets_as_the_embedder_does(color: str) -> None:
    import torch

    from facelet.backends import network_input
    from facelet.model import Card
    from facelet.train.recover import net_input

    card = Card("a", 5, 4, "arcface", 8, color=color, mean=(1.0, 20.0, 90.0), scale=(0.5, 0.01, 2.0))
    pixels = np.random.default_rng(0).integers(0, 255, (3, 5, 4, 3), np.uint8)
    np.testing.assert_allclose(
        net_input(torch.from_numpy(pixels), card).numpy(), network_input(pixels, card), rtol=1e-5
    )


def test_recovery_is_refused_before_it_begins(tmp_path: Path) -> None:
    import dataclasses

    from facelet.data.synthetic_transfer import synthetic_transfer_set
    from facelet.errors import InputError
    from facelet.graph.onnx_io import read_graph
    from facelet.model_files import find_model, load_model
    from facelet.train.recover import recover

    graph, card = read_graph(find_model("nn4_small2")), load_model("nn4_small2").card
    few = synthetic_transfer_set(4, 2, 0)
    for minutes, wrong, said in ((0.0, card, "--minutes"), (1.0, card, "do not fill a batch")):
        with pytest.raises(InputError, match=said):
            recover(graph, graph, wrong, few, tmp_path / "run", minutes=minutes, threads=1)
    many = synthetic_transfer_set(33, 2, 0)
    with pytest.raises(InputError, match="its card says"):
        recover(graph, graph, dataclasses.replace(card, width=80), many, tmp_path / "run", minutes=1, threads=1)
    assert not (tmp_path / "run").exists()


def test_torch_runs_every_op_as_numpy_does() -> None:
    import torch

    from facelet.errors import GraphError
    from facelet.graph.onnx_io import read_graph
    from facelet.graph.ops import OPS
    from facelet.graph.reference import run
    from facelet.train.graph_net import FORWARD, GraphNet
    from test_graph_ops import CASES

    assert set(FORWARD) == set(OPS)
    for op, cases in CASES.items():
        for case, make in cases.items():
            model, shape = make(np.random.default_rng(3))
            graph = read_graph(model, shape[0])
            x = np.abs(np.random.default_rng(1).standard_normal(shape)).astype(np.float32)
            x = x if op in ("Sqrt", "Pow") else x - np.float32(0.8)
            if any(graph.shapes[node.output][:1] != shape[:1] for node in graph.nodes):
                with pytest.raises(GraphError, match="mixes the images"):
                    GraphNet(graph)
                continue
            found = GraphNet(graph)(torch.from_numpy(x)).detach().numpy()
            expected = run(graph, {"x": x})[graph.outputs[0]]
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5, err_msg=f"{op} {case}")


def test_a_graph_that_is_trained_comes_back_as_it_was() -> None:
    from facelet.graph.onnx_io import read_graph
    from facelet.graph.passes import difference, optimise
    from facelet.model_files import find_model
    from facelet.train.graph_net import GraphNet

    for graph in (read_graph(find_model("facelet_xs")), optimise(read_graph(find_model("facelet_xs")))):
        assert difference(graph, GraphNet(graph).trained_graph()) == 0


def test_a_drawing_of_a_deep_net_fits_into_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from facelet.evaluate.graph_plot import plot_graph
    from facelet.graph.ir import Graph, Node

    monkeypatch.setattr("facelet.evaluate.graph_plot.LARGEST_SIDE", 3_000)
    names = [f"t{level}" for level in range(70)]
    nodes = tuple(Node("Relu", (a,), b) for a, b in itertools.pairwise(names))
    graph = Graph("deep", ("t0",), (names[-1],), nodes, {}, dict.fromkeys(names, (1, 3)))
    plot_graph(graph, tmp_path / "deep.png")
    with Image.open(tmp_path / "deep.png") as picture:
        width, height = picture.size
    assert 100 < width < height == 3_000


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("inspect", "facelet_sx"), "facelet_s"),
        (("inspect", "missing.onnx"), "missing.onnx"),
        (("inspect", "dlib_resnet"), "only .onnx files"),
        (("inspect", "facelet_xs", "--size", "big"), "--size big"),
        (("inspect", "facelet_xs", "--size", "3x1x1"), "not 3x1x1"),
        (("inspect", "facelet_xs", "--batch", "0"), "--batch"),
        (("inspect", "facelet_xs", "--png", "/proc/no/net.png"), "/proc/no"),
        (("prune", "facelet_xs"), "nothing to prune"),
        (("prune", "nn4_small2", "--recover", "/nowhere"), "/nowhere"),
        (("prune", "facelet_xs", "--channels", "0.5", "--images", "99999"), "--images"),
        (("prune", "nn4_small2", "--channels", "0.5"), "has no inverted residual"),
        (("prune", "facelet_xs", "--channels", "0"), "above 0 and at most 1, found 0"),
        (("prune", "facelet_xs", "--channels", "1", "--images", "8"), "every channel stays"),
        (("prune", "facelet_xs", "--channels", "0.5", "--calibration", "/nowhere"), "/nowhere"),
        (("prune", "nn4_small2", "--channels", "0.5", "--kind", "LRN"), "give one of the two"),
        (("prune", "nn4_small2", "--kind", "LNR"), "did you mean 'LRN'"),
        (("prune", "nn4_small2", "--out", "/proc/no/x.onnx"), "/proc/no"),
        (("prune", "nn4_small2", "--out", "pruned"), "ends in .onnx"),
        (("prune", "dlib_resnet", "--out", "x.onnx"), "only .onnx files"),
    ],
)
def test_bad_input_is_one_line(cli: Cli, arguments: tuple[str, ...], said: str) -> None:
    ended = cli(*arguments)
    assert ended.code == 2
    assert said in ended.err
    assert len([line for line in ended.err.splitlines() if line.startswith("facelet: ")]) == 1
    assert "Traceback" not in ended.err

"""Oracle: on a thousand real crops every executor gives the same integers, for every shipped int8 model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facelet.backends import network_input, run_graph
from facelet.data.lfw import load_lfw
from facelet.faces.crops import CropCache, crop_benchmark
from facelet.faces.detect import YuNetDetector
from facelet.graph import reference
from facelet.graph.ir import Array, Graph
from facelet.graph.onnx_io import read_graph
from facelet.graph.passes import optimise
from facelet.model_files import SHIPPED_MODELS, load_model

CROPS, BATCH = 1000, 20


def integers_only(graph: Graph) -> Graph:
    """The network up to its last integers, as floats."""
    last = next(node for node in graph.nodes if node.op == "DequantizeLinear")
    kept = graph.nodes[: graph.nodes.index(last) + 1]
    return replace(graph, outputs=(last.output,)).with_nodes(kept)


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SHIPPED_MODELS if name.endswith("_int8")])
def test_a_thousand_crops_are_the_same_to_the_bit(name: str, data_dir: Path, tmp_path: Path) -> None:
    pairs, root = load_lfw(data_dir / "lfw", cache_dir=tmp_path)
    model = load_model(name)
    card = model.card
    detector = YuNetDetector(data_dir / "detectors" / "yunet_n_dynamic.onnx")
    paths = [root / key for key in pairs.images[:CROPS]]
    crops = crop_benchmark(paths, detector, card.template, card.height, card.width, CropCache(tmp_path / "crops")).crops
    x = network_input(np.ascontiguousarray(crops), card)
    graph = integers_only(optimise(read_graph(model.path, BATCH)))
    output = graph.outputs[0]
    parts = [reference.run(graph, {graph.inputs[0]: x[i : i + BATCH]})[output] for i in range(0, CROPS, BATCH)]
    wanted = np.concatenate(parts)
    assert len(np.unique(wanted)) > 30
    np.testing.assert_array_equal(run_graph(graph, x, 1), wanted)
    for vnni in (True, False):
        np.testing.assert_array_equal(by_opencl(model.path, x, vnni), wanted)


def by_opencl(path: Path, x: Array, vnni: bool) -> Array:
    pytest.importorskip("pyopencl")
    from facelet.opencl.lower import lower
    from facelet.opencl.runtime import OpenCLRuntime

    runtime = OpenCLRuntime("pocl", 1)
    graph = integers_only(optimise(read_graph(path)))
    config = runtime.device.config
    program = lower(graph, replace(config, vnni=vnni and config.vnni))
    executable = runtime.load(program, whole=True)
    return np.concatenate(
        [executable.run({graph.inputs[0]: x[i : i + 50]})[graph.outputs[0]] for i in range(0, len(x), 50)]
    )

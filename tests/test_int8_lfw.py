"""Oracle: on a thousand real crops every executor gives the same integers, for every shipped int8 model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from conftest import Ended
from facelet.backends import network_input, run_graph
from facelet.cexport.export import export_c
from facelet.data.lfw import load_lfw
from facelet.embedder import Embedder
from facelet.faces.crops import CropCache, crop_benchmark
from facelet.faces.detect import YuNetDetector
from facelet.graph import reference
from facelet.graph.ir import Array, Graph
from facelet.graph.onnx_io import read_graph
from facelet.graph.passes import optimise
from facelet.model_files import SHIPPED_MODELS, find_model, load_model
from fpga_host import run_host
from test_cexport import DRIVER, compiled, computed, needs_compiler

CROPS, BATCH = 1000, 20
INT8_MODELS = [name for name in SHIPPED_MODELS if name.endswith("_int8")]

pytestmark = [pytest.mark.data, pytest.mark.slow]

Crops = NDArray[np.uint8]


@pytest.fixture(scope="module")
def crops(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Crops:
    """The first images of View 2, aligned; both shipped models eat the same crops."""
    folder = tmp_path_factory.mktemp("lfw")
    pairs, root = load_lfw(data_dir / "lfw", cache_dir=folder)
    card = load_model(INT8_MODELS[0]).card
    detector = YuNetDetector(data_dir / "detectors" / "yunet_n_dynamic.onnx")
    paths = [root / key for key in pairs.images[:CROPS]]
    return np.ascontiguousarray(
        crop_benchmark(paths, detector, card.template, card.height, card.width, CropCache(folder / "crops")).crops
    )


def integers_only(graph: Graph) -> Graph:
    """The network up to its last integers, as floats."""
    last = next(node for node in graph.nodes if node.op == "DequantizeLinear")
    kept = graph.nodes[: graph.nodes.index(last) + 1]
    return replace(graph, outputs=(last.output,)).with_nodes(kept)


@pytest.fixture(params=INT8_MODELS)
def case(request: pytest.FixtureRequest, crops: Crops) -> tuple[str, Array, Array]:
    """A model, its input, and the reference's last integers, as the numbers that they stand for."""
    model = load_model(request.param)
    x = network_input(crops, model.card)
    graph = integers_only(optimise(read_graph(model.path, BATCH)))
    parts = [
        reference.run(graph, {graph.inputs[0]: x[i : i + BATCH]})[graph.outputs[0]] for i in range(0, CROPS, BATCH)
    ]
    wanted = np.concatenate(parts)
    assert len(np.unique(wanted)) > 30
    return request.param, x, wanted


def test_a_thousand_crops_are_the_same_to_the_bit(case: tuple[str, Array, Array], crops: Crops, tmp_path: Path) -> None:
    name, x, wanted = case
    path = find_model(name)
    graph = integers_only(optimise(read_graph(path)))
    np.testing.assert_array_equal(run_graph(graph, x, 1), wanted)
    for vnni in (True, False):
        np.testing.assert_array_equal(by_opencl(path, x, vnni), wanted)


@needs_compiler
def test_c_gives_the_same_integers(case: tuple[str, Array, Array], crops: Crops, tmp_path: Path) -> None:
    name, _, wanted = case
    path = find_model(name)
    fraction = next(node for node in read_graph(path).nodes[::-1] if node.op == "DequantizeLinear")["fraction"]
    export_c(name, tmp_path)
    integers, _ = computed(compiled(tmp_path, DRIVER, ("-O3",)), crops, wanted.shape[1])
    np.testing.assert_array_equal(np.ldexp(integers.astype(np.float32), -fraction), wanted.reshape(CROPS, -1))


@pytest.mark.parametrize("name", INT8_MODELS)
def test_the_host_program_prints_the_same_distances(
    name: str, crops: Crops, cli: Callable[..., Ended], tmp_path: Path
) -> None:
    from PIL import Image

    assert cli("fpga", "export", name, "--board", "de10-nano", "--out", tmp_path, "--quiet").code == 0
    vectors = Embedder.load(name, threads=1).embed(crops)
    for index, crop in enumerate(crops):
        Image.fromarray(crop).save(tmp_path / f"{index}.ppm")
    for index in range(0, CROPS, 2):
        said = run_host(tmp_path, f"{index}.ppm", f"{index + 1}.ppm", device="Portable")
        wanted = float(np.square(vectors[index] - vectors[index + 1]).sum())
        assert float(said.split()[1]) == pytest.approx(wanted, abs=2e-6)


def by_opencl(path: Path, x: Array, vnni: bool) -> Array:
    pytest.importorskip("pyopencl")
    from facelet.opencl.lower import lower
    from facelet.opencl.runtime import OpenCLRuntime

    runtime = OpenCLRuntime("pocl", 1)
    graph = integers_only(optimise(read_graph(path)))
    config = runtime.device.config
    program = lower(graph, replace(config, vnni=vnni and config.vnni))
    executable = runtime.load(program, whole=True)
    parts = [executable.run({graph.inputs[0]: x[i : i + 50]})[graph.outputs[0]] for i in range(0, len(x), 50)]
    return np.concatenate(parts)

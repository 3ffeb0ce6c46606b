"""Oracle: the engine's channel build on Intel's FPGA emulator against the integer reference, layer by layer."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import Ended
from facelet.errors import DeviceError, MissingExtraError
from facelet.fpga import emulate as emulation
from facelet.fpga.emulate import check_layers, emulate, emulator_library, quantized
from facelet.fpga.engine import EngineConfig
from facelet.fpga.lower import layer_table
from facelet.graph.ir import Graph
from facelet.graph.onnx_write import write_graph
from facelet.model_files import WEIGHTS, load_model, with_card
from fpga_host import SMALL, UNEVEN, exported, noise, run_host
from tiny_engine import one_layer, plain_int8, tiny_int8
from tiny_models import tiny_card

Cli = Callable[..., Ended]

pytestmark = pytest.mark.emulator

STUDENT = "FACELET_INT8_MODEL"
"""Names an int8 model of a shipped size."""


@pytest.fixture(autouse=True)
def _emulator() -> None:
    pytest.importorskip("pyopencl")
    try:
        emulator_library()
    except MissingExtraError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(
    ("graph", "config"),
    [(tiny_int8(), SMALL), (tiny_int8(), UNEVEN), (plain_int8(), EngineConfig(8, 8))],
    ids=["small", "uneven", "no depthwise array"],
)
def test_every_layer_is_exact_by_channels(graph: Graph, config: EngineConfig) -> None:
    table = layer_table(graph, config)
    crops = [noise(graph, seed) for seed in (0, 1)]
    ran = emulate(table, [quantized(graph, table, crop) for crop in crops], at_once=True)
    assert "FPGA Emulation" in ran.device
    for crop, image in zip(crops, ran.images, strict=True):
        checks = check_layers(graph, table, crop, image)
        assert [check for check in checks if check.wrong] == []
        assert max(abs(check.error) for check in checks) <= 0.05
    assert ran.at_once is not None
    assert np.array_equal(ran.at_once, ran.images[0].maps[table.layers[-1].shape.name])


def test_the_kernels_count_the_same_trips_with_and_without_channels() -> None:
    graph = tiny_int8()
    table = layer_table(graph, SMALL)
    image = quantized(graph, table, noise(graph))
    channels, queues = (emulate(table, [image], device).images[0].counts for device in ("intel-fpga", "pocl"))
    assert np.array_equal(channels, queues)


def test_the_host_program_runs_the_net_in_one_launch(tmp_path: Path) -> None:
    folder = exported(tiny_int8(), SMALL, tmp_path / "out")
    drivers = tmp_path / "drivers"
    drivers.mkdir()
    (drivers / "emulator.icd").write_text(f"{emulator_library()}\n")
    env = {"OCL_ICD_VENDORS": str(drivers)}
    for device in ("FPGA", "intel-fpga"):
        assert "every integer is right" in run_host(folder, "--check", device=device, env=env)


def test_a_net_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulation, "BUILD_LIMIT_S", 6.0)
    monkeypatch.setattr(emulation, "IMAGE_LIMIT_S", 0.0)
    graph = tiny_int8()
    table = layer_table(graph, SMALL)
    first = table.layers[0]
    # windows of no rows give no sums, and the post-processing waits for them in vain
    wrong = replace(first, row={**first.row, "kernel_h": 0})
    with pytest.raises(DeviceError, match=r"hangs|crashed"):
        emulate(replace(table, layers=(wrong, *table.layers[1:])), [quantized(graph, table, noise(graph))])


def test_without_the_emulator_the_command_names_the_extra(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = tiny_card(height=8, width=8, embedding_size=10, normalized=True)
    model, photo = tmp_path / "tiny.onnx", tmp_path / "crop.png"
    model.write_bytes(with_card(write_graph(one_layer()), card).SerializeToString())
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)).save(photo)
    ended = cli("fpga", "emulate", model, photo, "--at-once", "--json")
    assert ended.code == 0, ended.err
    said = json.loads(ended.out)
    assert (said["wrong"], said["one_launch_agrees"]) == (0, True)
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    refused = cli("fpga", "emulate", model, photo)
    assert refused.code == 2
    assert "pip install 'facelet[fpga]'" in refused.err


def test_a_student_is_exact(cli: Cli, tmp_path: Path) -> None:
    model = Path(os.environ.get(STUDENT, WEIGHTS / "facelet_xs_int8.onnx"))
    if not model.is_file():
        pytest.skip(f"no int8 model at {model}; set {STUDENT}")
    card = load_model(model).card
    photo = tmp_path / "crop.png"
    noise_image = np.random.default_rng(0).integers(0, 256, (card.height, card.width, 3), np.uint8)
    Image.fromarray(noise_image).save(photo)
    ended = cli("fpga", "emulate", model, photo, "--at-once", "--json")
    assert ended.code == 0, ended.err
    said = json.loads(ended.out)
    assert said["wrong"] == 0
    assert said["images"][0]["seconds"] < 120
    assert said["largest_cost_error"] <= 0.05

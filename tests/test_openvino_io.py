"""Oracle: OpenVINO itself runs the files that `read_ir` reads. One line for a file that is none or holds too much."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from conftest import Ended
from facelet.bench.onnx_file import as_onnx
from facelet.errors import GraphError, MissingFileError, shown
from facelet.graph.openvino_io import READERS, read_ir
from facelet.graph.reference import run

RANDOM = np.random.default_rng(3)


def noise(*shape: int) -> Any:
    return (0.5 * RANDOM.standard_normal(shape)).astype(np.float32)


def write_ir(folder: Path, last: str = "") -> Path:
    """A net of every known layer, saved by OpenVINO; its batch open, its weights in half precision."""
    openvino = pytest.importorskip("openvino")
    ops = openvino.opset1 if hasattr(openvino, "opset1") else pytest.importorskip("openvino.opset1")
    pixels = ops.parameter([-1, 3, 12, 10], np.float32, name="pixels")
    ones = [1, 1]
    x = ops.add(ops.multiply(pixels, noise(1, 3, 1, 1)), noise(1, 3, 1, 1))
    x = ops.convolution(x, noise(8, 3, 3, 3), [2, 1], [1, 0], [1, 2], ones)
    x = ops.prelu(ops.add(x, noise(1, 8, 1, 1)), noise(8))
    grouped = ops.group_convolution(x, noise(4, 2, 2, 3, 3), ones, ones, ones, ones)
    x = ops.add(x, ops.prelu(grouped, noise(1)))  # one slope for all channels
    gate = ops.sigmoid(ops.avg_pool(x, [6, 10], [0, 0], [0, 0], [6, 10], True))
    x = ops.multiply(ops.multiply(x, gate), noise())  # one number, which has no axes
    for exclude in (True, False):
        x = ops.avg_pool(x, [2, 1], [1, 1], [0, 1], [2, 3], exclude)
    if last:
        x = getattr(ops, last)(x)
    path = folder / "net.xml"
    openvino.save_model(openvino.Model([x], [pixels], "net"), str(path), compress_to_fp16=True)
    return path


@pytest.mark.parametrize("batch", [1, 3])
def test_a_net_of_every_layer_agrees_with_openvino(tmp_path: Path, batch: int) -> None:
    path = write_ir(tmp_path)
    for kind in READERS:
        assert f'type="{kind}"' in path.read_text(), kind
    graph = read_ir(path, batch)
    pixels = noise(batch, 3, 12, 10)
    found = run(graph, {graph.inputs[0]: pixels})[graph.outputs[0]]
    openvino = pytest.importorskip("openvino")
    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    np.testing.assert_allclose(found, compiled(pixels)[0], atol=1e-5)


def test_a_command_reads_it(cli: Callable[..., Ended], tmp_path: Path) -> None:
    ended = cli("inspect", write_ir(tmp_path), "--json")
    assert ended.code == 0
    # 3x3 kernels at 6x10 of 3 to 8 channels, and of 2 to 2 in four groups
    assert json.loads(ended.out)["macs"] == 6 * 10 * 9 * (3 * 8 + 2 * 8)
    assert "leave the size out" in cli("inspect", tmp_path / "net.xml", "--size", "3x12x10").err


def test_it_is_timed_as_onnx(tmp_path: Path) -> None:
    written = as_onnx(write_ir(tmp_path), tmp_path / "bench")
    assert as_onnx(written, tmp_path / "elsewhere") == written
    openvino, pixels = pytest.importorskip("openvino"), noise(2, 3, 12, 10)
    compiled = openvino.Core().compile_model(str(tmp_path / "net.xml"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    session = onnxruntime.InferenceSession(str(written), providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: pixels})[0]
    np.testing.assert_allclose(found, compiled(pixels)[0], atol=1e-5)


def test_what_is_not_known_is_named(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match=r"is a HSwish|is a Tanh; known are Const, "):
        read_ir(write_ir(tmp_path, "tanh"))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("<net", "<nut", "not an IR"),
        ('rounding_type="floor"', 'rounding_type="ceil"', "rounds its size up"),
        ('auto_pad="explicit"', 'auto_pad="same_upper"', "pads by 'same_upper'"),
        ('element_type="f16"', 'element_type="i8"', "holds i8"),
        ('offset="0"', 'offset="9999999"', "its .bin is cut short"),
        ('shape="?,3,12,10"', 'shape="?,3,?,10"', "expected a batch and fixed sides"),
        ('exclude-pad="true"', 'exclude-pad="true" dilations="2,1"', "is a dilated pool"),
        ('shape="8"', 'shape="2, 2, 2"', "has slopes (2, 2, 2), not one per channel"),
        ('destination_type="f32"', 'destination_type="f16"', "converts something else"),
        ('to-layer="2" to-port="0"', 'to-layer="99" to-port="0"', "not an IR that can be read"),
        ('shape="?,3,12,10"', 'shape="?"', "has the shape '?'; expected a batch"),
        ('type="Result"', 'type="Sigmoid"', "has no output"),
        ("layers>", "nothing>", "has no input"),
    ],
)
def test_damage_is_one_line(tmp_path: Path, old: str, new: str, words: str) -> None:
    path = write_ir(tmp_path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(GraphError) as caught:
        read_ir(path)
    assert words in str(caught.value)
    assert shown(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_that_is_too_long_is_one_line() -> None:
    with pytest.raises(GraphError, match="not an IR that can be read"):
        read_ir(Path(f"{'x' * 5000}.xml"))


def test_weights_that_are_missing_are_asked_for(tmp_path: Path) -> None:
    path = write_ir(tmp_path)
    path.with_suffix(".bin").unlink()
    with pytest.raises(MissingFileError, match=r"net\.bin"):
        read_ir(path)

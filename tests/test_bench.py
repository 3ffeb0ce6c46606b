"""Invariant: a comparison runs each runtime in turns, checks what it computes, and names what fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Ended
from facelet.bench.contenders import CONTENDERS, environment, load_network
from facelet.bench.layers import layer_times
from facelet.bench.measure import measure
from facelet.errors import MissingExtraError, ModelError, UnknownNameError
from facelet.model_files import find_model

MODEL = find_model("facelet_xs")


def test_rows_plot_and_table(cli: Callable[..., Ended], tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    out = tmp_path / "bench"
    ended = cli("bench", "facelet_xs", "--backend", "openvino", "--blocks", "1", "--out", out, "--json")
    assert ended.code == 0, ended.err
    said = json.loads(ended.out)
    assert json.loads((out / "bench.json").read_text()) == said
    assert (out / "bench.png").read_bytes().startswith(b"\x89PNG")
    baseline, other = said["rows"]
    assert (baseline["backend"], baseline["ratio_to_onnxruntime"]) == ("onnxruntime", 1.0)
    assert other["backend"] == "openvino"
    assert other["ratio_to_onnxruntime"] == pytest.approx(baseline["median_ms"] / other["median_ms"])
    assert other["error"] < 1e-4
    assert other["peak_bytes"] > 1e7
    assert other["start_warm_s"] > 0


def test_our_engine_takes_part() -> None:
    pytest.importorskip("pyopencl")
    rows = measure(MODEL, (3, 96, 96), ["opencl:pocl"], 1, 1, blocks=1)
    assert [row.backend for row in rows] == ["onnxruntime", "opencl:pocl"]
    assert rows[1].error < 1e-4


def test_layers_are_held_against_the_roofline() -> None:
    pytest.importorskip("pyopencl")
    found = layer_times(MODEL, "pocl", 1)
    macs = sum(row["gflops"] * row["ms"] for row in found["layers"]) / 2
    assert macs == pytest.approx(34.1, abs=0.1)  # millions, as the model's page says
    assert found["roofline"]["gflops"] > 1
    assert found["roofline"]["gbs"] > 0.1
    assert all(0 < row["of_roofline"] < 20 for row in found["layers"])


def test_another_file_of_the_net_may_run_beside_it() -> None:
    rows = measure(MODEL, (3, 96, 96), [f"onnxruntime={MODEL}"], 1, 1, blocks=1)
    assert [row.backend for row in rows] == ["onnxruntime", f"onnxruntime={MODEL}"]
    assert rows[1].error == 0


def test_onnxruntimes_own_int8_takes_part() -> None:
    pytest.importorskip("sympy")
    rows = measure(MODEL, (3, 96, 96), ["onnxruntime:int8"], 1, 1, blocks=1)
    assert 0 < rows[1].error < 1


def test_what_fails_is_named_and_the_rest_goes_on() -> None:
    told: list[str] = []
    rows = measure(MODEL, (3, 96, 96), ["opencl:nowhere"], 1, 1, blocks=1, on_failure=told.append)
    assert [row.backend for row in rows] == ["onnxruntime"]
    assert len(told) == 1
    assert "opencl:nowhere" in told[0]
    with pytest.raises(ModelError, match="opencl:nowhere"):
        measure(MODEL, (3, 96, 96), ["opencl:nowhere"], 1, 1, blocks=1)


def test_unknown_and_missing_runtimes(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownNameError, match="onnxruntime"):
        load_network("onnxruntim", MODEL, 1, 1)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError):
        load_network("ncnn", MODEL, 1, 1)


def test_threads_reach_every_runtime_by_its_environment() -> None:
    assert environment("opencl:pocl", 2)["POCL_MAX_PTHREAD_COUNT"] == "2"
    assert environment("onnxruntime", 3) == {"OMP_NUM_THREADS": "3"}
    assert {"onnxruntime", "openvino", "ncnn", "tinygrad:opencl"} <= set(CONTENDERS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("bench", "facelet_sx"), "facelet_s"),
        (("bench", "dlib_resnet"), "only .onnx files"),
        (("bench", "facelet_xs", "--backend", "onnxruntim"), "onnxruntim"),
        (("bench", "facelet_xs", "--threads", "0"), "--threads"),
    ],
)
def test_bad_input_is_one_line(cli: Callable[..., Ended], arguments: tuple[str, ...], said: str) -> None:
    ended = cli(*arguments)
    assert ended.code == 2
    assert said in ended.err
    assert "Traceback" not in ended.err

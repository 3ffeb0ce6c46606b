"""Invariant: a comparison runs each runtime in turns, checks what it computes, and names what fails."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from conftest import Ended
from facelet.bench.contenders import CONTENDERS, last_words, load_network, variables
from facelet.bench.layers import COPIED_FLOATS, layer_times, roofline
from facelet.bench.measure import Row, _Worker, measure
from facelet.errors import MissingExtraError, ModelError, UnknownNameError
from facelet.model_files import find_model
from tiny_models import tiny_card, write_tiny

MODEL = find_model("facelet_xs")
ROOF: dict[str, Any] = {"device": "pocl", "threads": 1, "roofline": {"gflops": 1.0, "gbs": 1.0}, "layers": []}


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


def test_our_engine_takes_part(tmp_path: Path) -> None:
    pytest.importorskip("pyopencl")
    model = write_tiny(tmp_path / "tiny.onnx", tiny_card())
    rows = measure(model, (3, 16, 12), ["opencl:pocl"], 1, 1, blocks=1)
    assert [row.backend for row in rows] == ["onnxruntime", "opencl:pocl"]
    assert rows[1].error < 1e-4


def test_layers_are_held_against_the_roofline() -> None:
    pytest.importorskip("pyopencl")
    found = layer_times(MODEL, "pocl", 1)
    macs = sum(row["gflops"] * row["ms"] for row in found["layers"]) / 2
    assert macs == pytest.approx(34.1, abs=0.1)  # millions, as the model's page says
    assert found["roofline"]["gflops"] > 1
    assert found["roofline"]["gbs"] > 0.1
    assert all(row["of_roofline"] > 0 for row in found["layers"])


@pytest.mark.parametrize("threads", [1, 3, 5, 7])
def test_the_pieces_that_are_copied_are_whole_vectors_within_the_buffer(threads: int) -> None:
    asked: dict[str, tuple[str, int, int]] = {}

    class Runtime:
        device = SimpleNamespace(config=SimpleNamespace(block=16))

        def __init__(self) -> None:
            self.threads = threads

        def seconds(self, text: str, kernel: str, floats: int, size: int, _repeats: int) -> float:
            asked[kernel] = (text, floats, size)
            return 1.0

    runtime: Any = Runtime()
    found = roofline(runtime)
    text, floats, pieces = asked["copy"]
    part, copied = (int(re.findall(rf"#define {name} (\d+)", text)[0]) for name in ("PART", "COPIED"))
    assert (part % 16, copied % 16) == (0, 0)
    assert part * pieces == copied == floats // 2
    assert 0.999 * COPIED_FLOATS < copied <= COPIED_FLOATS
    assert found["gbs"] == 2 * 4 * copied / 1e9


def test_rows_are_kept_where_the_layers_fail(
    cli: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> dict[str, Any]:
        raise ModelError("bench layers of x: the driver crashed")

    out = tmp_path / "new"
    row = Row("onnxruntime", 1, 1, 2.0, 1.0, 3, 1.0, 0.0, 4, 5.0, 6.0)
    monkeypatch.setattr("facelet.bench.measure.measure", lambda *_arguments, **_options: [row])
    monkeypatch.setattr("facelet.bench.layers.layer_times", fail)
    ended = cli("bench", "facelet_xs", "--backend", "onnxruntime", "--layers", "pocl", "--out", out)
    assert (ended.code, "the driver crashed" in ended.err) == (2, True)
    assert json.loads((out / "bench.json").read_text())["rows"] == [vars(row)]
    assert (out / "bench.png").exists()
    monkeypatch.setattr("facelet.bench.layers.layer_times", lambda *_arguments: ROOF)
    assert cli("bench", "facelet_xs", "--backend", "onnxruntime", "--layers", "pocl", "--out", out).code == 0
    assert json.loads((out / "bench.json").read_text())["layers"] == [ROOF]


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


@pytest.mark.parametrize("fatal", [1, 3])  # the warm-up, the first block that counts
def test_a_runtime_that_dies_between_blocks_is_named_and_the_rest_goes_on(
    cli: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fatal: int
) -> None:
    other, original, calls = f"onnxruntime={MODEL}", _Worker.block, {"onnxruntime": 0, f"onnxruntime={MODEL}": 0}
    dying = other

    def block(self: _Worker, runs: int, *, counted: bool = True) -> float:
        calls[self.backend] += 1
        if self.backend == dying and calls[self.backend] == fatal:
            self._process.kill()
            self._process.wait()
        return original(self, runs, counted=counted)

    monkeypatch.setattr(_Worker, "block", block)
    told: list[str] = []
    rows = measure(MODEL, (3, 96, 96), [other], 1, 1, blocks=2, on_failure=told.append)
    assert [row.backend for row in rows] == ["onnxruntime"]
    assert told == [f"bench {other}: the runtime failed (no message)"]
    calls[other] = 0
    with pytest.raises(ModelError, match="the runtime failed"):
        measure(MODEL, (3, 96, 96), [other], 1, 1, blocks=1)
    dying, calls["onnxruntime"] = "onnxruntime", 0
    ended = cli("bench", "facelet_xs", "--backend", "onnxruntime", "--blocks", "1", "--out", tmp_path, "--quiet")
    assert (ended.code, ended.err) == (2, "facelet: bench onnxruntime: the runtime failed (no message) [FL-MODEL]\n")


def test_a_runtime_that_computes_something_else_has_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr("facelet.bench.measure.INT8_TOLERANCE", 0.0)
    rows = measure(MODEL, (3, 96, 96), [f"onnxruntime={MODEL}"], 1, 1, blocks=1, on_failure=told.append)
    assert [row.backend for row in rows] == ["onnxruntime"]
    assert "is not onnxruntime's" in told[0]


def test_unknown_and_missing_runtimes(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownNameError, match="onnxruntime"):
        load_network("onnxruntim", MODEL, 1, 1)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError):
        load_network("ncnn", MODEL, 1, 1)


def test_the_peak_is_that_of_the_runtime_and_not_of_whoever_started_it() -> None:
    held = np.ones(60_000_000)  # 480 MB
    code = "from facelet.bench.worker import _peak_bytes; print(_peak_bytes())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 1e6 < int(done.stdout) < held.nbytes


def test_what_a_process_said_last_is_told_without_pythons_names() -> None:
    said = ["Traceback (most recent call last):\n", "facelet.errors.UnknownNameError: backend 'x': not known\n", "\n"]
    assert last_words(said) == "backend 'x': not known"
    assert last_words([]) == "no message"


def test_threads_reach_every_runtime_by_its_environment() -> None:
    assert variables("opencl:pocl", 2)["POCL_MAX_PTHREAD_COUNT"] == "2"
    assert variables("onnxruntime", 3) == {"OMP_NUM_THREADS": "3"}
    assert {"onnxruntime", "openvino", "ncnn", "tinygrad:opencl"} <= set(CONTENDERS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("bench", "facelet_sx"), "facelet_s"),
        (("bench", "dlib_resnet"), "only .onnx files"),
        (("bench", "facelet_xs", "--backend", "onnxruntim"), "onnxruntim"),
        (("bench", "facelet_xs", "--backend", "onnxruntime="), "names no file; give onnxruntime=FILE"),
        (("bench", "facelet_xs", "--threads", "0"), "--threads"),
    ],
)
def test_bad_input_is_one_line(cli: Callable[..., Ended], arguments: tuple[str, ...], said: str) -> None:
    ended = cli(*arguments)
    assert ended.code == 2
    assert said in ended.err
    assert "Traceback" not in ended.err

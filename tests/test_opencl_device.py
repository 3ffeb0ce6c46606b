"""Oracle: kernels on PoCL against NumPy, op by op, and shipped models against onnxruntime."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pytest

from facelet.errors import DeviceError, UnknownNameError
from facelet.graph.ir import Graph
from facelet.graph.onnx_io import read_graph
from facelet.graph.passes import optimise
from facelet.model_files import SHIPPED_MODELS, find_model
from facelet.opencl.check import Task, check_apart, compare, driver_crash
from facelet.opencl.config import AVX2, AVX512
from facelet.opencl.lower import lower
from facelet.opencl.sample import sample_graph
from facelet.opencl.session import Session, check_record, open_session
from tiny_graphs import Builder, every_op
from tiny_models import tiny_card, write_tiny

if TYPE_CHECKING:
    from facelet.opencl.runtime import OpenCLRuntime

pytest.importorskip("pyopencl", reason="pyopencl is not installed; mend with: pip install 'facelet[opencl]'")


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> OpenCLRuntime:
    """PoCL on one thread; what it compiles stays in a temporary folder."""
    os.environ.setdefault("POCL_CACHE_DIR", str(tmp_path_factory.mktemp("pocl")))
    from facelet.opencl.runtime import OpenCLRuntime, find_devices

    names = [device.name for device in find_devices(1) if device.name.startswith("pocl")]
    if not names:
        pytest.skip("no PoCL device; mend with: pip install 'pyopencl[pocl]'")
    return OpenCLRuntime(names[-1], 1)  # the oldest: PyPI's, where there are two


def test_every_op_agrees_with_numpy(runtime: OpenCLRuntime) -> None:
    program = lower(every_op(2), AVX512)
    assert compare(runtime.load(program, whole=False), program, "pocl") < 1e-4


def test_narrow_vectors_agree_with_numpy(runtime: OpenCLRuntime) -> None:
    program = lower(sample_graph(), AVX2)
    assert compare(runtime.load(program, whole=False), program, "pocl") < 1e-4


TWINS = {"facelet_s": "facelet_xs", "facelet_s_int8": "facelet_xs_int8", "mobilenet_v2_050": "mobilenet_v2_035"}
"""Models that are others made wider: the same kernels, so few look at them."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in TWINS else name for name in SHIPPED_MODELS]
)
def test_shipped_models_agree_with_onnxruntime(runtime: OpenCLRuntime, name: str) -> None:
    path = find_model(name)
    if path.suffix != ".onnx":
        pytest.skip("not an ONNX model")
    oracle = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    program = lower(optimise(read_graph(path)), runtime.device.config)
    executable = runtime.load(program, whole=True)
    port = program.inputs[0]
    x = np.random.default_rng(0).standard_normal((8, *port.shape[1:])).astype(np.float32)
    entry = oracle.get_inputs()[0].name
    for images in (x[:1], x):
        wanted = oracle.run(None, {entry: images})[0]
        found = executable.run({port.name: images})[program.outputs[0].name]
        assert np.abs(found - wanted).max() < 1e-4 * np.abs(wanted).max()


def test_a_program_for_eight_images_agrees_with_onnxruntime(runtime: OpenCLRuntime) -> None:
    path = find_model("facelet_xs")
    oracle = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    program = lower(optimise(read_graph(path, 8)), runtime.device.config)
    x = np.random.default_rng(0).standard_normal(program.inputs[0].shape).astype(np.float32)
    wanted = oracle.run(None, {oracle.get_inputs()[0].name: x})[0]
    found = runtime.load(program, whole=False).run({program.inputs[0].name: x})[program.outputs[0].name]
    assert np.abs(found - wanted).max() < 1e-4 * np.abs(wanted).max()


def test_whole_and_layer_by_layer_agree(runtime: OpenCLRuntime) -> None:
    program = lower(sample_graph(), runtime.device.config)
    x = np.random.default_rng(0).standard_normal((5, 3, 16, 16)).astype(np.float32)
    outputs = [runtime.load(program, whole=whole).run({"x": x})["y"] for whole in (True, False)]
    np.testing.assert_allclose(outputs[0], outputs[1], rtol=1e-5, atol=1e-6)
    assert compare(runtime.load(program, whole=True), program, "pocl") < 1e-4


def test_a_check_is_done_once_and_recorded(runtime: OpenCLRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    program = lower(sample_graph(), runtime.device.config)
    session = Session(program, runtime)
    record = check_record(runtime.device, program, True)
    assert json.loads(record.read_text())["worst"] < 1e-4
    monkeypatch.setattr("facelet.opencl.session.check_apart", lambda *_: pytest.fail("checked again"))
    x = np.ones((1, 3, 16, 16), np.float32)
    np.testing.assert_array_equal(Session(program, runtime).run(x)["y"], session.run(x)["y"])


def test_a_driver_that_crashes_or_hangs_takes_nothing_along(
    runtime: OpenCLRuntime, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = lower(sample_graph(), runtime.device.config)
    task = Task(program, runtime.device.name, 1, whole=True)
    (tmp_path / "sitecustomize.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGABRT)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(DeviceError, match=r"the driver crashed \(SIGABRT\)"):
        check_apart(task)
    (tmp_path / "sitecustomize.py").write_text("import time; time.sleep(60)\n")
    with pytest.raises(DeviceError, match="the driver hangs"):
        check_apart(task, limit_s=0.5)


def test_a_broken_kernel_is_found_and_named(runtime: OpenCLRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    from facelet.opencl import render

    right = render.template("depthwise")
    monkeypatch.setattr(
        render, "template", lambda name: right.replace("sum[p] +=", "sum[p] -=") if name == "depthwise" else _read(name)
    )
    program = lower(sample_graph(), runtime.device.config)
    with pytest.raises(DeviceError, match="the kernel depthwise_0 of"):
        compare(runtime.load(program, whole=False), program, "pocl")
    monkeypatch.setattr(render, "template", lambda name: "syntax error" if name == "prelude" else _read(name))
    with pytest.raises(DeviceError, match="cannot build the program"):
        runtime.load(program, whole=False)


def _read(name: str) -> str:
    from facelet.opencl.render import FOLDER

    return (FOLDER / f"{name}.cl").read_text(encoding="utf-8")


BUILT_AS_X86_64 = """
from facelet.opencl import pocl_rescue
from facelet.opencl.runtime import OpenCLRuntime

pocl_rescue.mended = lambda answer, flags: "x86-64" if answer else answer
runtime = OpenCLRuntime("pocl-3.0", 1)
runtime.compiled("kernel void one(global float *x) { x[0] = 1.0f; }")
print(runtime._handle.version.endswith("-x86-64"), runtime.device.trouble, sep="|")
"""
"""Builds a kernel by PyPI's PoCL on a processor that should go by another name."""


@pytest.mark.parametrize("asked", ["1", "0"])
def test_pocl_is_patched_in_memory_only_where_the_user_asks_for_it(asked: str) -> None:
    found = subprocess.run(
        [sys.executable, "-c", BUILT_AS_X86_64],
        capture_output=True,
        text=True,
        env={**os.environ, "FACELET_POCL_PATCH": asked, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    if "OpenCL device 'pocl-3.0': not known" in found.stderr or "cannot build for it" in found.stderr:
        pytest.skip(found.stderr.splitlines()[-1])
    assert found.returncode == 0, found.stderr
    patched, trouble = found.stdout.splitlines()[-1].split("|")
    assert patched == str(asked == "1")
    assert ("set FACELET_POCL_PATCH=1" in trouble) == (asked == "0")


def test_devices_are_chosen_by_name(runtime: OpenCLRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    from facelet.opencl.runtime import OpenCLRuntime

    with pytest.raises(UnknownNameError, match="OpenCL device 'poclet': not known; did you mean"):
        OpenCLRuntime("poclet")
    monkeypatch.setenv("FACELET_OPENCL_DEVICE", runtime.device.name)
    assert OpenCLRuntime().device == runtime.device
    with pytest.raises(DeviceError, match=r"runs on 1 thread\(s\) in this process already, not on 7"):
        OpenCLRuntime(runtime.device.name, 7)


def test_the_first_device_that_works_is_taken(
    runtime: OpenCLRuntime, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from facelet.opencl import runner

    path, good = write_tiny(tmp_path / "m.onnx", tiny_card()), runtime.device
    broken = replace(good, name="broken")

    def opened(path: Path, *, device: str, threads: int | None) -> Session:
        if device == "broken":
            raise DeviceError("broken: computes nothing")
        return open_session(path, device=device, threads=threads)

    monkeypatch.delenv("FACELET_OPENCL_DEVICE", raising=False)
    monkeypatch.setattr(runner, "open_session", opened)
    monkeypatch.setattr(runner, "find_devices", lambda threads: (broken, good))
    with pytest.warns(UserWarning, match=f"broken: computes nothing; taking {good.name}"):
        network = runner.load_network(path)
    assert network(np.zeros((2, 3, 16, 12), np.float32)).shape == (2, 8)
    monkeypatch.setattr(runner, "find_devices", lambda threads: (broken,))
    with pytest.raises(DeviceError, match="computes nothing"):
        runner.load_network(path)
    monkeypatch.setattr(runner, "find_devices", lambda threads: ())
    with pytest.raises(DeviceError, match="no device found"):
        runner.load_network(path)


def test_a_damaged_binary_is_built_anew(runtime: OpenCLRuntime) -> None:
    from facelet.opencl.render import source
    from facelet.opencl.runtime import binary_path

    program = lower(sample_graph(), runtime.device.config)
    path = binary_path(runtime.device, source(program, whole=True))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"no program")
    assert compare(runtime.load(program, whole=True), program, "pocl") < 1e-4


def test_the_backend_embeds_as_onnxruntime_does(runtime: OpenCLRuntime, tmp_path: Path) -> None:
    from facelet.embedder import Embedder

    path = write_tiny(tmp_path / "m.onnx", tiny_card())
    crops = np.random.default_rng(0).integers(0, 256, (5, 16, 12, 3), np.uint8)
    found = [Embedder.load(path, backend=name, threads=1).embed(crops) for name in ("opencl", "onnxruntime")]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4, atol=1e-4 * float(np.abs(found[1]).max()))


def test_a_file_becomes_a_session_in_one_call(runtime: OpenCLRuntime, tmp_path: Path) -> None:
    session = open_session(write_tiny(tmp_path / "m.onnx", tiny_card()), device=runtime.device.name, threads=1)
    assert session.run(np.zeros((2, 3, 16, 12), np.float32))[session.program.outputs[0].name].shape == (2, 8)


def test_compile_prints_without_a_device(cli: Callable[..., Any]) -> None:
    text = cli("compile", "facelet_xs", "--print")
    assert text.code == 0
    assert "STEP(NAME)" in text.out
    summary = json.loads(cli("compile", "facelet_xs", "--json").out)
    assert summary["arena_bytes"] <= 1.25 * summary["largest_live_bytes"]
    assert "largest live bytes" in cli("compile", "facelet_xs").out
    assert cli("compile", "facelet_xs", "--block", 5).code == 2


def test_devices_says_what_works(runtime: OpenCLRuntime, cli: Callable[..., Any]) -> None:
    found = json.loads(cli("devices", "--json", "--quiet").out)
    mine = next(entry for entry in found if entry["name"] == runtime.device.name)
    assert mine["works"], mine["state"]


def test_without_pyopencl_the_mending_is_named(tmp_path: Path) -> None:
    (tmp_path / "pyopencl.py").write_text("raise ImportError('not here')\n")
    code = "from facelet.cli import run; raise SystemExit(run(['devices']))"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 2
    assert "pip install 'facelet[opencl]'" in done.stderr


@pytest.mark.parametrize(("low", "high"), [(1.0, -1.0), (2.0, 0.5), (float("inf"), 1.0)])
def test_limits_the_wrong_way_round_give_the_upper_one(runtime: OpenCLRuntime, low: float, high: float) -> None:
    b = Builder({"image": (1, 16, 5, 7), "rows": (1, 7)})
    limits: dict[str, Any] = {"min": low, "max": high}
    ends = [
        b.conv("image", 16, (3, 3), pads=(1, 1, 1, 1), activation="Clip", **limits),
        b.conv("image", 16, (3, 3), pads=(1, 1, 1, 1), groups=16, activation="Clip", **limits),
        b.conv("image", 8, groups=4, activation="Clip", **limits),
        b.add("Clip", "image", **limits),
        b.add("Clip", "rows", **limits),
        b.add("Clip", b.conv("image", 5), **limits),
        b.add("Clip", b.add("Gemm", "rows", b.constant(5, 7), b.constant(5)), **limits),
    ]
    program = lower(b.graph(ends), runtime.device.config)
    executable = runtime.load(program, whole=True)
    compare(executable, program, "pocl")
    feeds = {name: b.rng.standard_normal(b.shapes[name]).astype(np.float32) for name in b.inputs}
    assert all((value == high).all() for value in executable.run(feeds).values())


def test_a_second_net_of_one_text_is_checked(runtime: OpenCLRuntime) -> None:
    def net(scale: float) -> Graph:
        b = Builder({"x": (1, 16, 8, 8)})
        b.conv("x", 16, (3, 3), pads=(1, 1, 1, 1))
        graph = b.graph()
        return replace(graph, constants={name: array * np.float32(scale) for name, array in graph.constants.items()})

    first, second = (lower(net(scale), runtime.device.config) for scale in (1, 2))
    Session(first, runtime)
    assert check_record(runtime.device, first, True).exists()
    assert not check_record(runtime.device, second, True).exists()
    Session(second, runtime)
    assert check_record(runtime.device, second, True).exists()


@pytest.mark.parametrize(
    ("errors", "has_ld", "message"),
    [
        ("Final linking of kernel run_stem_0 failed.", False, "PoCL needs the program ld; install binutils"),
        ("Final linking of kernel net failed.\nAborted", False, "PoCL needs the program ld; install binutils"),
        ("Final linking of kernel net failed.", True, "the driver crashed \\(SIGABRT\\) Final linking"),
        ("", False, "the driver crashed \\(SIGABRT\\)$"),
        ("LLVM ERROR: IO failure on output stream: No space left on device", True, "the disk is full"),
    ],
)
def test_a_crash_is_told_by_its_cause(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, errors: str, has_ld: bool, message: str
) -> None:
    if has_ld:
        (tmp_path / "ld").write_text("#!/bin/sh\n")
        (tmp_path / "ld").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    error = driver_crash("pocl", subprocess.CompletedProcess([], -signal.SIGABRT, "", errors))
    assert re.search(message, str(error))

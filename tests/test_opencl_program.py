"""Invariant: programs are pure data, their memory plans sound, and every op has a lowering. No device is needed."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facelet.errors import GraphError
from facelet.graph.ir import Graph, Node
from facelet.graph.onnx_io import read_graph
from facelet.graph.ops import OPS
from facelet.graph.passes import optimise
from facelet.model_files import SHIPPED_MODELS, find_model
from facelet.opencl import layout, pocl_rescue
from facelet.opencl.build import bits
from facelet.opencl.config import AVX2, AVX512, GPU, Config, Tile, choose_config
from facelet.opencl.lower import LOWERINGS, lower
from facelet.opencl.memory import Lifetime, plan
from facelet.opencl.pocl_rescue import WIDE_FLAGS, mended, pocl_trouble, rescue, target
from facelet.opencl.render import FOLDER, argument_names, source, template
from facelet.opencl.tiles import best_tile, candidates
from tiny_graphs import Builder, every_op


def test_every_op_has_a_lowering_and_no_other() -> None:
    assert set(LOWERINGS) == set(OPS)


def test_the_tiny_graph_holds_every_op() -> None:
    int8 = {"QuantizeLinear", "DequantizeLinear", "Int8Conv", "Int8Table", "Int8Mul", "Table", "Channels"}
    assert {node.op for node in every_op(1).nodes} == set(OPS) - int8


def test_an_unknown_op_is_refused_by_name() -> None:
    odd = Node("Einsum", ("x",), "y", {}, "the_odd_one")
    graph = Graph("g", ("x",), ("y",), (odd,), {}, {"x": (1, 4), "y": (1, 4)})
    with pytest.raises(GraphError, match="Einsum 'the_odd_one': op Einsum is not supported"):
        lower(graph)


@pytest.mark.parametrize("config", [AVX512, AVX2], ids=["16", "8"])
@pytest.mark.parametrize("name", SHIPPED_MODELS)
def test_shipped_models_fit_into_little_memory(name: str, config: Config) -> None:
    path = find_model(name)
    if path.suffix != ".onnx":
        pytest.skip("not an ONNX model")
    program = lower(optimise(read_graph(path)), config)
    assert program.live_bytes <= program.arena_bytes <= 1.25 * program.live_bytes
    assert program.arena_bytes < 1.5e6


def test_text_holds_each_kernel_once_and_its_explanation_once() -> None:
    program = lower(every_op(1))
    text = source(program, whole=True)
    for kernel in program.kernels:
        assert text.count(f"#define NAME {kernel.name}\n") == 1
    assert text.count("// Dense convolution of a blocked image") == 1
    assert "case 0: for" in text
    assert "run_conv_0" in source(program, whole=False)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.cl")), ids=lambda path: path.stem)
def test_templates_explain_their_knobs(path: Any) -> None:
    text = template(path.stem)
    assert text.startswith("//")
    if path.stem not in ("prelude", "int8_prelude", "net"):
        assert len(argument_names(path.stem)) == len(set(argument_names(path.stem)))
    used = {kernel.template: kernel.knobs for kernel in lower(every_op(1)).kernels}
    explained = text.split("STEP(NAME)")[0] + template("prelude")
    assert all(knob in explained for knob, _ in used.get(path.stem, ()))


def test_lowering_needs_no_opencl() -> None:
    code = (
        "import sys; from facelet.opencl.lower import lower; from facelet.opencl.render import source; "
        "from facelet.opencl.sample import sample_graph; print(len(source(lower(sample_graph()), whole=True))); "
        "assert 'pyopencl' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 5000


def test_concatenations_in_whole_blocks_cost_no_launch() -> None:
    b = Builder({"x": (2, 3, 8, 8)})
    stem = b.conv("x", 32, (3, 3), (2, 2), (1, 1, 1, 1))
    joined = b.add("Concat", b.conv(stem, 16), b.conv(stem, 32), b.conv(stem, 20), axis=1)
    b.conv(joined, 16)
    program = lower(b.graph(), AVX512)
    assert [launch.kernel.split("_")[0] for launch in program.launches] == ["stem", *["conv"] * 4, "map"]


def test_launches_stay_inside_their_memory() -> None:
    program = lower(every_op(2))
    for launch in program.launches:
        target = launch.target
        if target is not None:
            room = {"arena": program.arena_floats, "output": program.output_floats}[target.space]
            steps = [step * (size - 1) for step, size in zip(target.strides, target.shape, strict=True)]
            assert target.block or target.offset + sum(steps) < room


lifetimes = st.builds(
    lambda size, first, length: Lifetime(size, first, first + length),
    st.integers(1, 1000),
    st.integers(0, 20),
    st.integers(0, 8),
)


@given(st.lists(lifetimes, max_size=25))
@settings(max_examples=200, deadline=None)
def test_buffers_that_live_together_do_not_overlap(buffers: list[Lifetime]) -> None:
    found = plan(buffers)
    assert found.size >= found.largest_live
    for i, one in enumerate(buffers):
        assert found.offsets[i] + one.size <= found.size
        assert found.offsets[i] % 16 == 0
        for j, other in enumerate(buffers[:i]):
            if one.first <= other.last and other.first <= one.last:
                first, second = sorted((i, j), key=lambda k: found.offsets[k])
                assert found.offsets[first] + buffers[first].size <= found.offsets[second]


def test_a_chain_needs_two_buffers() -> None:
    # a chain of four: two live at once, so 2 x 96 floats (90 rounded up to whole cache lines)
    found = plan([Lifetime(90, i, i + 1) for i in range(4)])
    assert (found.size, found.largest_live) == (192, 192)


@pytest.mark.parametrize("config", [AVX512, AVX2], ids=["16", "8"])
def test_tiles_fit_into_registers_and_images(config: Config) -> None:
    for blocks, height, width in ((1, 1, 1), (5, 1, 36), (3, 12, 12), (7, 3, 3)):
        tile = best_tile(config, "", blocks, height, width)
        assert tile in candidates(config, blocks, height, width)
        assert tile.height <= height
        assert tile.width <= width
        assert tile.height * tile.width * tile.blocks + tile.blocks < config.registers


def test_a_tuned_tile_is_taken_where_it_fits() -> None:
    config = Config(tiles={"a": Tile(1, 2, 1), "b": Tile(1, 99, 1)})
    assert best_tile(config, "a", 4, 8, 8) == Tile(1, 2, 1)
    assert best_tile(config, "b", 4, 8, 8).width <= 8


def test_packed_weights_hold_every_weight() -> None:
    weight = np.arange(1, 1 + 20 * 10 * 3 * 3, dtype=np.float32).reshape(20, 10, 3, 3)
    packers: list[Callable[[], Any]] = [
        lambda: layout.pack_conv(weight, 8, 3),
        lambda: layout.pack_stem(weight, 8, 1),
        lambda: layout.pack_depthwise(weight[:, :1], 8),
        lambda: layout.pack_gemm(weight.reshape(20, 90), 8),
    ]
    for pack in packers:
        packed = pack()
        wanted = weight[:, :1] if pack is packers[2] else weight
        assert set(packed.tolist()) == {0.0, *wanted.reshape(-1).tolist()}


def test_packed_conv_weights_by_hand() -> None:
    # two outputs of one channel, blocks of 2: for each pixel of the kernel the weights of both outputs
    weight = np.array([[[[1, 2]]], [[[3, 4]]]], np.float32)
    assert layout.pack_conv(weight, 2, 1).tolist() == [1, 3, 2, 4]


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        ("avx2 fma bmi2 f16c avx512f avx512cd avx512bw avx512dq avx512vl", "skylake-avx512"),
        ("avx2 fma bmi2 f16c avx512f", "haswell"),
        ("sse2", "x86-64"),
    ],
)
def test_an_unknown_processor_is_named_by_what_it_can_do(flags: str, name: str) -> None:
    assert target(flags.split()) == name


@pytest.mark.parametrize(
    ("answer", "flags", "name"),
    [
        ("generic", {"sse2"}, "x86-64"),
        ("generic", WIDE_FLAGS, "skylake-avx512"),
        ("znver3", WIDE_FLAGS | {"avx512_vnni"}, "skylake-avx512"),  # a Zen 4 as LLVM 14 sees it
        ("znver3", {"avx2", "fma", "bmi2", "f16c"}, "znver3"),
        ("icelake-server", WIDE_FLAGS, "icelake-server"),
        ("rocketlake", WIDE_FLAGS, "rocketlake"),
    ],
)
def test_a_name_that_tells_of_the_registers_stays(answer: str, flags: set[str], name: str) -> None:
    assert mended(answer, flags) == name


@pytest.mark.parametrize(
    ("answer", "flags", "trouble"),
    [
        ("generic", WIDE_FLAGS, "cannot build for it; set FACELET_POCL_PATCH=1"),
        ("generic", {"sse2"}, "cannot build for it; set FACELET_POCL_PATCH=1"),
        ("znver3", WIDE_FLAGS, "takes this processor for a znver3, without AVX-512, .*; set FACELET_POCL_PATCH=1"),
        ("znver3", {"avx2", "fma", "bmi2", "f16c"}, None),
        ("rocketlake", WIDE_FLAGS, None),
        ("", WIDE_FLAGS, None),  # no PoCL of PyPI
    ],
)
def test_pocl_stays_as_it_is_unless_asked(
    answer: str, flags: set[str], trouble: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    patched: list[str] = []

    def patch(_question: object, better: str) -> bool:
        patched.append(better)
        return True

    monkeypatch.setattr(pocl_rescue, "_answer", lambda _question: answer)
    monkeypatch.setattr(pocl_rescue, "_question", object)
    monkeypatch.setattr(pocl_rescue, "_patch", patch)
    reported = pocl_trouble(flags)
    assert re.search(trouble, reported) if trouble else reported == ""
    for value in (None, "", "0", "yes"):
        monkeypatch.delenv("FACELET_POCL_PATCH", raising=False)
        if value is not None:
            monkeypatch.setenv("FACELET_POCL_PATCH", value)
        assert not rescue(flags)
    assert patched == []
    monkeypatch.setenv("FACELET_POCL_PATCH", "1")
    assert rescue(flags) == (trouble is not None)
    assert patched == [target(flags)] * (trouble is not None)


@pytest.mark.parametrize(
    ("device", "version", "flags", "wanted"),
    [
        ("pocl-3.0", "pthread-skylake-avx512", WIDE_FLAGS, AVX512),
        ("pocl-3.0", "pthread-rocketlake", WIDE_FLAGS | {"avx512_vnni"}, replace(AVX512, vnni=True)),  # a Xeon of 2025
        ("pocl-3.0", "pthread-haswell", WIDE_FLAGS, AVX2),
        ("pocl-3.0", "pthread-rocketlake", {"avx2"}, AVX2),
        ("intel", "OpenCL 3.0 LINUX", WIDE_FLAGS | {"avx512_vnni"}, AVX512),
    ],
)
def test_vectors_are_as_wide_as_compiler_and_processor(
    device: str, version: str, flags: set[str], wanted: Config
) -> None:
    assert choose_config(device, "cpu", version, flags) == wanted
    assert choose_config(device, "gpu", version, flags) == GPU


def test_numbers_become_the_bits_of_float32() -> None:
    # IEEE 754: 1.0 is 0x3f800000, minus infinity 0xff800000; 1e39 is too large for a float32
    assert [bits(1.0), bits(float("-inf")), bits(1e39)] == [0x3F800000, 0xFF800000 - 2**32, 0x7F800000]

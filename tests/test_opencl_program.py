"""Invariant and hand-computed: memory plans, layouts and programs, with no device."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import Ended
from facelet.errors import GraphError
from facelet.graph.ir import Graph, Node
from facelet.graph.onnx_io import read_graph
from facelet.graph.ops import OPS
from facelet.model_files import SHIPPED_MODELS, find_model, load_model
from facelet.opencl import pack
from facelet.opencl.lower import LOWERINGS, lower
from facelet.opencl.memory import ALIGN, Life, plan
from facelet.opencl.program import Tuning
from facelet.opencl.render import tile_of
from facelet.opencl.trial import trial_graph
from test_graph_ops import NOT_FROM_ONNX

LIVES = st.lists(
    st.tuples(st.integers(1, 5000), st.integers(-1, 30), st.integers(0, 10)).map(
        lambda t: Life(t[0], t[1], t[1] + t[2])
    ),
    min_size=1,
    max_size=40,
)


@settings(deadline=None, derandomize=True)
@given(LIVES)
def test_what_lives_together_lies_apart(lives: list[Life]) -> None:
    found = plan(lives)
    for i, a in enumerate(lives):
        assert found.offsets[i] % ALIGN == 0
        assert found.offsets[i] + a.size <= found.arena
        for j, b in enumerate(lives[:i]):
            if a.first <= b.last and b.first <= a.last:
                begin, end = found.offsets[i], found.offsets[i] + a.size
                assert end <= found.offsets[j] or begin >= found.offsets[j] + b.size
    assert found.live <= found.arena


def test_a_chain_takes_two_places() -> None:
    # 0 -> 1 -> 2 -> 3, each read by the next: the largest neighbours are 320 and 480
    found = plan([Life(160, -1, 0), Life(320, 0, 1), Life(480, 1, 2), Life(16, 2, 3)])
    assert (found.arena, found.live) == (800, 800)


@pytest.mark.parametrize("name", SHIPPED_MODELS)
@pytest.mark.parametrize("batch", [1, 8])
def test_the_arena_is_hardly_larger_than_what_lives(name: str, batch: int) -> None:
    program = lower(read_graph(find_model(name), batch))
    assert program.arena_floats <= 1.25 * program.live_floats


def test_dense_weights_by_hand() -> None:
    weight = np.arange(3 * 5, dtype=np.float32).reshape(3, 5, 1, 1)  # three filters of five channels
    packed = pack.dense(weight, 2, 2, planar=False).reshape(-1)
    # one group of two blocks of two filters, the fourth empty; input blocks of 2, 2 and 1 channels
    assert packed.tolist() == [v for c in range(5) for v in (c, c + 5, c + 10, 0)]
    assert pack.depthwise(weight[:, :1], 2).reshape(-1).tolist() == [0, 5, 10, 0]
    assert pack.gemm(weight[:, :2, 0, 0], 2).reshape(-1).tolist() == [0, 5, 1, 6, 10, 0, 11, 0]
    assert pack.channels(np.array([1, 2, 3], np.float32), 2, fill=9).tolist() == [1, 2, 3, 9]


def test_tiles_stay_within_the_registers() -> None:
    for width in range(1, 50):
        for blocks in range(1, 9):
            pixels, chosen = tile_of(width, blocks, Tuning(pixels=6, blocks=2))
            assert pixels * chosen <= 12
            assert blocks % chosen == 0


def test_every_op_has_a_lowering() -> None:
    assert set(LOWERINGS) == set(OPS)
    assert set(NOT_FROM_ONNX) <= set(LOWERINGS)


def test_the_text_depends_on_the_network_alone() -> None:
    first, second = (lower(read_graph(find_model("facelet_xs"))) for _ in range(2))
    assert first.source == second.source
    assert first.launches == second.launches
    assert first.source.count("LAYER ") == len(first.kernels) + 1  # and the macro itself
    assert sum(launch.macs for launch in first.launches) == load_model("facelet_xs").card.macs


def test_parts_of_a_concatenation_are_written_where_they_belong() -> None:
    program = lower(read_graph(find_model("nn4_small2")))
    assert not [launch for launch in program.launches if launch.kernel.startswith(("copy", "gather", "join"))]


def test_what_has_no_kernel_is_refused() -> None:
    graph = trial_graph()
    pad = Node("Pad", ("a",), "padded", {"pads": (0, 1, 0, 0, 0, 0, 0, 0), "value": 0.0}, "the_pad")
    wider = Graph(
        graph.name,
        graph.inputs,
        ("padded",),
        (graph.nodes[0], pad),
        graph.constants,
        {**graph.shapes, "padded": (1, 17, 6, 6)},
    )
    with pytest.raises(GraphError, match="the_pad' pads channels"):
        lower(wider)


def test_compile_needs_no_device(cli: Callable[..., Ended]) -> None:
    said = json.loads(cli("compile", "facelet_xs", "--json").out)
    assert said["launches"] == 38
    assert said["arena_bytes"] <= 1.25 * said["largest_live_bytes"]
    text = cli("compile", "facelet_xs", "--print", "--vector", "8").out
    assert "#define V 8" in text
    assert "__kernel" in text
    one = cli("compile", "facelet_xs", "--print", "--single").out
    assert "ENTRY net(BUFFERS)" in one
    assert "1 launches" in cli("compile", "facelet_xs", "--single").out
    for arguments, told in (
        (("facelet_xs", "--vector", "5"), "--vector 5"),
        (("dlib_resnet",), "only .onnx files"),
        (("facelet_sx",), "facelet_s"),
    ):
        ended = cli("compile", *arguments)
        assert ended.code == 2
        assert told in ended.err

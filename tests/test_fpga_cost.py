"""Golden (published builds of PipeCNN), hand-computed and invariant: the FPGA cost model, boards and explorer."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facelet.errors import BoardError, GraphError, InputError
from facelet.fpga.boards import BOARDS, EFFICIENCY, LAUNCH_US
from facelet.fpga.cost import DENSE, DEPTHWISE, POOL, LayerShape, layer_cost, weights_stay, window_stalls
from facelet.fpga.engine import EngineConfig, pipecnn
from facelet.fpga.explore import Candidate, explore, net_ms
from facelet.fpga.pipecnn import pipecnn_dsp, pipecnn_kle, pipecnn_m20k
from facelet.fpga.published import alexnet
from facelet.fpga.report import design_report
from facelet.fpga.resources import check_fits, usage, with_windows
from facelet.fpga.schedule import layer_shapes
from facelet.fpga.validate import alexnet_ms, points
from facelet.graph.ir import Graph, Node
from facelet.graph.onnx_io import read_graph
from facelet.graph.ops import node_macs
from facelet.graph.passes import optimise
from facelet.graph.passes.prune import prune
from facelet.model_files import find_model

PLENTY = 1e9
"""Bytes per cycle of a memory that nothing waits for."""


def net(name: str) -> Graph:
    return optimise(prune(optimise(read_graph(find_model(name)))).graph)


@pytest.fixture(scope="module")
def xs() -> tuple[LayerShape, ...]:
    return layer_shapes(net("facelet_xs"))


# PipeCNN, documents/README.md: AlexNet on the DE1-SoC, VEC 8, LANE 8, GP 7, 122.53 MHz


def test_alexnet_on_the_de1_soc_takes_what_was_measured() -> None:
    measured = [41.557, 33.993, 23.057, 17.307, 11.631, 14.364, 6.433, 1.648]
    times = list(alexnet_ms(pipecnn(8, 8, cached=False), BOARDS["de1-soc"].gbs, 122.53).values())
    for predicted, published in zip(times, measured, strict=True):
        assert predicted == pytest.approx(published, rel=0.05)
    assert sum(times) == pytest.approx(149.988, rel=0.02)


def test_alexnet_on_a_narrower_build_takes_what_a_user_measured() -> None:
    times = alexnet_ms(pipecnn(4, 4, cached=False), BOARDS["de1-soc"].gbs, 139.56)  # PipeCNN issue #95
    assert sum(times.values()) == pytest.approx(351.607, rel=0.05)


def test_the_fitted_constants_follow_from_fc6_and_fc8() -> None:
    # every vector of 64 weight bytes comes with one of 8 input bytes; the difference of two layers frees the launch
    read = (9216 * 4096, 4096 * 1000)
    gbs = (read[0] - read[1]) * 72 / 64 / (14.364 - 1.648) / 1e6
    assert gbs / 6.4 == pytest.approx(EFFICIENCY, rel=0.001)
    launch_us = 1e3 * (14.364 - read[0] * 72 / 64 / gbs / 1e6)
    assert launch_us == pytest.approx(LAUNCH_US, abs=3)  # less the first window and the pipeline


@pytest.mark.parametrize(
    ("vec", "lane", "dsp"),
    [
        *((4, 2, 27), (4, 4, 31), (4, 8, 39), (4, 16, 55), (4, 32, 87)),
        *((8, 2, 31), (8, 4, 39), (8, 8, 55), (8, 16, 87), (8, 32, 151)),
        *((16, 2, 39), (16, 28, 247)),
    ],
)
def test_dsp_of_figure_6_is_exact(vec: int, lane: int, dsp: int) -> None:
    assert pipecnn_dsp(pipecnn(vec, lane, cached=True), 23) == dsp


def test_logic_and_ram_of_figure_6_are_near_where_they_were_not_fitted() -> None:
    for lane, kle in {2: 80.5, 4: 82.0, 8: 85.0, 16: 92.3, 32: 108.4}.items():
        assert pipecnn_kle(pipecnn(8, lane, cached=True)) == pytest.approx(kle, rel=0.02)
    for lane, m20k in {2: 311, 4: 406, 8: 601, 16: 1003}.items():
        assert pipecnn_m20k(pipecnn(8, lane, cached=True)) == pytest.approx(m20k, rel=0.06)


def test_every_bar_is_kept_and_not_by_fitting_alone() -> None:
    every = points()
    assert [point.name for point in every if point.within is False] == []
    held = [point for point in every if point.bar is not None]
    assert len(held) == 49
    assert sum(not point.fitted for point in held) >= 25
    for unit, n in {"DSP": 14, "kLE": 14, "M20K": 11, "ms": 10}.items():
        assert sum(point.unit == unit for point in held) == n


def test_a_point_out_of_its_bar_says_so() -> None:
    point = next(point for point in points() if point.name == "DE1-SoC AlexNet L3")
    assert replace(point, predicted=1.051 * point.published).within is False
    assert replace(point, bar=None).within is None


# cycles, by hand


def test_iterations_without_waiting() -> None:
    # L2: two groups of 128 / 8 lane groups, 27 x 27 outputs, 25 taps of 48 / 8 vectors
    second = alexnet()[1]
    cost = layer_cost(second, pipecnn(8, 8, cached=False), PLENTY)
    assert cost.iterations == 2 * 16 * 27 * 27 * 25 * 6
    assert cost.bound == "compute"
    # windows: 27 = 3 x 7 + 6 columns reach 11 or 10 pixels; the first is waited for
    assert cost.fill == pytest.approx(5 * 11 * 6 + 300)
    assert cost.input_bytes == 32 * 27 * (3 * 5 * 11 + 5 * 10) * 6 * 8
    assert cost.weight_bytes == 32 * 27 * 4 * 150 * 64
    assert sum(shape.macs for shape in alexnet()) == 724_406_816


def test_weights_that_fit_are_read_once() -> None:
    shape = LayerShape("conv", DENSE, 64, 128, 12, 12, 3, 3)
    small = EngineConfig(8, 16, gp=7, weight_buffer=9 * 8 * 8 * 16 - 1)
    large = replace(small, weight_buffer=9 * 8 * 8 * 16)
    assert (weights_stay(shape, small), weights_stay(shape, large)) == (False, True)
    assert layer_cost(shape, large, 4.0).weight_bytes == 64 * 128 * 9
    assert layer_cost(shape, small, 4.0).weight_bytes == 64 * 128 * 9 * 12 * 2
    assert layer_cost(shape, large, 4.0).cycles < layer_cost(shape, small, 4.0).cycles


def test_stalls_of_one_window() -> None:
    # 3 outputs of 10 iterations; 10 vectors of 32 + 8 bytes and 5 of 8 bytes at 20 bytes per cycle: 10 extra cycles
    assert window_stalls(3, 10, 15, True, (32, 8), 0, 20.0) == 10
    assert window_stalls(3, 10, 15, True, (32, 8), 60, 20.0) == 7  # 60 bytes were there already
    assert window_stalls(3, 10, 15, False, (32, 8), 60, 20.0) == 0
    assert window_stalls(1, 10, 10, True, (32, 8), 60, 20.0) == 10  # no idle iteration to read ahead in
    assert window_stalls(3, 10, 36, False, (32, 8), 0, 20.0) == 6  # the next window is longer than the work
    # held for 3 columns: 15 iterations of 32 / 3 + 8 bytes and 15 of 32 / 3 at 20, or at 10, bytes per cycle
    assert window_stalls(3, 10, 15, True, (32, 8), 0, 20.0, True) == 0
    assert window_stalls(3, 10, 15, True, (32, 8), 0, 10.0, True) == pytest.approx(15 * 56 / 30 + 15 * 32 / 30 - 30)
    assert window_stalls(3, 10, 15, True, (12, 20), 70, 20.0, True) == 0  # 3 stalls; 12 cycles to read ahead in


def test_weights_that_stay_are_waited_for_once_per_lane_group() -> None:
    shape = LayerShape("conv", DENSE, 32, 16, 2, 4)
    cost = layer_cost(shape, EngineConfig(8, 8, gp=4, weight_buffer=4 * 64, read_ahead=0), 8.0)
    # two lane groups, two rows, one window of 4 outputs and 16 vectors; 4 iterations of 64 + 8 bytes take 9 cycles each
    assert (cost.iterations, cost.stalls) == (2 * 2 * 16, 2 * 4 * 8)
    assert (cost.weight_bytes, cost.input_bytes, cost.output_bytes) == (2 * 4 * 64, 2 * 2 * 16 * 8, 2 * 2 * 4 * 8)
    assert cost.memory_cycles == (512 + 512 + 128) / 8
    assert cost.cycles == 144 + 16 + 300  # the bus is slower than the array with its stalls
    assert cost.bound == "fill"


def test_the_efficiency_of_the_dense_array_counts_its_own_products() -> None:
    # 16 x 16 channels on 4 x 4 pixels: 4,096 products; an array of 64 could do 64 in every cycle of the frame
    shapes = (LayerShape("dense", DENSE, 16, 16, 4, 4), LayerShape("dw", DEPTHWISE, 16, 16, 4, 4, 3, 3))
    board = BOARDS["de1-soc"]
    report = design_report("two", shapes, EngineConfig(8, 8, 8), board, "by hand")
    cycles = report.ms * 1e3 * board.clock_mhz
    assert report.macs == 4096 + 16 * 16 * 9
    assert report.efficiency == pytest.approx(4096 / (64 * cycles))


def test_depthwise_layers_and_pools() -> None:
    config = EngineConfig(8, 16, 32, gp=7)
    narrow = LayerShape("dw", DEPTHWISE, 64, 64, 12, 12, 3, 3)
    assert layer_cost(narrow, config, PLENTY).iterations == 2 * 12 * 12 * 9
    assert layer_cost(narrow, config, PLENTY).weight_bytes == 64 * 9
    assert narrow.macs == 64 * 12 * 12 * 9
    pool = LayerShape("pool", POOL, 64, 64, 6, 6, 3, 3, 2)
    assert layer_cost(pool, config, PLENTY).iterations == 4 * 36 * 9
    assert (layer_cost(pool, config, PLENTY).weight_bytes, pool.macs) == (0, 0)
    with pytest.raises(GraphError, match="no depthwise array"):
        layer_cost(narrow, replace(config, dw_lanes=0), PLENTY)


def test_a_residual_is_read() -> None:
    plain = LayerShape("conv", DENSE, 32, 32, 8, 8)
    config = EngineConfig(8, 8)
    gap = (
        layer_cost(replace(plain, residual=True), config, 8.0).input_bytes - layer_cost(plain, config, 8.0).input_bytes
    )
    assert gap == 32 * 8 * 8


SHAPES = st.builds(
    LayerShape,
    name=st.just("layer"),
    kind=st.just(DENSE),
    in_channels=st.integers(1, 70),
    out_channels=st.integers(1, 70),
    out_h=st.integers(1, 20),
    out_w=st.integers(1, 20),
    kernel_h=st.integers(1, 5),
    kernel_w=st.integers(1, 5),
    stride_w=st.integers(1, 3),
)
CONFIGS = st.builds(
    EngineConfig,
    vec_size=st.sampled_from((1, 4, 8)),
    lane_num=st.sampled_from((1, 6, 16)),
    dw_lanes=st.just(4),
    gp=st.integers(1, 9),
    weight_buffer=st.sampled_from((0, 4096, 10**6)),
)


@settings(max_examples=60, deadline=None)
@given(shape=SHAPES, config=CONFIGS, width=st.floats(0.5, 100))
def test_no_layer_beats_the_array_or_the_bus(shape: LayerShape, config: EngineConfig, width: float) -> None:
    cost = layer_cost(shape, config, width)
    assert cost.cycles >= shape.macs / config.macs_per_cycle
    assert cost.cycles >= cost.bytes / width
    assert cost.stalls >= 0
    assert cost.weight_bytes >= shape.macs / (shape.out_h * shape.out_w)
    assert layer_cost(shape, config, 2 * width).cycles <= cost.cycles + 1e-6


# nets, boards, resources


@pytest.mark.parametrize("name", ["facelet_xs", "nn4_small2"])
def test_the_schedule_has_every_product_of_the_net(name: str) -> None:
    graph = net(name)
    convolutions = [node for node in graph.nodes if node.op in ("Conv", "FusedConv", "Gemm")]
    pools = sum(
        math.prod(graph.shapes[n.output]) * math.prod(n["kernel"]) for n in graph.nodes if n.op == "AveragePool"
    )
    pools += sum(math.prod(graph.shapes[n.output]) for n in graph.nodes if n.op == "Pad")  # one tap each
    shapes = layer_shapes(graph)
    assert sum(shape.macs for shape in shapes) == sum(node_macs(graph, node) for node in convolutions) + pools
    assert sum(shape.kind == POOL for shape in shapes) == sum(node.op == "MaxPool" for node in graph.nodes)


def test_groups_and_strides_reach_the_schedule() -> None:
    sizes = {"strides": (1, 2), "dilations": (1, 1), "pads": (1, 1, 1, 1), "groups": 2}
    weights = {"w": np.zeros((8, 2, 3, 3), np.float32), "b": np.zeros(8, np.float32)}
    shapes = {"x": (1, 4, 6, 6), "y": (1, 8, 6, 3), "w": (8, 2, 3, 3), "b": (8,)}
    graph = Graph("net", ("x",), ("y",), (Node("Conv", ("x", "w", "b"), "y", sizes),), weights, shapes)
    assert layer_shapes(graph) == (LayerShape("y", DENSE, 4, 8, 6, 3, 3, 3, 2, 2),)
    dilated = replace(graph, nodes=(Node("Conv", ("x", "w", "b"), "y", {**sizes, "dilations": (2, 2)}),))
    with pytest.raises(GraphError, match="is dilated"):
        layer_shapes(dilated)


def test_what_the_engine_does_not_run_is_refused() -> None:
    with pytest.raises(GraphError, match=r"LRN .*facelet prune"):
        layer_shapes(optimise(read_graph(find_model("nn4_small2"))))
    shapes = {"x": (1, 4, 8, 8), "y": (1, 4, 8, 8)}
    with pytest.raises(GraphError, match="Sigmoid 'y' is not a layer of the engine, which runs"):
        layer_shapes(Graph("net", ("x",), ("y",), (Node("Sigmoid", ("x",), "y"),), {}, shapes))


def test_every_figure_of_a_board_has_a_source() -> None:
    assert len(BOARDS) == 8
    for board in BOARDS.values():
        given_in_words = {"name", "device", "vendor", "sources"}
        assert {field.name for field in fields(board)} - given_in_words == set(board.sources), board.name
        assert all(len(source) > 8 for source in board.sources.values())
        assert board.power_w is None or "FPT 2017" in board.sources["power_w"]


def test_resources_by_hand() -> None:
    config = EngineConfig(8, 8, 8, weight_buffer=16_384, window_buffer=2048, dw_window_buffer=2048)
    used = usage(config, BOARDS["de1-soc"])
    assert used.dsp == 36 + 64 // 2 + 8 // 2 + 8
    assert used.logic == round(13_100 + 12.6 * 72 + 248 * 16 + 64 * 8) + 1_080
    # M10K of 40 bits x 256: the weights 512 bits x 256, two and two windows 64 bits x 256, ports of two blocks' depth
    ports = 2 * (13 + 2 + 2 + 7 + 2 + 3 * 2)
    assert used.ram == 20 + 30 + 13 + 2 * 2 + 2 * 2 + ports + round(1.6 * 64)
    assert used.limits == (int(32_070 * 0.9), 87, 397)
    assert usage(config, BOARDS["pynq-z2"]).dsp == 36 + 64 + 8 + 8


def test_a_board_that_is_too_small_is_told_why(xs: tuple[LayerShape, ...]) -> None:
    with pytest.raises(BoardError, match=r"de1-soc: too small .*DSP first, 188 DSP blocks needed .* 87 usable"):
        check_fits(EngineConfig(16, 16, 16), BOARDS["de1-soc"])
    with pytest.raises(BoardError, match="4096 MACs per cycle"):
        check_fits(EngineConfig(32, 128, 16), BOARDS["stratix10-2800"])
    with pytest.raises(BoardError, match=r"tiny: too small .*logic first, [\d,]+ ALM needed"):
        explore(xs, replace(BOARDS["de1-soc"], name="tiny", logic=8_000))
    with pytest.raises(InputError, match="1 or more"):
        EngineConfig(0, 8)


@pytest.mark.parametrize(("name", "binding"), [("de1-soc", "DSP"), ("pynq-z2", "logic")])
def test_the_explorer_finds_the_fastest_that_fits(xs: tuple[LayerShape, ...], name: str, binding: str) -> None:
    board = BOARDS[name]
    found = explore(xs, board)
    assert found.best.used.fits
    assert found.best.ms == min(candidate.ms for candidate in found.fitting)
    assert found.best.ms == pytest.approx(net_ms(xs, found.best.config, board))
    assert found.pareto[0] == found.best
    assert not any(_beats(a, b) for a in found.fitting for b in found.pareto)
    assert found.binding == binding
    # more of what binds helps, more of anything else does not
    for name_of, kind in {"DSP": "dsp", "logic": "logic", "RAM": "ram_blocks"}.items():
        more = explore(xs, replace(board, **{kind: 2 * getattr(board, kind)}))
        assert (more.best.ms < 0.99 * found.best.ms) == (name_of == binding), name_of
    once = explore(xs, board, launch_per_layer=False)
    assert found.best.ms - once.best.ms == pytest.approx((len(xs) - 1) * 0.098, rel=0.01)


def test_a_fast_board_waits_for_its_host(xs: tuple[LayerShape, ...]) -> None:
    found = explore(xs, BOARDS["zcu104"])
    assert found.binding.startswith("launches")
    assert found.best.ms > len(xs) * 0.098


def test_windows_hold_what_the_net_needs(xs: tuple[LayerShape, ...]) -> None:
    config = with_windows(EngineConfig(8, 8, 8, gp=4), xs)
    # a 1x1 convolution of 384 channels on 1 pixel needs 48 words, one of 192 on 4 pixels 96, the largest: 128
    assert config.window_buffer == 8 * 128
    assert config.dw_window_buffer == 8 * 64  # 6 x 6 taps


def _beats(a: Candidate, b: Candidate) -> bool:
    return a.ms < b.ms and a.share < b.share

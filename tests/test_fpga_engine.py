"""Hand-computed (packing, places, rows) and oracle (NumPy): the FPGA engine's table, its kernels without channels."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import Ended
from facelet.errors import BoardError, DeviceError, GraphError, InputError
from facelet.fpga.boards import BOARDS
from facelet.fpga.cost import DENSE, DEPTHWISE, LayerShape, loop_trips, window_pairs
from facelet.fpga.emulate import check_layers, emulate, quantized
from facelet.fpga.engine import EngineConfig, pipecnn
from facelet.fpga.export import pack_model, ppm
from facelet.fpga.lower import layer_table
from facelet.fpga.pack import LARGEST_SHIFT, pack_dense, pack_depthwise
from facelet.fpga.runner import queue_bytes
from facelet.fpga.settings import header, kernel_source, settings
from facelet.fpga.table import FIELDS, MOST_TAPS
from facelet.graph.ir import Graph
from facelet.graph.onnx_write import write_graph
from facelet.model_files import with_card
from fpga_host import SMALL, UNEVEN, exported, host_environment, noise, run_host
from tiny_engine import Int8Builder, one_layer, plain_int8, tiny_int8
from tiny_engine import ties as ties_graph
from tiny_models import tiny_card

Cli = Callable[..., Ended]

# By hand


def test_dense_weights_lie_in_the_order_in_which_they_are_read() -> None:
    # 3 outputs of 3 inputs, 1 x 2; VEC 2, LANE 2: two lane groups, two vectors per tap
    weight = np.arange(1, 19, dtype=np.float32).reshape(3, 3, 1, 2)
    packed = pack_dense(weight, 1, np.arange(3), np.arange(3), (4, 4), EngineConfig(2, 2))
    assert packed.shape == (2, 2, 1, 2, 2, 2)
    # first group, first vector, first column: lanes 0 and 1, channels 0 and 1
    assert packed[0, 0, 0, 0].tolist() == [[1, 3], [7, 9]]
    assert packed[0, 1, 0, 1].tolist() == [[6, 0], [12, 0]]
    assert packed[1, 0, 0, 0].tolist() == [[13, 15], [0, 0]]


def test_grouped_weights_are_zero_between_groups() -> None:
    weight = np.array([1, 2, 3, 4], np.float32).reshape(4, 1, 1, 1)
    packed = pack_dense(weight, 2, np.arange(2), np.arange(4), (2, 4), EngineConfig(2, 4))
    assert packed.reshape(4, 2).tolist() == [[1, 0], [2, 0], [0, 3], [0, 4]]


def test_depthwise_weights_follow_the_layout() -> None:
    weight = np.array([1, 2, 3], np.float32).reshape(3, 1, 1, 1)
    assert pack_depthwise(weight, np.array([0, 1, 4]), 6, 3).tolist() == [[1, 2, 0], [0, 3, 0]]


def test_a_row_of_the_table() -> None:
    table = layer_table(one_layer(), EngineConfig(8, 4, 4, gp=3, weight_buffer=9 * 32))
    row = table.layers[0].row
    # 10 channels: three lane groups of 4, two blocks of 8; rows of 4 in two windows of 2; 9 vectors of 32 stay
    expected = {"kind": 0, "in_h": 8, "out_h": 4, "out_blocks": 2, "stride_w": 2, "pad_left": 1, "deep": 1, "groups": 3}
    assert {name: row[name] for name in expected} == expected
    assert (row["columns"], row["stay"], row["low"], row["high"]) == (2, 1, -128, 127)
    assert table.dense_weights.shape == (3 * 9, 4, 8)
    assert table.narrow_weights.shape == (3 * 16, 4)
    assert table.layers[1].row["params"] == 3 * 5 * 4
    assert table.rows().shape == (2, len(FIELDS))
    # 3 rows of (2 - 1) x 2 + 3 pixels; the next power of two
    assert table.config.window_buffer == 16 * 8
    assert layer_table(one_layer(), EngineConfig(8, 4, 4, gp=3, weight_buffer=9 * 32 - 1)).layers[0].row["stay"] == 0


def test_params_of_a_channel() -> None:
    graph = one_layer()
    table = layer_table(graph, EngineConfig(8, 4, 4))
    node = next(node for node in graph.nodes if node.op == "Int8Conv")
    bias, fractions, slopes, behind = (graph.constants[name][9] for name in node.inputs[2:6])
    group = table.params[: 3 * 5 * 4].reshape(3, 5, 4)[2, :, 1]  # channel 9: lane 1 of the third lane group
    shift = 7 + fractions - 4
    assert group.tolist() == [bias, shift, slopes, min(shift + behind, LARGEST_SHIFT), 0]
    assert table.params[: 3 * 5 * 4].reshape(3, 5, 4)[2, 2, 2:].tolist() == [0, 0]


def test_parts_of_a_concatenation_begin_with_blocks_and_are_written_in_place() -> None:
    table = layer_table(tiny_int8(), SMALL)
    places = table.placement.places
    joined = next(name for name in places if name.startswith("Concat") and len(places[name].layout) == 48)
    # 12 + 20 + 9 + 7 channels in 2 + 3 + 2 + 1 blocks of 8
    assert places[joined].blocks == 8
    assert places[joined].layout[[0, 11, 12, 31, 32, 41]].tolist() == [0, 11, 16, 35, 40, 56]
    five = next(layer for layer in table.layers if layer.shape.kernel_h == 5)
    assert five.row["out_offset"] == places[joined].offset
    copies = [layer for layer in table.layers if layer.tensor != layer.shape.name]
    assert len(copies) == 2  # the pool and the nine channels lie in both concatenations


def test_maps_in_use_at_once_lie_apart() -> None:
    table = layer_table(tiny_int8(), SMALL)
    for layer in table.layers:
        row = layer.row
        written = range(row["out_offset"], row["out_offset"] + row["out_blocks"] * row["out_h"] * row["out_w"])
        assert row["in_offset"] not in written
        assert not row["residual"] or row["residual_offset"] not in written


def test_a_map_goes_to_memory_and_back() -> None:
    graph = tiny_int8()
    table = layer_table(graph, UNEVEN)
    values = np.random.default_rng(0).integers(-128, 128, graph.shapes["image"][1:]).astype(np.int8)
    arena = np.zeros(table.placement.vectors * 8, np.int8)
    raw = table.to_arena(table.input, values)
    assert raw.shape == (1, 13, 11, 8)
    assert raw[0, 2, 3].tolist() == [*values[:, 2, 3], 0, 0, 0, 0, 0]
    at = table.placement.places[table.input].offset * 8
    arena[at : at + raw.size] = raw.reshape(-1)
    assert np.array_equal(table.from_arena(table.input, arena), values)


def test_windows_of_a_row_are_of_one_width_as_far_as_it_divides_and_their_trips_are_counted() -> None:
    shape = LayerShape("conv", DENSE, 16, 16, 2, 12, 1, 1)
    assert window_pairs(shape, EngineConfig(8, 8, gp=7)) == {(6, 6): 4}
    assert window_pairs(replace(shape, out_w=28), EngineConfig(8, 8, gp=6)) == {(6, 6): 6, (6, 4): 2, (4, 6): 2}
    assert window_pairs(shape, replace(pipecnn(8, 8, cached=True), gp=7)) == {(7, 5): 2, (5, 7): 2}
    # 2 lane groups x 2 rows x 12 columns x 2 vectors; 12 vectors are read before the first product
    assert loop_trips(shape, EngineConfig(8, 8, gp=7)) == (12, 96)
    # stride 2, one tap: a window of 3 columns reads 5 vectors; only the last window has none to read for
    assert loop_trips(LayerShape("dw", DEPTHWISE, 8, 8, 1, 6, stride_w=2), EngineConfig(8, 8, 8, gp=3)) == (5, 5 + 3)


def test_settings_become_a_header() -> None:
    macros = settings(EngineConfig(16, 28, 8, gp=5, weight_buffer=448 * 9, window_buffer=512), MOST_TAPS)
    assert (macros["UNIT"], macros["WEIGHT_VECTORS"], macros["WINDOW_VECTORS"]) == (4, 9, 32)
    text = header(macros)
    assert "#define LANE_NUM 28" in text
    assert "#define RESIDUAL_SHIFT 4" in text
    assert ", ".join(FIELDS) in text
    for name in macros:
        assert name in kernel_source()
    with pytest.raises(InputError, match="power of two from 16 to 32768"):
        settings(SMALL, MOST_TAPS, 100)
    with pytest.raises(InputError, match="GP must be 127 or less"):
        settings(replace(SMALL, gp=128), MOST_TAPS)


def test_queues_hold_the_largest_layer() -> None:
    sizes = queue_bytes(layer_table(one_layer(), EngineConfig(8, 4, 4)))
    # 3 lane groups x 16 pixels x 9 vectors; x, weights and flags
    assert sizes["densefeed"] == 3 * 16 * 9 * (8 + 32 + 4)
    assert sizes["densesums"] == 3 * 16 * 16
    assert sizes["pooled"] == 4


STAND_INS = """
#define __kernel
#define __global
#define __local
#define pipe static
#define write_pipe_block(name, value) ((name) = *(value))
#define read_pipe_block(name, value) (*(value) = (name))
#define mem_fence(flags) (void)(flags)
#define CLK_GLOBAL_MEM_FENCE 1
static int min(int a, int b) { return a < b ? a : b; }
static int max(int a, int b) { return a > b ? a : b; }
#define FACELET_PIPES
"""


def test_the_build_with_pipes_is_well_formed(tmp_path: Path) -> None:
    """No Vitis here: a C compiler reads its branch, with stand-ins for what OpenCL adds; names are as UG1393 wants."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("gcc is not installed")
    path = tmp_path / "engine.c"
    path.write_text(STAND_INS + header(settings(SMALL, MOST_TAPS, count=True)) + kernel_source())
    checks = ["-std=c11", "-fsyntax-only", "-Wall", "-Werror", "-Wno-unknown-pragmas", "-Wno-attributes"]
    done = subprocess.run(
        [compiler, *checks, "-Wno-char-subscripts", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    names = re.findall(r"^FIFO\(\w+, (\w+)\)", kernel_source(), re.MULTILINE)
    assert len(names) == 11
    assert all(re.fullmatch(r"[a-z][a-z0-9]*", name) for name in names)


# What is refused


def test_nets_that_the_engine_does_not_run_are_refused() -> None:
    dilated, flat = Int8Builder(9, 9), Int8Builder(9, 9)
    apart = dilated.conv("image.int8", 4, (3, 3), dilations=(2, 2))
    with pytest.raises(GraphError, match="is dilated"):
        layer_table(dilated.embedding(dilated.conv(apart, 4, (5, 5))), SMALL)
    moved = flat.add("Reshape", ["image.int8"], shape=(1, 243, 1, 1))
    with pytest.raises(GraphError, match="moves pixels"):
        layer_table(flat.embedding(flat.conv(moved, 4)), SMALL)
    with pytest.raises(GraphError, match="no depthwise array"):
        layer_table(one_layer(), EngineConfig(8, 8))
    with pytest.raises(GraphError, match="its window takes 72 bytes, the engine holds 64"):
        layer_table(one_layer(), EngineConfig(8, 8, 8, window_buffer=64))
    floats = Graph("plain", ("image",), ("image",), (), {}, {"image": (1, 3, 8, 8)})
    with pytest.raises(GraphError, match="facelet quantize"):
        layer_table(floats, SMALL)


def test_a_window_that_only_just_fits_has_fewer_columns() -> None:
    table = layer_table(one_layer(), EngineConfig(8, 8, 8, gp=4, window_buffer=3 * 5 * 8))
    assert table.layers[0].row["columns"] == 2


def test_an_unknown_device_is_one_line() -> None:
    pytest.importorskip("pyopencl")
    table = layer_table(one_layer(), SMALL)
    with pytest.raises(DeviceError, match=r"'nosuch': not known; .*, intel-fpga$"):
        emulate(table, [], "nosuch")


# Oracle: the kernels without channels against NumPy


@pytest.mark.parametrize("config", [SMALL, UNEVEN], ids=str)
def test_every_layer_is_exact_without_channels(config: EngineConfig) -> None:
    pytest.importorskip("pyopencl")
    graph = tiny_int8()
    table = layer_table(graph, config)
    crops = [noise(graph, seed) for seed in (0, 1)]
    ran = emulate(table, [quantized(graph, table, crop) for crop in crops], "pocl")
    for crop, image in zip(crops, ran.images, strict=True):
        checks = check_layers(graph, table, crop, image)
        assert len(checks) == 16
        assert [check for check in checks if check.wrong] == []
        assert max(abs(check.error) for check in checks) <= 0.05


def test_an_engine_without_a_depthwise_array_runs_convolutions_and_pools() -> None:
    pytest.importorskip("pyopencl")
    graph = plain_int8()
    table = layer_table(graph, EngineConfig(8, 8))
    crop = noise(graph)
    image = emulate(table, [quantized(graph, table, crop)], "pocl").images[0]
    assert [check.wrong for check in check_layers(graph, table, crop, image)] == [0, 0, 0]


def test_two_integers_equally_near_go_to_the_even_one() -> None:
    pytest.importorskip("pyopencl")
    graph = ties_graph()
    table = layer_table(graph, SMALL)
    crop = np.broadcast_to((np.arange(256).reshape(16, 16) - 128) / 128, (3, 16, 16)).astype(np.float32)
    ran = emulate(table, [quantized(graph, table, crop)], "pocl")
    assert [check for check in check_layers(graph, table, crop, ran.images[0]) if check.wrong] == []
    assert ran.images[0].maps["ties"][1].reshape(-1)[[129, 131]].tolist() == [0, 2]  # 0.5 and 1.5


def test_a_wrong_integer_is_found() -> None:
    pytest.importorskip("pyopencl")
    graph = one_layer()
    table = layer_table(graph, SMALL)
    crop = noise(graph)
    image = emulate(replace(table, params=table.params + 40), [quantized(graph, table, crop)], "pocl").images[0]
    assert check_layers(graph, table, crop, image)[0].wrong > 0


# Export


def test_the_host_program_computes_the_reference_s_integers(tmp_path: Path) -> None:
    folder = exported(tiny_int8(), UNEVEN, tmp_path)
    assert "every integer is right" in run_host(folder, "--check", device="Portable")
    for name, seed in (("a.ppm", 1), ("b.ppm", 2)):
        image = np.random.default_rng(seed).integers(0, 256, (13, 11, 3), np.uint8)
        (folder / name).write_bytes(ppm(image))
    other = exported(tiny_int8(seed=5), UNEVEN, tmp_path / "other")  # another net on the same engine
    assert "distance" in run_host(folder, "--model", str(other / "model.bin"), "a.ppm", "b.ppm", device="Portable")
    said = run_host(folder, "--integers", "a.ppm", "b.ppm", device="Portable").splitlines()
    a, b = (np.array(line.split(), float) for line in said[:2])
    apart = np.square(a / np.linalg.norm(a) - b / np.linalg.norm(b)).sum()
    words = said[2].split()
    assert float(words[1]) == pytest.approx(apart, abs=1e-5)
    assert " ".join(words[4:]) == ("same person" if apart < 1 else "different people")


def test_the_host_program_refuses_in_one_line(tmp_path: Path) -> None:
    folder = exported(one_layer(), SMALL, tmp_path / "a")
    other = exported(one_layer(), UNEVEN, tmp_path / "b")
    (folder / "small.ppm").write_bytes(ppm(np.zeros((4, 4, 3), np.uint8)))
    assert "4 x 4; the network takes 8 x 8" in run_host(folder, "small.ppm", "small.ppm", device="Portable", code=2)
    model = other / "model.bin"
    assert "needs LANE_NUM 12, the engine has 16" in run_host(folder, "--model", str(model), "--check", code=2)
    model.write_bytes(model.read_bytes()[:100])
    assert "cut off" in run_host(folder, "--model", str(model), "--check", code=2)
    assert "no OpenCL device of the name 'nosuch'" in run_host(folder, "--check", device="nosuch", code=2)
    assert "usage" in run_host(folder, "a.ppm", code=2)


def test_python_s_names_of_devices_are_the_host_program_s(tmp_path: Path) -> None:
    folder = exported(one_layer(), SMALL, tmp_path)
    assert "Portable Computing Language" in run_host(folder, "--check", env={"FACELET_OPENCL_DEVICE": "pocl"})
    assert "every integer is right" in run_host(folder, "--check", device="pocl")
    assert "of the name 'pocl-0.1'" in run_host(folder, "--check", device="pocl-0.1", code=2)
    intel = Path(sys.prefix) / "lib" / "libintelocl.so"
    if intel.exists():
        (tmp_path / "intel.icd").write_text(f"{intel}\n")
        assert "Intel(R) OpenCL" in run_host(folder, "--check", device="intel", env={"OCL_ICD_VENDORS": str(tmp_path)})


def test_make_check_keeps_to_the_chosen_device(tmp_path: Path) -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")
    folder = exported(one_layer(), SMALL, tmp_path)
    environment = host_environment(folder, {"FACELET_OPENCL_DEVICE": "nosuch"})

    def check(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [make, "check", *more], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )

    assert "no OpenCL device of the name 'nosuch'" in check().stderr
    assert "every integer is right" in check("DEVICE=Portable Computing").stdout


@pytest.mark.parametrize(
    ("part", "content"),
    [
        ("lookup", None),
        ("lookup", lambda whole: whole[:100]),
        ("color", lambda _whole: b"\0\1\3"),
        ("color", lambda whole: whole[:2]),
        ("table", lambda whole: whole[:-4]),
        ("places", lambda whole: whole[:-4]),
        ("places", lambda whole: b"\xff\xff\xff\x7f" + whole[4:]),
        ("places", lambda whole: b"\xff\xff\xff\xff" + whole[4:]),
        ("params", None),
        ("facts", lambda whole: whole.replace(b"embedding_size 10", b"embedding_size -1")),
        ("facts", lambda whole: whole.replace(b"threshold", b"thresholt")),
    ],
)
def test_a_damaged_model_is_refused(
    host: Path, tmp_path: Path, part: str, content: Callable[[bytes], bytes] | None
) -> None:
    parts = read_parts((host / "model.bin").read_bytes())
    whole = parts.pop(part)
    if content is not None:
        parts[part] = content(whole)
        assert parts[part] != whole
    model = tmp_path / "model.bin"
    model.write_bytes(pack_model(parts))
    (tmp_path / "a.ppm").write_bytes(ppm(np.zeros((8, 8, 3), np.uint8)))
    image = str(tmp_path / "a.ppm")
    said = run_host(host, "--model", str(model), image, image, device="Portable", code=2)
    assert said.startswith(f"facelet_host: {model}: damaged")
    assert said.count("\n") == 1


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported folder."""
    return exported(one_layer(), SMALL, tmp_path_factory.mktemp("host"))


def read_parts(packed: bytes) -> dict[str, bytes]:
    """What `pack_model` packed."""
    at, parts = 8, {}
    while at < len(packed):
        name, size = packed[at : at + 16].rstrip(b"\0").decode(), int.from_bytes(packed[at + 16 : at + 24], "little")
        parts[name] = packed[at + 24 : at + 24 + size]
        at += 24 + size
    return parts


def test_model_bin_names_its_parts() -> None:
    assert read_parts(pack_model({"ab": b"xyz", "c": b""})) == {"ab": b"xyz", "c": b""}
    assert pack_model({"ab": b"xyz"}) == b"FACELET1" + b"ab" + bytes(14) + b"\x03" + bytes(7) + b"xyz"


@pytest.mark.parametrize("make", [shutil.which("make")])
def test_the_makefile_says_what_is_missing(make: str | None, tmp_path: Path) -> None:
    if make is None:
        pytest.skip("make is not installed")
    folder = exported(one_layer(), SMALL, tmp_path)
    for target, missing in (("aocx", "AOC_BOARD=NAME"), ("xclbin", "PLATFORM=FILE"), ("device", "AOC_BOARD")):
        done = subprocess.run([make, target], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert missing in done.stderr


# Commands


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A small int8 model with a card."""
    card = tiny_card(height=8, width=8, embedding_size=10, normalized=True)
    path = tmp_path / "tiny.onnx"
    path.write_bytes(with_card(write_graph(one_layer()), card).SerializeToString())
    return path


def test_emulate_compares_every_layer(cli: Cli, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyopencl")
    photo = tmp_path / "crop.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)).save(photo)
    ended = cli("fpga", "emulate", model, photo, "--device", "pocl", "--vec-size", 8, "--lane-num", 8, "--json")
    assert ended.code == 0, ended.err
    said = json.loads(ended.out)
    assert (said["wrong"], said["layers"], said["one_launch_agrees"]) == (0, 2, None)
    assert said["largest_cost_error"] <= 0.05
    assert said["images"][0]["layers"][0]["kind"] == "dense"
    refused = cli("fpga", "emulate", model, photo, "--device", "pocl", "--at-once")
    assert (refused.code, "needs channels" in refused.err) == (2, True)


def test_export_writes_a_folder_that_fits_the_board(cli: Cli, model: Path, tmp_path: Path) -> None:
    ended = cli("fpga", "export", model, "--board", "de1-soc", "--out", tmp_path / "out", "--json")
    assert ended.code == 0, ended.err
    said = json.loads(ended.out)
    assert said["threshold"] == 1.0
    assert max(said["shares"].values()) <= 1
    assert {Path(name).name for name in said["files"]} == {path.name for path in (tmp_path / "out").iterdir()}
    rows = json.loads((tmp_path / "out" / "layers.json").read_text())
    assert rows[0]["type"] == "dense"
    wide = ("fpga", "export", model, "--board", "de1-soc", "--out", tmp_path / "out", "--vec-size", 32)
    assert "give both" in cli(*wide).err
    assert "too small for the engine" in cli(*wide, "--lane-num", 32).err
    assert "facelet quantize" in cli("fpga", "emulate", "facelet_xs", "x.png").err


def test_a_board_that_is_too_small_is_an_error() -> None:
    from facelet.fpga.resources import check_fits

    with pytest.raises(BoardError, match="too small"):
        check_fits(EngineConfig(32, 32, 32), BOARDS["de1-soc"])

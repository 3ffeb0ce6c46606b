"""Oracle: the exported C computes every integer of the NumPy reference, and no sanitizer complains."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from conftest import Ended
from facelet.backends import network_input
from facelet.cexport.export import c_texts, export_c
from facelet.cexport.layers import read_net
from facelet.cexport.place import place
from facelet.errors import GraphError, InputError
from facelet.graph.int8 import shifts
from facelet.graph.ir import Graph, Node
from facelet.graph.onnx_io import read_graph
from facelet.graph.passes import optimise
from facelet.graph.reference import run
from facelet.model import Card
from facelet.model_files import WEIGHTS, load_model, with_card
from tiny_graphs import Builder
from tiny_int8 import CARD, drawn, embedder, every_form, every_map, int8_file, int8_graph
from tiny_models import tiny_onnx

COMPILER = shutil.which("gcc") or shutil.which("cc") or shutil.which("clang")
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
SANITIZED = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
DRIVER = Path(__file__).with_name("c_export_driver.c")

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler: neither gcc, cc nor clang is installed")

Pixels = NDArray[np.uint8]
Cli = Callable[..., Ended]


def compiled(folder: Path, main: Path, flags: tuple[str, ...] = SANITIZED) -> Path:
    program = folder / main.stem
    sources = [folder / "facelet_net.c", folder / "facelet_weights.c", main]
    command = [COMPILER, *STRICT, *flags, f"-I{folder}", *sources, "-o", program, "-lm"]
    made = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return program


def computed(program: Path, crops: Pixels, size: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Integers and embeddings that a driver computes."""
    ended = subprocess.run([str(program)], input=crops.tobytes(), capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr.decode()
    rows = np.frombuffer(ended.stdout, np.uint8).reshape(len(crops), 5 * size)
    return rows[:, :size].view(np.int8), np.ascontiguousarray(rows[:, size:]).view(np.float32)


def expected(path: Path, crops: Pixels, card: Card) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Integers and embeddings of the reference."""
    graph = optimise(read_graph(path, 1))
    last = next(node.inputs[0] for node in graph.nodes if node.op == "DequantizeLinear")
    every = [run(graph, {graph.inputs[0]: network_input(crop[None], card)}, every=True) for crop in crops]
    integers = np.stack([found[last].reshape(-1) for found in every])
    return integers.astype(np.int8), np.concatenate([found[graph.outputs[0]] for found in every])


def random_crops(count: int, card: Card = CARD, seed: int = 0) -> Pixels:
    """Noise, and plain black and white, which reach the ends of int8."""
    crops = np.random.default_rng(seed).integers(0, 256, (count, card.height, card.width, 3), dtype=np.uint8)
    crops[0], crops[1] = 0, 255
    return crops


def assert_exact(path: Path, out: Path, crops: Pixels) -> None:
    card = load_model(path).card
    export_c(path, out)
    integers, embeddings = computed(compiled(out, DRIVER), crops, card.embedding_size)
    right_integers, right_embeddings = expected(path, crops, card)
    np.testing.assert_array_equal(integers, right_integers)
    np.testing.assert_allclose(embeddings, right_embeddings, atol=1e-6)


@needs_compiler
def test_every_form_is_exact(tmp_path: Path) -> None:
    graph = int8_graph(every_form())
    convs = [node for node in graph.nodes if node.op == "Int8Conv"]
    assert min(shifts(node, graph.constants[node.inputs[3]]).min() for node in convs) == 0
    assert_exact(int8_file(graph, tmp_path / "tiny.onnx"), tmp_path / "c", random_crops(40))


@needs_compiler
@pytest.mark.parametrize("seed", range(3))
def test_every_map_is_exact(tmp_path: Path, seed: int) -> None:
    graph = int8_graph(every_map(seed), seed)
    assert {"Int8Table", "Int8Mul", "Resize", "Channels"} <= {node.op for node in graph.nodes}
    assert_exact(int8_file(graph, tmp_path / "tiny.onnx"), tmp_path / "c", random_crops(12, seed=seed))


@needs_compiler
@settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10_000))
@example(7)
def test_drawn_networks_are_exact(tmp_path: Path, seed: int) -> None:
    path = int8_file(int8_graph(drawn(seed), seed), tmp_path / f"{seed}.onnx")
    assert_exact(path, tmp_path / str(seed), random_crops(6, seed=seed))


@needs_compiler
@pytest.mark.parametrize("path", sorted(WEIGHTS.glob("*_int8.onnx")), ids=lambda path: path.stem)
def test_shipped_models_are_exact(path: Path, tmp_path: Path) -> None:
    assert_exact(path, tmp_path, random_crops(3, load_model(path).card))


@pytest.mark.parametrize("seed", range(20))
def test_no_two_tensors_share_a_byte_while_both_are_needed(seed: int) -> None:
    """Runs a plan on an arena of names: each row that is read still belongs to the tensor that was written there."""
    graph = optimise(int8_graph({0: every_form, 1: every_map}.get(seed, lambda: drawn(seed))(), seed))
    window = {"kernel": (3, 3), "strides": (1, 1), "pads": (1, 1, 1, 1)}
    unread = Node("MaxPool", (graph.nodes[0].output,), "unread", window)
    shapes = {"unread": graph.shapes[graph.nodes[0].output]}
    net = read_net(graph.with_nodes([*graph.nodes, unread], shapes=shapes))
    plan = place(net)
    assert plan.size <= plan.whole_size
    arena = np.full(plan.size, -1, np.int64)
    marks: dict[tuple[str, int], int] = {}

    def bytes_of(name: str, row: int) -> NDArray[np.int64]:
        tensor, placed = net.tensors[name], plan.placed[name]
        start = placed.offset + row % placed.rows * tensor.width * placed.pixel
        return np.add.outer(start + np.arange(tensor.width) * placed.pixel, np.arange(tensor.channels))

    def mark(name: str, row: int) -> int:
        """A number of a row of a tensor, or of the concatenation that holds it."""
        return marks.setdefault((net.root(name), row), len(marks))

    for chain in plan.chains:
        for index, row in chain.events():
            layer = chain.layers[index]
            rows = [r for r in layer.reads(row) if layer.x and 0 <= r < net.tensors[layer.x].height]
            other = [(layer.residual, min(row, net.tensors[layer.residual].height - 1))] if layer.residual else []
            for name, read in [(layer.x, r) for r in rows] + other:
                assert (arena[bytes_of(name, read)] == mark(name, read)).all(), (str(layer), row, name, read)
            arena[bytes_of(layer.out, row)] = mark(layer.out, row)
    for name in net.outputs:
        assert all((arena[bytes_of(name, row)] == mark(name, row)).all() for row in range(net.tensors[name].height))


def test_an_inverted_residual_takes_little_more_than_its_output() -> None:
    b = Builder({"pixels": (1, 3, CARD.height, CARD.width)})
    thin = b.conv("pixels", 16, (3, 3), (1, 1), (1, 1, 1, 1), activation="PRelu")
    wide = b.conv(b.conv(thin, 96, activation="PRelu"), 96, (3, 3), (1, 1), (1, 1, 1, 1), 96, activation="PRelu")
    plan = place(read_net(optimise(int8_graph(embedder(b, b.conv(wide, 16, residual=thin))))))
    assert plan.whole_size > 2 * 96 * CARD.height * CARD.width
    assert plan.size < (16 * CARD.height + 96 * 4) * CARD.width + 1000  # written over, three wide rows and one more


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled `facelet_main` of a small network."""
    if COMPILER is None:
        pytest.skip("no C compiler: neither gcc, cc nor clang is installed")
    folder = tmp_path_factory.mktemp("main")
    export_c(int8_file(int8_graph(every_form()), folder / "tiny.onnx"), folder)
    return compiled(folder, folder / "facelet_main.c")


def ppm(path: Path, crop: Pixels, header: str = "") -> Path:
    height, width = crop.shape[:2]
    path.write_bytes((header or f"P6\n# a comment\n{width} {height}\n255\n").encode() + crop.tobytes())
    return path


def ended(program: Path, *arguments: object) -> tuple[int, str, str]:
    command = [str(program), *(str(argument) for argument in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_the_program_tells_two_faces_apart(program: Path, tmp_path: Path) -> None:
    crops = random_crops(3)
    first, second = ppm(tmp_path / "a.ppm", crops[1]), ppm(tmp_path / "b.ppm", crops[2])
    assert ended(program, first, first) == (0, "same person: distance 0.0000, threshold 1.0000\n", "")
    a, b = expected(program.with_name("tiny.onnx"), crops[1:], CARD)[1]
    distance = float(((a - b) ** 2).sum())
    code, out, _ = ended(program, first, second, distance / 2)
    assert (code, out.startswith(f"different people: distance {distance:.4f}")) == (1, True)
    assert ended(program, first, second, distance * 1.01)[0] == 0


@pytest.mark.parametrize(
    ("header", "cut", "message"),
    [
        ("P5\n18 22\n255\n", 0, "is no binary PPM (P6)"),
        ("P6\n18 x\n255\n", 0, "has a damaged PPM header"),
        ("P6\n18 22\n65535\n", 0, "18x22 pixels, has pixels of another depth than 8 bits"),
        ("P6\n22 18\n255\n", 0, "22x18 pixels, has the wrong size"),
        ("P6\n18 22\n255\n", -1, "18x22 pixels, is cut off"),
        ("P6\n18 22\n255\n", 1, "18x22 pixels, goes on behind its image"),
        ("P6\n18 22\n25", -5000, "18x22 pixels, has a damaged PPM header"),
        ("P6\n99999999999999999999 22\n255\n", 0, "has a damaged PPM header"),
    ],
)
def test_a_bad_file_is_one_line(program: Path, tmp_path: Path, header: str, cut: int, message: str) -> None:
    good = ppm(tmp_path / "good.ppm", random_crops(2)[0])
    bad = ppm(tmp_path / "bad.ppm", random_crops(2)[0], header)
    content = bad.read_bytes()
    bad.write_bytes(content + b"x" * cut if cut >= 0 else content[: max(len(header), len(content) + cut)])
    code, out, err = ended(program, good, bad)
    assert (code, out) == (2, "")
    assert err == f"facelet: {bad}: {message}; give an aligned crop of 18x22 pixels\n"


def test_other_refusals_of_the_program(program: Path, tmp_path: Path) -> None:
    good = ppm(tmp_path / "good.ppm", random_crops(2)[0])
    assert ended(program)[0::2] == (2, f"facelet: usage: {program} FIRST.ppm SECOND.ppm [THRESHOLD]\n")
    assert ended(program, good, tmp_path / "none.ppm")[2] == f"facelet: {tmp_path / 'none.ppm'}: cannot be opened\n"
    for threshold in ("x", "1x", "-1", "5", "nan"):
        code, _, err = ended(program, good, good, threshold)
        assert (code, err) == (2, f"facelet: threshold {threshold}: must be a squared distance from 0 to 4\n")


def test_the_command(cli: Cli, tmp_path: Path) -> None:
    path = int8_file(int8_graph(every_form()), tmp_path / "tiny.onnx")
    told = cli("fpga", "export", path, "--flavour", "c", "--out", tmp_path / "c", "--json")
    assert told.code == 0, told.err
    value = json.loads(told.out)
    assert sorted(file.name for file in (tmp_path / "c").iterdir()) == value["files"]
    assert value["flash_bytes"] == value["constants_bytes"] + (value["code_bytes"] or 0)
    text = (tmp_path / "c" / "facelet_weights.h").read_text()
    assert f"#define FACELET_ARENA_BYTES {value['ram_bytes']}\n" in text
    assert "@" not in "".join(file.read_text() for file in (tmp_path / "c").iterdir() if file.name != "Makefile")
    assert max(len(line) for line in (tmp_path / "c" / "facelet_weights.c").read_text().splitlines()) <= 120


def test_the_constants_are_as_large_as_told(tmp_path: Path) -> None:
    if COMPILER is None or shutil.which("size") is None:
        pytest.skip("no C compiler, or no program `size`")
    told = export_c(int8_file(int8_graph(every_form()), tmp_path / "tiny.onnx"), tmp_path)
    command = [COMPILER, *STRICT, "-c", "facelet_weights.c", "-o", "weights.o"]
    subprocess.run(command, cwd=tmp_path, check=True)
    size = subprocess.run(["size", "-A", "weights.o"], cwd=tmp_path, capture_output=True, text=True, check=True)
    sections = [line.split() for line in size.stdout.splitlines()]
    found = sum(int(s[1]) for s in sections if s and s[0].startswith((".rodata", ".data.rel.ro")))
    wider = 28 * told["layers"]  # seven pointers of 64 bits
    assert abs(found - wider - told["constants_bytes"]) < 32 * 6 * told["layers"]  # arrays begin at round addresses


def test_make_builds_the_program(tmp_path: Path) -> None:
    if COMPILER is None or shutil.which("make") is None:
        pytest.skip("no C compiler, or no make")
    export_c(int8_file(int8_graph(every_form()), tmp_path / "tiny.onnx"), tmp_path)
    made = subprocess.run(["make"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "facelet_main").is_file()


def test_refusals(cli: Cli, tmp_path: Path) -> None:
    floats = tmp_path / "floats.onnx"
    floats.write_bytes(with_card(tiny_onnx(), CARD).SerializeToString())
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "engine.cl").touch()
    mixed = cli("fpga", "export", floats, "--flavour", "c", "--out", tmp_path / "other")
    assert mixed.code == 2
    assert "holds an export of the flavour opencl" in mixed.err
    told = cli("fpga", "export", floats, "--flavour", "c", "--out", tmp_path / "c")
    assert told.code == 2
    assert "computes with floats; make integers of it first with: facelet quantize" in told.err
    assert not (tmp_path / "c").exists()
    path = int8_file(int8_graph(every_form()), tmp_path / "tiny.onnx")
    with pytest.raises(InputError, match="is a file; give a folder"):
        export_c(path, floats)


def refused(b: Builder, x: str) -> Graph:
    return optimise(int8_graph(embedder(b, x)))


def test_forms_that_there_is_no_c_for() -> None:
    b = Builder({"pixels": (1, 6, CARD.height, CARD.width)})
    with pytest.raises(GraphError, match="windows or borders outside"):
        read_net(refused(b, b.conv("pixels", 6, (1, 1), (300, 1))))


@needs_compiler
def test_every_output_is_exact(tmp_path: Path) -> None:
    b = Builder({"pixels": (1, 3, CARD.height, CARD.width)}, 5)
    stem = b.conv("pixels", 12, (3, 3), (2, 2), (1, 1, 1, 1), activation="HardSwish")
    small = b.conv(stem, 8, (3, 3), (2, 2), (1, 1, 1, 1), activation="Relu")
    up = b.add("Resize", small, scale_h=2, scale_w=2)
    near = b.add("Pad", b.conv(stem, 8), pads=(0, 0, 0, 0, 0, 0, 1, 1), value=0.0)
    heads = b.conv(b.add("Concat", up, near, axis=1), 5, (3, 3), (1, 1), (1, 1, 1, 1))
    boxes = b.add("Transpose", heads, perm=(0, 2, 3, 1))
    scores = b.add("Sigmoid", b.conv(small, 2))
    graph = optimise(int8_graph(b.graph([scores, b.add("Reshape", boxes, shape=(1, 120, 5)), small])))
    net = read_net(graph)
    assert (net.embeds, set(net.tail)) == (False, {"Sigmoid", "Transpose", "Reshape"})
    texts, _ = c_texts(graph, net, CARD)
    assert "facelet_main.c" not in texts
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    crops = random_crops(6)
    program = compiled(tmp_path, DRIVER.with_name("c_run_driver.c"))
    done = subprocess.run([str(program)], input=crops.tobytes(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    rows = [run(graph, {"pixels": network_input(crop[None], CARD)}, every=True) for crop in crops]
    wanted = [row[name][0].transpose(1, 2, 0).astype(np.int8).tobytes() for row in rows for name in net.outputs]
    assert done.stdout == b"".join(wanted)
    assert "The model goes on in float: " in texts["facelet_net.h"]

"""Oracle and invariant: open sizes, batches, layouts, half precision and outputs of files as they lie in the wild."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from facelet.embedder import Embedder
from facelet.errors import GraphError, InputError, ModelError
from facelet.graph.ir import Array
from facelet.graph.onnx_io import read_graph
from facelet.graph.passes import optimise
from facelet.graph.reference import run
from facelet.model_files import load_model, with_card
from facelet.model_graph import file_graph, model_graph
from onnx_forms.net import Net
from tiny_models import tiny_card

Cli = Callable[..., Any]

OPEN: dict[str, list[int | str]] = {
    "all -1": [-1, -1, -1, -1],
    "named height and width": ["n", 3, "h", "w"],
    "height and width of -1": [1, 3, -1, -1],
    "open width": [1, 3, 16, "w"],
    "height of -5": ["n", 3, -5, 12],
    "open channels": ["n", "c", 16, 12],
}


def net(shape: list[int | str], opset: int = 13) -> onnx.ModelProto:
    """An embedder of 16 x 12 pixels with a feature map beside its embedding of 8 numbers."""
    n = Net(opset, shape, "embedder")
    x = n.add("Relu", n.conv("x", 4, 3, 3, 3, strides=[2, 2], pads=[1, 1, 1, 1]))
    y = n.add("Gemm", n.flat(x), n.keep(n.floats(8, 4 * 8 * 6)), n.keep(n.floats(8)), transB=1)
    return n.file(x, y)


def by_onnxruntime(model: onnx.ModelProto, x: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return [np.asarray(out) for out in session.run(None, {"x": x})]


def image(batch: int = 1, *shape: int) -> Array:
    return np.random.default_rng(2).standard_normal((batch, *(shape or (3, 16, 12)))).astype(np.float32)


def close(found: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> None:
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", OPEN)
def test_an_open_size_is_taken_from_what_is_asked_for(name: str) -> None:
    model = net(OPEN[name])
    with pytest.raises(GraphError, match=r"the input 'x' leaves its size open \(.*\?.*\); say which with --size"):
        read_graph(model)
    wanted = by_onnxruntime(model, image())[1]
    for asked in ({"input_shape": (3, 16, 12)}, {"open_shape": (3, 16, 12)}):
        graph = read_graph(model, **asked)  # type: ignore[arg-type]
        assert graph.shapes["x"] == (1, 3, 16, 12)
        close(run(graph, {"x": image()})[graph.outputs[1]], wanted)


def test_a_size_that_the_file_fixes_is_not_overruled() -> None:
    model = net(["n", 3, 16, 12])
    assert read_graph(model, open_shape=(3, 20, 20)).shapes["x"] == (1, 3, 16, 12)
    with pytest.raises(GraphError, match="is 3x16x12 without its batch, not 3x20x20"):
        read_graph(model, input_shape=(3, 20, 20))
    with pytest.raises(GraphError, match="expected 1 or more of each"):
        read_graph(net(["n", 3, 0, 12]))


def enlarged(n: Net) -> None:
    small = n.conv("x", 4, 3, 3, 3, strides=[2, 2], pads=[1, 1, 1, 1])
    n.add("Resize", small, "", "", n.ints(1, 4, 16, 12))


def smaller(n: Net) -> None:
    n.add("Resize", "x", "", "", n.ints(1, 3, 5, 7), mode="linear")


def reshaped(n: Net) -> None:
    n.add("Relu", n.add("Reshape", "x", n.ints(1, 9, 64)))


def expanded(n: Net) -> None:
    n.add("Mul", "x", n.add("Expand", n.add("GlobalAveragePool", "x"), n.ints(1, 3, 16, 12)))


def shuffled(n: Net) -> None:
    parts = n.add("Transpose", n.add("Reshape", "x", n.ints(1, 3, 4, 4, 12)), perm=[0, 2, 1, 3, 4])
    n.add("Reshape", parts, n.ints(1, 12, 4, 12))


@pytest.mark.parametrize("make", [enlarged, smaller, reshaped, expanded, shuffled])
def test_a_file_of_one_image_is_read_for_four(make: Callable[[Net], None]) -> None:
    n = Net(13, [1, 3, 16, 12], make.__name__)
    make(n)
    model, x = n.file(n.nodes[-1].output[0]), image(4)
    graph = read_graph(model, 4)
    wanted = np.concatenate([by_onnxruntime(model, x[i : i + 1])[0] for i in range(4)])
    close(run(graph, {"x": x})[graph.outputs[0]], wanted)


def turned(shape: list[int | str], front: str = "") -> onnx.ModelProto:
    """A net whose images are NHWC, perhaps with arithmetic before they are planes."""
    n = Net(13, shape, "turned")
    colors = 1 if shape[3] == 1 else 3
    x = n.add(front, "x", n.keep(n.floats(colors))) if front else "x"
    planes = n.add("Transpose", x, perm=[0, 3, 1, 2])
    n.add("GlobalAveragePool", n.conv(n.add("Relu", planes), 4, colors, 3, 3))
    return n.file(n.nodes[-1].output[0])


LAST: list[list[int | str]] = [[1, 16, 12, 3], ["n", "h", "w", 3], [1, 16, 12, 1]]


@pytest.mark.parametrize(
    ("shape", "front"), [*itertools.product(LAST, ["", "Sub", "Mul", "Max"]), ([-1, -1, -1, -1], "")]
)
def test_images_of_the_other_layout_are_fed_as_planes(shape: list[int | str], front: str) -> None:
    model = turned(shape, front)
    colors = 1 if shape[3] == 1 else 3
    graph = read_graph(model, open_shape=(colors, 16, 12), planes=True)
    assert graph.shapes["x"] == (1, colors, 16, 12)
    assert any("height x width x channels in 'x'" in note for note in graph.notes)
    assert "Transpose" not in {node.op for node in optimise(graph).nodes}
    x = image(1, colors, 16, 12)
    wanted = by_onnxruntime(model, x.transpose(0, 2, 3, 1).copy())[0]
    for each in (graph, optimise(graph)):
        close(run(each, {"x": x})[each.outputs[0]], wanted)
    if -1 not in shape and "h" not in shape:  # as it is in the file, where nobody asks for planes
        assert read_graph(model).shapes["x"] == (1, 16, 12, colors)


@pytest.mark.parametrize("shape", [[1, 3, 16, 12], [1, 3, 3, 3], ["n", 3, "h", "w"], [1, 8, 16, 12], [1, 1, 16, 1]])
def test_planes_stay_planes(shape: list[int | str]) -> None:
    n = Net(13, shape, "planes")
    n.add("Relu", "x")
    graph = read_graph(n.file("t0"), open_shape=(3, 16, 12), planes=True)
    assert [node.op for node in graph.nodes] == ["Relu"]
    assert not graph.notes


def halved(model: onnx.ModelProto, how: str) -> onnx.ModelProto:
    """The same net with its numbers in half precision: all of it, its weights behind casts, or its inside."""
    half = TensorProto.BFLOAT16 if how == "bfloat16 weights" else TensorProto.FLOAT16
    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype != np.float32:
            continue
        values = array.astype(helper.tensor_dtype_to_np_dtype(half))
        if "weights" in how:
            casts.append(helper.make_node("Cast", [f"{tensor.name}_half"], [tensor.name], to=TensorProto.FLOAT))
            tensor.CopyFrom(numpy_helper.from_array(values, f"{tensor.name}_half"))
        else:
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for node in casts:
        graph.node.insert(0, node)
    if how == "all":
        for value in (*graph.input, *graph.output):
            value.type.tensor_type.elem_type = half
    if how == "inside":
        for node in graph.node:
            node.input[:] = ["x_half" if name == "x" else name for name in node.input]
        last = graph.node[-1]
        graph.node.insert(0, helper.make_node("Cast", ["x"], ["x_half"], to=half))
        graph.node.append(helper.make_node("Cast", [last.output[0]], ["y"], to=TensorProto.FLOAT))
        del graph.output[:]
        graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, None))
    return model


@pytest.mark.parametrize("how", ["all", "weights", "bfloat16 weights", "inside"])
def test_half_precision_is_read_exactly(how: str) -> None:
    plain, kind = net([1, 3, 16, 12]), "bfloat16" if "bfloat" in how else "float16"
    for tensor in plain.graph.initializer:  # what the halves hold, as float32
        array = numpy_helper.to_array(tensor)
        number = helper.tensor_dtype_to_np_dtype(getattr(TensorProto, kind.upper()))
        tensor.CopyFrom(numpy_helper.from_array(array.astype(number).astype(np.float32), tensor.name))
    wanted = by_onnxruntime(plain, image())[-1]
    graph = read_graph(halved(net([1, 3, 16, 12]), how))
    close(run(graph, {"x": image()})[graph.outputs[-1]], wanted)
    if "weights" not in how:
        assert any("half precision, which are read exactly" in note for note in graph.notes)


def test_one_of_several_outputs_is_read_and_nothing_else() -> None:
    n = Net(13, [1, 3, 16, 12], "several")
    x = n.add("Relu", n.conv("x", 4, 3, 3, 3))
    y = n.add("Softmax", n.flat(x))
    z = n.add("NonZero", x)
    model = n.file(y, z)
    with pytest.raises(GraphError, match="NonZero 'NonZero_4': op not supported; export without it, or name the last"):
        read_graph(model)
    assert read_graph(model, outputs=[y]).outputs == (y,)
    assert [node.op for node in read_graph(model, outputs=[x]).nodes] == ["Conv", "Relu"]
    assert read_graph(model, outputs=[y, x]).outputs == (y, x)
    wanted = by_onnxruntime(n.file(y), image())[0]
    close(run(read_graph(model, outputs=[y]), {"x": image()})[y], wanted)
    with pytest.raises(GraphError, match=f"has no output 'nothing'; its outputs are {y}, {z}"):
        read_graph(model, outputs=["nothing"])


def test_an_old_file_says_that_it_is_one() -> None:
    for opset in (7, 9, 10, 11, 18):
        notes = read_graph(net([1, 3, 16, 12], opset)).notes
        assert (f"is of opset {opset}, which is read in its old forms" in notes) == (opset < 11)


def put(path: Path, model: onnx.ModelProto, **changes: object) -> Path:
    path.write_bytes(with_card(model, tiny_card(**changes)).SerializeToString())
    return path


CROPS = np.random.default_rng(3).integers(0, 256, (3, 16, 12, 3), np.uint8)


def test_every_backend_takes_what_the_card_says(tmp_path: Path) -> None:
    pytest.importorskip("pyopencl")
    name = net([1, 3, 16, 12]).graph.output[1].name
    wanted = None
    files = {
        "fixed": net(["n", 3, 16, 12]),
        "open": net(["n", 3, "h", "w"]),
        "old": net([-1, -1, -1, -1]),
        "half": halved(net(["n", 3, 16, 12]), "all"),
    }
    files["old"].opset_import[0].version = 9  # the same numbers in an older file
    for kind, model in files.items():
        path = put(tmp_path / f"{kind}.onnx", model, output_name=name)
        for backend in ("onnxruntime", "opencl"):
            found = Embedder.load(path, backend, 1).embed(CROPS)
            wanted = found if wanted is None else wanted
            np.testing.assert_allclose(
                found, wanted, atol=2e-3 if kind == "half" else 1e-5, err_msg=f"{kind} {backend}"
            )


def test_an_inner_tensor_and_the_other_layout_are_embeddings_too(tmp_path: Path) -> None:
    model = turned(["n", 16, 12, 3], "Sub")
    inner = model.graph.node[-1].input[0]
    whole = Embedder.load(put(tmp_path / "a.onnx", model, embedding_size=4), "onnxruntime").embed(CROPS)
    graph = model_graph(load_model(tmp_path / "a.onnx"))
    assert graph.shapes[graph.inputs[0]] == (1, 3, 16, 12)
    assert whole.shape == (3, 4)
    path = put(tmp_path / "b.onnx", turned(["n", 16, 12, 3], "Sub"), embedding_size=560, output_name=inner)
    assert Embedder.load(path, "onnxruntime").embed(CROPS).shape == (3, 560)
    wrong = put(tmp_path / "c.onnx", turned(["n", 16, 12, 3]), output_name="nothing")
    with pytest.raises(
        ModelError, match=r"c\.onnx: has no output 'nothing', which its card names in output_name; it has"
    ):
        Embedder.load(wrong, "onnxruntime")


def test_the_output_is_to_be_named_where_there_are_several(tmp_path: Path) -> None:
    path = put(tmp_path / "m.onnx", net(["n", 3, 16, 12]))
    first, second = (value.name for value in net([1, 3, 16, 12]).graph.output)
    with pytest.raises(
        ModelError, match=f"the output '{first}' has 192 numbers, .* output_name, of: {first}, {second}"
    ):
        Embedder.load(path, "onnxruntime")


def test_a_card_fills_what_a_file_leaves_open(tmp_path: Path) -> None:
    model = load_model(put(tmp_path / "m.onnx", net(["n", 3, "h", "w"])))
    assert model_graph(model, 2).shapes["x"] == (2, 3, 16, 12)
    assert model_graph(model, size=(3, 16, 12)).shapes["x"] == (1, 3, 16, 12)
    with pytest.raises(InputError, match=r"m\.onnx: a size of 3x20x20 does not fit its card, which says height 16"):
        model_graph(model, size=(3, 20, 20))
    bare = tmp_path / "bare.onnx"
    bare.write_bytes(net(["n", 3, "h", "w"]).SerializeToString())
    with pytest.raises(GraphError, match=r"bare\.onnx: net: the input 'x' leaves its size open \(3x\?x\?\)"):
        file_graph(bare)
    assert file_graph(bare, size=(3, 16, 12))[1].shapes["x"] == (1, 3, 16, 12)


@pytest.mark.parametrize("command", ["inspect", "compile", "fpga explore --board zcu104"])
def test_commands_without_a_card_take_a_size_and_an_output(cli: Cli, tmp_path: Path, command: str) -> None:
    model, bare = net([-1, 3, -1, -1], 10), tmp_path / "bare.onnx"
    bare.write_bytes(model.SerializeToString())
    words, name = command.split(), model.graph.output[1].name
    refused = cli(*words, bare)
    assert refused.code != 0
    assert "leaves its size open (3x?x?); say which with --size" in refused.err
    done = cli(*words, bare, "--size", "3x16x12", "--output", name)
    assert done.code == 0, done.err
    assert "bare.onnx: is of opset 10, which is read in its old forms" in done.err
    assert cli(*words, put(tmp_path / "m.onnx", model, output_name=name)).code == 0
    wrong = cli(*words, bare, "--size", "3x16x12", "--output", "z")
    assert "has no output 'z'; its outputs are" in wrong.err


def test_quantize_and_prune_take_the_card(cli: Cli, tmp_path: Path) -> None:
    n = Net(9, ["n", 3, "h", "w"], "both")
    x = n.add("Relu", n.conv("x", 4, 3, 3, 3, strides=[2, 2], pads=[1, 1, 1, 1]))
    y = n.add("Gemm", n.flat(x), n.keep(n.floats(8, 4 * 8 * 6)), n.keep(n.floats(8)), transB=1)
    path = put(tmp_path / "m.onnx", n.file(x, y))
    done = cli("quantize", path, "--output", y, "--images", "8", "--out", tmp_path / "int8.onnx")
    assert done.code == 0, done.err
    assert load_model(tmp_path / "int8.onnx").card.output_name == ""
    assert Embedder.load(tmp_path / "int8.onnx").embed(CROPS).shape == (3, 8)
    n = Net(9, ["n", 3, "h", "w"], "both")
    x = n.add("LRN", n.conv("x", 4, 3, 3, 3, strides=[2, 2], pads=[1, 1, 1, 1]), size=3)
    y = n.add("Gemm", n.flat(x), n.keep(n.floats(8, 4 * 8 * 6)), n.keep(n.floats(8)), transB=1)
    path = put(tmp_path / "n.onnx", n.file(x, y), output_name=y)
    done = cli("prune", path, "--out", tmp_path / "pruned.onnx")
    assert done.code == 0, done.err
    assert Embedder.load(tmp_path / "pruned.onnx").embed(CROPS).shape == (3, 8)

"""Oracle: nets in the forms that exporters write agree with onnxruntime everywhere, or are refused in one line."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import pytest

from facelet.errors import GraphError
from facelet.graph.ir import Array, Graph, Node, Shape
from facelet.graph.onnx_io import read_graph, write_graph
from facelet.graph.onnx_ops import IMPORTERS
from facelet.graph.passes import optimise
from facelet.graph.reference import run
from facelet.opencl.check import compare
from facelet.opencl.lower import lower
from onnx_forms import FORMS, OPSETS
from test_graph_fuzz import check_mutated, mutated

if TYPE_CHECKING:
    from facelet.opencl.runtime import OpenCLRuntime

onnxruntime.set_default_logger_severity(4)

TOLERANCE = 1e-4
"""Of the largest number of an output."""

RUN = [name for name, form in FORMS.items() if not form.refused]
REFUSED = [name for name, form in FORMS.items() if form.refused]


def fed(model: onnx.ModelProto) -> dict[str, Array]:
    """The same numbers for each form, at a batch of one."""
    stored = {tensor.name for tensor in model.graph.initializer}
    rng = np.random.default_rng(5)
    feeds = {}
    for value in model.graph.input:
        if value.name not in stored:
            sizes = [max(1, dim.dim_value) for dim in value.type.tensor_type.shape.dim]
            feeds[value.name] = rng.standard_normal(sizes).astype(np.float32)
    return feeds


def by_onnxruntime(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> list[Array]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [np.asarray(out) for out in session.run(None, dict(feeds))]


def check(found: list[Array], wanted: list[Array], where: str) -> None:
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape, where
        scale = max(float(np.abs(other).max()), 1e-6)
        np.testing.assert_allclose(one / scale, other / scale, rtol=0, atol=TOLERANCE, err_msg=where)


def test_there_are_forms_of_all_opsets() -> None:
    opsets = [form.model.opset_import[0].version for form in FORMS.values()]
    assert len(FORMS) >= 400
    assert all(opsets.count(opset) >= 10 for opset in OPSETS)
    assert len(REFUSED) <= 20


def test_the_page_lists_every_op_and_the_forms_hold_it() -> None:
    page = (Path(__file__).parents[1] / "docs" / "onnx.md").read_text(encoding="utf-8")
    rows = [line.split("|")[2] for line in page.split("## Ops")[1].split("\n\n")[2].splitlines()[2:]]
    listed = {op.strip() for row in rows for op in row.split(",")} - {"as `facelet quantize` writes them"}
    assert listed == set(IMPORTERS)
    built = {node.op_type for name in RUN for node in FORMS[name].model.graph.node}
    assert set(IMPORTERS) - built <= {"QuantizeLinear", "LpPool"}  # in test_int8 and test_graph_ops


@pytest.mark.parametrize("name", RUN)
def test_a_form_agrees_with_onnxruntime(name: str) -> None:
    model = FORMS[name].model
    feeds = fed(model)
    wanted = by_onnxruntime(model, feeds)
    graph = read_graph(model)
    check(list(run(graph, feeds).values()), wanted, "as it is read")
    optimised = optimise(graph)
    check(list(run(optimised, feeds).values()), wanted, "optimised")
    written = write_graph(optimised)
    onnx.checker.check_model(written, full_check=True)
    check(by_onnxruntime(written, feeds), wanted, "written")


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_form_says_why_and_what_to_do(name: str) -> None:
    form = FORMS[name]
    with pytest.raises(GraphError, match=form.refused) as caught:
        read_graph(form.model)
    assert "\n" not in str(caught.value)
    assert ";" in str(caught.value) or "supported" in str(caught.value)


@pytest.mark.parametrize("count", [300, pytest.param(5_000, marks=pytest.mark.slow)])
def test_a_damaged_form_ends_in_a_clear_error_or_the_right_result(count: int) -> None:
    names, ends = list(FORMS), Counter[str]()
    for seed in range(count):
        rng = np.random.default_rng(seed)
        name = names[rng.integers(len(names))]
        try:
            ends[check_mutated(mutated(FORMS[name].model, rng))] += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}, {name}: {type(error).__name__} {error}") from error
    assert set(ends) <= {"not protobuf", "refused", "ran alone", "agreed"}
    assert ends["refused"] > count / 4
    assert ends["agreed"] > count / 30


def joined(graphs: Mapping[str, Graph]) -> Graph:
    """Several nets as one, so that a device builds each kernel once."""
    inputs: list[str] = []
    outputs: list[str] = []
    nodes: list[Node] = []
    constants: dict[str, Array] = {}
    shapes: dict[str, Shape] = {}
    for name, graph in graphs.items():
        own = {tensor: f"{name}/{tensor}" for tensor in graph.shapes}
        inputs += [own[tensor] for tensor in graph.inputs]
        outputs += [own[tensor] for tensor in graph.outputs]
        constants |= {own[tensor]: array for tensor, array in graph.constants.items()}
        shapes |= {own[tensor]: shape for tensor, shape in graph.shapes.items()}
        for node in graph.nodes:
            names = tuple(own[tensor] for tensor in node.inputs)
            nodes.append(Node(node.op, names, own[node.output], node.attributes, f"{name}: {node.name}"))
    return Graph("forms", tuple(inputs), tuple(outputs), tuple(nodes), constants, shapes).check()


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> OpenCLRuntime:
    """PoCL on one thread; what it compiles stays in a temporary folder."""
    pytest.importorskip("pyopencl", reason="pyopencl is not installed; mend with: pip install 'facelet[opencl]'")
    os.environ.setdefault("POCL_CACHE_DIR", str(tmp_path_factory.mktemp("pocl")))
    from facelet.opencl.runtime import OpenCLRuntime, find_devices

    names = [device.name for device in find_devices(1) if device.name.startswith("pocl")]
    if not names:
        pytest.skip("no PoCL device; mend with: pip install 'pyopencl[pocl]'")
    return OpenCLRuntime(names[-1], 1)  # the oldest: PyPI's, where there are two


def check_on_device(runtime: OpenCLRuntime, names: list[str]) -> None:
    graphs = {name: optimise(read_graph(FORMS[name].model)) for name in names}
    program = lower(joined(graphs), runtime.device.config)
    executable = runtime.load(program, whole=False)
    compare(executable, program, runtime.device.name)
    feeds = {name: fed(FORMS[name].model) for name in names}
    found = executable.run({f"{name}/{tensor}": array for name, own in feeds.items() for tensor, array in own.items()})
    for name, graph in graphs.items():
        wanted = by_onnxruntime(FORMS[name].model, feeds[name])
        check([found[f"{name}/{tensor}"] for tensor in graph.outputs], wanted, name)


def test_one_form_in_ten_agrees_on_a_device(runtime: OpenCLRuntime) -> None:
    check_on_device(runtime, RUN[::10])


@pytest.mark.slow
@pytest.mark.parametrize("start", range(0, len(RUN), 60))
def test_every_form_agrees_on_a_device(runtime: OpenCLRuntime, start: int) -> None:
    check_on_device(runtime, RUN[start : start + 60])

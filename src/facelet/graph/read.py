"""A graph of a file, by the kind that its name says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from facelet.errors import GraphError
from facelet.graph.ir import Graph
from facelet.graph.onnx_io import load_proto, read_graph
from facelet.graph.openvino_io import OTHER_WAY, read_ir


def read_net(
    path: str | Path,
    batch: int = 1,
    *,
    input_shape: Sequence[int] | None = None,
    open_shape: Sequence[int] | None = None,
    outputs: Sequence[str] = (),
    planes: bool = False,
) -> Graph:
    """Reads an `.onnx` file, or the `.xml` of an OpenVINO IR, at a batch size; errors name the file.

    Args:
        input_shape: as of `read_graph`; an IR fixes its own.
        open_shape, outputs, planes: as of `read_graph`; an IR has one way to be read.

    Raises:
        MissingFileError: there is no such file.
        GraphError: a file of another kind, or one that cannot be read.
    """
    path = Path(path)
    if path.suffix == ".xml":
        if input_shape is not None:
            raise GraphError(f"{path}: an IR fixes the size of its input; leave the size out")
        if outputs:
            raise GraphError(f"{path}: the outputs of an IR cannot be chosen; leave the name out, or {OTHER_WAY}")
        return read_ir(path, batch)
    if path.suffix != ".onnx":
        raise GraphError(f"{path}: only .onnx files and OpenVINO's .xml can be read as a graph")
    model = load_proto(path)
    try:
        return read_graph(model, batch, input_shape=input_shape, open_shape=open_shape, outputs=outputs, planes=planes)
    except GraphError as error:
        raise GraphError(f"{path}: {error}") from error

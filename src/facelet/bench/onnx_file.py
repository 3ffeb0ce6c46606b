"""A model file as ONNX, which every runtime reads."""

from __future__ import annotations

from pathlib import Path

from facelet.atomic import write_bytes_atomic
from facelet.graph.onnx_write import write_graph
from facelet.graph.read import read_net


def as_onnx(path: Path, folder: Path) -> Path:
    """The path of an `.onnx` file as it is; OpenVINO's files are written anew as ONNX in a folder.

    Raises:
        GraphError: a file of another kind, or one that cannot be read.
    """
    if path.suffix == ".onnx":
        return path
    written = folder / f"{path.stem}.onnx"
    write_bytes_atomic(written, write_graph(read_net(path)).SerializeToString())
    return written

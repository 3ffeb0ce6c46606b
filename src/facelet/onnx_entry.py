"""What onnxruntime is fed and asked for when it runs a `.onnx` file: kind, layout, and the output its card names."""

from __future__ import annotations

from typing import Any

import numpy as np

from facelet.errors import ModelError
from facelet.graph.onnx_inputs import COLORS, channels_last
from facelet.model import Model
from facelet.model_files import read_onnx

FLOAT_TYPES: dict[str, type[np.floating[Any]]] = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
"""Kinds of input that crops can be fed as, as onnxruntime names them."""


def with_output(model: Model) -> bytes | None:
    """The file with one more output, where the card names a tensor that is none; None where nothing has to change.

    Raises:
        ModelError: no node writes that tensor.
    """
    name = model.card.output_name
    if not name:
        return None
    proto = read_onnx(model.path)
    if name in {value.name for value in proto.graph.output}:
        return None
    if name not in {output for node in proto.graph.node for output in node.output}:
        known = ", ".join(value.name for value in proto.graph.output)
        raise ModelError(f"{model.path}: has no output '{name}', which its card names in output_name; it has {known}")
    proto.graph.output.add().name = name
    return bytes(proto.SerializeToString())


def takes_pixels(model: Model, shape: list[Any]) -> bool:
    """Whether a file takes images as NHWC.

    Args:
        shape: of its input as onnxruntime has it: per dimension an int, or anything else where it is open.
    """
    if len(shape) != 4 or shape[1] in COLORS:
        return False
    graph = read_onnx(model.path).graph
    stored = {tensor.name for tensor in graph.initializer}
    return any(channels_last(value, graph.node) for value in graph.input if value.name not in stored)

"""Small ONNX embedders: average pool to 4x4, one matrix, random weights. They run in microseconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from facelet.model import Card
from facelet.model_files import with_card

GRID = 4


def tiny_card(**changes: object) -> Card:
    """The card that fits `tiny_onnx` by default, with some fields changed."""
    fields: dict[str, object] = {
        "name": "tiny",
        "height": 16,
        "width": 12,
        "template": "arcface",
        "embedding_size": 8,
        "color": "bgr",
        "mean": (10.0, 20.0, 30.0),
        "scale": (0.5, 0.25, 0.125),
        "normalized": False,
        "thresholds": {"1e-3": 1.0, "1e-2": 1.2},
    }
    return Card(**{**fields, **changes})  # type: ignore[arg-type]


def weights(embedding_size: int, seed: int = 0) -> NDArray[np.float32]:
    """The matrix of `tiny_onnx`, `(3 * GRID * GRID, embedding_size)` float32."""
    random = np.random.default_rng(seed)
    return random.standard_normal((3 * GRID * GRID, embedding_size)).astype(np.float32)


def tiny_onnx(
    height: int = 16,
    width: int = 12,
    embedding_size: int = 8,
    batch: int | str = "n",
    seed: int = 0,
    constant_reshape: bool = False,
) -> onnx.ModelProto:
    """The network.

    Args:
        height: of the input, a multiple of 4.
        width: of the input, a multiple of 4.
        embedding_size: length of the output.
        batch: fixed batch size, or a name for an open one.
        seed: of the weights.
        constant_reshape: flatten with the batch size as a constant, as some exporters do; needs a fixed batch.
    """
    window = [height // GRID, width // GRID]
    flatten = (
        helper.make_node("Reshape", ["pooled", "shape"], ["flat"])
        if constant_reshape
        else helper.make_node("Flatten", ["pooled"], ["flat"])
    )
    nodes = [
        helper.make_node("AveragePool", ["pixels"], ["pooled"], kernel_shape=window, strides=window),
        flatten,
        helper.make_node("MatMul", ["flat", "matrix"], ["embedding"]),
    ]
    constants = [numpy_helper.from_array(weights(embedding_size, seed), "matrix")]
    if constant_reshape:
        constants.append(numpy_helper.from_array(np.array([batch, 3 * GRID * GRID], np.int64), "shape"))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [batch, 3, height, width])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [batch, embedding_size])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def write_tiny(path: Path, card: Card | None = None, proto: onnx.ModelProto | None = None) -> Path:
    """Writes a tiny model, with a card if one is given; returns the path."""
    made = tiny_onnx() if proto is None else proto
    if card is not None:
        with_card(made, card)
    path.write_bytes(made.SerializeToString())
    return path


def photo_model(path: Path) -> Path:
    """Writes a tiny model that eats 112x112 RGB and has thresholds, for commands on photos; returns the path."""
    card = tiny_card(name="photo", height=112, width=112, color="rgb", embedding_size=128)
    return write_tiny(path, card, tiny_onnx(112, 112, 128))

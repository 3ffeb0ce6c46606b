"""What makes a file unfit to infer with, whoever runs it: ops in their training form, weights that are not numbers.

onnxruntime runs both without a word. A batch norm in training form takes its mean from the crops at hand, so that an
embedding depends on the crops beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from facelet.errors import ModelError

EXPORT = "export the model for inference (in PyTorch: model.eval() first)"

OPSET_OF_TRAINING_MODE = 14
"""From here on an attribute of BatchNormalization says what before its number of outputs said."""

FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)


def training_form(node: onnx.NodeProto, opset: int, value: Callable[[str], np.ndarray[Any, Any] | None]) -> str:
    """What is wrong with a node in its training form, and how to fix it; empty for others.

    Args:
        opset: of the file.
        value: the numbers of a constant by name, or None.
    """
    given = {attribute.name: attribute.i for attribute in node.attribute}
    if node.op_type == "BatchNormalization":
        old = opset < OPSET_OF_TRAINING_MODE and len(node.output) > 1  # onnxruntime counts empty names, too
        if given.get("training_mode") or old:
            return f"is in training mode (its mean is that of the images at hand); {EXPORT}"
        if not given.get("spatial", 1):
            return "has spatial=0, statistics of every pixel; set it to 1 where there is one per channel"
    if node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]:
        found = value(node.input[2])
        if found is None or found.any():
            return f"is in training mode (it drops at random); {EXPORT}"
    return ""


def check_sound(model: onnx.ModelProto, where: str) -> None:
    """Refuses a file whose numbers nobody wants.

    Args:
        where: for the message.

    Raises:
        ModelError: an op in its training form, or weights that are NaN or infinite; a single infinite number may be
            a limit and passes.
    """
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            constants.update((node.output[0], given.t) for given in node.attribute if given.name == "value")

    def value(name: str) -> np.ndarray[Any, Any] | None:
        return numpy_helper.to_array(constants[name]) if name in constants else None

    for node in model.graph.node:
        if reason := training_form(node, opset, value):
            raise ModelError(f"{where}: {node.op_type} '{node.name or node.output[0]}': {reason}")
    for name, tensor in constants.items():
        if tensor.data_type not in FLOATS or tensor.data_location == onnx.TensorProto.EXTERNAL:
            continue
        array = numpy_helper.to_array(tensor)
        wrong = np.isnan(array) if array.size == 1 else ~np.isfinite(array)
        if wrong.any():
            raise ModelError(
                f"{where}: {np.count_nonzero(wrong)} of the {array.size} numbers of its constant '{name}' are NaN or "
                "infinite; train or export the network again"
            )

"""A trained net as one ONNX file with its card."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from pathlib import Path

import torch
from torch import nn

from facelet.atomic import write_bytes_atomic
from facelet.model import Card
from facelet.model_files import read_onnx, with_card

OPSET = 18


def export_onnx(net: nn.Module, card: Card, path: Path) -> None:
    """Writes the net, in evaluation mode, with an open batch: input `pixels`, output `embedding`.

    Args:
        card: its `height` and `width` are the input size.
        path: of the `.onnx` file, which appears whole or not at all.

    Raises:
        InputError: the place cannot be written.
    """
    example = torch.zeros(2, 3, card.height, card.width)
    net = net.eval().to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    with tempfile.TemporaryDirectory() as folder, _quiet():
        raw = Path(folder) / "net.onnx"
        torch.onnx.export(
            net,
            (example,),
            str(raw),
            input_names=["pixels"],
            output_names=["embedding"],
            opset_version=OPSET,
            dynamic_shapes={"x": {0: torch.export.Dim("n", min=1)}},
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        proto = read_onnx(raw)
    proto.doc_string = ""
    for node in proto.graph.node:  # the exporter's notes hold stack traces and paths of this machine
        node.doc_string = ""
        del node.metadata_props[:]
    for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        value.doc_string = ""
        del value.metadata_props[:]
    del proto.graph.metadata_props[:]
    write_bytes_atomic(path, with_card(proto, card).SerializeToString())


@contextlib.contextmanager
def _quiet():  # type: ignore[no-untyped-def]
    """Keeps the exporter's progress prints and warnings off the terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)

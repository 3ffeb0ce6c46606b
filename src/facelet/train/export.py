"""A trained net as one ONNX file with its card."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from facelet.model import Card
from facelet.model_files import save_model
from facelet.nets.to_graph import graph_of


def export_onnx(net: nn.Module, card: Card, path: Path) -> None:
    """Writes the net, in evaluation mode, with an open batch: input `pixels`, output `embedding`.

    Args:
        card: its `height` and `width` are the input size.
        path: of the `.onnx` file, which appears whole or not at all.

    Raises:
        GraphError: a module of the net has no form in ONNX here.
        InputError: the place cannot be written.
    """
    net = net.to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    save_model(path, graph_of(net, card.name, card.height, card.width), card)

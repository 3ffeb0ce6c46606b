"""A teacher as a torch module, so that it is asked where the student is trained: on a GPU, about views just drawn."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from facelet.data.views import Matrix
from facelet.errors import UnknownNameError
from facelet.faces.canvas import canvas_matrix
from facelet.graph.passes import optimise
from facelet.graph.read import read_net
from facelet.model import Card, Model
from facelet.model_files import load_model
from facelet.train.graph_net import GraphNet

PRECISIONS = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


class TorchTeacher(nn.Module):
    """The net of a model file, its weights fixed.

    Args:
        model: `.onnx`, or the `.xml` of an IR.
        precision: of weights and layers, of `PRECISIONS`.

    Attributes:
        matrix: from the crop canvas to its input.

    Raises:
        UnknownNameError: no such precision.
        GraphError: a file of another kind, or a net that cannot be run in batches of any size.
    """

    def __init__(self, model: Model, precision: str = "f32") -> None:
        super().__init__()
        if precision not in PRECISIONS:
            raise UnknownNameError("teacher precision", precision, PRECISIONS)
        self.card: Card = model.card
        self.name, self.embedding_size = self.card.name, self.card.embedding_size
        self.key = f"{model.sha256} {precision}"
        self.matrix: Matrix = canvas_matrix(self.card.template, self.card.height, self.card.width)
        self.net = GraphNet(optimise(read_net(model.path))).eval().requires_grad_(False).to(PRECISIONS[precision])
        self.register_buffer("mean", torch.tensor(self.card.mean).reshape(3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(self.card.scale).reshape(3, 1, 1), persistent=False)

    mean: Tensor
    scale: Tensor

    def forward(self, pixels: Tensor) -> Tensor:
        """Unit vectors `(n, d)` float32 of `(n, 3, height, width)` RGB in [0, 255], in the precision of the weights."""
        planes = pixels.flip(1) if self.card.color == "bgr" else pixels
        planes = (planes - self.mean) * self.scale
        weights = next(self.net.parameters())
        planes = planes.to(weights.dtype, memory_format=torch.channels_last)
        return functional.normalize(self.net(planes).flatten(1).float())


def open_torch_teacher(name: str, precision: str) -> TorchTeacher:
    """Opens a teacher by shipped name or by path.

    Raises:
        FaceletError: no such model, or one that torch cannot run.
    """
    return TorchTeacher(load_model(name), precision)

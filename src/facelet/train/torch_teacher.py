"""A teacher as a torch module, so that it is asked where the student is trained: on a GPU, about views just drawn."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from facelet.data.views import Matrix
from facelet.errors import UnknownNameError
from facelet.faces.canvas import canvas_matrix
from facelet.graph.passes import optimise
from facelet.model import Card, Model
from facelet.model_files import load_model
from facelet.model_graph import model_graph
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
        self.net = GraphNet(optimise(model_graph(model))).eval().requires_grad_(False).to(PRECISIONS[precision])

    def forward(self, pixels: Tensor) -> Tensor:
        """Unit vectors `(n, d)` float32 of `(n, 3, height, width)` RGB in [0, 255], in the precision of the weights."""
        planes = net_planes(pixels, self.card).to(next(self.net.parameters()).dtype)
        return functional.normalize(self.net(planes).flatten(1).float())


def net_planes(pixels: Tensor, card: Card) -> Tensor:
    """`(n, 3, h, w)` float32 RGB in [0, 255] as a net of this card eats it: its order of colours, mean and scale."""
    planes = pixels.flip(1) if card.color == "bgr" else pixels
    mean, scale = (pixels.new_tensor(numbers).reshape(3, 1, 1) for numbers in (card.mean, card.scale))
    return ((planes - mean) * scale).contiguous(memory_format=torch.channels_last)


def open_torch_teacher(name: str, precision: str) -> TorchTeacher:
    """Opens a teacher by shipped name or by path.

    Raises:
        FaceletError: no such model, or one that torch cannot run.
    """
    return TorchTeacher(load_model(name), precision)

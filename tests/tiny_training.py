"""A small transfer set, net and teacher, so that training tests take seconds."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from facelet.data.transfer import TransferSet
from facelet.faces.canvas import canvas_matrix
from facelet.nets.layers import L2Normalize, conv_bn

SIZE = 24


class TinyNet(nn.Module):
    """Two convolutions and a dense layer: 24x24 RGB to 8-d unit vectors."""

    input_size = SIZE
    embedding_size = 8

    def __init__(self) -> None:
        super().__init__()
        self.first = conv_bn(3, 12, 3, 2, activation=nn.PReLU)
        self.second = conv_bn(12, 16, 3, 2, activation=nn.PReLU)
        self.dense = nn.Linear(16 * 36, 8)
        self.normalize = L2Normalize()

    def forward(self, x: Tensor) -> Tensor:
        """Embeds `(n, 3, 24, 24)`."""
        out: Tensor = self.normalize(self.dense(self.second(self.first(x)).flatten(1)))
        return out


class TinyTeacher:
    """Projects a coarse picture of the crop on fixed random directions; counts how many crops it saw."""

    name = "tiny"
    key = "tiny-1"
    height = width = SIZE
    matrix = canvas_matrix("arcface", SIZE, SIZE)
    embedding_size = 12
    taps: tuple[str, ...] = ("coarse",)

    def __init__(self) -> None:
        self.seen = 0

    def run(self, crops: NDArray[np.uint8]) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
        """Unit vectors, and the mean of each 4x4 block as a map."""
        self.seen += len(crops)
        coarse = crops.reshape(len(crops), 6, 4, 6, 4, 3).mean((2, 4), dtype=np.float32) / 255
        directions = np.random.default_rng(5).normal(size=(108, 12)).astype(np.float32)
        vectors = (coarse - coarse.mean((1, 2), keepdims=True)).reshape(len(crops), -1) @ directions
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors, [coarse.transpose(0, 3, 1, 2)]


def tiny_set(people: int = 12, photos: int = 8) -> TransferSet:
    """Coloured noise: one coarse picture per person, fine noise per photo."""
    random = np.random.default_rng(0)
    coarse = np.repeat(random.integers(40, 215, (people, 8, 8, 3)), photos, axis=0)
    crops = np.kron(coarse, np.ones((1, 16, 16, 1))) + random.normal(0, 12, (people * photos, 128, 128, 3))
    return TransferSet(
        crops=crops.clip(0, 255).astype(np.uint8),
        identity=np.repeat(np.arange(people), photos).astype(np.int64),
        source=np.zeros(people * photos, np.int64),
        sources=("noise",),
        key="tiny-set",
    )


def tiny_net(seed: int = 0) -> TinyNet:
    """The net with weights of a seed."""
    torch.manual_seed(seed)
    return TinyNet()

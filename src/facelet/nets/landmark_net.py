"""The net that sees how far a face lies off its template: ten numbers from 64 pixels."""

from __future__ import annotations

from torch import Tensor, nn

from facelet.nets.layers import Flatten, InvertedResidual, conv_bn
from facelet.nets.prelu import PReLU

BLOCKS: tuple[tuple[int, int, int], ...] = (
    (24, 48, 2),
    (24, 72, 1),
    (32, 96, 2),
    (32, 96, 1),
    (48, 128, 2),
    (48, 144, 1),
)
"""Channels, expanded channels and stride of each inverted residual."""

STEM = 16


class LandmarkNet(nn.Module):
    """Stem, six inverted residuals, and a dense layer over the whole last map, which keeps where features lie.

    Small enough to run beside any student: 58,306 learnable parameters.
    """

    input_size = 64
    outputs = 10

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, STEM, 3, 2, activation=PReLU)
        channels, side = STEM, self.input_size // 2
        blocks: list[nn.Module] = []
        for out, hidden, stride in BLOCKS:
            blocks.append(InvertedResidual(channels, out, stride, hidden, PReLU))
            channels, side = out, side // stride
        self.blocks = nn.Sequential(*blocks)
        self.flatten = Flatten()
        self.dense = nn.Linear(channels * side**2, self.outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(n, 3, 64, 64)` float32 to `(n, 10)`: x and y of five points, template pixels from their places."""
        out: Tensor = self.dense(self.flatten(self.blocks(self.stem(x))))
        return out

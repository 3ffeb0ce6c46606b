"""This project's own students: high resolution kept long, PReLU, a global depthwise head.

Keras' MobileNetV2 ends in a 3x3 map that is averaged, which forgets where on the face a feature was. These nets
end in a 6x6 map that a depthwise convolution of its full size weighs place by place.

Source: Chen et al., "MobileFaceNets", CCBR 2018 (head and PReLU); widths and depths are this project's.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from facelet.nets.layers import Flatten, InvertedResidual, L2Normalize, conv_bn
from facelet.nets.prelu import PReLU


@dataclass(frozen=True)
class Stage:
    """Inverted residuals at one resolution; the first halves it.

    Attributes:
        channels: between the blocks.
        first_hidden: expanded channels of the halving block.
        hidden: expanded channels of the others.
        repeats: blocks, the halving one among them.
    """

    channels: int
    first_hidden: int
    hidden: int
    repeats: int


@dataclass(frozen=True)
class Layout:
    """A student's size.

    Attributes:
        stem: channels after the first convolution, at half the input size.
        stages: from a quarter of the input size down.
        features: channels of the global depthwise head.
    """

    stem: int
    stages: tuple[Stage, ...]
    features: int


LAYOUTS: dict[str, Layout] = {
    "facelet_s": Layout(24, (Stage(40, 72, 80, 2), Stage(96, 160, 192, 4), Stage(128, 384, 256, 6)), 512),
    "facelet_xs": Layout(16, (Stage(32, 64, 64, 2), Stage(80, 128, 160, 4), Stage(96, 256, 192, 5)), 384),
}


class FaceletNet(nn.Module):
    """Stem, stages, global depthwise convolution, one dense layer, unit length.

    Args:
        layout: channels and depth.
        input_size: side of the input, pixels; a multiple of 2 for the stem and each stage.
        embedding_size: numbers that come out.
    """

    input_size = 96
    embedding_size = 128

    def __init__(self, layout: Layout, input_size: int = input_size, embedding_size: int = embedding_size) -> None:
        super().__init__()
        self.input_size, self.embedding_size = input_size, embedding_size
        self.stem = conv_bn(3, layout.stem, 3, 2, activation=PReLU)
        channels = layout.stem
        stages: list[nn.Module] = []
        for stage in layout.stages:
            blocks: list[nn.Module] = []
            for repeat in range(stage.repeats):
                hidden, stride = (stage.first_hidden, 2) if repeat == 0 else (stage.hidden, 1)
                blocks.append(InvertedResidual(channels, stage.channels, stride, hidden, PReLU))
                channels = stage.channels
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.features = conv_bn(channels, layout.features, 1, activation=PReLU)
        last_map = input_size // 2 ** (len(layout.stages) + 1)
        self.pool = conv_bn(layout.features, layout.features, last_map, groups=layout.features, padding=0)
        self.flatten = Flatten()
        self.dense = nn.Linear(layout.features, embedding_size)
        self.normalize = L2Normalize()

    def forward(self, x: Tensor) -> Tensor:
        """Embeds `(n, 3, input_size, input_size)` float32 into `(n, embedding_size)` unit vectors."""
        x = self.pool(self.features(self.stages(self.stem(x))))
        out: Tensor = self.normalize(self.dense(self.flatten(x)))
        return out

"""MobileNetV2 as Keras lays it out, with a 128-d embedding head: the original work's students.

Width 0.5 has 870,192 and width 0.35 574,176 parameters counted as Keras counts them, that is with the
running statistics of batch norm.

Source: Sandler et al., "MobileNetV2", CVPR 2018, table 2; widths rounded as in `keras.applications`.
"""

from __future__ import annotations

from torch import Tensor, nn

from facelet.nets.layers import Flatten, InvertedResidual, L2Normalize, conv_bn
from facelet.nets.relu6 import ReLU6

# expand ratio, channels at width 1, repeats, stride of the first repeat
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
FEATURES = 1280
WIDTHS = {"mobilenet_v2_050": 0.5, "mobilenet_v2_035": 0.35}
"""Width multiplier of each student."""
KERAS_EPS = 1e-3


def round_channels(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of `divisor` that is at least nine tenths of `channels`."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def _relu6(_channels: int) -> nn.Module:
    return ReLU6()


class MobileNetV2(nn.Module):
    """MobileNetV2 features, global average pool, one dense layer, unit length.

    Args:
        width: the width multiplier; the last 1280 features do not shrink below width 1.
        input_size: side of the input, pixels; five strides of 2 leave a map of a 32nd, rounded up.
    """

    input_size = 96
    embedding_size = 128

    def __init__(self, width: float = 0.5, input_size: int = input_size) -> None:
        super().__init__()
        self.input_size = input_size
        channels = round_channels(32 * width)
        layers: list[nn.Module] = [conv_bn(3, channels, 3, 2, eps=KERAS_EPS, activation=_relu6)]
        for expand_ratio, stage_channels, repeats, stride in STAGES:
            out_channels = round_channels(stage_channels * width)
            for repeat in range(repeats):
                layers.append(
                    InvertedResidual(
                        channels,
                        out_channels,
                        stride if repeat == 0 else 1,
                        channels * expand_ratio,
                        _relu6,
                        eps=KERAS_EPS,
                    )
                )
                channels = out_channels
        layers.append(conv_bn(channels, FEATURES, 1, eps=KERAS_EPS, activation=_relu6))
        self.features = nn.Sequential(*layers)
        self.pool = nn.AvgPool2d(-(-input_size // 32))
        self.flatten = Flatten()
        self.dense = nn.Linear(FEATURES, self.embedding_size)
        self.normalize = L2Normalize()

    def forward(self, x: Tensor) -> Tensor:
        """Embeds `(n, 3, input_size, input_size)` float32 into `(n, 128)` unit vectors."""
        out: Tensor = self.normalize(self.dense(self.flatten(self.pool(self.features(x)))))
        return out

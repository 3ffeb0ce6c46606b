"""Building blocks that several nets share: normalised convolutions, inverted residuals, heads.

Sits below every net file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from facelet.nets.unit import ConvUnit


class CrossChannelLRN(nn.Module):
    """Local response normalization across channels.

    ``y = x / (k + alpha / size * sum of x^2 over `size` neighbouring channels) ^ beta``.
    The window sum is made of shifted slices, which is several times faster on CPUs than
    `torch.nn.LocalResponseNorm` and gives the same numbers.

    Source: Krizhevsky et al., "ImageNet Classification with Deep CNNs", NIPS 2012, section 3.3.
    """

    def __init__(self, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Tensor) -> Tensor:
        """Normalises `(n, channels, height, width)`; the same shape comes back."""
        half = self.size // 2
        channels = x.shape[1]
        padded = functional.pad(x.square(), (0, 0, 0, 0, half, half))
        window = padded[:, :channels]
        for offset in range(1, self.size):
            window = window + padded[:, offset : offset + channels]
        scale = self.k + self.alpha / self.size * window
        if self.beta == 0.75:  # two reciprocal roots are several times faster than a general power
            root = scale.rsqrt()
            return x * (root * root.sqrt())
        return x * scale.pow(-self.beta)


class L2Pool2d(nn.Module):
    """L2 pooling: the Euclidean norm of each `kernel_size` x `kernel_size` window.

    Written as its parts, square, average, times a constant, square root, because these power and
    constant layers are what pruning takes out (the result is then a plain average pool).
    """

    EPSILON = 1e-12  # keeps the gradient of the square root finite where a window is all zero

    def __init__(self, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, stride

    def forward(self, x: Tensor) -> Tensor:
        """Pools `(n, channels, height, width)` of non-negative or signed values."""
        mean = functional.avg_pool2d(x.square(), self.kernel_size, self.stride)
        return (mean * float(self.kernel_size**2) + self.EPSILON).sqrt()


class Flatten(nn.Module):
    """Joins all axes but the first."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(n, ...)` to `(n, product of the rest)`."""
        return torch.flatten(x, 1)


class L2Normalize(nn.Module):
    """Scales each row to unit Euclidean length."""

    EPSILON = 1e-12
    """The least length that a row is divided by."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalises `(n, features)`."""
        length: Tensor = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        return x / length.clamp_min(self.EPSILON)


class Sum(nn.Module):
    """The sum of two tensors of one shape."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Adds them."""
        return x + y


class DepthConcat(nn.Module):
    """Joins maps along channels; smaller ones are centred in a border of zeros, as Torch's DepthConcat does."""

    def forward(self, branches: Sequence[Tensor]) -> Tensor:
        """Maps some `(n, c, side, side)` to `(n, sum of c, side, side)` of the largest side."""
        return torch.cat([self._bordered(branch, branches) for branch in branches], dim=1)

    def border(self, branch: Tensor, branches: Sequence[Tensor]) -> tuple[int, int]:
        """Rows above and below a branch, and columns left and right."""
        short = max(other.shape[-1] for other in branches) - branch.shape[-1]
        return short // 2, short - short // 2

    def _bordered(self, branch: Tensor, branches: Sequence[Tensor]) -> Tensor:
        low, high = self.border(branch, branches)
        return functional.pad(branch, (low, high, low, high)) if low or high else branch


def conv_bn(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int = 1,
    *,
    groups: int = 1,
    padding: int | None = None,
    bias: bool = False,
    eps: float = 1e-5,
    activation: Callable[[int], nn.Module] | None = None,
) -> ConvUnit:
    """Convolution, batch norm and, where given, `activation(out_channels)`.

    Args:
        padding: zeros on each side; None keeps the size at stride 1.
        bias: whether the convolution has one of its own (redundant before a batch norm, but part of
            the parameter count of nn4.small2).
    """
    pad = kernel_size // 2 if padding is None else padding
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, out_channels, kernel_size, stride, pad, groups=groups, bias=bias),
        nn.BatchNorm2d(out_channels, eps=eps),
    ]
    if activation is not None:
        layers.append(activation(out_channels))
    return ConvUnit(*layers)


class InvertedResidual(nn.Module):
    """Expand 1x1, depthwise `kernel_size`, project 1x1; a residual where the shapes allow.

    Source: Sandler et al., "MobileNetV2", CVPR 2018, section 3.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        hidden_channels: int,
        activation: Callable[[int], nn.Module],
        *,
        kernel_size: int = 3,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if hidden_channels != in_channels:
            layers.append(conv_bn(in_channels, hidden_channels, 1, eps=eps, activation=activation))
        layers.append(
            conv_bn(
                hidden_channels,
                hidden_channels,
                kernel_size,
                stride,
                groups=hidden_channels,
                eps=eps,
                activation=activation,
            )
        )
        layers.append(conv_bn(hidden_channels, out_channels, 1, eps=eps))
        self.body = nn.Sequential(*layers)
        self.sum = Sum() if stride == 1 and in_channels == out_channels else None

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(n, in_channels, h, w)` to `(n, out_channels, h / stride, w / stride)`."""
        y: Tensor = self.body(x)
        return y if self.sum is None else self.sum(x, y)

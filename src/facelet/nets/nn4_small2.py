"""OpenFace's nn4.small2: the Inception network that the original work distils from.

96x96 RGB in, a 128-d unit embedding out, 3,733,968 learnable parameters.

Source: Schroff et al., "FaceNet", CVPR 2015, table 2 (NN4) and Amos et al., "OpenFace", CMU-CS-16-118, 2016.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from facelet.nets.layers import CrossChannelLRN, DepthConcat, Flatten, L2Normalize, L2Pool2d, conv_bn


@dataclass(frozen=True)
class Tower:
    """A 1x1 reduction to `reduce` channels followed by a `kernel_size` convolution to `out`."""

    kernel_size: int
    reduce: int
    out: int


@dataclass(frozen=True)
class InceptionSpec:
    """One Inception block: its towers, its pool branch and its direct 1x1 branch.

    Attributes:
        pool: "max" (3x3, stride as the towers) or "l2" (3x3, stride 3, zero-padded back to size).
        pool_out: channels of the 1x1 convolution behind the pool; None passes the pool through.
        direct_out: channels of the 1x1 branch; None leaves the branch out.
        stride: of every tower's large convolution and of a max pool.
    """

    in_channels: int
    towers: tuple[Tower, ...]
    pool: str
    pool_out: int | None
    direct_out: int | None
    stride: int = 1

    @property
    def out_channels(self) -> int:
        """Channels after the concatenation."""
        pool = self.in_channels if self.pool_out is None else self.pool_out
        return sum(t.out for t in self.towers) + pool + (self.direct_out or 0)


BLOCKS: dict[str, InceptionSpec] = {
    "3a": InceptionSpec(192, (Tower(3, 96, 128), Tower(5, 16, 32)), "max", 32, 64),
    "3b": InceptionSpec(256, (Tower(3, 96, 128), Tower(5, 32, 64)), "l2", 64, 64),
    "3c": InceptionSpec(320, (Tower(3, 128, 256), Tower(5, 32, 64)), "max", None, None, stride=2),
    "4a": InceptionSpec(640, (Tower(3, 96, 192), Tower(5, 32, 64)), "l2", 128, 256),
    "4e": InceptionSpec(640, (Tower(3, 160, 256), Tower(5, 64, 128)), "max", None, None, stride=2),
    "5a": InceptionSpec(1024, (Tower(3, 96, 384),), "l2", 96, 256),
    "5b": InceptionSpec(736, (Tower(3, 96, 384),), "max", 96, 256),
}


def _relu(_channels: int) -> nn.Module:
    return nn.ReLU(inplace=True)


class Inception(nn.Module):
    """Parallel towers on one input, concatenated along channels: towers, pool branch, direct branch."""

    def __init__(self, spec: InceptionSpec, *, power_pool: bool = True) -> None:
        super().__init__()
        self.towers = nn.ModuleList(
            nn.Sequential(
                conv_bn(spec.in_channels, t.reduce, 1, bias=True, activation=_relu),
                conv_bn(t.reduce, t.out, t.kernel_size, spec.stride, bias=True, activation=_relu),
            )
            for t in spec.towers
        )
        if spec.pool == "max":
            self.pool: nn.Module = nn.MaxPool2d(3, spec.stride, padding=1)
        else:
            self.pool = L2Pool2d(3, 3) if power_pool else nn.AvgPool2d(3, 3)
        self.pool_conv = (
            conv_bn(spec.in_channels, spec.pool_out, 1, bias=True, activation=_relu)
            if spec.pool_out is not None
            else nn.Identity()
        )
        self.direct = (
            conv_bn(spec.in_channels, spec.direct_out, 1, bias=True, activation=_relu)
            if spec.direct_out is not None
            else None
        )
        self.join = DepthConcat()

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(n, in_channels, h, w)` to `(n, out_channels, h / stride, w / stride)`."""
        branches = [tower(x) for tower in self.towers]
        branches.append(self.pool_conv(self.pool(x)))  # the stride-3 pool is the smaller
        if self.direct is not None:
            branches.append(self.direct(x))
        joined: Tensor = self.join(branches)
        return joined


class NN4Small2(nn.Module):
    """nn4.small2 with its layers in the original order.

    Args:
        lrn: keep the two cross-channel LRN layers.
        power_pool: keep the L2 pools; False replaces each by a plain average pool.
    """

    input_size = 96
    embedding_size = 128

    def __init__(self, *, lrn: bool = True, power_pool: bool = True) -> None:
        super().__init__()

        def norm() -> nn.Module:
            return CrossChannelLRN() if lrn else nn.Identity()

        self.conv1 = conv_bn(3, 64, 7, 2, bias=True, activation=_relu)
        self.norm1 = norm()
        self.conv2 = conv_bn(64, 64, 1, bias=True, activation=_relu)
        self.conv3 = conv_bn(64, 192, 3, bias=True, activation=_relu)
        self.norm2 = norm()
        self.max_pool = nn.MaxPool2d(3, 2, padding=1)
        self.blocks = nn.ModuleDict({name: Inception(spec, power_pool=power_pool) for name, spec in BLOCKS.items()})
        self.pool = nn.AvgPool2d(3)
        self.flatten = Flatten()
        self.dense = nn.Linear(BLOCKS["5b"].out_channels, self.embedding_size)
        self.normalize = L2Normalize()

    def forward(self, x: Tensor) -> Tensor:
        """Embeds `(n, 3, 96, 96)` float32 into `(n, 128)` unit vectors."""
        x = self.norm1(self.max_pool(self.conv1(x)))
        x = self.max_pool(self.norm2(self.conv3(self.conv2(x))))
        for block in self.blocks.values():
            x = block(x)
        out: Tensor = self.normalize(self.dense(self.flatten(self.pool(x))))
        return out

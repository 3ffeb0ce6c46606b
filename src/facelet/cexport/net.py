"""What the C code runs: layers on int8 images, and the tensors between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from facelet.graph.ir import Shape

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Tensor:
    """An int8 image, rows of pixels of channels.

    Attributes:
        root: name of the tensor in whose memory it lies; its own where it is no part of a concatenation.
        start: its first channel there.
    """

    name: str
    height: int
    width: int
    channels: int
    root: str
    start: int = 0

    @property
    def size(self) -> int:
        """Bytes, alone."""
        return self.height * self.width * self.channels


@dataclass(frozen=True)
class Layer:
    """What makes each row of one tensor.

    Attributes:
        kind: as `facelet_kind` of the C code, without its prefix.
        x: name of the tensor that it reads; empty for the image.
        out: name of the tensor that it writes.
        residual: name of the tensor that is added, or is the second of a pair; empty for none.
        kernel: height and width of its window.
        strides: down and across.
        dilations: rows and columns from one place of its window to the next.
        groups: of a convolution; each reads as many channels as it has.
        repeat: of a REPEAT: rows and columns that each pixel becomes.
        corner: rows above and columns to the left that its first window reaches over the border; of a COPY, those that
            it puts there.
        low: smallest integer that it writes.
        high: largest integer that it writes.
        weights: `(m, kh, kw, c / groups)`, of a DEPTHWISE `(kh, kw, c)`; of a TABLE its 256 entries.
        vectors: by the C code's name, one number per output channel: bias, shift, slope, slope_shift, residual_shift;
            order, the channel of x that each is, of CHANNELS. Of a MULTIPLY, shift and residual_shift have one number.
    """

    kind: str
    x: str
    out: str
    residual: str = ""
    kernel: Shape = (1, 1)
    strides: Shape = (1, 1)
    dilations: Shape = (1, 1)
    groups: int = 1
    repeat: Shape = (1, 1)
    corner: Shape = (0, 0)
    low: int = 0
    high: int = 0
    weights: Integers | None = None
    vectors: Mapping[str, Integers] = field(default_factory=dict)

    def reads(self, row: int) -> range:
        """Rows of its input that a row of its output is made of; some may lie outside."""
        first = row // self.repeat[0] * self.strides[0] - self.corner[0]
        return range(first, first + self.dilations[0] * (self.kernel[0] - 1) + 1)

    def __str__(self) -> str:
        return f"{self.kind} '{self.out}'"


@dataclass(frozen=True)
class Net:
    """Layers in an order in which they can run.

    Attributes:
        outputs: names of the last integers: those that the float tail starts from, in the order in which it reads them.
        fractions: of them.
        embeds: whether the only one is one pixel, whose direction is an embedding.
        tail: ops that follow the last integers in the model and are left to the caller, each once.
    """

    tensors: Mapping[str, Tensor]
    layers: tuple[Layer, ...]
    outputs: tuple[str, ...]
    fractions: tuple[int, ...] = (0,)
    embeds: bool = True
    tail: tuple[str, ...] = ()

    def readers(self, name: str) -> list[Layer]:
        """The layers that read a tensor, those that read a concatenation of it included."""
        root = self.tensors[name].root
        return [layer for layer in self.layers if any(self.root(x) == root for x in (layer.x, layer.residual) if x)]

    def root(self, name: str) -> str:
        """The tensor in whose memory another lies."""
        return self.tensors[name].root

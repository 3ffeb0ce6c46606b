"""What a device is given: kernel text, constants, launches and one arena. Pure data: made and read with no device.

All activations lie in one buffer of floats (the arena), all weights in another; kernels get both and offsets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facelet.graph.ir import Shape

SINGLE = "net"
"""Name of the kernel that runs all layers of a single-launch program."""


@dataclass(frozen=True)
class Tuning:
    """Knobs of the kernels.

    Attributes:
        vector: floats of a block of channels: 16 with AVX-512, 8 with AVX2, 4 elsewhere.
        pixels: most pixels of a row that a convolution keeps in registers; 4 to 12.
        blocks: most blocks of channels that it keeps beside them; 1 to 4. `pixels * blocks` vectors must fit into
            the registers: 12 to 24 of 32 with AVX-512, 12 of 16 with AVX2.
        unroll: of the loop over input channels; 1 to 16.
        single: all layers in one launch of one work-item: no launch costs, one thread.
    """

    vector: int = 16
    pixels: int = 6
    blocks: int = 2
    unroll: int = 4
    single: bool = False


@dataclass(frozen=True)
class Launch:
    """One kernel run.

    Attributes:
        kernel: its name in the text.
        offsets: into the arena (input, second input, output) and the constants (weights, bias, slopes), in floats.
        size: work-items in two dimensions, each a work-group of its own.
        node: what it computes, for messages.
        macs: multiply-accumulates.
    """

    kernel: str
    offsets: tuple[int, ...]
    size: tuple[int, int]
    node: str
    macs: int = 0


@dataclass(frozen=True)
class Input:
    """Where a fed tensor lies: planes with a border of zeros.

    Attributes:
        name: of the tensor.
        shape: `(n, c, h, w)`, or any other, which then has no border.
        offset: in the arena.
        pads: (top, left, bottom, right).
    """

    name: str
    shape: Shape
    offset: int
    pads: tuple[int, int, int, int]

    @property
    def padded_shape(self) -> Shape:
        """With the border."""
        if not any(self.pads):
            return self.shape
        top, left, bottom, right = self.pads
        return (*self.shape[:2], self.shape[2] + top + bottom, self.shape[3] + left + right)


@dataclass(frozen=True)
class Output:
    """Where an asked-for tensor lies, row-major."""

    name: str
    shape: Shape
    offset: int


@dataclass(frozen=True)
class Program:
    """A compiled graph.

    Attributes:
        name: of the graph.
        source: OpenCL C, one function per distinct layer.
        launches: the layers in order; one launch runs them all where `tuning.single` is set.
        constants: weights as the kernels read them, `(n,)` float32.
        arena_floats: size of the arena.
        live_floats: the largest set of tensors that live at one moment; the arena can be no smaller.
        inputs: what is fed.
        outputs: what is read back.
        tuning: knobs it was made with.
    """

    name: str
    source: str
    launches: tuple[Launch, ...]
    constants: NDArray[np.float32]
    arena_floats: int
    live_floats: int
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    tuning: Tuning

    @property
    def kernels(self) -> tuple[str, ...]:
        """Names of the layers' functions, each once."""
        return tuple(dict.fromkeys(launch.kernel for launch in self.launches))

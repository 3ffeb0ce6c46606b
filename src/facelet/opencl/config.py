"""How a program is made for a device: plain numbers, so that a program can be made with no device at hand."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from facelet.opencl.pocl_rescue import WIDE_FLAGS, is_wide


@dataclass(frozen=True)
class Tile:
    """The register tile of a dense convolution.

    Attributes:
        height: rows of output pixels.
        width: output pixels of a row.
        blocks: blocks of output channels.
    """

    height: int
    width: int
    blocks: int


@dataclass(frozen=True)
class Config:
    """What the kernels are made for.

    Attributes:
        block: floats of a vector, and channels of a block: 16 for AVX-512, 8 for AVX2.
        registers: vector registers of the processor: 32 or 16.
        vload: whether vectors are loaded with `vload`, as GPUs' compilers want, or through pointers.
        vnni: whether the processor has AVX512-VNNI and the compiler takes its instruction; for integers.
        tiles: tuned tiles by `tiles.conv_key`; the model of `tiles.best_tile` decides about the others.
    """

    block: int = 16
    registers: int = 32
    vload: bool = False
    vnni: bool = False
    tiles: Mapping[str, Tile] = field(default_factory=dict)


AVX512 = Config(block=16, registers=32)
AVX2 = Config(block=8, registers=16)
GPU = Config(block=8, registers=64, vload=True)


def choose_config(name: str, kind: str, version: str, flags: Collection[str]) -> Config:
    """How kernels are made for a device.

    Args:
        name: of the device, such as "pocl-3.0".
        kind: "cpu" or another.
        version: what the device says of itself; PoCL names its compiler's target there.
        flags: of the processor, in the words of Linux.
    """
    if kind != "cpu":
        return GPU
    if not set(flags) >= WIDE_FLAGS:
        return AVX2
    if name == "pocl-3.0" and not is_wide(version):
        return AVX2
    vnni = name.startswith("pocl") and "avx512_vnni" in flags  # Intel's compiler takes no assembler
    return replace(AVX512, vnni=vnni)

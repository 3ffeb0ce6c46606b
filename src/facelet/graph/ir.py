"""The network as some forty named ops on named float32 tensors: immutable, every shape a tuple of numbers.

A `Graph` is made from ONNX at a chosen batch size (`onnx_io`), changed by passes (`passes/`), run by NumPy
(`reference`), and lowered to OpenCL (`facelet.opencl`). Whatever ONNX offers in several forms has one form here:

| op | inputs | attributes |
|---|---|---|
| Conv | x `(n, c, h, w)`, weight `(m, c / groups, kh, kw)`, bias `(m,)` | strides, dilations, pads, groups |
| FusedConv | as Conv, then slope `(m,)` of a PRelu, then residual | as Conv; activation and its own; residual |
| BatchNormalization | x, scale, bias, mean, variance `(c,)` | epsilon |
| Relu, Sigmoid, HardSwish, Sqrt, Tanh, Abs, Exp, Log, Erf | x | |
| LeakyRelu | x | alpha |
| Clip | x | min, max (may be infinite) |
| PRelu | x, slope `(c,)` | |
| Add, Sub, Mul, Div, Pow, Max, Min | a, b (broadcast as NumPy does; a constant has its own shape) | |
| Concat | two or more | axis |
| MaxPool, AveragePool, LpPool | x | kernel (h, w), strides, pads; AveragePool: count_include_pad; LpPool: p |
| GlobalAveragePool | x | |
| LRN | x | size, alpha, beta, bias |
| Gemm | x `(n, k)`, weight `(m, k)`, bias `(m,)` | |
| Reshape | x | shape |
| Transpose | x | perm |
| Pad | x | pads (begin of each axis, then end of each), value |
| Slice | x | starts, steps (below 0: backwards), sizes, one of each per axis |
| Resize | x `(n, c, h, w)` | scale_h, scale_w: whole numbers; nearest neighbour |
| Resample | x `(n, c, h, w)` | height, width, scale_h, scale_w, mode, coordinates, nearest: see `resample` |
| ReduceL2, ReduceSum, ReduceMean, ReduceMax, ReduceMin | x | axes, keepdims |
| Softmax | x | axis |
| LpNormalization | x | axis, epsilon: x / max(length, epsilon) |
| QuantizeLinear | x | fraction: x times 2^fraction, rounded to an integer of 8 bits |
| DequantizeLinear | x of integers | fraction: x times 2^-fraction |
| Channels | x `(n, c, h, w)` | order: which channel of x each channel of the output is |
| Table | x of integers, table `(256,)` of numbers | y = table[x + 128] |
| Int8Table | x, table `(256,)`, all integers | fraction; see `int8_maps` |
| Int8Mul | a, b of integers | a_fraction, b_fraction, fraction; see `int8_maps` |
| Int8Conv | all integers: x, weight, bias, fractions `(m,)`; slopes and their fractions `(m,)`; residual | see `int8` |

Pads of windows are (top, left, bottom, right), kernels, strides and dilations (h, w). A FusedConv is a convolution,
plus its last input where `residual` is true, then the op that `activation` names ("" for none).

Attributes are Python ints, floats, strings, bools and tuples of ints. Weights, biases, slopes and statistics are
constants of the graph; the other operands of Add, Sub, Mul, Div, Pow, Max and Min may be.

Tensors between a QuantizeLinear and a DequantizeLinear hold integers in [-128, 127], as float32 like all others;
the ops of `int8.MOVERS` move them unchanged. The integer q stands for the number q times 2^-fraction.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facelet.errors import GraphError

Shape = tuple[int, ...]
Array = NDArray[np.float32]

ACTIVATIONS = ("Relu", "Clip", "PRelu", "LeakyRelu", "Sigmoid", "HardSwish")
"""Ops that a convolution can take along; see `FusedConv`."""


@dataclass(frozen=True)
class Node:
    """One operation.

    Attributes:
        op: name in the table above.
        inputs: names of the tensors that it reads, in the table's order.
        output: name of the tensor that it writes; every op has one.
        attributes: read-only.
        name: of the node in the file that it came from, for messages.
    """

    op: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "attributes", MappingProxyType(dict(self.attributes)))

    def __getitem__(self, attribute: str) -> Any:
        return self.attributes[attribute]

    def __str__(self) -> str:
        return f"{self.op} '{self.name or self.output}'"


@dataclass(frozen=True)
class Graph:
    """A network.

    Attributes:
        name: for messages and files.
        inputs: names of the tensors that are fed.
        outputs: names of the tensors that are asked for.
        nodes: every node after those whose outputs it reads.
        constants: float32 arrays by name, read-only.
        shapes: of every tensor, constants included.
        metadata: text that travels with the file, such as the model's card.
        notes: what reading the file changed, one sentence each; for the user.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    constants: Mapping[str, Array]
    shapes: Mapping[str, Shape]
    metadata: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for array in self.constants.values():
            array.setflags(write=False)
        for attribute in ("constants", "shapes", "metadata"):
            object.__setattr__(self, attribute, MappingProxyType(dict(getattr(self, attribute))))

    def check(self) -> Graph:
        """Returns itself when it is well formed.

        Raises:
            GraphError: a tensor is read before it is written, written twice, or has no shape; or a constant or an
                attribute holds a number that is not one.
        """
        known = {*self.inputs, *self.constants}
        for node in self.nodes:
            for name in node.inputs:
                if name not in known:
                    raise GraphError(f"{self.name}: {node} reads '{name}', which nothing before it writes")
            if node.output in known:
                raise GraphError(f"{self.name}: {node} writes '{node.output}', which is written already")
            known.add(node.output)
        for name in self.outputs:
            if name not in known:
                raise GraphError(f"{self.name}: the output '{name}' is written by no node")
        for name in known:
            if name not in self.shapes:
                raise GraphError(f"{self.name}: tensor '{name}' has no shape")
        for name, array in self.constants.items():
            if count := array.size - np.count_nonzero(np.isfinite(array)):
                raise GraphError(
                    f"{self.name}: {count} of the {array.size} numbers of its constant '{name}' are NaN or infinite; "
                    "train or export the network again"
                )
        for node in self.nodes:
            for name, value in node.attributes.items():
                if isinstance(value, float) and math.isnan(value):
                    raise GraphError(f"{self.name}: {node}: its {name} is NaN; export the network again")
        return self

    @property
    def batch(self) -> int:
        """Images that go through at once: the first dimension of the first input."""
        return self.shapes[self.inputs[0]][0]

    def producer(self, tensor: str) -> Node | None:
        """The node that writes a tensor; None for inputs and constants."""
        return next((node for node in self.nodes if node.output == tensor), None)

    def readers(self, tensor: str) -> tuple[Node, ...]:
        """The nodes that read a tensor."""
        return tuple(node for node in self.nodes if tensor in node.inputs)

    def with_nodes(
        self,
        nodes: Iterable[Node],
        *,
        constants: Mapping[str, Array] | None = None,
        shapes: Mapping[str, Shape] | None = None,
    ) -> Graph:
        """This graph with other nodes, and more constants and shapes; what no node reads any more is dropped.

        Args:
            constants: added ones; their shapes need not be given.
            shapes: of tensors that this graph does not know yet, or that change.
        """
        kept = tuple(nodes)
        read = {name for node in kept for name in node.inputs} | set(self.outputs)
        every = {name: a for name, a in {**self.constants, **(constants or {})}.items() if name in read}
        known = {**self.shapes, **(shapes or {}), **{name: array.shape for name, array in every.items()}}
        named = {*self.inputs, *every, *(node.output for node in kept)}
        return replace(
            self, nodes=kept, constants=every, shapes={name: s for name, s in known.items() if name in named}
        ).check()

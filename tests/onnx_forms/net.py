"""What makes a small ONNX net of any opset: what old files say in attributes, new ones say in inputs."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Numbers = np.ndarray[Any, Any]

OPSETS = tuple(range(7, 26))
"""From the oldest that is read to the newest that onnxruntime runs."""

IMAGE = (1, 4, 6, 5)


@dataclass(frozen=True)
class Form:
    """A net.

    Attributes:
        model: the file.
        refused: what the refusal says; empty where the net must run.
    """

    model: onnx.ModelProto
    refused: str = ""


@dataclass
class Net:
    """Adds nodes to a net; every method returns the name of its output.

    Attributes:
        opset: of the file.
        shape: of the one input `x`.
    """

    opset: int = 18
    shape: Sequence[int | str] = IMAGE
    seed: str = ""
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: dict[str, Numbers] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(zlib.crc32(f"{self.seed} {self.opset}".encode()))

    def floats(self, *shape: int) -> Numbers:
        return self.rng.standard_normal(shape).astype(np.float32)

    def keep(self, values: Numbers) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = values
        return name

    def number(self, value: float) -> str:
        return self.keep(np.array(value, np.float32))

    def ints(self, *values: int) -> str:
        return self.keep(np.array(values, np.int64))

    def add(self, op: str, *inputs: str, n_outputs: int = 1, **attributes: Any) -> Any:
        position = len(self.nodes)
        names = [f"t{position}"] if n_outputs == 1 else [f"t{position}_{i}" for i in range(n_outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, name=f"{op}_{position}", **attributes))
        return names[0] if n_outputs == 1 else names

    def conv(self, x: str, *kernel: int, **attributes: Any) -> str:
        return str(self.add("Conv", x, self.keep(self.floats(*kernel) / 3), **attributes))

    def listed(self, op: str, x: str, name: str, values: Sequence[int], since: int, **attributes: Any) -> Any:
        """An op whose list of whole numbers is an attribute before an opset, an input from there on."""
        if self.opset < since:
            return self.add(op, x, **{**attributes, name: list(values)})
        return self.add(op, x, self.ints(*values), **attributes)

    def clip(self, x: str, low: float, high: float) -> str:
        if self.opset < 11:
            return str(self.add("Clip", x, min=float(low), max=float(high)))
        return str(self.add("Clip", x, self.number(low), self.number(high)))

    def pad(self, x: str, pads: Sequence[int], value: float = 0.0, mode: str = "constant") -> str:
        if self.opset < 11:
            return str(self.add("Pad", x, pads=list(pads), value=value, mode=mode))
        return str(self.add("Pad", x, self.ints(*pads), self.number(value), mode=mode))

    def slice(
        self, x: str, starts: Sequence[int], ends: Sequence[int], axes: Sequence[int], steps: Sequence[int] = ()
    ) -> str:
        if self.opset < 10:
            return str(self.add("Slice", x, starts=list(starts), ends=list(ends), axes=list(axes)))
        lists = [starts, ends, axes, *([steps] if steps else [])]
        return str(self.add("Slice", x, *(self.ints(*values) for values in lists)))

    def split(self, x: str, sizes: Sequence[int], axis: int) -> list[str]:
        names = self.listed("Split", x, "split", sizes, 13, axis=axis, n_outputs=len(sizes))
        return list(names)

    def reduced(self, op: str, x: str, axes: Sequence[int], keepdims: int = 1) -> str:
        since = 13 if op == "ReduceSum" else 18
        return str(self.listed(op, x, "axes", axes, since, keepdims=keepdims))

    def flat(self, x: str) -> str:
        return str(self.add("Flatten", x))

    def enlarged(self, x: str, scales: Sequence[float], mode: str = "nearest", **ways: Any) -> str:
        """Upsample or Resize, as the opset has it."""
        whole = [1.0, 1.0, *scales]
        if self.opset < 9:
            return str(self.add("Upsample", x, scales=whole, mode=mode))
        numbers = self.keep(np.array(whole, np.float32))
        if self.opset < 11:
            return str(self.add("Upsample" if self.opset == 9 else "Resize", x, numbers, mode=mode))
        roi = self.keep(np.zeros(0, np.float32)) if self.opset < 13 else ""
        return str(self.add("Resize", x, roi, numbers, mode=mode, **ways))

    def file(
        self, *outputs: str, kind: int = TensorProto.FLOAT, out_kind: int = TensorProto.FLOAT, as_inputs: bool = False
    ) -> onnx.ModelProto:
        value = helper.make_tensor_value_info
        entries = [value("x", kind, self.shape)]
        if as_inputs:
            entries += [
                value(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
                for name, array in self.weights.items()
            ]
        graph = helper.make_graph(
            self.nodes,
            "net",
            entries,
            [value(name, out_kind, None) for name in outputs],
            [numpy_helper.from_array(array, name) for name, array in self.weights.items()],
        )
        version = 3 if as_inputs else {25: 12, 24: 11, 23: 11}.get(self.opset, 8 if self.opset < 21 else 10)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=version)


FORMS: dict[str, Form] = {}


def put(name: str, net: Net, *outputs: str, refused: str = "", **kinds: Any) -> None:
    """Adds a form; its output is the last node's where none is named."""
    if name in FORMS:
        raise ValueError(f"{name} is there twice")
    FORMS[name] = Form(net.file(*(outputs or (net.nodes[-1].output[0],)), **kinds), refused)

"""A net as a graph: its modules write down what they did to one image, and batch norms go into their convolutions.

Tensors are named after the module that made them, constants as in the net's `state_dict`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import singledispatchmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from facelet.errors import GraphError
from facelet.graph.ir import Array, Graph, Node, Shape
from facelet.nets.from_model import FOLDED
from facelet.nets.layers import CrossChannelLRN, DepthConcat, Flatten, L2Normalize, L2Pool2d, Sum
from facelet.nets.relu6 import ReLU6

INPUT, OUTPUT = "pixels", "embedding"


def graph_of(net: nn.Module, name: str, height: int, width: int) -> Graph:
    """What a net computes in evaluation mode, at a batch of one: input `pixels`, output `embedding`.

    Args:
        net: of the modules of this package; it is left in evaluation mode.
        name: of the graph.

    Raises:
        GraphError: a module of a kind that no graph is written of, or a step between modules that is none.
    """
    pixels = torch.zeros(1, 3, height, width)
    writer = _Recorder(pixels)
    parts = [(path, module) for path, module in net.named_modules() if module is not net]
    handles = [module.register_forward_hook(writer.hook(path)) for path, module in parts if _is_written(module)]
    try:
        with torch.no_grad():
            last = net.eval()(pixels)
    finally:
        for handle in handles:
            handle.remove()
    return writer.graph(name, last)


def _is_written(module: nn.Module) -> bool:
    """Whether a module writes for itself: containers leave that to their parts."""
    return not any(module.children())


class _Recorder:
    """Collects nodes while a net runs; tensors are known by their identity, so all of them are kept."""

    def __init__(self, pixels: Tensor) -> None:
        self.nodes: list[Node] = []
        self.constants: dict[str, Array] = {}
        self.shapes: dict[str, Shape] = {INPUT: tuple(pixels.shape)}
        self._names = {id(pixels): INPUT}
        self._kept = [pixels]

    def hook(self, path: str) -> Any:
        """What a module's forward hook is: it writes the module down under its path."""

        def after(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            self.write(module, path, inputs, output)

        return after

    def graph(self, name: str, last: Tensor) -> Graph:
        """The graph of all that was written; its output gets its public name."""
        if not self.nodes or self._name(name, last) != self.nodes[-1].output:
            raise GraphError(f"{name}: the net does not end in its last module; no graph can be written of it")
        *nodes, end = self.nodes
        shapes = {**self.shapes, OUTPUT: self.shapes[end.output]}
        del shapes[end.output]
        return Graph(name, (INPUT,), (OUTPUT,), (*nodes, replace(end, output=OUTPUT)), self.constants, shapes).check()

    @singledispatchmethod
    def write(self, module: nn.Module, path: str, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Writes down what a module did to its inputs."""
        raise GraphError(f"{path}: no graph is written of a {type(module).__name__}")

    @write.register
    def _(self, module: nn.Conv2d, path: str, inputs: tuple[Any, ...], output: Tensor) -> None:
        top, left = _two(module.padding)
        weight = self._constant(f"{path}.weight", module.weight)
        bias = module.bias if module.bias is not None else torch.zeros(module.out_channels)
        name = f"{path}.bias" if module.bias is not None else f"{path}.weight{FOLDED}"
        attributes = {
            "strides": _two(module.stride),
            "dilations": _two(module.dilation),
            "pads": (top, left, top, left),
            "groups": module.groups,
        }
        self._add("Conv", path, inputs, output, attributes, (weight, self._constant(name, bias)))

    @write.register
    def _(self, module: nn.BatchNorm2d, path: str, inputs: tuple[Any, ...], output: Tensor) -> None:
        conv = self.nodes[-1]
        if conv.op != "Conv" or conv.output != self._name(path, inputs[0]):
            raise GraphError(f"{path}: a batch norm that follows no convolution; no graph is written of it")
        weight, bias = (torch.from_numpy(self.constants[name]).double() for name in conv.inputs[1:])
        parts = (module.running_mean, module.running_var, module.weight, module.bias)
        mean, variance, scale, shift = (part.double() for part in parts if part is not None)
        folded = fuse_conv_bn_weights(weight, bias, mean, variance, module.eps, scale, shift)
        for name, tensor in zip(conv.inputs[1:], folded, strict=True):
            self._constant(name, tensor)
        self._call(output, conv.output)

    @write.register
    def _(self, module: nn.Linear, path: str, inputs: tuple[Any, ...], output: Tensor) -> None:
        names = (self._constant(f"{path}.weight", module.weight), self._constant(f"{path}.bias", module.bias))
        self._add("Gemm", path, inputs, output, {}, names)

    @write.register
    def _(self, module: nn.PReLU, path: str, inputs: tuple[Any, ...], output: Tensor) -> None:
        self._add("PRelu", path, inputs, output, {}, (self._constant(f"{path}.weight", module.weight),))

    @write.register
    def _(self, _module: nn.ReLU, path: str, inputs: tuple[Any, ...], output: Tensor) -> None:
        self._add("Relu", path, inputs, output)

    @write.register
    def _(self, _module: ReLU6, path: str, inputs: tuple[Any, ...], output: Tensor) -> None:
        self._add("Clip", path, inputs, output, {"min": 0.0, "max": 6.0})

    @write.register
    def _(self, module: nn.MaxPool2d, path: str, inputs: tuple[Any, ...], output: Tensor) -> None:
        self._add("MaxPool", path, inputs, output, _window(module.kernel_size, module.stride, module.padding))

    @write.register
    def _(self, module: nn.AvgPool2d, path: str, inputs: tuple[Any, ...], output: Tensor) -> None:
        window = _window(module.kernel_size, module.stride, module.padding)
        self._add("AveragePool", path, inputs, output, {**window, "count_include_pad": module.count_include_pad})

    @write.register
    def _(self, module: L2Pool2d, path: str, inputs: tuple[Any, ...], output: Tensor) -> None:
        # without the epsilon, which only training needs
        window = {**_window(module.kernel_size, module.stride, 0), "count_include_pad": True}
        two = self._constant(f"{path}.power", torch.tensor(2.0))
        area = self._constant(f"{path}.area", torch.tensor(float(module.kernel_size**2)))
        square = self._step("Pow", f"{path}.square", (self._name(path, inputs[0]), two), tuple(inputs[0].shape))
        mean = self._step("AveragePool", f"{path}.mean", (square,), tuple(output.shape), window)
        total = self._step("Mul", f"{path}.sum", (mean, area), tuple(output.shape))
        self._call(output, self._step("Sqrt", path, (total,), tuple(output.shape)))

    @write.register
    def _(self, module: CrossChannelLRN, path: str, inputs: tuple[Any, ...], output: Tensor) -> None:
        attributes = {"size": module.size, "alpha": module.alpha, "beta": module.beta, "bias": module.k}
        self._add("LRN", path, inputs, output, attributes)

    @write.register
    def _(self, _module: Sum, path: str, inputs: tuple[Any, ...], output: Tensor) -> None:
        self._add("Add", path, inputs, output)

    @write.register
    def _(self, module: DepthConcat, path: str, inputs: tuple[Any, ...], output: Tensor) -> None:
        names = []
        for index, branch in enumerate(inputs[0]):
            name = self._name(path, branch)
            low, high = module.border(branch, inputs[0])
            if low or high:
                wide = (*branch.shape[:2], *output.shape[2:])
                attributes = {"pads": (0, 0, low, low, 0, 0, high, high), "value": 0.0}
                name = self._step("Pad", f"{path}.{index}", (name,), wide, attributes)
            names.append(name)
        self._call(output, self._step("Concat", path, tuple(names), tuple(output.shape), {"axis": 1}))

    @write.register
    def _(self, _module: Flatten, path: str, inputs: tuple[Any, ...], output: Tensor) -> None:
        self._add("Reshape", path, inputs, output, {"shape": tuple(output.shape)})

    @write.register
    def _(self, module: L2Normalize, path: str, inputs: tuple[Any, ...], output: Tensor) -> None:
        self._add("LpNormalization", path, inputs, output, {"axis": 1, "epsilon": module.EPSILON})

    @write.register
    def _(self, _module: nn.Identity, path: str, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Leaves the tensor as it is, under the name that it has."""

    def _add(
        self,
        op: str,
        path: str,
        inputs: tuple[Any, ...],
        output: Tensor,
        attributes: Mapping[str, Any] | None = None,
        constants: tuple[str, ...] = (),
    ) -> None:
        """Adds a module's one node."""
        names = (*(self._name(path, x) for x in inputs), *constants)
        self._call(output, self._step(op, path, names, tuple(output.shape), attributes))

    def _step(
        self, op: str, name: str, inputs: tuple[str, ...], shape: Shape, attributes: Mapping[str, Any] | None = None
    ) -> str:
        """Adds a node; a module that runs twice gets a second name. Returns its output."""
        while name in self.shapes:
            name += "_"
        self.nodes.append(Node(op, inputs, name, attributes or {}, name))
        self.shapes[name] = shape
        return name

    def _name(self, path: str, tensor: Tensor) -> str:
        """What a tensor is called that a module reads."""
        if id(tensor) not in self._names:
            raise GraphError(f"{path}: reads what no module made; no graph can be written of the net")
        return self._names[id(tensor)]

    def _constant(self, name: str, tensor: Tensor) -> str:
        """Adds a constant, or gives it other values; returns its name."""
        array = np.array(tensor.detach().float().numpy())
        self.constants[name], self.shapes[name] = array, array.shape
        return name

    def _call(self, tensor: Tensor, name: str) -> None:
        """Knows a tensor by a name from here on; a module that works in place gives its input a new one."""
        self._names[id(tensor)] = name
        self._kept.append(tensor)


def _window(kernel: Any, stride: Any, padding: Any) -> dict[str, Any]:
    top, left = _two(padding)
    return {"kernel": _two(kernel), "strides": _two(stride), "pads": (top, left, top, left)}


def _two(value: Any) -> tuple[int, int]:
    """Height and width of what torch takes as one number or two."""
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[1]))

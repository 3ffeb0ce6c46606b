"""Goes on training a net from a shipped file of the same net, whose batch norms were folded away."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from facelet.errors import MissingFileError, ModelError

FOLDED = "_bias"
"""What an exported file adds to a kernel's name for the bias that took in the batch norm."""


def start_from_model(net: nn.Module, path: Path, pixels: Tensor) -> None:
    """Gives a net the weights of an exported file, so that it answers as the file does.

    A folded kernel and bias are parted again: the batch norm takes the mean and the deviation that the pixels show
    at its place as its statistics and undoes them by its scale and shift; each filter gets the norm that filters of
    its layer start with, as batch norm does not care and optimizers do.

    A net of another resolution takes over the kernels; that of a head which spans the last map is stretched to it.
    What it answers is then to be learned anew.

    Args:
        net: fresh, with a batch norm after every convolution.
        path: a `model.onnx` of the same net.
        pixels: normalised, `(n, 3, height, width)` float32, some hundred.

    Raises:
        MissingFileError: no such file.
        ModelError: it holds no such net.
    """
    if not path.exists():
        raise MissingFileError(f"{path}: no such file; give a model.onnx of the same net")
    try:
        graph = onnx.load(str(path)).graph
    except Exception as error:  # whatever protobuf says of a file that is none
        raise ModelError(f"{path}: not an ONNX model ({error})") from error
    tensors = {i.name: torch.from_numpy(np.array(numpy_helper.to_array(i))) for i in graph.initializer}
    _name_slopes(tensors, graph, net)
    _stretch_head(tensors, net)
    pairs = _normed(net)
    with torch.no_grad():
        norms = {name: net.get_parameter(f"{name}.weight").flatten(1).norm(dim=1).mean() for name, _ in pairs}
        for name, parameter in net.named_parameters():
            if not isinstance(net.get_submodule(name.rpartition(".")[0]), nn.BatchNorm2d):
                _fill(parameter, tensors, name, path)
        for name, norm in pairs:
            if f"{name}.bias" in tensors:  # the kernel has a bias of its own, which took in the norm
                norm.bias.zero_()
            else:
                _fill(norm.bias, tensors, f"{name}.weight{FOLDED}", path)
        _part(net, pairs, pixels)
        for name, norm in pairs:
            _rescale(net.get_submodule(name), norm, norms[name])


def _rescale(convolution: nn.Module, norm: nn.BatchNorm2d, length: Tensor) -> None:
    """Each filter to a length, its batch norm along with it."""
    assert isinstance(convolution, nn.Conv2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    factor = length / convolution.weight.flatten(1).norm(dim=1).clamp_min(1e-12)
    convolution.weight.mul_(factor[:, None, None, None])
    if convolution.bias is not None:
        convolution.bias.mul_(factor)
    before = (norm.running_var + norm.eps).sqrt()
    norm.running_mean.mul_(factor)
    norm.running_var.mul_(factor.square())
    norm.weight.mul_((norm.running_var + norm.eps).sqrt() / (before * factor))


def _normed(net: nn.Module) -> list[tuple[str, nn.BatchNorm2d]]:
    """Names of the convolutions and the batch norm that follows each."""
    found = []
    for (name, module), (_, following) in pairwise(net.named_modules()):
        if isinstance(module, nn.Conv2d) and isinstance(following, nn.BatchNorm2d):
            found.append((name, following))
    return found


def _name_slopes(tensors: dict[str, Tensor], graph: onnx.GraphProto, net: nn.Module) -> None:
    """A file has the slopes of PReLU in another shape, under names of its own; they stand in the order of the net."""
    slopes = [node.input[1] for node in graph.node if node.op_type == "PRelu"]
    names = [f"{name}.weight" for name, module in net.named_modules() if isinstance(module, nn.PReLU)]
    tensors.update({name: tensors[slope] for name, slope in zip(names, slopes, strict=False) if slope in tensors})


def _stretch_head(tensors: dict[str, Tensor], net: nn.Module) -> None:
    """Brings a global depthwise kernel to the size of the net's last map, so that an even map gives what it gave."""
    for name, parameter in net.named_parameters():
        kernel = tensors.get(name, parameter)
        if not name.startswith("pool.") or kernel.ndim != 4 or kernel.shape[:2] != parameter.shape[:2]:
            continue
        if kernel.shape != parameter.shape:
            stretched = functional.interpolate(kernel, parameter.shape[2:], mode="bilinear", antialias=True)
            mean = kernel.mean(dim=(2, 3), keepdim=True) - stretched.mean(dim=(2, 3), keepdim=True)
            tensors[name] = (stretched + mean) * (kernel[0, 0].numel() / parameter[0, 0].numel())


def _fill(target: Tensor, tensors: dict[str, Tensor], name: str, path: Path) -> None:
    if name not in tensors or tensors[name].numel() != target.numel():
        found = f"of {tensors[name].numel()} values" if name in tensors else "missing"
        raise ModelError(f"{path}: tensor {name} is {found}; the net takes {target.numel()} (is it the same net?)")
    target.copy_(tensors[name].reshape(target.shape))


def _part(net: nn.Module, pairs: list[tuple[str, nn.BatchNorm2d]], pixels: Tensor) -> None:
    def measure(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias.add_(mean)

    handles = [norm.register_forward_pre_hook(measure) for _, norm in pairs]
    try:
        net.eval()(pixels)
    finally:
        for handle in handles:
            handle.remove()
        net.train()

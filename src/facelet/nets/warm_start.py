"""Warm start of nn4.small2 from OpenFace's released tensors, as flattened by the Keras port of it.

Some of those files lack kernels; every layer that stays fresh is named.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from facelet.archives import NPZ_ERRORS
from facelet.errors import MissingFileError, ModelError
from facelet.nets.nn4_small2 import BLOCKS, NN4Small2


def _unit_names(net: NN4Small2) -> dict[str, tuple[nn.Conv2d, nn.BatchNorm2d, str, str]]:
    """Module path of each convolution with its batch norm, and their names in the file."""
    paths: dict[str, tuple[str, str, str]] = {
        "conv1": ("conv1", "conv1", "bn1"),
        "conv2": ("conv2", "conv2", "bn2"),
        "conv3": ("conv3", "conv3", "bn3"),
    }
    for name, spec in BLOCKS.items():
        block, file = f"blocks.{name}", f"inception_{name}"
        for tower, shape in enumerate(spec.towers):
            side = f"{shape.kernel_size}x{shape.kernel_size}"
            for part in (0, 1):
                paths[f"{name}.{side}.{part + 1}"] = (
                    f"{block}.towers.{tower}.{part}",
                    f"{file}_{side}_conv{part + 1}",
                    f"{file}_{side}_bn{part + 1}",
                )
        if spec.pool_out is not None:
            paths[f"{name}.pool"] = (f"{block}.pool_conv", f"{file}_pool_conv", f"{file}_pool_bn")
        if spec.direct_out is not None:
            paths[f"{name}.1x1"] = (f"{block}.direct", f"{file}_1x1_conv", f"{file}_1x1_bn")
    return {key: (*_conv_and_norm(net, path), conv, norm) for key, (path, conv, norm) in paths.items()}


def _conv_and_norm(net: nn.Module, path: str) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    conv, norm = net.get_submodule(f"{path}.0"), net.get_submodule(f"{path}.1")
    if not isinstance(conv, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d):
        raise ModelError(f"nn4_small2: {path} is no convolution with a batch norm")
    return conv, norm


def warm_start(net: NN4Small2, path: Path) -> list[str]:
    """Loads what the file holds, unit by unit, and returns the names of the layers that stay fresh.

    A convolution and its batch norm are loaded together or not at all: half of a pair is worth nothing. The
    released net takes pixels in [0, 1]; the first kernel is rescaled to this package's [-1, 1].

    Args:
        path: an `.npz` of flattened tensors, kernels as (out, in, height, width).

    Raises:
        MissingFileError: no such file.
        ModelError: not an `.npz`, or a tensor of the wrong size.
    """
    if not path.exists():
        raise MissingFileError(f"{path}: no such file; give the .npz of OpenFace tensors")
    try:
        with path.open("rb") as stream:
            tensors: dict[str, NDArray[np.float32]] = dict(np.load(stream))
    except NPZ_ERRORS as error:
        raise ModelError(f"{path}: not an .npz of tensors ({error}); give OpenFace's") from error
    fresh: list[str] = []
    units = _unit_names(net)
    with torch.no_grad():
        for key, (conv, norm, conv_name, norm_name) in units.items():
            targets: dict[str, Tensor] = {
                f"{conv_name}_w": conv.weight,
                f"{conv_name}_b": _present(conv.bias),
                f"{norm_name}_w": norm.weight,
                f"{norm_name}_b": norm.bias,
                f"{norm_name}_m": _present(norm.running_mean),
                f"{norm_name}_v": _present(norm.running_var),
            }
            if all(name in tensors for name in targets):
                for name, target in targets.items():
                    _copy(tensors[name], target, name, path)
            else:
                fresh.append(key)
        if "conv1" not in fresh:
            first = units["conv1"][0]
            _present(first.bias).add_(first.weight.sum(dim=(1, 2, 3)) / 2)
            first.weight.div_(2)
        if "dense_w" in tensors and "dense_b" in tensors:
            _copy(tensors["dense_w"], net.dense.weight, "dense_w", path)
            _copy(tensors["dense_b"], net.dense.bias, "dense_b", path)
        else:
            fresh.append("dense")
    return fresh


def _present(tensor: Tensor | None) -> Tensor:
    if tensor is None:
        raise ModelError("nn4_small2: built without a tensor that the warm start fills")
    return tensor


def _copy(values: NDArray[np.float32], target: Tensor, name: str, path: Path) -> None:
    if values.size != target.numel():
        raise ModelError(f"{path}: tensor {name} has {values.size} values; nn4_small2 takes {target.numel()}")
    target.copy_(torch.from_numpy(np.asarray(values, np.float32)).reshape(target.shape))

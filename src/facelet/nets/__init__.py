"""The nets, by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from facelet.errors import UnknownNameError
from facelet.nets.facelet_students import LAYOUTS, FaceletNet
from facelet.nets.mobilenet_v2 import WIDTHS, MobileNetV2
from facelet.nets.nn4_small2 import NN4Small2
from facelet.nets.scaled import MARK, scaled_net

NETS: dict[str, Callable[[], nn.Module]] = {
    "nn4_small2": NN4Small2,
    "mobilenet_v2_050": lambda: MobileNetV2(WIDTHS["mobilenet_v2_050"]),
    "mobilenet_v2_035": lambda: MobileNetV2(WIDTHS["mobilenet_v2_035"]),
    "facelet_s": lambda: FaceletNet(LAYOUTS["facelet_s"]),
    "facelet_xs": lambda: FaceletNet(LAYOUTS["facelet_xs"]),
}


def build_net(name: str) -> nn.Module:
    """A freshly initialised net.

    Args:
        name: key of `NETS`, or a scaled student such as `facelet_xs@width=0.75,resolution=80` (see `scaled`).

    Raises:
        UnknownNameError: no such net; the nearest name is proposed.
        InputError: a scaled name that is malformed.
    """
    if MARK in name:
        return scaled_net(name)
    if name not in NETS:
        raise UnknownNameError("net", name, NETS)
    return NETS[name]()

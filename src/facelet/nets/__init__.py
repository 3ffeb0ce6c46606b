"""The nets, by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from facelet.errors import UnknownNameError
from facelet.nets.facelet_students import LAYOUT_S, LAYOUT_XS, FaceletNet
from facelet.nets.mobilenet_v2 import MobileNetV2
from facelet.nets.nn4_small2 import NN4Small2

NETS: dict[str, Callable[[], nn.Module]] = {
    "nn4_small2": NN4Small2,
    "mobilenet_v2_050": lambda: MobileNetV2(0.5),
    "mobilenet_v2_035": lambda: MobileNetV2(0.35),
    "facelet_s": lambda: FaceletNet(LAYOUT_S),
    "facelet_xs": lambda: FaceletNet(LAYOUT_XS),
}


def build_net(name: str) -> nn.Module:
    """A freshly initialised net.

    Raises:
        UnknownNameError: no such net; the nearest name is proposed.
    """
    if name not in NETS:
        raise UnknownNameError("net", name, NETS)
    return NETS[name]()

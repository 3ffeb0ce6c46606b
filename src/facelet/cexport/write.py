"""Net and Plan -> the text of the weights' C file, and of what the templates leave open."""

from __future__ import annotations

import re
import textwrap
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from facelet.backends import network_input
from facelet.cexport.net import Integers, Layer, Net
from facelet.cexport.place import PATCHES, Plan
from facelet.graph.ir import Node
from facelet.graph.reference import run_node
from facelet.model import Card
from facelet.verdict import DEFAULT_FAR

TYPES = {
    "bias": "int32_t",
    "shift": "uint8_t",
    "slope": "int16_t",
    "slope_shift": "uint8_t",
    "residual_shift": "uint8_t",
    "order": "uint16_t",
}
"""Of the numbers that come with each output channel."""

COLUMNS = 118


def template(name: str, values: dict[str, object]) -> str:
    """A template with what it leaves open, written @SO@, filled in."""
    text = resources.files("facelet.cexport").joinpath("templates", name).read_text(encoding="utf-8")
    return re.sub(r"@([A-Z0-9_]+)@", lambda found: str(values[found[1]]), text)


def pixel_integers(card: Card, fraction: int) -> NDArray[np.int64]:
    """`(3, 256)`: the integer of each pixel value, for each channel of the network's input."""
    pixels = np.repeat(np.arange(256, dtype=np.uint8).reshape(1, 1, 256, 1), 3, axis=3)
    node = Node("QuantizeLinear", ("pixels",), "integers", {"fraction": fraction})
    return run_node(node, [network_input(pixels, card)])[0, :, 0].astype(np.int64)


def thresholds(card: Card) -> str:
    """The card's thresholds as macros; the one that decides without another is FACELET_THRESHOLD."""
    lines = []
    for rate, value in sorted(card.thresholds.items(), key=lambda item: float(item[0])):
        name = "FACELET_THRESHOLD_FAR_" + re.sub(r"\W", "_", rate).upper()
        lines.append(f"#define {name} {value:.9e}f")
        if np.isclose(float(rate), DEFAULT_FAR):
            lines.append(f"#define FACELET_THRESHOLD {name}")
    return "\n".join(lines) or "/* None: the card holds none. */"


def sizes(net: Net, plan: Plan) -> dict[str, object]:
    """What facelet_weights.h leaves open."""
    return {
        "ARENA_BYTES": plan.size,
        "CHAINS": len(plan.chains),
        "LONGEST_CHAIN": max(len(chain.layers) for chain in plan.chains),
        "PATCHES": PATCHES,
        "OUTPUTS": len(net.outputs),
    }


def weights_text(net: Net, plan: Plan, pixels: NDArray[np.int64], colors: list[int]) -> str:
    """The text of facelet_weights.c.

    Args:
        pixels: from `pixel_integers`.
        colors: which of red, green, blue each channel of the input is.
    """
    layers = [layer for chain in plan.chains for layer in chain.layers]
    parts = ["/* Weights and tables of the network. Made by Facelet. */", '#include "facelet_weights.h"', ""]
    parts += ["#include <stddef.h>", "", '#include "facelet_net.h"', ""]
    for index, layer in enumerate(layers):
        parts += _arrays(index, layer)
    index_of = {name: index for index, name in enumerate(net.tensors)}
    parts += ["const facelet_tensor facelet_tensors[] = {"]
    for name, tensor in net.tensors.items():
        placed = plan.placed[name]
        values = (placed.offset, tensor.height, tensor.width, tensor.channels, placed.pixel, placed.rows)
        parts.append(f"    {{{', '.join(map(str, values))}}}, /* {index_of[name]}: {_comment(name)} */")
    parts += ["};", "", "const facelet_layer facelet_layers[] = {"]
    parts += [_layer(index, layer, index_of) for index, layer in enumerate(layers)]
    parts += ["};", "", "const facelet_chain facelet_chains[FACELET_CHAINS] = {"]
    first = 0
    for chain, patches in zip(plan.chains, plan.patches, strict=True):
        parts.append(f"    {{{patches}, {first}, {len(chain.layers)}}},")
        first += len(chain.layers)
    parts += ["};", "", f"const uint16_t facelet_last[{len(net.outputs)}] = {{"]
    parts += [f"    {', '.join(str(index_of[name]) for name in net.outputs)}", "};", ""]
    parts += ["const facelet_shape facelet_shapes[FACELET_OUTPUTS] = {"]
    for name, fraction in zip(net.outputs, net.fractions, strict=True):
        tensor = net.tensors[name]
        parts.append(f"    {{{tensor.height}, {tensor.width}, {tensor.channels}, {fraction}}}, /* {_comment(name)} */")
    parts += ["};", "", "const int8_t facelet_pixels[3][256] = {"]
    parts += [f"    {{\n{_numbers(row, 8)}\n    }}," for row in pixels]
    parts += ["};", "", f"const uint8_t facelet_colors[3] = {{{', '.join(map(str, colors))}}};", ""]
    return "\n".join(parts)


def _arrays(index: int, layer: Layer) -> list[str]:
    """The constants of a layer."""
    found = [("weights", "int8_t", layer.weights)] if layer.weights is not None else []
    found += [(name, TYPES[name], vector) for name, vector in layer.vectors.items()]
    lines = [f"/* {_comment(layer)} */"] if found else []
    for name, kind, values in found:
        lines += [f"static const {kind} {name}_{index}[] = {{", _numbers(values, 4), "};", ""]
    return lines


def _layer(index: int, layer: Layer, index_of: dict[str, int]) -> str:
    """A layer's entry in its table."""
    fields = {
        "weights": f"weights_{index}" if layer.weights is not None else "NULL",
        **{name: f"{name}_{index}" if name in layer.vectors else "NULL" for name in TYPES},
        **{
            place: str(index_of[name]) if name else "FACELET_NONE"
            for place, name in (("x", layer.x), ("out", layer.out), ("residual", layer.residual))
        },
        "kind": f"FACELET_{layer.kind}",
        "kernel_h": layer.kernel[0],
        "kernel_w": layer.kernel[1],
        "stride_h": layer.strides[0],
        "stride_w": layer.strides[1],
        "dilation_h": layer.dilations[0],
        "dilation_w": layer.dilations[1],
        "repeat_h": layer.repeat[0],
        "repeat_w": layer.repeat[1],
        "groups": layer.groups,
        "top": layer.corner[0],
        "left": layer.corner[1],
        "low": layer.low,
        "high": layer.high,
    }
    text = ", ".join(f".{name} = {value}" for name, value in fields.items() if value != "NULL")
    return textwrap.indent(_wrapped(f"{{{text}}},", COLUMNS - 4), "    ")


def _numbers(values: Integers, indent: int) -> str:
    """Numbers with commas between them, in lines."""
    return textwrap.indent(_wrapped(", ".join(map(str, values.reshape(-1).tolist())), COLUMNS - indent), " " * indent)


def _wrapped(text: str, columns: int) -> str:
    """Text in lines of at most so many characters, cut behind commas; quick on a million numbers."""
    lines = []
    start = 0
    while len(text) - start > columns:
        end = text.rfind(", ", start, start + columns + 1) + 1
        lines.append(text[start:end])
        start = end + 1
    return "\n".join([*lines, text[start:]])


def _comment(what: object) -> str:
    """A name that cannot end a comment."""
    return str(what).replace("*/", "").replace("/*", "").replace("\\", "").replace("\n", " ")

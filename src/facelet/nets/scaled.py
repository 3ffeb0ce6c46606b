"""Students at other sizes, by name: `facelet_xs@width=0.75,resolution=80,depth=0.5,embedding=64`.

Any of the four factors may be left out. Width multiplies every channel count, depth the blocks of every stage,
resolution is the input's side in pixels, embedding the length of the vector that comes out. The MobileNets, whose
layout is Keras', take the resolution alone: `mobilenet_v2_035@resolution=112`.

Source: Tan and Le, "EfficientNet", ICML 2019, section 3.2 (width, depth and resolution as the ways to scale a net).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from facelet.errors import InputError, UnknownNameError
from facelet.nets.facelet_students import LAYOUTS, FaceletNet, Layout
from facelet.nets.mobilenet_v2 import WIDTHS, MobileNetV2, round_channels

MARK = "@"
"""Stands between the base and its factors."""

MULTIPLIERS = (0.25, 4.0)
"""Smallest and largest width and depth."""

SIDES = range(48, 129, 16)
"""Of the input: halved four times they are whole, and no larger than the crop canvas."""

EMBEDDINGS = range(16, 257, 8)


@dataclass(frozen=True)
class Scale:
    """How a net differs from its base.

    Attributes:
        width: times every channel count, rounded to multiples of 8.
        depth: times the blocks of every stage, one at least.
        resolution: side of the input, pixels.
        embedding: numbers that come out.
    """

    width: float = 1.0
    depth: float = 1.0
    resolution: int = FaceletNet.input_size
    embedding: int = FaceletNet.embedding_size


FACTORS = tuple(field.name for field in fields(Scale))


def base_name(name: str) -> str:
    """The net that a name scales; the name itself where it scales nothing."""
    return name.partition(MARK)[0]


def at_resolution(name: str, side: int) -> str:
    """The name of a net, scaled or not, with another side of the input; its other factors stay."""
    base, _, factors = name.partition(MARK)
    kept = [part for part in factors.split(",") if part and not part.startswith("resolution=")]
    return f"{base}{MARK}{','.join([*kept, f'resolution={side}'])}"


def scaled_net(name: str) -> FaceletNet | MobileNetV2:
    """A freshly initialised net of a scaled name.

    Raises:
        InputError: the name is malformed or a factor is out of range.
        UnknownNameError: no such base or factor.
    """
    base, _, factors = name.partition(MARK)
    if base not in LAYOUTS | WIDTHS:
        raise UnknownNameError("net that can be scaled", base, LAYOUTS | WIDTHS)
    scale = parse_scale(factors, name)
    if base in WIDTHS:
        if scale != Scale(resolution=scale.resolution):
            raise InputError(f"net '{name}': of {base} the resolution alone can be changed; leave the rest out")
        return MobileNetV2(WIDTHS[base], scale.resolution)
    return FaceletNet(scaled_layout(LAYOUTS[base], scale), scale.resolution, scale.embedding)


def parse_scale(factors: str, name: str) -> Scale:
    """Reads `width=0.75,resolution=80`.

    Args:
        name: of the net, for the error message.

    Raises:
        InputError: malformed, given twice, or out of range.
        UnknownNameError: no such factor.
    """
    values: dict[str, float] = {}
    for part in factors.split(","):
        factor, equals, text = part.partition("=")
        if not equals:
            raise InputError(
                f"net '{name}': '{part}' is no factor; expected BASE{MARK}FACTOR=VALUE,..., such as width=0.75"
            )
        if factor not in FACTORS:
            raise UnknownNameError("factor", factor, FACTORS)
        if factor in values:
            raise InputError(f"net '{name}': {factor} is given twice")
        values[factor] = _value(factor, text, name)
    return replace(Scale(), **values)  # type: ignore[arg-type]


def _value(factor: str, text: str, name: str) -> float:
    if factor in ("width", "depth"):
        low, high = MULTIPLIERS
        expected = f"a number in {low:g}..{high:g}"
        try:
            number = float(text)
        except ValueError:
            number = 0.0
        if low <= number <= high:
            return number
    else:
        allowed = SIDES if factor == "resolution" else EMBEDDINGS
        expected = f"a multiple of {allowed.step} in {allowed[0]}..{allowed[-1]}"
        if text.isdecimal() and int(text) in allowed:
            return int(text)
    raise InputError(f"net '{name}': {factor} is '{text}'; expected {expected}")


def scaled_layout(layout: Layout, scale: Scale) -> Layout:
    """A layout with other channel counts and repeats; width and depth 1 give it back."""

    def wide(channels: int) -> int:
        return round_channels(channels * scale.width)

    stages = tuple(
        replace(
            stage,
            channels=wide(stage.channels),
            first_hidden=wide(stage.first_hidden),
            hidden=wide(stage.hidden),
            repeats=max(1, int(stage.repeats * scale.depth + 0.5)),
        )
        for stage in layout.stages
    )
    return Layout(wide(layout.stem), stages, wide(layout.features))

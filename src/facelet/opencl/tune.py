"""Measures which register tile is fastest for each convolution of a network on a device, and remembers it there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Protocol

from facelet.atomic import write_text_atomic
from facelet.cache import cache_dir
from facelet.graph.ir import Graph, Node
from facelet.lock import alone
from facelet.opencl import tiles
from facelet.opencl.config import Config, Tile
from facelet.opencl.device import Device
from facelet.opencl.layout import blocks
from facelet.opencl.lower import lower
from facelet.opencl.program import Program

TRIED = 6
"""Tiles that are measured for a convolution: the best ones by the model of `tiles.cost`."""

REPEATS = 30


class Timed(Protocol):
    """A built program whose steps can be timed."""

    def seconds(self, step: int, repeats: int) -> float:
        """The shortest time of one step."""


class Stopwatch(Protocol):
    """A runtime that can time."""

    @property
    def device(self) -> Device:
        """What it runs on."""

    def load(self, program: Program, *, whole: bool) -> Timed:
        """Builds a program."""


def _path(device: Device) -> Path:
    """Named by the device and the driver; what either says of itself may be long."""
    parts = json.dumps([device.platform, device.hardware, device.version])
    return cache_dir() / "opencl" / f"tiles-{hashlib.sha256(parts.encode()).hexdigest()[:32]}.json"


def tuned_tiles(device: Device) -> dict[str, Tile]:
    """Tiles that were tuned on a device, by `tiles.conv_key`; none where there are none, or they cannot be read."""
    try:
        found = json.loads(_path(device).read_text(encoding="utf-8"))
        return {key: Tile(**numbers) for key, numbers in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def convolutions(graph: Graph) -> dict[str, Node]:
    """The dense convolutions of a graph that differ, by `tiles.conv_key`; those that read the input are left out."""
    found: dict[str, Node] = {}
    for node in graph.nodes:
        if node.op not in ("Conv", "FusedConv") or node["groups"] != 1 or node.inputs[0] in graph.inputs:
            continue
        if tuple(node["dilations"]) == (1, 1):
            found.setdefault(tiles.conv_key(graph, node), node)
    return found


def tune(
    graph: Graph, runtime: Stopwatch, config: Config, progress: Callable[[int, int, str], None] | None = None
) -> dict[str, Tile]:
    """Measures every convolution that is not tuned yet and adds each best tile at once to those of the device.

    Args:
        config: of the device.
        progress: called with the number done, the number of all and a key.

    Returns:
        All tiles that are tuned on this device.

    Raises:
        DeviceError: the device cannot build a kernel.
        InputError: the tiles cannot be stored.
    """
    known = tuned_tiles(runtime.device)
    todo = {key: node for key, node in convolutions(graph).items() if key not in known}
    for done, (key, node) in enumerate(todo.items()):
        if progress is not None:
            progress(done, len(todo), key)
        _keep(runtime.device, key, _best(graph, node, key, runtime, config))
    return tuned_tiles(runtime.device)


def _keep(device: Device, key: str, tile: Tile) -> None:
    """Adds a tile to what is stored for a device, where another process may add its own meanwhile."""
    path = _path(device)
    with alone(path.with_suffix(".lock")):
        stored = {**tuned_tiles(device), key: tile}
        write_text_atomic(path, json.dumps({k: asdict(t) for k, t in stored.items()}, indent=1))


def _best(graph: Graph, node: Node, key: str, runtime: Stopwatch, config: Config) -> Tile:
    alone = Graph(
        name=key,
        inputs=tuple(dict.fromkeys(name for name in node.inputs if name not in graph.constants)),
        outputs=(node.output,),
        nodes=(node,),
        constants={name: graph.constants[name] for name in node.inputs if name in graph.constants},
        shapes={name: graph.shapes[name] for name in (*node.inputs, node.output)},
    )
    _, channels, _, _ = graph.shapes[node.output]
    count = blocks(channels, config.block)
    rows, columns = tiles.tile_area(graph, node)
    tried = sorted(tiles.candidates(config, count, rows, columns), key=lambda t: tiles.cost(t, count, rows, columns))
    times: dict[Tile, float] = {}
    for tile in tried[:TRIED]:
        program = lower(alone, replace(config, tiles={key: tile}))
        step = next(i for i, launch in enumerate(program.launches) if launch.kernel.startswith(("conv", "stem")))
        times[tile] = runtime.load(program, whole=False).seconds(step, REPEATS)
    return min(times, key=lambda tile: times[tile])

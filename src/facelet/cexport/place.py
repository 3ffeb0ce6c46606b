"""Net -> Plan: which layers run row by row behind each other, and where their tensors lie in the arena.

A tensor that one layer writes and one layer reads need never be whole: its reader asks for the rows of its window, its
writer makes them just then, and as many rows as the window is high are kept, in turn (a streamed tensor). Layers that
are joined so form a chain; the C code runs chain after chain, `Chain.events` says in what order it makes rows.

A chain that adds its own input to what it made may write over it, where no later row needs what is written over.

Which tensors are streamed is found by trying: from all of them, whatever makes the arena smaller as a whole is whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass

from facelet.cexport.net import Layer, Net
from facelet.opencl.memory import Lifetime, plan

PATCHES = 4
"""Windows of a convolution that are laid side by side at once."""


@dataclass(frozen=True)
class Chain:
    """Layers that run row by row, each reading what the one before it writes.

    Attributes:
        heights: rows that each layer's output has.
        input_rows: rows that each layer's input has.
    """

    layers: tuple[Layer, ...]
    heights: tuple[int, ...]
    input_rows: tuple[int, ...]

    def events(self) -> Iterator[tuple[int, int]]:
        """Index of a layer and the row that it makes, in the order of the C code."""
        done = [0] * len(self.layers)
        last = len(self.layers) - 1
        while done[last] < self.heights[last]:
            index = last
            while index and done[index - 1] < self._needs(index, done[index]):
                index -= 1
            yield index, done[index]
            done[index] += 1

    def _needs(self, index: int, row: int) -> int:
        """Rows that the layer before must have made."""
        return min(max(self.layers[index].reads(row).stop, 0), self.input_rows[index])


@dataclass(frozen=True)
class Placed:
    """Where a tensor lies.

    Attributes:
        offset: of its first byte in the arena.
        pixel: bytes from one pixel to the next.
        rows: rows that are kept; row y lies where row y modulo this does.
    """

    offset: int
    pixel: int
    rows: int


@dataclass(frozen=True)
class Plan:
    """How a net runs.

    Attributes:
        size: bytes of the arena.
        patches: offset of each chain's windows that lie side by side; 0 where there are none.
        whole_size: bytes of the arena were no tensor streamed.
    """

    chains: tuple[Chain, ...]
    placed: Mapping[str, Placed]
    patches: tuple[int, ...]
    size: int
    whole_size: int = 0


def place(net: Net) -> Plan:
    """Finds the plan of the smallest arena that trying single changes reaches."""
    candidates = sorted(_can_stream(net))
    streamed = frozenset(candidates)
    best = _placed(net, streamed)
    better = True
    while better:
        better = False
        for name in candidates:
            tried = streamed ^ {name}
            found = _placed(net, tried)
            if found.size < best.size:
                streamed, best, better = tried, found, True
    whole = _placed(net, frozenset())
    return Plan(best.chains, best.placed, best.patches, best.size, whole.size)


def patch_size(net: Net, layer: Layer) -> int:
    """Bytes of the windows that a layer lays side by side; 0 where pixels already lie so."""
    if layer.kind != "DENSE":
        return 0
    columns = min(PATCHES, net.tensors[layer.out].width)
    return columns * layer.kernel[0] * layer.kernel[1] * net.tensors[layer.x].channels // layer.groups


def _can_stream(net: Net) -> Iterator[str]:
    """Tensors that one layer reads as its input, and no concatenation holds."""
    roots = [tensor.root for tensor in net.tensors.values()]
    for name in net.tensors:
        readers = net.readers(name)
        alone = roots.count(net.root(name)) == 1 and name not in net.outputs
        if alone and len(readers) == 1 and readers[0].x == name != readers[0].residual:
            yield name


def _chains(net: Net, streamed: Set[str]) -> list[Chain]:
    """Chains in an order in which they can run: that of their last layers, whose tensors are whole."""
    open_: dict[str, list[Layer]] = {}
    done: list[Chain] = []
    for layer in net.layers:
        found = [*open_.pop(layer.x, []), layer]
        if layer.out in streamed:
            open_[layer.out] = found
            continue
        heights = tuple(net.tensors[one.out].height for one in found)
        done.append(Chain(tuple(found), heights, tuple(net.tensors[one.x].height if one.x else 0 for one in found)))
    return done


def _placed(net: Net, streamed: Set[str]) -> Plan:
    chains = _chains(net, streamed)
    over = _written_over(net, chains)

    def home(name: str) -> str:
        """The tensor whose place another takes."""
        name = net.root(name)
        while name in over:
            name = over[name]
        return name

    rows = {name: tensor.height for name, tensor in net.tensors.items()}
    times: dict[str, list[int]] = {}
    for index, chain in enumerate(chains):
        for layer in chain.layers:
            if layer.x in streamed:
                rows[layer.x] = min(rows[layer.x], len(layer.reads(0)))
            for name in (layer.x, layer.residual, layer.out):
                if name:
                    times.setdefault(home(name), []).append(index)
    for name in net.outputs:
        times[home(name)].append(len(chains))
    names = list(times)
    sizes = [rows[name] * net.tensors[name].width * net.tensors[name].channels for name in names]
    buffers = [Lifetime(s, min(times[n]), max(times[n])) for n, s in zip(names, sizes, strict=True)]
    scratch = [max(patch_size(net, layer) for layer in chain.layers) for chain in chains]
    buffers += [Lifetime(size, index, index) for index, size in enumerate(scratch) if size]
    arena = plan(buffers)
    offsets = dict(zip(names, arena.offsets, strict=False))
    patches = iter(arena.offsets[len(names) :])
    placed = {
        name: Placed(offsets[home(name)] + tensor.start, net.tensors[tensor.root].channels, rows[name])
        for name, tensor in net.tensors.items()
        if home(name) in offsets
    }
    return Plan(tuple(chains), placed, tuple(next(patches) if size else 0 for size in scratch), arena.size)


def _written_over(net: Net, chains: list[Chain]) -> dict[str, str]:
    """Outputs of chains that may take the place of the residual that they add."""
    found: dict[str, str] = {}
    last_read: dict[str, int] = {}
    for index, chain in enumerate(chains):
        for layer in chain.layers:
            last_read |= {net.root(name): index for name in (layer.x, layer.residual) if name}
    roots = [tensor.root for tensor in net.tensors.values()]
    for index, chain in enumerate(chains):
        last = chain.layers[-1]
        if not last.residual:
            continue
        old, new = net.tensors[last.residual], net.tensors[last.out]
        alone = roots.count(old.root) == roots.count(new.root) == 1 and not {old.name, new.name} & {*net.outputs}
        alike = (old.height, old.width, old.channels) == (new.height, new.width, new.channels)
        if alone and alike and last_read[old.name] == index and _in_time(chain, old.name):
            found[new.name] = old.name
    return found


def _in_time(chain: Chain, name: str) -> bool:
    """Whether all other layers have read a row of a tensor when the chain's last layer writes over it."""
    written = -1
    end = len(chain.layers) - 1
    for index, row in chain.events():
        layer = chain.layers[index]
        reads = [*layer.reads(row)] if layer.x == name else []
        if index == end and layer.x == name:
            return False
        if index == end:
            written = row
        elif layer.residual == name:
            reads.append(row)
        if any(0 <= read <= written for read in reads):
            return False
    return True

"""Draws a network: one box per node in rows by depth, arrows for its tensors; no window, no global state."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from facelet.atomic import write_bytes_atomic
from facelet.evaluate.png import new_figure, png_bytes
from facelet.graph.ir import Graph

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {"Conv": "#9ecae1", "FusedConv": "#9ecae1", "Gemm": "#9ecae1", "Concat": "#c7e9c0", "Add": "#c7e9c0"}
OTHER = "#e8e8e8"
ROW, COLUMN = 0.55, 2.6
WIDTH, HEIGHT = 2.3, 0.4
DPI = 90
LARGEST_SIDE = 60_000
"""Pixels; matplotlib draws no picture of 2**16 or more."""


def plot_graph(graph: Graph, path: Path) -> None:
    """Writes a PNG, the input on top; equal graphs give equal bytes.

    Raises:
        InputError: the place cannot be written.
    """
    figure = draw_graph(graph)
    dpi = min(DPI, LARGEST_SIDE / max(figure.get_size_inches()))
    write_bytes_atomic(path, png_bytes(figure, dpi))


def draw_graph(graph: Graph) -> Figure:
    """The drawing as a figure."""
    depth = dict.fromkeys(graph.inputs, 0)
    for node in graph.nodes:
        depth[node.output] = 1 + max((depth[name] for name in node.inputs if name in depth), default=0)
    rows: dict[int, list[str]] = {}
    for name, level in depth.items():
        rows.setdefault(level, []).append(name)
    place = {
        name: ((position - (len(names) - 1) / 2) * COLUMN, -level * ROW)
        for level, names in rows.items()
        for position, name in enumerate(names)
    }
    widest = max(len(names) for names in rows.values())
    figure = new_figure(max(4, widest * COLUMN), (len(rows) + 1) * ROW)
    from matplotlib.patches import Rectangle

    axis = figure.add_subplot()
    labels = {name: ("input", name) for name in graph.inputs} | {node.output: (node.op, "") for node in graph.nodes}
    for name, (x, y) in place.items():
        op = labels[name][0]
        shape = "x".join(map(str, graph.shapes[name]))
        box = Rectangle((x - WIDTH / 2, y - HEIGHT / 2), WIDTH, HEIGHT, facecolor=COLOURS.get(op, OTHER), ec="#555")
        axis.add_patch(box)
        axis.text(x, y, f"{op}  {shape}", ha="center", va="center", fontsize=8)
    for node in graph.nodes:
        x, y = place[node.output]
        for name in node.inputs:
            if name in place:
                begin = (place[name][0], place[name][1] - HEIGHT / 2)
                arrow = {"arrowstyle": "-|>", "color": "#888", "lw": 0.8}
                axis.annotate("", (x, y + HEIGHT / 2), begin, arrowprops=arrow, zorder=0)  # below the boxes
    axis.set_xlim(-widest * COLUMN / 2, widest * COLUMN / 2)
    axis.set_ylim(-len(rows) * ROW, ROW)
    axis.axis("off")
    axis.set_title(graph.name, parse_math=False)
    return figure

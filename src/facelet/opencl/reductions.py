"""Reductions along axes -> launches."""

from __future__ import annotations

import math
from dataclasses import replace

from facelet.errors import GraphError
from facelet.graph.ir import Node, Shape
from facelet.opencl import layout
from facelet.opencl.build import Build, Place, place
from facelet.opencl.layout import View
from facelet.opencl.maps import Axis, merged, to_plain

REDUCED = {"ReduceL2": 0, "ReduceSum": 1, "ReduceMean": 2, "ReduceMax": 3, "ReduceMin": 4}
"""As in reduce.cl."""


def reduce(build: Build, node: Node) -> None:
    """What is left of axes."""
    view = build.views[node.inputs[0]]
    view = to_plain(build, view) if view.block else view
    out = build.plain_output(node.output)
    axes = tuple(node["axes"])
    shape = tuple(1 if axis in axes else size for axis, size in enumerate(view.shape))
    _emit_lines(build, node, view, axes, layout.plain_strides(shape), out, REDUCED[node.op], 0)


def lp_normalization(build: Build, node: Node) -> None:
    """Unit length along an axis."""
    view = build.views[node.inputs[0]]
    view = to_plain(build, view) if view.block else view
    out = build.plain_output(node.output)
    _emit_lines(build, node, view, (node["axis"],), out.strides, out, 0, 1)


def softmax(build: Build, node: Node) -> None:
    """Powers of e that add up to 1 along an axis."""
    view = build.views[node.inputs[0]]
    view = to_plain(build, view) if view.block else view
    out = build.plain_output(node.output)
    _emit_lines(build, node, view, (node["axis"],), out.strides, out, 3, 2)


def _emit_lines(
    build: Build, node: Node, view: View, axes: Shape, out_strides: Shape, out: View, kind: int, normalise: int
) -> None:
    """A launch of reduce.cl; `kind` and `normalise` are its knobs."""
    every = [Axis(size, view.strides[i], 0, out_strides[i]) for i, size in enumerate(view.shape)]
    stay = merged([axis for i, axis in enumerate(every) if i not in axes])[::-1]
    summed = [axis for i, axis in enumerate(every) if i in axes]
    summed = summed if normalise else merged([replace(axis, target=0) for axis in summed])[::-1]
    if len(stay) > 3 or len(summed) > 4:
        raise GraphError(f"{node}: an op over so many axes, which the OpenCL backend does not support")
    stay += [Axis(1, 0, 0, 0)] * (3 - len(stay))
    arguments: dict[str, int | float | Place] = {"in": place(view), "out": place(out), "out_step": summed[0].target}
    for number, axis in enumerate(stay, 1):
        arguments |= {f"size{number}": axis.size, f"in{number}": axis.source, f"out{number}": axis.target}
    for number in range(1, 5):
        axis = summed[number - 1] if number <= len(summed) else Axis(1, 0, 0, 0)
        arguments |= {f"n{number}": axis.size, f"r{number}": axis.source}
    arguments["epsilon"] = float(node.attributes.get("epsilon", 0.0))
    size = math.prod(axis.size for axis in stay)
    build.emit("reduce", {"REDUCE": kind, "NORMALISE": normalise}, arguments, (size, 1, 1), node.output)

"""OpenVINO's IR in: `read_ir` makes a `Graph` of a face net's `.xml` and `.bin`.

Files of OpenVINO's model zoo are such pairs. Read are the ops of its convolutional nets that `READERS` lists; weights
stored in half precision become float32, as OpenVINO itself makes them.

Source: OpenVINO, "Intermediate representation format and operation sets", opset1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from facelet.errors import GraphError, MissingFileError
from facelet.graph.ir import Array, Graph, Node, Shape
from facelet.graph.ops import output_shape

OTHER_WAY = "export the net as .onnx"
NUMBERS = {"f16": np.float16, "f32": np.float32}


@dataclass
class _Reading:
    """A graph in the making, its tensors named by the number of the layer that writes them."""

    name: str
    content: bytes
    constants: dict[str, Array] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)

    def constant(self, name: str, array: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> str:
        self.constants[name] = np.asarray(array, np.float32, order="C")
        self.shapes[name] = array.shape
        return name

    def add(self, node: Node) -> None:
        shape = output_shape(node, [self.shapes[name] for name in node.inputs])
        self.nodes.append(node)
        self.shapes[node.output] = shape


def read_ir(path: str | Path, batch: int = 1) -> Graph:
    """Reads an IR at a batch size.

    Args:
        path: of the `.xml`, its `.bin` beside it.
        batch: images that go through at once; takes the place of the first dimension.

    Raises:
        MissingFileError: a file is not there.
        GraphError: no IR, or an op or a form of one that is not supported.
    """
    path = Path(path)
    try:
        for file in (path, path.with_suffix(".bin")):
            if not file.is_file():
                raise MissingFileError(f"{file}: no such file; an IR is an .xml with its .bin beside it")
        root = ElementTree.parse(path).getroot()
        return _read(root, _Reading(path.name, path.with_suffix(".bin").read_bytes()), batch)
    except MissingFileError:
        raise
    except GraphError as error:
        raise GraphError(f"{path}: {error}") from error
    except (ElementTree.ParseError, LookupError, ValueError, AttributeError, TypeError, OSError) as error:
        raise GraphError(f"{path}: not an IR that can be read ({type(error).__name__}: {error})") from error


def _read(root: ElementTree.Element, into: _Reading, batch: int) -> Graph:
    sources: dict[str, dict[int, str]] = {}
    for edge in root.iterfind("edges/edge"):
        sources.setdefault(edge.attrib["to-layer"], {})[int(edge.attrib["to-port"])] = edge.attrib["from-layer"]
    inputs, outputs = [], []
    for layer in root.iterfind("layers/layer"):
        kind, name = layer.attrib["type"], layer.attrib["id"]
        data = layer.find("data")
        attributes = {} if data is None else dict(data.attrib)
        read = [source for _, source in sorted(sources.get(name, {}).items())]
        if kind == "Parameter":
            of_one = attributes["shape"].partition(",")[2]  # what stands before it, the file's batch, may be open
            if not of_one or not all(side.strip().isdecimal() for side in of_one.split(",")):
                found = f"input {name} has the shape '{attributes['shape']}'"
                raise GraphError(f"{found}; expected a batch and fixed sides")
            into.shapes[name] = (batch, *_numbers(of_one))
            inputs.append(name)
        elif kind == "Result":
            outputs += read
        elif kind in READERS:
            READERS[kind](into, name, read, attributes)
        else:
            known = ", ".join(READERS)
            raise GraphError(f"layer '{layer.attrib['name']}' is a {kind}; known are {known}; else {OTHER_WAY}")
    if not inputs or not outputs:
        raise GraphError(f"has no {'output' if inputs else 'input'}; give the .xml of a whole IR")
    used = {name for node in into.nodes for name in node.inputs}
    constants = {name: array for name, array in into.constants.items() if name in used}
    shapes = {name: shape for name, shape in into.shapes.items() if name in constants or name not in into.constants}
    return Graph(into.name, tuple(inputs), tuple(outputs), tuple(into.nodes), constants, shapes).check()


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",")) if text else ()


def _const(into: _Reading, name: str, _read: list[str], data: dict[str, str]) -> None:
    if data["element_type"] not in NUMBERS:
        raise GraphError(f"constant {name} holds {data['element_type']}; known are {', '.join(NUMBERS)}")
    start, size, kind = int(data["offset"]), int(data["size"]), NUMBERS[data["element_type"]]
    if start + size > len(into.content):
        raise GraphError(f"its .bin is cut short ({len(into.content)} bytes); copy it again")
    flat = np.frombuffer(into.content[start : start + size], kind)
    into.constant(name, flat.reshape(_numbers(data["shape"])).astype(np.float32))


def _convert(into: _Reading, name: str, read: list[str], data: dict[str, str]) -> None:
    if data["destination_type"] != "f32" or read[0] not in into.constants:
        raise GraphError(f"layer {name} converts something else than weights to f32")
    into.constant(name, into.constants[read[0]])


def _convolution(into: _Reading, name: str, read: list[str], data: dict[str, str]) -> None:
    if read[1] not in into.constants:
        raise GraphError(f"layer {name} computes its weights; only stored ones are known, so {OTHER_WAY}")
    weight, groups = into.constants[read[1]], 1
    if weight.ndim == 5:  # GroupConvolution: (groups, m / groups, c / groups, kh, kw)
        groups = len(weight)
        weight = weight.reshape(-1, *weight.shape[2:])
    kernel = into.constant(f"{name}.weight", weight)
    bias = into.constant(f"{name}.bias", np.zeros(len(weight), np.float32))
    forms = {
        "strides": _numbers(data["strides"]),
        "dilations": _numbers(data["dilations"]),
        "pads": _pads(name, data),
        "groups": groups,
    }
    into.add(Node("Conv", (read[0], kernel, bias), name, forms))


def _pads(name: str, data: dict[str, str]) -> tuple[int, ...]:
    if data.get("auto_pad", "explicit") != "explicit":
        raise GraphError(f"layer {name} pads by '{data['auto_pad']}'; only explicit pads are known, so {OTHER_WAY}")
    return (*_numbers(data["pads_begin"]), *_numbers(data["pads_end"]))


def _average_pool(into: _Reading, name: str, read: list[str], data: dict[str, str]) -> None:
    if data.get("rounding_type", "floor") != "floor":
        raise GraphError(f"layer {name} rounds its size up; only down is known, so {OTHER_WAY}")
    if set(_numbers(data.get("dilations", ""))) - {1}:
        raise GraphError(f"layer {name} is a dilated pool, which is not known; {OTHER_WAY}")
    forms = {
        "kernel": _numbers(data["kernel"]),
        "strides": _numbers(data["strides"]),
        "pads": _pads(name, data),
        "count_include_pad": data["exclude-pad"] == "false",
    }
    into.add(Node("AveragePool", (read[0],), name, forms))


def _slopes(into: _Reading, name: str, read: list[str], _data: dict[str, str]) -> None:
    given, channels = into.constants[read[1]], into.shapes[read[0]][1]
    if given.size != 1 and given.shape not in ((channels,), (channels, 1, 1), (1, channels, 1, 1)):
        raise GraphError(f"layer {name} has slopes {given.shape}, not one per channel; {OTHER_WAY}")
    slopes = np.broadcast_to(given.reshape(-1), (channels,))  # one may stand for all
    slope = into.constant(f"{name}.slope", slopes)
    into.add(Node("PRelu", (read[0], slope), name))


def _plain(op: str) -> Callable[[_Reading, str, list[str], dict[str, str]], None]:
    def read_it(into: _Reading, name: str, read: list[str], _data: dict[str, str]) -> None:
        into.add(Node(op, tuple(read), name))

    return read_it


READERS: dict[str, Callable[[_Reading, str, list[str], dict[str, str]], None]] = {
    "Const": _const,
    "Convert": _convert,
    "Convolution": _convolution,
    "GroupConvolution": _convolution,
    "PReLU": _slopes,
    "AvgPool": _average_pool,
    "Add": _plain("Add"),
    "Multiply": _plain("Mul"),
    "Sigmoid": _plain("Sigmoid"),
}
"""How each type of layer is read."""

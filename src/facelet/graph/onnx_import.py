"""A graph in the making while an ONNX file is read: what is known so far, and what a node of the file says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper

from facelet.errors import GraphError
from facelet.graph.ir import Array, Node, Shape
from facelet.graph.ops import node_work, output_shape
from facelet.graph.reference import run_node

Known = np.ndarray[Any, Any]
LARGEST_FOLDED = 2**20
"""Numbers of a tensor that is computed while reading, unless it came from one as large; shapes have a handful."""

LARGEST_FOLDED_IN_ALL = 2**26
"""Numbers of all tensors that are computed while reading: 256 MiB."""

LARGEST_FOLDED_WORK = 2**28
"""Products of a node that is computed while reading; one with more is left to be run."""

HALF_NOTE = "holds numbers of half precision, which are read exactly; it is computed in float32"


@dataclass
class Import:
    """A graph in the making.

    Attributes:
        where: the graph's name, for messages.
        opset: of the file.
        batch: of the graph.
        file_batch: first dimension of the first input in the file; None where it is open.
        known: every tensor whose values are known, of any dtype.
        constants: those that nodes read, float32.
        shapes: of all tensors that nodes write, read or that are fed.
        nodes: so far.
        reserved: names that the file uses anywhere; what reading adds takes others.
        makers: the node of the file that writes each tensor.
        notes: what the reader of the graph should know: what was converted, and how.
    """

    where: str
    opset: int
    batch: int
    file_batch: int | None = None
    known: dict[str, Known] = field(default_factory=dict)
    constants: dict[str, Array] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    reserved: set[str] = field(default_factory=set)
    makers: dict[str, onnx.NodeProto] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    _folded: int = 0
    _not_float: dict[str, str] = field(default_factory=dict)
    _aliases: dict[str, str] = field(default_factory=dict)

    def note(self, text: str) -> None:
        """Adds a note, once."""
        if text not in self.notes:
            self.notes.append(text)

    def resolve(self, name: str) -> str:
        """The tensor that a name stands for, past Identity and its like."""
        return self._aliases.get(name, name)

    def knows(self, name: str) -> bool:
        """Whether a tensor is fed, written or known so far."""
        name = self.resolve(name)
        return name in self.known or name in self.shapes

    def alias(self, node: onnx.NodeProto) -> None:
        """Makes a node's output another name of its first input."""
        self.rename(node.output[0], node.input[0])

    def rename(self, name: str, source: str) -> None:
        """Makes a name another one of a tensor."""
        self._aliases[name] = self.resolve(source)

    def is_known(self, node: onnx.NodeProto, position: int) -> bool:
        """Whether the numbers of an input are known."""
        return self.resolve(node.input[position]) in self.known

    def producer(self, name: str) -> Node | None:
        """The node that writes a tensor; None for inputs and constants."""
        return next((node for node in reversed(self.nodes) if node.output == name), None)

    def own_batch(self, source: int, target: int) -> int:
        """The first number of a written shape; a file made for one batch size says it there, the graph's replaces it.

        Args:
            source: first dimension of what gets the shape.
            target: first number of the shape.
        """
        replaced = self.file_batch not in (None, self.batch) and (source, target) == (self.batch, self.file_batch)
        return self.batch if replaced else target

    def fresh(self, name: str) -> str:
        """A name like this one that nothing in the file has."""
        while name in self.reserved or self.knows(name):
            name += "_"
        return name

    def spend(self, node: onnx.NodeProto, size: int) -> None:
        """Counts what a node makes while reading, before it is made.

        Raises:
            GraphError: it is larger than both `LARGEST_FOLDED` and what it is made of, or too much came together.
        """
        self._folded += size
        if not self._may_fold(node.input, size) or self._folded > LARGEST_FOLDED_IN_ALL:
            raise refusal(self, node, f"a constant of {size} numbers is too large to compute while reading")

    def _may_fold(self, inputs: Sequence[str], size: int) -> bool:
        sources = [self.known[self.resolve(name)].size for name in inputs if self.resolve(name) in self.known]
        return size <= max(LARGEST_FOLDED, *sources, 0)

    def fold(self, node: onnx.NodeProto, value: Known, output: str = "") -> None:
        """Keeps what a node gives as a known tensor; `output` where it is not its first one."""
        if node.op_type != "Constant":
            self.spend(node, value.size)
        self.known[output or node.output[0]] = value

    def shape(self, node: onnx.NodeProto, position: int = 0) -> Shape:
        """The shape of one input."""
        name = self.resolve(node.input[position])
        return self.known[name].shape if name in self.known else self.shapes[name]

    def has(self, node: onnx.NodeProto, position: int) -> bool:
        """Whether an optional input is given."""
        return position < len(node.input) and bool(node.input[position])

    def value(self, node: onnx.NodeProto, position: int) -> Known:
        """The numbers of an input that must be constant."""
        name = self.resolve(node.input[position])
        if name not in self.known:
            raise GraphError(
                f"{self.where}: {node.op_type} '{node.name or node.output[0]}': "
                f"its input '{name}' must be constant; export the model with constants folded"
            )
        return self.known[name]

    def weights(self, node: onnx.NodeProto, position: int) -> Array:
        """The numbers of an input that must be constant and float32."""
        found = self._exact(self.value(node, position))
        if found.dtype != np.float32:
            name = self.resolve(node.input[position])
            raise refusal(self, node, f"its constant '{name}' holds {found.dtype}; float32 is supported")
        return found

    def _exact(self, value: Known) -> Known:
        """Half precision as float32, which holds every one of its numbers; anything else as it is."""
        if value.dtype.name not in ("float16", "bfloat16"):
            return value
        self.note(HALF_NOTE)
        return value.astype(np.float32)

    def ints(self, node: onnx.NodeProto, position: int, attribute: str) -> list[int] | None:
        """Whole numbers that newer opsets give as an input and older ones as an attribute."""
        if self.has(node, position):
            return [int(v) for v in self.value(node, position).reshape(-1)]
        found = attributes(node).get(attribute)
        return None if found is None else [int(v) for v in found]

    def tensor(self, node: onnx.NodeProto, position: int = 0) -> str:
        """The name of an input as nodes read it; a known one becomes a constant of the graph."""
        name = self.resolve(node.input[position])
        if name in self.known and name not in self.constants:
            value = self._exact(self.known[name])
            if value.dtype != np.float32:
                self._not_float[name] = str(value.dtype)
            self.constant(name, value)
        return name

    def constant(self, name: str, value: Known) -> str:
        """Adds a float32 constant; returns its name."""
        if value.dtype.kind not in "fiub":
            raise GraphError(f"{self.where}: the constant '{name}' holds {value.dtype}, not numbers")
        array = np.asarray(value, np.float32, order="C")
        self.known[name] = array
        self.constants[name], self.shapes[name] = array, array.shape
        return name

    def emit(self, source: onnx.NodeProto, op: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        """Adds a node, or its result where all its inputs are constants; returns the name of its output."""
        output = output or source.output[0]
        node = Node(op, tuple(inputs), output, attributes, source.name)
        shape = output_shape(node, [self.shapes[name] for name in inputs])
        if self._folds(node, shape):
            self._folded += math.prod(shape)
            with np.errstate(all="ignore"):
                return self.constant(output, run_node(node, [self.constants[name] for name in inputs]))
        for name in inputs:  # whole numbers are for the arithmetic of shapes alone
            if name in self._not_float:
                raise refusal(
                    self, source, f"its constant '{name}' holds {self._not_float[name]}; float32 is supported"
                )
        self.shapes[output] = shape
        self.nodes.append(node)
        return output

    def part(self, source: onnx.NodeProto, label: str, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Adds a node on the way to a result, its output named after the result and a label; returns that name."""
        return self.emit(source, op, inputs, self.fresh(f"{source.output[0]}.{label}"), **attributes)

    def number(self, source: onnx.NodeProto, label: str, value: float) -> str:
        """Adds a constant that is one number; returns its name."""
        return self.constant(self.fresh(f"{source.output[0]}.{label}"), np.array(value, np.float32))

    def _folds(self, node: Node, shape: Shape) -> bool:
        """Whether a node is computed while reading: of constants alone, not growing much, little work."""
        size = math.prod(shape)
        return (
            all(name in self.constants for name in node.inputs)
            and self._may_fold(node.inputs, size)
            and self._folded + size <= LARGEST_FOLDED_IN_ALL
            and node_work(node, [self.shapes[name] for name in node.inputs], shape) <= LARGEST_FOLDED_WORK
        )


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes as Python values; text decoded."""
    found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in found.items()}


def refusal(into: Import, node: onnx.NodeProto, what: str) -> GraphError:
    """The error that says which node is not supported, and why."""
    return GraphError(f"{into.where}: {node.op_type} '{node.name or node.output[0]}': {what}")


def axis_of(into: Import, node: onnx.NodeProto, axis: int, rank: int) -> int:
    """An axis counted from the front; files may count from the back.

    Raises:
        GraphError: there is no such axis.
    """
    if not -rank <= axis < rank:
        raise refusal(into, node, f"axis {axis} is none of {rank}")
    return axis % rank


def check_form(into: Import, node: onnx.NodeProto) -> None:
    """Compares a node with ONNX's own definition of its op in the file's opset.

    Raises:
        GraphError: too many or too few inputs, or an attribute that the op does not have or of another kind.
    """
    try:
        schema = onnx.defs.get_schema(node.op_type, into.opset, "")
    except onnx.defs.SchemaError as error:
        raise refusal(into, node, f"opset {into.opset} has no such op; export it again") from error
    given = list(node.input)
    while given and not given[-1]:
        given.pop()
    if not schema.min_input <= len(given) <= schema.max_input or not all(given[: schema.min_input]):
        raise refusal(into, node, f"has {len(given)} inputs; opset {into.opset} wants {schema.min_input} or more")
    for attribute in node.attribute:
        known = schema.attributes.get(attribute.name)
        if known is None:
            raise refusal(into, node, f"damaged or not supported: opset {into.opset} knows no '{attribute.name}'")
        kind = str(known.type).removeprefix("AttrType.")
        if kind != onnx.AttributeProto.AttributeType.Name(attribute.type):
            raise refusal(into, node, f"damaged or not supported: '{attribute.name}' must be {kind}")
    missing = {name for name, a in schema.attributes.items() if a.required} - {a.name for a in node.attribute}
    if missing:
        raise refusal(into, node, f"lacks its attribute '{min(missing)}'")

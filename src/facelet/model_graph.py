"""The network of a model as a graph: what its file leaves open is taken from its card.

Height and width where the file leaves them open, the output where it has several, and the layout: images that the
file wants as height x width x channels are fed as planes, as every executor of a `Graph` has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from facelet.errors import InputError, ModelError
from facelet.graph.ir import Graph
from facelet.graph.read import read_net
from facelet.model import Card, Model
from facelet.model_files import find_model, load_model


def model_graph(model: Model, batch: int = 1, *, size: Sequence[int] | None = None, output: str = "") -> Graph:
    """The graph of a model with a card.

    Args:
        batch: images that go through at once.
        size: of one input, (channels, height, width); takes the place of the card's.
        output: name of the tensor that is wanted; takes the place of the card's.

    Raises:
        MissingFileError: the file is not there any more.
        InputError: the size does not fit the card.
        GraphError: the file cannot be read as a graph, fixes another size, or has no such output.
    """
    card = model.card
    if size is not None and tuple(size[1:]) != (card.height, card.width):
        raise InputError(
            f"{model.path}: a size of {'x'.join(map(str, size))} does not fit its card, which says height "
            f"{card.height} and width {card.width}; correct one of the two"
        )
    return _graph(model.path, card, batch, size, output)


def file_graph(
    name_or_path: str | Path, batch: int = 1, *, size: Sequence[int] | None = None, output: str = ""
) -> tuple[Path, Graph]:
    """The file and the graph of a shipped model or a file; a card is used where there is one.

    Args:
        batch, size, output: as of `model_graph`.

    Raises:
        UnknownNameError: neither a known name nor a path.
        MissingFileError: there is no such file.
        ModelError: the file is of no known kind.
        GraphError: as of `model_graph`; or the file leaves its size open and has no card.
    """
    path = find_model(name_or_path)
    try:
        card = load_model(path).card
    except ModelError:  # no card, or one that does not fit: the file alone says what it is
        card = None
    return path, _graph(path, card, batch, size, output)


def _graph(path: Path, card: Card | None, batch: int, size: Sequence[int] | None, output: str) -> Graph:
    wanted = output or (card.output_name if card is not None else "")
    open_shape = None if card is None else (3, card.height, card.width)
    outputs = (wanted,) if wanted else ()
    return read_net(path, batch, input_shape=size, open_shape=open_shape, outputs=outputs, planes=True)

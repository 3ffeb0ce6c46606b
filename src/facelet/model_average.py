"""The mean of the weights of several files of one net, trained on from one another: often better than each, at no cost.

Source: Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models improves accuracy without
increasing inference time", ICML 2022.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from facelet.atomic import write_bytes_atomic
from facelet.data.heldout import HELDOUT_NOTE
from facelet.errors import ModelError
from facelet.model import Card
from facelet.model_files import load_model, read_onnx, with_card

Known = np.ndarray[Any, Any]


def average_models(names: Sequence[str | Path], out: Path) -> Card:
    """Writes the mean of the weights of two models or more.

    Args:
        names: shipped names or `.onnx` files, all of one net in float32.
        out: the file; its card is the first one's with the teachers, data and recipes of all, without thresholds and
            figures, which have to be measured anew.

    Returns:
        The card.

    Raises:
        FaceletError: no such model, or not all of one net.
    """
    models = [load_model(name) for name in names]
    for model in models:
        if model.path.suffix != ".onnx":
            raise ModelError(f"{model.path}: only .onnx files can be averaged")
    protos = [read_onnx(model.path) for model in models]
    first, others = protos[0].graph, [proto.graph for proto in protos[1:]]
    for model, graph in zip(models[1:], others, strict=True):
        if [node.SerializeToString() for node in graph.node] != [node.SerializeToString() for node in first.node]:
            raise ModelError(f"{model.path}: not the net of {models[0].path}; only files of one net can be averaged")
        for what in ("template", "height", "width", "color", "mean", "scale"):
            if getattr(model.card, what) != getattr(models[0].card, what):
                raise ModelError(f"{model.path}: its card has another {what} than that of {models[0].path}")
    weights = [{i.name: numpy_helper.to_array(i) for i in graph.initializer} for graph in others]
    for initializer in first.initializer:
        _average(initializer, [found.get(initializer.name) for found in weights], models[0].path)
    recipes = [model.card.recipe for model in models if model.card.recipe]
    command = " ".join(["facelet average", *(model.path.name for model in models)])
    card = replace(
        models[0].card,
        thresholds={},
        metrics={},
        teacher="; ".join(dict.fromkeys(model.card.teacher for model in models if model.card.teacher)),
        data=_data([model.card for model in models]),
        recipe="; ".join([*dict.fromkeys(recipes), command]),
    )
    write_bytes_atomic(out, with_card(protos[0], card).SerializeToString())
    return card


def _data(cards: Sequence[Card]) -> str:
    """What any of the models was trained on; without the held-out people only where none of them saw those."""
    seen = [dict.fromkeys(part for part in card.data.split(", ") if part) for card in cards]
    every = dict.fromkeys(part for parts in seen for part in parts if part != HELDOUT_NOTE)
    return ", ".join([*every, *([HELDOUT_NOTE] if all(HELDOUT_NOTE in parts for parts in seen) else [])])


def _average(initializer: onnx.TensorProto, others: list[Known | None], path: Path) -> None:
    mine: Known = numpy_helper.to_array(initializer)
    parts = [mine]
    for other in others:
        if other is None or other.shape != mine.shape or other.dtype != mine.dtype:
            raise ModelError(f"{path}: tensor {initializer.name} is not alike in all files; are they of one net?")
        if mine.dtype != np.float32 and not np.array_equal(mine, other):
            raise ModelError(f"{path}: tensor {initializer.name} holds {mine.dtype}; only float32 is averaged")
        parts.append(other)
    if mine.dtype == np.float32:
        mean: Known = np.asarray(np.mean(parts, axis=0, dtype=np.float64), np.float32)
        if not np.isfinite(mean).all():
            raise ModelError(
                f"{path}: tensor {initializer.name} or its like holds what is no number; leave that file out"
            )
        initializer.CopyFrom(numpy_helper.from_array(mean, initializer.name))

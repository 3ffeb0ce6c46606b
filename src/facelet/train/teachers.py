"""Teachers: anything that turns crops into unit embeddings, and, if it is an ONNX file or an IR, feature maps.

A teacher without taps runs through `Embedder`, so every backend is one. With taps, or at reduced precision, it
runs through OpenVINO, which can name inner tensors as outputs and compute in bfloat16 on CPUs that have it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facelet.backends import network_input
from facelet.data.views import Matrix
from facelet.embedder import Embedder
from facelet.errors import MissingExtraError, ModelError
from facelet.faces.canvas import canvas_matrix
from facelet.model import Model
from facelet.model_files import load_model

PRECISIONS = ("f32", "bf16")


class EmbedderTeacher:
    """A teacher that any backend of `Embedder` runs."""

    taps: tuple[str, ...] = ()

    def __init__(self, embedder: Embedder) -> None:
        card = embedder.card
        self.embedder = embedder
        self.name = card.name
        self.height, self.width = card.height, card.width
        self.matrix: Matrix = canvas_matrix(card.template, card.height, card.width)
        self.embedding_size = card.embedding_size
        self.key = _key(embedder.model, "f32", ())

    def run(self, crops: NDArray[np.uint8]) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
        """Unit embeddings of `(n, height, width, 3)` uint8 RGB; no taps."""
        return self.embedder.embed(crops), []


class OpenVinoTeacher:
    """A teacher with feature maps, or in bfloat16, through OpenVINO.

    Args:
        taps: tensor names in the file, each `(n, c, h, w)`.
        precision: "f32", or "bf16" (cosine to f32 about 0.998; half the time on CPUs with AVX512-BF16).
    """

    def __init__(self, model: Model, taps: tuple[str, ...], precision: str, threads: int) -> None:
        try:
            import openvino
        except ImportError as error:
            raise MissingExtraError("openvino", "openvino") from error
        card = model.card
        self.card, self.taps = card, taps
        self.name = card.name
        self.height, self.width = card.height, card.width
        self.matrix: Matrix = canvas_matrix(card.template, card.height, card.width)
        self.embedding_size = card.embedding_size
        self.key = _key(model, precision, taps)
        core = openvino.Core()
        network = core.read_model(str(model.path))
        if taps:
            try:
                network.add_outputs(list(taps))
            except RuntimeError as error:
                raise ModelError(f"{model.path}: no tensor named {' or '.join(taps)} to tap") from error
        network.reshape([-1, 3, card.height, card.width])
        self._request = core.compile_model(
            network,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": precision,
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": 1,
                "ENABLE_CPU_PINNING": False,
            },
        ).create_infer_request()

    def run(self, crops: NDArray[np.uint8]) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
        """Unit embeddings and taps of `(n, height, width, 3)` uint8 RGB."""
        self._request.infer([network_input(crops, self.card)])
        outputs = [np.array(tensor.data, np.float32) for tensor in self._request.output_tensors]
        vectors = outputs[0].reshape(len(crops), -1)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)
        return vectors, outputs[1:]


def open_teacher(
    name: str | Path, *, taps: tuple[str, ...] = (), precision: str = "f32", threads: int = 2
) -> EmbedderTeacher | OpenVinoTeacher:
    """Opens a teacher by shipped name or by path.

    Raises:
        MissingFileError, ModelError: no such model, or its card does not fit.
        MissingExtraError: taps or bf16 without OpenVINO.
    """
    if taps or precision != "f32":
        return OpenVinoTeacher(load_model(name), taps, precision, threads)
    return EmbedderTeacher(Embedder.load(name, threads=threads))


def _key(model: Model, precision: str, taps: tuple[str, ...]) -> str:
    card = model.card
    parts = (model.sha256, card.height, card.width, card.color, card.mean, card.scale, card.template, precision, taps)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]

"""Embeddings of crops kept on the 128-pixel canvas, as transfer sets and synthetic faces are."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from facelet.data.views import CANVAS
from facelet.embedder import Embedder
from facelet.errors import InputError
from facelet.faces.canvas import canvas_matrix
from facelet.model import Card


def canvas_inputs(card: Card, crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Canvas crops on a model's own template.

    Args:
        card: of the model.
        crops: `(n, 128, 128, 3)` uint8 RGB.

    Returns:
        `(n, card.height, card.width, 3)` uint8 RGB.

    Raises:
        InputError: crops of another shape or type.
    """
    if crops.dtype != np.uint8 or crops.shape[1:] != (CANVAS, CANVAS, 3):
        raise InputError(f"canvas crops: must be uint8 (n, {CANVAS}, {CANVAS}, 3), found {crops.dtype} {crops.shape}")
    matrix = canvas_matrix(card.template, card.height, card.width)
    inputs = np.empty((len(crops), card.height, card.width, 3), np.uint8)
    for crop, target in zip(crops, inputs, strict=True):
        cv2.warpAffine(crop, matrix, (card.width, card.height), dst=target, flags=cv2.INTER_LINEAR)
    return inputs


def embed_canvas(embedder: Embedder, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The embeddings of canvas crops, laid on the model's own template first.

    Args:
        crops: `(n, 128, 128, 3)` uint8 RGB.

    Returns:
        `(n, embedding_size)` float32 unit vectors.

    Raises:
        InputError: crops of another shape or type.
    """
    return embedder.embed(canvas_inputs(embedder.card, crops))

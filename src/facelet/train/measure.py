"""Figures of a student while it is trained: its embeddings of crops, and how near they are to its teachers'."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from facelet.data.transfer import TransferSet, spread_rows
from facelet.data.views import RECIPES, view_inputs
from facelet.faces.canvas import canvas_matrix
from facelet.train.distill import normalize_pixels
from facelet.train.loop import Watcher

TEMPLATE = "arcface"

MEASURED_CROPS = 1024
"""Most of the held-out crops that are measured on."""


def split_holdout(n: int, fraction: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Crops to train on and crops to measure on, one at least, `(m,)` and `(n - m,)` int64, sorted."""
    order = np.random.default_rng([seed, 0x401D]).permutation(n)
    held = max(1, round(n * fraction))
    return np.sort(order[held:]), np.sort(order[:held])


def clean_pixels(net: nn.Module, transfer: TransferSet, index: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Crops as they are at a net's input size, `(n, size, size, 3)` RGB."""
    size = int(net.input_size)  # type: ignore[arg-type]
    matrix = canvas_matrix(TEMPLATE, size, size)
    return view_inputs(transfer.crops, index, np.zeros_like(index), RECIPES["light"], 0, matrix, size, size)


def embed_pixels(net: nn.Module, pixels: NDArray[np.uint8], batch_size: int = 64) -> NDArray[np.float32]:
    """Embeddings `(n, d)` float32 of `(n, h, w, 3)` uint8 RGB by a net in evaluation mode."""
    device = next(net.parameters()).device
    with torch.inference_mode():
        parts = [
            net(normalize_pixels(torch.tensor(pixels[start : start + batch_size], device=device))).float().cpu().numpy()
            for start in range(0, len(pixels), batch_size)
        ]
    return np.concatenate(parts)


def held_cosine(net: nn.Module, transfer: TransferSet, held: NDArray[np.int64], target: NDArray[np.float32]) -> Watcher:
    """Measures the mean cosine between student and teacher on crops that were held out, evenly spread over the set.

    Args:
        held: their numbers, `(n,)` int64 ascending.
        target: what the student should say of each, `(n, d)` float32 unit vectors.
    """
    rows = spread_rows(len(held), MEASURED_CROPS)
    pixels, target = clean_pixels(net, transfer, held[rows]), target[rows]

    def watch(net: nn.Module) -> dict[str, float]:
        return {"held_cosine": float((embed_pixels(net, pixels) * target).sum(1).mean())}

    return watch


def joined_watch(first: Watcher, second: Watcher | None) -> Watcher:
    """Measures what the first does and, where there is one, the second."""
    return first if second is None else lambda net: {**first(net), **second(net)}

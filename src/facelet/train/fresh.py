"""What a net says before it has learned anything: the lower yardstick of a distillation."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from facelet.data.views import RECIPES, view_inputs
from facelet.faces.canvas import canvas_matrix
from facelet.nets import build_net
from facelet.nets.size import count_parameters
from facelet.train.measure import TEMPLATE, embed_pixels


def embed_fresh(name: str, seed: int, crops: NDArray[np.uint8]) -> tuple[NDArray[np.float32], int]:
    """Embeddings by a net with its first weights.

    Args:
        name: for `build_net`.
        seed: as of the training run that starts from these weights.
        crops: on the canvas, `(n, 128, 128, 3)` uint8 RGB.

    Returns:
        `(n, d)` float32 unit vectors, and the net's parameters.
    """
    torch.manual_seed(seed)
    net = build_net(name).eval()
    size = int(net.input_size)  # type: ignore[arg-type]
    index = np.arange(len(crops))
    matrix = canvas_matrix(TEMPLATE, size, size)
    pixels = view_inputs(crops, index, np.zeros_like(index), RECIPES["light"], seed, matrix, size, size)
    return embed_pixels(net, pixels), count_parameters(net)

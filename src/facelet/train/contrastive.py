"""Contrast with a memory: a face shall be nearer to its teacher's answer than to those for thousands of others.

Source: Oord et al., "Representation learning with contrastive predictive coding", 2018 (InfoNCE); He et al., "Momentum
contrast", CVPR 2020 (the queue); Fang et al., "SEED", ICLR 2021, and Tian et al., "Contrastive representation
distillation", ICLR 2020 (a teacher fills it).
"""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from facelet.train.term import Term

QUEUE = 4096
TEMPERATURE = 0.07
"""He et al.'s."""

EMPTY = -1


class ContrastiveQueue(Term):
    """`-log(e^(a.b / t) / (e^(a.b / t) + sum over q of e^(a.q / t)))`, mean over rows.

    a is the student's embedding, b the teachers' of the same view, q the teachers' of `length` earlier views, t the
    temperature. A q of the row's own crop in another view is left out; no label says which q show the same person,
    so those count as others. The queue begins empty and takes each batch after it was used.

    Args:
        size: of an embedding.
        length: of the queue.
    """

    REMEMBERS = True
    WEIGHT = 0.1  # the gradient is up to 1 / t long, that of `squared_error` up to 2
    embeddings: Tensor
    crops: Tensor
    place: Tensor

    def __init__(self, size: int, length: int = QUEUE) -> None:
        super().__init__()
        self.register_buffer("embeddings", torch.zeros(length, size))
        self.register_buffer("crops", torch.full((length,), EMPTY, dtype=torch.int64))
        self.register_buffer("place", torch.zeros((), dtype=torch.int64))

    @classmethod
    def made_for(cls, target: NDArray[np.float32], person: NDArray[np.int64]) -> Self:
        """A queue of `QUEUE` embeddings of the teachers' size."""
        return cls(target.shape[1])

    def forward(self, embedding: Tensor, target: Tensor, crop: Tensor, person: Tensor) -> Tensor:
        """The term of one batch; the batch then enters the queue. People play no part."""
        positive = (embedding * target).sum(1, keepdim=True)
        unfit = (self.crops == EMPTY) | (self.crops == crop[:, None])
        negative = (embedding @ self.embeddings.T).masked_fill(unfit, float("-inf"))
        logits = torch.cat([positive, negative], dim=1) / TEMPERATURE
        loss = functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64, device=logits.device))
        self._enter(target, crop)
        return loss

    @torch.no_grad()
    def _enter(self, target: Tensor, crop: Tensor) -> None:
        """Puts a batch in the place of the oldest entries."""
        length = len(self.crops)
        target, crop = target[-length:], crop[-length:]
        # new tensors, not new values in the old ones: the backward pass of this step still needs those
        rows = (self.place + torch.arange(len(crop), device=crop.device)) % length
        self.embeddings = self.embeddings.index_copy(0, rows, target)
        self.crops = self.crops.index_copy(0, rows, crop)
        self.place = (self.place + len(crop)) % length

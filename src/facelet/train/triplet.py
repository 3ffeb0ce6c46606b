"""Triplet training: FaceNet's loss on labelled crops, P people with K photos in every batch.

Source: Schroff et al., "FaceNet", CVPR 2015, section 3; Hermans et al., "In defense of the triplet loss", 2017 (P x K).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from facelet.data.transfer import TransferSet
from facelet.data.views import Matrix, ViewRecipe, view_inputs
from facelet.errors import TransferSetError
from facelet.train.distill import normalize_pixels
from facelet.train.mining import semi_hard, triplet_loss


@dataclass(frozen=True)
class LabelledBatch:
    """Pixels `(n, h, w, 3)` uint8 RGB and the person in each, `(n,)` int64."""

    pixels: Tensor
    identity: Tensor


class TripletTask:
    """Batches and loss of triplet training; a `Task` of the loop.

    Args:
        index: labelled crops to train on, `(m,)`.
        people: P, people in a batch.
        photos: K, photos of each; a person with fewer repeats some, in other views.
        margin: in squared distance; FaceNet's is 0.2.

    Raises:
        TransferSetError: fewer people than a batch needs.
    """

    def __init__(
        self,
        student: nn.Module,
        transfer: TransferSet,
        index: NDArray[np.int64],
        *,
        people: int,
        photos: int,
        margin: float,
        recipe: ViewRecipe,
        seed: int,
        matrix: Matrix,
        size: int,
    ) -> None:
        self.student, self.transfer = student, transfer
        self.modules = nn.ModuleDict({"student": student})
        self.people, self.photos, self.margin = people, photos, margin
        self.recipe, self.seed, self.matrix, self.size = recipe, seed, matrix, size
        self.batch_size = people * photos
        order = index[np.argsort(transfer.identity[index], kind="stable")]
        self.person, starts = np.unique(transfer.identity[order], return_index=True)
        self.photos_of = np.split(order, starts[1:])
        if len(self.person) < people:
            raise TransferSetError(
                f"labelled crops: {len(self.person)} people with two photos or more; a batch takes {people}: "
                "lower `people` or give more labelled data"
            )

    def batch(self, step: int) -> LabelledBatch:
        """Pixels and labels of a step."""
        rng = np.random.default_rng([self.seed, step])
        chosen = rng.choice(len(self.person), self.people, replace=False)
        rows = [
            rng.choice(photos, self.photos, replace=len(photos) < self.photos)
            for photos in (self.photos_of[c] for c in chosen)
        ]
        index = np.concatenate(rows)
        # a view number per slot, so that a repeated photo is seen in different views
        view = 1 + step * self.batch_size + np.arange(len(index))
        pixels = view_inputs(
            self.transfer.crops, index, view, self.recipe, self.seed, self.matrix, self.size, self.size
        )
        return LabelledBatch(torch.from_numpy(pixels), torch.from_numpy(self.transfer.identity[index]))

    def loss(self, batch: LabelledBatch, progress: float) -> tuple[Tensor, dict[str, float]]:
        """Triplet loss over the semi-hard triplets of the batch."""
        embeddings = self.student(normalize_pixels(batch.pixels)).float()
        with torch.autocast(embeddings.device.type, enabled=False):  # it would round distances to bfloat16
            triplets = semi_hard(embeddings, batch.identity, self.margin)
            loss = triplet_loss(embeddings, triplets, self.margin)
        return loss, {"loss": loss.item(), "triplets": float(len(triplets.anchor))}

"""Triplet training: FaceNet's loss on labelled crops, P people with K photos in every batch.

Source: Schroff et al., "FaceNet", CVPR 2015, section 3; Hermans et al., "In defense of the triplet loss", 2017 (P x K).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from facelet.data.transfer import TransferSet
from facelet.data.views import Matrix, ViewRecipe, view_inputs
from facelet.errors import DivergedError, TransferSetError
from facelet.train.distill import normalize_pixels
from facelet.train.loop import LoopConfig
from facelet.train.mining import semi_hard, triplet_loss

PERIOD = LoopConfig.log_every
"""Steps whose triplets are counted together: those of a line of the log."""

COLLAPSED = 1e-4
"""Of `spread`; below it all embeddings are one point to within a hundredth."""


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
        self._found: deque[int] = deque(maxlen=PERIOD)
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
        """Triplet loss over the semi-hard triplets of the batch.

        The figures: `loss`; `triplets`, the mean number of the last `PERIOD` steps; `spread`, half the mean squared
        distance between the embeddings of the batch, 0 where the net gives the same for all.

        Raises:
            DivergedError: an embedding is not finite. Comparisons with NaN are false, so that no triplet would be found
                and the loss would be 0.
        """
        embeddings = self.student(normalize_pixels(batch.pixels)).float()
        if not bool(torch.isfinite(embeddings).all()):
            raise DivergedError("triplets: the embeddings are NaN or infinite; train anew with a lower `learning_rate`")
        with torch.autocast(embeddings.device.type, enabled=False):  # it would round distances to bfloat16
            triplets = semi_hard(embeddings, batch.identity, self.margin)
            loss = triplet_loss(embeddings, triplets, self.margin)
            spread = 1 - embeddings.detach().mean(0).square().sum()
        self._found.append(len(triplets.anchor))
        return loss, {"loss": loss.item(), "triplets": fmean(self._found), "spread": spread.item()}


def training_note(figures: Mapping[str, float]) -> str:
    """One sentence for a person where the figures of `TripletTask` show that nothing is learned; empty otherwise."""
    if figures.get("spread", 1.0) < COLLAPSED:
        return "the net gives every crop the same embedding: it has collapsed; train again with a lower learning rate"
    if figures.get("triplets") == 0:
        return (
            f"no triplet in the last {PERIOD} steps, so nothing was learned in them: every other person is farther "
            "than the same one by the margin; raise the margin, put more people into a batch, or stop"
        )
    return ""

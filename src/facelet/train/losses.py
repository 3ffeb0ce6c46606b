"""What a distillation minimises, by name: a distance between embeddings, and after a plus a term beside it.

`LOSSES` lists the names of `facelet distill --loss`. A distance takes the student's embeddings and the teachers', both
`(n, size)` float32 unit vectors, and gives a number; a term (`Term`) also knows which crop and whom each row shows, and
may keep a state: it is an `nn.Module`, so that checkpoints hold that state and the optimizer trains its parameters.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from facelet.errors import InputError, UnknownNameError
from facelet.train.contrastive import ContrastiveQueue
from facelet.train.margin import MarginSoftmax
from facelet.train.relational import Relational
from facelet.train.term import Term

HUBER_KNEE = 0.5
"""Where Huber turns linear, in units of the root mean square coordinate of a unit vector, `size ** -0.5`."""


def squared_error(embedding: Tensor, target: Tensor) -> Tensor:
    """Mean over rows of `|a - b|^2`; `2 - 2 cos(a, b)` for unit vectors."""
    return (embedding - target).square().sum(1).mean()


def cosine_distance(embedding: Tensor, target: Tensor) -> Tensor:
    """Mean over rows of `1 - cos(a, b)`: half of `squared_error` for unit vectors, gradients included."""
    return 1 - functional.cosine_similarity(embedding, target).mean()


def huber(embedding: Tensor, target: Tensor) -> Tensor:
    """Mean over rows of the sum over coordinates of `e^2` where `|e| <= d`, else `2 d |e| - d^2`; `e = a - b`.

    The knee is `d = HUBER_KNEE * size ** -0.5`. Below it this is `squared_error`, twice what Huber wrote.

    Source: Huber, "Robust estimation of a location parameter", 1964.
    """
    knee = HUBER_KNEE * embedding.shape[1] ** -0.5
    return 2 * functional.huber_loss(embedding, target, reduction="none", delta=knee).sum(1).mean()


EMBEDDING_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": squared_error,
    "cosine": cosine_distance,
    "huber": huber,
}

TERMS: dict[str, type[Term]] = {"relational": Relational, "contrastive": ContrastiveQueue, "margin": MarginSoftmax}
"""What may stand after "mse+"."""

LOSSES = (*EMBEDDING_LOSSES, *(f"mse+{term}" for term in TERMS))


def check_loss(name: str, weight: float | None, person: NDArray[np.int64]) -> None:
    """Refuses a loss that cannot be used, before anything is computed.

    Args:
        name: of `LOSSES`.
        weight: of the term; None where it shall have its own.
        person: in each crop, `(n,)` int64; -1 where not known.

    Raises:
        UnknownNameError: no such loss.
        InputError: a weight without a term or below 0, or labels that the term needs and has not.
    """
    if name not in LOSSES:
        raise UnknownNameError("loss", name, LOSSES)
    _, _, term = name.partition("+")
    if weight is not None and not term:
        raise InputError(f"`loss_weight`: '{name}' has no second term to weigh; leave it out or take `loss` mse+...")
    if weight is not None and not 0 <= weight < float("inf"):
        raise InputError(f"`loss_weight`: must be at least 0, found {weight}")
    if term:
        TERMS[term].check(person)


def make_terms(name: str, target: Callable[[], NDArray[np.float32]], person: NDArray[np.int64]) -> dict[str, Term]:
    """The terms of a loss by name: none or one.

    Args:
        name: of `LOSSES`.
        target: gives the teachers' embeddings of the clean training crops, `(n, size)` unit vectors.
        person: in each training crop, `(n,)` int64; -1 where not known.

    Raises:
        InputError: as `check_loss`.
    """
    check_loss(name, None, person)
    _, _, term = name.partition("+")
    return {term: TERMS[term].made_for(target(), person)} if term else {}


class Objective:
    """What a distillation minimises: a distance of embeddings and, where the loss names one, a weighted term.

    Args:
        loss, target, person: as of `make_terms`.
        weight: of the term; None where it shall have its own.

    Attributes:
        terms: to be trained and kept with the student.
    """

    def __init__(
        self, loss: str, weight: float | None, target: Callable[[], NDArray[np.float32]], person: NDArray[np.int64]
    ) -> None:
        self.terms = make_terms(loss, target, person)
        self.distance, self.weight = EMBEDDING_LOSSES[loss.partition("+")[0]], weight

    def __call__(
        self, embedding: Tensor, target: Tensor, crop: Tensor, person: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch, and figures to log; arguments as of `Term.forward`."""
        loss = self.distance(embedding, target)
        figures = {"loss": loss.detach(), "cosine": (embedding.detach() * target).sum(1).mean()}
        with torch.autocast(embedding.device.type, enabled=False):
            for name, term in self.terms.items():
                value = term(embedding, target, crop, person)
                figures[name] = value.detach()
                loss = loss + (term.WEIGHT if self.weight is None else self.weight) * value
        return loss, figures

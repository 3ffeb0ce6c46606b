"""Checkpoints: all that a run needs to go on, in one file that appears whole or not at all."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from torch import nn

from facelet.atomic import write_bytes_atomic
from facelet.errors import CheckpointError
from facelet.train.average import Average
from facelet.train.files import CHECKPOINT


def save(
    folder: Path,
    identity: str,
    step: int,
    place: float,
    modules: nn.ModuleDict,
    optimizer: torch.optim.Optimizer,
    averaged: Average | None,
    warm_start: str = "",
) -> None:
    """Writes the state after `step` steps, at a place of the schedule, in place of an older one.

    Args:
        warm_start: sha256 of the file that the run began from, if it did.

    Raises:
        InputError: the place cannot be written; the older one stays.
    """
    state = {
        "identity": identity,
        "warm_start": warm_start,
        "step": step,
        "place": place,
        "modules": modules.state_dict(),
        "optimizer": optimizer.state_dict(),
        "average": None if averaged is None else (averaged.updates, averaged.module.state_dict()),
        "torch_rng": torch.get_rng_state(),
    }
    stream = io.BytesIO()
    torch.save(state, stream)
    write_bytes_atomic(folder / CHECKPOINT, stream.getvalue())


def restore(
    folder: Path,
    identity: str,
    modules: nn.ModuleDict,
    optimizer: torch.optim.Optimizer,
    averaged: Average | None,
    warm_start: str = "",
) -> tuple[int, float]:
    """Fills modules, optimizer and average from a checkpoint; returns the steps done and the place in the schedule.

    Args:
        warm_start: as for `save`; a checkpoint that was made before it was kept fits any.

    Raises:
        CheckpointError: there is none, it cannot be read, or another run made it.
    """
    path = folder / CHECKPOINT
    state = _read(path)
    if state["identity"] != identity:
        raise CheckpointError(
            f"{path}: made by another run (net, data, teacher or options differ); "
            "give the same options or another `out`"
        )
    if state.get("warm_start", warm_start) != warm_start:
        raise CheckpointError(
            f"{path}: the file of `warm_start` is not what it was when this run began; give that one or another `out`"
        )
    modules.load_state_dict(state["modules"])
    optimizer.load_state_dict(state["optimizer"])
    if averaged is not None:
        averaged.updates, weights = state["average"]
        averaged.module.load_state_dict(weights)
    torch.set_rng_state(state["torch_rng"])
    return int(state["step"]), float(state.get("place", state["step"]))


def load_student(net: nn.Module, path: Path) -> None:
    """Starts a net from the weights in the checkpoint of another run.

    Raises:
        CheckpointError: no such file, not a checkpoint, or one of another net.
    """
    prefix = "student."
    modules = _read(path)["modules"]
    weights = {name.removeprefix(prefix): value for name, value in modules.items() if name.startswith(prefix)}
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: the checkpoint of another net than {type(net).__name__}") from error


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise CheckpointError(f"{path}: no checkpoint there; leave `resume` out to start a new run")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if not {"identity", "step", "modules", "optimizer"} <= set(state):
            raise CheckpointError(f"{path}: not a checkpoint of a training run")
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(f"{path}: not a readable checkpoint; start a new run") from error
    return state

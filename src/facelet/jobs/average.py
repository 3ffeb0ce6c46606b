"""The job `average`: several trainings of one net become one file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from facelet.config import Option, check_config
from facelet.errors import OptionError
from facelet.events import SILENT, Events
from facelet.jobs.places import check_model_out

if TYPE_CHECKING:
    from facelet.model import Card


@dataclass(frozen=True, kw_only=True)
class Average:
    """Config of the job `average`."""

    models: Annotated[
        tuple[str, ...],
        Option("Two files or more of one net, one fine-tuned from another.", argument="MODEL MODEL..."),
    ]
    out: Annotated[Path, Option("The file with the mean of their weights.")] = Path("average.onnx")


def average(config: Average, *, on: Events = SILENT) -> Card:
    """Writes the mean of the weights of several trainings of a net.

    Args:
        config: of the job.
        on: not used; every job takes it.

    Returns:
        The card of the file that was written.

    Raises:
        OptionError: one model alone, or `out` cannot be written.
        FaceletError: a model cannot be read, or they are not of one net.
    """
    from facelet.model_average import average_models

    check_config(config)
    if len(config.models) < 2:
        raise OptionError(f"`models`: {config.models[0]} alone has no mean; give two files or more of one net")
    check_model_out(config.out, *config.models)
    return average_models(list(config.models), config.out)

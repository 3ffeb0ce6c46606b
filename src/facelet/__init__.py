"""Facelet distils face recognizers into networks small enough for tiny boards, and proves what each step cost.

The public names: `verify` and `embed` for photos, `Embedder` for crops, `Model` and `Card` for files, and the jobs,
each a frozen config and a function that runs it (`distill(Distill(...))`). Each is imported on first use, so that
`import facelet` stays quick.
"""

from __future__ import annotations

import sys

if sys.argv[:1] == ["-m"] and not sys.flags.safe_path:  # `python -m facelet` put the working directory on the path
    del sys.path[0]

from facelet import telemetry

TYPE_CHECKING = False  # as in `typing`, which takes longer to import than all else here

if TYPE_CHECKING:
    from facelet.embedder import Embedder as Embedder
    from facelet.errors import FaceletError as FaceletError
    from facelet.jobs.average import Average as Average
    from facelet.jobs.average import average as average
    from facelet.jobs.bench import Bench as Bench
    from facelet.jobs.demo import demo as demo
    from facelet.jobs.demo_config import RunDemo as RunDemo
    from facelet.jobs.distill import Distill as Distill
    from facelet.jobs.distill import distill as distill
    from facelet.jobs.evaluate import Calibrate as Calibrate
    from facelet.jobs.evaluate import Evaluate as Evaluate
    from facelet.jobs.evaluate import calibrate as calibrate
    from facelet.jobs.landmarks import TrainLandmarks as TrainLandmarks
    from facelet.jobs.landmarks import train_landmarks as train_landmarks
    from facelet.jobs.study import RunStudy as RunStudy
    from facelet.jobs.study import study as study
    from facelet.jobs.triplet import TrainTriplet as TrainTriplet
    from facelet.jobs.triplet import train_triplet as train_triplet
    from facelet.model import Card as Card
    from facelet.model import Model as Model
    from facelet.verdict import Verification as Verification
    from facelet.verdict import embed as embed
    from facelet.verdict import verify as verify

telemetry.switch_off()

__version__ = "0.2.0"

_HOMES = {
    "Average": "facelet.jobs.average",
    "Bench": "facelet.jobs.bench",
    "Calibrate": "facelet.jobs.evaluate",
    "Card": "facelet.model",
    "Distill": "facelet.jobs.distill",
    "Embedder": "facelet.embedder",
    "Evaluate": "facelet.jobs.evaluate",
    "FaceletError": "facelet.errors",
    "Model": "facelet.model",
    "RunDemo": "facelet.jobs.demo_config",
    "RunStudy": "facelet.jobs.study",
    "TrainLandmarks": "facelet.jobs.landmarks",
    "TrainTriplet": "facelet.jobs.triplet",
    "Verification": "facelet.verdict",
    "average": "facelet.jobs.average",
    "calibrate": "facelet.jobs.evaluate",
    "demo": "facelet.jobs.demo",
    "distill": "facelet.jobs.distill",
    "embed": "facelet.verdict",
    "study": "facelet.jobs.study",
    "train_landmarks": "facelet.jobs.landmarks",
    "train_triplet": "facelet.jobs.triplet",
    "verify": "facelet.verdict",
}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> object:
    """Imports a public name on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'facelet' has no attribute '{name}'; it offers: {', '.join(__all__)}")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Names for completion."""
    return sorted(__all__)

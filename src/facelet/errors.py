"""Every error that Facelet raises on purpose, in one tree.

    FaceletError
    ├── InputError            (ValueError)       a value or an option that cannot be used
    │   └── UnknownNameError  (ValueError)       a name that is in no table; lists the nearest
    ├── MissingFileError      (FileNotFoundError) a path that is not there
    ├── ImageError            (ValueError)       a file that is no readable photo
    ├── FaceNotFoundError     (ValueError)       a photo without a face
    ├── ModelError            (ValueError)       a model file or its card does not fit
    ├── GraphError            (ValueError)       a network that cannot be read, changed or compiled
    ├── BoardError            (ValueError)       an FPGA board that is too small for an engine or a net
    ├── DeviceError           (RuntimeError)     an OpenCL device that is not there, wrong or hung
    ├── ProtocolError         (ValueError)       a benchmark's files or pairs do not fit its protocol
    ├── TransferSetError      (ValueError)       shards or folders that cannot be trained on
    ├── CheckpointError       (ValueError)       a run folder that cannot be resumed
    ├── DivergedError         (RuntimeError)     a training whose loss is no number any more
    ├── WorkerError           (RuntimeError)     a process of a training that ended before its time
    └── MissingExtraError     (ImportError)      an optional dependency is not installed

Each message is one line: where it happened, what is wrong with the value, and how to mend it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class FaceletError(Exception):
    """Root of the tree; the command line prints its message as one line and exits with 2."""


class InputError(FaceletError, ValueError):
    """A value or an option that cannot be used."""


class UnknownNameError(InputError):
    """A name that is in no table."""

    def __init__(self, what: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'? " if near else ""
        super().__init__(f"{what} '{name}': not known; {hint}known: {', '.join(names)}")


class MissingFileError(FaceletError, FileNotFoundError):
    """A path that is not there."""


class ImageError(FaceletError, ValueError):
    """A file that is no readable photo."""


class FaceNotFoundError(FaceletError, ValueError):
    """A photo without a face that the detector finds."""


class ModelError(FaceletError, ValueError):
    """A model file or its card does not fit."""


class GraphError(FaceletError, ValueError):
    """A network cannot be read, changed or compiled: an unknown op, a bad shape, a pass that altered the output."""


class BoardError(FaceletError, ValueError):
    """An FPGA board is too small for an engine or a net."""


class DeviceError(FaceletError, RuntimeError):
    """An OpenCL device is not there, computes wrongly, hangs, or cannot build a program."""


class ProtocolError(FaceletError, ValueError):
    """A benchmark's files or pairs do not fit its protocol."""


class TransferSetError(FaceletError, ValueError):
    """Shards or folders that cannot be trained on."""


class CheckpointError(FaceletError, ValueError):
    """A run folder that cannot be resumed."""


class DivergedError(FaceletError, RuntimeError):
    """A training whose loss is no number any more."""


class WorkerError(FaceletError, RuntimeError):
    """A process of a training that ended before its time."""


class MissingExtraError(FaceletError, ImportError):
    """An optional dependency is not installed.

    Args:
        module: what is missing.
        extra: the extra of this package that brings it; None where the package itself should have.
    """

    def __init__(self, module: str, extra: str | None) -> None:
        package = "facelet" if extra is None else f"'facelet[{extra}]'"
        super().__init__(f"{module}: not installed; mend with: pip install {package}")


@contextmanager
def training_extra() -> Iterator[None]:
    """Names the extra where a package of the training is missing: around its imports.

    Raises:
        MissingExtraError: one is.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "torch", "train") from error

"""Every error that Facelet raises on purpose, in one tree.

    FaceletError
    ├── InputError            (ValueError)       a value or an option that cannot be used
    │   ├── UnknownNameError  (ValueError)       a name that is in no table; lists the nearest
    │   └── OptionError       (ValueError)       an option of a job that cannot be used, alone or beside another
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
    ├── DivergedError         (RuntimeError)     a training whose loss, embeddings or weights are not finite
    ├── WorkerError           (RuntimeError)     a process of a training that ended before its time
    ├── DiskFullError         (OSError)          no room on the disk, or not below the limit of the process
    └── MissingExtraError     (ImportError)      an optional dependency is not installed

Each message is one line: where it happened, what is wrong with the value, and how to mend it. What a caller passed is
repeated up to `MAX_SHOWN` characters, so that an image passed as a path does not end in a log.

Each class has a stable `code` (`FL-...`), which the command line prints behind the message: programs and tests compare
the code, and the words may change. `docs/reference/errors.md` lists all codes.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

MAX_SHOWN = 80
"""Characters of a path, a name or any other word that a message repeats; the middle of a longer one is left out."""

MAX_MESSAGE = 2000
"""Characters of a message; the longest hold a compiler's complaint."""

_HEAD = 24
"""Characters kept of a long word's beginning; the rest is its end, which has the file's name."""


def printable(text: str) -> str:
    """Text in which line breaks, control characters and bytes that are not UTF-8 are escaped as Python does."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def shown(value: object) -> str:
    """A path or a name as messages show it: printable, on one line, at most `MAX_SHOWN` characters."""
    return _shortened(printable(str(value)))


def one_line(text: str) -> str:
    """A text as one line: breaks become spaces, what is not printable is escaped, long words lose their middle."""
    flat = printable(re.sub(r"\s*[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]\s*", " ", text).strip())
    return _shortened(re.sub(r"(\S+?)([:;,]*)(?=\s|$)", lambda word: _shortened(word[1]) + word[2], flat), MAX_MESSAGE)


def reason(error: BaseException) -> str:
    """An error's own words on one line, without the path that a system error repeats; its kind if it has no words."""
    return " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__


def _shortened(text: str, most: int = MAX_SHOWN) -> str:
    return text if len(text) <= most else f"{text[:_HEAD]}...{text[len(text) - (most - _HEAD - 3) :]}"


class FaceletError(Exception):
    """Root of the tree; the command line prints its message as one line and exits with 2.

    Args:
        message: "where: what happened"; kept as `one_line` makes it, a long place without its middle.
        code: names one case of the class, such as "EMPTY"; it is put behind the code of the class.

    Attributes:
        code: stable name of the kind of error, such as "FL-PHOTO", or "FL-PHOTO-EMPTY" for one case of it.
    """

    code = "FL-ERROR"

    def __init__(self, message: str = "", *, code: str = "") -> None:
        if code:
            self.code = f"{self.code}-{code}"
        where, colon, what = one_line(message).partition(": ")
        super().__init__(f"{_shortened(where)}{colon}{what}" if colon else where)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles class, message and attributes, whatever arguments the class takes: errors cross processes."""
        return _restored, (type(self), str(self), self.__dict__.copy())


def _restored(kind: type[FaceletError], message: str, attributes: dict[str, Any]) -> FaceletError:
    error = kind.__new__(kind)
    error.args = (message,)
    error.__dict__.update(attributes)
    return error


class InputError(FaceletError, ValueError):
    """A value or an option that cannot be used."""

    code = "FL-INPUT"


class UnknownNameError(InputError):
    """A name that is in no table."""

    code = "FL-NAME"

    def __init__(self, what: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5) if len(name) <= MAX_SHOWN else []
        hint = f"did you mean '{near[0]}'? " if near else ""
        super().__init__(f"{what} '{shown(name)}': not known; {hint}known: {', '.join(names)}")


class OptionError(InputError):
    """An option of a job that cannot be used, alone or beside another.

    Its message names fields of the job's config in backticks; the command line prints their flags instead.
    """

    code = "FL-OPTION"


class MissingFileError(FaceletError, FileNotFoundError):
    """A path that is not there."""

    code = "FL-FILE"


class ImageError(FaceletError, ValueError):
    """A file that is no readable photo."""

    code = "FL-PHOTO"


class FaceNotFoundError(FaceletError, ValueError):
    """A photo without a face that the detector finds."""

    code = "FL-FACE"


class ModelError(FaceletError, ValueError):
    """A model file or its card does not fit."""

    code = "FL-MODEL"


class GraphError(FaceletError, ValueError):
    """A network cannot be read, changed or compiled: an unknown op, a bad shape, a pass that altered the output."""

    code = "FL-GRAPH"


class BoardError(FaceletError, ValueError):
    """An FPGA board is too small for an engine or a net."""

    code = "FL-BOARD"


class DeviceError(FaceletError, RuntimeError):
    """An OpenCL device is not there, computes wrongly, hangs, or cannot build a program."""

    code = "FL-DEVICE"


class ProtocolError(FaceletError, ValueError):
    """A benchmark's files or pairs do not fit its protocol."""

    code = "FL-PROTOCOL"


class TransferSetError(FaceletError, ValueError):
    """Shards or folders that cannot be trained on."""

    code = "FL-TRANSFER"


class CheckpointError(FaceletError, ValueError):
    """A run folder that cannot be resumed."""

    code = "FL-CHECKPOINT"


class DivergedError(FaceletError, RuntimeError):
    """A training whose loss, embeddings or weights are not finite."""

    code = "FL-DIVERGED"


class WorkerError(FaceletError, RuntimeError):
    """A process of a training that ended before its time."""

    code = "FL-WORKER"


class DiskFullError(FaceletError, OSError):
    """The disk has no room for a file; the command line exits with 1, as the input is not at fault."""

    code = "FL-DISK"


class MissingExtraError(FaceletError, ImportError):
    """An optional dependency is not installed.

    Args:
        module: what is missing.
        extra: the extra of this package that brings it; None where the package itself should have.
    """

    code = "FL-EXTRA"

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

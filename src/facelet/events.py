"""What a running job reports, in one object: progress of long work, and notes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Advance(Protocol):
    """Reports how far a piece of work is."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """`done` of `total`; `note` is shown behind, in place of the speed."""


class Events(Protocol):
    """Receives what a job reports while it runs. The command line prints it; `SILENT` drops it."""

    def progress(self, what: str) -> AbstractContextManager[Advance]:
        """Opens a piece of work named `what`; the body calls what is yielded with `(done, total)`."""
        ...

    def note(self, text: str) -> None:
        """Reports one line that a person should read."""
        ...


class _Silent:
    """Drops everything."""

    @contextmanager
    def progress(self, what: str) -> Iterator[Advance]:
        yield _ignore

    def note(self, text: str) -> None:
        return


SILENT: Events = _Silent()


def _ignore(done: int, total: int, note: str = "") -> None:
    return

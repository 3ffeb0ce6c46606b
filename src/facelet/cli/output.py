"""What every command shares: a table for people, `--json` for programs, progress and notes on standard error.

With `--json` standard output carries exactly one JSON value; everything else goes to standard error, and with
`--quiet` nothing but errors does.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from facelet.errors import printable
from facelet.events import Advance

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output instead of a table.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars and no notes.")]
SeedOption = Annotated[
    int,
    typer.Option("--seed", min=0, max=2**63 - 1, help="Seed of everything that is drawn at random."),
]

PATIENCE_S = 1.0
"""A progress bar appears where the work has taken this long."""

LOG_EVERY_S = 30.0
"""Seconds between two lines of progress where standard error is no terminal."""


@dataclass(frozen=True)
class Output:
    """Where a command's results and notes go.

    Attributes:
        json: standard output carries JSON.
        quiet: no progress and no notes.
    """

    json: bool = False
    quiet: bool = False

    def value(self, value: dict[str, Any] | list[dict[str, Any]]) -> None:
        """Prints the result as JSON on standard output; without `--json` does nothing."""
        if self.json:
            typer.echo(json.dumps(value, indent=2, allow_nan=False))

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Prints a table for people on standard output; with `--json` does nothing.

        Args:
            title: above the table; empty for none.
            columns: headings.
            rows: one cell per heading; numbers are set to the right.
        """
        if self.json:
            return
        from facelet.cli.tables import print_table

        print_table(title, columns, rows)

    def line(self, text: str) -> None:
        """Prints one line for people on standard output, escaped as a note is; with `--json` does nothing."""
        if not self.json:
            typer.echo(printable(text))

    def note(self, text: str) -> None:
        """Prints one line on standard error, unless quiet; breaks in the names of files are escaped."""
        if not self.quiet:
            typer.echo(printable(text), err=True)

    @contextmanager
    def progress(self, what: str) -> Iterator[Advance]:
        """A progress bar on standard error while the body runs; the body calls the yielded `(done, total)` function.

        It appears once the work has taken a second, and never with `--quiet`. Where standard error is no terminal,
        a line now and then takes its place. Work that ends in an error leaves no bar behind.
        """
        if self.quiet:
            yield _ignore
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        note_column = TextColumn("{task.fields[note]}", markup=False)
        bar = Progress(*columns, note_column, console=Console(stderr=True))
        task = bar.add_task(what, total=None, note="")
        begun = time.monotonic()
        told = begun

        def advance(done: int, total: int, note: str = "") -> None:
            nonlocal told
            now = time.monotonic()
            note = note or f"{done / max(now - begun, 1e-9):.0f}/s"
            bar.update(task, completed=done, total=total, note=note)
            if bar.console.is_terminal:
                if now - begun > PATIENCE_S and not bar.live.is_started:
                    bar.start()
            elif now - told > LOG_EVERY_S or (done == total and now - begun > LOG_EVERY_S):
                told = now
                typer.echo(f"{what}: {done} of {total}, {note}", err=True)

        try:
            yield advance
        except BaseException:
            bar.live.transient = True
            raise
        finally:
            if bar.live.is_started:
                bar.stop()


def percent(fraction: float) -> str:
    """A fraction as people read it: 0.9945 is "99.45 %"."""
    return f"{100 * fraction:.2f} %"


def _ignore(done: int, total: int, note: str = "") -> None:
    """Takes progress and shows none."""

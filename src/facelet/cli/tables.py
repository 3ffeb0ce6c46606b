"""Tables for people: numbers to the right, nothing cut in a file, and on a terminal no word and no number broken."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from facelet.errors import printable

WIDE = 200
"""Characters of a line, at least, where a table goes into a file or a pipe."""

GAP, EDGES = 3, 2
"""Characters between two columns, and outside all."""

LONG_WORD = 40
"""Words longer than this, such as paths, may be broken."""

KEPT = 2
"""Columns that are always shown."""


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints a table on standard output; on a terminal that is too narrow the last columns are left out, by name."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    laid = [_Column.of(column, [row[index] for row in rows]) for index, column in enumerate(columns)]
    whole = None if sys.stdout.isatty() else max(WIDE, _line([column.natural for column in laid]))
    console = Console(file=sys.stdout, width=whole, highlight=False, markup=False)
    shown = laid[: _that_fit([column.least for column in laid], console.width)]
    widths = _shared([(column.least, column.natural) for column in shown], console.width)
    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column, width in zip(shown, widths, strict=True):
        heading = textwrap.fill(column.heading, width)
        table.add_column(heading, justify="right" if column.numeric else "left", overflow="fold", width=width)
    for row in zip(*(column.cells for column in shown), strict=True):
        table.add_row(*row)
    console.print(table)
    if left := [column.heading for column in laid[len(shown) :]]:
        console.print(f"too narrow for: {', '.join(left)} (a wider terminal or --json shows all)")


@dataclass(frozen=True)
class _Column:
    """One column.

    Attributes:
        numeric: whether all cells are numbers.
        least: characters that it needs.
        natural: characters that it takes where there is room.
    """

    heading: str
    cells: tuple[str, ...]
    numeric: bool
    least: int
    natural: int

    @classmethod
    def of(cls, heading: str, values: Sequence[object]) -> _Column:
        """Lays a column out."""
        cells = tuple(f"{value:,}" if isinstance(value, int) else printable(str(value)) for value in values)
        numeric = bool(values) and all(isinstance(v, int | float) or _looks_numeric(str(v)) for v in values)
        widest = max(map(len, cells), default=0)
        fixed = numeric or (widest <= LONG_WORD and not any(" " in cell for cell in cells))
        words = [word for text in (heading, *(() if fixed else cells)) for word in text.split()]
        word = min(LONG_WORD, max(map(len, words), default=1))
        return cls(heading, cells, numeric, max(word, widest if fixed else 0), max(widest, len(heading)))


def _that_fit(least: Sequence[int], width: int) -> int:
    """How many columns, from the first, a line takes."""
    count = len(least)
    while count > KEPT and _line(least[:count]) > width:
        count -= 1
    return count


def _shared(columns: Sequence[tuple[int, int]], width: int) -> list[int]:
    """Characters of each column, of what it needs at least and what it would take: room that is left is shared."""
    widths = [least for least, _ in columns]
    spare = width - _line(widths)
    wanting = sorted(range(len(columns)), key=lambda index: columns[index][1] - columns[index][0])
    for place, index in enumerate(wanting):
        least, natural = columns[index]
        widths[index] += max(0, min(natural - least, spare // (len(wanting) - place)))
        spare -= widths[index] - least
    return widths


def _line(widths: Sequence[int]) -> int:
    """Characters of a line, from those of its columns."""
    return sum(widths) + GAP * (len(widths) - 1) + EDGES


def _looks_numeric(text: str) -> bool:
    return text in ("", "-") or text.replace(",", "").replace(".", "").removesuffix(" %").removesuffix(" M").isdigit()

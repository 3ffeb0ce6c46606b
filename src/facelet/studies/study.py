"""What every study has: a question, what it is run on, and rows of figures that a table and a plot are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from facelet.atomic import write_bytes_atomic
from facelet.data.pairs import Pairs
from facelet.data.transfer import TransferSet
from facelet.errors import InputError
from facelet.evaluate.png import new_figure, png_bytes
from facelet.faces.align import align, center_crop
from facelet.faces.crops import Advance
from facelet.faces.detect import Face
from facelet.model import Card

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = dict[str, Any]
Progress = Callable[[str], AbstractContextManager[Advance]]
"""Opens a progress bar with a title; what it yields is called with `(done, total)`."""


@dataclass(frozen=True, eq=False)
class Photos:
    """A verification protocol with its photos, each with the face that it is about.

    Attributes:
        pairs: the protocol.
        load: the photo of an index, `(h, w, 3)` uint8 RGB.
        faces: per photo; None where none was found.
        source: what it is, for the page.
    """

    pairs: Pairs
    load: Callable[[int], NDArray[np.uint8]]
    faces: tuple[Face | None, ...]
    source: str


@dataclass(frozen=True, eq=False)
class Context:
    """What a study runs on.

    Attributes:
        models: names or files.
        photos: to measure on.
        transfer: crops to train on.
        learn: some of them, that something may be fitted to, `(n, 128, 128, 3)` uint8.
        folder: for runs.
        quick: whether this is only to try the study.
        seeds: of everything random.
        threads: of the networks.
        progress: opens a progress bar.
        trials: of a search; 0 where the study is none.
        backend: that runs the models; None takes the one that fits each file.
    """

    models: tuple[str, ...]
    photos: Photos
    transfer: TransferSet
    learn: NDArray[np.uint8]
    folder: Path
    quick: bool
    seeds: tuple[int, ...]
    threads: int
    progress: Progress
    trials: int = 0
    backend: str | None = None


@dataclass(frozen=True)
class Study:
    """One experiment.

    Attributes:
        name: of the command, the JSON and the page.
        title: of the page.
        question: what it asks, a sentence or two.
        models: that it compares without being told.
        columns: key of a row and heading, in order.
        run: the rows.
        draw: puts rows on an empty figure.
        views: of LFW that it may be measured on, the one that it takes without being told first. View 2 is only for
            a study that chooses nothing.
        seeded: whether anything in it is drawn anew by each seed.
        trials: that a search makes without being told; 0 where the study is none.
    """

    name: str
    title: str
    question: str
    models: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]
    run: Callable[[Context], list[Row]]
    draw: Callable[[list[Row], Figure], None]
    views: tuple[int, ...] = (1, 2)
    seeded: bool = True
    trials: int = 0


def check_distinct(names: Sequence[str]) -> None:
    """Refuses two models of one name in a study that tells them apart by it.

    Raises:
        InputError: there are two.
    """
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"--model: two of the models are called {name}; give one of them another --name")


def aligned_crops(context: Context, card: Card) -> NDArray[np.uint8]:
    """The crop of every photo that a model of this card takes, `(n, h, w, 3)`; the centre where no face was found."""
    photos, size = context.photos, (card.height, card.width)
    crops = np.empty((len(photos.faces), *size, 3), np.uint8)
    with context.progress("crops") as advance:
        for index, face in enumerate(photos.faces):
            image = photos.load(index)
            crops[index] = center_crop(image, *size) if face is None else align(image, face, card.template, *size)
            advance(index + 1, len(crops))
    return crops


def save_plot(study: Study, rows: list[Row], path: Path) -> None:
    """Writes a study's plot as PNG; equal rows give equal bytes.

    Raises:
        InputError: the place cannot be written.
    """
    write_bytes_atomic(path, drawn_png(lambda figure: study.draw(rows, figure)))


def drawn_png(draw: Callable[[Figure], None]) -> bytes:
    """A figure, once drawn, as PNG; the same drawing gives the same bytes."""
    figure = new_figure(8, 4.5)
    draw(figure)
    return png_bytes(figure, dpi=110)


def page(study: Study, result: dict[str, Any], notes: str) -> str:
    """A study's page from its JSON.

    Args:
        result: `rows`, `command`, `source`, `seeds`.
        notes: what it shows, as Markdown.
    """
    head = "| " + " | ".join(title for _, title in study.columns) + " |"
    lines = [f"# {study.title}", "", study.question, "", f"![{study.title}]({study.name}.png)", "", head]
    lines.append("|" + "---|" * len(study.columns))
    lines += [
        "| " + " | ".join(cell(row.get(key), title) for key, title in study.columns) + " |" for row in result["rows"]
    ]
    seeds = ", ".join(map(str, result["seeds"]))
    lines += ["", f"Measured on {result['source']}; seeds {seeds}.", "", f"    {result['command']}"]
    return "\n".join([*lines, "", notes.strip()]).rstrip("\n") + "\n"


def cell(value: Any, heading: str) -> str:
    """A figure for a table, with four decimals where its heading says that it is a cosine from -1 to 1."""
    if value is None:
        return "-"
    digits = 4 if "cosine" in heading and "%" not in heading else 2
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)

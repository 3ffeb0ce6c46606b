"""A contact sheet of grouped faces: one HTML file with its pictures inside."""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

import cv2
import numpy as np
from numpy.typing import NDArray

JPEG_QUALITY = 88

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24; }
h1 { margin-bottom: 0; } h2 { margin: 2.2rem 0 0; font-size: 1.2rem; }
p { margin: .3rem 0 .8rem; color: #57606a; } h2 + p { margin-top: 0; }
.faces { display: flex; flex-wrap: wrap; gap: .8rem; }
figure { margin: 0; width: 112px; }
figure img { display: block; width: 112px; height: 112px; object-fit: contain; background: #eaeef2; }
figcaption { font-size: .75rem; line-height: 1.3; overflow-wrap: anywhere; }
ul { columns: 3 16rem; padding-left: 1.2rem; } a { color: inherit; }
"""


@dataclass(frozen=True, eq=False)
class Tile:
    """One face of the sheet.

    Attributes:
        crop: `(h, w, 3)` uint8 RGB.
        file: where its photo is, relative to the page; None where it is gone.
        name: of the photo.
        note: a second line below it.
    """

    crop: NDArray[np.uint8]
    file: str | None
    name: str
    note: str


@dataclass(frozen=True, eq=False)
class Group:
    """One person of the sheet.

    Attributes:
        name: heading.
        note: a line below it.
        tiles: the faces.
    """

    name: str
    note: str
    tiles: tuple[Tile, ...]


def contact_sheet_page(
    title: str, note: str, groups: Sequence[Group], lists: Sequence[tuple[str, Sequence[tuple[str, str | None]]]]
) -> str:
    """The sheet's HTML.

    Args:
        title: of the page.
        note: a line below it.
        groups: people with their faces, in this order.
        lists: what has no face, as heading and lines; each line with the file it leads to, relative to the page, or
            None. Empty lists are left out.
    """
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{html.escape(title)}</h1>
<p>{html.escape(note)}</p>
{"".join(_group(group) for group in groups)}{"".join(_list(*part) for part in lists if part[1])}</body>
</html>
"""


def _text(words: str) -> str:
    """Words as HTML; bytes of a file's name that are no UTF-8 as their numbers."""
    return html.escape(os.fsencode(words).decode("utf-8", "backslashreplace"))


def _link(file: str) -> str:
    """The address of a file beside the page, whatever bytes its name has."""
    return quote(os.fsencode(file))


def _group(group: Group) -> str:
    tiles = "".join(_tile(tile) for tile in group.tiles)
    return (
        f'<section>\n<h2 id="{html.escape(group.name)}">{html.escape(group.name)}</h2>\n'
        f'<p>{html.escape(group.note)}</p>\n<div class="faces">\n{tiles}</div>\n</section>\n'
    )


def _tile(tile: Tile) -> str:
    _, encoded = cv2.imencode(".jpg", tile.crop[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    data = base64.b64encode(encoded.tobytes()).decode("ascii")
    picture = f'<img alt="face in {_text(tile.name)}" src="data:image/jpeg;base64,{data}">'
    if tile.file is not None:
        picture = f'<a href="{_link(tile.file)}">{picture}</a>'
    return f"<figure>{picture}<figcaption>{_text(tile.name)}<br>{html.escape(tile.note)}</figcaption></figure>\n"


def _list(heading: str, lines: Sequence[tuple[str, str | None]]) -> str:
    items = "".join(
        f"<li>{_text(text)}</li>\n" if file is None else f'<li><a href="{_link(file)}">{_text(text)}</a></li>\n'
        for text, file in lines
    )
    return f"<section>\n<h2>{html.escape(heading)}</h2>\n<ul>\n{items}</ul>\n</section>\n"

"""Phrases that are not English of the field: `python tests/calques.py` lists them and exits with 1 if there are any.

`make check` runs it over `docs` and the package. `NOT_READ_YET` are the parts whose text still has to be read; take a
part out of the list when you have rewritten it, and add a phrase when you have removed it from all parts that are read.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]

CALQUES: dict[str, str] = {
    r"(laid|placed) anew": "re-align; landmark refinement",
    r"of then": "earlier; these figures predate ...",
    r"eats?": "takes as input",
    r"(is|are|was|were) (always )?told": "receives; is set to; is reported",
    r"(go|goes|going|went) on from": "continue from; fine-tune from",
}
"""What to look for, as a regular expression between word boundaries, and what to write instead."""

SUFFIXES = (".md", ".py", ".h", ".cpp", ".c", ".cl")

NOT_READ_YET = (
    *(f"src/facelet/{part}" for part in ("bench", "cexport", "cli", "data", "evaluate", "faces", "fpga", "graph")),
    *(f"src/facelet/{part}" for part in ("opencl", "quantize", "train")),
    *(f"src/facelet/{part}.py" for part in ("backends", "benchmark", "model", "photo")),
)


def texts() -> Iterator[Path]:
    """Every file of docs and package whose text has been read, in order."""
    for folder in (ROOT / "docs", ROOT / "src"):
        for path in sorted(folder.rglob("*")):
            place = path.relative_to(ROOT).as_posix()
            skipped = any(place == part or place.startswith(f"{part}/") for part in NOT_READ_YET)
            if path.suffix in SUFFIXES and not skipped:
                yield path


def calques(text: str) -> Iterator[tuple[int, str, str]]:
    """Line number from 1, phrase, and what to write instead, of each calque in a text; across line ends too."""
    for pattern, instead in CALQUES.items():
        words = pattern.replace(" ", r"\s+")
        for match in re.finditer(rf"\b{words}\b", text, re.IGNORECASE):
            yield text.count("\n", 0, match.start()) + 1, " ".join(match[0].split()), instead


def main() -> int:
    """Prints each place; returns the exit code."""
    found = [(path, *each) for path in texts() for each in calques(path.read_text(encoding="utf-8"))]
    for path, line, phrase, instead in found:
        print(f"{path.relative_to(ROOT)}:{line}: '{phrase}'; write: {instead}")  # noqa: T201
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

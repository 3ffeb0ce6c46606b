"""Writes docs/reference/errors.md from `facelet.errors` and from the raise sites: `python docs/build_errors.py`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from facelet import errors
from facelet.cli import SYSTEM_CODE, USAGE_CODE

PAGE = Path(__file__).parent / "reference" / "errors.md"
SOURCE = Path(__file__).parents[1] / "src" / "facelet"

HEAD = """# Errors

## How commands end

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | the system failed: disk full, file not readable; or a check failed (`fpga validate`, `fpga emulate`) |
| 2 | the input cannot be used: one line on standard error names the place, the problem and the fix |
| 130 | interrupted with Ctrl-C |

A wrong input never ends in a Python traceback. The line on standard error is `facelet: MESSAGE [CODE]`, with `--json`
too; standard output then stays empty. Where a name is not known (a model, detector, backend, benchmark, study), the
message lists the known ones and the nearest; of commands and options it names the nearest only.

In Python the same messages are exceptions under `facelet.FaceletError`, whose `code` is the code. Each is also the
fitting builtin, so `except ValueError` or `except FileNotFoundError` work as expected.

## Codes

A code is stable: compare it and not the words of a message, which may change. A code may get a longer one for a single
case, such as `FL-PHOTO-EMPTY`; compare with `startswith("FL-PHOTO")` to catch all cases.

| code | exception | builtin | meaning |
|---|---|---|---|
"""


def classes() -> Iterator[type[errors.FaceletError]]:
    """Every class of the tree, as they stand in the file."""
    for value in vars(errors).values():
        if isinstance(value, type) and issubclass(value, errors.FaceletError):
            yield value


def cases() -> Iterator[tuple[str, str, str]]:
    """Code, exception and module of each raise site that names a case by `code="..."`."""
    known = {kind.__name__: kind.code for kind in classes()}
    for path in sorted(SOURCE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if "code=" in text else ():
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id not in known:
                continue
            for word in node.keywords:
                if word.arg == "code" and isinstance(word.value, ast.Constant):
                    module = ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts)
                    yield f"{known[node.func.id]}-{word.value.value!s}", node.func.id, module


def page() -> str:
    """The whole page as Markdown."""
    rows = []
    for kind in classes():
        builtin = next(base.__name__ for base in kind.__mro__ if base.__module__ == "builtins")
        first, *_ = (kind.__doc__ or "").splitlines()
        rows.append(f"| `{kind.code}` | `{kind.__name__}` | `{builtin}` | {first} |")
    rows.append(f"| `{SYSTEM_CODE}` | - | `OSError` | The system failed: disk full, no permission; exit code 1. |")
    rows.append(f"| `{USAGE_CODE}` | - | - | Arguments that the command does not take; command line only. |")
    rows += [f"| `{code}` | `{kind}` | | raised in `{module}` |" for code, kind, module in sorted(set(cases()))]
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

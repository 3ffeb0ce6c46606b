"""The processes of this package: how it starts others, and how one that is wholly its own begins.

Every program that is started goes through this module. Nothing in the working directory is imported or run: a folder
of photos may hold a `random.py` or a file called `c++`.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from facelet.cache import cache_dir
from facelet.errors import InputError

Variables = Mapping[str, str | None]
"""Environment variables by name; None takes one away."""

CHILD = Path(__file__).with_name("child.py")

CACHES = {
    "MPLCONFIGDIR": "matplotlib",
    "TORCHINDUCTOR_CACHE_DIR": "torch",
    "TRITON_CACHE_DIR": "triton",
    "YOWASP_CACHE_DIR": "yowasp",
    "CACHEDB": "tinygrad/cache.db",
}
"""Where other packages keep what they computed, by the variable that names the place: below our cache, as they would
otherwise write into the home folder. The matplotlib of our own processes so draws without the user's settings."""


def begin() -> None:
    """Prepares a process that runs nothing but this package: the command line, or a process that it started.

    Other packages get the places of `CACHES`, unless the caller named others.
    """
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # warns where it has to make do with a temporary folder
    try:
        folder = cache_dir()
    except InputError:  # no home: what needs the cache says so
        return
    for variable, place in cache_places(folder).items():
        os.environ.setdefault(variable, place)


def cache_places(folder: Path) -> dict[str, str]:
    """The variables of `CACHES` for a cache in a folder."""
    return {variable: str(folder / name) for variable, name in CACHES.items()}


def python_command(module: str, *arguments: str) -> list[str]:
    """The command of a Python process that runs a module as `python -m` does.

    `-P` keeps the working directory off its path, and `child.py` lets it import this very package, from wherever this
    process has it.
    """
    return [sys.executable, "-P", str(CHILD), module, *arguments]


def run(
    command: Sequence[str],
    *,
    variables: Variables | None = None,
    cwd: str | Path | None = None,
    limit_s: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end; its output and errors are in the answer, whatever its exit code.

    Args:
        command: the program and its arguments.
        variables: environment variables that it gets besides this process's; None takes one away.
        cwd: its working directory.
        limit_s: seconds that it may take.

    Raises:
        subprocess.TimeoutExpired: it took longer, and was ended.
        OSError: there is no such program.
    """
    return subprocess.run(
        command,
        capture_output=True,
        check=False,
        cwd=cwd,
        encoding="utf-8",
        env=_environment(variables),
        errors="backslashreplace",
        timeout=limit_s,
    )


def start(command: Sequence[str], errors: IO[str], *, variables: Variables | None = None) -> subprocess.Popen[str]:
    """Starts a program that is spoken to by lines of text, on its standard input and output.

    Args:
        command: as for `run`.
        errors: an open file that its standard error goes to.
        variables: as for `run`.
    """
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        encoding="utf-8",
        env=_environment(variables),
        errors="backslashreplace",
    )


def find_program(*names: str) -> str | None:
    """The first of some programs that is found; None where there is none.

    Entries of `PATH` that are relative, or empty, lead into the working directory and are passed over.
    """
    return next(filter(None, (shutil.which(name, path=_absolute_path()) for name in names)), None)


def _environment(variables: Variables | None) -> dict[str, str]:
    """The variables of a program that is started: this process's, without ways into the working directory."""
    wanted = {**os.environ, "PYTHONSAFEPATH": "1", "PATH": _absolute_path(), **(variables or {})}
    found = {name: value for name, value in wanted.items() if value is not None}
    if "PYTHONPATH" in found:  # an empty entry is the working directory
        found["PYTHONPATH"] = os.pathsep.join(entry for entry in found["PYTHONPATH"].split(os.pathsep) if entry)
    return found


def _absolute_path() -> str:
    entries = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(entry for entry in entries if Path(entry).is_absolute())

"""How many threads a caller may ask for."""

from __future__ import annotations

from facelet.errors import InputError

MOST_THREADS = 1024
"""More than any machine of this kind has cores; drivers and thread pools hang or abort on a slip of the keyboard."""


def check_threads(threads: int | None) -> None:
    """Refuses a number of threads that nothing can run.

    Args:
        threads: None leaves the number to the runtime.

    Raises:
        InputError: below 1 or above `MOST_THREADS`.
    """
    if threads is None:
        return
    if threads < 1:
        raise InputError(f"threads: must be 1 or more, found {threads}")
    if threads > MOST_THREADS:
        raise InputError(f"threads: must be at most {MOST_THREADS}, found {threads}")

"""The command line: what the program `facelet` and `python -m facelet` run.

What a command imports takes a moment, in which somebody may press Ctrl-C; so this module imports nothing heavy itself.
"""

from __future__ import annotations

import os
import signal


def main() -> None:
    """Runs the command of `sys.argv` and ends the process."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # it is ignored in the background of a shell
        signal.signal(signal.SIGINT, _end_at_start)
    from facelet import cli, processes

    processes.begin()

    if signal.getsignal(signal.SIGINT) is _end_at_start:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    cli.main()


def _end_at_start(_signal: int, _frame: object) -> None:
    """Ends the process before it has done anything; an exception could be caught by a module that is being imported."""
    os.write(2, b"facelet: interrupted\n")
    os._exit(130)


if __name__ == "__main__":
    main()

"""The command line: one Typer app, one file per command family, one way to end in an error.

A `FaceletError` or a wrong argument is one line on standard error and exit code 2; Ctrl-C is 130; a reader that
closes the pipe ends the command quietly. Heavy imports live inside the command functions.
"""

from __future__ import annotations

import atexit
import io
import os
import signal
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

import facelet
from facelet.atomic import FULL
from facelet.cache import MEND, is_cached
from facelet.cli import (
    align,
    bench,
    cluster,
    demo,
    evaluate,
    fpga,
    fpga_engine,
    graph,
    models,
    opencl,
    quantize,
    study,
    synthetic,
    train,
    verify,
)
from facelet.config import as_flags
from facelet.errors import DiskFullError, FaceletError, one_line, shown
from facelet.jobs.distill import Distill

app = typer.Typer(
    name="facelet",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

train_group = typer.Typer(no_args_is_help=True, help="Train a net without a teacher.")
train_group.command("triplet")(train.triplet)
train_group.command("landmarks")(train.landmarks)

app.command("verify")(verify.verify)
app.command("embed")(verify.embed)
app.command("align")(align.align)
app.command("cluster")(cluster.cluster)
app.command("models")(models.models)
app.command("demo")(demo.demo)
app.command("evaluate")(evaluate.evaluate)
app.command("calibrate")(evaluate.calibrate)
app.command("inspect")(graph.inspect)
app.command("prune")(graph.prune)
app.command("average")(train.average)
app.command("quantize")(quantize.quantize)
app.command("compile")(opencl.compile_)
app.command("devices")(opencl.devices)
app.command("bench")(bench.bench)
app.command("study")(study.study)
app.command("distill")(train.distill)
app.add_typer(train_group, name="train")
fpga.app.command("emulate")(fpga_engine.emulate)
fpga.app.command("export")(fpga_engine.export)
app.add_typer(fpga.app, name="fpga", help="A model on an FPGA: its estimated cost, the engine emulated, the export.")
app.add_typer(synthetic.app, name="synthetic", help="Sample faces that belong to nobody; learn and check their model.")

INTERRUPTED = 130
"""Exit code of a command that Ctrl-C ended."""

SYSTEM_CODE, USAGE_CODE = "FL-SYSTEM", "FL-USAGE"
"""Codes of what is not a `FaceletError`: the system's own errors, and arguments that no command takes."""

AGAIN_S = 0.5
"""Time after which Ctrl-C is raised again where a library dropped it."""

_interrupts: list[int] = []
"""Signals by which Ctrl-C came in this process."""

CLICK_ERROR = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
"""Root of what Typer raises for wrong arguments; its home differs between Typer's versions."""


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"facelet {facelet.__version__}")
        raise typer.Exit


@app.callback()
def about(
    _version_wanted: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Small face recognizers: verify photos, measure on LFW, distil your own."""


def run(arguments: Sequence[str]) -> int:
    """Runs one command.

    Args:
        arguments: without the program's name.

    Returns:
        The exit code: 0, 1 (the system failed), 2 (the input cannot be used) or 130 (interrupted).
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started this process
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123
    try:
        code = app(args=list(arguments), prog_name="facelet", standalone_mode=False)
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        return _refuse("interrupted", INTERRUPTED)
    except Exception as error:
        return _refuse("interrupted", INTERRUPTED) if _interrupts else _failed(error)
    if code == INTERRUPTED:  # newer Typers answer Ctrl-C with an exit code
        return _refuse("interrupted", INTERRUPTED)
    return code if isinstance(code, int) else 0


def main() -> None:
    """Runs the command of `sys.argv` and ends the process."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file's name may hold what the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as in the background of a shell
        signal.signal(signal.SIGINT, _interrupt)
    code = run(sys.argv[1:])
    if _interrupts and hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)
    if code == INTERRUPTED:  # libraries that were stopped half-way crash where Python takes them down
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        atexit._run_exitfuncs()
        os._exit(code)
    sys.exit(code)


def _interrupt(_signal: int, _frame: object) -> None:
    """Notes Ctrl-C besides raising it: a library that is stopped may turn it into another error, or drop it."""
    _interrupts.append(_signal)
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, _interrupt_again)
        signal.setitimer(signal.ITIMER_REAL, AGAIN_S, AGAIN_S)
    raise KeyboardInterrupt


def _interrupt_again(_signal: int, _frame: object) -> None:
    """Raises Ctrl-C once more where it was dropped; while it is on its way out, what cleans up is left alone."""
    error = sys.exc_info()[1]
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    if error is None:
        raise KeyboardInterrupt


def _failed(error: Exception) -> int:
    """Tells in one line why a command ended; returns the exit code.

    Raises:
        Exception: `error`, where it is a fault of this package.
    """
    if isinstance(error, FaceletError):
        # a derived command has named its own flags
        return _refuse(as_flags(str(error), Distill), 1 if isinstance(error, DiskFullError) else 2, error.code)
    if isinstance(error, BrokenPipeError):
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - so that the flush at exit is silent
        return 1
    if isinstance(error, OSError):
        where = f"{shown(error.filename)}: " if error.filename else ""
        if error.errno in FULL:  # also of temporary files, which have no name here
            full = f"{where}the disk is full ({error.strerror}); free some space, or set TMPDIR elsewhere"
            return _refuse(full, 1, SYSTEM_CODE)
        return _refuse(f"{where}{error.strerror or error}{_cache_hint(error)}", 1, SYSTEM_CODE)
    if not isinstance(error, CLICK_ERROR):
        raise error
    message = error.format_message()  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(message)
        return 2
    path = context.command_path if context else "facelet"
    joint = " " if message.endswith("?") else "; "
    return _refuse(f"{message.rstrip('.')}{joint}see: {path} --help", 2, USAGE_CODE)


def _cache_hint(error: OSError) -> str:
    """How to mend a system error where it concerns the cache; empty for others."""
    concerned = isinstance(error.filename, str) and is_cached(error.filename)
    return f"; the cache cannot be used, {MEND}" if concerned else ""


def _refuse(message: str, exit_code: int, code: str = "") -> int:
    """Prints one line on standard error, an error's stable code at its end; returns the exit code."""
    typer.echo(f"facelet: {one_line(message)}{f' [{code}]' if code else ''}", err=True)
    return exit_code

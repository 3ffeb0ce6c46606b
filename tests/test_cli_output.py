"""Invariant: what every command shares: one JSON value on standard output, one line for an error, exit codes."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

import facelet
from conftest import Ended
from facelet import cli as command_line
from facelet.cache import cache_dir
from facelet.cli import app
from facelet.cli.output import Output, percent
from facelet.errors import InputError

Cli = Callable[..., Ended]

SHARED = {"--json", "--quiet", "--seed", "--help"}


def commands() -> dict[str, object]:
    """Every command by its full name, groups unfolded."""
    found: dict[str, object] = {}

    def walk(command: object, name: str) -> None:
        inner = getattr(command, "commands", None)
        if inner is None:
            found[name] = command
        for key, value in (inner or {}).items():
            walk(value, f"{name} {key}".strip())

    walk(typer.main.get_command(app), "")
    return found


def test_help_lists_every_command_with_one_line(cli: Cli) -> None:
    ended = cli("--help")
    assert ended.code == 0
    for name, command in commands().items():
        words = str(getattr(command, "help", "")).strip()
        assert words, f"{name} has no docstring"
        first = name.split(maxsplit=1)[0]
        assert first in ended.out
        line = words.splitlines()[0]
        if first == name:
            assert line in ended.out, f"{name}: its line wraps in --help"


@pytest.mark.parametrize("name", commands())
def test_every_command_takes_the_shared_options(cli: Cli, name: str) -> None:
    ended = cli(*name.split(), "--help")
    assert ended.code == 0
    missing = {option for option in SHARED if option not in ended.out}
    assert not missing, f"{name} lacks {missing}"
    assert str(Path(__file__).parents[1]) not in ended.out


@pytest.mark.parametrize("name", commands())
def test_no_text_in_brackets_is_lost_in_help(name: str) -> None:
    command = commands()[name]
    told = [str(getattr(part, "help", "")) for part in (command, *getattr(command, "params", ()))]
    assert not [text for text in told if "[" in text], "Rich takes brackets for markup; use show_default"


def test_version(cli: Cli) -> None:
    assert cli("--version") == Ended(0, f"facelet {facelet.__version__}\n", "")


def test_no_arguments_show_the_help(cli: Cli) -> None:
    ended = cli()
    assert ended.code == 2
    assert "Commands" in ended.out
    assert ended.err == ""


def test_an_unexpected_error_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_options: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(command_line, "app", broken)
    with pytest.raises(ZeroDivisionError):
        command_line.run(["models"])


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (typer.Abort(), 130, "interrupted"),
        (PermissionError(13, "Permission denied", "secret.npz"), 1, "secret.npz: Permission denied [FL-SYSTEM]"),
        (
            OSError(28, "No space left on device"),
            1,
            "the disk is full (No space left on device); free some space, or set TMPDIR elsewhere [FL-SYSTEM]",
        ),
        (facelet.FaceletError("one\ntwo"), 2, "one two [FL-ERROR]"),
    ],
)
def test_errors_end_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, words: str
) -> None:
    def broken(**_options: object) -> None:
        raise error

    monkeypatch.setattr(command_line, "app", broken)
    assert command_line.run(["models"]) == code
    captured = capsys.readouterr()
    assert captured.err == f"facelet: {words}\n"
    assert captured.out == ""


@pytest.mark.parametrize("arguments", [["--help"], ["models", "--json", "dlib_resnet"], ["models", "dlib_resnet"]])
def test_a_closed_pipe_is_quiet(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "facelet", *arguments]
    try:
        ended = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(writer)
    assert (ended.returncode, ended.stderr) == (1, b"")


def test_python_dash_m_is_the_command_line() -> None:
    ended = subprocess.run([sys.executable, "-m", "facelet", "modles"], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr == "facelet: No such command 'modles'. Did you mean 'models'? see: facelet --help [FL-USAGE]\n"


def test_json_and_tables_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    def all_of(out: Output) -> tuple[str, str]:
        out.value({"accuracy": 0.9945})
        out.table("figures", ("name", "n"), [("lfw", 6000)])
        out.line("done")
        out.note("noted")
        captured = capsys.readouterr()
        return captured.out, captured.err

    out, err = all_of(Output(json=True))
    assert (json.loads(out), err) == ({"accuracy": 0.9945}, "noted\n")
    out, err = all_of(Output(quiet=True))
    assert "6,000" in out
    assert "accuracy" not in out
    assert err == ""


def test_a_table_in_a_pipe_is_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    Output().table("", ("path", "[bold]"), [("x" * 120, "[red]")])
    out = capsys.readouterr().out
    assert "x" * 120 in out
    assert "[bold]" in out
    assert "[red]" in out


def shown(monkeypatch: pytest.MonkeyPatch, width: int) -> list[str]:
    """A table on a terminal of so many characters, its lines without the empty ones."""
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", str(width))
    rows = [("mobilenet_v2_050", 870_192, "97.77 %", "two strong teachers", "/a/path/" + "x" * 60)]
    Output().table("", ("name", "parameters", "LFW with dlib", "teacher", "file"), rows)
    plain = re.sub("\x1b\\[[0-9;]*m", "", terminal.getvalue())
    return [line.strip() for line in plain.splitlines() if line.strip()]


def test_a_table_on_a_terminal_breaks_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = shown(monkeypatch, 160)
    assert wide[0].split("  ")[0] == "name"
    assert "LFW with dlib" in wide[0]
    assert "x" * 60 in wide[-1]
    narrow = shown(monkeypatch, 110)  # a path may be broken, and a heading, and a sentence at its spaces
    assert "mobilenet_v2_050" in "".join(narrow)
    assert all(len(line) <= 110 for line in narrow)
    assert not any("too narrow" in line for line in narrow)
    assert sum(line.count("x") for line in narrow) == 60
    narrower = shown(monkeypatch, 60)
    assert any({"mobilenet_v2_050", "870,192", "97.77"} <= set(line.split()) for line in narrower)
    assert narrower[-1].startswith("too narrow for: file")
    assert all(len(line) <= 60 for line in narrower)


def test_not_a_number_is_no_json() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        Output(json=True).value({"accuracy": float("nan")})


def work(out: Output) -> None:
    with out.progress("slow work") as advance:
        advance(1, 3)
        advance(3, 3, "loss 0.5")


def test_quick_work_shows_no_progress(capsys: pytest.CaptureFixture[str]) -> None:
    work(Output())
    assert capsys.readouterr() == ("", "")


def test_progress_in_a_file_is_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facelet.cli.output.LOG_EVERY_S", -1.0)
    work(Output(quiet=True))
    assert capsys.readouterr() == ("", "")
    work(Output())
    captured = capsys.readouterr()
    assert captured.out == ""
    first, last = captured.err.splitlines()
    assert first.startswith("slow work: 1 of 3, ")
    assert last == "slow work: 3 of 3, loss 0.5"


def test_progress_on_a_terminal_is_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facelet.cli.output.PATIENCE_S", -1.0)
    monkeypatch.setenv("FORCE_COLOR", "1")
    work(Output())
    captured = capsys.readouterr()
    assert captured.out == ""
    for words in ("slow work", "3/3", "loss 0.5"):
        assert words in captured.err


def test_progress_ends_with_the_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), Output().progress("slow work") as advance:
        advance(1, 0 // 0)
    assert capsys.readouterr() == ("", "")


def test_percent() -> None:
    assert percent(0.9945) == "99.45 %"


def test_ctrl_c_that_typer_turns_into_a_code_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command_line, "app", lambda **_options: 130)
    assert command_line.run(["models"]) == 130
    assert capsys.readouterr().err == "facelet: interrupted\n"


def test_a_cache_that_cannot_be_written_is_told_with_the_mend(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FACELET_CACHE", "/nowhere/cache")

    def broken(**_options: object) -> None:
        raise PermissionError(13, "Permission denied", "/nowhere/cache/opencl")

    monkeypatch.setattr(command_line, "app", broken)
    assert command_line.run(["devices"]) == 1
    said = "/nowhere/cache/opencl: Permission denied; the cache cannot be used, set FACELET_CACHE"
    assert said in capsys.readouterr().err


def test_without_a_home_the_cache_asks_for_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACELET_CACHE", "~nobody-of-that-name/x")
    with pytest.raises(InputError, match="no home folder; set FACELET_CACHE"):
        cache_dir()


def test_names_that_a_terminal_cannot_show_and_closed_outputs_are_no_failure(tmp_path: Path) -> None:
    name = "z\u017c\u00f3\u0142w.onnx"
    strict = {**os.environ, "PYTHONIOENCODING": "latin-1:strict"}
    command = [sys.executable, "-m", "facelet", "models"]
    ended = subprocess.run([*command, tmp_path / name], env=strict, stderr=subprocess.PIPE, check=False)
    assert ended.returncode == 2
    assert ended.stderr.count(b"\n") == 1
    assert b"no such model file" in ended.stderr
    shut = 'exec "$@" >&-'
    closed = subprocess.run(["sh", "-c", shut, "sh", *command, "dlib_resnet"], stderr=subprocess.PIPE, check=False)
    assert (closed.returncode, closed.stderr) == (0, b"")

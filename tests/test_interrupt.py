"""Invariant: Ctrl-C ends a command in one line and exit code 130, also while Python still imports what it needs."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import facelet.cli as command_line

STOPPED = """
import os, signal, sys
sys.argv = ["facelet", *{arguments!r}]

class Stopper:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except KeyboardInterrupt:
                if {turned!r}:
                    raise ImportError("initialization failed")
                raise
        return None

sys.meta_path.insert(0, Stopper())
from facelet.__main__ import main
main()
"""


@pytest.mark.parametrize(
    ("module", "turned"),
    [("typer", False), ("typer", True), ("rich", False), ("facelet.cli.verify", True), ("onnx", False), ("onnx", True)],
)
def test_ctrl_c_while_modules_are_imported(module: str, turned: bool) -> None:
    code = STOPPED.format(arguments=["models", "facelet_xs"], module=module, turned=turned)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "facelet: interrupted\n")


def test_ctrl_c_in_the_middle_of_a_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "facelet", "synthetic", "sample", "--identities", "100000", "--out", "people"]
    running = subprocess.Popen([*command, "--quiet"], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    while not any(tmp_path.iterdir()):
        assert running.poll() is None
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    assert (running.communicate(timeout=60)[1], running.returncode) == ("facelet: interrupted\n", 130)
    assert list(tmp_path.iterdir()) == []


def test_a_library_that_turns_ctrl_c_into_another_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command_line, "_interrupts", [signal.SIGINT])

    def broken(**_options: object) -> None:
        raise ImportError("initialization failed")

    monkeypatch.setattr(command_line, "app", broken)
    assert command_line.run(["models"]) == 130
    assert capsys.readouterr().err == "facelet: interrupted\n"


DROPPED = """
import os, signal, sys, time
import facelet.cli as command_line

def dropping(**_options):
    for _ in range(2):  # as a library does that catches everything while it is loaded
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        except BaseException:
            pass
    try:
        time.sleep(20)
    finally:
        time.sleep(1.2)  # what cleans up is not stopped
        print("cleaned up", flush=True)

command_line.app = dropping
command_line.main()
"""


def test_ctrl_c_that_a_library_drops_comes_again() -> None:
    done = subprocess.run([sys.executable, "-c", DROPPED], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "cleaned up\n", "facelet: interrupted\n")

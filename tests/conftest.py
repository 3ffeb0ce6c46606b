"""Fixtures for every test: no network, no home, no leftovers; and the command line in the same process."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

# drivers and torch read these once a process, whichever test comes first; the workers of a run share the cores
os.environ.setdefault("POCL_MAX_PTHREAD_COUNT", "1")
os.environ.setdefault("FACELET_POCL_PATCH", "1")  # so that PyPI's PoCL builds on processors that it does not know
os.environ.setdefault("OMP_NUM_THREADS", "1")


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def isolated(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keeps each test away from the network and from the user's folders."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("FACELET_DATA", raising=False)  # which `data_dir` has read by then
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / ".cache"))
    monkeypatch.setenv("FACELET_CACHE", str(home / "facelet-cache"))

    def refuse(_self: socket.socket, address: object) -> None:
        raise OSError(f"tests do not touch the network: {address}")

    original = socket.socket.connect
    monkeypatch.setattr(
        socket.socket,
        "connect",
        lambda self, address: original(self, address) if self.family == socket.AF_UNIX else refuse(self, address),
    )


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Runs a command in this process: `cli("models", "--json")`."""
    from facelet.cli import run

    def call(*arguments: object) -> Ended:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return call


@pytest.fixture
def clear_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives every face the best quality: drawn faces lack the fine texture of photos."""
    from facelet.faces.quality import Quality

    monkeypatch.setattr("facelet.photo.face_quality", lambda *_: Quality(1.0, (), 128.0))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of measuring data; the test is skipped where it is absent."""
    chosen = Path(os.environ.get("FACELET_DATA", Path(__file__).parents[1] / ".." / "shared" / "data"))
    if not (chosen / "lfw").is_dir():
        pytest.skip(f"no measuring data at {chosen}; set FACELET_DATA")
    return chosen.resolve()

"""Invariant: every error has a stable code of its own, the command line prints it, and the reference lists it."""

from __future__ import annotations

import importlib.util
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from conftest import Ended
from facelet.errors import FaceletError, ImageError, MissingExtraError, MissingFileError, UnknownNameError

STABLE = {
    "FaceletError": "FL-ERROR",
    "InputError": "FL-INPUT",
    "UnknownNameError": "FL-NAME",
    "OptionError": "FL-OPTION",
    "MissingFileError": "FL-FILE",
    "ImageError": "FL-PHOTO",
    "FaceNotFoundError": "FL-FACE",
    "ModelError": "FL-MODEL",
    "GraphError": "FL-GRAPH",
    "BoardError": "FL-BOARD",
    "DeviceError": "FL-DEVICE",
    "ProtocolError": "FL-PROTOCOL",
    "TransferSetError": "FL-TRANSFER",
    "CheckpointError": "FL-CHECKPOINT",
    "DivergedError": "FL-DIVERGED",
    "WorkerError": "FL-WORKER",
    "DiskFullError": "FL-DISK",
    "MissingExtraError": "FL-EXTRA",
}
"""Codes that programs out there compare: add to this table, and never change or reuse one."""


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    """`docs/build_errors.py` as a module."""
    path = Path(__file__).parents[1] / "docs" / "build_errors.py"
    spec = importlib.util.spec_from_file_location("build_errors", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_class_has_the_code_that_it_always_had(reference: ModuleType) -> None:
    assert {kind.__name__: kind.code for kind in reference.classes()} == STABLE
    assert len(set(STABLE.values())) == len(STABLE)
    assert all(re.fullmatch(r"FL-[A-Z]+", code) for code in STABLE.values())


def test_the_reference_page_lists_every_code(reference: ModuleType) -> None:
    page = reference.page()
    assert reference.PAGE.read_text(encoding="utf-8") == page, "run: python docs/build_errors.py"
    assert all(f"| `{code}` | `{name}` |" in page for name, code in STABLE.items())


def test_a_case_has_a_longer_code_and_the_class_keeps_its_own(
    reference: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = ImageError("a.jpg: holds nothing", code="EMPTY")
    assert (error.code, str(error)) == ("FL-PHOTO-EMPTY", "a.jpg: holds nothing")
    assert ImageError("a.jpg: not readable").code == ImageError.code == "FL-PHOTO"
    source = tmp_path / "facelet"
    source.mkdir()
    (source / "photo.py").write_text('raise ImageError(f"{path}: holds nothing", code="EMPTY") from None\n')
    monkeypatch.setattr(reference, "SOURCE", source)
    assert list(reference.cases()) == [("FL-PHOTO-EMPTY", "ImageError", "facelet.photo")]
    assert "| `FL-PHOTO-EMPTY` | `ImageError` |" in reference.page()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UnknownNameError("model", "x", ["y"]), "FL-NAME"),
        (MissingExtraError("torch", "train"), "FL-EXTRA"),
        (FaceletError("where: what"), "FL-ERROR"),
        (MissingFileError("a.jpg: no such file", code="PHOTO"), "FL-FILE-PHOTO"),
    ],
)
def test_errors_with_arguments_of_their_own_have_one_and_cross_processes(error: FaceletError, code: str) -> None:
    assert error.code == code
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.code) == (type(error), str(error), code)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("verify", "no.jpg", "no.jpg"), "FL-FILE"),
        (("models", "no_such_model"), "FL-NAME"),
        (("bench", "facelet_xs", "--blocks", "0"), "FL-OPTION"),
        (("verify", "--no-such-option"), "FL-USAGE"),
        (("verify", "text.jpg", "text.jpg"), "FL-PHOTO"),
        (("compile", "facelet_xs", "--block", "5"), "FL-INPUT"),
    ],
)
def test_the_line_on_standard_error_ends_with_the_code(
    arguments: tuple[str, ...], code: str, cli: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.jpg").write_text("words")
    ended = cli(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("facelet: ")
    assert ended.err.endswith(f" [{code}]\n"), ended.err

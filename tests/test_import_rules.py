"""Invariant: the house table of who may import whom, read from the source, and a quick `import facelet`."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "facelet"

LAYERS: dict[str, int] = {
    "errors": 0,
    "telemetry": 0,
    "cache": 1,
    "archives": 1,
    "config": 1,
    "events": 1,
    "threads": 1,
    "onnx_session": 1,
    "system_files": 1,
    "graph": 1,
    "atomic": 2,
    "model": 2,
    "processes": 2,
    "child": 3,
    "lock": 3,
    "linkage": 3,
    "assets": 3,
    "model_files": 4,
    "model_graph": 5,
    "onnx_entry": 5,
    "model_average": 6,
    "nets": 5,
    "evaluate": 5,
    "data": 5,
    "opencl": 5,
    "quantize": 5,
    "backends": 6,
    "fpga": 6,
    "faces": 7,
    "photo": 8,
    "rates": 8,
    "embedder": 9,
    "canvas": 10,
    "train": 10,
    "verdict": 10,
    "bench": 10,
    "cexport": 11,
    "benchmark": 10,
    "trouble_benchmark": 11,
    "people_benchmarks": 12,
    "photo_folder": 8,
    "people_groups": 4,
    "found_faces": 11,
    "cluster_record": 12,
    "photo_clusters": 13,
    "contact_sheet": 10,
    "studies": 11,
    "jobs": 14,
    "cli": 15,
    "__main__": 16,
}
"""A module may import modules of a smaller number, or of its own folder."""

EQUALS_ALLOWED: dict[tuple[str, str], str] = {
    ("evaluate", "data"): "figures are computed over `Pairs`",
}
"""Imports between folders of one layer, and why."""

ONLY_IN: dict[str, tuple[str, ...]] = {
    "torch": ("nets", "train"),
    "tensorboard": ("train",),
    "pyopencl": ("opencl",),
    "onnxruntime": ("onnx_session",),
    "openvino": ("backends", "bench", "train"),
    "dlib": ("faces", "backends"),
    "pillow_heif": ("faces",),
    "pooch": ("assets",),
    "typer": ("cli",),
    "rich": ("cli",),
    "filelock": ("lock",),
    "scipy": ("linkage",),
    "sklearn": (),
    "optuna": ("studies",),
    "matplotlib": ("evaluate", "fpga", "studies"),
    "pytest": (),
    "hypothesis": (),
    "face_recognition_models": (),
}
"""Packages that only some parts may import."""


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def part(path: Path) -> str:
    """Folder or module of a file below the package, as `LAYERS` names it; empty for the package itself."""
    first = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def imported(path: Path, *, at_import: bool = False) -> Iterator[str]:
    """Full names of what a file imports; relative imports count as their full name.

    Args:
        at_import: only what runs when the file is imported: neither inside functions nor for type checkers.
    """

    def visit(node: ast.AST) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                home = child.module or ""
                if child.level:
                    here = ("facelet", *path.relative_to(SOURCE).parts[:-1])
                    home = ".".join((*here[: len(here) - child.level + 1], *([home] if home else [])))
                if home == "facelet":
                    yield from (f"facelet.{alias.name}" for alias in child.names)
                else:
                    yield home
            elif at_import and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.If):
                continue  # an `if` at the top of a module is TYPE_CHECKING
            else:
                yield from visit(child)

    return visit(ast.parse(path.read_text(encoding="utf-8")))


def broken_layers(path: Path) -> list[str]:
    mine = part(path)
    found = []
    for name in imported(path):
        if not name.startswith("facelet."):
            continue
        other = name.split(".")[1]
        if other == mine or other not in LAYERS:
            continue
        if LAYERS[other] >= LAYERS[mine] and (mine, other) not in EQUALS_ALLOWED:
            found.append(f"{mine} (layer {LAYERS[mine]}) imports {name} (layer {LAYERS[other]})")
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_imports_go_one_way(path: Path) -> None:
    if part(path):
        assert part(path) in LAYERS, f"{path.name} has no layer; give it one in LAYERS"
        assert broken_layers(path) == []


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_heavy_packages_stay_where_they_belong(path: Path) -> None:
    roots = {name.split(".")[0] for name in imported(path)}
    wrong = {root for root in roots & set(ONLY_IN) if part(path) not in ONLY_IN[root]}
    assert not wrong, f"{path.name} imports {wrong}; only these may: {[ONLY_IN[root] for root in wrong]}"


@pytest.mark.parametrize("path", [p for p in modules() if part(p) == "cli"], ids=lambda path: path.name)
def test_the_command_line_starts_light(path: Path) -> None:
    heavy = {"numpy", "cv2", "onnx", "PIL", "matplotlib", "torch", "dlib", "onnxruntime"}
    assert not {name.split(".")[0] for name in imported(path, at_import=True)} & heavy


def test_no_module_imports_itself_by_way_of_others() -> None:
    names = {".".join(("facelet", *path.relative_to(SOURCE).with_suffix("").parts)): path for path in modules()}
    uses = {name: set(imported(path)) & set(names) - {name} for name, path in names.items()}
    assert len(tuple(graphlib.TopologicalSorter(uses).static_order())) == len(names)


def test_every_part_has_a_layer_and_every_layer_a_part() -> None:
    assert {part(path) for path in modules()} - {""} <= set(LAYERS)
    for mine, other in EQUALS_ALLOWED:
        assert LAYERS[mine] == LAYERS[other]


def test_the_reader_sees_what_it_should(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "SOURCE", tmp_path)
    folder = tmp_path / "data"
    folder.mkdir()
    file = folder / "x.py"
    file.write_text(
        "import torch.nn\nfrom facelet import cli\nfrom . import pairs\nfrom ..embedder import Embedder\n"
        "if TYPE_CHECKING:\n    import dlib\ndef f():\n    import cv2\n"
    )
    assert list(imported(file)) == ["torch.nn", "facelet.cli", "facelet.data", "facelet.embedder", "dlib", "cv2"]
    assert list(imported(file, at_import=True)) == ["torch.nn", "facelet.cli", "facelet.data", "facelet.embedder"]
    assert len(broken_layers(file)) == 2


def test_import_facelet_is_quick_and_light() -> None:
    program = (
        "import time, sys; begun = time.process_time(); import facelet; took = time.process_time() - begun; "
        "print(took, sorted({'torch', 'numpy', 'onnx', 'cv2', 'onnxruntime', 'typer'} & set(sys.modules)))"
    )
    took, heavy = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split(maxsplit=1)
    assert heavy.strip() == "[]"
    assert float(took) < 0.3


def test_every_public_name_is_there() -> None:
    import facelet

    for name in facelet.__all__:
        assert getattr(facelet, name) is not None
    with pytest.raises(AttributeError, match="offers: Average, Bench, Calibrate, Card, Distill, Embedder"):
        facelet.__getattr__("Embeder")

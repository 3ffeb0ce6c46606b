"""Invariant: `models` prints what the cards say, without running or training anything."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Ended
from facelet.model_files import LANDMARKS, SHIPPED_MODELS, WEIGHTS
from tiny_models import tiny_card, write_tiny

Cli = Callable[..., Ended]


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose weights are tiny models, one missing."""
    monkeypatch.setattr("facelet.model_files.WEIGHTS", tmp_path)
    for size, name in enumerate(SHIPPED_MODELS[:-1], start=1):
        metrics = {"lfw_view2_dlib_refined": 0.961, "lfw_view2_yunet": 0.9735}
        card = tiny_card(name=name, parameters=size * 1000, macs=41_300_000, metrics=metrics, teacher="t", licence="L")
        write_tiny(tmp_path / f"{name}.onnx", card)
    return tmp_path


@pytest.mark.usefixtures("shipped")
def test_json_is_a_list_of_objects(cli: Cli) -> None:
    ended = cli("models", "--json")
    said = json.loads(ended.out)
    assert [model["name"] for model in said] == list(SHIPPED_MODELS[:-1])
    assert said[0]["parameters"] == 1000
    assert said[0]["macs"] == 41_300_000
    assert said[0]["input"] == [16, 12]
    assert said[0]["embedding_size"] == 8
    assert said[0]["metrics"]["lfw_view2_yunet"] == 0.9735
    assert (said[0]["teacher"], said[0]["licence"]) == ("t", "L")
    assert ended.err.count("\n") == 1
    assert f"model {SHIPPED_MODELS[-1]}: its weights are not in this installation" in ended.err


@pytest.mark.usefixtures("shipped")
def test_the_table_shows_the_same(cli: Cli) -> None:
    ended = cli("models", "--quiet")
    assert ended.err == ""
    row = next(line for line in ended.out.splitlines() if SHIPPED_MODELS[0] in line)
    assert row.split() == [
        *(SHIPPED_MODELS[0], "1,000", "41.3", "M", "96.10", "%", "97.35", "%", "16x12", "8", "L", "t")
    ]


def test_a_file_may_be_named(cli: Cli, tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "own.onnx", tiny_card(name="own"))
    said = json.loads(cli("models", path, "dlib_resnet", "--json").out)
    assert [model["name"] for model in said] == ["own", "dlib_resnet"]
    assert said[0]["file_bytes"] == path.stat().st_size


def test_cards_are_read_without_torch_or_a_runtime() -> None:
    program = (
        "import sys; from facelet.cli import run; code = run(['models', '--json', '--quiet']); "
        "assert not {'torch', 'onnxruntime', 'cv2', 'dlib'} & set(sys.modules), 'heavy import'; sys.exit(code)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert len(json.loads(ended.stdout)) == len({*WEIGHTS.glob("*.onnx")} - {LANDMARKS})

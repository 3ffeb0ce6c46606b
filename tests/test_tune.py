"""Invariant: the study `tune` reads View 1 alone, goes on where it was, and tells what it tried and what matters."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from conftest import Ended
from facelet.data.pairs import Pairs
from facelet.studies import STUDIES, tune
from facelet.studies.study import Context, Photos, page
from tiny_training import tiny_set

pytest.importorskip("optuna", reason="optuna is not installed; mend with: pip install 'facelet[train]'")


@contextlib.contextmanager
def silent(_title: str) -> Iterator[Callable[[int, int], None]]:
    yield lambda _done, _total: None


def context(folder: Path, trials: int, seeds: tuple[int, ...]) -> Context:
    pairs = Pairs(("a", "b"), np.array([0]), np.array([1]), np.array([True]), np.array([0]))
    photos = Photos(pairs, lambda _: np.zeros((8, 8, 3), np.uint8), (None, None), "nothing")
    transfer = tiny_set()
    return Context(("net", "facelet_xs"), photos, transfer, transfer.crops, folder, True, seeds, 1, silent, trials)


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of trainings: the smaller the rate the better, and a seed is worth a tenth."""

    def train(_context: Context, _crops: int, _name: str, settings: dict[str, Any], **more: Any) -> Path:
        return Path(f"{0.9 - settings['learning_rate'] - more.get('seed', 0) / 10:.9f}")

    class Accuracy:
        def __init__(self, _context: Context) -> None:
            pass

        def of(self, model: Path) -> dict[str, float]:
            return {"accuracy": 50 + 40 * float(str(model)), "std": 1.0, "auc": 99.0}

    monkeypatch.setattr(tune, "_train", train)
    monkeypatch.setattr(tune, "Accuracy", Accuracy)
    monkeypatch.setattr(tune, "held_cosine", lambda model: float(str(model)))


@pytest.mark.usefixtures("untrained")
def test_rows_are_trials_the_best_again_and_the_importance(tmp_path: Path) -> None:
    rows = tune.run(context(tmp_path, 12, (0, 1, 2)))
    kinds = [row["kind"] for row in rows]
    assert kinds == ["trial"] * 12 + ["again"] * 4 + ["importance"]
    trials, again, importance = rows[:12], rows[12:16], rows[16]
    assert [row["trial"] for row in trials] == list(range(12))
    assert trials[0] | {"learning_rate": 4.0, "batch_size": 64, "optimizer": "muon", "geometry": 1.0} == trials[0]
    best = max(trials, key=lambda row: row["cosine"])
    measured = {row["trial"] for row in trials if "accuracy" in row}
    ranked = [row["trial"] for row in sorted(trials, key=lambda row: -row["cosine"])]
    assert measured == {0, *ranked[: tune.BEST]}
    assert [(row["trial"], row["seed"]) for row in again] == [(n, s) for s in (1, 2) for n in (0, best["trial"])]
    assert again[0]["cosine"] == pytest.approx(trials[0]["cosine"] - 10)
    assert max(tune.KNOBS, key=lambda name: importance[name]) == "learning_rate"
    assert tune.run(context(tmp_path, 12, (0, 1, 2))) == rows, "run again it adds nothing"
    text = page(tune.TUNE, {"rows": rows, "command": "c", "source": "s", "seeds": [0]}, "")
    assert all(line.count("|") == len(tune.TUNE.columns) + 1 for line in text.splitlines() if line.startswith("|"))


@pytest.mark.usefixtures("untrained")
def test_every_knob_stands_on_its_axis(tmp_path: Path) -> None:
    for row in tune.run(context(tmp_path, 6, (0,)))[:6]:
        assert all(0 <= tune._height(knob, row[name]) <= 1 for name, knob in tune.KNOBS.items())
    rate = tune.KNOBS["learning_rate"]
    assert tune._height(rate, 10**0.5) == pytest.approx(0.5)  # sqrt(0.5e-3 * 20e-3) = sqrt(10) e-3
    for rows in ([], [{"kind": "trial", "trial": 0, "state": "failed", "cosine": None}]):
        tune.TUNE.draw(rows, Figure())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("tune", "--view", "2"), "--view 2: the study tune tunes something"),
        (("tune", "--quick", "--view", "2"), "--view 2: the study tune tunes something"),
        (("alignment", "--quick", "--trials", "3"), "--trials: the study alignment is not a search; those are: tune"),
    ],
)
def test_what_the_study_must_not_do_is_refused(
    cli: Callable[..., Ended], tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    ended = cli("study", *arguments, "--out", tmp_path)
    assert ended.code == 2
    assert said in ended.err
    assert ended.err.count("\n") == 1


def test_view_1_is_its_own() -> None:
    assert STUDIES["tune"].views == (1,)
    assert [name for name, study in STUDIES.items() if study.views[0] != 1] == ["compatibility"]


def test_without_optuna_one_line_says_how_to_get_it(
    cli: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    ended = cli("study", "tune", "--quick", "--out", tmp_path)
    assert ended.code == 2
    assert "optuna: not installed; mend with: pip install 'facelet[train]'" in ended.err


@pytest.mark.slow
def test_the_same_command_twice_is_two_workers(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "facelet", "study", "tune", "--quick", "--trials", "4", "--out", str(tmp_path)]
    workers = [subprocess.Popen([*command, "--quiet"], stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for worker in workers:
        _, err = worker.communicate(timeout=300)
        assert worker.returncode == 0, err
    rows = json.loads((tmp_path / "tune.json").read_text())["rows"]
    assert [row["trial"] for row in rows] == [0, 1, 2, 3, "importance"]
    models = sorted((tmp_path / "tune-quick-runs").glob("trial-*/model.onnx"))
    assert len(models) == 4
    written = [path.stat().st_mtime_ns for path in models]
    subprocess.run([*command, "--quiet"], check=True)
    assert [path.stat().st_mtime_ns for path in models] == written
    assert json.loads((tmp_path / "tune.json").read_text())["rows"] == rows

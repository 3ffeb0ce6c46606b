"""The demo: invariant of the whole way on a tiny teacher, and its refusals."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from conftest import Ended
from facelet import model_files
from facelet.canvas import embed_canvas
from facelet.data.synthetic import synthetic_pairs
from facelet.embedder import Embedder
from facelet.evaluate.report import verify_pairs
from facelet.jobs.demo_run import LOCK as DEMO_LOCK
from facelet.jobs.demo_run import MARK, PAIRS_SEED_STEP
from facelet.lock import take
from facelet.train.files import LOCK
from tiny_models import tiny_card, tiny_onnx

QUICK = ("--identities", 20, "--photos", 4, "--epochs", 1, "--pairs", 40, "--threads", 1)


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    """A 128-d teacher that runs in microseconds."""
    path = tmp_path / "teacher.onnx"
    card = tiny_card(embedding_size=128, name="tiny teacher")
    onnx.save(model_files.with_card(tiny_onnx(embedding_size=128), card), path)
    return path


@pytest.mark.slow
def test_the_whole_way(cli: Callable[..., Ended], teacher: Path, tmp_path: Path) -> None:
    """Invariant: table with teacher, fresh and distilled student; a page that needs no other file; twice in a row."""
    for _ in range(2):
        ended = cli("demo", "--out", tmp_path / "demo", "--teacher", teacher, "--json", "--quiet", *QUICK)
        assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    roles = [model["role"] for model in found["models"]]
    assert roles[:3] == ["teacher", "fresh student", "distilled student"]
    pairs, crops = synthetic_pairs(40, PAIRS_SEED_STEP)
    for role, path in (("teacher", teacher), ("distilled student", tmp_path / "demo" / "student" / "model.onnx")):
        again = verify_pairs(embed_canvas(Embedder.load(path, threads=1), crops), pairs)
        shown = found["models"][roles.index(role)]["synthetic"]
        assert (shown["accuracy"], shown["auc"], shown["n_pairs"]) == (again.accuracy, again.auc, 40)
    page = Path(found["page"]).read_text()
    assert page.count("data:image/png;base64,") == 4
    assert page.count("data:image/jpeg;base64,") == 1
    assert not re.search(r"(src|href)=\"(?!data:)", page)


def test_a_missing_teacher_is_refused_at_once(cli: Callable[..., Ended], tmp_path: Path) -> None:
    """Invariant: one line and exit code 2 before anything is sampled."""
    ended = cli("demo", "--out", tmp_path / "demo", "--teacher", tmp_path / "no.onnx", *QUICK)
    assert ended.code == 2
    assert "no.onnx" in ended.err
    assert len(ended.err.strip().splitlines()) == 1
    assert not (tmp_path / "demo").exists()


def test_what_no_demo_made_is_left_alone(cli: Callable[..., Ended], teacher: Path, tmp_path: Path) -> None:
    thesis = tmp_path / "demo" / "student" / "thesis.txt"
    thesis.parent.mkdir(parents=True)
    thesis.write_text("years of work")
    ended = cli("demo", "--quiet", "--out", tmp_path / "demo", "--teacher", teacher, *QUICK)
    assert ended.code == 2
    assert "is not the student of an earlier demo; give another --out" in ended.err
    assert thesis.read_text() == "years of work"


def test_a_student_that_is_being_trained_is_left_alone(
    cli: Callable[..., Ended], teacher: Path, tmp_path: Path
) -> None:
    student = tmp_path / "demo" / "student"
    student.mkdir(parents=True)
    (student / "options.json").write_text(json.dumps({"name": f"facelet_xs{MARK}"}))
    held = take(student / LOCK)
    assert held is not None
    with held:
        ended = cli("demo", "--quiet", "--out", tmp_path / "demo", "--teacher", teacher, *QUICK)
    assert ended.code == 2
    assert "another process trains there; wait for it or give another --out" in ended.err
    assert (student / "options.json").exists()


def test_two_demos_do_not_share_a_folder(cli: Callable[..., Ended], teacher: Path, tmp_path: Path) -> None:
    held = take(tmp_path / "demo" / DEMO_LOCK)
    assert held is not None
    with held:
        ended = cli("demo", "--quiet", "--out", tmp_path / "demo", "--teacher", teacher, *QUICK)
    assert ended.code == 2
    assert "another demo runs there; wait for it or give another --out" in ended.err
    assert not (tmp_path / "demo" / "student").exists()


@pytest.mark.parametrize("wrong", [("--epochs", 0), ("--student", "nonsense"), ("--pairs", 50)])
def test_an_earlier_student_stays_where_the_options_are_wrong(
    cli: Callable[..., Ended], teacher: Path, tmp_path: Path, wrong: tuple[object, ...]
) -> None:
    student = tmp_path / "demo" / "student"
    student.mkdir(parents=True)
    (student / "options.json").write_text(json.dumps({"name": f"facelet_xs{MARK}"}))
    (student / "model.onnx").write_text("an hour of training")
    assert cli("demo", "--quiet", "--out", tmp_path / "demo", "--teacher", teacher, *QUICK, *wrong).code == 2
    assert (student / "model.onnx").read_text() == "an hour of training"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--pairs", 50), "multiple of 20"),
        (("--student", "mobilnet"), "mobilenet"),
        (("--epochs", 0), "--epochs: must be above 0"),
        (("--data", "nowhere"), "nowhere"),
        (("--lfw-view", 3, "--data", "."), "views 1 and 2"),
    ],
)
def test_wrong_arguments_are_refused(
    cli: Callable[..., Ended], teacher: Path, tmp_path: Path, arguments: tuple[object, ...], told: str
) -> None:
    """Invariant: one line that names the value."""
    ended = cli("demo", "--quiet", "--out", tmp_path / "demo", "--teacher", teacher, *QUICK, *arguments)
    assert ended.code == 2
    assert told in ended.err
    assert len(ended.err.strip().splitlines()) == 1

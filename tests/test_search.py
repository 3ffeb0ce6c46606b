"""Invariant: a search makes the trials that were asked for, each once, whoever runs them and whatever cuts it short."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from facelet.errors import InputError, MissingExtraError
from facelet.lock import alone, take
from facelet.studies.search import Attempt, Knob, Search, StoppedEarlyError

pytest.importorskip("optuna", reason="optuna is not installed; mend with: pip install 'facelet[train]'")

KNOBS = {"x": Knob("x", -1.0, 1.0), "y": Knob("y", 1e-3, 1.0, log=True), "z": Knob("z", choices=("a", "b"))}
FIRST = {"x": 0.5, "y": 0.1, "z": "b"}


def search(folder: Path, about: str = "this") -> Search:
    return Search(folder, KNOBS, FIRST, about, 0)


def value(attempt: Attempt) -> float:
    return 1.0 - float(attempt.settings["x"]) ** 2


def test_a_lock_is_held_once_and_let_go(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lock"
    held = take(path)
    assert held is not None
    assert take(path) is None
    held.close()
    with alone(path):
        assert take(path) is None
    again = take(path)
    assert again is not None
    again.close()


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    program = f"import pathlib, time; from facelet.lock import take; held = take(pathlib.Path({str(tmp_path)!r}) / 'l')"
    holder = subprocess.Popen(
        [sys.executable, "-c", f"{program}; print('held', flush=True); time.sleep(60)"], stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert take(tmp_path / "l") is None
        holder.kill()
    held = take(tmp_path / "l")
    assert held is not None
    held.close()


def test_a_lock_where_nothing_can_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("where a folder should be")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "folder", tmp_path / "file" / "lock", tmp_path / ("n" * 300)):
        with pytest.raises(InputError, match="cannot be written"):
            take(path)
        with pytest.raises(InputError, match="cannot be written"), alone(path):
            pass


def test_trial_0_is_the_defaults_and_running_again_adds_only_what_is_missing(tmp_path: Path) -> None:
    found = search(tmp_path)
    found.run(3, value)
    three = found.trials()
    assert [trial.number for trial in three] == [0, 1, 2]
    assert three[0].settings == FIRST
    assert three[0].value == 0.75
    more = search(tmp_path)
    more.run(3, value)
    assert more.trials() == three
    more.run(8, value)
    assert more.trials()[:3] == three
    assert len(more.trials()) == 8
    assert all(-1 <= trial.settings["x"] <= 1 and 1e-3 <= trial.settings["y"] <= 1 for trial in more.trials())
    whole = search(tmp_path / "whole")
    whole.run(8, value)
    assert whole.trials() == more.trials(), "what is drawn does not depend on where a search was stopped"


def test_an_attempt_that_was_cut_is_gone_on_with(tmp_path: Path) -> None:
    cut = {}

    def stop(attempt: Attempt) -> float:
        if attempt.number == 2:
            attempt.report(0, 0.25)
            cut.update(attempt.settings)
            raise KeyboardInterrupt
        return value(attempt)

    with pytest.raises(KeyboardInterrupt):
        search(tmp_path).run(5, stop)
    seen = []

    def go_on(attempt: Attempt) -> float:
        seen.append((attempt.number, attempt.settings))
        attempt.report(0, 99.0)  # was said already: the first word counts
        return value(attempt)

    resumed = search(tmp_path)
    resumed.run(5, go_on)
    assert [number for number, _ in seen] == [2, 3, 4]
    assert seen[0][1] == cut
    assert [trial.state for trial in resumed.trials()] == ["finished"] * 5
    assert resumed.trials()[2].parts == {0: 0.25}


def test_what_is_behind_is_stopped_early_and_counts(tmp_path: Path) -> None:
    def behind(attempt: Attempt) -> float:
        late = attempt.number >= 6
        for part in range(3):
            attempt.report(part, 0.1 if late else 0.5 + 0.01 * attempt.number)
        return 1.0

    found = search(tmp_path)
    found.run(8, behind)
    states = [(trial.state, trial.value, sorted(trial.parts)) for trial in found.trials()]
    assert states[:6] == [("finished", 1.0, [0, 1, 2])] * 6
    assert states[6:] == [("stopped early", None, [0, 1])] * 2, "never after the first part"


def test_what_diverges_counts_and_is_not_the_end(tmp_path: Path) -> None:
    def diverge(attempt: Attempt) -> float:
        if attempt.number == 1:
            raise StoppedEarlyError
        return value(attempt)

    found = search(tmp_path)
    found.run(3, diverge)
    assert [trial.state for trial in found.trials()] == ["finished", "stopped early", "finished"]


def test_importance_finds_the_knob_that_matters(tmp_path: Path) -> None:
    found = search(tmp_path)
    found.run(1, value)
    assert found.importance() == {}
    found.run(16, value)
    shares = found.importance()
    assert set(shares) == set(KNOBS)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["x"] > 0.8
    assert search(tmp_path).importance() == shares


def test_another_search_is_refused(tmp_path: Path) -> None:
    search(tmp_path).run(1, value)
    with pytest.raises(InputError, match="a search about something else"):
        search(tmp_path, "that")
    (tmp_path / "search.sqlite").unlink()
    (tmp_path / "trial-000").mkdir()
    with pytest.raises(InputError, match="holds trials of a search that is gone"):
        search(tmp_path)


def test_without_optuna_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError, match=r"optuna: not installed; mend with: pip install 'facelet\[train\]'"):
        search(tmp_path)


WORKER = """
import json, os, sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_search import search, value

def slow(attempt):
    print(json.dumps([attempt.number, os.getpid()]), flush=True)
    attempt.report(0, 0.0)
    time.sleep({seconds})
    return value(attempt)

search(Path({folder!r})).run({wanted}, slow)
"""


def worker(folder: Path, wanted: int, seconds: float) -> subprocess.Popen[str]:
    program = WORKER.format(tests=str(Path(__file__).parent), folder=str(folder), wanted=wanted, seconds=seconds)
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_processes_that_start_together_share_the_trials(tmp_path: Path) -> None:
    workers = [worker(tmp_path, 6, 0.2) for _ in range(2)]
    said = []
    for process in workers:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        said += [json.loads(line) for line in out.splitlines()]
    assert sorted(number for number, _ in said) == list(range(6)), "each trial once, and no more than asked for"
    assert len(Counter(pid for _, pid in said)) == 2, "both had work"
    found = search(tmp_path).trials()
    assert [trial.state for trial in found] == ["finished"] * 6
    assert len({trial.settings["x"] for trial in found}) == 6, "none drew what another drew"


def test_a_killed_process_leaves_its_trial_to_the_other(tmp_path: Path) -> None:
    killed = worker(tmp_path, 3, 600)
    with killed:
        assert killed.stdout is not None
        assert json.loads(killed.stdout.readline())[0] == 0
        other = worker(tmp_path, 3, 0)
        assert other.stdout is not None
        assert [json.loads(other.stdout.readline())[0] for _ in range(2)] == [1, 2]
        os.kill(killed.pid, signal.SIGKILL)
    out, err = other.communicate(timeout=60)
    assert other.returncode == 0, err
    assert [json.loads(line)[0] for line in out.splitlines()] == [0]
    assert [trial.state for trial in search(tmp_path).trials()] == ["finished"] * 3


def test_a_trial_under_way_belongs_to_its_process(tmp_path: Path) -> None:
    first, second = search(tmp_path), search(tmp_path)
    mine = first._next(2)
    theirs = second._next(2)
    assert mine is not None
    assert theirs is not None
    assert (mine[0].number, theirs[0].number) == (0, 1)
    with closing(mine[1]), closing(theirs[1]):
        assert first._next(2) is None


def damaged(kind: str, file: Path) -> None:
    """Damages the file of a search in one of several ways."""
    whole = file.read_bytes()
    if kind == "without a table":
        with closing(sqlite3.connect(file)) as connection:
            connection.executescript("DROP TABLE studies")
        return
    file.write_bytes(
        {
            "cut off": whole[:30_000],
            "cut short": whole[:50],
            "of another kind": b"hello" * 5000,
            "overwritten at its head": bytes(100) + whole[100:],
            "overwritten within": whole[:8192] + b"\xff" * 20_000 + whole[28_192:],
        }[kind]
    )


@pytest.mark.parametrize(
    "kind",
    ["cut off", "cut short", "of another kind", "overwritten at its head", "overwritten within", "without a table"],
)
def test_a_damaged_file_is_one_line(tmp_path: Path, kind: str) -> None:
    search(tmp_path).run(3, value)
    damaged(kind, tmp_path / "search.sqlite")
    refused = r"search\.sqlite: the search cannot be used \(.*\); give another --out"
    with pytest.raises(InputError, match=refused) as told:
        search(tmp_path).run(4, value)
    assert "\n" not in str(told.value)


def test_a_file_that_another_program_holds_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facelet.studies.search.LOCK_LIMIT_S", 0.1)
    begun = search(tmp_path)
    with closing(sqlite3.connect(tmp_path / "search.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(InputError, match=r"database is locked\); end the program that uses it"):
            begun.run(3, value)

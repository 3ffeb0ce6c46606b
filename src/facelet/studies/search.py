"""A search over settings that several processes share and that goes on where it was stopped, by Optuna.

Its state is one SQLite file. A process that runs a trial holds that trial's lock; when it ends early, however that
happens, the lock is free and the next process goes on with the very trial.

Source: Akiba et al., "Optuna: A next-generation hyperparameter optimization framework", KDD 2019.
"""

from __future__ import annotations

import errno
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facelet.atomic import cannot_write
from facelet.errors import FaceletError, InputError, training_extra
from facelet.lock import alone, take

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

NAME = "search"
STARTUP = 6
"""Trials that end in full before any is stopped early."""

PAUSE_S = 0.5

LOCK_LIMIT_S = 60.0
"""Time that another process may keep the file to itself."""


class StoppedEarlyError(Exception):
    """A trial that is not worth its remaining steps; raised through the training loop to end it."""


@dataclass(frozen=True)
class Knob:
    """One setting that is searched: a range, or a choice.

    Attributes:
        heading: short, for tables and plots.
        low: end of the range.
        high: other end of it.
        log: whether its logarithm is what is drawn evenly.
        choices: in place of a range.
        unit: what one unit of the table's column is worth.
    """

    heading: str
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    choices: tuple[str | int | float, ...] = ()
    unit: float = 1.0


@dataclass(frozen=True)
class Trial:
    """One trial as it stands.

    Attributes:
        number: from 0, in the order of their beginnings.
        state: "finished", "stopped early", "running" or "failed".
        settings: by name.
        value: at its end; None before that.
        parts: values on the way, by part of the run.
    """

    number: int
    state: str
    settings: dict[str, Any]
    value: float | None
    parts: dict[int, float]


@contextmanager
def stored(file: Path) -> Iterator[None]:
    """Around what reads or writes the SQLite file of a search.

    Raises:
        InputError: it is damaged, locked by another program, cannot be written, or holds no search of this Optuna's.
        DiskFullError: the disk is full.
    """
    from optuna.exceptions import OptunaError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except FaceletError:
        raise
    except (SQLAlchemyError, OptunaError, sqlite3.Error, KeyError, RuntimeError, ValueError) as error:
        raise _refusal(file, error) from error


def _refusal(file: Path, error: BaseException) -> FaceletError:
    """The error for one of the SQLite file, whose reason is SQLite's own, below those of the layers above it."""
    causes = [error]
    while (deeper := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(deeper)
    told = next((cause for cause in reversed(causes) if isinstance(cause, sqlite3.Error)), error)
    reason = str(told).strip("'").partition("\n")[0]
    if "is full" in reason:
        return cannot_write(file, OSError(errno.ENOSPC, reason))
    mend = "end the program that uses it" if "locked" in reason else f"give another --out, or delete {file.parent}"
    return InputError(f"{file}: the search cannot be used ({reason}); {mend}")


class Attempt:
    """A trial that this process runs.

    Attributes:
        number: of the trial.
        settings: to try, by name.
    """

    def __init__(self, trial: optuna.trial.Trial, file: Path) -> None:
        self._trial, self._file = trial, file
        self.number: int = trial.number
        self.settings: dict[str, Any] = trial.params
        self._reported = set(trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values)

    def report(self, part: int, value: float) -> None:
        """Says how far the trial has come after a part of its run, counted from 0.

        Raises:
            StoppedEarlyError: it is not worth going on.
        """
        with stored(self._file):
            if part not in self._reported:
                self._trial.report(value, part)
                self._reported.add(part)
            stop = self._trial.should_prune()
        if stop:
            raise StoppedEarlyError


class Search:
    """Looks for the settings with the largest value.

    Args:
        folder: of the search; gets the SQLite file and the locks.
        knobs: what is searched, by name.
        first: the settings of trial 0.
        about: names all else that a value depends on; a search about something else is not gone on with.
        seed: of the draws; those of a trial follow from it and the trial's number.

    Raises:
        MissingExtraError: Optuna is not installed.
        InputError: the folder holds another search.
    """

    def __init__(
        self, folder: Path, knobs: Mapping[str, Knob], first: Mapping[str, Any], about: str, seed: int
    ) -> None:
        with training_extra():
            import optuna
            from sqlalchemy.pool import NullPool

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.folder, self.seed = folder, seed
        self.file = folder / f"{NAME}.sqlite"
        self._lock = folder / f"{NAME}.lock"
        self._space = {name: _distribution(knob) for name, knob in knobs.items()}

        def connect() -> sqlite3.Connection:
            return sqlite3.connect(self.file, timeout=LOCK_LIMIT_S, check_same_thread=False)

        with alone(self._lock), stored(self.file):
            # a creator, as a path may hold characters that an URL may not; no pool, so that no connection stays open
            storage = optuna.storages.RDBStorage("sqlite://", engine_kwargs={"creator": connect, "poolclass": NullPool})
            self._study = optuna.create_study(
                storage=storage,
                study_name=NAME,
                load_if_exists=True,
                direction="maximize",
                pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=1),
            )
            if self._study.user_attrs.get("about", about) != about:
                raise InputError(f"{self.file}: a search about something else; give another --out, or delete {folder}")
            if not self._study.get_trials(deepcopy=False):
                if any(folder.glob("trial-*")):
                    raise InputError(
                        f"{folder}: holds trials of a search that is gone; give another --out, or delete it"
                    )
                self._study.set_user_attr("about", about)
                self._study.enqueue_trial(dict(first))

    def run(self, wanted: int, objective: Callable[[Attempt], float]) -> None:
        """Runs trials until so many have ended, those of earlier runs and other processes included.

        Args:
            objective: the value of an attempt, or `StoppedEarlyError`.
        """
        from optuna.trial import TrialState

        while True:
            with stored(self.file):
                taken = self._next(wanted)
            if taken is None:
                if all(trial.state != "running" for trial in self.trials()):
                    return
                time.sleep(PAUSE_S)  # another process is at the last ones; should it end early, they are ours
                continue
            trial, lock = taken
            with lock:
                value, state = None, TrialState.COMPLETE
                try:
                    value = objective(Attempt(trial, self.file))
                except StoppedEarlyError:
                    state = TrialState.PRUNED
                with stored(self.file):
                    self._study.tell(trial, value, state)

    def _next(self, wanted: int) -> tuple[optuna.trial.Trial, ExitStack] | None:
        """A trial that was left behind, or else a new one, with its lock; None where there are enough."""
        import optuna
        from optuna.trial import TrialState

        with alone(self._lock):
            known = self._study.get_trials(deepcopy=False)
            for trial in known:
                lock = take(self._trial_lock(trial.number)) if trial.state == TrialState.RUNNING else None
                if lock is None:
                    continue
                if set(trial.params) == set(self._space):
                    return optuna.trial.Trial(self._study, trial._trial_id), lock
                self._study.tell(trial.number, state=TrialState.FAIL)  # its process ended before it had settings
                lock.close()
            if sum(trial.state in ("finished", "stopped early", "running") for trial in self.trials()) >= wanted:
                return None
            self._study.sampler = optuna.samplers.TPESampler(seed=self.seed * 100_003 + len(known))
            begun = self._study.ask(self._space)
            lock = take(self._trial_lock(begun.number))
            if lock is None:
                raise InputError(f"{self.file}: was replaced while another process searches; stop that one first")
            return begun, lock

    def _trial_lock(self, number: int) -> Path:
        return self.folder / f"trial-{number:03d}.lock"

    def trials(self) -> list[Trial]:
        """All trials that were begun, by number."""
        from optuna.trial import TrialState

        states = {
            TrialState.COMPLETE: "finished",
            TrialState.PRUNED: "stopped early",
            TrialState.RUNNING: "running",
            TrialState.FAIL: "failed",
        }
        with stored(self.file):
            known = self._study.get_trials(deepcopy=False)
        return [
            Trial(
                trial.number,
                states[trial.state],
                dict(trial.params),
                trial.value if trial.state == TrialState.COMPLETE else None,
                dict(trial.intermediate_values),
            )
            for trial in known
            if trial.state in states
        ]

    def importance(self) -> dict[str, float]:
        """The share of each knob in what the values of finished trials vary by; empty where they do not vary.

        Source: Hutter et al., "An efficient approach for assessing hyperparameter importance", ICML 2014 (fANOVA).
        """
        from optuna.importance import FanovaImportanceEvaluator, get_param_importances

        if len({trial.value for trial in self.trials() if trial.state == "finished"}) < 2:
            return {}
        return dict(get_param_importances(self._study, evaluator=FanovaImportanceEvaluator(seed=self.seed)))


def _distribution(knob: Knob) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if knob.choices:
        return CategoricalDistribution(knob.choices)
    return FloatDistribution(knob.low, knob.high, log=knob.log)

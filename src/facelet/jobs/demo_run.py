"""The whole way in five minutes: sample faces, let a teacher embed them, distil a student, compare, write a page."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from facelet.atomic import write_text_atomic
from facelet.canvas import embed_canvas
from facelet.data.synthetic import check_pairs, contact_sheet, synthetic_pairs
from facelet.data.synthetic_transfer import synthetic_transfer_set
from facelet.embedder import Embedder
from facelet.errors import InputError, MissingFileError, training_extra
from facelet.evaluate.report import VerificationReport, verify_pairs
from facelet.jobs.demo_config import RunDemo
from facelet.jobs.demo_page import demo_page
from facelet.jobs.training import training_progress
from facelet.lock import take_or_refuse
from facelet.model_files import SHIPPED_MODELS, find_model, load_model
from facelet.train.files import OPTIONS_FILE

if TYPE_CHECKING:
    from facelet.data.pairs import Pairs
    from facelet.events import Events
    from facelet.train.loop import Tick
    from facelet.train.options import DistillOptions

PAIRS_SEED_STEP = 1
MARK = " (demo)"
"""Ends the name of a student that a demo trained."""

LOCK = "demo.lock"
"""In the folder of a demo, held while one runs there."""

SHEET_PEOPLE, SHEET_PHOTOS, SHEET_SIDE = 6, 10, 96


@dataclass(frozen=True)
class Entry:
    """One line of the demo's table.

    Attributes:
        name: of the model.
        role: "teacher", "fresh student", "distilled student" or "shipped".
        parameters: of the net, 0 if not known.
        synthetic: figures on the held-out synthetic pairs.
        lfw: figures on LFW, or None.
    """

    name: str
    role: str
    parameters: int
    synthetic: VerificationReport
    lfw: VerificationReport | None = None


@dataclass(frozen=True)
class Demo:
    """What the demo found.

    Attributes:
        entries: the table.
        steps: training steps of the loss curve.
        losses: loss at each of `steps`.
        seconds: duration of each part.
        page: the report, one HTML file that needs no other.
    """

    entries: tuple[Entry, ...]
    steps: tuple[int, ...]
    losses: tuple[float, ...]
    seconds: dict[str, float] = field(default_factory=dict)
    page: Path = Path()

    def to_dict(self) -> dict[str, Any]:
        """The table as plain numbers."""
        return {
            "page": str(self.page),
            "seconds": self.seconds,
            "models": [
                {
                    "name": entry.name,
                    "role": entry.role,
                    "parameters": entry.parameters,
                    "synthetic": entry.synthetic.to_dict(),
                    "lfw": None if entry.lfw is None else entry.lfw.to_dict(),
                }
                for entry in self.entries
            ],
        }


def _check_own(folder: Path, record: Path) -> None:
    """Refuses a folder that is there and holds no student of an earlier demo.

    Args:
        folder: which the new student is to replace.
        record: the options of the run that made it.

    Raises:
        InputError: something else lies there.
    """
    if not folder.exists():
        return
    try:
        own = str(json.loads(record.read_text())["name"]).endswith(MARK)
    except (OSError, ValueError, KeyError, TypeError):
        own = False
    if not own:
        raise InputError(f"{folder}: is not the student of an earlier demo; give another `out`")


def run_demo(options: RunDemo, on: Events) -> Demo:
    """Runs the demo and writes `report.html`.

    Args:
        options: checked, with its threads.
        on: receives the progress.

    Raises:
        MissingFileError: the teacher's file is not there.
        MissingExtraError: training is not installed.
        InputError: something else lies in the folder, or another demo runs there.
        FaceletError: whatever sampling, training or measuring refuses.
    """
    with training_extra():
        from facelet.train.options import DistillOptions, check_options
        from facelet.train.run import take_folder
    find_model(options.teacher)
    folder = options.out / "student"
    distillation = DistillOptions(
        student=options.student,
        out=folder,
        epochs=options.epochs,
        seed=options.seed,
        threads=options.threads or 1,
        watch_every=0,
        teachers=(options.teacher,),
        name=f"{options.student}{MARK}",
    )
    check_pairs(options.n_pairs)
    with take_or_refuse(options.out / LOCK, f"{options.out}: another demo runs there"):
        _check_own(folder, folder / OPTIONS_FILE)
        if folder.exists():
            with take_folder(folder):  # an error while `distill` continues an earlier demo's student
                pass
        # that student goes only when all else is well
        check_options(replace(distillation, out=folder.with_name("new-student")))
        return _run_alone(options, distillation, on)


def _run_alone(options: RunDemo, distillation: DistillOptions, on: Events) -> Demo:
    """The demo itself, after all is checked, in a folder that no other demo works in."""
    from facelet.train.run import distill

    clock = _Clock()
    with on.progress("sampling faces") as advance:
        transfer = synthetic_transfer_set(options.identities, options.photos, options.seed, advance)
        pairs, crops = synthetic_pairs(options.n_pairs, options.seed + PAIRS_SEED_STEP)
    clock.lap("sampling")
    steps: list[int] = []
    losses: list[float] = []

    teaching, training = ExitStack(), ExitStack()
    bars: list[Callable[[Tick], None]] = []

    def tick(news: Tick) -> None:
        teaching.close()
        if not bars:
            bars.append(training.enter_context(training_progress(on)))
        if "loss" in news.figures:
            steps.append(news.step)
            losses.append(news.figures["loss"])
        bars[0](news)

    if distillation.out.exists():
        shutil.rmtree(distillation.out)
    with training, teaching:
        advance = teaching.enter_context(on.progress("teacher embeds"))
        run = distill(
            distillation,
            transfer,
            command="facelet demo",
            on_tick=tick,
            progress=lambda _what, done, total: advance(done, total),
        )
    clock.lap("teaching and training")
    entries = _measure(options, run.model, pairs, crops, on)
    clock.lap("measuring")
    page = options.out / "report.html"
    demo = Demo(tuple(entries), tuple(steps), tuple(losses), clock.seconds, page)
    people = np.asarray(transfer.crops).reshape(options.identities, options.photos, *transfer.crops.shape[1:])
    sheet = contact_sheet([photos[:SHEET_PHOTOS] for photos in people[:SHEET_PEOPLE]], SHEET_SIDE)
    columns, rows = table_rows(demo)
    html = demo_page([columns, *rows], _curves(demo), demo.steps, demo.losses, sheet, _facts(options, demo))
    write_text_atomic(page, html)
    return demo


def _measure(options: RunDemo, student: Path, pairs: Pairs, crops: NDArray[np.uint8], on: Events) -> list[Entry]:
    """Teacher, fresh student, distilled student and every shipped model on the same pairs."""
    from facelet.train.fresh import embed_fresh

    candidates: list[tuple[str, str | Path]] = [("teacher", options.teacher), ("distilled student", student)]
    candidates += [("shipped", name) for name in SHIPPED_MODELS if name != options.teacher]
    entries = []
    with on.progress("measuring") as advance:
        for done, (role, name) in enumerate(candidates):
            advance(done, len(candidates) + 1)
            try:
                model = load_model(name)
            except MissingFileError:
                if role != "shipped":
                    raise
                continue
            embedder = Embedder.load(name, threads=options.threads)
            report = verify_pairs(embed_canvas(embedder, crops), pairs, setting={"model": model.card.name})
            entries.append(Entry(model.card.name, role, model.card.parameters, report, _lfw(options, embedder)))
        embeddings, parameters = embed_fresh(options.student, options.seed, crops)
        report = verify_pairs(embeddings, pairs, setting={"model": options.student})
        entries.insert(1, Entry(options.student, "fresh student", parameters, report))
        advance(len(candidates) + 1, len(candidates) + 1)
    return entries


def _lfw(options: RunDemo, embedder: Embedder) -> VerificationReport | None:
    if options.data is None:
        return None
    from facelet.benchmark import evaluate

    return evaluate(embedder, "lfw", options.data, view=options.lfw_view)


class _Clock:
    """Seconds of each part, in the order of the laps."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._begun = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = now - self._begun
        self._begun = now


def table_rows(demo: Demo) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and cells of the demo's table, for a terminal or a page."""
    with_lfw = any(entry.lfw is not None for entry in demo.entries)
    columns = ("model", "role", "parameters", "accuracy", "AUC", "EER", *(("LFW",) if with_lfw else ()))
    rows = []
    for entry in demo.entries:
        figures = entry.synthetic
        spread = f" ± {100 * figures.accuracy_std:.2f}" if figures.accuracy_std is not None else ""
        cells = [
            entry.name,
            entry.role,
            f"{entry.parameters:,}" if entry.parameters else "-",
            f"{100 * figures.accuracy:.2f}{spread} %",
            f"{figures.auc:.4f}",
            f"{100 * figures.eer:.2f} %",
        ]
        if with_lfw:
            cells.append("-" if entry.lfw is None else f"{100 * entry.lfw.accuracy:.2f} %")
        rows.append(tuple(cells))
    return columns, rows


def _curves(demo: Demo) -> dict[str, VerificationReport]:
    return {
        entry.name if entry.role == "shipped" else f"{entry.name}, {entry.role}": entry.synthetic
        for entry in demo.entries
    }


def _facts(options: RunDemo, demo: Demo) -> list[tuple[str, str]]:
    facts = [
        ("transfer set", f"{options.identities * options.photos:,} photos of {options.identities:,} synthetic people"),
        ("training", f"{options.epochs:g} epochs from scratch, mean squared error to the teacher's unit embeddings"),
        ("measured on", f"{options.n_pairs:,} pairs of other synthetic people, 10 folds"),
        ("seed", str(options.seed)),
    ]
    if options.data is not None:
        facts.append(("LFW", f"View {options.lfw_view}, faces found by dlib"))
    facts += [(f"time for {name}", f"{seconds:.0f} s") for name, seconds in demo.seconds.items()]
    return facts

"""What the jobs that train nets share: progress of a training, a View-1 watcher, notes on slow or unusual choices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facelet.errors import ModelError
from facelet.events import Advance, Events
from facelet.jobs.crops import DetectorChoice, open_detector

if TYPE_CHECKING:
    from facelet.train.loop import Tick, Watcher
    from facelet.train.options import StudentOptions


@contextmanager
def training_progress(on: Events) -> Iterator[Callable[[Tick], None]]:
    """Progress of a training: step, loss, images per second, the latest validation."""
    from facelet.train.triplet import training_note

    figures: dict[str, float] = {}
    noted = {""}
    with on.progress("training") as advance:

        def tick(tick: Tick) -> None:
            figures.update(tick.figures)
            if (note := training_note(figures)) not in noted:
                noted.add(note)
                on.note(f"step {tick.step}: {note}")
            shown = {k: v for k, v in figures.items() if not k.startswith("hint")}
            advance(tick.step, tick.steps, "  ".join(f"{k.replace('_', ' ')} {v:.4g}" for k, v in shown.items()))

        yield tick


@contextmanager
def teacher_progress(on: Events) -> Iterator[Callable[[str, int, int], None]]:
    """Progress of teachers that embed a transfer set, one after another."""
    with ExitStack() as stack:
        bars: dict[str, Advance] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in bars:
                stack.close()
                bars[what] = stack.enter_context(on.progress(what))
            bars[what](done, total)

        yield report


def view1_watcher(lfw: Path | None, options: StudentOptions, choice: DetectorChoice, on: Events) -> Watcher | None:
    """Measures a student's accuracy on LFW's View 1; None without `lfw`.

    Args:
        lfw: LFW's folder.
        options: of the training; the photos are cropped as its student and recipe need.
        choice: the detector.
        on: receives the progress of the crops.

    Raises:
        FaceletError: LFW or the detector cannot be read.
    """
    if lfw is None:
        return None
    from facelet.cache import cache_dir
    from facelet.data.lfw import load_lfw
    from facelet.data.views import RECIPES
    from facelet.evaluate.verification import fold_accuracy, pair_distances
    from facelet.faces.crops import CropCache, crop_benchmark
    from facelet.nets import build_net
    from facelet.train.measure import embed_pixels

    template = RECIPES[options.recipe].template
    size = int(build_net(options.student).input_size)  # type: ignore[arg-type]
    finder = open_detector(choice)
    pairs, root = load_lfw(lfw, view=1, cache_dir=cache_dir())
    paths = [root / key for key in pairs.images]
    with on.progress("LFW View 1 crops") as advance:
        crops = crop_benchmark(paths, finder, template, size, size, CropCache(cache_dir() / "crops"), advance).crops

    def watch(net: Any) -> dict[str, float]:
        distances = pair_distances(embed_pixels(net, crops), pairs)
        return {"view1": float(fold_accuracy(distances, pairs).accuracies[1])}

    return watch


def note_precision(precision: str, device: str, on: Events) -> None:
    """Notes where bfloat16 costs time."""
    from facelet.nets.bfloat16 import has_bfloat16

    if precision == "bf16" and device == "cpu" and not has_bfloat16():
        on.note("bf16: this processor does not multiply bfloat16; fp32 is several times faster on it")


def note_resolution(warm_start: Path | None, student: str, on: Events) -> None:
    """Notes where a warm start comes from a file of another input size: the kernels fit, the embedding changes."""
    if warm_start is None or warm_start.suffix != ".onnx" or not warm_start.is_file():
        return
    from facelet.model_files import load_model
    from facelet.nets import build_net
    from facelet.nets.scaled import at_resolution

    try:
        theirs = load_model(warm_start).card.height
    except ModelError:  # a file without a card may still hold the net
        return
    own = int(build_net(student).input_size)  # type: ignore[arg-type]
    if theirs != own:
        on.note(
            f"{warm_start}: takes {theirs} pixels, {student} takes {own}: the kernels are a start, the embedding is "
            f"learned again ({at_resolution(student, theirs)} continues from it)"
        )

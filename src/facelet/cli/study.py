"""`facelet study`: an experiment as a command, its results as JSON, its page rebuilt from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facelet.cli.options import BackendOption, DetectorModelOption, DetectorOption, open_detector, refuse_idle
from facelet.cli.output import JsonOption, Output, QuietOption, SeedOption
from facelet.errors import InputError, MissingFileError, UnknownNameError
from facelet.faces import DEFAULT_DETECTOR
from facelet.threads import MOST_THREADS

if TYPE_CHECKING:
    from facelet.data.transfer import TransferSet
    from facelet.studies.study import Photos, Study

QUICK_PAIRS, QUICK_CROPS, QUICK_TRIALS = 200, 200, 2
SEEDS = 3
LEARNED = 4000
"""Crops of the transfer set that a map is fitted on."""


def study(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Of the study; all are listed without.")] = None,
    data: Annotated[
        Path | None, typer.Option("--data", envvar="FACELET_DATA", help="LFW's folder.", show_default="synthetic faces")
    ] = None,
    transfer: Annotated[
        Path | None, typer.Option("--transfer", help="Shards of crops to fit on.", show_default="synthetic faces")
    ] = None,
    model: Annotated[list[str] | None, typer.Option("--model", help="In place of the study's own; repeat.")] = None,
    view: Annotated[
        int | None, typer.Option("--view", help="Of LFW.", show_default="1; 2 where nothing is chosen")
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option("--seeds", min=1, help="Runs of what is random.", show_default="3; 1 with --quick"),
    ] = None,
    trials: Annotated[int | None, typer.Option("--trials", min=1, help="Of a search, earlier runs included.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Synthetic faces and two models: under two minutes.")] = False,
    pages: Annotated[
        bool, typer.Option("--pages", help="Rebuild every page in --out from its JSON; runs nothing.")
    ] = False,
    out: Annotated[Path, typer.Option("--out", help="Folder of JSON, plot and page.")] = Path("runs/study"),
    detector: DetectorOption = DEFAULT_DETECTOR,
    detector_model: DetectorModelOption = None,
    threads: Annotated[
        int, typer.Option("--threads", min=1, max=MOST_THREADS, help="CPU threads of the networks.")
    ] = 1,
    backend: BackendOption = None,
    json_: JsonOption = False,
    quiet: QuietOption = False,
    seed: SeedOption = 0,
) -> None:
    """Run an experiment and write its page."""
    import numpy as np

    from facelet.atomic import check_folder
    from facelet.backends import check_backend
    from facelet.studies import STUDIES
    from facelet.studies.study import Context, cell

    show = Output(json_, quiet)
    if pages:
        _rebuild(out, show)
        return
    if name is None:
        show.value([{"name": s.name, "title": s.title, "question": s.question} for s in STUDIES.values()])
        show.table("Studies", ("name", "about"), [(s.name, s.title) for s in STUDIES.values()])
        return
    if name not in STUDIES:
        raise UnknownNameError("study", name, STUDIES)
    if quick:
        refuse_idle(context, "with --quick, which has synthetic faces", "--data", "--transfer")
    check_folder(out)
    check_backend(backend)
    chosen = STUDIES[name]
    measured = _view(chosen, view)
    if trials is not None and not chosen.trials:
        searches = ", ".join(s.name for s in STUDIES.values() if s.trials)
        raise InputError(f"--trials: the study {name} is no search; those are: {searches}")
    if seeds is not None and not chosen.seeded:
        raise InputError(f"--seeds: the study {name} draws its crops once, by --seed; leave it out")
    photos = _synthetic(seed) if quick or data is None else _lfw(data, measured, detector, detector_model, show)
    models = tuple(model) if model else chosen.models[:2] if quick else chosen.models
    crops = _transfer(None if quick else transfer, detector, detector_model, seed, show)
    chosen_rows = np.sort(np.random.default_rng(seed).permutation(crops.n_images)[:LEARNED])
    learn = np.ascontiguousarray(crops.crops[chosen_rows])
    own_seeds = tuple(range(seed, seed + (seeds or (1 if quick or not chosen.seeded else SEEDS))))
    runs = out / (f"{name}-quick-runs" if quick else f"{name}-runs")
    wanted = trials or (min(QUICK_TRIALS, chosen.trials) if quick else chosen.trials)
    setting = Context(
        models, photos, crops, learn, runs, quick, own_seeds, threads, show.progress, trials=wanted, backend=backend
    )
    rows = chosen.run(setting)
    result: dict[str, Any] = {
        "study": name,
        "source": photos.source,
        "seeds": list(own_seeds),
        "command": _command(
            chosen,
            None if quick else _told_data(data, transfer, measured, detector),
            own_seeds,
            model or (),
            trials,
            backend,
        ),
        "rows": rows,
    }
    _write(chosen, result, out)
    show.value(result)
    titles = [title for _, title in chosen.columns]
    cells = [tuple(cell(row.get(key), title) for key, title in chosen.columns) for row in rows]
    show.table(chosen.title, titles, cells)
    show.note(f"written: {out / name}.json, .png and .md")


def _view(study: Study, wanted: int | None) -> int:
    """The view of LFW to measure on.

    Raises:
        InputError: there is none of that number, or the study may not be measured on it.
    """
    if wanted not in (None, 1, 2):
        raise InputError(f"--view: {wanted} is not known; LFW has views 1 and 2")
    if wanted == 2 and 2 not in study.views:
        raise InputError(
            f"--view 2: the study {study.name} chooses by what it sees; View 2 is never read, use --view 1"
        )
    return study.views[0] if wanted is None else wanted


def _told_data(data: Path | None, transfer: Path | None, view: int, detector: str) -> str:
    """The options of a study's command that tell what it was run on."""
    photos = "" if data is None else f" --data LFW --view {view} --detector {detector}"
    return photos + ("" if transfer is None else " --transfer SHARDS")


def _command(
    study: Study,
    told_data: str | None,
    seeds: tuple[int, ...],
    models: Sequence[str],
    trials: int | None,
    backend: str | None,
) -> str:
    """The command of a page, without anybody's paths.

    Args:
        told_data: options of what it was run on; None with `--quick`.
    """
    runs = f" --seed {seeds[0]}" if seeds[0] else ""
    runs += f" --seeds {len(seeds)}" if study.seeded and (told_data is not None or len(seeds) > 1) else ""
    named = "".join(f" --model {Path(model).name}" for model in models)
    named += "" if trials is None else f" --trials {trials}"
    named += f" --backend {backend}" if backend else ""
    return f"facelet study {study.name}{' --quick' if told_data is None else told_data}{runs}{named}"


def _write(study: Study, result: dict[str, Any], out: Path) -> None:
    import json

    from facelet.atomic import write_text_atomic
    from facelet.studies.study import page, save_plot

    notes = out / f"{study.name}.notes.md"
    write_text_atomic(out / f"{study.name}.json", json.dumps(result, indent=1) + "\n")
    save_plot(study, result["rows"], out / f"{study.name}.png")
    write_text_atomic(out / f"{study.name}.md", page(study, result, notes.read_text() if notes.exists() else ""))


def _rebuild(out: Path, show: Output) -> None:
    import json

    from facelet.studies import STUDIES

    made = []
    for study in STUDIES.values():
        path = out / f"{study.name}.json"
        if not path.exists():
            continue
        try:
            result = json.loads(path.read_text())
            _write(study, result, out)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}: no results of a study ({error}); run facelet study {study.name} again"
            ) from error
        made.append(study.name)
    if not made:
        raise InputError(f"--out {out}: holds no results of a study")
    show.value({"rebuilt": made})
    show.note(f"rebuilt in {out}: {', '.join(made)}")


def _lfw(data: Path, view: int, detector: str, detector_model: Path | None, show: Output) -> Photos:
    from facelet.assets import cache_dir
    from facelet.benchmark import check_request
    from facelet.data.lfw import load_lfw
    from facelet.faces.crops import CropCache, benchmark_faces
    from facelet.faces.images import read_image
    from facelet.studies.study import Photos

    check_request("lfw", data, view)
    if not data.is_dir():
        raise MissingFileError(f"{data}: a study needs LFW's folder of photos")
    pairs, root = load_lfw(data, view=view, cache_dir=cache_dir())
    paths = [root / key for key in pairs.images]
    with show.progress("faces") as advance:
        faces = benchmark_faces(
            paths, open_detector(detector, detector_model), CropCache(cache_dir() / "crops"), advance
        )
    return Photos(pairs, lambda index: read_image(paths[index]), faces, f"LFW View {view}, {detector}")


def _synthetic(seed: int) -> Photos:
    """Synthetic people on the canvas, whose landmarks are the template's."""
    from facelet.data.synthetic import synthetic_pairs
    from facelet.faces.canvas import CANVAS_POINTS
    from facelet.faces.detect import Face
    from facelet.studies.study import Photos

    pairs, crops = synthetic_pairs(QUICK_PAIRS, seed=seed)
    (left, top), (right, bottom) = CANVAS_POINTS.min(axis=0), CANVAS_POINTS.max(axis=0)
    width, height = right - left, bottom - top
    box = (left - 0.45 * width, top - 0.9 * height, right + 0.45 * width, bottom + 0.6 * height)
    face = Face(box=tuple(float(v) for v in box), score=1.0, landmarks=CANVAS_POINTS, scheme="five")  # type: ignore[arg-type]
    return Photos(pairs, lambda index: crops[index], (face,) * len(crops), f"{QUICK_PAIRS} synthetic pairs")


def _transfer(
    transfer: Path | None, detector: str, detector_model: Path | None, seed: int, show: Output
) -> TransferSet:
    if transfer is None:
        from facelet.data.synthetic_transfer import synthetic_transfer_set

        return synthetic_transfer_set(QUICK_CROPS, 1, seed)
    from facelet.jobs.crops import CropSource, open_crops

    return open_crops(CropSource(data=transfer, detector=detector, detector_model=detector_model), seed, show)

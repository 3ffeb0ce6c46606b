"""The job `study`: one experiment on photos and crops, its results as JSON, a plot and a page."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from facelet.config import Option, check_config, reject_unused
from facelet.errors import InputError, MissingFileError, OptionError, UnknownNameError
from facelet.events import SILENT, Events
from facelet.jobs.crops import CropSource, DetectorChoice, open_crops, open_detector
from facelet.jobs.data_folder import data_folder
from facelet.threads import MOST_THREADS

if TYPE_CHECKING:
    from facelet.data.transfer import TransferSet
    from facelet.studies.study import Photos, Study

QUICK_PAIRS, QUICK_CROPS, QUICK_TRIALS = 200, 200, 2
SEEDS = 3
LEARNED = 4000
"""Crops of the transfer set that a map is fitted on."""


@dataclass(frozen=True, kw_only=True)
class RunStudy(DetectorChoice):
    """Config of the job `study`."""

    name: Annotated[str | None, Option("Name of the study; without it all are listed.", argument="NAME")] = None
    data: Annotated[Path | None, Option("LFW's folder.", shown_default="FACELET_DATA, else synthetic faces")] = None
    transfer: Annotated[Path | None, Option("Shards of crops to fit on.", shown_default="synthetic faces")] = None
    models: Annotated[
        tuple[str, ...], Option("Models in place of the study's own; repeat for several.", flag="--model")
    ] = ()
    view: Annotated[int | None, Option("View of LFW.", shown_default="1; 2 where the study chooses nothing")] = None
    seeds: Annotated[int | None, Option("How many seeds to run.", min=1, shown_default="3; 1 for a quick study")] = None
    trials: Annotated[int | None, Option("Trials of a search, earlier runs included.", min=1)] = None
    quick: Annotated[bool, Option("Synthetic faces and two models: under two minutes.")] = False
    pages: Annotated[bool, Option("Rebuild every page in the folder from its JSON; runs nothing.")] = False
    out: Annotated[Path, Option("Folder of JSON, plot and page.")] = Path("runs/study")
    threads: Annotated[int, Option("CPU threads of the networks.", min=1, max=MOST_THREADS)] = 1
    backend: Annotated[
        str | None,
        Option("What runs the models: onnxruntime, opencl, openvino, dlib; by default chosen by the file."),
    ] = None
    seed: Annotated[int, Option("Seed of everything that is drawn at random.", min=0)] = 0


def study(config: RunStudy, *, on: Events = SILENT) -> dict[str, Any]:
    """Runs an experiment and writes its JSON, plot and page.

    Args:
        config: of the study; its `name` is given and `pages` is off.
        on: receives progress and notes.

    Returns:
        The results as they are written: study, source, seeds, command and rows.

    Raises:
        FaceletError: options that do not fit the study, or anything that it cannot read.
    """
    import numpy as np

    from facelet.atomic import check_folder
    from facelet.backends import check_backend
    from facelet.evaluate.png import check_plots
    from facelet.studies import STUDIES
    from facelet.studies.study import Context

    check_config(config)
    check_plots()
    if config.name not in STUDIES:
        raise UnknownNameError("study", config.name or "", STUDIES)
    if config.quick:
        reject_unused(config, "with `quick`, which takes synthetic faces", "data", "transfer")
    check_folder(config.out)
    check_backend(config.backend)
    chosen = STUDIES[config.name]
    view = _view(chosen, config.view)
    if config.trials is not None and not chosen.trials:
        searches = ", ".join(s.name for s in STUDIES.values() if s.trials)
        raise OptionError(f"`trials`: the study {chosen.name} is not a search; those are: {searches}")
    if config.seeds is not None and not chosen.seeded:
        raise OptionError(f"`seeds`: the study {chosen.name} draws its crops once, by `seed`; leave it out")
    data = None if config.quick else data_folder(config.data)
    photos = _synthetic(config.seed) if data is None else _lfw(data, view, config, on)
    crops = _transfer(config, on)
    rows = np.sort(np.random.default_rng(config.seed).permutation(crops.n_images)[:LEARNED])
    n_seeds = config.seeds or (1 if config.quick or not chosen.seeded else SEEDS)
    seeds = tuple(range(config.seed, config.seed + n_seeds))
    setting = Context(
        config.models or (chosen.models[:2] if config.quick else chosen.models),
        photos,
        crops,
        np.ascontiguousarray(crops.crops[rows]),
        config.out / (f"{chosen.name}-quick-runs" if config.quick else f"{chosen.name}-runs"),
        config.quick,
        seeds,
        config.threads,
        on.progress,
        trials=config.trials or (min(QUICK_TRIALS, chosen.trials) if config.quick else chosen.trials),
        backend=config.backend,
    )
    result = {
        "study": chosen.name,
        "source": photos.source,
        "seeds": list(seeds),
        "command": study_command(config, chosen, data, seeds),
        "rows": chosen.run(setting),
    }
    _write(chosen, result, config.out)
    on.note(f"written: {config.out / chosen.name}.json, .png and .md")
    return result


def rebuild_pages(out: Path) -> list[str]:
    """Writes the plot and page of every study in a folder again from its JSON; returns their names.

    Raises:
        MissingExtraError: matplotlib is not installed.
        InputError: no results, or damaged ones.
    """
    from facelet.evaluate.png import check_plots
    from facelet.studies import STUDIES

    check_plots()
    made = []
    for one in STUDIES.values():
        path = out / f"{one.name}.json"
        if not path.exists():
            continue
        try:
            _write(one, json.loads(path.read_text()), out)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}: not the results of a study ({error}); run facelet study {one.name} again"
            ) from error
        made.append(one.name)
    if not made:
        raise OptionError(f"`out` {out}: holds no results of a study")
    return made


def study_command(config: RunStudy, chosen: Study, data: Path | None, seeds: tuple[int, ...]) -> str:
    """The command of a page, without anybody's paths.

    Args:
        config: of the study.
        chosen: the study.
        data: LFW's folder; None where it ran on synthetic faces.
        seeds: that it ran with.
    """
    words = ["facelet study", chosen.name]
    if config.quick:
        words.append("--quick")
    if data is not None:
        words.append(f"--data LFW --view {_view(chosen, config.view)} --detector {config.detector}")
    if config.transfer is not None and not config.quick:
        words.append("--transfer SHARDS")
    if seeds[0]:
        words.append(f"--seed {seeds[0]}")
    if chosen.seeded and (not config.quick or len(seeds) > 1):
        words.append(f"--seeds {len(seeds)}")
    words += [f"--model {Path(model).name}" for model in config.models]
    if config.trials is not None:
        words.append(f"--trials {config.trials}")
    if config.backend:
        words.append(f"--backend {config.backend}")
    return " ".join(words)


def _view(chosen: Study, wanted: int | None) -> int:
    """The view of LFW to measure on.

    Raises:
        OptionError: there is none of that number, or the study may not be measured on it.
    """
    if wanted not in (None, 1, 2):
        raise OptionError(f"`view`: {wanted} is not known; LFW has views 1 and 2")
    if wanted == 2 and 2 not in chosen.views:
        raise OptionError(f"`view` 2: the study {chosen.name} tunes something; View 2 is only for results, use 1")
    return chosen.views[0] if wanted is None else wanted


def _write(chosen: Study, result: dict[str, Any], out: Path) -> None:
    from facelet.atomic import write_text_atomic
    from facelet.studies.study import page, save_plot

    notes = out / f"{chosen.name}.notes.md"
    write_text_atomic(out / f"{chosen.name}.json", json.dumps(result, indent=1) + "\n")
    save_plot(chosen, result["rows"], out / f"{chosen.name}.png")
    write_text_atomic(out / f"{chosen.name}.md", page(chosen, result, notes.read_text() if notes.exists() else ""))


def _lfw(data: Path, view: int, choice: DetectorChoice, on: Events) -> Photos:
    from facelet.benchmark import check_request
    from facelet.cache import cache_dir
    from facelet.data.lfw import load_lfw
    from facelet.faces.crops import CropCache, benchmark_faces
    from facelet.faces.images import read_image
    from facelet.studies.study import Photos

    check_request("lfw", data, view)
    if not data.is_dir():
        raise MissingFileError(f"{data}: a study needs LFW's folder of photos")
    pairs, root = load_lfw(data, view=view, cache_dir=cache_dir())
    paths = [root / key for key in pairs.images]
    finder = open_detector(choice)
    with on.progress("faces") as advance:
        faces = benchmark_faces(paths, finder, CropCache(cache_dir() / "crops"), advance)
    return Photos(pairs, lambda index: read_image(paths[index]), faces, f"LFW View {view}, {choice.detector}")


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


def _transfer(config: RunStudy, on: Events) -> TransferSet:
    if config.quick or config.transfer is None:
        from facelet.data.synthetic_transfer import synthetic_transfer_set

        return synthetic_transfer_set(QUICK_CROPS, 1, config.seed)
    source = CropSource(data=config.transfer, detector=config.detector, detector_model=config.detector_model)
    return open_crops(source, config.seed, on)

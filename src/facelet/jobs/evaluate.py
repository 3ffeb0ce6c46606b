"""The jobs `evaluate` and `calibrate`: a model on a benchmark, and the thresholds in its card."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from facelet.config import Option, check_config, reject_unused
from facelet.errors import InputError, OptionError
from facelet.events import SILENT, Events
from facelet.jobs.crops import DetectorChoice, open_detector
from facelet.jobs.data_folder import VARIABLE, data_folder
from facelet.threads import MOST_THREADS

if TYPE_CHECKING:
    from facelet.benchmark import Calibration
    from facelet.embedder import Embedder
    from facelet.evaluate.people_report import PeopleReport
    from facelet.evaluate.report import VerificationReport
    from facelet.model import Model

RUNS = Path("runs") / "evaluate"
"""Where reports lie without `out`."""


@dataclass(frozen=True, kw_only=True)
class _Measurement(DetectorChoice):
    """What measuring on photos needs."""

    model: Annotated[str, Option("A shipped model's name or a model file.", argument="MODEL")]
    data: Annotated[
        Path | None,
        Option("Folder of the benchmark, or a packed .bin file.", shown_default=f"the environment's {VARIABLE}"),
    ] = None
    no_align: Annotated[bool, Option("Cut the detector's box instead of aligning the face.")] = False
    threads: Annotated[
        int | None,
        Option("CPU threads of the model.", min=1, max=MOST_THREADS, shown_default="all cores"),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Evaluate(_Measurement):
    """Config of the job `evaluate`."""

    benchmark: Annotated[
        str,
        Option(
            "lfw; packed: cfp_fp, agedb_30, calfw, cplfw; beyond pairs: lfw-identification, lfw-clustering, "
            "heldout (the data is a transfer set of aligned crops), robustness, trouble."
        ),
    ] = "lfw"
    view: Annotated[int, Option("View of LFW: 2 is the reported result, 1 is for tuning.")] = 2
    flip: Annotated[bool, Option("Add the embedding of the mirrored crop.")] = False
    out: Annotated[
        Path | None,
        Option("Folder of report and plots.", shown_default="in runs/evaluate, by model and benchmark"),
    ] = None
    record: Annotated[bool, Option("Write the accuracy into the model's card, for facelet models.")] = False
    backend: Annotated[
        str | None,
        Option("What runs the model: onnxruntime, opencl, openvino, dlib.", shown_default="chosen by the file"),
    ] = None
    seed: Annotated[int, Option("Seed of everything that is drawn at random.", min=0)] = 0


@dataclass(frozen=True, kw_only=True)
class Calibrate(_Measurement):
    """Config of the job `calibrate`."""


def evaluate(config: Evaluate, *, on: Events = SILENT) -> VerificationReport | PeopleReport:
    """Measures a model on a benchmark and writes the report and its plots.

    Args:
        config: of the job.
        on: receives progress, and which files were written.

    Returns:
        The report: on pairs, or on people where the benchmark is one of `PEOPLE_BENCHMARKS`.

    Raises:
        OptionError: options that do not fit each other or the benchmark.
        FaceletError: the model or the data cannot be used.
    """
    from facelet.atomic import check_folder
    from facelet.benchmark import BENCHMARKS, check_request
    from facelet.people_benchmarks import PEOPLE_BENCHMARKS

    check_config(config)
    data = _data(config)
    check_request(config.benchmark, data, config.view, {**BENCHMARKS, **PEOPLE_BENCHMARKS})
    if config.out is not None:
        check_folder(config.out)
    on_people = config.benchmark in PEOPLE_BENCHMARKS
    report, files = _on_people(config, data, on) if on_people else _on_pairs(config, data, on)
    from facelet.evaluate.png import NO_PLOTS, can_plot

    on.note(f"written: {', '.join(str(path) for path in files.values())}")
    if not can_plot():
        on.note(NO_PLOTS)
    return report


def calibrate(config: Calibrate, *, on: Events = SILENT) -> Calibration:
    """Writes the thresholds for FAR 1e-2 and 1e-3 into a model's card.

    Args:
        config: of the job.
        on: receives progress, and where the card is.

    Raises:
        FaceletError: the model or the data cannot be used.
    """
    from facelet.benchmark import calibrate as measure
    from facelet.benchmark import check_request
    from facelet.embedder import Embedder
    from facelet.model_files import save_card, sidecar_path

    check_config(config)
    data = _data(config)
    check_request("lfw", data, 1)
    embedder = Embedder.load(config.model, threads=config.threads)
    _check_own(embedder.model)
    detector, align = open_detector(config), not config.no_align
    result = measure(embedder, data, detector=detector, align=align, progress=on.progress)
    card, path = embedder.card, embedder.model.path
    measured = dataclasses.replace(
        card,
        thresholds={**card.thresholds, **result.thresholds},
        calibration_detector=result.setting["detector"] or "",
        calibration_aligned=align,
    )
    save_card(path, measured)
    on.note(f"written into the card of {card.name}: {path if path.suffix == '.onnx' else sidecar_path(path)}")
    return result


def _data(config: _Measurement) -> Path:
    data = data_folder(config.data)
    if data is None:
        raise OptionError(f"`data`: not given; give the folder of the benchmark, or set {VARIABLE}")
    return data


def _on_pairs(config: Evaluate, data: Path, on: Events) -> tuple[VerificationReport, dict[str, Path]]:
    from facelet.benchmark import evaluate as measure
    from facelet.benchmark import packed_file
    from facelet.evaluate.report import write_report

    packed = packed_file(config.benchmark, data) is not None
    if packed:
        reject_unused(config, "with packed pairs, which come aligned", "view", "detector", "detector_model")
    if config.record and (config.flip or config.no_align):
        raise OptionError("`record`: a card holds aligned figures without flip averaging; leave those options out")
    embedder = _embedder(config)
    if config.record:
        _check_own(embedder.model)
    report = measure(
        embedder,
        benchmark=config.benchmark,
        data=data,
        view=config.view,
        detector=None if packed else open_detector(config),
        flip=config.flip,
        align=not config.no_align,
        progress=on.progress,
    )
    files = write_report(report, config.out or RUNS / _run_name(embedder.model, report))
    if config.record:
        _record(embedder.model, report)
    return report, files


def _on_people(config: Evaluate, data: Path, on: Events) -> tuple[PeopleReport, dict[str, Path]]:
    from facelet.data.transfer import holds_shards
    from facelet.evaluate.people_report import write_people_report
    from facelet.model_files import file_label
    from facelet.people_benchmarks import Request, measure

    heldout = config.benchmark == "heldout"
    if heldout:
        reject_unused(config, "with `benchmark` heldout, whose crops come aligned", "detector", "detector_model")
        if not holds_shards(data):
            on.note(f"{data}: its images count as aligned crops; facelet align makes those of photos")
    if config.view != 2 or config.record:
        raise OptionError(
            f"`benchmark` {config.benchmark}: has no views and no place in a card; leave `view`, `record` out"
        )
    request = Request(
        _embedder(config),
        config.benchmark,
        data,
        detector=None if heldout else open_detector(config),
        flip=config.flip,
        align=not config.no_align,
        seed=config.seed,
        progress=on.progress,
    )
    report = measure(request)
    parts = [
        file_label(request.embedder.model),
        config.benchmark,
        *([str(report.setting["detector"])] if "detector" in report.setting else []),
        *(["box"] if config.no_align else []),
        *(["flip"] if config.flip else []),
    ]
    return report, write_people_report(report, config.out or RUNS / "-".join(parts))


def _embedder(config: Evaluate) -> Embedder:
    from facelet.embedder import Embedder

    return Embedder.load(config.model, backend=config.backend, threads=config.threads)


def _check_own(model: Model) -> None:
    """Refuses to write into a file that some package installed.

    Raises:
        InputError: it is one.
    """
    from facelet.model_files import is_installed

    if is_installed(model):
        raise InputError(f"{model.path}: belongs to an installed package; copy it and give the copy")


def _record(model: Model, report: VerificationReport) -> None:
    """Writes the accuracy into the card under a name that holds benchmark, view and detector."""
    from facelet.model_files import save_card

    setting = report.setting
    parts = [setting["benchmark"]]
    if setting["view"] is not None:
        parts += [f"view{setting['view']}", setting["detector"]]
    metrics = {**model.card.metrics, "_".join(parts): round(report.accuracy, 6)}
    save_card(model.path, dataclasses.replace(model.card, metrics=metrics))


def _run_name(model: Model, report: VerificationReport) -> str:
    """The folder's name: model, benchmark, and how the crops were made."""
    from facelet.model_files import file_label

    setting = report.setting
    parts = [file_label(model), str(setting["benchmark"])]
    if setting["view"] is not None:
        parts += [f"view{setting['view']}", str(setting["detector"])]
    parts += [] if setting["aligned"] else ["box"]
    parts += ["flip"] if setting["flip"] else []
    return "-".join(parts)

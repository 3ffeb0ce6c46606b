"""`facelet evaluate` and `facelet calibrate`: a model on a benchmark, and the thresholds in its card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facelet.cli.options import (
    BackendOption,
    DetectorModelOption,
    DetectorOption,
    NoAlignOption,
    ThreadsOption,
    open_detector,
    refuse_idle,
)
from facelet.cli.output import JsonOption, Output, QuietOption, SeedOption, percent
from facelet.errors import InputError
from facelet.faces import DEFAULT_DETECTOR

if TYPE_CHECKING:
    from facelet.evaluate.report import VerificationReport
    from facelet.model import Model
    from facelet.people_benchmarks import Request

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="A shipped model's name or a model file.")]
DataOption = Annotated[
    Path,
    typer.Option("--data", envvar="FACELET_DATA", help="Folder of the benchmark, or a packed .bin file."),
]


def evaluate(
    context: typer.Context,
    model: ModelArgument,
    data: DataOption,
    benchmark: Annotated[
        str,
        typer.Option(
            "--benchmark",
            help="lfw; packed: cfp_fp, agedb_30, calfw, cplfw; beyond pairs: lfw-identification, lfw-clustering, "
            "heldout (--data is a transfer set of aligned crops), robustness.",
        ),
    ] = "lfw",
    view: Annotated[int, typer.Option("--view", help="Of LFW: 2 is the reported result, 1 is for tuning.")] = 2,
    detector: DetectorOption = DEFAULT_DETECTOR,
    detector_model: DetectorModelOption = None,
    flip: Annotated[bool, typer.Option("--flip", help="Add the embedding of the mirrored crop.")] = False,
    no_align: NoAlignOption = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Folder of report and plots.", show_default="in runs/evaluate, by model and benchmark"
        ),
    ] = None,
    record: Annotated[
        bool, typer.Option("--record", help="Write the accuracy into the model's card, for facelet models.")
    ] = False,
    backend: BackendOption = None,
    threads: ThreadsOption = None,
    json_: JsonOption = False,
    quiet: QuietOption = False,
    seed: SeedOption = 0,
) -> None:
    """Measure a model on LFW, other pairs, people, worse photos."""
    from facelet.atomic import check_folder
    from facelet.benchmark import BENCHMARKS, check_request, packed_file
    from facelet.benchmark import evaluate as evaluate_model
    from facelet.data.transfer import holds_shards
    from facelet.embedder import Embedder
    from facelet.evaluate.report import write_report
    from facelet.people_benchmarks import PEOPLE_BENCHMARKS, Request

    show = Output(json_, quiet)
    check_request(benchmark, data, view, {**BENCHMARKS, **PEOPLE_BENCHMARKS})
    if out is not None:
        check_folder(out)
    if benchmark == "heldout":
        refuse_idle(context, "with --benchmark heldout, whose crops come aligned", "--detector", "--detector-model")
        if not holds_shards(data):
            show.note(f"{data}: its images count as aligned crops; facelet align makes those of photos")
    if benchmark in PEOPLE_BENCHMARKS:
        if view != 2 or record:
            raise InputError(
                f"--benchmark {benchmark}: has no views and no place in a card; leave --view, --record out"
            )
        request = Request(
            Embedder.load(model, backend=backend, threads=threads),
            benchmark,
            data,
            detector=None if benchmark == "heldout" else open_detector(detector, detector_model),
            flip=flip,
            align=not no_align,
            seed=seed,
            progress=show.progress,
        )
        _measure_people(request, out, show)
        return
    packed = packed_file(benchmark, data) is not None
    if packed:
        refuse_idle(context, "with packed pairs, which come aligned", "--view", "--detector", "--detector-model")
    if record and (flip or no_align):
        raise InputError("--record: a card holds aligned figures without flip averaging; leave those options out")
    embedder = Embedder.load(model, backend=backend, threads=threads)
    if record:
        _check_own(embedder.model)
    report = evaluate_model(
        embedder,
        benchmark=benchmark,
        data=data,
        view=view,
        detector=None if packed else open_detector(detector, detector_model),
        flip=flip,
        align=not no_align,
        progress=show.progress,
    )
    files = write_report(report, out or Path("runs") / "evaluate" / _run_name(embedder.model, report))
    if record:
        _record(embedder.model, report)
    show.value(report.to_dict())
    _print_table(show, report)
    _note_files(show, files)


def calibrate(
    model: ModelArgument,
    data: DataOption,
    detector: DetectorOption = DEFAULT_DETECTOR,
    detector_model: DetectorModelOption = None,
    no_align: NoAlignOption = False,
    threads: ThreadsOption = None,
    json_: JsonOption = False,
    quiet: QuietOption = False,
    _seed: SeedOption = 0,
) -> None:
    """Write the thresholds for FAR 1e-2 and 1e-3 into a model's card."""
    import dataclasses

    from facelet.benchmark import calibrate as calibrate_model
    from facelet.benchmark import check_request
    from facelet.embedder import Embedder
    from facelet.model_files import save_card, sidecar_path

    show = Output(json_, quiet)
    check_request("lfw", data, 1)
    embedder = Embedder.load(model, threads=threads)
    _check_own(embedder.model)
    result = calibrate_model(
        embedder,
        data,
        detector=open_detector(detector, detector_model),
        align=not no_align,
        progress=show.progress,
    )
    card = embedder.card
    path = embedder.model.path
    measured = dataclasses.replace(
        card,
        thresholds={**card.thresholds, **result.thresholds},
        calibration_detector=result.setting["detector"] or "",
        calibration_aligned=not no_align,
    )
    save_card(path, measured)
    show.value({**result.setting, "thresholds": result.thresholds, "n_impostors": result.n_impostors})
    show.table(
        f"{card.name}: thresholds from {result.n_impostors:,} impostor pairs",
        ("FAR", "squared distance below"),
        [(key, f"{value:.4f}") for key, value in result.thresholds.items()],
    )
    show.note(f"written into the card of {card.name}: {path if path.suffix == '.onnx' else sidecar_path(path)}")


def _measure_people(request: Request, out: Path | None, show: Output) -> None:
    """Measures beyond pairs; writes report and plots, prints the figures that matter most."""
    from facelet.evaluate.people_report import write_people_report
    from facelet.model_files import file_label
    from facelet.people_benchmarks import measure

    report = measure(request)
    setting = report.setting
    parts = [
        file_label(request.embedder.model),
        request.benchmark,
        *([str(setting["detector"])] if "detector" in setting else []),
    ]
    parts += [] if request.align else ["box"]
    parts += ["flip"] if request.flip else []
    files = write_people_report(report, out or Path("runs") / "evaluate" / "-".join(parts))
    show.value(report.to_dict())
    show.table(f"{setting['model']} on {request.benchmark}", ("figure", "value"), report.rows)
    _note_files(show, files)


def _note_files(show: Output, files: dict[str, Path]) -> None:
    from facelet.evaluate.png import NO_PLOTS, can_plot

    show.note(f"written: {', '.join(str(path) for path in files.values())}")
    if not can_plot():
        show.note(NO_PLOTS)


def _check_own(model: Model) -> None:
    """Refuses to write into a file that some package installed.

    Raises:
        InputError: it is one.
    """
    from facelet.model_files import is_installed

    if is_installed(model):
        raise InputError(f"{model.path}: belongs to an installed package; copy it and give the copy")


def _record(model: Model, report: VerificationReport) -> None:
    """Writes the accuracy into the card under a name that tells benchmark, view and detector."""
    import dataclasses

    from facelet.model_files import save_card

    setting = report.setting
    parts = [setting["benchmark"]]
    if setting["view"] is not None:
        parts += [f"view{setting['view']}", setting["detector"]]
    metrics = {**model.card.metrics, "_".join(parts): round(report.accuracy, 6)}
    save_card(model.path, dataclasses.replace(model.card, metrics=metrics))


def _run_name(model: Model, report: VerificationReport) -> str:
    """Returns the folder's name: model, benchmark, and how the crops were made."""
    from facelet.model_files import file_label

    setting = report.setting
    parts = [file_label(model), str(setting["benchmark"])]
    if setting["view"] is not None:
        parts += [f"view{setting['view']}", str(setting["detector"])]
    parts += [] if setting["aligned"] else ["box"]
    parts += ["flip"] if setting["flip"] else []
    return "-".join(parts)


def _print_table(show: Output, report: VerificationReport) -> None:
    """Prints the figures for people, one a row."""
    setting = report.setting
    spread = "" if report.accuracy_std is None else f" ± {percent(report.accuracy_std)}"
    view = "" if setting["view"] is None else f", View {setting['view']}"
    faces = "crops come aligned" if setting["detector"] is None else f"{setting['detector']}, {setting['template']}"
    rows = [
        ("accuracy", percent(report.accuracy) + spread),
        ("AUC", f"{report.auc:.5f}"),
        ("EER", percent(report.eer)),
        *((f"TAR at FAR {key}", percent(value)) for key, value in report.tar.items()),
        *((f"threshold at FAR {key}", f"{value:.4f}") for key, value in report.thresholds.items()),
        ("pairs", f"{report.n_pairs:,}"),
        ("images", f"{report.n_images:,}"),
        ("faces not found", f"{report.n_faces_not_found:,}"),
        ("faces", faces),
        ("flip averaging", "on" if setting["flip"] else "off"),
    ]
    show.table(f"{setting['model']} on {setting['benchmark']}{view}", ("figure", "value"), rows)

"""`facelet evaluate` and `facelet calibrate`: a model on a benchmark, and the thresholds in its card."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facelet.cli.derive import command
from facelet.cli.output import Output, percent
from facelet.jobs.evaluate import Calibrate, Evaluate
from facelet.jobs.evaluate import calibrate as calibrate_job
from facelet.jobs.evaluate import evaluate as evaluate_job

if TYPE_CHECKING:
    from facelet.benchmark import Calibration
    from facelet.evaluate.people_report import PeopleReport
    from facelet.evaluate.report import VerificationReport


def _show(report: VerificationReport | PeopleReport, config: Evaluate, show: Output) -> None:
    from facelet.evaluate.people_report import PeopleReport

    show.value(report.to_dict())
    if isinstance(report, PeopleReport):
        show.table(f"{report.setting['model']} on {config.benchmark}", ("figure", "value"), report.rows)
    else:
        _print_table(show, report)


def _show_thresholds(result: Calibration, _config: Calibrate, show: Output) -> None:
    show.value({**result.setting, "thresholds": result.thresholds, "n_impostors": result.n_impostors})
    show.table(
        f"{result.setting['model']}: thresholds from {result.n_impostors:,} impostor pairs",
        ("FAR", "squared distance below"),
        [(key, f"{value:.4f}") for key, value in result.thresholds.items()],
    )


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


evaluate = command(Evaluate, evaluate_job, _show, "Measure a model on LFW, other pairs, people, worse photos.")
calibrate = command(
    Calibrate, calibrate_job, _show_thresholds, "Write the thresholds for FAR 1e-2 and 1e-3 into a model's card."
)

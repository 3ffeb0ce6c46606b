# ruff: noqa: E501 - the sentences of the pages are kept whole
"""Rebuilds docs/models/*.md, docs/models/models.png and the README's results table from the shipped cards and docs/results/*.json.

    python docs/build_model_pages.py

Every figure comes from a file that a command wrote: the card inside each model, and the `report.json` of
`facelet evaluate MODEL --benchmark lfw --detector DETECTOR --record`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from facelet.atomic import write_bytes_atomic, write_text_atomic
from facelet.model import Card, Model
from facelet.model_files import LANDMARKS, SHIPPED_MODELS, load_model
from facelet.studies.size import PAPERS, PUBLISHED, SHIPPED, draw_view_2
from facelet.studies.study import drawn_png

DOCS = Path(__file__).parent
README = DOCS.parent / "README.md"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
DETECTORS = {
    "dlib_refined": "dlib, landmarks refined (default)",
    "yunet_refined": "YuNet, landmarks refined",
    "dlib": "dlib",
    "yunet": "YuNet",
}
IN_THE_README = ("dlib_refined", "yunet")

STARTED_FROM = ["So are the tensors of OpenFace's nn4.small2.v1 that this net started from."]

LANDMARKS_WHAT = (
    "The net that places a detector's landmarks anew (`--detector dlib_refined`, the default, and `yunet_refined`): no face "
    "recognition model, but a part of the way from photo to crop that stands before each of them."
)

WHAT = {
    "nn4_small2": "OpenFace's nn4.small2 Inception network, started from the part of OpenFace's released tensors that is "
    "to be had, trained with the triplet loss, then distilled from two stronger teachers for 77,000 views (95.97 % on LFW by "
    "YuNet), and on from there for 439,000 in 108 minutes of one CPU core.",
    "mobilenet_v2_050": "Keras-style MobileNetV2 of width 0.5 with a 128-d embedding: the original work's larger student. Trained for 511,000 views (95.30 % on LFW by YuNet), and on from there for 1.2 million in 95 minutes of one CPU core (96.45 %), 1.4 million in 88 (97.32 %), 0.6 million in 26 (97.62 %) and 2.3 million in 110.",
    "mobilenet_v2_035": "Keras-style MobileNetV2 of width 0.35 with a 128-d embedding: the original work's smaller student. Trained for 511,000 views (93.80 % on LFW by YuNet), and on from there for 1.8 million in 88 minutes of one CPU core (96.25 %), 2.6 million in 110 (97.25 %), 2.4 million in 108 (97.20 %), and 2.2 million in 115 (97.23 %), all with 96 pixels; since then it sees 128, learned in 2.6 million views, 100 minutes of two cores ([why](../adr/0019-the-smaller-mobilenet-sees-128-pixels.md)).",
    "facelet_s": "This project's own student under 0.87 M parameters and 60 M MACs: the default model. Each of its runs was fine-tuned from the file before: 269,000 views on one CPU core (97.48 % on LFW by YuNet), 511,000 more there (98.72 %), 2.1 million in 6.3 minutes of one H100 ([the command](../distillation.md#on-a-gpu)), 237,000 at a low rate on a CPU core again (the next run started from the mean of the weights before and after), 1.1 million in 91 minutes of one core through [compiled kernels](../distillation.md#what-a-step-costs), and 1.0 million in 95 minutes alike.",
    "facelet_xs": "This project's own student under 0.50 M parameters and 40 M MACs. Each of its runs was fine-tuned from the file before: 665,000 views on one CPU core (97.98 % on LFW by YuNet), 2.1 million in 6.3 minutes of one H100 ([the command](../distillation.md#on-a-gpu)), 314,000 at a low rate on a CPU core again (the next run started from the mean of the weights before and after), and 1.4 million in 91 minutes of one core through [compiled kernels](../distillation.md#what-a-step-costs).",
    "facelet_s_int8": "facelet_s with 8-bit integers for weights and activations, calibrated on 64 crops of the transfer set, without further training: the same integers on every executor, see [quantization](../quantization.md).",
    "facelet_xs_int8": "facelet_xs with 8-bit integers for weights and activations, calibrated on 64 crops of the transfer set, without further training, see [quantization](../quantization.md).",
}


def reports() -> dict[tuple[str, str], dict[str, Any]]:
    """The recorded View-2 reports by model and detector."""
    found = {}
    for path in sorted((DOCS / "results").glob("*.json")):
        report = json.loads(path.read_text())
        found[report["model"], report["detector"]] = report
    return found


def percent(value: float) -> str:
    """A fraction in per cent with two decimals."""
    return f"{100 * value:.2f}"


def on_gpu(card: Card) -> bool:
    """Whether a GPU took part in a training."""
    return "--device cuda" in card.recipe


def machine(card: Card) -> str:
    """What a model was trained on."""
    return "One GPU for six minutes, one CPU core for the rest" if on_gpu(card) else "CPU cores, no accelerator"


def head(model: Model, what: str, rows: list[tuple[str, str]]) -> list[str]:
    """The first lines of a page: what the model is, and a table of what its file says and of more rows."""
    facts = [
        ("parameters (with batch-norm statistics)", f"{model.card.parameters:,}"),
        ("multiply-accumulates", f"{model.card.macs:,}"),
        ("file", f"{model.size_bytes:,} bytes"),
        ("sha256", f"`{model.sha256}`"),
        *rows,
    ]
    return [f"# {model.card.name}", "", what, "", "| | |", "|---|---|", *(f"| {n} | {v} |" for n, v in facts)]


def page(model: Model, measured: dict[tuple[str, str], dict[str, Any]]) -> str:
    """One model's card for people."""
    card = model.card
    rows = [
        ("input", f"{card.height}x{card.width} RGB, `(pixel - 127.5) / 127.5`, template `{card.template}`"),
        ("output", f"{card.embedding_size} numbers, unit length; compare by squared Euclidean distance"),
        *((f"threshold at FAR {far}", f"{value:.4f}") for far, value in sorted(card.thresholds.items())),
    ]
    lines = [
        *head(model, WHAT[card.name], rows),
        "",
        "## Measured",
        "",
        "LFW View 2, ten folds, no flip averaging:",
        "",
    ]
    lines += [
        "| detector | accuracy % | AUC | EER % | TAR % at FAR 1e-2 | TAR % at FAR 1e-3 | faces not found |",
        "|---|---|---|---|---|---|---|",
    ]
    for detector, title in DETECTORS.items():
        report = measured[card.name, detector]
        tar = report["tar"]
        lines.append(
            f"| {title} | {percent(report['accuracy'])} ± {percent(report['accuracy_std'])} | {report['auc']:.5f} | "
            f"{percent(report['eer'])} | {percent(tar['1e-2'])} | {percent(tar['1e-3'])} | {report['n_faces_not_found']} |"
        )
    lines += [
        "",
        f"    facelet evaluate {card.name} --benchmark lfw --data DIR --detector dlib_refined",
        "",
        "The thresholds come from View 1 with the default detector (`facelet calibrate`); with another detector",
        "calibrate again.",
        "",
        "## How it was made",
        "",
        f"- Teacher: {card.teacher or 'none'}.",
        f"- Transfer set: 52,186 aligned crops from public collections ({card.data}). Images whose embedding came near",
        "  any LFW image (cosine above 0.55 by face-reidentification-retail-0095) had been removed from it; some people",
        "  of LFW may remain below that line, which would flatter the figures above.",
        f"- Augmentation, schedule and optimizer: [distillation](../distillation.md). {machine(card)}.",
        *(
            ["- Its last layer was turned onto the space of the version before, so that galleries stay good."]
            if on_gpu(card)
            else []
        ),
        "",
        f"      {card.recipe}",
        "",
        "## Licence",
        "",
        f"{card.licence}. The training images are offered for research only by their collectors; whether weights learned",
        "from them may serve your purpose is yours to check. The teachers are Apache-2.0.",
        *(STARTED_FROM if card.name == "nn4_small2" else ["None of their numbers are in this file."]),
        "",
        "## Limits",
        "",
        "- Trained on small, mostly frontal, mostly adult faces; accuracy by age, sex or skin colour has not been measured.",
        "- Made for 1:1 verification of cooperative photos. It does not detect masks, prints or screens held to a camera,",
        "  and a verdict is no proof of identity: do not let it alone decide about a person.",
        "- Expects the alignment above: with `--no-align` the distances grow and the thresholds no longer hold.",
        "",
    ]
    return "\n".join(lines)


def table(models: list[Model], measured: dict[tuple[str, str], dict[str, Any]]) -> str:
    """The README's results table."""
    lines = [
        "| model | parameters | M MACs | file kB | ms | LFW %, dlib refined (default) | LFW %, YuNet | TAR % at FAR 1e-3 (YuNet) | held-out TAR % | worse pictures % |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    ms = milliseconds(DOCS / "benchmarks" / "zen4")
    teachers = json.loads((DOCS / "models" / "teachers.json").read_text())
    facts = [
        (t["model"], f"{t['model']} (a teacher, not shipped)", t["parameters"], t["macs"], t["bytes"]) for t in teachers
    ]
    facts += [
        (
            m.card.name,
            f"[{m.card.name}](docs/models/{m.card.name}.md)",
            m.card.parameters,
            m.card.macs,
            m.path.stat().st_size,
        )
        for m in models
    ]
    for name, title, parameters, macs, size in facts:
        accuracy = [
            f"{percent(report['accuracy'])} ± {percent(report['accuracy_std'])}"
            for report in (measured[name, detector] for detector in IN_THE_README)
        ]
        lines.append(
            f"| {title} | {parameters:,} | {f'{macs / 1e6:.1f}' if macs else '-'} | {size / 1000:,.0f} | "
            f"{ms.get(name, '-')} | {accuracy[0]} | {accuracy[1]} | {percent(measured[name, 'yunet']['tar']['1e-3'])} | "
            f"{heldout_tar(name)} | {worse_pictures(name)} |"
        )
    return "\n".join(lines)


def picture(models: list[Model], measured: dict[tuple[str, str], dict[str, Any]]) -> bytes:
    """Errors on LFW against parameters, as PNG: the shipped float models, measured with YuNet, and published nets."""
    rows = [
        {
            "name": m.card.name,
            "kind": SHIPPED,
            "parameters": m.card.parameters / 1e3,
            "view2": 100 * measured[m.card.name, "yunet"]["accuracy"],
        }
        for m in models
        if not m.card.name.endswith("_int8")
    ]
    rows += [{"name": name, "kind": PUBLISHED, "parameters": 1e3 * p, "view2": lfw} for name, p, lfw in PAPERS]
    return drawn_png(lambda figure: draw_view_2(rows, figure.add_subplot()))


def milliseconds(folder: Path) -> dict[str, str]:
    """One image on one thread through OpenCL (PyPI's PoCL), by model, where it was measured."""
    found = {}
    for path in folder.glob("*.json"):
        result = json.loads(path.read_text())
        for row in result["rows"]:
            backend, _, file = row["backend"].partition("=")
            if backend == "opencl:pocl-3.0" and (row["threads"], row["batch"]) == (1, 1):
                found[f"{result['model']}_int8" if file else result["model"]] = f"{row['median_ms']:.2f}"
    return found


def _beyond(name: str, benchmark: str) -> dict[str, Any] | None:
    path = DOCS / "results" / "beyond" / f"{name}-{benchmark}.json"
    return json.loads(path.read_text()) if path.exists() else None


def heldout_tar(name: str) -> str:
    """TAR at FAR 1e-3 over all couples of the held-out people."""
    report = _beyond(name, "heldout")
    return percent(report["couples"]["tar"]["1e-3"]) if report else "-"


def worse_pictures(name: str) -> str:
    """Mean View-1 accuracy over every kind and strength of degradation, the clean pictures left out."""
    report = _beyond(name, "robustness")
    if report is None:
        return "-"
    clean = report["clean_accuracy"]
    kinds = [list(by_strength.values()) for by_strength in report["accuracy"].values()]
    degraded = [value for values in kinds for value in _without_one(values, clean)]
    return percent(sum(degraded) / len(degraded))


def _without_one(values: list[float], clean: float) -> list[float]:
    """The accuracies without that of the clean pictures, which each kind holds once."""
    rest = list(values)
    rest.remove(clean)
    return rest


def landmarks_page() -> str:
    """The card for people of the net that places landmarks."""
    model = load_model(LANDMARKS)
    card = model.card
    rows = [
        (
            "input",
            f"{card.height}x{card.width} RGB, `(pixel - 127.5) / 127.5`, template `{card.template}` by the detector's landmarks",
        ),
        ("output", "ten numbers: x and y of the five points, template pixels of 112 from their places"),
        (
            "error on held-out crops",
            f"{card.metrics['held_px']:.2f} pixels of 112, root mean square; their own alignment's errors among them",
        ),
    ]
    lines = [
        *head(model, LANDMARKS_WHAT, rows),
        "",
        "What it is worth on LFW: [evaluation](../evaluation.md#landmark-refinement), and the rows of each model's page.",
        "",
        "## How it was made",
        "",
        "- Teacher: none. No landmarks and no labels were read: crops were moved by known similarities.",
        f"- Transfer set: aligned crops from public collections ({card.data}); the same as the students', but",
        "  for the people that the benchmark `heldout` measures on.",
        "- 26 minutes of one CPU core and its neighbour, which made the batches.",
        "",
        f"      {card.recipe}",
        "",
        "## Licence",
        "",
        f"{card.licence}. The training images are offered for research only by their collectors; whether weights learned",
        "from them may serve your purpose is yours to check.",
        "",
        "## Limits",
        "",
        "- It learned from crops moved by 3 degrees, 5 % and 2.5 pixels of 112 (standard deviations, in three of ten twice as",
        "  far); how it mends what lies farther off: [measured](../evaluation.md#landmark-refinement). What shows no face stays without one.",
        "- Trained on small, mostly frontal faces; how it does on profiles has not been measured.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Writes the pages and the table."""
    measured = reports()
    write_text_atomic(DOCS / "models" / "landmarks.md", landmarks_page())
    models = [load_model(name) for name in SHIPPED_MODELS if (name, "yunet") in measured]
    for model in models:
        write_text_atomic(DOCS / "models" / f"{model.card.name}.md", page(model, measured))
    write_bytes_atomic(DOCS / "models" / "models.png", picture(models, measured))
    text = README.read_text()
    head, rest = text.split(BEGIN)
    _, tail = rest.split(END)
    write_text_atomic(README, f"{head}{BEGIN}\n{table(models, measured)}\n{END}{tail}")


if __name__ == "__main__":
    main()

"""Draws original-claim.png from original-claim.json: python docs/studies/plot_original_claim.py [TEACHER STUDENT].

With the folders of a triplet run and of the distillation from it, their curves are put into the JSON first.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
JSON = HERE / "original-claim.json"
NAMES = ("teacher nn4_small2", "student mobilenet_v2_050")
LOSSES = ("triplet loss", "squared distance to the teacher")


def curves(folder: Path, what: str) -> dict[str, Any]:
    """The loss and the View-1 accuracy of a run against images seen."""
    batch = json.loads((folder / "options.json").read_text())["batch_size"]
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    logged = [line for line in lines if "loss" in line][:: max(1, len(lines) // 80)]
    measured: dict[int, float] = {}
    for line in lines:  # a measurement is repeated on the lines after it: the first one dates it
        if "view1" in line and line["view1"] != (list(measured.values()) or [None])[-1]:
            measured[line["step"] * batch] = line["view1"]
    return {
        "what": what,
        "images": [line["step"] * batch for line in logged],
        "loss": [round(line["loss"], 4) for line in logged],
        "view1_images": list(measured),
        "view1": [round(value, 4) for value in measured.values()],
    }


def main() -> None:
    """Two panels: each run's loss, and View-1 accuracy of both nets."""
    if len(sys.argv) > 2:
        runs = {n: curves(Path(f), w) for n, f, w in zip(NAMES, sys.argv[1:], LOSSES, strict=True)}
        JSON.write_text(json.dumps(runs) + "\n")
    runs = json.loads(JSON.read_text())
    figure, (loss, accuracy) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for name, run in runs.items():
        loss.plot(run["images"], run["loss"], label=f"{name}, {run['what']}")
        accuracy.plot(run["view1_images"], [100 * v for v in run["view1"]], marker="o", label=name)
    loss.set(xlabel="images seen", ylabel="loss", ylim=(0, 1))
    accuracy.set(xlabel="images seen", ylabel="LFW View 1, %")
    for axis in (loss, accuracy):
        axis.legend()
        axis.grid(alpha=0.3)
    figure.savefig(HERE / "original-claim.png", dpi=110)


if __name__ == "__main__":
    main()

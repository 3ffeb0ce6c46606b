"""Draws original-claim.png from original-claim.json: python docs/studies/plot_original_claim.py."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent


def main() -> None:
    """Two panels: each run's loss, and View-1 accuracy of both nets."""
    runs = json.loads((HERE / "original-claim.json").read_text())
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

"""Names of the files in a run's folder."""

from __future__ import annotations

CHECKPOINT = "checkpoint.pt"
"""All that a run needs to continue."""

MODEL_FILE = "model.onnx"
"""The exported student."""

OPTIONS_FILE = "options.json"
"""The options of the run."""

LOCK = "run.lock"
"""Held by the process that trains in the folder."""

"""Oracle: through OpenCL every pair of LFW View 2 is decided as with onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facelet.data.lfw import load_lfw
from facelet.embedder import Embedder
from facelet.evaluate.verification import fold_accuracy, pair_distances
from facelet.faces.crops import CropCache, crop_benchmark
from facelet.faces.detect import YuNetDetector
from facelet.model_files import SHIPPED_MODELS


@pytest.mark.data
@pytest.mark.slow
def test_all_decisions_are_the_same(data_dir: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyopencl")
    pairs, root = load_lfw(data_dir / "lfw", cache_dir=tmp_path)
    detector = YuNetDetector(data_dir / "detectors" / "yunet_n_dynamic.onnx")
    cache = CropCache(tmp_path / "crops")
    for name in SHIPPED_MODELS:
        embedders = [Embedder.load(name, backend=backend, threads=1) for backend in ("onnxruntime", "opencl")]
        card = embedders[0].card
        paths = [root / key for key in pairs.images]
        crops = np.ascontiguousarray(
            crop_benchmark(paths, detector, card.template, card.height, card.width, cache).crops
        )
        decisions = []
        for embedder in embedders:
            distances = pair_distances(embedder.embed(crops), pairs)
            decisions.append(distances < fold_accuracy(distances, pairs).thresholds[pairs.fold])
        assert (decisions[0] == decisions[1]).sum() == pairs.n_pairs == 6000, name

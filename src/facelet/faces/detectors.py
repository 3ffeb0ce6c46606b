"""Detectors by name: each as it is, and with its landmarks refined."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from facelet.assets import fetch
from facelet.errors import UnknownNameError
from facelet.faces import DEFAULT_DETECTOR
from facelet.faces.detect import Detector, DlibDetector, YuNetDetector
from facelet.faces.refine import REFINED, RefinedDetector, landmark_refiner

DETECTORS: dict[str, str] = {
    "dlib_refined": "dlib's detector, landmarks refined; works right after installation",
    "yunet_refined": "YuNet's detector, landmarks refined; needs its ONNX file",
    "dlib": "HOG and five points of dlib; works right after installation",
    "yunet": "YuNet through OpenCV; needs its ONNX file",
}
"""Name and one line for each detector that `load_detector` knows."""


def load_detector(name: str, model_path: str | Path | None = None) -> Detector:
    """Returns a detector by name.

    Args:
        name: key in `DETECTORS`.
        model_path: file of the detector; by default the installed one (dlib) or the fetched one (YuNet).

    Raises:
        UnknownNameError: no such detector.
        MissingFileError: the file is not there.
    """
    if name not in DETECTORS:
        raise UnknownNameError("detector", name, DETECTORS)
    path = None if model_path is None else Path(model_path)
    found = DlibDetector(path) if name.startswith("dlib") else YuNetDetector(path or fetch("yunet"))
    return RefinedDetector(found, landmark_refiner()) if name.endswith(REFINED) else found


@lru_cache(maxsize=1)
def default_detector() -> Detector:
    """The detector that is taken where nothing is said, loaded once: unpacking it takes as long as a dozen photos.

    Raises:
        MissingExtraError: dlib is not installed.
        MissingFileError: its landmark model is not installed.
    """
    return load_detector(DEFAULT_DETECTOR)

"""Detectors by name: each as it is, and with its landmarks refined by the shipped net or by one of the user's."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from facelet.assets import fetch
from facelet.errors import InputError, UnknownNameError
from facelet.faces import DEFAULT_DETECTOR
from facelet.faces.detect import Detector, DlibDetector, YuNetDetector
from facelet.faces.refine import REFINED, LandmarkRefiner, RefinedDetector, landmark_refiner

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
        name: key in `DETECTORS`; or "dlib" or "yunet", "+" and the file of a net of landmarks that refines theirs, such
            as "dlib+runs/landmarks/model.onnx".
        model_path: file of the detector; by default the installed one (dlib) or the fetched one (YuNet).

    Raises:
        UnknownNameError: no such detector.
        InputError: landmarks would be refined twice, or the detector's file is not its own.
        MissingFileError: a file is not there.
        ModelError: what should refine is no net of landmarks.
    """
    base, plus, own = name.partition("+")
    if base not in DETECTORS:
        raise UnknownNameError("detector", base, DETECTORS)
    plain = base.removesuffix(REFINED)
    if plus and base != plain:
        raise InputError(f"detector {name}: refines landmarks already; write {plain}+{own}")
    if plus and not own:
        raise InputError(f"detector {name}: no file behind the plus; write {base}+FILE or {base}{REFINED}")
    refiner = LandmarkRefiner(Path(own).expanduser()) if plus else landmark_refiner() if base != plain else None
    path = None if model_path is None else Path(model_path)
    found = DlibDetector(path) if plain == "dlib" else YuNetDetector(path or fetch("yunet"))
    return found if refiner is None else RefinedDetector(found, refiner)


@lru_cache(maxsize=1)
def default_detector() -> Detector:
    """The detector that is taken where nothing is said, loaded once: unpacking it takes as long as a dozen photos.

    Raises:
        MissingExtraError: dlib is not installed.
        MissingFileError: its landmark model is not installed.
    """
    return load_detector(DEFAULT_DETECTOR)

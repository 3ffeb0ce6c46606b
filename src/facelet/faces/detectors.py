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


def default_detector() -> Detector:
    """The detector that is taken where none is chosen, loaded once: unpacking it takes as long as a dozen photos.

    Raises:
        MissingExtraError: dlib is not installed.
        MissingFileError: its landmark model is not installed.
    """
    return _load_once(DEFAULT_DETECTOR)


def as_detector(detector: Detector | str | None) -> Detector:
    """The detector that a caller chose: by name, loaded once, or one that is loaded; None is the default one.

    Raises:
        InputError: neither a name nor a detector; else as `load_detector`.
    """
    if detector is None:
        return default_detector()
    if isinstance(detector, str):
        return _load_once(detector) if detector in DETECTORS else load_detector(detector)
    if not callable(getattr(detector, "detect", None)):
        raise InputError(
            f"detector: cannot be a {type(detector).__name__}; give a name ({', '.join(DETECTORS)}) or a detector"
        )
    return detector


@lru_cache(maxsize=len(DETECTORS))
def _load_once(name: str) -> Detector:
    """A detector whose files do not change while the process runs."""
    return load_detector(name)

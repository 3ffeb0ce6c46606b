"""Where a training takes its crops from: options, and the transfer set that they name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from facelet.config import Option
from facelet.errors import OptionError
from facelet.events import Events
from facelet.faces import DEFAULT_DETECTOR

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from facelet.data.transfer import TransferSet
    from facelet.faces.detect import Detector

SYNTHETIC_IDENTITIES, SYNTHETIC_PHOTOS = 1000, 8


@dataclass(frozen=True, kw_only=True)
class DetectorChoice:
    """Which detector finds the faces."""

    detector: Annotated[
        str,
        Option(
            "What finds the faces: dlib, yunet, dlib_refined, yunet_refined; dlib+FILE: refined by a net of your own.",
            weights=False,
        ),
    ] = DEFAULT_DETECTOR
    detector_model: Annotated[
        Path | None,
        Option("The detector's own model file; by default YuNet's is downloaded.", weights=False),
    ] = None


@dataclass(frozen=True, kw_only=True)
class CropSource(DetectorChoice):
    """Crops to train on; the key of the transfer set stands for them in a run's identity."""

    data: Annotated[
        Path | None,
        Option(
            "Transfer set: shards (.tar, .tar.gz) or a folder of images; by default synthetic faces.", weights=False
        ),
    ] = None
    aligned: Annotated[
        bool, Option("The images of a folder are aligned crops; do not detect faces.", weights=False)
    ] = False
    exclude_heldout: Annotated[
        bool, Option("Keep the people of the benchmark heldout out of the training.", weights=False)
    ] = False


@dataclass(frozen=True, kw_only=True)
class RealignedCropSource(CropSource):
    """Crops to train on that can be re-aligned first."""

    realign: Annotated[bool, Option("Re-align aligned crops with the landmark net.", weights=False)] = False


def open_detector(choice: DetectorChoice) -> Detector:
    """Opens the chosen detector; one without a file of its own is loaded once.

    Raises:
        UnknownNameError: no such detector.
        MissingFileError: its file is not there and cannot be downloaded.
        InputError: the file is not the detector's.
    """
    from facelet.faces.detectors import as_detector, load_detector

    named = choice.detector_model is None
    return as_detector(choice.detector) if named else load_detector(choice.detector, choice.detector_model)


def open_crops(source: CropSource, seed: int, on: Events) -> TransferSet:
    """The transfer set of `data`, or synthetic faces; photos of a folder are aligned on the way in.

    Args:
        source: what to open.
        seed: of synthetic faces.
        on: receives the progress, and how many photos gave no crop.

    Raises:
        OptionError: options that do not fit each other.
        FaceletError: the set or the detector cannot be read.
    """
    from facelet.data.transfer import holds_shards, open_transfer_set

    realign = isinstance(source, RealignedCropSource) and source.realign
    if realign and (source.data is None or not (source.aligned or holds_shards(source.data))):
        raise OptionError("`realign`: needs aligned crops (shards, or `aligned`); leave it out")
    if source.data is None:
        if source.exclude_heldout:
            raise OptionError(
                "`exclude_heldout`: synthetic faces have no held-out people; give `data`, or leave it out"
            )
        from facelet.data.synthetic_transfer import synthetic_transfer_set

        on.note("no photos were given: training on synthetic faces")
        return synthetic_transfer_set(SYNTHETIC_IDENTITIES, SYNTHETIC_PHOTOS, seed)
    from facelet.cache import cache_dir
    from facelet.data.views import CANVAS
    from facelet.faces.canvas import realigned
    from facelet.faces.crops import VERSION as CROPS_VERSION
    from facelet.faces.refine import landmark_refiner
    from facelet.photo import UNUSABLE, face_crops

    finder = None if source.aligned else open_detector(source)

    def align_photo(path: Path) -> NDArray[np.uint8] | None:
        try:
            return face_crops(path, "canvas", CANVAS, CANVAS, finder, every=False)[0].crop
        except UNUSABLE:
            return None

    with on.progress("reading crops") as advance:
        transfer = open_transfer_set(
            source.data,
            cache_dir(),
            align=None if source.aligned else align_photo,
            aligned_by="" if finder is None else f"{finder.version}-{CROPS_VERSION}",
            realign=(lambda crop: realigned(crop, landmark_refiner())) if realign else None,
            realigned_by=f"landmarks-{landmark_refiner().version}" if realign else "",
            progress=advance,
            exclude_heldout=source.exclude_heldout,
        )
    if transfer.n_skipped:
        on.note(f"{source.data}: {transfer.n_skipped} photos left out (no face found, or not readable)")
    return transfer

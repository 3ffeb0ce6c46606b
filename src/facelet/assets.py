"""Files that are not part of this package: where they come from, their content hash and their licence.

`ASSETS` are downloaded on demand into the cache; `KNOWN_MODELS` gives a card to other people's model files,
which carry none, by the hash of their content; `packaged_dlib_file` finds what another package installed.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from facelet.atomic import cannot_write
from facelet.cache import cache_dir
from facelet.errors import MissingFileError, UnknownNameError
from facelet.model import Card

IMAGENET_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
IMAGENET_SCALE = (1 / (0.229 * 255), 1 / (0.224 * 255), 1 / (0.225 * 255))


@dataclass(frozen=True)
class Asset:
    """A file that can be downloaded.

    Attributes:
        file: its name in the cache.
        url: where it is.
        sha256: of its content.
        licence: under which it is offered.
        what: one line about it.
    """

    file: str
    url: str
    sha256: str
    licence: str
    what: str


ASSETS: dict[str, Asset] = {
    "yunet": Asset(
        file="yunet_n_320_320.onnx",
        url="https://raw.githubusercontent.com/ShiqiYu/libfacedetection.train/master/onnx/yunet_n_320_320.onnx",
        sha256="81dbde155e982455488235acb8ec2dec5d647edf7cf7080d33e4abb69b93a0d2",
        licence="Apache-2.0",
        what="YuNet face detector with five landmarks, for OpenCV",
    ),
}

DLIB_RESNET = Card(
    name="dlib_resnet",
    height=150,
    width=150,
    template="dlib",
    embedding_size=128,
    mean=(0.0, 0.0, 0.0),
    scale=(1.0, 1.0, 1.0),
    normalized=False,
    # 1,998,495 impostor pairs of 2,000 photos of LFW's View 1, drawn at random, dlib_refined; TAR 0.992 and 0.943
    thresholds={"1e-2": 0.1850, "1e-3": 0.1475},
    data="about 3 million faces of 7,485 identities (FaceScrub, VGG and others), after its author",
    licence="CC0-1.0",
)

KNOWN_MODELS: dict[str, Card] = {
    # face-reidentification-retail-0095.bin, Intel Open Model Zoo
    "241229ca3d206321868d46ce74a3c0b06c49cea58db7dc70b2e842ff287545d1": Card(
        name="face-reidentification-retail-0095",
        height=128,
        width=128,
        template="arcface_narrow",
        embedding_size=256,
        color="bgr",
        mean=(0.0, 0.0, 0.0),
        scale=(1.0, 1.0, 1.0),
        normalized=False,
        parameters=1_106_814,
        macs=288_699_392,
        licence="Apache-2.0",
    ),
    # mobilefacenet.onnx, foamliu/MobileFaceNet
    "b7120c095d60094f28a4a54ba6a8bf51b297a6273fb40ef6350dfec1f63d9507": Card(
        name="mobilefacenet-foamliu",
        height=112,
        width=112,
        template="arcface",
        embedding_size=128,
        mean=IMAGENET_MEAN,
        scale=IMAGENET_SCALE,
        normalized=False,
        parameters=989_952,
        macs=233_810_432,
        licence="Apache-2.0",
    ),
    # dlib_face_recognition_resnet_model_v1.dat, dlib-models
    "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30": DLIB_RESNET,
}


def fetch(name: str) -> Path:
    """The cached file of an asset, downloaded if it is not there yet.

    Args:
        name: key of `ASSETS`.

    Raises:
        UnknownNameError: no such asset.
        InputError: the cache cannot be written.
        MissingFileError: it is not in the cache and cannot be downloaded, or its content is not the expected one.
    """
    if name not in ASSETS:
        raise UnknownNameError("asset", name, ASSETS)
    asset = ASSETS[name]
    import logging

    import pooch

    pooch.get_logger().setLevel(logging.ERROR)
    try:
        cache_dir().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(cache_dir() / asset.file, error) from error
    try:
        got = pooch.retrieve(asset.url, f"sha256:{asset.sha256}", fname=asset.file, path=cache_dir())
    except (OSError, ValueError) as error:
        reason = "no connection" if "Max retries" in str(error) else str(error).splitlines()[0]
        raise MissingFileError(
            f"asset '{name}': cannot be fetched from {asset.url} ({reason}); "
            f"put the file at {cache_dir() / asset.file}, or give its path"
        ) from error
    return Path(got)


def packaged_dlib_file(file: str) -> Path:
    """A model file of dlib's that the package `face_recognition_models` installed.

    The package is found without importing it: its `__init__` needs `pkg_resources`, which newer Pythons lack.

    Args:
        file: for example "shape_predictor_5_face_landmarks.dat".

    Raises:
        MissingFileError: the package is not installed, or holds no such file.
    """
    spec = importlib.util.find_spec("face_recognition_models")
    if spec is None or spec.origin is None:
        raise MissingFileError(f"{file}: its package is not installed; mend with: pip install face_recognition_models")
    path = Path(spec.origin).parent / "models" / file
    if not path.is_file():
        raise MissingFileError(f"{path}: not in the installed face_recognition_models; reinstall that package")
    return path

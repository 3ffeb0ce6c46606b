"""LFW's two views as `Pairs`, read as published.

View 1 is for tuning and choosing: a threshold from `pairsDevTrain.txt`, the figure from `pairsDevTest.txt`. View 2
is for the reported result: ten folds in `pairs.txt`.

Source: Huang, Ramesh, Berg, Learned-Miller, "Labeled Faces in the Wild", 2007, sections 3 and 4.
"""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import tempfile
from pathlib import Path

import numpy as np

from facelet.archives import TAR_ERRORS
from facelet.atomic import full_disk_named
from facelet.data.pairs import Pairs
from facelet.errors import DiskFullError, InputError, MissingFileError, ProtocolError

PAIR_FILES = {"view2": "pairs.txt", "train": "pairsDevTrain.txt", "test": "pairsDevTest.txt"}

VIEW1_SPLITS = ("both", "train", "test")


def load_lfw(
    data_dir: str | Path, view: int = 2, split: str = "both", cache_dir: Path | None = None
) -> tuple[Pairs, Path]:
    """Returns a view of LFW and the folder that its image keys are relative to.

    `data_dir` holds the pair files and the images, each directly or in a folder `lfw`: the images as
    `Name/Name_0001.jpg`, or a `.tar.gz` of them, which is unpacked once into the cache.

    Args:
        data_dir: folder of the data.
        view: 1 or 2.
        split: View 1 only: "train", "test", or "both" (fold 0 is train, fold 1 is test).
        cache_dir: where an archive is unpacked; by default `cache.cache_dir()`.

    Returns:
        The pairs, with `images` as `Name/Name_0001.jpg`, and the image folder.

    Raises:
        InputError: no such view or split.
        MissingFileError: the folder, a pair file, the images or one image is not there.
        ProtocolError: a pair file is not as published, or the archive is damaged.
    """
    if view not in (1, 2):
        raise InputError(f"lfw: view {view} is not known; LFW has views 1 and 2")
    if split not in VIEW1_SPLITS:
        raise InputError(f"lfw: split '{split}' is not known; known: {', '.join(VIEW1_SPLITS)}")
    data_dir = Path(data_dir)
    if not data_dir.is_dir():
        raise MissingFileError(f"{data_dir}: no such folder; give the folder that holds LFW (pairs.txt and the images)")
    if view == 2:
        pairs = read_pairs(_pair_file(data_dir, PAIR_FILES["view2"]))
    elif split == "both":
        pairs = _stack(*(read_pairs(_pair_file(data_dir, PAIR_FILES[part])) for part in ("train", "test")))
    else:
        pairs = read_pairs(_pair_file(data_dir, PAIR_FILES[split]))
    root = _image_root(data_dir, pairs.images[0], cache_dir)
    folders = {key.split("/")[0] for key in pairs.images}
    there = {path.name for name in folders if (root / name).is_dir() for path in (root / name).iterdir()}
    missing = [key for key in pairs.images if key.split("/")[1] not in there]
    if missing:
        raise MissingFileError(
            f"{root}: lacks {len(missing)} of the {len(pairs.images)} images of view {view}, first {missing[0]}; "
            "expected the whole of LFW"
        )
    return pairs, root


def read_pairs(path: Path) -> Pairs:
    """Returns the pairs of one file in LFW's format.

    The first line is `folds<TAB>n` or `n`; then come, per fold, n genuine pairs `name a b` and n impostor pairs
    `name a name b`.

    Raises:
        MissingFileError: no file at `path`.
        ProtocolError: a line is not as published, or lines are missing or too many.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file; expected LFW's list of pairs")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ProtocolError(f"{path}: not a text file; expected LFW's list of pairs") from error
    lines = [line for line in lines if line.strip()]
    head = lines[0].split() if lines else []
    if not 1 <= len(head) <= 2 or not all(word.isdigit() and int(word) > 0 for word in head):
        raise ProtocolError(f"{path}: line 1 is {' '.join(head)[:60]!r}; expected 'folds n' or 'n'")
    n_folds, n = (1, int(head[0])) if len(head) == 1 else (int(head[0]), int(head[1]))
    if len(lines) - 1 != 2 * n * n_folds:
        raise ProtocolError(f"{path}: {len(lines) - 1} pairs; line 1 announces {2 * n * n_folds}")
    index: dict[str, int] = {}
    left, right, same = [], [], []
    for number, line in enumerate(lines[1:]):
        genuine = number % (2 * n) < n
        words = line.split("\t") if "\t" in line else line.split()
        if len(words) != (3 if genuine else 4):
            kind = "'name a b'" if genuine else "'name a name b'"
            raise ProtocolError(f"{path}: line {number + 2} is {line[:60]!r}; expected {kind}")
        first = _key(path, number + 2, words[0], words[1])
        second = _key(path, number + 2, words[0], words[2]) if genuine else _key(path, number + 2, words[2], words[3])
        left.append(index.setdefault(first, len(index)))
        right.append(index.setdefault(second, len(index)))
        same.append(genuine)
    return Pairs(
        images=tuple(index),
        left=np.array(left, dtype=np.int64),
        right=np.array(right, dtype=np.int64),
        same=np.array(same, dtype=np.bool_),
        fold=np.repeat(np.arange(n_folds, dtype=np.int64), 2 * n),
    )


def _key(path: Path, line: int, name: str, number: str) -> str:
    """Returns `Name/Name_0001.jpg`."""
    if not number.strip().isdigit() or not name or "/" in name or name.startswith("."):
        raise ProtocolError(f"{path}: line {line} names image {name!r} {number!r}; expected a name and a number")
    return f"{name}/{name}_{int(number):04d}.jpg"


def _stack(*parts: Pairs) -> Pairs:
    """Returns several protocols as one, each a fold of its own."""
    index: dict[str, int] = {}
    left, right = [], []
    for part in parts:
        place = np.array([index.setdefault(key, len(index)) for key in part.images], dtype=np.int64)
        left.append(place[part.left])
        right.append(place[part.right])
    return Pairs(
        images=tuple(index),
        left=np.concatenate(left),
        right=np.concatenate(right),
        same=np.concatenate([part.same for part in parts]),
        fold=np.concatenate([np.full(part.n_pairs, fold, dtype=np.int64) for fold, part in enumerate(parts)]),
    )


def _pair_file(data_dir: Path, name: str) -> Path:
    """Returns where a list of pairs is: in the folder or in its folder `lfw`."""
    for path in (data_dir / name, data_dir / "lfw" / name):
        if path.is_file():
            return path
    raise MissingFileError(f"{data_dir / name}: no such file, nor in {data_dir / 'lfw'}; LFW's list of pairs is needed")


def _image_root(data_dir: Path, key: str, cache_dir: Path | None) -> Path:
    """Returns the folder below which `key` lies, unpacking an archive where there is one instead."""
    name = key.split("/")[0]
    for folder in (data_dir, data_dir / "lfw", data_dir / "lfw" / "lfw"):
        if (folder / name).is_dir():
            return folder
    for folder in (data_dir, data_dir / "lfw"):
        archives = sorted(folder.glob("[!.]*.tar.gz")) + sorted(folder.glob("[!.]*.tgz")) if folder.is_dir() else []
        archives.sort(key=lambda path: ("lfw" not in path.name, path.name))
        for archive in archives[:1]:
            root = _unpack(archive, cache_dir)
            for inside in (root, root / "lfw", *sorted(path for path in root.iterdir() if path.is_dir())):
                if (inside / name).is_dir():
                    return inside
            raise MissingFileError(f"{archive}: holds no folder {name}; expected the images of LFW")
    raise MissingFileError(
        f"{data_dir}: holds no images of LFW; expected {key} in it or in its folder lfw, or a .tar.gz of them"
    )


def _unpack(archive: Path, cache_dir: Path | None) -> Path:
    """Returns the folder with the archive's content, unpacked at the first call and whole or not at all."""
    if cache_dir is None:
        from facelet.cache import cache_dir as default_cache_dir

        cache_dir = default_cache_dir()
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    target = cache_dir / "unpacked" / digest[:32]
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix="partial-", dir=target.parent))
    try:
        with full_disk_named(target.parent), tarfile.open(archive, "r:gz") as tar:
            tar.extractall(partial, filter="data")
        try:
            partial.rename(target)
        except OSError:
            if not target.is_dir():  # another process may have finished first
                raise
    except DiskFullError:
        raise
    except TAR_ERRORS as error:
        raise ProtocolError(f"{archive}: cannot be unpacked into {target.parent} ({error})") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target

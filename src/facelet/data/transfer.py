"""The transfer set: aligned crops, labelled or not, packed once into a memory map.

Sources are WebDataset shards (`shards`) or a folder of images (`identity/photo.jpg`, as VGGFace2 is laid out, or flat
and unlabelled). Packing decodes every image once, so that training reads pixels at memory speed; the pack is keyed by
the content of its source.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from facelet.archives import NPZ_ERRORS, TAR_ERRORS
from facelet.atomic import FULL, cannot_write
from facelet.data.heldout import heldout_identities
from facelet.data.row_file import RowFile
from facelet.data.shards import (
    IMAGE_SUFFIXES,
    LABEL_SUFFIXES,
    SHARD_SUFFIXES,
    Item,
    count_images,
    person,
    shard_items,
)
from facelet.data.views import CANVAS
from facelet.errors import DiskFullError, MissingFileError, TransferSetError
from facelet.lock import alone
from facelet.system_files import is_system_file

READ_AHEAD = 512
"""Encoded crops that are held while they are decoded."""

Align = Callable[[Path], NDArray[np.uint8] | None]
"""Makes the 128x128 canvas crop of a photo; None where the photo has no usable face and is left out."""

Realign = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""Lays a 128x128 canvas crop anew."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class TransferSet:
    """Aligned crops with what is known of them.

    Attributes:
        crops: `(n, 128, 128, 3)` uint8 RGB, usually a read-only memory map.
        identity: number of the person in each crop, `(n,)` int64; -1 where not labelled.
        source: where each crop came from, `(n,)` int64 index into `sources`.
        sources: names of the sources.
        key: hash of the content.
        n_skipped: photos of the source that gave no crop.
        identities: names by the numbers in `identity`; the numbers themselves where none are given.
        without_heldout: whether the held-out people of `data.heldout` were left out.
    """

    crops: NDArray[np.uint8]
    identity: NDArray[np.int64]
    source: NDArray[np.int64]
    sources: tuple[str, ...]
    key: str
    n_skipped: int = 0
    identities: tuple[str, ...] = ()
    without_heldout: bool = False

    def __post_init__(self) -> None:
        if not self.identities:
            object.__setattr__(self, "identities", tuple(str(n) for n in range(int(self.identity.max(initial=-1)) + 1)))

    @property
    def n_images(self) -> int:
        """Number of crops."""
        return len(self.crops)

    def subset(self, rows: NDArray[np.int64]) -> TransferSet:
        """The crops of some rows, `(m,)` ascending, read into memory."""
        chosen = hashlib.sha256(np.asarray(rows, np.int64).tobytes()).hexdigest()[:8]
        return replace(
            self,
            crops=np.ascontiguousarray(self.crops[rows]),
            identity=self.identity[rows],
            source=self.source[rows],
            key=f"{self.key}-{len(rows)}-{chosen}",
        )

    def labelled(self, min_photos: int = 2) -> NDArray[np.int64]:
        """Indices of the crops whose person has at least `min_photos` crops, `(m,)`."""
        known = self.identity[self.identity >= 0]
        enough = np.flatnonzero(np.bincount(known, minlength=1) >= min_photos)
        return np.flatnonzero(np.isin(self.identity, enough) & (self.identity >= 0))


def open_transfer_set(
    source: Path,
    cache: Path,
    *,
    align: Align | None = None,
    aligned_by: str = "",
    realign: Realign | None = None,
    realigned_by: str = "",
    progress: Progress | None = None,
    exclude_heldout: bool = False,
) -> TransferSet:
    """Opens a transfer set, packing it on the first use.

    Args:
        source: a shard, a folder of shards, or a folder of images.
        cache: folder of the packs.
        align: crops the photos of an image folder; None takes each image as an aligned crop already and
            resizes it to the canvas. Shards hold such crops in any case.
        aligned_by: names what `align` does: photos that another detector aligned are another set.
        realign: lays each crop that comes aligned anew; from several threads.
        realigned_by: names what `realign` does.
        progress: called with (done, total).
        exclude_heldout: leave the held-out people of `data.heldout` out; they are not even in the pack, so no view can
            blend one of them in.

    Raises:
        MissingFileError: `source` is not there.
        TransferSetError: nothing to train on, or a shard that cannot be read.
    """
    if not source.exists():
        raise MissingFileError(f"{source}: no such transfer set; give a folder of shards (.tar, .tar.gz) or of images")
    shards = _shards(source)
    files = [] if shards else _images(source)
    if not shards and not files:
        raise TransferSetError(f"{source}: holds neither shards ({', '.join(SHARD_SUFFIXES)}) nor images")
    align = None if shards else align
    how = f"aligned={bool(shards) or align is not None}" + (f" by {aligned_by}" if align is not None else "")
    key = _content_key(shards or files, relative_to=source, how=how)
    key += f"-{realigned_by}" if realign is not None else ""
    key += "-without-heldout" if exclude_heldout else ""
    pack = cache / "transfer" / key
    with alone(pack.with_suffix(".lock")):
        if not (pack / "meta.json").exists():
            items = (
                (item for shard in shards for item in shard_items(shard)) if shards else _folder_items(source, files)
            )
            total = sum(count_images(shard) for shard in shards) if shards else len(files)
            if not total:
                raise TransferSetError(f"{source}: its shards hold no picture ({', '.join(IMAGE_SUFFIXES)})")
            _write_pack(pack, items, total, align, realign, progress, exclude_heldout)
        found = _read_pack(pack, key)
    # another folder may hold the same photos
    return found if shards else replace(found, sources=(source.resolve().name,))


def spread_rows(n: int, most: int) -> NDArray[np.int64]:
    """At most so many of n rows, evenly spread, ascending."""
    return np.linspace(0, n - 1, min(n, most)).astype(np.int64)


def _images(source: Path) -> list[Path]:
    """The image files in a folder and below it; a link that leads nowhere is one, and refused when it is read.

    Raises:
        TransferSetError: labels lie beside the images, as in an unpacked shard.
    """
    files = [path for path in source.rglob("*") if not is_system_file(path.relative_to(source))]
    images = sorted(path for path in files if path.suffix.lower() in IMAGE_SUFFIXES and not path.is_dir())
    stems = {path.with_suffix("") for path in images}
    if label := next((p for p in files if p.suffix.lower() in LABEL_SUFFIXES and p.with_suffix("") in stems), None):
        raise TransferSetError(
            f"{label}: a label beside an image is read from a shard, not from a folder; pack one (tar --sort=name -cf "
            f"set.tar -C {source} .), or take the labels out"
        )
    return images


def holds_shards(source: Path) -> bool:
    """Whether a transfer set comes as shards, whose crops are aligned, and not as a folder of images."""
    return source.exists() and bool(_shards(source))


def _shards(source: Path) -> list[Path]:
    if source.is_file():
        found = [source]
    else:
        found = sorted(p for p in source.iterdir() if p.is_file() and not is_system_file(Path(p.name)))
    return [p for p in found if p.name.lower().endswith(SHARD_SUFFIXES)]


def _content_key(paths: list[Path], relative_to: Path, *, how: str) -> str:
    digest = hashlib.sha256(f"pack-2 {how}".encode())
    for path in paths:
        name = path.name if path == relative_to else path.relative_to(relative_to).as_posix()
        digest.update(os.fsencode(name))
        try:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise TransferSetError(f"{path}: cannot be read ({error.strerror or error}); mend or remove it") from error
    return digest.hexdigest()[:24]


def _folder_items(source: Path, files: list[Path]) -> Iterator[Item]:
    for path in files:
        parts = path.relative_to(source).parts
        yield Item(str(path), person(parts[-2], str(path)) if len(parts) > 1 else None, source.name, path=path)


def _decode(item: Item, align: Align | None, realign: Realign | None) -> NDArray[np.uint8] | None:
    if item.path is not None and align is not None:
        return align(item.path)
    encoded = item.encoded if item.encoded is not None else item.path.read_bytes() if item.path else b""
    image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR) if encoded else None
    if image is None:
        raise TransferSetError(f"{item.where}: not a readable image; copy it again or take it out")
    if image.shape[:2] != (CANVAS, CANVAS):
        shrinks = image.shape[0] > CANVAS
        image = cv2.resize(image, (CANVAS, CANVAS), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    crop = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
    return crop if realign is None else realign(crop)


def _write_pack(
    pack: Path,
    items: Iterable[Item],
    total: int,
    align: Align | None,
    realign: Realign | None,
    progress: Progress | None,
    exclude_heldout: bool,
) -> None:
    pack.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=pack.parent, prefix="packing-"))
    try:
        crops = RowFile(scratch / "crops.npy", (total, CANVAS, CANVAS, 3), np.uint8)
        identities: dict[str, int] = {}
        sources: dict[str, int] = {}
        identity = np.full(total, -1, np.int64)
        source = np.zeros(total, np.int64)
        row = n_heldout = 0
        for done, (item, held, crop) in enumerate(_decoded(items, align, realign, exclude_heldout), start=1):
            n_heldout += held
            if crop is not None:
                crops.write(row, crop[None])
                if item.identity is not None:
                    identity[row] = identities.setdefault(item.identity, len(identities))
                source[row] = sources.setdefault(item.source, len(sources))
                row += 1
            if progress is not None:
                progress(done, total)
        if row == 0:
            raise TransferSetError(f"transfer set: none of its {total} photos shows a face that can be used")
        if exclude_heldout and not identities and not n_heldout:
            raise TransferSetError("transfer set: no crop has a label, so nobody can be held out; train without that")
        crops.cut(row)
        np.savez(scratch / "labels.npz", identity=identity[:row], source=source[:row])
        meta = {
            "sources": list(sources),
            "identities": list(identities),
            "n_skipped": total - row - n_heldout,
            "without_heldout": exclude_heldout,
        }
        (scratch / "meta.json").write_text(json.dumps(meta))
        if pack.exists():
            shutil.rmtree(pack)
        scratch.rename(pack)
    except DiskFullError:
        raise
    except TAR_ERRORS as error:
        if isinstance(error, OSError) and error.errno in FULL:
            raise cannot_write(pack, error) from error
        raise TransferSetError(f"transfer set: cannot be packed ({error})") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _decoded(
    items: Iterable[Item], align: Align | None, realign: Realign | None, exclude_heldout: bool
) -> Iterator[tuple[Item, bool, NDArray[np.uint8] | None]]:
    """Items in their order, whether each shows a held-out person, and the crops of the others.

    Crops that come aligned are decoded by several threads; photos one after another, as a detector is no two threads'.
    """

    def decode(item: Item) -> tuple[Item, bool, NDArray[np.uint8] | None]:
        held = exclude_heldout and item.identity is not None and bool(heldout_identities([item.identity])[0])
        return item, held, None if held else _decode(item, align, realign)

    if align is not None:
        yield from map(decode, items)
        return
    with ThreadPoolExecutor() as pool:
        ahead = iter(items)
        while some := list(islice(ahead, READ_AHEAD)):
            yield from pool.map(decode, some)


def _read_pack(pack: Path, key: str) -> TransferSet:
    try:
        meta = json.loads((pack / "meta.json").read_text())
        with (pack / "labels.npz").open("rb") as stream:
            labels = dict(np.load(stream))
        crops = np.load(pack / "crops.npy", mmap_mode="r")
        sources = tuple(meta["sources"])
    except NPZ_ERRORS as error:
        raise TransferSetError(f"{pack}: this part of the cache is damaged ({error}); delete it") from error
    return TransferSet(
        crops=crops[: len(labels["identity"])],
        identity=labels["identity"],
        source=labels["source"],
        sources=sources,
        key=key,
        n_skipped=meta.get("n_skipped", 0),
        identities=tuple(meta.get("identities", ())),
        without_heldout=meta.get("without_heldout", False),
    )
